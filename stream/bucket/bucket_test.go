package bucket_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/natstest"
	"yjet/stream"
	"yjet/stream/name"
)

// open starts a server and a Log on it, whose buckets are tested; both end with the test.
func open(t *testing.T, cfg stream.Config, opts ...natstest.Option) (*stream.Log, *natstest.Server) {
	t.Helper()
	srv := natstest.Start(t, opts...)
	return openOn(t, srv, cfg), srv
}

// openOn opens another Log on a server, like another process would.
func openOn(t *testing.T, srv *natstest.Server, cfg stream.Config) *stream.Log {
	t.Helper()
	cfg.Embedded = true
	nc, bulk, err := stream.Dial("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	l, err := stream.Open(within(t, 30*time.Second), nc, bulk, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		nc.Close()
		bulk.Close()
	})
	return l
}

// streams is JetStream as any other program sees it.
func streams(t *testing.T, srv *natstest.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(srv.Connect())
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// within is a context for one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for something that happens elsewhere.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestPresenceIsReadableByTheKeyValueLayer(t *testing.T) {
	l, srv := open(t, stream.Config{})
	ctx := within(t, 20*time.Second)
	nc := srv.Connect()
	live, err := nc.SubscribeSync(name.PresenceLive)
	if err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	p := stream.Presence{User: "u", Name: "Ann", Color: "#f00", Client: 7, Clock: 3, Node: l.Node(), Since: time.Now().UTC().Truncate(time.Second), State: json.RawMessage(`{"cursor":1}`)}
	rev, err := l.Presence().Put(ctx, "a.b", p)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(srv.Connect())
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(ctx, name.PresenceBucket)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(ctx, "a=2Eb.7")
	if err != nil || e.Revision() != rev || !strings.Contains(string(e.Value()), `"name":"Ann"`) {
		t.Fatalf("kv get: %v, %v", e, err)
	}
	m, err := live.NextMsg(5 * time.Second)
	if err != nil || m.Subject != "ypres.a=2Eb.7" {
		t.Errorf("republished: %v, %v; want ypres.a=2Eb.7", m, err)
	}
	got, err := l.Presence().List(ctx, "a.b")
	if err != nil || len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(p) {
		t.Errorf("list: %+v, %v; want %+v", got, err, p)
	}
	// Another server has put the entry since: our delete leaves it.
	rev2, err := l.Presence().Put(ctx, "a.b", p)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Presence().Delete(ctx, "a.b", 7, rev); err != nil {
		t.Errorf("delete with an old revision: %v", err)
	}
	if got, _ := l.Presence().List(ctx, "a.b"); len(got) != 1 {
		t.Errorf("after a delete with an old revision: %+v, want the entry", got)
	}
	if err := l.Presence().Delete(ctx, "a.b", 7, rev2); err != nil {
		t.Error(err)
	}
	if got, _ := l.Presence().List(ctx, "a.b"); len(got) != 0 {
		t.Errorf("after its delete: %+v", got)
	}
	if _, err := kv.Get(ctx, "a=2Eb.7"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("kv get after the delete: %v, want ErrKeyNotFound", err)
	}
}

func TestPresenceEndsByItself(t *testing.T) {
	l, srv := open(t, stream.Config{})
	ctx := within(t, 30*time.Second)
	s, err := streams(t, srv).Stream(ctx, name.PresenceStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if cfg.MaxAge != stream.PresenceTTL || cfg.Storage != jetstream.MemoryStorage {
		t.Errorf("bucket lives %v in %v, want %v in memory", cfg.MaxAge, cfg.Storage, stream.PresenceTTL)
	}
	cfg.MaxAge = time.Second // nobody wants to wait for 45
	if _, err := streams(t, srv).UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Presence().Put(ctx, "d", stream.Presence{Client: 1}); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Presence().List(ctx, "d"); err != nil || len(got) != 1 {
		t.Fatalf("list: %+v, %v", got, err)
	}
	eventually(t, "the entry to expire", func() bool {
		got, err := l.Presence().List(ctx, "d")
		return err == nil && len(got) == 0
	})
}

func TestListsBeyondOneAnswerOfTheServer(t *testing.T) {
	l, srv := open(t, stream.Config{Durability: "process"}, natstest.Process)
	ctx := within(t, 60*time.Second)
	const n = 1500
	nc := srv.Connect()
	for i := range n {
		m := nats.NewMsg(name.Presence(name.Client("crowd", uint64(i))))
		m.Data = []byte(`{"client":0,"state":null}`)
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all entries", func() bool {
		got, err := l.Presence().List(ctx, "crowd")
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(got); i++ {
			if got[i-1].Client >= got[i].Client {
				t.Fatalf("client %d after %d", got[i].Client, got[i-1].Client)
			}
		}
		return len(got) == n
	})
}

