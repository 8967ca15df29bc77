package jet_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/internal/natstest"
	"yjet/internal/testlog"
	"yjet/stream/jet"
)

// wire is a TCP proxy in front of a server. freeze makes its present connections half open: they stay, and nothing passes.
type wire struct {
	l  net.Listener
	to string

	mu     sync.Mutex
	frozen map[net.Conn]bool // connections to clients
	all    []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, to: to, frozen: map[net.Conn]bool{}}
	go w.accept()
	t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range w.all {
			c.Close()
		}
	})
	return w
}

func (w *wire) accept() {
	for {
		client, err := w.l.Accept()
		if err != nil {
			return
		}
		node, err := net.Dial("tcp", w.to)
		if err != nil {
			client.Close()
			continue
		}
		w.mu.Lock()
		w.all = append(w.all, client, node)
		w.frozen[client] = false
		w.mu.Unlock()
		go w.pass(node, client, client)
		go w.pass(client, node, client)
	}
}

// pass copies what one side sends, and drops it while the connection is frozen.
func (w *wire) pass(to io.WriteCloser, from io.Reader, client net.Conn) {
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		w.mu.Lock()
		frozen := w.frozen[client]
		w.mu.Unlock()
		if frozen {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (w *wire) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.frozen {
		w.frozen[c] = true
	}
}

// TestAHalfOpenConnectionIsReplaced: nothing is closed, and nothing arrives any more. Both connections are made anew, and the log says so.
func TestAHalfOpenConnectionIsReplaced(t *testing.T) {
	srv := natstest.Start(t, natstest.Process, natstest.Listen(t))
	w := newWire(t, srv.Addr())
	nc, bulk, err := jet.Dial("nats://"+w.l.Addr().String(), nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	defer bulk.Close()
	log := &testlog.Buffer{}
	c, err := jet.New(nc, bulk, log.Logger(slog.LevelInfo))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.WatchLink(ctx, func() int64 { return 0 }); close(ended) }()
	defer func() { cancel(); <-ended }()
	if _, err := c.Ensure(patient(t), wanted("LAST", "last.>", 1)); err != nil {
		t.Fatal(err)
	}
	w.freeze()
	if seq, err := c.Put(patient(t), "LAST", message("last.a", "x")); err != nil || seq == 0 {
		t.Errorf("put over a half-open connection: %d, %v", seq, err)
	}
	for end := time.Now().Add(time.Minute); nc.Stats().Reconnects == 0 || bulk.Stats().Reconnects == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("connected anew %d and %d times", nc.Stats().Reconnects, bulk.Stats().Reconnects)
		}
	}
	if err := jet.Flush(patient(t), nc); err != nil {
		t.Errorf("the new connection: %v", err)
	}
	if !strings.Contains(log.String(), "connecting anew") {
		t.Errorf("the log says %s", log)
	}
}

// TestAServerHearsItsOwnAnnouncementsAndNotItsOwnFeed: of the two connections one echoes.
func TestAServerHearsItsOwnAnnouncementsAndNotItsOwnFeed(t *testing.T) {
	srv := natstest.Start(t, natstest.Process)
	nc, bulk, err := jet.Dial("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	defer bulk.Close()
	for _, k := range []struct {
		nc   *nats.Conn
		name string
		echo bool
	}{{nc, "yjet", false}, {bulk, "yjet-bulk", true}} {
		sub, err := k.nc.SubscribeSync("x")
		if err != nil {
			t.Fatal(err)
		}
		if err := jet.Flush(patient(t), k.nc); err != nil {
			t.Fatal(err)
		}
		k.nc.Publish("x", []byte("own"))
		jet.Flush(patient(t), k.nc)
		other := srv.Connect()
		other.Publish("x", []byte("other"))
		jet.Flush(patient(t), other)
		m, err := sub.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if own := string(m.Data) == "own"; own != k.echo || k.nc.Opts.Name != k.name {
			t.Errorf("%s hears %q first, want its own: %v", k.nc.Opts.Name, m.Data, k.echo)
		}
	}
}

func TestDialSaysWhatCannotBeReached(t *testing.T) {
	nc, bulk, err := jet.Dial("nats://127.0.0.1:1")
	if err == nil || nc != nil || bulk != nil || !strings.Contains(err.Error(), "connect to NATS") {
		t.Errorf("got %v, %v, %v", nc, bulk, err)
	}
}
