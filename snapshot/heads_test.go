package snapshot

import (
	"bytes"
	"testing"
	"time"

	"yjet/stream"
)

func TestLostEndOfADocumentIsFoundAtTheNextStart(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{CompactAfter: time.Hour})
	lost, folded, gone := h.author("lost", "ada"), h.author("folded", "ada"), h.author("gone", "ada")
	for _, a := range []*author{lost, folded, gone} {
		seqs := a.types("a", "b", "c")
		s.Hint(a.doc, seqs[2], 30, 3, true)
	}
	if err := s.markHeads(h.ctx); err != nil {
		t.Fatal(err)
	}
	mustFold(t, s, folded.doc)
	if err := s.Erase(h.ctx, gone.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	s.headKeeper.mu.Lock()
	if _, ok := s.heads[folded.doc]; ok || len(s.heads) != 1 {
		t.Errorf("heads = %v, want those that are there and not folded through their end", s.heads)
	}
	s.headKeeper.mu.Unlock()

	next := h.store(Options{})
	if err := next.checkHeads(h.ctx); err != nil || len(next.AllDamaged()) != 0 {
		t.Errorf("with nothing lost: %v, %v", next.AllDamaged(), err)
	}
	seqs := inLog(t, h.log, lost.doc)
	if err := h.log.EraseRecords(h.ctx, lost.doc, seqs[2]); err != nil {
		t.Fatal(err)
	}
	if err := next.checkHeads(h.ctx); err != nil {
		t.Fatal(err)
	}
	if d, ok := next.Damaged(lost.doc); !ok || d.What != "log" || len(next.AllDamaged()) != 1 {
		t.Errorf("damaged are %+v, want the one document whose end is lost", next.AllDamaged())
	}
}

func TestOpenDocumentsAreMarkedToo(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("open", "ada")
	seqs := a.types("a", "b")
	tail, err := h.log.Tail(h.ctx, a.doc, s, quietSink{})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	if err := s.markHeads(h.ctx); err != nil {
		t.Fatal(err)
	}
	if got := s.heads[a.doc]; got != seqs[1] {
		t.Errorf("marked at %d, want %d", got, seqs[1])
	}
	mustFold(t, s, a.doc)
	if err := s.markHeads(h.ctx); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.heads[a.doc]; ok {
		t.Errorf("marked at %d after the fold, want no mark", got)
	}
}

func TestErasedDocumentIsNotTakenForDamagedLater(t *testing.T) {
	h := newHouse(t)
	next := *h
	next.log = h.open()
	servers := []*Store{h.store(Options{CompactAfter: time.Hour}), next.store(Options{CompactAfter: time.Hour})}
	gone, other := h.author("gone", "ada"), h.author("other", "ada")
	seqs := gone.types("a", "b")
	for _, s := range servers {
		s.Hint(gone.doc, seqs[1], 30, 2, true)
	}
	if err := servers[0].Erase(h.ctx, gone.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	// Days later another document has grown, and the marks are written again.
	seqs = other.types("x")
	for _, s := range servers {
		s.Hint(other.doc, seqs[0], 10, 1, true)
		if err := s.markHeads(h.ctx); err != nil {
			t.Fatal(err)
		}
	}
	marks, err := h.log.Meta().List(h.ctx, headsPrefix+">")
	if err != nil || len(marks) != len(servers) {
		t.Fatalf("got %d marks (%v), want %d", len(marks), err, len(servers))
	}
	year := []byte(time.Now().UTC().Format("2006"))
	for _, m := range marks {
		if _, err := h.log.Meta().Put(h.ctx, m.Key, bytes.Replace(m.Value, year, []byte("2999"), 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	if seq, ok := servers[0].heads[gone.doc]; ok {
		t.Errorf("the server that erased it still marks it, at %d", seq)
	}
	later := h.store(Options{})
	if err := later.checkHeads(h.ctx); err != nil {
		t.Fatal(err)
	}
	if d := later.AllDamaged(); len(d) != 0 {
		t.Errorf("damaged: %+v", d)
	}
}

type quietSink struct{}

func (quietSink) Base([]byte, stream.Seq)                   {}
func (quietSink) Record(stream.Record)                      {}
func (quietSink) Flush()                                    {}
func (quietSink) Aware(string, []byte)                      {}
func (quietSink) Message(string, []byte, map[string]string) {}
func (quietSink) Failed(error)                              {}
