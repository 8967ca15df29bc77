package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// routes are all ways to read a document, as doors, pages and commands use them.
var routes = []struct {
	name string
	read func(ctx context.Context, s *Store, doc stream.Doc, old stream.Seq) error
}{
	{"open", func(ctx context.Context, s *Store, doc stream.Doc, _ stream.Seq) error {
		_, err := s.Fill(ctx, doc, 0)
		return err
	}},
	{"the present", func(ctx context.Context, s *Store, doc stream.Doc, _ stream.Seq) error {
		_, err := s.At(ctx, doc, Moment{})
		return err
	}},
	{"a moment of the past", func(ctx context.Context, s *Store, doc stream.Doc, old stream.Seq) error {
		_, err := s.At(ctx, doc, Moment{Seq: old})
		return err
	}},
	{"history", func(ctx context.Context, s *Store, doc stream.Doc, _ stream.Seq) error {
		_, err := s.History(ctx, doc, HistoryQuery{})
		return err
	}},
	{"records", func(ctx context.Context, s *Store, doc stream.Doc, _ stream.Seq) error {
		for _, err := range s.Records(ctx, doc, 0, 0) {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"authors", func(ctx context.Context, s *Store, doc stream.Doc, _ stream.Seq) error {
		_, _, err := s.Authors(ctx, doc, "text", Moment{})
		return err
	}},
	{"diff", func(ctx context.Context, s *Store, doc stream.Doc, old stream.Seq) error {
		_, err := s.Diff(ctx, doc, Moment{Seq: old}, Moment{})
		return err
	}},
	{"export", func(ctx context.Context, s *Store, doc stream.Doc, _ stream.Seq) error {
		return s.Export(ctx, doc, io.Discard)
	}},
	{"copy", func(ctx context.Context, s *Store, doc stream.Doc, old stream.Seq) error {
		_, err := s.Copy(ctx, doc, Moment{Seq: old}, doc+" copy", "eve", "")
		return err
	}},
	{"verify", func(ctx context.Context, s *Store, doc stream.Doc, _ stream.Seq) error {
		_, err := s.VerifyDoc(ctx, doc)
		return err
	}},
	{"restore", func(ctx context.Context, s *Store, doc stream.Doc, old stream.Seq) error {
		_, err := s.Restore(ctx, doc, Moment{Seq: old}, "eve", "")
		return err
	}},
}

// Each stored part in turn is gone. A route that needs the part reports damage, a route that does not gives the document whole, and
// none of them gives a part of a document as if it were all of it.
func TestEveryRouteThatNeedsADamagedPartSaysSoAndTheOthersGoOn(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		name string
		hurt func(s *Store, doc stream.Doc, head *head) error
		fail string // routes that fail
	}{
		{"nothing", func(*Store, stream.Doc, *head) error { return nil }, ""},
		{"a segment", func(_ *Store, _ stream.Doc, head *head) error {
			return h.log.Blobs().Remove(h.ctx, head.info.History[0].Subject)
		}, "a moment of the past,history,records,authors,diff,export,copy,restore,verify"},
		{"a bit of a segment", func(_ *Store, _ stream.Doc, head *head) error {
			return h.flip(head.info.History[0].Subject)
		}, "a moment of the past,history,records,authors,diff,export,copy,restore,verify"},
		{"a chunk", func(_ *Store, _ stream.Doc, head *head) error {
			return h.log.Blobs().Remove(h.ctx, head.info.Parts[0].Subject)
		}, "the present,authors,diff,verify"},
		{"a bit of the head", func(_ *Store, doc stream.Doc, head *head) error {
			b, _, err := h.log.Blobs().Head(h.ctx, doc)
			b.Data[len(b.Data)/2] ^= 4
			if err == nil {
				_, err = h.log.Blobs().PutHead(h.ctx, doc, b, head.rev)
			}
			return err
		}, "verify"},
		{"a bit of a chunk", func(_ *Store, _ stream.Doc, head *head) error {
			return h.flip(head.info.Parts[1].Subject)
		}, "the present,authors,diff,verify"},
	} {
		a := h.author(stream.Doc(c.name), "ada")
		s := h.store(Options{})
		old := a.types("old ")[0]
		a.types(strings.Repeat("chunks", 100<<10))
		mustFold(t, s, a.doc)
		a.types("tail")
		want := filled(t, s, a.doc)
		head, _, err := s.snapHead(h.ctx, a.doc)
		if err != nil || len(head.info.History) != 1 || len(head.info.Parts) != 2 {
			t.Fatalf("head = %+v, %v; want one segment and two chunks", head, err)
		}
		if err := c.hurt(s, a.doc, head); err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			err := r.read(h.ctx, h.store(Options{}), a.doc, old)
			if strings.Contains(","+c.fail+",", ","+r.name+",") {
				if !errors.Is(err, stream.ErrLost) && !errors.Is(err, errDamaged) && !errors.Is(err, ErrVerify) {
					t.Errorf("%s is gone, %s: %v, want damage", c.name, r.name, err)
				}
			} else if err != nil {
				t.Errorf("%s is gone, %s: %v, want success", c.name, r.name, err)
			}
		}
		if begun := len(inLog(t, h.log, a.doc+" copy")) > 0; begun == strings.Contains(c.fail, "copy") {
			t.Errorf("%s is gone: a copy was begun: %v", c.name, begun)
		}
		if st, err := s.At(h.ctx, a.doc, Moment{Seq: inLog(t, h.log, a.doc)[1]}); err == nil && !sameContent(t, st.Update, want) {
			t.Errorf("%s is gone: the present is %d bytes, want %d, and no error says so", c.name, len(st.Update), len(want))
		}
	}
}

