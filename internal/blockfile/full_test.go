//go:build linux

package blockfile_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/blockfile"
)

// TestWipeWhileADiskGetsFull: the server reads the file anew that it could not write to, and cuts it off at the first checksum that is
// wrong. So nothing is written into that file.
func TestWipeWhileADiskGetsFull(t *testing.T) {
	dir, srv, js, s := running(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	const n = 3000
	for i := range n {
		for _, m := range []*nats.Msg{{Subject: "s.secret", Data: fmt.Appendf(nil, "SECRET %d", i)}, {Subject: "s.kept", Data: bytes.Repeat([]byte("kept "), 50)}} {
			if _, err := js.PublishMsgAsync(m); err != nil {
				t.Fatal(err)
			}
		}
		if i%500 == 0 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
	if err := s.Purge(ctx, jetstream.WithPurgeSubject("s.secret")); err != nil {
		t.Fatal(err)
	}
	before := contents(t, js)
	if len(before) != n {
		t.Fatalf("%d messages before, want %d", len(before), n)
	}
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	blocks, _ := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "S", "msgs", "*.blk"))
	if len(blocks) != 1 {
		t.Fatal(blocks)
	}
	done := make(chan int)
	go func() { // until the disk is full
		acked := 0
		for ; ; acked++ {
			pctx, cancel := context.WithTimeout(ctx, time.Second)
			_, err := js.Publish(pctx, "s.busy", []byte("busy"))
			cancel()
			if err != nil {
				break
			}
		}
		done <- acked
	}()
	w, err := blockfile.Wipe(ctx, dir, "S", true, func(_ context.Context, subject []byte, seq uint64) (bool, error) {
		if seq == 2*n-1 { // of those that are dead the last that it comes to
			info, err := os.Stat(blocks[0])
			if err == nil {
				err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size()) + 1000, Max: old.Max})
			}
			if err != nil {
				t.Error(err)
			}
		}
		return string(subject) == "s.secret", nil
	})
	if err != nil || w.Messages != 0 || w.Newest != n {
		t.Errorf("Wipe = %+v, %v; want %d messages left alone", w, err, n)
	}
	acked := <-done
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at once", "after a restart"} {
		if got := len(contents(t, js)); got < n+acked {
			t.Errorf("%s %d messages are there, want the %d of before and %d that were acknowledged since", when, got, n, acked)
		}
		srv.Restart()
	}
}
