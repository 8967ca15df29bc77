package bucket_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"yjet/internal/natstest"
	"yjet/internal/testlog"
	"yjet/stream"
	"yjet/stream/bucket"
	"yjet/stream/name"
)

// TestAHeadIsRemovedUpToItsRevision: a fold that another server has made since stays.
func TestAHeadIsRemovedUpToItsRevision(t *testing.T) {
	l, _ := open(t, stream.Config{}, natstest.Process)
	ctx := within(t, time.Minute)
	blobs := l.Blobs()
	first, err := blobs.PutHead(ctx, "d", stream.Blob{Data: []byte("first")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := blobs.PutHead(ctx, "d", stream.Blob{Data: []byte("second")}, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blobs.PutHead(ctx, "d/below", stream.Blob{Data: []byte("another document")}, 0); err != nil {
		t.Fatal(err)
	}
	if err := blobs.RemoveHead(ctx, "d", first); err != nil {
		t.Fatal(err)
	}
	if b, ok, err := blobs.Head(ctx, "d"); err != nil || !ok || string(b.Data) != "second" {
		t.Errorf("after the removal of the first: %q, %v, %v; want the second", b.Data, ok, err)
	}
	for range 2 { // the second time there is nothing to remove
		if err := blobs.RemoveHead(ctx, "d", second); err != nil {
			t.Fatal(err)
		}
	}
	if b, ok, err := blobs.Head(ctx, "d"); err != nil || ok {
		t.Errorf("after the removal of the second: %q, %v, %v", b.Data, ok, err)
	}
	if b, ok, err := blobs.Head(ctx, "d/below"); err != nil || !ok || string(b.Data) != "another document" {
		t.Errorf("the document below is %q, %v, %v", b.Data, ok, err)
	}
	if _, err := blobs.PutHead(ctx, "d", stream.Blob{Data: []byte("anew")}, 0); err != nil {
		t.Errorf("a new head: %v", err)
	}
}

// TestAClaimIsRemovedUpToItsRevision: a server that took the claim over keeps its own, and its answer.
func TestAClaimIsRemovedUpToItsRevision(t *testing.T) {
	l, _ := open(t, stream.Config{}, natstest.Process)
	ctx := within(t, time.Minute)
	edits := l.Edits()
	key := edits.Key("d", "ann", "k")
	claim, err := edits.Put(ctx, key, stream.Answer{Request: "r", After: 7})
	if err != nil {
		t.Fatal(err)
	}
	answered, err := edits.Put(ctx, key, stream.Answer{Request: "r", Status: 200, Body: []byte(`{"seq":8}`), Rev: claim})
	if err != nil {
		t.Fatal(err)
	}
	if err := edits.Remove(ctx, key, claim); err != nil {
		t.Fatal(err)
	}
	if a, err := edits.Get(ctx, key); err != nil || a.Rev != answered || a.Status != 200 || string(a.Body) != `{"seq":8}` {
		t.Errorf("after the removal of the claim: %+v, %v; want the answer", a, err)
	}
	if err := edits.Remove(ctx, key, answered); err != nil {
		t.Fatal(err)
	}
	if a, err := edits.Get(ctx, key); err != nil || a.Rev != 0 {
		t.Errorf("after the removal of the answer: %+v, %v; want none", a, err)
	}
}

// TestPurgingTheKeysOfOneDocumentLeavesItsNeighbours, and no marker.
func TestPurgingTheKeysOfOneDocumentLeavesItsNeighbours(t *testing.T) {
	l, srv := open(t, stream.Config{}, natstest.Process)
	ctx := within(t, time.Minute)
	before, err := l.Meta().List(ctx, ">")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"v.one.a", "v.two.a", "v.one.a.b", "w.one.a"} {
		if _, err := l.Meta().Put(ctx, key, []byte(key), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Meta().Purge(ctx, "v.*.a"); err != nil {
		t.Fatal(err)
	}
	var left []string
	list, err := l.Meta().List(ctx, ">")
	for _, e := range list {
		left = append(left, e.Key)
	}
	if err != nil || len(list) != len(before)+2 || !strings.Contains(strings.Join(left, " "), "v.one.a.b") || !strings.Contains(strings.Join(left, " "), "w.one.a") {
		t.Errorf("left are %q, %v; want v.one.a.b and w.one.a", left, err)
	}
	kv, err := streams(t, srv).KeyValue(ctx, "ymeta")
	if err != nil {
		t.Fatal(err)
	}
	if h, err := kv.History(ctx, "v.one.a"); err == nil && len(h) > 0 {
		t.Errorf("a marker is left: %v", h)
	}
	for _, filter := range []string{"", "a b", "a..b", ".a", "a.>.b", "a*"} {
		if err := l.Meta().Purge(ctx, filter); err == nil {
			t.Errorf("the filter %q was purged", filter)
		}
		if _, err := l.Meta().List(ctx, filter); err == nil {
			t.Errorf("the filter %q was listed", filter)
		}
	}
	for _, key := range []string{"", "a b", "a.*", "a.>", ".a", "a.", "a\nb"} {
		if _, err := l.Meta().Put(ctx, key, nil, nil); err == nil {
			t.Errorf("the key %q was put", key)
		}
		if _, _, err := l.Meta().Get(ctx, key); err == nil {
			t.Errorf("the key %q was read", key)
		}
		if err := l.Meta().Delete(ctx, key); err == nil {
			t.Errorf("the key %q was deleted", key)
		}
	}
}

// TestPresenceOfOneDocumentIsPurgedAlone: a document of a longer name has its own clients.
func TestPresenceOfOneDocumentIsPurgedAlone(t *testing.T) {
	l, _ := open(t, stream.Config{}, natstest.Process)
	ctx := within(t, time.Minute)
	for _, doc := range []stream.Doc{"team", "team/plan", "team.plan"} {
		for client := range uint64(3) {
			if _, err := l.Presence().Put(ctx, doc, bucket.Client{User: "ann", Client: client, Node: "n"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Presence().Purge(ctx, "team"); err != nil {
		t.Fatal(err)
	}
	for doc, want := range map[stream.Doc]int{"team": 0, "team/plan": 3, "team.plan": 3} {
		if list, err := l.Presence().List(ctx, doc); err != nil || len(list) != want {
			t.Errorf("%s has %d clients, %v, want %d", doc, len(list), err, want)
		}
	}
}

// TestAPresenceEntryThatCannotBeReadHidesNoOther: another program may write into the bucket.
func TestAPresenceEntryThatCannotBeReadHidesNoOther(t *testing.T) {
	log := &testlog.Buffer{}
	l, srv := open(t, stream.Config{Log: log.Logger(slog.LevelInfo)}, natstest.Process)
	ctx := within(t, time.Minute)
	if _, err := l.Presence().Put(ctx, "d", bucket.Client{User: "ann", Client: 7, Node: "n"}); err != nil {
		t.Fatal(err)
	}
	kv, err := streams(t, srv).KeyValue(ctx, "ypresence")
	if err != nil {
		t.Fatal(err)
	}
	key := name.Client(name.Doc("d").Path(), 7)
	for _, other := range []string{strings.TrimSuffix(key, "7") + "8", strings.TrimSuffix(key, "7") + "nobody"} {
		if _, err := kv.Put(ctx, other, []byte("{not JSON")); err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.Presence().List(ctx, "d")
	if err != nil || len(list) != 1 || list[0].User != "ann" || list[0].Client != 7 {
		t.Errorf("the list is %+v, %v; want ann alone", list, err)
	}
	if n := strings.Count(log.String(), "presence entry that cannot be read"); n != 2 {
		t.Errorf("the log tells of %d entries, want 2: %s", n, log)
	}
}

// TestBucketsWaitForARestartOfNATS: what is read and written while the server is away is answered when it is back.
func TestBucketsWaitForARestartOfNATS(t *testing.T) {
	l, srv := open(t, stream.Config{}, natstest.Process)
	ctx := within(t, time.Minute)
	if _, err := l.Meta().Put(ctx, "kept", []byte("before"), nil); err != nil {
		t.Fatal(err)
	}
	chunk := l.Blobs().ChunkSubject("d", l.Blobs().NewAttempt(), 0)
	if _, err := l.Blobs().Put(ctx, chunk, stream.Blob{Data: []byte("chunk")}); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	var wg sync.WaitGroup
	for what, f := range map[string]func() error{
		"get": func() error {
			e, ok, err := l.Meta().Get(ctx, "kept")
			if err == nil && (!ok || string(e.Value) != "before") {
				err = fmt.Errorf("%v, %q", ok, e.Value)
			}
			return err
		},
		"put":        func() error { _, err := l.Meta().Put(ctx, "new", []byte("x"), nil); return err },
		"list":       func() error { _, err := l.Meta().List(ctx, ">"); return err },
		"presence":   func() error { _, err := l.Presence().Put(ctx, "d", bucket.Client{Client: 1}); return err },
		"purge":      func() error { return l.Presence().Purge(ctx, "other") },
		"head":       func() error { _, err := l.Blobs().PutHead(ctx, "d", stream.Blob{Data: []byte("head")}, 0); return err },
		"other blob": func() error { return l.Blobs().Remove(ctx, l.Blobs().ChunkSubject("d", "AAAAAAAA", 0)) },
		"blob": func() error {
			b, ok, err := l.Blobs().Get(ctx, chunk)
			if err == nil && (!ok || string(b.Data) != "chunk") {
				err = fmt.Errorf("%v, %q", ok, b.Data)
			}
			return err
		},
	} {
		wg.Go(func() {
			if err := f(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	srv.Restart()
	wg.Wait()
}

// TestAnAnnouncementIsHeardUntilItsListenerStops.
func TestAnAnnouncementIsHeardUntilItsListenerStops(t *testing.T) {
	l, _ := open(t, stream.Config{}, natstest.Process)
	heard := make(chan string, 10)
	stop, err := l.Control().On("kick", func(p []byte) { heard <- "first " + string(p) })
	if err != nil {
		t.Fatal(err)
	}
	still, err := l.Control().On("kick", func(p []byte) { heard <- "second " + string(p) })
	if err != nil {
		t.Fatal(err)
	}
	defer still()
	stop()
	if err := l.Control().Announce("kick", []byte("x")); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-heard:
		if got != "second x" {
			t.Errorf("heard %q", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing was heard")
	}
	for _, kind := range []string{"", "*", ">", "a b"} {
		if _, err := l.Control().On(kind, func([]byte) {}); err == nil {
			t.Errorf("%q is listened to", kind)
		}
	}
}
