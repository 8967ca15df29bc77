package stream

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"yjet/internal/natstest"
)

// TestAFullDiskIsToldAndEndsWhenItIsFreed fills a small file system under the store. What was acknowledged is there
// afterwards; while it is full nothing is acknowledged and Health says so. NATS itself needs a restart when there is room again.
func TestAFullDiskIsToldAndEndsWhenItIsFreed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to mount a small file system")
	}
	dir := t.TempDir()
	mnt := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(dir, "img")
	for _, cmd := range [][]string{
		{"truncate", "-s", "24M", img},
		{"mkfs.ext4", "-q", "-m", "0", img},
		{"mount", "-o", "loop", img, mnt},
	} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: %v: %v: %s", cmd, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("umount", "-l", mnt).Run() })
	ballast := filepath.Join(mnt, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 12<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	l, srv := open(t, Config{Shards: 1}, natstest.StoreDir(filepath.Join(mnt, "store")))
	acked := 0
	var last error
	for last == nil && acked < 1000 {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		w := l.Writer("d") // each its own: what was given up is not counted as lost
		_, last = appendAll(ctx, w, Entry{Update: make([]byte, 200<<10)})
		if last == nil {
			acked++
		} else if h := l.Health(within(t, 5*time.Second)); h.Err == nil {
			t.Errorf("health is well on a full disk, after %v", last)
		} else {
			t.Logf("after %d records: %v; health: %v", acked, last, h.Err)
		}
		cancel()
	}
	if !errors.Is(last, ErrGaveUp) && !errors.Is(last, ErrFault) {
		t.Fatalf("after %d records: %v, want a full disk", acked, last)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	srv.Restart()
	eventually(t, "the store to be well again", func() bool { return l.Health(within(t, 5*time.Second)).Err == nil })
	mustAppend(t, l.Writer("d"), "after")
	recs := checkLog(t, l, "d")
	if len(recs) < acked+1 {
		t.Errorf("%d records, want at least %d", len(recs), acked+1)
	}
}
