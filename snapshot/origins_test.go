package snapshot

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// The first record that brings a clock is its origin, whatever the order in which the runs come.
func TestOriginsAreTheFirstRecordOfEachClock(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var o origins
		first := map[uint64]stream.Seq{} // clock → record
		users := map[stream.Seq]string{}
		for n := range 1 + rnd.IntN(40) {
			r := stream.Record{Seq: stream.Seq(n + 1), User: "abc"[rnd.IntN(3):][:1], Time: time.UnixMilli(int64(n) * rnd.Int64N(400_000))}
			users[r.Seq] = r.User
			var runs []yjs.Run
			for range rnd.IntN(4) {
				run := yjs.Run{Client: 7, Clock: rnd.Uint64N(60), Len: 1 + rnd.Uint64N(12)}
				runs = append(runs, run)
				for c := run.Clock; c < run.End(); c++ {
					if first[c] == 0 {
						first[c] = r.Seq
					}
				}
			}
			o.add(&r, runs)
		}
		at := uint64(0)
		o.each(7, 0, 80, func(from, to uint64, rec *originRecord) {
			if from != at || to <= from {
				t.Fatalf("piece [%d, %d) after %d", from, to, at)
			}
			for ; at < to; at++ {
				if want := users[first[at]]; rec == nil && want != "" || rec != nil && rec.user != want {
					t.Fatalf("clock %d is by %+v, want %q of record %d", at, rec, want, first[at])
				}
			}
		})
		if at != 80 {
			t.Fatalf("the pieces end at %d, want 80", at)
		}
	}
}

// A text deleted from its end to its beginning is as quick to tell of as one deleted forwards: 100,000 runs, each before all others.
func TestOriginsOfATextDeletedBackwards(t *testing.T) {
	const n = 100_000
	var o origins
	for i := range n {
		o.add(&stream.Record{Seq: stream.Seq(i + 1), User: "ada", Conn: "c", Time: time.UnixMilli(int64(i) * 3_600_000)}, []yjs.Run{{Client: 7, Clock: uint64(2 * (n - i)), Len: 1}})
	}
	start := time.Now()
	pieces := 0
	o.each(7, 0, 2*n+2, func(_, _ uint64, rec *originRecord) {
		if rec != nil {
			pieces++
		}
	})
	if took := time.Since(start); pieces != n || took > 5*time.Second {
		t.Errorf("%d pieces in %v, want %d at once", pieces, took, n)
	}
}

// Whoever asked and went away costs nothing more.
func TestAuthorsAndDiffEndWithTheirContext(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("long", "ada")
	for range 4 * lookUp / 100 {
		a.types(strings.Split(strings.Repeat("x", 100), "")...)
	}
	mustFold(t, s, a.doc)
	from, err := s.originsOf(h.ctx, a.doc, 0, 1<<40, nil)
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(h.ctx)
	cancel()
	pieces := make([]yjs.TextRun, 4*lookUp)
	if _, err := authorsOf(gone, pieces, from); !errors.Is(err, context.Canceled) {
		t.Errorf("authors of nobody's question = %v, want context.Canceled", err)
	}
	if _, _, err := s.Authors(gone, a.doc, "", Moment{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Authors = %v, want context.Canceled", err)
	}
	if _, err := s.Diff(gone, a.doc, Moment{Seq: 1}, Moment{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Diff = %v, want context.Canceled", err)
	}
}
