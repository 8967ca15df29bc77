package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

func (h *house) text(s *Store, doc stream.Doc, m Moment) string {
	h.t.Helper()
	st, err := s.At(h.ctx, doc, m)
	if err != nil {
		h.t.Fatalf("%q at %+v: %v", doc, m, err)
	}
	d, err := yjs.OpenDocument(yjs.DocumentOptions{}, st.Update)
	if err != nil {
		h.t.Fatal(err)
	}
	return textOf(d)
}

// edit changes the document as a client would that has all of it, in the name of user.
func (h *house) edit(s *Store, doc stream.Doc, user string, at time.Time, f func(t yjs.Text) error) stream.Seq {
	h.t.Helper()
	return h.editBy(s, doc, user, "c-"+user, at, f)
}

func (h *house) editBy(s *Store, doc stream.Doc, user, conn string, at time.Time, f func(t yjs.Text) error) stream.Seq {
	h.t.Helper()
	var d *yjs.Document
	if st, err := s.At(h.ctx, doc, Moment{}); err == nil {
		if d, err = yjs.OpenDocument(yjs.DocumentOptions{}, st.Update); err != nil {
			h.t.Fatal(err)
		}
	} else if d = yjs.NewDocument(yjs.DocumentOptions{}); !errors.Is(err, ErrNotFound) {
		h.t.Fatal(err)
	}
	u, err := d.Edit(newClient(d), func(tx *yjs.Tx) error { return f(tx.Text("text")) })
	if err != nil {
		h.t.Fatal(err)
	}
	seqs, err := appendAll(h.ctx, h.log.Writer(doc), []stream.Entry{{User: user, Conn: conn, Update: u, Time: at}})
	if err != nil {
		h.t.Fatal(err)
	}
	return seqs[0]
}

// conversation is a text that three people made, folded in the middle.
func (h *house) conversation(s *Store, doc stream.Doc) (seqs []stream.Seq, start time.Time) {
	start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for i, e := range []struct {
		user string
		f    func(t yjs.Text) error
	}{
		{"ada", func(t yjs.Text) error { return t.Insert(0, "Hello world 🎈!", nil) }},
		{"bob", func(t yjs.Text) error { return t.Insert(6, "brave new ", nil) }},
		{"ada", func(t yjs.Text) error { return t.Delete(6, 6) }},
		{"cyd", func(t yjs.Text) error { return t.Insert(t.Len(), " Indeed.", nil) }},
	} {
		seqs = append(seqs, h.edit(s, doc, e.user, start.Add(time.Duration(i)*time.Hour), e.f))
		if i == 1 {
			mustFold(h.t, s, doc)
		}
	}
	return seqs, start
}

func TestAuthorsAreWhoTheLogSays(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	seqs, start := h.conversation(s, "who")
	check := func() {
		t.Helper()
		st, got, err := s.Authors(h.ctx, "who", "", Moment{})
		if err != nil || st.Seq != seqs[3] {
			t.Fatalf("Authors = at %d, %v", st.Seq, err)
		}
		want := []AuthorRun{
			{"Hello ", "ada", "", start, seqs[0]},
			{"new ", "bob", "", start.Add(time.Hour), seqs[1]},
			{"world 🎈!", "ada", "", start, seqs[0]},
			{" Indeed.", "cyd", "", start.Add(3 * time.Hour), seqs[3]},
		}
		if !reflect.DeepEqual(got["text"], want) {
			t.Errorf("authors = %+v, want %+v", got["text"], want)
		}
	}
	check()
	mustFold(t, s, "who")
	check()
	if _, got, err := s.Authors(h.ctx, "who", "text", Moment{Seq: seqs[1]}); err != nil || len(got["text"]) != 3 || got["text"][1].Text != "brave new " {
		t.Errorf("authors at %d = %+v, %v", seqs[1], got, err)
	}
}

