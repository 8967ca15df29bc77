package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"yjet/internal/natstest"
	"yjet/internal/yjs"
	"yjet/stream"
)

// TestErasedDocumentIsInNoStream: what folds took out of the log earlier lies in NATS's block files yet, so files are another test's matter.
func TestErasedDocumentIsInNoStream(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{EraseWait: time.Hour})
	other := h.author("neighbour", "bob")
	other.types("stays")
	a := h.author("secret/plan", "ada")
	a.types("EARLY-SECRET in a record that a fold takes out of the log")
	mustFold(t, s, a.doc)
	a.types("MIDDLE-SECRET in a snapshot that the next one replaces")
	if _, err := s.PutVersion(h.ctx, a.doc, "named", Moment{}, "ada"); err != nil {
		t.Fatal(err)
	}
	other.types("stays too")
	mustFold(t, s, a.doc)
	a.types("LATE-SECRET in the tail", strings.Repeat("CHUNK-SECRET ", 60<<10))
	mustFold(t, s, a.doc)
	mustFold(t, s, other.doc)
	if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Fill(h.ctx, a.doc, 0); err != nil || f.Base != nil || len(f.Records) != 0 {
		t.Errorf("Fill = %+v, %v; want nothing", f, err)
	}
	if list, err := s.Versions(h.ctx, a.doc); err != nil || len(list) != 0 {
		t.Errorf("Versions = %v, %v; want none", list, err)
	}
	if blobs, err := h.log.Blobs().List(h.ctx, a.doc); err != nil || len(blobs) != 0 {
		t.Errorf("Blobs = %v, %v; want none", blobs, err)
	}
	if got, want := filled(t, s, other.doc), foldOf(t, insertion(other.client, 0, "stays"), insertion(other.client, 5, "stays too")); !bytes.Equal(got, want) {
		t.Errorf("the neighbour is %x, want %x", got, want)
	}
	if err := s.Erase(h.ctx, a.doc, "ada"); !errors.Is(err, ErrNotFound) {
		t.Errorf("erasing it again = %v, want ErrNotFound", err)
	}
}

// TestErasedDocumentThatWasNeverFoldedIsInNoFile: NATS overwrites what its streams hold at the time of the erasure.
func TestErasedDocumentThatWasNeverFoldedIsInNoFile(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, natstest.StoreDir(dir))
	s := h.store(Options{EraseWait: time.Hour})
	a, other := h.author("secret/plan", "ada"), h.author("neighbour", "bob")
	for i := range 20 {
		a.types(fmt.Sprintf("SECRET %d ", i))
		other.types(strings.Repeat("neighbour ", 2<<10))
	}
	if got := natstest.FilesWith(t, dir, "SECRET"); len(got) == 0 {
		t.Fatal("the text is in no file before it is erased: the test looks in the wrong place")
	}
	if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	if got := natstest.FilesWith(t, dir, "SECRET"); len(got) != 0 {
		t.Errorf("the text is still in %v", got)
	}
}