func TestEveryCallEndsWithItsContextAndLeavesTheDocumentAsItWas(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("patient", "ada")
	old := a.types("one ", "two ")[0]
	mustFold(t, s, a.doc)
	a.types("three")
	var file bytes.Buffer
	if err := s.Export(h.ctx, a.doc, &file); err != nil {
		t.Fatal(err)
	}
	before, had := filled(t, s, a.doc), inLog(t, h.log, a.doc)
	calls := routes
	for name, call := range map[string]func(ctx context.Context) error{
		"fold":           func(ctx context.Context) error { _, err := s.Fold(ctx, a.doc); return err },
		"version":        func(ctx context.Context) error { _, err := s.PutVersion(ctx, a.doc, "v", Moment{}, "ada"); return err },
		"versions":       func(ctx context.Context) error { _, err := s.Versions(ctx, a.doc); return err },
		"delete version": func(ctx context.Context) error { return s.DeleteVersion(ctx, a.doc, "v") },
		"erase":          func(ctx context.Context) error { return s.Erase(ctx, a.doc, "ada") },
		"erased":         func(ctx context.Context) error { _, err := s.Erased(ctx, a.doc); return err },
		"range": func(ctx context.Context) error {
			_, _, err := s.Range(ctx, a.doc, Moment{Seq: old}, Moment{})
			return err
		},
		"summary":    func(ctx context.Context) error { _, err := s.Summary(ctx, a.doc); return err },
		"sweep":      func(ctx context.Context) error { _, err := s.Sweep(ctx); return err },
		"verify all": func(ctx context.Context) error { _, err := s.Verify(ctx, "", nil); return err },
		"heal":       func(ctx context.Context) error { return s.Heal(ctx, a.doc, before, had[len(had)-1]) },
		"seed": func(ctx context.Context) error {
			_, err := s.Seed(ctx, "seeded", "", "", insertion(9, 0, "no"))
			return err
		},
		"import": func(ctx context.Context) error {
			_, err := s.Import(ctx, "imported", bytes.NewReader(file.Bytes()), ImportOptions{})
			return err
		},
		"merge": func(ctx context.Context) error {
			_, err := s.Import(ctx, a.doc, bytes.NewReader(file.Bytes()), ImportOptions{Merge: true})
			return err
		},
		"edit": func(ctx context.Context) error {
			_, err := s.Edit(ctx, a.doc, "eve", "", func(now *yjs.Document) ([]byte, error) { return insertion(9, 0, "no"), nil })
			return err
		},
	} {
		calls = append(calls[:len(calls):len(calls)], struct {
			name string
			read func(ctx context.Context, s *Store, doc stream.Doc, old stream.Seq) error
		}{name, func(ctx context.Context, _ *Store, _ stream.Doc, _ stream.Seq) error { return call(ctx) }})
	}
	ended, cancel := context.WithCancel(h.ctx)
	cancel()
	for _, c := range calls {
		if err := c.read(ended, s, a.doc, old); !errors.Is(err, context.Canceled) && !errors.Is(err, stream.ErrGaveUp) {
			t.Errorf("%s = %v, want the context's end", c.name, err)
		}
	}
	if got := filled(t, s, a.doc); !bytes.Equal(got, before) {
		t.Errorf("the document is %x, want %x", got, before)
	}
	if got := inLog(t, h.log, a.doc); fmt.Sprint(got) != fmt.Sprint(had) {
		t.Errorf("the log holds %v, want %v", got, had)
	}
	for _, doc := range []stream.Doc{"seeded", "imported", a.doc + " copy"} {
		if got := inLog(t, h.log, doc); len(got) > 0 {
			t.Errorf("%q was begun: %v", doc, got)
		}
	}
	if d := s.AllDamaged(); len(d) > 0 {
		t.Errorf("marked as damaged: %+v", d)
	}
}

