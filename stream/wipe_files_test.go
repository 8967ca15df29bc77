//go:build linux

package stream

import (
	"bytes"
	"context"
	"syscall"
	"testing"
	"time"

	"yjet/internal/natstest"
)

// TestWipeOfWhatNATSCannotRead: while it can open no more files, NATS says of every message that is in one that there is none.
func TestWipeOfWhatNATSCannotRead(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	files := func(n uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: limit.Max}); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { files(limit.Cur) })
	dir := t.TempDir()
	srv := natstest.Start(t, natstest.Process, natstest.StoreDir(dir))
	l := openOn(t, srv, Config{Shards: 1, Wiper: func(ctx context.Context, stream string, dead func(context.Context, []byte, uint64) (bool, error)) (int, int, error) {
		files(limit.Cur)
		return srv.Wipe(ctx, stream, func(ctx context.Context, subject []byte, seq uint64) (bool, error) {
			files(0)
			defer files(limit.Cur)
			return dead(ctx, subject, seq)
		})
	}})
	ctx := within(t, 30*time.Second)
	if err := l.Erase(ctx, "secret"); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l.Writer("secret"), "fresh 1", "fresh 2")
	for range 10 {
		mustAppend(t, l.Writer("neighbour"), string(bytes.Repeat([]byte("neighbour "), 100<<10))) // 10 MB, so that NATS has the file closed
	}
	srv.Restart()
	mustAppend(t, l.Writer("neighbour"), "connected")
	files(0)
	_, n, err := l.Wipe(ctx, "secret")
	files(limit.Cur)
	if n != 0 || err == nil {
		t.Errorf("Wipe = %d, %v; want an error, and nothing overwritten", n, err)
	}
	if got := replay(t, l, "secret", 0, 0); len(got) != 2 {
		t.Errorf("%d records are left of what was stored since the erasure, want 2", len(got))
	}
	if _, n, err := l.Wipe(ctx, "secret"); n != 0 || err != nil {
		t.Errorf("Wipe with files = %d, %v; want nothing to do", n, err)
	}
}