func TestErasedDocumentStaysGoneAndItsNameMayBeUsedAgain(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{EraseWait: 300 * time.Millisecond})
	old := h.author("phoenix", "ada")
	old.types("gone", "for good")
	mustFold(t, s, old.doc)
	if e, err := s.Erased(h.ctx, old.doc); e != nil || err != nil {
		t.Fatalf("Erased before = %v, %v", e, err)
	}
	heard := make(chan string, 8)
	stop, err := h.log.Control().On(EraseAnnouncement, func(p []byte) { heard <- string(p) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := s.Erase(h.ctx, old.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "phoenix" {
		t.Errorf("announced %q, want the document's name", got)
	}
	erased, err := s.Erased(h.ctx, old.doc)
	if err != nil || erased == nil {
		t.Fatalf("Erased = %v, %v", erased, err)
	}
	var u yjs.Update
	for _, c := range []struct {
		name   string
		update []byte
		want   bool
	}{
		{"what was there", insertion(old.client, 0, "gone"), true},
		{"what its author goes on to write", insertion(old.client, old.clock, "!"), true},
		{"somebody new", insertion(old.client+1, 0, "new"), false},
	} {
		if err := u.Parse(c.update, yjs.Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := erased.Refuses(&u); got != c.want {
			t.Errorf("%s: refused %v, want %v", c.name, got, c.want)
		}
	}

	// A frozen server stores what it had in hand, into the document that others have begun anew.
	fresh := h.author("phoenix", "bob")
	fresh.types("new")
	stale := h.author("phoenix", "ada")
	stale.client, stale.clock = old.client, old.clock
	late := stale.types("late")
	fresh.types(" life")
	want := foldOf(t, insertion(fresh.client, 0, "new"), insertion(fresh.client, 3, " life"))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		found := false
		for _, seq := range inLog(t, h.log, old.doc) {
			found = found || seq == late[0]
		}
		if !found {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the late record is still there after 10 s")
		}
	}
	if got := filled(t, s, old.doc); !bytes.Equal(got, want) {
		t.Errorf("the new document is %x, want %x", got, want)
	}
	// Had it been folded before that, the fold would have left it out.
	stale.types("later still")
	mustFold(t, s, old.doc)
	if got := filled(t, s, old.doc); !bytes.Equal(got, want) {
		t.Errorf("the new document's fold is %x, want %x", got, want)
	}
	var _ stream.Seq = late[0]
}

// A fold that read the document before it was erased must not bring it back.
func TestFoldUnderWayDoesNotBringAnErasedDocumentBack(t *testing.T) {
	for _, history := range []string{"all", "none"} {
		for _, step := range []string{"history", "chunks", "head", "compare"} {
			t.Run(history+"-"+step, func(t *testing.T) {
				h := newHouse(t)
				s, other := h.store(Options{EraseWait: time.Hour, History: history}), h.store(Options{History: history})
				at, goOn := make(chan struct{}), make(chan struct{})
				other.failpoint = func(_ stream.Doc, name string) error {
					if name == step {
						close(at)
						<-goOn
					}
					return nil
				}
				a := h.author("ghost", "ada")
				a.types("secret ", strings.Repeat("chunks", 100<<10))
				folded := make(chan error, 1)
				go func() { _, err := other.Fold(h.ctx, a.doc); folded <- err }()
				<-at
				if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
					t.Fatal(err)
				}
				close(goOn)
				if err := <-folded; err == nil {
					t.Error("the fold succeeded")
				}
				if f, err := s.Fill(h.ctx, a.doc, 0); err != nil || f.Base != nil || len(f.Records) != 0 {
					t.Errorf("Fill = %d bytes, %d records, %v; want nothing", len(f.Base), len(f.Records), err)
				}
				if blobs, err := h.log.Blobs().List(h.ctx, a.doc); err != nil || len(blobs) != 0 {
					t.Errorf("Blobs = %v, %v; want none", blobs, err)
				}
			})
		}
	}
}

// One that ended between the head it wrote and the look it takes after that leaves it to the second look at what was erased.
func TestSnapshotThatAFoldLeftOfAnErasedDocumentIsRemoved(t *testing.T) {
	for _, text := range []string{"secret", strings.Repeat("chunks", 100<<10)} {
		h := newHouse(t)
		s := h.store(Options{EraseWait: 300 * time.Millisecond, History: "none"})
		a := h.author("ghost", "ada")
		a.types(text)
		mustFold(t, s, a.doc)
		head, _, err := h.log.Blobs().Head(h.ctx, a.doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.log.Blobs().PutHead(h.ctx, a.doc, head, 0); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, ok, err := h.log.Blobs().Head(h.ctx, a.doc); err == nil && !ok {
				break
			} else if time.Now().After(end) {
				t.Fatalf("the snapshot is still there after 10 s (%v)", err)
			}
		}
	}
}

func TestStaleRecordThatIsTheNewestLeavesTheNewDocumentWhole(t *testing.T) {
	for _, folded := range []bool{false, true} {
		testStaleNewest(t, folded)
	}
}

func testStaleNewest(t *testing.T, folded bool) {
	h := newHouse(t)
	s := h.store(Options{EraseWait: time.Hour})
	old := h.author("phoenix", "ada")
	old.types("gone")
	if err := s.Erase(h.ctx, old.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	fresh := h.author("phoenix", "bob")
	fresh.types("new")
	old.types("late")
	if folded {
		mustFold(t, s, old.doc)
	}
	s.opt.EraseWait = 0
	if err := s.sweepErased(h.ctx, old.doc); err != nil {
		t.Fatal(err)
	}
	want := foldOf(t, insertion(fresh.client, 0, "new"))
	if got := filled(t, s, old.doc); !bytes.Equal(got, want) {
		t.Errorf("the new document is %x, want %x", got, want)
	}
	if head, err := h.log.Head(h.ctx, old.doc); err != nil || head == 0 {
		t.Errorf("head of the log = %d, %v; a document that is there has one", head, err)
	}
	if _, err := s.VerifyDoc(h.ctx, old.doc); err != nil {
		t.Errorf("verify: %v", err)
	}
	for r, err := range s.Records(h.ctx, old.doc, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(r.Update, []byte("late")) {
			t.Errorf("record %d still holds what was erased", r.Seq)
		}
	}
}

// TestErasedDocumentThatComesBackIsRemovedAgain: a nats-server that has lost its index can have deleted records again, below all that the
// tombstone has seen.
func TestErasedDocumentThatComesBackIsRemovedAgain(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{EraseWait: time.Nanosecond})
	old := h.author("phoenix", "ada")
	old.types("gone")
	if err := s.Erase(h.ctx, old.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(h.ctx); err != nil {
		t.Fatal(err)
	}
	old.types("back")
	head, err := h.log.Head(h.ctx, old.doc)
	if err != nil || head == 0 {
		t.Fatal(head, err)
	}
	tomb, rev, err := s.tombstone(h.ctx, old.doc)
	if err != nil || tomb == nil || !tomb.Swept {
		t.Fatalf("the tombstone is %+v, %v; want it swept", tomb, err)
	}
	tomb.Upto = head // as if it had been stored before
	if err := s.amendTombstone(h.ctx, tomb, rev); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(h.ctx); err != nil {
		t.Fatal(err)
	}
	if head, err := h.log.Head(h.ctx, old.doc); head != 0 || err != nil {
		t.Errorf("head %d, %v after the sweep; want none", head, err)
	}
}

// A restore that was computed before its document was erased must not write what was there into the new one.
func TestRestoreUnderWayDoesNotBringAnErasedDocumentBack(t *testing.T) {
	h := newHouse(t)
	s, other := h.store(Options{EraseWait: time.Hour}), h.store(Options{})
	seq := h.edit(s, "undone", "ada", time.Time{}, func(t yjs.Text) error { return t.Insert(0, "SECRET", nil) })
	h.edit(s, "undone", "ada", time.Time{}, func(t yjs.Text) error { return t.Delete(0, 6) })
	other.failpoint = func(_ stream.Doc, step string) error {
		if step == "append" {
			return s.Erase(h.ctx, "undone", "ada")
		}
		return nil
	}
	if _, err := other.Restore(h.ctx, "undone", Moment{Seq: seq}, "bob", "c1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Restore = %v, want ErrNotFound", err)
	}
	if f, err := s.Fill(h.ctx, "undone", 0); err != nil || f.Base != nil || len(f.Records) != 0 {
		t.Errorf("Fill = %d bytes, %d records, %v; want nothing", len(f.Base), len(f.Records), err)
	}
}
