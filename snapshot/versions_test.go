package snapshot

import (
	"errors"
	"fmt"
	"testing"
)

func TestVersionsOfOneRecordShareItsState(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("many", "ada")
	a.types("one", "two")
	for i := range 20 {
		if _, err := s.PutVersion(h.ctx, a.doc, fmt.Sprint("draft ", i), Moment{}, "ada"); err != nil {
			t.Fatal(err)
		}
	}
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil || len(head.info.Folds) != 1 {
		t.Fatalf("20 versions of one record have %d folds, %v; want 1", len(head.info.Folds), err)
	}
	h.wantBlobs(s, a.doc, head)
}

func TestADocumentHasSoManyVersionsAndNoMore(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{MaxVersions: 2})
	a := h.author("full", "ada")
	a.types("one")
	put := func(name string) error {
		_, err := s.PutVersion(h.ctx, a.doc, name, Moment{}, "ada")
		return err
	}
	for _, name := range []string{"first", "second"} {
		if err := put(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("third"); !errors.Is(err, ErrVersions) {
		t.Errorf("a third version = %v, want ErrVersions", err)
	}
	if err := put("second"); !errors.Is(err, ErrExists) {
		t.Errorf("a name that is taken = %v, want ErrExists", err)
	}
	if err := s.DeleteVersion(h.ctx, a.doc, "first"); err != nil {
		t.Fatal(err)
	}
	if err := put("third"); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
}
