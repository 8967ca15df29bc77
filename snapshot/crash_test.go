package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"yjet/internal/yjs"
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

// TestReadersAmongRacingAndCrashingFoldsMissNothing is the one law under load: while authors write and three stores fold and
// crash at every step, whoever joins has every update that was acknowledged before it asked.
func TestReadersAmongRacingAndCrashingFoldsMissNothing(t *testing.T) {
	replays, docs := 400, 4
	if long {
		replays, docs = 20_000, 8
	}
	stress(t, newHouse(t), replays, docs)
}

// TestReadersMissNothingWhileLeadersRestart is the same on three nodes of which one is stopped and started all the time.
func TestReadersMissNothingWhileLeadersRestart(t *testing.T) {
	if !long {
		t.Skip("takes minutes: set YJET_LONG=1")
	}
	h, c := newCluster(t)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Second):
			}
			n := c.StreamLeader([]string{"YDOC_00", "YSNAP_00", "YDOC_01", "YSNAP_01"}[i%4])
			if n == nil {
				continue
			}
			n.Stop()
			select {
			case <-stop:
			case <-time.After(2 * time.Second):
			}
			n.Restart()
		}
	}()
	defer func() { close(stop); <-done }()
	stress(t, h, 2000, 4)
}

func stress(t *testing.T, h *house, replays, docs int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	stop, turns := make(chan struct{}), make(chan struct{}, 8)
	var wg sync.WaitGroup
	var crashes, folds, raced atomic.Int64
	type book struct {
		mu      sync.Mutex
		acked   uint64 // characters acknowledged, of each author the same
		authors []*author
	}
	books := make([]*book, docs)
	for d := range books {
		b := &book{}
		books[d] = b
		doc := stream.Doc(fmt.Sprintf("stress/%d", d))
		for k := range 2 {
			b.authors = append(b.authors, h.author(doc, fmt.Sprint("author", k)))
		}
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(d)))
			for {
				select { // a few updates for each replay, so that documents grow with the test and not with the machine
				case <-stop:
					return
				case <-turns:
				}
				text := strings.Repeat("x", 1+rnd.IntN(20))
				if b.acked == 0 && d == 0 {
					text = strings.Repeat("long", 80<<10) // one document in chunks
				}
				for _, a := range b.authors {
					if _, err := a.try(a.entry(text)); err != nil {
						t.Errorf("append: %v", err)
						return
					}
				}
				b.mu.Lock()
				b.acked += uint64(len(text))
				b.mu.Unlock()
			}
		})
	}
	for k := range 3 {
		s := h.store(Options{})
		rnd := rand.New(rand.NewPCG(seed, 100+uint64(k)))
		s.failpoint = func(stream.Doc, string) error {
			if rnd.IntN(12) == 0 {
				crashes.Add(1)
				return errCrash
			}
			return nil
		}
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := s.fold(h.ctx, books[rnd.IntN(docs)].authors[0].doc, always)
				switch {
				case err == nil:
					folds.Add(1)
				case errors.Is(err, ErrRaced):
					raced.Add(1)
				case !errors.Is(err, errCrash):
					t.Errorf("fold: %v", err)
				}
			}
		})
	}
	reader := h.store(Options{})
	var left atomic.Int64
	left.Store(int64(replays))
	var readers sync.WaitGroup
	for k := range 2 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 200+uint64(k)))
			for left.Add(-1) >= 0 {
				for range 4 {
					select {
					case turns <- struct{}{}:
					default:
					}
				}
				b := books[rnd.IntN(docs)]
				b.mu.Lock()
				acked := b.acked
				b.mu.Unlock()
				f, err := reader.Fill(h.ctx, b.authors[0].doc, 0)
				if err != nil {
					t.Errorf("fill: %v", err)
					return
				}
				good, _ := decodable(f.Records)
				u, err := yjs.Merge(withBase(f.Base, good)...)
				if err != nil {
					t.Error(err)
					return
				}
				have, err := yjs.VectorOf(u)
				if err != nil {
					t.Error(err)
					return
				}
				for _, a := range b.authors {
					if have[a.client] < acked {
						t.Errorf("a replay of %q has %d characters of %s, %d were acknowledged", a.doc, have[a.client], a.user, acked)
						return
					}
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	wg.Wait()
	for _, b := range books {
		doc := b.authors[0].doc
		mustFold(t, reader, doc)
		if _, err := reader.sweepDoc(h.ctx, doc, 0); err != nil {
			t.Fatal(err)
		}
		head, _, err := reader.snapHead(h.ctx, doc)
		if err != nil {
			t.Fatal(err)
		}
		h.wantBlobs(reader, doc, head)
		var updates [][]byte
		for r, err := range reader.Records(h.ctx, doc, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			updates = append(updates, r.Update)
		}
		if got, want := filled(t, reader, doc), foldOf(t, updates...); !bytes.Equal(got, want) {
			t.Errorf("%q: snapshot and tail differ from the fold of all %d records", doc, len(updates))
		}
	}
	t.Logf("%d replays, %d folds, %d raced, %d crashes", replays, folds.Load(), raced.Load(), crashes.Load())
	if crashes.Load() == 0 || folds.Load() == 0 {
		t.Error("nothing was folded or nothing crashed: the test proves nothing")
	}
}
