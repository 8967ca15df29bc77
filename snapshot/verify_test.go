package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"yjet/stream"
)

func TestVerifyCountsEverything(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	h.conversation(s, "talk")
	a := h.author("log only", "ada")
	a.types("one", "two")
	b := h.author("big", "bob")
	b.types(strings.Repeat("chunk", 200<<10))
	mustFold(t, s, b.doc)
	if _, err := s.PutVersion(h.ctx, b.doc, "v", Moment{}, "bob"); err != nil {
		t.Fatal(err)
	}
	b.types("more")
	mustFold(t, s, b.doc)
	// Another program appends past us: one that is well, and one that does not decode.
	nc := h.srv.Connect()
	for _, u := range [][]byte{insertion(77, 0, "outside"), []byte("not an update")} {
		if _, err := nc.Request("ydoc.01.talk", u, 5*time.Second); err != nil {
			if _, err = nc.Request("ydoc.00.talk", u, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		v, err := s.Verify(h.ctx, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if v.Docs != 3 || v.Records != 10 || v.Outside != 2 || v.Quarantined != 1 || v.Folds != 1 || v.Orphans != 0 || v.Damaged != 0 {
			t.Errorf("verified %+v", v)
		}
		mustFold(t, s, "talk")
	}
	if v, err := s.Verify(h.ctx, "b", nil); err != nil || v.Docs != 1 {
		t.Errorf("verified with a prefix: %+v, %v; want one document", v, err)
	}
}

// TestVerifyFindsDamage hurts one stored message at a time and wants the document named.
func TestVerifyFindsDamage(t *testing.T) {
	for _, c := range []struct {
		name string
		hurt func(h *house, s *Store, doc stream.Doc, head *head) error
		heal bool // the document can be opened nevertheless
	}{
		{"a segment is missing", func(h *house, s *Store, doc stream.Doc, head *head) error {
			return h.log.Blobs().Remove(h.ctx, head.info.History[0].Subject)
		}, true},
		{"a segment has a flipped bit", func(h *house, s *Store, doc stream.Doc, head *head) error {
			return h.flip(head.info.History[0].Subject)
		}, true},
		{"a chunk is missing", func(h *house, s *Store, doc stream.Doc, head *head) error {
			return h.log.Blobs().Remove(h.ctx, head.info.Parts[1].Subject)
		}, true},
		{"a chunk has a flipped bit", func(h *house, s *Store, doc stream.Doc, head *head) error {
			return h.flip(head.info.Parts[0].Subject)
		}, true},
		{"the head has a flipped bit", func(h *house, s *Store, doc stream.Doc, head *head) error {
			b, _, err := h.log.Blobs().Head(h.ctx, doc)
			b.Data[len(b.Data)/2] ^= 4
			if err == nil {
				_, err = h.log.Blobs().PutHead(h.ctx, doc, b, head.rev)
			}
			return err
		}, true},
		{"a record of the tail is missing", func(h *house, s *Store, doc stream.Doc, head *head) error {
			return h.log.EraseRecords(h.ctx, doc, inLog(h.t, h.log, doc)[2])
		}, true},
		{"the record that the fold left is missing", func(h *house, s *Store, doc stream.Doc, head *head) error {
			return h.log.EraseRecords(h.ctx, doc, inLog(h.t, h.log, doc)...)
		}, true},
		{"chunk and segment are missing", func(h *house, s *Store, doc stream.Doc, head *head) error {
			return errors.Join(h.log.Blobs().Remove(h.ctx, head.info.Parts[1].Subject), h.log.Blobs().Remove(h.ctx, head.info.History[0].Subject))
		}, false},
		{"head and segment have a flipped bit", func(h *house, s *Store, doc stream.Doc, head *head) error {
			b, _, err := h.log.Blobs().Head(h.ctx, doc)
			b.Data[len(b.Data)/2] ^= 4
			if err == nil {
				_, err = h.log.Blobs().PutHead(h.ctx, doc, b, head.rev)
			}
			return errors.Join(err, h.flip(head.info.History[0].Subject))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			told := h.damages()
			s := h.store(Options{})
			a := h.author("hurt", "ada")
			a.types(strings.Repeat("chunk", 150<<10), "x")
			mustFold(t, s, a.doc)
			want := h.text(s, a.doc, Moment{})
			a.types("1", "2", "3")
			if _, err := s.VerifyDoc(h.ctx, a.doc); err != nil {
				t.Fatal(err)
			}
			head, _, err := s.snapHead(h.ctx, a.doc)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.hurt(h, s, a.doc, head); err != nil {
				t.Fatal(err)
			}
			v, err := s.VerifyDoc(h.ctx, a.doc)
			if !errors.Is(err, ErrVerify) || !strings.Contains(fmt.Sprint(err), `"hurt"`) || v.Damaged != 1 {
				t.Errorf("verified %+v, %v; want a fault that names the document", v, err)
			}
			f, err := s.Fill(h.ctx, a.doc, 0)
			if !c.heal {
				if !errors.Is(err, stream.ErrLost) {
					t.Errorf("Fill = %v, want ErrLost", err)
				}
				if doc := <-told; doc != string(a.doc) {
					t.Errorf("told of damage to %q", doc)
				}
				return
			}
			if err != nil {
				t.Fatalf("Fill = %v, want the document", err)
			}
			if len(stateOf(t, f)) < len(want) {
				t.Errorf("Fill has %d bytes, want the %d of the text at least", len(stateOf(t, f)), len(want))
			}
		})
	}
}

// flip changes one bit of a stored blob, its headers and NATS's own checksum staying right.
func (h *house) flip(subject string) error {
	b, _, err := h.log.Blobs().Get(h.ctx, subject)
	if err != nil {
		return err
	}
	b.Data[len(b.Data)/2] ^= 16
	_, err = h.log.Blobs().Put(h.ctx, subject, stream.Blob{Header: b.Header, Data: b.Data})
	return err
}

func TestBrokenSnapshotIsMadeAgain(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("again", "ada")
	a.types(strings.Repeat("chunk", 150<<10))
	mustFold(t, s, a.doc)
	a.types("tail")
	want := filled(t, s, a.doc)
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.flip(head.info.Parts[0].Subject); err != nil {
		t.Fatal(err)
	}
	if got := filled(t, s, a.doc); string(got) != string(want) {
		t.Errorf("made again it has %d bytes, want %d", len(got), len(want))
	}
	if d, ok := s.Damaged(a.doc); !ok || d.What != "snapshot" {
		t.Errorf("Damaged = %+v, %v", d, ok)
	}
	mustFold(t, s, a.doc)
	if _, ok := s.Damaged(a.doc); ok {
		t.Error("it is still marked after a fold that stored it whole")
	}
	if _, err := s.VerifyDoc(h.ctx, a.doc); err != nil {
		t.Error(err)
	}
}

// damages hears what servers tell each other of damaged documents.
func (h *house) damages() <-chan string {
	h.t.Helper()
	told := make(chan string, 8)
	stop, err := h.log.Control().On(DamageAnnouncement, func(p []byte) { told <- string(p) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(stop)
	return told
}

func TestHoleInTheLogIsToldAndSteppedOver(t *testing.T) {
	h := newHouse(t)
	told := h.damages()
	s := h.store(Options{})
	a := h.author("hole", "ada")
	seqs := a.types("a", "b", "c")
	if err := h.log.EraseRecords(h.ctx, a.doc, seqs[1]); err != nil {
		t.Fatal(err)
	}
	f, err := s.Fill(h.ctx, a.doc, 0)
	if err != nil || len(f.Records) != 2 {
		t.Fatalf("Fill = %d records, %v; want the two that are there", len(f.Records), err)
	}
	if doc := <-told; doc != string(a.doc) {
		t.Errorf("told of damage to %q", doc)
	}
	if d, _ := s.Damaged(a.doc); d.What != "log" || !errors.Is(d.Err, stream.ErrLost) {
		t.Errorf("marked %+v, want a hole in the log", d)
	}
	if _, err := s.VerifyDoc(h.ctx, a.doc); !errors.Is(err, ErrVerify) {
		t.Errorf("VerifyDoc = %v, want ErrVerify", err)
	}
	// A client that still has it brings it back.
	back := h.author(a.doc, "ada")
	back.append(stream.Entry{User: "ada", Update: insertion(a.client, 1, "b")})
	mustFold(t, s, a.doc)
	if got := h.text(s, a.doc, Moment{}); got != "abc" {
		t.Errorf("healed it is %q, want abc", got)
	}
	v, err := s.VerifyDoc(h.ctx, a.doc)
	if err != nil || v.KnownHoles != 1 {
		t.Errorf("VerifyDoc after the fold = %+v, %v; want one known hole", v, err)
	}
}