// A server that is away for a while is no damage: calls wait for it or say that they gave up, and nothing is marked.
func TestAServerThatRestartsIsNotTakenForDamage(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("steady", "ada")
	old := a.types("one ", "two ")[0]
	mustFold(t, s, a.doc)
	a.types("three")
	want := filled(t, s, a.doc)
	h.srv.Stop()
	for _, r := range routes {
		if r.name == "copy" || r.name == "restore" {
			continue // they would be stored twice below
		}
		ctx, cancel := context.WithTimeout(h.ctx, 50*time.Millisecond)
		err := r.read(ctx, s, a.doc, old)
		cancel()
		if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, stream.ErrLost) || errors.Is(err, errDamaged) || errors.Is(err, ErrVerify) {
			t.Errorf("%s with the server away = %v, want an error that passes", r.name, err)
		}
	}
	done := make(chan error, len(routes))
	for _, r := range routes {
		go func() { done <- r.read(h.ctx, s, a.doc, old) }()
	}
	h.srv.Restart()
	for range routes {
		if err := <-done; errors.Is(err, stream.ErrLost) || errors.Is(err, errDamaged) || errors.Is(err, ErrNotFound) {
			t.Errorf("a call beside the restart = %v, want success or an error that passes", err)
		}
	}
	if d := s.AllDamaged(); len(d) > 0 {
		t.Errorf("marked as damaged: %+v", d)
	}
	st, err := s.At(h.ctx, a.doc, Moment{Seq: inLog(t, h.log, a.doc)[1]})
	if err != nil || !sameContent(t, st.Update, want) {
		t.Errorf("after the restart: %x, %v; want %x", st.Update, err, want)
	}
}

func TestADocumentOfAnyNameHasItsWholeLife(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{EraseWait: time.Hour})
	for _, doc := range []stream.Doc{
		"a", "a/b", "a.b", "a b", "*", ">", "a/*/>", "$SYS", "%2e%2e/%00", "ünï/çødé", "日本語/文書", "🎈", "=", "==", "a=2Eb", "-", "_INBOX.x",
		"<script>alert(1)</script>", `"quoted" \ back`, stream.Doc(strings.Repeat("long/", 30) + "end"), stream.Doc(strings.Repeat("x", 220)),
	} {
		fail := func(what string, err error) { t.Errorf("%q: %s: %v", doc, what, err) }
		if clean, err := stream.ParseDoc(string(doc)); err != nil || clean != doc {
			fail("refused", err)
			continue
		}
		a := h.author(doc, "ada")
		first := a.types("one", " two")[0]
		mustFold(t, s, doc)
		a.types(" three")
		if got := h.text(s, doc, Moment{}); got != "one two three" {
			fail("the text", errors.New(got))
		}
		if got := h.text(s, doc, Moment{Seq: first}); got != "one" {
			fail("the past", errors.New(got))
		}
		if v, err := s.PutVersion(h.ctx, doc, "v/1 *", Moment{Seq: first}, "ada"); err != nil || v.Seq != first {
			fail("a version", err)
		}
		if list, err := s.Versions(h.ctx, doc); err != nil || len(list) != 1 || list[0].Name != "v/1 *" {
			fail(fmt.Sprint("versions ", list), err)
		}
		if page, err := s.History(h.ctx, doc, HistoryQuery{}); err != nil || len(page.Entries) != 3 {
			fail(fmt.Sprint("history ", page), err)
		}
		var file bytes.Buffer
		if err := s.Export(h.ctx, doc, &file); err != nil {
			fail("export", err)
		}
		if _, err := s.Restore(h.ctx, doc, Moment{Seq: first}, "eve", ""); err != nil || h.text(s, doc, Moment{}) != "one" {
			fail("restore", err)
		}
		if _, err := s.VerifyDoc(h.ctx, doc); err != nil {
			fail("verify", err)
		}
		listed := false
		docs, err := h.log.Docs(h.ctx, "", "", 100)
		for _, d := range docs {
			listed = listed || d.Doc == doc
		}
		if err != nil || !listed {
			fail(fmt.Sprint("listed ", docs), err)
		}
		if _, err := s.Import(h.ctx, doc+"'", &file, ImportOptions{}); err != nil || h.text(s, doc+"'", Moment{}) != "one two three" {
			fail("import", err)
		}
		if err := s.removeAll(h.ctx, doc); err != nil {
			fail("remove", err)
		}
		if _, err := s.At(h.ctx, doc, Moment{}); !errors.Is(err, ErrNotFound) {
			fail("after the removal", err)
		}
		if got := h.text(s, doc+"'", Moment{}); got != "one two three" {
			fail("its neighbour after the removal", errors.New(got))
		}
	}
}