func TestMetaIsComparedAndSet(t *testing.T) {
	l, _ := open(t, stream.Config{})
	ctx := within(t, 20*time.Second)
	zero := uint64(0)
	rev, err := l.Meta().Put(ctx, "version.a=2Eb.one", []byte("1"), &zero)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Meta().Put(ctx, "version.a=2Eb.one", []byte("2"), &zero); !errors.Is(err, stream.ErrConflict) {
		t.Errorf("put over a key that is there: %v, want stream.ErrConflict", err)
	}
	rev2, err := l.Meta().Put(ctx, "version.a=2Eb.one", []byte("2"), &rev)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Meta().Put(ctx, "version.a=2Eb.one", []byte("3"), &rev); !errors.Is(err, stream.ErrConflict) {
		t.Errorf("put over another revision: %v, want stream.ErrConflict", err)
	}
	e, ok, err := l.Meta().Get(ctx, "version.a=2Eb.one")
	if err != nil || !ok || string(e.Value) != "2" || e.Rev != rev2 {
		t.Errorf("get: %+v, %v, %v", e, ok, err)
	}
	if _, err := l.Meta().Put(ctx, "version.a=2Eb.two", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Meta().Put(ctx, "version.a", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	list := func(prefix string) (keys []string) {
		t.Helper()
		es, err := l.Meta().List(ctx, prefix)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			keys = append(keys, e.Key)
		}
		return keys
	}
	if got, want := list("version.a=2Eb.*"), []string{"version.a=2Eb.one", "version.a=2Eb.two"}; !slices.Equal(got, want) {
		t.Errorf("list: %q, want %q", got, want)
	}
	if got, want := list("version.>"), []string{"version.a", "version.a=2Eb.one", "version.a=2Eb.two"}; !slices.Equal(got, want) {
		t.Errorf("list: %q, want %q", got, want)
	}
	if err := l.Meta().Delete(ctx, "version.a=2Eb.one"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := l.Meta().Get(ctx, "version.a=2Eb.one"); ok || err != nil {
		t.Errorf("a deleted key is there: %v, %v", ok, err)
	}
	if got, want := list("version.*.two"), []string{"version.a=2Eb.two"}; !slices.Equal(got, want) {
		t.Errorf("list after delete: %q, want %q", got, want)
	}
	if _, err := l.Meta().Put(ctx, "version.a=2Eb.one", []byte("again"), &zero); err != nil {
		t.Errorf("put where a key was deleted: %v", err)
	}
	for _, key := range []string{"", ".", "a.", ".a", "a..b", "a*", "a.>", "a b", "a\r\nb", "é"} {
		if _, err := l.Meta().Put(ctx, key, nil, nil); err == nil {
			t.Errorf("key %q was taken", key)
		}
		if _, _, err := l.Meta().Get(ctx, key); err == nil {
			t.Errorf("key %q was asked for", key)
		}
	}
	if _, err := l.Meta().List(ctx, "a*"); err == nil {
		t.Error("a prefix with a wildcard was asked for")
	}
}

func TestSnapshotHeadsAreReplacedOnlyInTurn(t *testing.T) {
	l, _ := open(t, stream.Config{})
	ctx := within(t, 20*time.Second)
	if _, ok, err := l.Blobs().Head(ctx, "d"); ok || err != nil {
		t.Fatalf("head of nothing: %v, %v", ok, err)
	}
	big := stream.Blob{Header: map[string]string{"Yjet-Upto": "12", "Yjet-Note": " é\r\nx%"}, Data: []byte(strings.Repeat("\x00\xff\"data\":", 50000))}
	rev, err := l.Blobs().PutHead(ctx, "d", big, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := l.Blobs().Head(ctx, "d")
	if err != nil || !ok || got.Rev != rev || string(got.Data) != string(big.Data) || fmt.Sprint(got.Header) != fmt.Sprint(big.Header) {
		t.Errorf("head: %d bytes, rev %d, %q, %v", len(got.Data), got.Rev, got.Header, err)
	}
	for _, expect := range []stream.Seq{0, rev + 1} {
		if _, err := l.Blobs().PutHead(ctx, "d", stream.Blob{}, expect); !errors.Is(err, stream.ErrConflict) {
			t.Errorf("put at %d over %d: %v, want stream.ErrConflict", expect, rev, err)
		}
	}
	if _, err := l.Blobs().PutHead(ctx, "d", stream.Blob{Data: []byte("next")}, rev); err != nil {
		t.Error(err)
	}
	if _, err := l.Blobs().PutHead(ctx, "d", stream.Blob{Header: map[string]string{"Nats-Rollup": "all"}}, 0); err == nil {
		t.Error("a header of NATS was taken")
	}
}

func TestChunksAndSegments(t *testing.T) {
	l, _ := open(t, stream.Config{})
	ctx := within(t, 20*time.Second)
	attempt := l.Blobs().NewAttempt()
	subjects := []string{l.Blobs().ChunkSubject("a.b", attempt, 0), l.Blobs().ChunkSubject("a.b", attempt, 1), l.Blobs().SegmentSubject("a.b", 3, 900, attempt)}
	for _, s := range subjects {
		if _, err := l.Blobs().Put(ctx, s, stream.Blob{Header: map[string]string{"Yjet-Sum": "x"}, Data: []byte(s)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Blobs().Put(ctx, l.Blobs().ChunkSubject("a", attempt, 0), stream.Blob{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Blobs().PutHead(ctx, "a.b", stream.Blob{}, 0); err != nil {
		t.Fatal(err)
	}
	slices.Sort(subjects)
	if got, err := l.Blobs().List(ctx, "a.b"); err != nil || !slices.Equal(got, subjects) {
		t.Errorf("blobs: %q, %v; want %q", got, err, subjects)
	}
	for _, s := range subjects {
		if b, ok, err := l.Blobs().Get(ctx, s); err != nil || !ok || string(b.Data) != s || b.Header["Yjet-Sum"] != "x" {
			t.Errorf("get %s: %+v, %v, %v", s, b, ok, err)
		}
		if err := l.Blobs().Remove(ctx, s); err != nil {
			t.Error(err)
		}
		if err := l.Blobs().Remove(ctx, s); err != nil {
			t.Errorf("remove what is gone: %v", err)
		}
		if _, ok, err := l.Blobs().Get(ctx, s); ok || err != nil {
			t.Errorf("get what is gone: %v, %v", ok, err)
		}
	}
	if got, err := l.Blobs().List(ctx, "a"); err != nil || len(got) != 1 {
		t.Errorf("another document's blobs: %q, %v", got, err)
	}
	for _, s := range []string{"", "ydoc.00.a", "ysnap.00.head.a", "ysnap.09.part.x.0.a", "ysnap.0.part.x.0.a", "ysnap.00.part.x.0.>", "ysnap.00.part.*.0.a", "yhist.00.1.2.x.a b", "$KV.ymeta.a.b"} {
		if _, err := l.Blobs().Put(ctx, s, stream.Blob{}); err == nil {
			t.Errorf("put on %q was done", s)
		}
		if err := l.Blobs().Remove(ctx, s); err == nil {
			t.Errorf("remove of %q was done", s)
		}
	}
}

func TestAnnouncementsReachAllServers(t *testing.T) {
	l, srv := open(t, stream.Config{})
	other := openOn(t, srv, stream.Config{})
	got := make(chan string, 10)
	for name, by := range map[string]*stream.Log{"mine": l, "theirs": other} {
		stop, err := by.Control().On("revoke", func(p []byte) { got <- name + " " + string(p) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if _, err := by.Meta().End(t.Context()); err != nil { // an answer on the connection of the subscription: NATS knows of it
			t.Fatal(err)
		}
	}
	if err := l.Control().Announce("revoke", []byte("u")); err != nil {
		t.Fatal(err)
	}
	heard := []string{<-got, <-got}
	slices.Sort(heard)
	if !slices.Equal(heard, []string{"mine u", "theirs u"}) {
		t.Errorf("heard %q", heard)
	}
	if err := l.Control().Announce("a.>", nil); err == nil {
		t.Error("a wildcard was announced")
	}
}