func TestAuthorsWithoutANameAreToldByTheirConnection(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	add := func(text string) func(t yjs.Text) error {
		return func(t yjs.Text) error { return t.Insert(t.Len(), text, nil) }
	}
	h.editBy(s, "who", "", "n.1", start, add("one "))
	h.editBy(s, "who", "", "n.1", start, add("one again "))
	two := h.editBy(s, "who", "", "n.2", start, add("two "))
	h.editBy(s, "who", "ada", "n.3", start, add("ada "))
	h.editBy(s, "who", "ada", "n.4", start, add("ada again "))
	last := h.editBy(s, "who", "", "", start, add("a program"))
	want := []AuthorRun{
		{"one one again ", "", "n.1", start, two - 1},
		{"two ", "", "n.2", start, two},
		{"ada ada again ", "ada", "", start, last - 1},
		{"a program", "", "", start, last},
	}
	for _, folded := range []bool{false, true} {
		if _, got, err := s.Authors(h.ctx, "who", "text", Moment{}); err != nil || !reflect.DeepEqual(got["text"], want) {
			t.Errorf("authors (folded: %v) = %+v, %v, want %+v", folded, got["text"], err, want)
		}
		mustFold(t, s, "who")
	}
}

func TestDiffTellsWhatWhoChanged(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	seqs, start := h.conversation(s, "diff")
	mustFold(t, s, "diff")
	d, err := s.Diff(h.ctx, "diff", Moment{Seq: seqs[0]}, Moment{})
	if err != nil {
		t.Fatal(err)
	}
	want := []TextChange{
		{Op: "keep", Text: "Hello "},
		{Op: "insert", Text: "new ", User: "bob", Time: start.Add(time.Hour), Seq: seqs[1]},
		{Op: "keep", Text: "world 🎈!"},
		{Op: "insert", Text: " Indeed.", User: "cyd", Time: start.Add(3 * time.Hour), Seq: seqs[3]},
	}
	if d.From != seqs[0] || d.To != seqs[3] || !reflect.DeepEqual(d.Types["text"], want) {
		t.Errorf("diff = %+v, want %+v", d, want)
	}
	d, err = s.Diff(h.ctx, "diff", Moment{Seq: seqs[1]}, Moment{Seq: seqs[2]})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Types["text"]; len(got) != 3 || got[1].Op != "delete" || got[1].Text != "brave " || got[1].User != "ada" {
		t.Errorf("diff over a deletion = %+v", got)
	}
	if d, err = s.Diff(h.ctx, "diff", Moment{}, Moment{Seq: seqs[1]}); err != nil || d.Types["text"] == nil {
		t.Fatalf("diff backwards = %+v, %v", d, err)
	}
	var back strings.Builder
	for _, c := range d.Types["text"] {
		if c.Op != "delete" {
			back.WriteString(c.Text)
		}
	}
	if got, want := back.String(), h.text(s, "diff", Moment{Seq: seqs[1]}); got != want {
		t.Errorf("diff backwards leads to %q, want %q", got, want)
	}
	if d, err = s.Diff(h.ctx, "diff", Moment{}, Moment{}); err != nil || len(d.Types) != 0 {
		t.Errorf("diff of nothing = %+v, %v", d, err)
	}
}

func TestRestoreIsAForwardEditOfItsAuthor(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	seqs, _ := h.conversation(s, "back")
	mustFold(t, s, "back")
	for _, k := range []int{0, 2, 1, 3} {
		want := h.text(s, "back", Moment{Seq: seqs[k]})
		seq, err := s.Restore(h.ctx, "back", Moment{Seq: seqs[k]}, "eve", "c-eve")
		if err != nil {
			t.Fatalf("restore to %d: %v", k, err)
		}
		if got := h.text(s, "back", Moment{}); got != want {
			t.Errorf("after the restore to %d: %q, want %q", k, got, want)
		}
		if k == 2 {
			mustFold(t, s, "back")
		}
		for r, err := range s.Records(h.ctx, "back", seq-1, 0) {
			if err != nil || r.User != "eve" {
				t.Errorf("the restore is by %q, %v; want eve", r.User, err)
			}
		}
		if _, err := s.Restore(h.ctx, "back", Moment{Seq: seqs[k]}, "eve", ""); !errors.Is(err, ErrNoChange) {
			t.Errorf("the same restore again = %v, want ErrNoChange", err)
		}
	}
	if _, err := s.Restore(h.ctx, "nowhere", Moment{Seq: 1}, "eve", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("restore of nothing = %v, want ErrNotFound", err)
	}
}

