package stream

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
	"yjet/stream/name"
)

var hostile = []string{
	"*", ">", "a.b", "a b", "a*b>c", "$KV.ymeta.shards", "$JS.API.INFO", "_INBOX.x", "=", "==", "=2E", "a==B", "%2F", "né", "🙂🙂",
	"a/b", "a/b/c", "a/*", "a/>", "-", "'\"<script>", "{\"a\":1}", "a\u2028b", "A", "a",
	strings.Repeat("🙂", 63), strings.Repeat(".", 255), strings.Repeat("x", 255), strings.Repeat("x", 254) + "y",
}

func TestHostileNamesAreDocumentsOfTheirOwn(t *testing.T) {
	l, _ := open(t, Config{})
	for i, name := range hostile {
		doc, err := ParseDoc(name)
		if err != nil {
			t.Fatalf("ParseDoc(%q): %v", name, err)
		}
		tl, s := tail(t, l, doc)
		mustAppend(t, l.Writer(doc), fmt.Sprint(i), "second")
		eventually(t, "both records", func() bool { return s.len() == 2 })
		tl.Close()
		if _, err := l.presence.Put(within(t, 5*time.Second), doc, Presence{Client: uint64(i)}); err != nil {
			t.Errorf("presence of %q: %v", name, err)
		}
		if _, err := l.blobs.PutHead(within(t, 5*time.Second), doc, Blob{Data: []byte(name)}, 0); err != nil {
			t.Errorf("snapshot of %q: %v", name, err)
		}
	}
	docs, err := l.Docs(within(t, 10*time.Second), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range docs {
		names = append(names, string(d.Doc))
		if d.Records != 2 || d.Bytes != len("second") || time.Since(d.LastAt) > time.Minute {
			t.Errorf("listing of %q: %+v", d.Doc, d)
		}
		if h, err := l.Head(within(t, 5*time.Second), d.Doc); err != nil || h != d.Last {
			t.Errorf("%q: listed with last %d, head is %d, %v", d.Doc, d.Last, h, err)
		}
	}
	want := slices.Sorted(slices.Values(hostile))
	if !slices.Equal(names, want) {
		t.Errorf("listed:\n%q\nwant:\n%q", names, want)
	}
	for i, name := range hostile {
		recs := checkLog(t, l, Doc(name))
		if len(recs) != 2 || string(recs[0].Update) != fmt.Sprint(i) {
			t.Errorf("log of %q is %d records", name, len(recs))
		}
		ps, err := l.presence.List(within(t, 5*time.Second), Doc(name))
		if err != nil || len(ps) != 1 || ps[0].Client != uint64(i) {
			t.Errorf("presence of %q is %+v, %v", name, ps, err)
		}
		b, ok, err := l.blobs.Head(within(t, 5*time.Second), Doc(name))
		if err != nil || !ok || string(b.Data) != name {
			t.Errorf("snapshot of %q is %+v, %v, %v", name, b, ok, err)
		}
	}
	page, err := l.Docs(within(t, 10*time.Second), "a", "a b", 2)
	if err != nil || len(page) != 2 || page[0].Doc != "a*b>c" || page[1].Doc != "a.b" {
		t.Errorf("page after \"a b\" is %+v, %v", page, err)
	}
	// Erasing one leaves all others.
	if err := l.Erase(within(t, 10*time.Second), Doc(hostile[0])); err != nil {
		t.Fatal(err)
	}
	if docs, err = l.Docs(within(t, 10*time.Second), "", "", 0); err != nil || len(docs) != len(hostile)-1 {
		t.Errorf("after erasing one of %d: %d, %v", len(hostile), len(docs), err)
	}
	if ps, err := l.presence.List(within(t, 5*time.Second), Doc(hostile[0])); err != nil || len(ps) != 0 {
		t.Errorf("presence of an erased document is %+v, %v", ps, err)
	}
	if _, ok, err := l.blobs.Head(within(t, 5*time.Second), Doc(hostile[0])); err != nil || ok {
		t.Errorf("an erased document has a snapshot: %v, %v", ok, err)
	}
}

func TestReplayPagesThroughLongLogs(t *testing.T) {
	l, _ := open(t, Config{Durability: "process"})
	const n = 5000
	w, noise := l.Writer("long"), l.Writer("noise")
	var seqs []Seq
	for len(seqs) < n {
		entries := make([]Entry, 500)
		for i := range entries {
			entries[i].Update = fmt.Append(nil, len(seqs)+i)
		}
		s, err := appendAll(within(t, 30*time.Second), w, entries...)
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, s...)
		mustAppend(t, noise, "x")
	}
	big := mustAppend(t, w, strings.Repeat("b", 3<<20), strings.Repeat("c", 2<<20))
	if recs := checkLog(t, l, "long"); len(recs) != n+2 || len(recs[n].Update) != 3<<20 {
		t.Errorf("%d records, want %d", len(recs), n+2)
	}
	for _, c := range []struct{ after, upto Seq }{{0, seqs[0]}, {seqs[10], seqs[1999]}, {seqs[n-1], 0}, {big[1], 0}, {seqs[5], seqs[5]}, {0, seqs[700] - 1}} {
		var want []Seq
		for _, s := range append(slices.Clone(seqs), big...) {
			if s > c.after && (s <= c.upto || c.upto == 0) {
				want = append(want, s)
			}
		}
		var got []Seq
		for _, r := range replay(t, l, "long", c.after, c.upto) {
			got = append(got, r.Seq)
		}
		if !slices.Equal(got, want) {
			t.Errorf("replay after %d up to %d: %d records, want %d", c.after, c.upto, len(got), len(want))
		}
	}
	count := 0
	for _, err := range l.Replay(within(t, 10*time.Second), "long", 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 3 {
			break
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range l.Replay(ctx, "long", 0, seqs[10]) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("replay in an ended context: %v", err)
		}
	}
}

