package ingest

import (
	"testing"

	"yjet/internal/yjs"
)

func TestEditReachesTheOtherAndIsLoggedOnce(t *testing.T) {
	w := start(t)
	a, b := w.open("/room"), w.open("/room")
	a.send(edit(insert(7, 0, "hi")))
	a.has(7, 2) // the receipt
	b.has(7, 2)
	got := w.records("room")
	if len(got) != 1 || string(got[0].Update) != string(insert(7, 0, "hi")) {
		t.Fatalf("records: got %d, want the update alone", len(got))
	}
	if got[0].Sum.N != 1 || got[0].Conn == "" {
		t.Errorf("record: got sum %+v conn %q, want count 1 and a connection", got[0].Sum, got[0].Conn)
	}
	a.send(edit(insert(7, 0, "hi"))) // again: nothing new
	a.send(edit(insert(7, 2, "!")))
	b.has(7, 3)
	if got := w.records("room"); len(got) != 2 {
		t.Errorf("records after a repetition: got %d, want 2", len(got))
	}
}

func TestHandshakeIsStep1ThenStep2ThenAwareness(t *testing.T) {
	w := start(t)
	a := w.open("/room")
	a.send(aware(1, 1, `{"user":{"name":"Ann"}}`), edit(insert(1, 0, "x")))
	a.has(1, 1)
	b := w.dial("/room")
	b.send(step1(nil))
	var kinds [][2]uint64
	for range 3 {
		m, _, err := yjs.ReadMessage(b.next().data)
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, [2]uint64{m.Type, m.Step})
	}
	want := [][2]uint64{{yjs.MsgSync, yjs.SyncStep1}, {yjs.MsgSync, yjs.SyncStep2}, {yjs.MsgAwareness, 0}}
	for i := range want {
		if kinds[i] != want[i] {
			t.Fatalf("frames after step 1: got %v, want %v", kinds, want)
		}
	}
	if got := b.present()[1]; got != `{"user":{"name":"Ann"}}` {
		t.Errorf("presence of a joiner: got %q", got)
	}
}