func TestCopyBeginsANewDocumentOnce(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	seqs, _ := h.conversation(s, "orig")
	want := h.text(s, "orig", Moment{Seq: seqs[1]})
	if _, err := s.Copy(h.ctx, "orig", Moment{Seq: seqs[1]}, "copy", "eve", ""); err != nil {
		t.Fatal(err)
	}
	if got := h.text(s, "copy", Moment{}); got != want {
		t.Errorf("the copy has %q, want %q", got, want)
	}
	if _, err := s.Copy(h.ctx, "orig", Moment{}, "copy", "eve", ""); !errors.Is(err, ErrNotNew) {
		t.Errorf("a copy onto a document = %v, want ErrNotNew", err)
	}
	if err := s.Erase(h.ctx, "copy", "eve"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(h.ctx, "orig", Moment{}, "copy", "eve", ""); !errors.Is(err, ErrErased) {
		t.Errorf("a copy of what was erased there = %v, want ErrErased", err)
	}
}

func TestHistoryIsGroupedByPausesAndAuthors(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	ada, bob := h.author("story", "ada"), h.author("story", "bob")
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	var seqs []stream.Seq
	for i, a := range []*author{ada, ada, bob, ada, bob, bob} {
		a.at = start.Add(time.Duration(i)*time.Minute + time.Duration(i/3)*time.Hour)
		seqs = append(seqs, a.types(fmt.Sprint(i))...)
		if i == 1 || i == 4 {
			mustFold(t, s, "story")
		}
	}
	page, err := s.History(h.ctx, "story", HistoryQuery{Group: Grouping{Gap: 5 * time.Minute}})
	if err != nil || len(page.Entries) != 2 || page.Next != 0 {
		t.Fatalf("history = %+v, %v; want two entries", page, err)
	}
	e := page.Entries[1]
	if e.First != seqs[0] || e.Last != seqs[2] || e.Records != 3 || !e.From.Equal(start) || !reflect.DeepEqual(e.Users, []string{"ada", "bob"}) {
		t.Errorf("the older entry = %+v", e)
	}
	var all []Entry
	q := HistoryQuery{Group: Grouping{Gap: 5 * time.Minute, ByAuthor: true}, Limit: 2}
	for pages := 0; ; pages++ {
		page, err := s.History(h.ctx, "story", q)
		if err != nil || pages > 5 {
			t.Fatal(err, pages)
		}
		all = append(all, page.Entries...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	if len(all) != 4 || all[0].First != seqs[4] || all[3].Last != seqs[1] {
		t.Errorf("history by author in pages = %+v, want four entries", all)
	}
	if page, err = s.History(h.ctx, "story", HistoryQuery{From: Moment{Seq: seqs[1]}, To: Moment{Seq: seqs[3]}}); err != nil || len(page.Entries) != 2 {
		t.Errorf("history of a range, ungrouped = %+v, %v; want two entries", page, err)
	}
	for in, want := range map[string]Grouping{"": {Gap: 5 * time.Minute}, "none": {}, "1h,author": {Gap: time.Hour, ByAuthor: true}, "author": {Gap: 5 * time.Minute, ByAuthor: true}, "even": {Even: true}} {
		if got, err := ParseGrouping(in); err != nil || got != want {
			t.Errorf("ParseGrouping(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
	if _, err := ParseGrouping("often"); err == nil {
		t.Error("a grouping nobody can read is taken")
	}
}

func TestDocumentTravelsInOneFile(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	seqs, start := h.conversation(s, "from")
	if _, err := s.PutVersion(h.ctx, "from", "v1", Moment{Seq: seqs[1]}, "ada"); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := s.Export(h.ctx, "from", &file); err != nil {
		t.Fatal(err)
	}
	whole := file.String()
	got, err := s.Import(h.ctx, "to", strings.NewReader(whole), ImportOptions{User: "eve", KeepUsers: true})
	if err != nil || got.Records != 4 || got.Versions != 1 {
		t.Fatalf("Import = %+v, %v", got, err)
	}
	for k := range seqs {
		at := Moment{Time: start.Add(time.Duration(k) * time.Hour)}
		if got, want := h.text(s, "to", at), h.text(s, "from", at); got != want {
			t.Errorf("after %d hours: %q, want %q", k, got, want)
		}
	}
	_, authors, err := s.Authors(h.ctx, "to", "text", Moment{})
	if err != nil || authors["text"][1].User != "bob" {
		t.Errorf("authors after the journey = %+v, %v", authors, err)
	}
	if v, err := s.Version(h.ctx, "to", "v1"); err != nil || h.text(s, "to", Moment{Seq: v.Seq}) != h.text(s, "from", Moment{Seq: seqs[1]}) {
		t.Errorf("version after the journey = %+v, %v", v, err)
	}
	if _, err := s.VerifyDoc(h.ctx, "to"); err != nil {
		t.Error(err)
	}
	if _, err := s.Import(h.ctx, "to", strings.NewReader(whole), ImportOptions{}); !errors.Is(err, ErrNotNew) {
		t.Errorf("the same import again = %v, want ErrNotNew", err)
	}
	head, err := h.log.Head(h.ctx, "to")
	if err != nil {
		t.Fatal(err)
	}
	if done, err := s.Import(h.ctx, "to", strings.NewReader(whole), ImportOptions{Merge: true, User: "eve"}); err != nil || done.Records != 0 || done.Last != head {
		t.Errorf("merged into itself: %+v, %v; want nothing logged after %d", done, err, head)
	}
	if got, want := h.text(s, "to", Moment{}), h.text(s, "from", Moment{}); got != want {
		t.Errorf("merged into itself it is %q, want %q", got, want)
	}
	lines := strings.SplitAfter(whole, "\n")
	for name, file := range map[string]string{
		"empty": "", "no first line": strings.Join(lines[1:], ""), "cut off": strings.Join(lines[:3], ""), "not JSON": "PK\x03\x04",
		"a record left out": strings.Join(append(append([]string{}, lines[:2]...), lines[3:]...), ""), "newer": strings.Replace(whole, `"v":1`, `"v":9`, 1),
		"not an update": lines[0] + `{"seq":1,"base":true,"update":"AQEB"}` + "\n",
	} {
		if _, err := s.Import(h.ctx, stream.Doc("bad "+name), strings.NewReader(file), ImportOptions{}); !errors.Is(err, ErrTransfer) {
			t.Errorf("%s: %v, want ErrTransfer", name, err)
		}
		if got := inLog(t, h.log, stream.Doc("bad "+name)); len(got) != 0 {
			t.Errorf("%s: %d records are left of it", name, len(got))
		}
	}
}

func TestImportFromTheFutureDoesNotHoldTimeTravelBack(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("soon", "ada")
	a.types("now")
	update, err := json.Marshal(insertion(a.client+1, 0, "future"))
	if err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf(`{"yjet":"document","v":1}
{"seq":1,"time":"2999-01-01T00:00:00Z","update":%s}
{"end":true,"records":1}
`, update)
	if _, err := s.Import(h.ctx, "soon", strings.NewReader(file), ImportOptions{Merge: true}); err != nil {
		t.Fatal(err)
	}
	seqs := a.types(" later")
	st, err := s.At(h.ctx, "soon", Moment{Time: time.Now().Add(time.Second)})
	if err != nil || st.Seq != seqs[0] {
		t.Errorf("in a second the document is at %d (%v), want %d", st.Seq, err, seqs[0])
	}
}

// textOf is the text of the root "text".
func textOf(d *yjs.Document) string {
	text, _, err := d.Text("text", yjs.KindText, nil)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(text)
}
