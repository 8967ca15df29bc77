package snapshot

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"yjet/internal/natstest"
	"yjet/stream"
)

// TestErasedDocumentOfManyRecordsIsOverwrittenAmongOthers: its records lie scattered over a block that NATS has no reason to write
// anew, because most of it is others' and alive.
func TestErasedDocumentOfManyRecordsIsOverwrittenAmongOthers(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, natstest.StoreDir(dir))
	s := h.store(Options{EraseWait: time.Hour})
	a := h.author("secret", "ada")
	var others []*author // in both shards
	for k := range 4 {
		others = append(others, h.author(stream.Doc(fmt.Sprintf("neighbour%d", k)), "bob"))
	}
	kept := make(map[stream.Doc][][]byte)
	for i := range 300 {
		a.types(fmt.Sprintf("SECRET %d", i))
		o := others[i%len(others)]
		e := o.entry(strings.Repeat("neighbour ", 8<<10))
		kept[o.doc] = append(kept[o.doc], e.Update)
		o.append(e)
	}
	if got := filesWith(t, dir, "SECRET"); len(got) == 0 {
		t.Fatal("the text is in no file before it is erased: the test looks in the wrong place")
	}
	if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	if got := filesWith(t, dir, "SECRET"); len(got) != 0 {
		t.Errorf("the text is still in %v", got)
	}
	for doc, updates := range kept {
		if got, want := filled(t, s, doc), foldOf(t, updates...); !bytes.Equal(got, want) {
			t.Errorf("%q has %d bytes, want %d", doc, len(got), len(want))
		}
	}
}
