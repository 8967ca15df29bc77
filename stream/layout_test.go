package stream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/natstest"
	"yjet/stream/name"
)

func tryOpen(t *testing.T, srv *natstest.Server, cfg Config) error {
	t.Helper()
	nc, bulk, err := Dial("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	defer bulk.Close()
	l, err := Open(within(t, 10*time.Second), nc, bulk, cfg)
	if err == nil {
		l.Close()
	}
	return err
}

func TestShardsAreFixedAtTheFirstStart(t *testing.T) {
	l, srv := open(t, Config{Shards: 3})
	if l.Shards() != 3 {
		t.Errorf("%d shards, want 3", l.Shards())
	}
	if got := openOn(t, srv, Config{}).Shards(); got != 3 {
		t.Errorf("opened without a number: %d shards, want 3", got)
	}
	err := tryOpen(t, srv, Config{Shards: 2})
	if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "3 shards") {
		t.Errorf("another number: got %v, want ErrConfig that names both", err)
	}
	for _, n := range []int{-1, 100} {
		if err := tryOpen(t, srv, Config{Shards: n}); !errors.Is(err, ErrConfig) {
			t.Errorf("%d shards: got %v, want ErrConfig", n, err)
		}
	}
}

func TestTwoServersStartAtOnce(t *testing.T) {
	srv := natstest.Start(t)
	errs := make(chan error)
	for _, n := range []int{2, 2, 2, 2} {
		go func() { errs <- tryOpen(t, srv, Config{Shards: n, Embedded: true}) }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestStreamsAreAsTheyMustBe(t *testing.T) {
	l, _ := open(t, Config{})
	ctx := within(t, 10*time.Second)
	s, err := streams(t, l).Stream(ctx, "YDOC_01")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	if c.Storage != jetstream.FileStorage || !c.AllowDirect || !c.AllowAtomicPublish || c.Discard != jetstream.DiscardNew || c.MaxAge != 0 ||
		c.RePublish == nil || c.Description == "" || c.Metadata["yjet"] != "log" || c.Replicas != 1 {
		t.Errorf("YDOC_01 is %+v", c)
	}
	// A shard's subjects only: NATS itself refuses others.
	if _, err := l.bulk.Request("ydoc.02.a.b", nil, time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("publish on ydoc.02.a.b: %v, want no responders", err)
	}
}

func TestEditedStreamsAreMendedOrRefused(t *testing.T) {
	l, srv := open(t, Config{})
	ctx := within(t, 20*time.Second)
	edit := func(name string, f func(*jetstream.StreamConfig)) {
		t.Helper()
		s, err := streams(t, l).Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		f(&c)
		if _, err := streams(t, l).UpdateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	edit("YDOC_00", func(c *jetstream.StreamConfig) {
		c.RePublish, c.AllowAtomicPublish, c.Metadata = nil, false, map[string]string{"mine": "x"}
	})
	if err := tryOpen(t, srv, Config{}); err != nil {
		t.Errorf("a stream that can be mended: %v", err)
	}
	s, err := streams(t, l).Stream(ctx, "YDOC_00")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.RePublish == nil || !c.AllowAtomicPublish || c.Metadata["mine"] != "x" {
		t.Errorf("mended: %+v", c)
	}
	edit("YDOC_00", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 })
	if err := tryOpen(t, srv, Config{}); err != nil {
		t.Errorf("a limit that refuses what is new: %v", err)
	}
	edit("YDOC_00", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld })
	if err := tryOpen(t, srv, Config{}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "YDOC_00") {
		t.Errorf("a limit that drops what is old: got %v, want ErrConfig", err)
	}
	edit("YDOC_00", func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes, c.MaxAge = jetstream.DiscardNew, -1, time.Hour })
	if err := tryOpen(t, srv, Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("a log that ages: got %v, want ErrConfig", err)
	}
}