func TestAVersionKeepsItsMomentThroughRenamesAndDeletes(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{History: "30d"})
	a := h.author("named", "ada")
	a.at = time.Now().Add(-60 * 24 * time.Hour)
	old := a.types("first draft")[0]
	for _, name := range []string{"first", "also first"} {
		if _, err := s.PutVersion(h.ctx, a.doc, name, Moment{Seq: old}, "ada"); err != nil {
			t.Fatal(err)
		}
	}
	a.at = time.Now().Add(-50 * 24 * time.Hour)
	a.types(", second")
	mustFold(t, s, a.doc)
	a.at = time.Time{}
	a.types(", third")
	mustFold(t, s, a.doc)
	steps := []struct {
		name string
		do   func() error
		kept bool
	}{
		{"two names", func() error { return nil }, true},
		{"one of them deleted", func() error { return s.DeleteVersion(h.ctx, a.doc, "first") }, true},
		{"named anew", func() error { _, err := s.PutVersion(h.ctx, a.doc, "renamed", Moment{Seq: old}, "bob"); return err }, true},
		{"the former name deleted", func() error { return s.DeleteVersion(h.ctx, a.doc, "also first") }, true},
		{"the last name deleted", func() error { return s.DeleteVersion(h.ctx, a.doc, "renamed") }, false},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		a.types(".")
		mustFold(t, s, a.doc)
		st, err := s.At(h.ctx, a.doc, Moment{Seq: old})
		switch {
		case step.kept && (err != nil || st.Seq != old || !sameContent(t, st.Update, insertion(a.client, 0, "first draft"))):
			t.Errorf("%s: at %d, %x, %v; want the first draft", step.name, st.Seq, st.Update, err)
		case !step.kept && !errors.Is(err, ErrGone):
			t.Errorf("%s: %v, want ErrGone", step.name, err)
		}
		if _, err := s.VerifyDoc(h.ctx, a.doc); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	if _, err := s.Version(h.ctx, a.doc, "renamed"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted version = %v, want ErrNotFound", err)
	}
}

func TestABeginningAfterAnErasureHasNothingOfTheFormerDocument(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{EraseWait: time.Hour})
	var erased []uint64
	for life := range 3 {
		a := h.author("reborn", "ada")
		text := fmt.Sprintf("life %d", life)
		a.types(text, "!")
		mustFold(t, s, a.doc)
		if _, err := s.PutVersion(h.ctx, a.doc, "v", Moment{}, "ada"); err != nil {
			t.Fatalf("life %d: %v; want the name of the former version free again", life, err)
		}
		if got := h.text(s, a.doc, Moment{}); got != text+"!" {
			t.Errorf("life %d: %q, want %q", life, got, text+"!")
		}
		if page, err := s.History(h.ctx, a.doc, HistoryQuery{}); err != nil || len(page.Entries) != 2 {
			t.Errorf("life %d: history of %d entries, %v; want 2", life, len(page.Entries), err)
		}
		e, err := s.Erased(h.ctx, a.doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, client := range erased {
			var u yjs.Update
			if err := u.Parse(insertion(client, 0, "ghost"), yjs.Limits{}); err != nil {
				t.Fatal(err)
			}
			if !e.Refuses(&u) {
				t.Errorf("life %d: a client of an earlier life is let in", life)
			}
		}
		if err := s.Erase(h.ctx, a.doc, "ada"); err != nil {
			t.Fatal(err)
		}
		erased = append(erased, a.client)
		if _, err := s.At(h.ctx, a.doc, Moment{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("life %d, erased: %v, want ErrNotFound", life, err)
		}
	}
}
