package ingest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// A client that opens a document while another server deletes it, and types at once as y-websocket does, begins the new document: its text
// is whole for clients that come later. Only a client that was there before is told that its document was deleted.
func TestClientThatOpensDuringADeleteBeginsTheNewDocument(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	ctx := context.Background()
	const keys = 12
	kept := 0
	for round := range 20 {
		doc := fmt.Sprintf("going/%d", round)
		before := w2.open("/" + doc)
		before.send(edit(insert(1, 0, "old text")))
		before.has(1, 8)
		if round%2 == 0 {
			if _, err := w1.snap.Fold(ctx, stream.Doc(doc)); err != nil {
				t.Fatal(err)
			}
		}
		erased := make(chan error, 1)
		go func() { erased <- w1.snap.Erase(ctx, stream.Doc(doc), "") }()
		time.Sleep(time.Duration(round) * 12 * time.Millisecond) // the erasure settles for 200 ms: each round comes at another time
		late := w2.dial("/" + doc)
		_ = late.ws.WriteMessage(websocket.BinaryMessage, step1(nil))
		for k := range uint64(keys) {
			_ = late.ws.WriteMessage(websocket.BinaryMessage, edit(insert(2, k, "x"))) // a client that was sent away hears it below
			time.Sleep(15 * time.Millisecond)
		}
		if err := <-erased; err != nil {
			t.Fatal(err)
		}
		if code := before.code(); code != 4404 {
			t.Errorf("round %d: the client that was there is closed with %d, want 4404", round, code)
		}
		want := uint64(keys)
		late.wait("close", func() bool { return late.closed || late.state().Structs().Prefix(2) == keys })
		if late.mu.Lock(); late.closed {
			want = 0 // it had opened the old document
		} else {
			kept++
		}
		late.mu.Unlock()
		after := w1.open("/" + doc)
		after.has(2, want)
		after.mu.Lock()
		if got := after.state().Structs(); got.Prefix(1) != 0 || got.Prefix(2) != want {
			t.Errorf("round %d: a newcomer has %d of the old text and %d keys, want 0 and %d", round, got.Prefix(1), got.Prefix(2), want)
		}
		after.mu.Unlock()
		if st, err := w1.snap.At(ctx, stream.Doc(doc), snapshot.Moment{}); err == nil {
			d, err := yjs.OpenDocument(yjs.DocumentOptions{}, st.Update)
			if err != nil {
				t.Fatal(err)
			}
			if u := d.PendingUpdate(); len(u) > 2 {
				t.Errorf("round %d: %d bytes wait for what was erased", round, len(u))
			}
		}
	}
	if kept < 10 {
		t.Errorf("%d of 20 clients began the new document, want most of them", kept)
	}
	for i, w := range []*world{w1, w2} {
		if err := w.srv.erased.look(ctx); err != nil {
			t.Fatal(err)
		}
		if list := w.snap.AllDamaged(); len(list) != 0 {
			t.Errorf("server %d marks %d documents damaged, the first %+v; none is", i+1, len(list), list[0])
		}
	}
}
