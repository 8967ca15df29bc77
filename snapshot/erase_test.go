package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"yjet/internal/natstest"
	"yjet/internal/yjs"
	"yjet/stream"
)

func TestErasedDocumentIsNowhereInTheStoresFiles(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, natstest.StoreDir(dir))
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
	if got := natstest.FilesWith(t, dir, "SECRET"); len(got) == 0 {
		t.Fatal("the text is in no file before it is erased: the test looks in the wrong place")
	}

	if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	if got := natstest.FilesWith(t, dir, "SECRET"); len(got) != 0 {
		t.Errorf("the text is still in %v", got)
	}
	if f, err := s.Fill(h.ctx, a.doc, 0); err != nil || f.Base != nil || len(f.Records) != 0 {
		t.Errorf("Fill = %+v, %v; want nothing", f, err)
	}
	if list, err := s.Versions(h.ctx, a.doc); err != nil || len(list) != 0 {
		t.Errorf("Versions = %v, %v; want none", list, err)
	}
	if blobs, err := h.log.Blobs(h.ctx, a.doc); err != nil || len(blobs) != 0 {
		t.Errorf("Blobs = %v, %v; want none", blobs, err)
	}
	if got, want := filled(t, s, other.doc), foldOf(t, insertion(other.client, 0, "stays"), insertion(other.client, 5, "stays too")); !bytes.Equal(got, want) {
		t.Errorf("the neighbour is %x, want %x", got, want)
	}
	if err := s.Erase(h.ctx, a.doc, "ada"); !errors.Is(err, ErrNotFound) {
		t.Errorf("erasing it again = %v, want ErrNotFound", err)
	}
}

// TestErasedDocumentIsWipedFromAmongLivingNeighbours: whoever has the files at hand overwrites there what folds took out of log,
// snapshots and history long before, between records of other documents that nobody folds.
func TestErasedDocumentIsWipedFromAmongLivingNeighbours(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, natstest.StoreDir(dir))
	without := h.store(Options{EraseWait: 10 * time.Millisecond})
	var err error
	h.log, err = stream.Open(h.ctx, h.srv.Connect(), h.srv.Connect(), stream.Config{Embedded: true, Wiper: h.srv.Wipe, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.log.Close() })
	s := h.store(Options{EraseWait: time.Hour})
	other := h.author("neighbour", "bob")
	beside := func(name string) (doc stream.Doc) { // a name in the neighbour's shard
		for i := 0; ; i++ {
			doc = stream.Doc(fmt.Sprint(name, i))
			if a, b := h.log.ChunkSubject(doc, "A", 0), h.log.ChunkSubject(other.doc, "A", 0); a[:len("ysnap.00")] == b[:len("ysnap.00")] {
				return doc
			}
		}
	}
	secrets := []*author{h.author(beside("secret/plan"), "ada"), h.author(beside("secret/other"), "ada")}
	for i := range 40 {
		for _, a := range secrets {
			a.types(fmt.Sprintf("SECRET %d ", i))
			if i%7 == 6 {
				mustFold(t, s, a.doc)
				if _, err := s.PutVersion(h.ctx, a.doc, fmt.Sprint("SECRET-", i), Moment{}, "ada"); err != nil {
					t.Fatal(err)
				}
			}
		}
		other.types(strings.Repeat("neighbour ", 20<<10)) // 16 MB in all, two blocks or more
	}
	for _, a := range secrets {
		if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
			t.Fatal(err)
		}
	}
	if got := natstest.FilesWith(t, dir, "SECRET"); len(got) != 0 {
		t.Errorf("the text is still in %v", got)
	}
	if v, err := s.Verify(h.ctx, "", nil); err != nil {
		t.Errorf("verify = %+v, %v", v, err)
	}

	// A third is erased by a server without files; the sweep of the one that has them finds it, and does it once.
	a := h.author(beside("secret/third"), "ada")
	for i := range 80 {
		if i < 20 {
			a.types(fmt.Sprintf("SECRET %d ", i))
		}
		if i == 19 {
			mustFold(t, s, a.doc)
		}
		other.types(strings.Repeat("neighbour ", 20<<10))
	}
	if err := without.Erase(h.ctx, a.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	if len(natstest.FilesWith(t, dir, "SECRET")) == 0 {
		t.Fatal("NATS left nothing: this part tests nothing")
	}
	s.opt.EraseWait = 0
	for range 2 {
		if _, err := s.Sweep(h.ctx); err != nil {
			t.Fatal(err)
		}
		if got := natstest.FilesWith(t, dir, "SECRET"); len(got) != 0 {
			t.Errorf("the text is still in %v", got)
		}
	}
	for _, a := range append(secrets, a) {
		if tomb, _, err := s.tombstone(h.ctx, a.doc); err != nil || !tomb.Swept || !tomb.Wiped {
			t.Errorf("the tombstone of %s is %+v, %v; want it swept and wiped", a.doc, tomb, err)
		}
	}
	if v, err := s.Verify(h.ctx, "", nil); err != nil || v.Records != 120 {
		t.Errorf("verify = %+v, %v; want the neighbour's 120 records", v, err)
	}
}

// TestWhatIsBackBeforeItIsWiped: NATS can lose a purge when it is stopped. As long as an erased document is not overwritten it is looked for.
func TestWhatIsBackBeforeItIsWiped(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, natstest.StoreDir(dir))
	var broken atomic.Bool
	broken.Store(true)
	var err error
	h.log, err = stream.Open(h.ctx, h.srv.Connect(), h.srv.Connect(), stream.Config{Embedded: true, Log: quiet(),
		Wiper: func(ctx context.Context, stream string, dead func(context.Context, []byte, uint64) (bool, error)) (int, int, error) {
			if broken.Load() {
				return 0, 0, errors.New("no room")
			}
			return h.srv.Wipe(ctx, stream, dead)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.log.Close() })
	s := h.store(Options{EraseWait: time.Hour})
	a := h.author("secret/plan", "ada")
	a.types("SECRET 1", "SECRET 2")
	if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
		t.Fatal(err)
	}
	s.opt.EraseWait = 0
	if _, err := s.Sweep(h.ctx); err != nil {
		t.Fatal(err)
	}
	if tomb, _, err := s.tombstone(h.ctx, a.doc); err != nil || !tomb.Swept || tomb.Wiped {
		t.Fatalf("the tombstone is %+v, %v; want it swept and not wiped", tomb, err)
	}
	back := h.author(a.doc, "ada")
	back.client, back.clock = a.client, 0
	back.types("SECRET 1")
	broken.Store(false)
	if _, err := s.Sweep(h.ctx); err != nil {
		t.Fatal(err)
	}
	if got := natstest.FilesWith(t, dir, "SECRET"); len(got) != 0 {
		t.Errorf("the text is still in %v", got)
	}
	if head, err := h.log.Head(h.ctx, a.doc); head != 0 || err != nil {
		t.Errorf("head %d, %v; want none", head, err)
	}
	if tomb, _, err := s.tombstone(h.ctx, a.doc); err != nil || !tomb.Swept || !tomb.Wiped {
		t.Errorf("the tombstone is %+v, %v; want it swept and wiped", tomb, err)
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
	stop, err := h.log.OnAnnounce(EraseAnnouncement, func(p []byte) { heard <- string(p) })
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
				if blobs, err := h.log.Blobs(h.ctx, a.doc); err != nil || len(blobs) != 0 {
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
		head, _, err := h.log.SnapHead(h.ctx, a.doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.log.PutSnapHead(h.ctx, a.doc, head, 0); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, ok, err := h.log.SnapHead(h.ctx, a.doc); err == nil && !ok {
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
