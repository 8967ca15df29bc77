package snapshot

import (
	"errors"
	"testing"
	"time"

	"yjet/stream"
)

func TestSweepRemovesWhatNoHeadNames(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("swept", "ada")
	var orphans int
	for _, step := range []string{"chunks", "head", "remove"} {
		a.types("some more")
		s.failpoint = func(_ stream.Doc, at string) error {
			if at == step {
				return errCrash
			}
			return nil
		}
		if _, err := s.Fold(h.ctx, a.doc); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
	}
	s.failpoint = nil
	mustFold(t, s, a.doc)
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil {
		t.Fatal(err)
	}
	list, err := h.log.Blobs().List(h.ctx, a.doc)
	if err != nil {
		t.Fatal(err)
	}
	if orphans = len(list) - len(head.names()); orphans == 0 {
		t.Fatal("the crashes left nothing behind: the test proves nothing")
	}
	// Young ones stay: a fold may be about to name them.
	if did, err := s.sweepDoc(h.ctx, a.doc, time.Hour); err != nil || did.Orphans != 0 {
		t.Errorf("swept %+v, %v; want nothing, all being young", did, err)
	}
	if did, err := s.sweepDoc(h.ctx, a.doc, 0); err != nil || did.Orphans != orphans {
		t.Errorf("swept %+v, %v; want %d orphans", did, err, orphans)
	}
	h.wantBlobs(s, a.doc, head)
	if did, err := s.Sweep(h.ctx); err != nil || did.Docs != 1 || did.Damaged != 0 {
		t.Errorf("Sweep = %+v, %v", did, err)
	}
}

func TestSweepDropsHistoryOfDocumentsThatNobodyOpens(t *testing.T) {
	h := newHouse(t)
	all, s := h.store(Options{}), h.store(Options{History: "30d"})
	a := h.author("forgotten", "ada")
	var seqs []stream.Seq
	for i := range 4 {
		a.at = time.Now().Add(-time.Duration(40-20*(i/2)) * 24 * time.Hour)
		seqs = append(seqs, a.types("x")...)
		if i == 1 {
			mustFold(t, all, a.doc)
		}
	}
	// Two segments, as an age would have kept them.
	mustFold(t, s, a.doc)
	before, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil {
		t.Fatal(err)
	}
	if before.info.Horizon == 0 {
		if did, err := s.Sweep(h.ctx); err != nil || did.Folded != 1 {
			t.Fatalf("Sweep = %+v, %v; want one document shortened", did, err)
		}
	}
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil || head.info.Horizon != seqs[1] {
		t.Fatalf("horizon = %d, %v; want %d", head.info.Horizon, err, seqs[1])
	}
	h.wantBlobs(s, a.doc, head)
	if _, err := s.VerifyDoc(h.ctx, a.doc); err != nil {
		t.Error(err)
	}
}

func TestScrubFindsDamageThatNobodyMet(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("rotten", "ada")
	a.types("x", "y")
	mustFold(t, s, a.doc)
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.flip(head.info.History[0].Subject); err != nil {
		t.Fatal(err)
	}
	if did, err := s.Sweep(h.ctx); err != nil || did.Damaged != 1 {
		t.Errorf("Sweep = %+v, %v; want one damaged document", did, err)
	}
	if d := s.AllDamaged(); len(d) != 1 || d[0].Doc != a.doc {
		t.Errorf("AllDamaged = %+v", d)
	}
}

func TestStoreThatSweepsCloses(t *testing.T) {
	h := newHouse(t)
	h.author("doc", "ada").types("x")
	s := h.store(Options{SweepEvery: time.Millisecond})
	for end := time.Now().Add(10 * time.Second); s.swept.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no sweep in 10 s")
		}
	}
}
