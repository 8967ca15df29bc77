package snapshot

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// otherStore is another server: a Store of its own on the same NATS.
func (h *house) otherStore(o Options) *Store {
	h.t.Helper()
	o.Log = quiet()
	s := New(h.open(), o)
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			h.t.Errorf("close the other store: %v", err)
		}
	})
	return s
}

func TestRestoresAtOnceFromTwoServersBringTheTextBackOnce(t *testing.T) {
	h := newHouse(t)
	stores := []*Store{h.store(Options{}), h.otherStore(Options{})}
	text := strings.Repeat("0123456789", 2000)
	seq := h.edit(stores[0], "back", "ada", time.Time{}, func(t yjs.Text) error { return t.Insert(0, text, nil) })
	h.edit(stores[0], "back", "ada", time.Time{}, func(t yjs.Text) error { return t.Delete(0, len(text)) })
	for round := range 3 { // the second begins from a folded document, the third deletes what was restored
		if round > 0 {
			mustFold(t, stores[1], "back")
			h.edit(stores[0], "back", "ada", time.Time{}, func(t yjs.Text) error { return t.Delete(0, t.Len()) })
		}
		var restored atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				switch _, err := stores[i%2].Restore(h.ctx, "back", Moment{Seq: seq}, "eve", "c-eve"); {
				case err == nil:
					restored.Add(1)
				case !errors.Is(err, ErrNoChange):
					t.Errorf("restore %d: %v; want success or ErrNoChange", i, err)
				}
			})
		}
		wg.Wait()
		if n := restored.Load(); n != 1 {
			t.Errorf("round %d: %d restores appended, want 1", round, n)
		}
		if got := h.text(stores[1], "back", Moment{}); got != text {
			t.Fatalf("round %d: %d characters after eight restores, want %d", round, len(got), len(text))
		}
	}
	if _, err := stores[0].VerifyDoc(h.ctx, "back"); err != nil {
		t.Error(err)
	}
}

// A restore is not kept out by people who type on, and what they type meanwhile stays.
func TestRestoreBesideTypingKeepsBoth(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	seq := h.edit(s, "busy", "ada", time.Time{}, func(t yjs.Text) error { return t.Insert(0, "precious", nil) })
	h.edit(s, "busy", "ada", time.Time{}, func(t yjs.Text) error { return t.Delete(0, 8) })
	bob := h.author("busy", "bob") // types into a root of his own
	stop, typed := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				typed <- n
				return
			default:
				if _, err := bob.try(bob.entry("x")); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	_, err := s.Restore(h.ctx, "busy", Moment{Seq: seq}, "eve", "")
	close(stop)
	n := <-typed
	if err != nil {
		t.Fatalf("restore beside %d keys: %v", n, err)
	}
	if got := h.text(s, "busy", Moment{}); !strings.Contains(got, "precious") {
		t.Errorf("after the restore beside %d keys: %q, want precious in it", n, got)
	}
}

func TestEditIsComputedAgainWhereTheDocumentMoved(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	add := func(text string) func(t yjs.Text) error {
		return func(t yjs.Text) error { return t.Insert(t.Len(), text, nil) }
	}
	h.edit(s, "moved", "ada", time.Time{}, add("one"))
	var seen []string
	seq, err := s.Edit(h.ctx, "moved", "eve", "c-eve", func(now *yjs.Document) ([]byte, error) {
		seen = append(seen, textOf(now))
		switch len(seen) {
		case 1: // somebody is faster,
			h.edit(s, "moved", "bob", time.Time{}, add(" two"))
		case 2: // and again, and a fold takes the records out of the log
			h.edit(s, "moved", "bob", time.Time{}, add(" three"))
			mustFold(t, s, "moved")
		}
		return now.Edit(newClient(now), func(tx *yjs.Tx) error { return add("!")(tx.Text("text")) })
	})
	if want := []string{"one", "one two", "one two three"}; err != nil || strings.Join(seen, "|") != strings.Join(want, "|") {
		t.Fatalf("the edit saw %q, %v; want %q", seen, err, want)
	}
	if got, want := h.text(s, "moved", Moment{Seq: seq}), "one two three!"; got != want {
		t.Errorf("after the edit: %q, want %q", got, want)
	}
	if _, err := s.Edit(h.ctx, "moved", "eve", "", func(*yjs.Document) ([]byte, error) { return nil, nil }); !errors.Is(err, ErrNoChange) {
		t.Errorf("an edit of nothing = %v, want ErrNoChange", err)
	}
	tries := 0
	_, err = s.Edit(h.ctx, "moved", "eve", "", func(now *yjs.Document) ([]byte, error) {
		tries++
		h.edit(s, "moved", "bob", time.Time{}, add("."))
		return now.Edit(newClient(now), func(tx *yjs.Tx) error { return add("late")(tx.Text("text")) })
	})
	if !errors.Is(err, ErrBusy) || tries != editTries {
		t.Errorf("an edit that is always late = %v after %d tries, want ErrBusy after %d", err, tries, editTries)
	}
	if got := h.text(s, "moved", Moment{}); strings.Contains(got, "late") {
		t.Errorf("what was always late is in the text: %q", got)
	}
}

func TestEditBeginsADocument(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	write := func(text string) func(*yjs.Document) ([]byte, error) {
		return func(now *yjs.Document) ([]byte, error) {
			return now.Edit(newClient(now), func(tx *yjs.Tx) error { return tx.Text("text").Insert(0, text, nil) })
		}
	}
	if _, err := s.Edit(h.ctx, "fresh", "eve", "", write("hello")); err != nil {
		t.Fatal(err)
	}
	if got := h.text(s, "fresh", Moment{}); got != "hello" {
		t.Errorf("the new document shows %q, want hello", got)
	}
}

func TestEntriesCutWhatIsTooLargeForOneRecord(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	e := stream.Entry{User: "ada", Conn: "c1", Merged: 7, Time: at, Update: insertion(1, 0, strings.Repeat("long ", 200))}
	for _, limit := range []int{200, 400, 2000} {
		entries, err := Entries(e, limit)
		if err != nil {
			t.Fatal(err)
		}
		if whole := limit == 2000; whole != (len(entries) == 1) {
			t.Errorf("limit %d: %d entries", limit, len(entries))
		}
		merged := 0
		var parts [][]byte
		for i, p := range entries {
			last := i == len(entries)-1
			if p.User != "ada" || p.Conn != "c1" || !p.Time.Equal(at) || p.WithNext == last || len(p.Update) > limit {
				t.Errorf("limit %d: entry %d = %s %s %v with next %v, %d bytes", limit, i, p.User, p.Conn, p.Time, p.WithNext, len(p.Update))
			}
			if merged = p.Merged; !last && merged != 1 {
				t.Errorf("limit %d: entry %d counts %d, want 1", limit, i, merged)
			}
			parts = append(parts, p.Update)
		}
		if merged != 7 {
			t.Errorf("limit %d: the last entry counts %d, want 7", limit, merged)
		}
		if got, want := foldOf(t, parts...), foldOf(t, e.Update); !bytes.Equal(got, want) {
			t.Errorf("limit %d: the parts make %x, want %x", limit, got, want)
		}
	}
	if _, err := Entries(e, 10); !errors.Is(err, yjs.ErrUnsplittable) {
		t.Errorf("entries of 10 bytes = %v, want ErrUnsplittable", err)
	}
}
