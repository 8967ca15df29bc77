package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/natstest"
	"yjet/stream/name"
)

// everythingOf stores one of each kind for a document: two records, a head, a chunk, a segment, presence, a version.
func everythingOf(t *testing.T, l *Log, doc Doc) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	mustAppend(t, l.Writer(doc), "1 of "+string(doc), "2 of "+string(doc))
	if _, err := l.blobs.PutHead(ctx, doc, Blob{Data: []byte(doc)}, 0); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{l.blobs.ChunkSubject(doc, "ATTEMPT1", 0), l.blobs.SegmentSubject(doc, 1, 2, "ATTEMPT1")} {
		if _, err := l.blobs.Put(ctx, subject, Blob{Data: []byte(doc)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.presence.Put(ctx, doc, Presence{Client: 7}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.meta.Put(ctx, "version."+name.Token("v/1")+"."+doc.Path(), []byte(doc), nil); err != nil {
		t.Fatal(err)
	}
}

// inventory is what the store has of a document, in short.
func inventory(t *testing.T, l *Log, doc Doc) string {
	t.Helper()
	ctx := within(t, 20*time.Second)
	_, head, err := l.blobs.Head(ctx, doc)
	blobs, err2 := l.blobs.List(ctx, doc)
	clients, err3 := l.presence.List(ctx, doc)
	versions, err4 := l.meta.List(ctx, "version.*."+doc.Path())
	if err := errors.Join(err, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("records %d, head %v, blobs %d, clients %d, versions %d", len(replay(t, l, doc, 0, 0)), head, len(blobs), len(clients), len(versions))
}

// TestADocumentAndItsFolderShareNothing: "a" and what lies below "a/" are documents of their own, however their subjects are told.
func TestADocumentAndItsFolderShareNothing(t *testing.T) {
	l, _ := open(t, Config{Shards: 1})
	ctx := within(t, 60*time.Second)
	docs := []Doc{"a", "a/b", "a/b/c", "a/7", "b/a", "head/a", "part/ATTEMPT1/0/a", "1/2/ATTEMPT1/a", "a/*", Doc("a/" + strings.Repeat("x", 220)), Doc(strings.Repeat("a/", 20) + "b")}
	for _, doc := range docs {
		everythingOf(t, l, doc)
	}
	const all, trimmed, none = "records 2, head true, blobs 2, clients 1, versions 1", "records 1, head true, blobs 2, clients 1, versions 1", "records 0, head false, blobs 0, clients 0, versions 0"
	for _, doc := range docs {
		if got := inventory(t, l, doc); got != all {
			t.Fatalf("%q has %s, want %s", doc, got, all)
		}
	}
	last, err := l.Head(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Trim(ctx, "a", last); err != nil {
		t.Fatal(err)
	}
	for i, doc := range docs {
		want := all
		if i == 0 {
			want = trimmed
		}
		if got := inventory(t, l, doc); got != want {
			t.Errorf("after a trim of a: %q has %s, want %s", doc, got, want)
		}
	}
	for i, doc := range docs {
		if err := errors.Join(l.Erase(ctx, doc), l.meta.Purge(ctx, "version.*."+doc.Path())); err != nil {
			t.Fatal(err)
		}
		if got := inventory(t, l, doc); got != none {
			t.Errorf("%q is erased and has %s", doc, got)
		}
		for _, other := range docs[i+1:] {
			if got := inventory(t, l, other); got != all {
				t.Errorf("after the erasure of %q: %q has %s, want %s", doc, other, got, all)
			}
		}
	}
}

func TestListingByPrefixIsTheFilterOfItsFolder(t *testing.T) {
	l, srv := open(t, Config{})
	ctx := within(t, 60*time.Second)
	deep := strings.Repeat("folder/", 25)
	names := []string{"acme", "acme/a", "acme/b/c", "acme2/a", "ac/me", "b", "acme/" + strings.Repeat("x", 230), deep + "one", deep + "two/three", "a.b/c"}
	for _, n := range names {
		mustAppend(t, l.Writer(Doc(n)), n)
	}
	nc := srv.Connect()
	asked, err := nc.SubscribeSync("$JS.API.STREAM.INFO.YDOC_00")
	if err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	for _, c := range []struct{ prefix, filter string }{
		{"", "ydoc.00.>"}, {"ac", "ydoc.00.>"}, {"acme", "ydoc.00.>"}, {"acme/", "ydoc.00.acme.>"}, {"/acme//", "ydoc.00.acme.>"}, {"acme/b", "ydoc.00.acme.>"},
		{"acme/b/", "ydoc.00.acme.b.>"}, {"acme/xx", "ydoc.00.acme.>"}, {deep, "ydoc.00." + strings.Repeat("folder.", 17) + ">"}, {deep + "t", "ydoc.00." + strings.Repeat("folder.", 17) + ">"},
		{"a.b/", "ydoc.00.a=2Eb.>"}, {"*/", "ydoc.00.=2A.>"}, {"nothing/", "ydoc.00.nothing.>"},
	} {
		docs, err := l.Docs(ctx, c.prefix, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, d := range docs {
			got = append(got, string(d.Doc))
		}
		for _, n := range names {
			if strings.HasPrefix(n, name.Prefix(c.prefix)) {
				want = append(want, n)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("prefix %.40q: %.60q, want %.60q", c.prefix, got, want)
		}
		if m, err := asked.NextMsg(5 * time.Second); err != nil {
			t.Fatal(err)
		} else if !strings.Contains(string(m.Data), `"subjects_filter":"`+strings.ReplaceAll(c.filter, ">", `\u003e`)+`"`) {
			t.Errorf("prefix %.40q: NATS was asked %s, want the filter %s", c.prefix, m.Data, c.filter)
		}
	}
}

// TestATenantIsAFolder: stock subscriptions and NATS permissions take a folder, and nothing outside of it.
func TestATenantIsAFolder(t *testing.T) {
	l, srv := open(t, Config{Shards: 2}, func(o *server.Options) {
		o.NoAuthUser = "yjet"
		o.Users = []*server.User{{Username: "yjet", Password: "y"}, {Username: "acme", Password: "a", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"ydoc.*.acme.>"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"ylive.*.acme.>", "_INBOX.>"}},
		}}}
	})
	refused := make(chan error, 10)
	tenant := srv.Connect(nats.UserInfo("acme", "a"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	sub, err := tenant.SubscribeSync("ylive.*.acme.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"ylive.>", "ylive.*.acme", "ylive.*.globex.>", "ydoc.>", "$JS.API.>"} {
		if _, err := tenant.SubscribeSync(other); err != nil {
			t.Fatal(err)
		}
		tenant.Flush()
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v, want a permissions violation", other, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("the tenant may subscribe to %s", other)
		}
	}
	mine := []Doc{"acme/a", "acme/b/c", "acme/a.b", "acme/*", Doc("acme/" + strings.Repeat("x", 220))}
	for _, doc := range []Doc{"acme", "acme2/a", "globex/acme/a", "ACME/a", "acme.a", Doc("globex/" + strings.Repeat("x", 220))} {
		mustAppend(t, l.Writer(doc), "not for "+string(doc))
	}
	for _, doc := range mine {
		mustAppend(t, l.Writer(doc), "for "+string(doc))
	}
	for range mine {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(m.Data), "for acme/") {
			t.Errorf("the tenant got %q on %s", m.Data, m.Subject)
		}
	}
	if m, err := sub.NextMsg(10 * time.Millisecond); err == nil {
		t.Errorf("the tenant got %q on %s", m.Data, m.Subject)
	}
	// It appends to its own documents, and to no other's.
	shard := func(d Doc) string { return l.shardOf(d.Path()).no.Subject(name.Log, d.Path()) }
	if _, err := tenant.Request(shard("acme/a"), []byte("by the tenant"), 5*time.Second); err != nil {
		t.Errorf("append in its own folder: %v", err)
	}
	before, err := l.Head(within(t, 5*time.Second), "globex/acme/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := tenant.Publish(shard("globex/acme/a"), []byte("forged")); err != nil {
		t.Fatal(err)
	}
	tenant.Flush()
	select {
	case <-refused:
	case <-time.After(5 * time.Second):
		t.Error("the tenant may publish in another's folder")
	}
	if after, err := l.Head(within(t, 5*time.Second), "globex/acme/a"); err != nil || after != before {
		t.Errorf("another's document went from %d to %d, %v", before, after, err)
	}
}

// TestAStoreOfTheOldLayoutIsRefusedUnchanged: its subjects held a document's name in one token.
func TestAStoreOfTheOldLayoutIsRefusedUnchanged(t *testing.T) {
	srv := natstest.Start(t)
	js, err := jetstream.New(srv.Connect())
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 30*time.Second)
	for _, c := range []jetstream.StreamConfig{
		{Name: "YDOC_00", Subjects: []string{"ydoc.00.*"}, RePublish: &jetstream.RePublish{Source: "ydoc.00.*", Destination: "ylive.00.{{wildcard(1)}}"}},
		{Name: "YSNAP_00", Subjects: []string{"ysnap.00.>"}},
	} {
		if _, err := js.CreateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(ctx, "ydoc.00.notes/todo=2Emd", []byte("record")); err != nil {
		t.Fatal(err)
	}
	state := func() (all []string) {
		for s := range js.ListStreams(ctx).Info() {
			b, err := json.Marshal([]any{s.Config, s.State})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(b))
		}
		slices.Sort(all)
		return all
	}
	before := state()
	err = tryOpen(t, srv, Config{Embedded: true, Shards: 1})
	if !errors.Is(err, ErrConfig) {
		t.Fatalf("open: %v, want ErrConfig", err)
	}
	for _, want := range []string{"ydoc.00.*", "yjet doc export", "yjet doc import", "old binary"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q: %v", want, err)
		}
	}
	if after := state(); !slices.Equal(before, after) {
		t.Errorf("the store was\n%s\nand is\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}