func TestTrimKeepsTheRecordItNames(t *testing.T) {
	l, _ := open(t, Config{})
	w := l.Writer("d")
	seqs := mustAppend(t, w, "1", "2", "3", "4")
	other := mustAppend(t, l.Writer("e"), "x")
	if err := l.Trim(within(t, 5*time.Second), "d", seqs[2]); err != nil {
		t.Fatal(err)
	}
	if recs := replay(t, l, "d", 0, 0); len(recs) != 2 || recs[0].Seq != seqs[2] {
		t.Errorf("left: %+v, want from %d on", recs, seqs[2])
	}
	if recs := replay(t, l, "e", 0, 0); len(recs) != 1 || recs[0].Seq != other[0] {
		t.Errorf("another document: %+v", recs)
	}
	if err := l.Trim(within(t, 5*time.Second), "d", 0); err == nil {
		t.Error("trim below 0 was done")
	}
}

func TestPresenceIsReadableByTheKeyValueLayer(t *testing.T) {
	l, srv := open(t, Config{})
	ctx := within(t, 20*time.Second)
	nc := srv.Connect()
	live, err := nc.SubscribeSync(name.PresenceLive)
	if err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	p := Presence{User: "u", Name: "Ann", Color: "#f00", Client: 7, Clock: 3, Node: l.Node(), Since: time.Now().UTC().Truncate(time.Second), State: json.RawMessage(`{"cursor":1}`)}
	rev, err := l.presence.Put(ctx, "a.b", p)
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
	got, err := l.presence.List(ctx, "a.b")
	if err != nil || len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(p) {
		t.Errorf("list: %+v, %v; want %+v", got, err, p)
	}
	// Another server has put the entry since: our delete leaves it.
	rev2, err := l.presence.Put(ctx, "a.b", p)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.presence.Delete(ctx, "a.b", 7, rev); err != nil {
		t.Errorf("delete with an old revision: %v", err)
	}
	if got, _ := l.presence.List(ctx, "a.b"); len(got) != 1 {
		t.Errorf("after a delete with an old revision: %+v, want the entry", got)
	}
	if err := l.presence.Delete(ctx, "a.b", 7, rev2); err != nil {
		t.Error(err)
	}
	if got, _ := l.presence.List(ctx, "a.b"); len(got) != 0 {
		t.Errorf("after its delete: %+v", got)
	}
	if _, err := kv.Get(ctx, "a=2Eb.7"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("kv get after the delete: %v, want ErrKeyNotFound", err)
	}
}

