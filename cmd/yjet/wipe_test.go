package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream"
)

// TestRestartDoesNotWaitForAWipeThatAsksInVain: a full disk makes NATS disable JetStream, and a restart is what ends that. A wipe under way
// asks a server that does not answer, and the restart waits for the wipe.
func TestRestartDoesNotWaitForAWipeThatAsksInVain(t *testing.T) {
	e, err := startEmbedded(embedOptions{data: t.TempDir(), addr: "off", durability: "process", log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	connect := func() *nats.Conn {
		nc, err := nats.Connect("", nats.InProcessServer(e), nats.MaxReconnects(-1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	asking := make(chan struct{}, 1)
	docs, err := stream.Open(ctx, connect(), connect(), stream.Config{Shards: 1, Embedded: true, Log: slog.New(slog.DiscardHandler),
		Wiper: func(ctx context.Context, name string, dead func(context.Context, []byte, uint64) (bool, error)) (int, int, error) {
			return e.wipe(ctx, name, func(ctx context.Context, subject []byte, seq uint64) (bool, error) {
				if err := e.server.Load().DisableJetStream(); err != nil {
					t.Error(err)
				}
				asking <- struct{}{}
				return dead(ctx, subject, seq)
			})
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docs.Close() })
	var last stream.Seq
	stored := make(chan error)
	docs.Writer("doc").Append(ctx, []stream.Entry{{Update: []byte("one")}, {Update: []byte("two")}}, func(seqs []stream.Seq, err error) {
		if err == nil {
			last = seqs[1]
		}
		stored <- err
	})
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	if err := docs.Trim(ctx, "doc", last); err != nil {
		t.Fatal(err)
	}
	wiped := make(chan error, 1)
	go func() { // as a sweep, which takes the time that it takes
		_, _, err := docs.Wipe(ctx, "doc")
		wiped <- err
	}()
	select {
	case <-asking:
	case err := <-wiped:
		t.Fatalf("Wipe = %v before it asked", err)
	}
	start := time.Now()
	e.shutdown()
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	if err := <-wiped; err == nil {
		t.Error("Wipe says that it came to its end")
	}
}
