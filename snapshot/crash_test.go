package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"yjet/stream"
)

var steps = []string{"read", "history", "chunks", "head", "compare", "trim", "remove"}

func TestCrashAtAnyStepLosesNothing(t *testing.T) {
	h := newHouse(t)
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			crashing, s := h.store(Options{}), h.store(Options{})
			crashing.failpoint = func(_ stream.Doc, at string) error {
				if at == step {
					return errCrash
				}
				return nil
			}
			a := h.author(stream.Doc("crash-"+step), "ada")
			var updates [][]byte
			for round := range 3 {
				text := fmt.Sprintf("%d", round)
				if round == 1 {
					text = strings.Repeat("chunks", 100<<10) // a state above the inline limit
				}
				e := a.entry(text)
				updates = append(updates, e.Update)
				a.append(e)
				if _, err := crashing.Fold(h.ctx, a.doc); !errors.Is(err, errCrash) {
					t.Fatalf("Fold = %v, want the crash", err)
				}
				if got, want := filled(t, s, a.doc), foldOf(t, updates...); !bytes.Equal(got, want) {
					t.Fatalf("after the crash: %d bytes, want %d", len(got), len(want))
				}
			}
			mustFold(t, s, a.doc)
			if got, want := filled(t, s, a.doc), foldOf(t, updates...); !bytes.Equal(got, want) {
				t.Fatalf("after the fold: %d bytes, want %d", len(got), len(want))
			}
			if got := inLog(t, h.log, a.doc); len(got) != 1 {
				t.Errorf("log holds %d records, want 1", len(got))
			}
			wantRecords(t, s, a.doc, updates)
			if _, err := s.sweepDoc(h.ctx, a.doc, 0); err != nil {
				t.Fatal(err)
			}
			head, _, err := s.snapHead(h.ctx, a.doc)
			if err != nil {
				t.Fatal(err)
			}
			h.wantBlobs(s, a.doc, head)
		})
	}
}

// wantRecords: history and log together still hold each update, once and in order.
func wantRecords(t testing.TB, s *Store, doc stream.Doc, want [][]byte) {
	t.Helper()
	i := 0
	for r, err := range s.Records(context.Background(), doc, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(want) || !bytes.Equal(r.Update, want[i]) {
			t.Fatalf("record %d (sequence %d) of %q = %d bytes, want update %d of %d", i, r.Seq, doc, len(r.Update), i, len(want))
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("%q has %d records, want %d", doc, i, len(want))
	}
}
