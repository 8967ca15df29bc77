package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
)

// smallDisk mounts an ext4 of its own, or skips aloud.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to mount a small file system")
	}
	dir := t.TempDir()
	mnt, img := filepath.Join(dir, "mnt"), filepath.Join(dir, "img")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range [][]string{{"truncate", "-s", size, img}, {"mkfs.ext4", "-q", "-m", "0", img}, {"mount", "-o", "loop", img, mnt}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: %v: %v: %s", cmd, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("umount", "-l", mnt).Run() })
	return mnt
}

// TestFullDiskIsToldAndHealsWithoutARestart fills the disk under a server: nothing is echoed that is not stored, /readyz says no; when there is
// room again the server works again by itself, and all that was echoed is there.
func TestFullDiskIsToldAndHealsWithoutARestart(t *testing.T) {
	mnt := smallDisk(t, "96M")
	r := start(t, devArgs(filepath.Join(mnt, "data"))...)
	ballast, err := os.Create(filepath.Join(mnt, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = ballast.Write(make([]byte, 1<<20))
	}
	if size, err := ballast.Seek(0, 2); err != nil || ballast.Truncate(size-1<<20) != nil { // room for some edits
		t.Fatal(err)
	}
	ballast.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := &checker{base: r.url, room: "full", typist: newTypist()}
	if err := c.connect(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { c.first.close() }()
	echoed := 0
	for ; ; echoed++ {
		if echoed == 1000 {
			t.Fatal("the disk does not get full")
		}
		if err := c.big(4 * time.Second); err != nil {
			t.Logf("%d edits of 64 KiB echoed, then: %v", echoed, err)
			break
		}
	}
	waitFor(t, 10*time.Second, "/readyz to say no", func() bool { return statusOf(r.url+"/readyz") == http.StatusServiceUnavailable })
	if code, body := get(t, r.url+"/health"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"degraded"`) || !strings.Contains(body, "store") {
		t.Errorf("/health on a full disk: %d %s", code, body)
	}
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	waitFor(t, 40*time.Second, "the server to work again", func() bool {
		return statusOf(r.url+"/readyz") == http.StatusOK
	})
	t.Logf("ready again %v after there was room", time.Since(began).Round(100*time.Millisecond))
	again := &checker{base: r.url, room: "full", typist: newTypist()}
	if err := again.connect(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { again.first.close() }()
	if err := again.echo(ctx); err != nil {
		t.Error(err)
	}
	_, state, err := again.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := yjs.VectorOf(state)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := v[c.typist.client], uint64(echoed)*bigEdit; got < want {
		t.Errorf("the document holds %d of %d echoed characters", got, want)
	}
}

const bigEdit = 64 << 10

// big types bigEdit characters at once and waits so long for the echo.
func (c *checker) big(wait time.Duration) error {
	t := c.typist
	b := append([]byte{1, 1}, yjs.AppendUvarint(nil, t.client)...)
	b = yjs.AppendUvarint(b, t.clock)
	if t.clock == 0 {
		b = append(b, 0x04, 1)
		b = yjs.AppendVarString(b, "text")
	} else {
		b = append(b, 0x84)
		b = yjs.AppendUvarint(b, t.client)
		b = yjs.AppendUvarint(b, t.clock-1)
	}
	b = yjs.AppendVarBytes(b, bytes.Repeat([]byte("x"), bigEdit))
	c.sent = append(b, 0)
	t.clock += bigEdit
	if err := c.first.send(yjs.AppendSync(nil, yjs.SyncUpdate, c.sent)); err != nil {
		return err
	}
	c.first.conn.SetReadDeadline(time.Now().Add(wait))
	return c.awaitUpdate(c.first)
}

func statusOf(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func waitFor(t *testing.T, most time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(most); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", most, what)
		}
	}
}