func TestAStoreWithoutAClusterGetsOneReplica(t *testing.T) {
	srv := natstest.Start(t)
	nc, bulk, err := Dial("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	defer bulk.Close()
	l, err := Open(within(t, 20*time.Second), nc, bulk, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Shards() != shardsCluster || l.cfg.Replicas != 1 {
		t.Errorf("%d shards with %d replicas, want %d with 1", l.Shards(), l.cfg.Replicas, shardsCluster)
	}
	if err := tryOpen(t, natstest.Start(t), Config{Replicas: 3}); err == nil {
		t.Error("three replicas were promised by one server")
	}
}

func TestHealthTellsWhatIsWrong(t *testing.T) {
	l, srv := open(t, Config{Durability: "process"})
	h := l.Health(within(t, 5*time.Second))
	if !h.Connected || h.Err != nil || h.Durability != "process" || h.RTT <= 0 {
		t.Errorf("health is %+v", h)
	}
	probe := func() bool {
		_, ok, err := l.meta.Get(within(t, 5*time.Second), "probe."+l.Node())
		if err != nil {
			t.Error(err)
		}
		return ok
	}
	l.lastAck.Store(0) // nobody wrote lately
	if h := l.Health(within(t, 5*time.Second)); h.Err != nil || probe() {
		t.Errorf("health of an idle store is %+v, with a probe: %v; want it well and nothing written", h, probe())
	}
	l.checkedAt = time.Time{}
	l.findingOut.Store(true) // an append failed
	if h := l.Health(within(t, 5*time.Second)); h.Err != nil || !probe() {
		t.Errorf("health after a failed append is %+v, with a probe: %v; want it proven by one", h, probe())
	}
	l.findingOut.Store(false)
	srv.Stop()
	eventually(t, "the loss to be seen", func() bool { return l.Health(within(t, 5*time.Second)).Err != nil })
	srv.Restart()
	eventually(t, "health to return", func() bool { return l.Health(within(t, 5*time.Second)).Err == nil })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if h := l.Health(ctx); h.Err == nil {
		t.Error("health in an ended context is well")
	}
}

func TestHealthSeesAnAppendThatIsStuck(t *testing.T) {
	l, _ := open(t, Config{Shards: 1})
	// The stream is gone: nobody answers, as in a cluster without a leader.
	if err := streams(t, l).DeleteStream(within(t, 5*time.Second), "YDOC_00"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan result, 1)
	l.Writer("d").Append(ctx, []Entry{{Update: []byte("x")}}, func(s []Seq, err error) { ch <- result{s, err} })
	eventually(t, "the stuck append to be seen", func() bool {
		h := l.Health(within(t, 5*time.Second))
		return h.Err != nil && strings.Contains(h.Err.Error(), "YDOC_00")
	})
	cancel()
	if r := <-ch; !errors.Is(r.err, ErrGaveUp) || !errors.Is(r.err, nats.ErrNoResponders) {
		t.Errorf("got %v, want ErrGaveUp after no responders", r.err)
	}
}

// An operator deletes streams under a running server: it says so and acknowledges nothing in their place, and makes only presence anew.
func TestDeletedStreamsAreTold(t *testing.T) {
	t.Parallel()
	l, _ := open(t, Config{Shards: 2})
	ctx := within(t, 60*time.Second)
	del := func(names ...string) {
		for _, name := range names {
			if err := streams(t, l).DeleteStream(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	del(name.PresenceStream)
	eventually(t, "presence again", func() bool {
		_, err := l.presence.Put(ctx, "d", Presence{Client: 1})
		return err == nil
	})
	if err := l.Health(ctx).Err; err != nil {
		t.Errorf("health without presence: %v", err)
	}
	del("YSNAP_01")
	eventually(t, "health to tell", func() bool { err := l.Health(ctx).Err; return err != nil && strings.Contains(err.Error(), "YSNAP_01") })
	if _, err := streams(t, l).Stream(ctx, "YSNAP_01"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the stream is there: %v", err)
	}
}

// Without its number of shards a store that has documents must not be read as one with another number: each would look new.
func TestLostNumberOfShardsIsTakenFromTheStreams(t *testing.T) {
	l, srv := open(t, Config{Shards: 5})
	mustAppend(t, l.Writer("d"), "kept")
	if err := streams(t, l).DeleteStream(within(t, 5*time.Second), name.MetaStream); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := tryOpen(t, srv, Config{Shards: 3}); !errors.Is(err, ErrConfig) {
		t.Errorf("another number: got %v, want ErrConfig", err)
	}
	again := openOn(t, srv, Config{})
	if again.Shards() != 5 {
		t.Errorf("%d shards, want 5", again.Shards())
	}
	if n := len(replay(t, again, "d", 0, 0)); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}