func TestPresenceEndsByItself(t *testing.T) {
	l, _ := open(t, Config{})
	ctx := within(t, 30*time.Second)
	s, err := streams(t, l).Stream(ctx, name.PresenceStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if cfg.MaxAge != PresenceTTL || cfg.Storage != jetstream.MemoryStorage {
		t.Errorf("bucket lives %v in %v, want %v in memory", cfg.MaxAge, cfg.Storage, PresenceTTL)
	}
	cfg.MaxAge = time.Second // nobody wants to wait for 45
	if _, err := streams(t, l).UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := l.presence.Put(ctx, "d", Presence{Client: 1}); err != nil {
		t.Fatal(err)
	}
	if got, err := l.presence.List(ctx, "d"); err != nil || len(got) != 1 {
		t.Fatalf("list: %+v, %v", got, err)
	}
	eventually(t, "the entry to expire", func() bool {
		got, err := l.presence.List(ctx, "d")
		return err == nil && len(got) == 0
	})
}

func TestListsBeyondOneAnswerOfTheServer(t *testing.T) {
	l, _ := open(t, Config{Durability: "process"}, natstest.Process)
	ctx := within(t, 60*time.Second)
	const n = 1500
	for i := range n {
		m := nats.NewMsg(name.Presence(name.Client("crowd", uint64(i))))
		m.Data = []byte(`{"client":0,"state":null}`)
		if err := l.bulk.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all entries", func() bool {
		got, err := l.presence.List(ctx, "crowd")
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
	l, _ := open(t, Config{})
	ctx := within(t, 20*time.Second)
	zero := uint64(0)
	rev, err := l.meta.Put(ctx, "version.a=2Eb.one", []byte("1"), &zero)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.meta.Put(ctx, "version.a=2Eb.one", []byte("2"), &zero); !errors.Is(err, ErrConflict) {
		t.Errorf("put over a key that is there: %v, want ErrConflict", err)
	}
	rev2, err := l.meta.Put(ctx, "version.a=2Eb.one", []byte("2"), &rev)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.meta.Put(ctx, "version.a=2Eb.one", []byte("3"), &rev); !errors.Is(err, ErrConflict) {
		t.Errorf("put over another revision: %v, want ErrConflict", err)
	}
	e, ok, err := l.meta.Get(ctx, "version.a=2Eb.one")
	if err != nil || !ok || string(e.Value) != "2" || e.Rev != rev2 {
		t.Errorf("get: %+v, %v, %v", e, ok, err)
	}
	if _, err := l.meta.Put(ctx, "version.a=2Eb.two", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.meta.Put(ctx, "version.a", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	list := func(prefix string) (keys []string) {
		t.Helper()
		es, err := l.meta.List(ctx, prefix)
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
	if err := l.meta.Delete(ctx, "version.a=2Eb.one"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := l.meta.Get(ctx, "version.a=2Eb.one"); ok || err != nil {
		t.Errorf("a deleted key is there: %v, %v", ok, err)
	}
	if got, want := list("version.*.two"), []string{"version.a=2Eb.two"}; !slices.Equal(got, want) {
		t.Errorf("list after delete: %q, want %q", got, want)
	}
	if _, err := l.meta.Put(ctx, "version.a=2Eb.one", []byte("again"), &zero); err != nil {
		t.Errorf("put where a key was deleted: %v", err)
	}
	for _, key := range []string{"", ".", "a.", ".a", "a..b", "a*", "a.>", "a b", "a\r\nb", "é"} {
		if _, err := l.meta.Put(ctx, key, nil, nil); err == nil {
			t.Errorf("key %q was taken", key)
		}
		if _, _, err := l.meta.Get(ctx, key); err == nil {
			t.Errorf("key %q was asked for", key)
		}
	}
	if _, err := l.meta.List(ctx, "a*"); err == nil {
		t.Error("a prefix with a wildcard was asked for")
	}
}

func TestSnapshotHeadsAreReplacedOnlyInTurn(t *testing.T) {
	l, _ := open(t, Config{})
	ctx := within(t, 20*time.Second)
	if _, ok, err := l.blobs.Head(ctx, "d"); ok || err != nil {
		t.Fatalf("head of nothing: %v, %v", ok, err)
	}
	big := Blob{Header: map[string]string{"Yjet-Upto": "12", "Yjet-Note": " é\r\nx%"}, Data: []byte(strings.Repeat("\x00\xff\"data\":", 50000))}
	rev, err := l.blobs.PutHead(ctx, "d", big, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := l.blobs.Head(ctx, "d")
	if err != nil || !ok || got.Rev != rev || string(got.Data) != string(big.Data) || fmt.Sprint(got.Header) != fmt.Sprint(big.Header) {
		t.Errorf("head: %d bytes, rev %d, %q, %v", len(got.Data), got.Rev, got.Header, err)
	}
	for _, expect := range []Seq{0, rev + 1} {
		if _, err := l.blobs.PutHead(ctx, "d", Blob{}, expect); !errors.Is(err, ErrConflict) {
			t.Errorf("put at %d over %d: %v, want ErrConflict", expect, rev, err)
		}
	}
	if _, err := l.blobs.PutHead(ctx, "d", Blob{Data: []byte("next")}, rev); err != nil {
		t.Error(err)
	}
	if _, err := l.blobs.PutHead(ctx, "d", Blob{Header: map[string]string{"Nats-Rollup": "all"}}, 0); err == nil {
		t.Error("a header of NATS was taken")
	}
}

func TestChunksAndSegments(t *testing.T) {
	l, _ := open(t, Config{})
	ctx := within(t, 20*time.Second)
	attempt := l.blobs.NewAttempt()
	subjects := []string{l.blobs.ChunkSubject("a.b", attempt, 0), l.blobs.ChunkSubject("a.b", attempt, 1), l.blobs.SegmentSubject("a.b", 3, 900, attempt)}
	for _, s := range subjects {
		if _, err := l.blobs.Put(ctx, s, Blob{Header: map[string]string{"Yjet-Sum": "x"}, Data: []byte(s)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.blobs.Put(ctx, l.blobs.ChunkSubject("a", attempt, 0), Blob{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.blobs.PutHead(ctx, "a.b", Blob{}, 0); err != nil {
		t.Fatal(err)
	}
	slices.Sort(subjects)
	if got, err := l.blobs.List(ctx, "a.b"); err != nil || !slices.Equal(got, subjects) {
		t.Errorf("blobs: %q, %v; want %q", got, err, subjects)
	}
	for _, s := range subjects {
		if b, ok, err := l.blobs.Get(ctx, s); err != nil || !ok || string(b.Data) != s || b.Header["Yjet-Sum"] != "x" {
			t.Errorf("get %s: %+v, %v, %v", s, b, ok, err)
		}
		if err := l.blobs.Remove(ctx, s); err != nil {
			t.Error(err)
		}
		if err := l.blobs.Remove(ctx, s); err != nil {
			t.Errorf("remove what is gone: %v", err)
		}
		if _, ok, err := l.blobs.Get(ctx, s); ok || err != nil {
			t.Errorf("get what is gone: %v, %v", ok, err)
		}
	}
	if got, err := l.blobs.List(ctx, "a"); err != nil || len(got) != 1 {
		t.Errorf("another document's blobs: %q, %v", got, err)
	}
	for _, s := range []string{"", "ydoc.00.a", "ysnap.00.head.a", "ysnap.09.part.x.0.a", "ysnap.0.part.x.0.a", "ysnap.00.part.x.0.>", "ysnap.00.part.*.0.a", "yhist.00.1.2.x.a b", "$KV.ymeta.a.b"} {
		if _, err := l.blobs.Put(ctx, s, Blob{}); err == nil {
			t.Errorf("put on %q was done", s)
		}
		if err := l.blobs.Remove(ctx, s); err == nil {
			t.Errorf("remove of %q was done", s)
		}
	}
}

func TestAnnouncementsReachAllServers(t *testing.T) {
	l, srv := open(t, Config{})
	other := openOn(t, srv, Config{})
	got := make(chan string, 10)
	for name, by := range map[string]*Log{"mine": l, "theirs": other} {
		stop, err := by.control.On("revoke", func(p []byte) { got <- name + " " + string(p) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		by.bulk.Flush()
	}
	if err := l.control.Announce("revoke", []byte("u")); err != nil {
		t.Fatal(err)
	}
	heard := []string{<-got, <-got}
	slices.Sort(heard)
	if !slices.Equal(heard, []string{"mine u", "theirs u"}) {
		t.Errorf("heard %q", heard)
	}
	if err := l.control.Announce("a.>", nil); err == nil {
		t.Error("a wildcard was announced")
	}
}
