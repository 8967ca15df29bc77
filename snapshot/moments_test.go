package snapshot

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// everyShape are updates that bring content of every type: marks, embeds, nested types, sub-documents, XML, deleted ranges, and
// structs and deletes that wait for updates that come later.
func everyShape(t testing.TB) (updates [][]byte) {
	t.Helper()
	d := yjs.NewDocument(yjs.DocumentOptions{})
	edit := func(client uint64, f func(tx *yjs.Tx) error) []byte {
		t.Helper()
		u, err := d.Edit(client, f)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	text := func(f func(x yjs.Text) error) func(tx *yjs.Tx) error {
		return func(tx *yjs.Tx) error { return f(tx.Text("text")) }
	}
	bold := map[string]any{"bold": true}
	updates = append(updates,
		edit(11, text(func(x yjs.Text) error { return x.Insert(0, "Hello 🎈 wörld", nil) })),
		edit(12, text(func(x yjs.Text) error { return x.Format(0, 5, bold) })),
		edit(11, text(func(x yjs.Text) error { return x.InsertEmbed(5, map[string]any{"image": "a.png"}, bold) })),
		edit(12, text(func(x yjs.Text) error { return x.Delete(2, 2) })),
		edit(11, func(tx *yjs.Tx) error {
			return errors.Join(tx.Map("map").Set("title", "draft"), tx.Map("map").Set("tags", yjs.NewArray("a", 1, nil, true)))
		}),
		edit(12, func(tx *yjs.Tx) error { tx.Map("map").Delete("tags"); return tx.Map("map").Set("title", "final") }),
		edit(12, func(tx *yjs.Tx) error {
			return tx.Array("list").Insert(0, 1.5, []byte{0, 255}, map[string]any{"k": []any{nil}}, yjs.NewMap(map[string]any{"in": "side"}), json.RawMessage(`[1]`))
		}),
		edit(11, func(tx *yjs.Tx) error { return tx.Array("list").Delete(1, 2) }),
		edit(11, func(tx *yjs.Tx) error {
			return tx.Map("docs").Set("child", yjs.SubDoc{GUID: "8d3c", AutoLoad: true})
		}),
		edit(12, func(tx *yjs.Tx) error {
			return tx.XML("xml").Insert(0, yjs.NewXMLElement("p", map[string]any{"class": "a<b"}, yjs.NewXMLText("nested", bold)), yjs.NewXMLElement("hr", nil))
		}),
		edit(11, func(tx *yjs.Tx) error {
			p, _ := tx.XML("xml").Child(0)
			x, _ := p.XML().Child(0)
			return errors.Join(p.XML().SetAttribute("id", "1"), x.Text().Insert(3, "!", nil))
		}),
		edit(12, func(tx *yjs.Tx) error { return tx.XML("xml").Delete(1, 1) }),
	)
	first, second := insertion(77, 0, "once"), insertion(77, 4, " upon")
	return append(updates,
		second,             // waits for first
		deletion(77, 2, 3), // waits too
		insertion(78, 0, "x"),
		first, // and all of it is there
		deletion(78, 0, 1),
		deletion(404, 7, 2), // of a client that never comes
	)
}

// looks describes a document: all that its readers see, its ids, its deletes and what it waits for.
func looks(t testing.TB, d *yjs.Document) string {
	t.Helper()
	kinds := map[string]yjs.Kind{"text": yjs.KindText, "map": yjs.KindMap, "list": yjs.KindArray, "docs": yjs.KindMap, "xml": yjs.KindXMLFragment}
	js, err := d.JSON(kinds, nil)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := d.Delta("text", nil)
	if err != nil {
		t.Fatal(err)
	}
	xml, err := d.XML("xml", yjs.KindXMLFragment, nil)
	if err != nil {
		t.Fatal(err)
	}
	deletes, p := d.Deletes(), d.Pending()
	return fmt.Sprintf("%s\n%s\n%s\nvector %x deletes %x\npending %d, missing %v, deletes %x", js, delta, xml, d.Vector().Append(nil), deletes.Append(nil), min(p.Structs, 1), p.Missing, p.Deletes.Append(nil))
}

// replayed is the plain replay of updates, without any of this package.
func replayed(t testing.TB, updates ...[]byte) *yjs.Document {
	t.Helper()
	d := yjs.NewDocument(yjs.DocumentOptions{KeepDeleted: true})
	for i, u := range updates {
		if err := d.Apply(u); err != nil {
			t.Fatalf("update %d: %v", i, err)
		}
	}
	return d
}

func opened(t testing.TB, st State) *yjs.Document {
	t.Helper()
	d, err := yjs.OpenDocument(yjs.DocumentOptions{KeepDeleted: true}, st.Update)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wrote appends updates to a document, one record and one minute each, and folds after those that fold names.
func (h *house) wrote(s *Store, doc stream.Doc, updates [][]byte, fold func(i int) bool) (seqs []stream.Seq, start time.Time) {
	h.t.Helper()
	start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	w := h.log.Writer(doc)
	for i, u := range updates {
		got, err := appendAll(h.ctx, w, []stream.Entry{{User: []string{"ada", "bob"}[i%2], Update: u, Time: start.Add(time.Duration(i) * time.Minute)}})
		if err != nil {
			h.t.Fatal(err)
		}
		seqs = append(seqs, got...)
		if fold(i) {
			mustFold(h.t, s, doc)
		}
	}
	return seqs, start
}

var foldings = []struct {
	name string
	fold func(i int) bool
}{
	{"never", func(int) bool { return false }},
	{"once", func(i int) bool { return i == 7 }},
	{"at the end", func(i int) bool { return i == 17 }},
	{"often", func(i int) bool { return i%4 == 2 }},
	{"always", func(int) bool { return true }},
}

func TestEverySequenceOfADocumentOfEveryShapeIsAPlainReplayHoweverItWasFolded(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	updates := everyShape(t)
	for _, c := range foldings {
		doc := stream.Doc("folded " + c.name)
		seqs, start := h.wrote(s, doc, updates, c.fold)
		for k := range updates {
			want := looks(t, replayed(t, updates[:k+1]...))
			at := start.Add(time.Duration(k) * time.Minute)
			for how, m := range map[string]Moment{"sequence": {Seq: seqs[k]}, "time": {Time: at}, "a second later": {Time: at.Add(time.Second)}} {
				st, err := s.At(h.ctx, doc, m)
				if err != nil || st.Seq != seqs[k] || !st.Time.Equal(at) {
					t.Fatalf("folded %s, record %d by %s: at %d, %v, %v; want %d, %v", c.name, k, how, st.Seq, st.Time, err, seqs[k], at)
				}
				if got := looks(t, opened(t, st)); got != want {
					t.Fatalf("folded %s, record %d by %s:\n%s\nwant\n%s", c.name, k, how, got, want)
				}
			}
		}
		for _, before := range []Moment{{Time: start.Add(-time.Millisecond)}, {Time: time.UnixMilli(1)}} {
			if st, err := s.At(h.ctx, doc, before); err != nil || st.Seq != 0 || !bytes.Equal(st.Update, empty) {
				t.Errorf("folded %s, before the first record: %+v, %v; want the empty document", c.name, st, err)
			}
		}
		for _, after := range []Moment{{}, {Seq: seqs[17] + 1000}, {Time: start.Add(24 * time.Hour)}} {
			if st, err := s.At(h.ctx, doc, after); err != nil || st.Seq != seqs[17] {
				t.Errorf("folded %s, after the last record: at %d, %v; want the present, %d", c.name, st.Seq, err, seqs[17])
			}
		}
		if _, err := s.VerifyDoc(h.ctx, doc); err != nil {
			t.Errorf("folded %s: %v", c.name, err)
		}
	}
}

func TestHistoryPagesMeetAtEveryBoundary(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	updates := everyShape(t)
	for _, c := range foldings {
		doc := stream.Doc("pages " + c.name)
		seqs, start := h.wrote(s, doc, updates, c.fold)
		list := func(q HistoryQuery) (got []stream.Seq) {
			t.Helper()
			for pages := 0; ; pages++ {
				page, err := s.History(h.ctx, doc, q)
				if err != nil || pages > len(seqs) {
					t.Fatalf("page %d: %v", pages, err)
				}
				if q.Limit > 0 && len(page.Entries) > q.Limit {
					t.Fatalf("a page of %d entries, want at most %d", len(page.Entries), q.Limit)
				}
				for _, e := range page.Entries {
					if e.First != e.Last || e.Records != 1 || !slices.Contains(seqs, e.First) {
						t.Fatalf("entry %+v, want one record", e)
					}
					if k := slices.Index(seqs, e.First); e.Bytes != len(updates[k]) || !e.From.Equal(start.Add(time.Duration(k)*time.Minute)) {
						t.Errorf("record %d: %d bytes at %v, want %d", k, e.Bytes, e.From, len(updates[k]))
					}
					got = append(got, e.First)
				}
				if q.Before = page.Next; q.Before == 0 {
					return got
				}
			}
		}
		newest := func(from, to int) []stream.Seq { // records [from, to), newest first
			want := slices.Clone(seqs[from:to])
			slices.Reverse(want)
			return want
		}
		for limit := range len(seqs) + 2 { // 0: the default
			if got := list(HistoryQuery{Limit: limit}); !slices.Equal(got, newest(0, len(seqs))) {
				t.Errorf("folded %s, pages of %d: %v", c.name, limit, got)
			}
		}
		for k := range seqs {
			at := start.Add(time.Duration(k) * time.Minute)
			for name, q := range map[string]struct {
				HistoryQuery
				want []stream.Seq
			}{
				"before a sequence": {HistoryQuery{Before: seqs[k]}, newest(0, k)},
				"up to a sequence":  {HistoryQuery{To: Moment{Seq: seqs[k]}}, newest(0, k+1)},
				"after a sequence":  {HistoryQuery{From: Moment{Seq: seqs[k]}, Limit: 5}, newest(k+1, len(seqs))},
				"up to a time":      {HistoryQuery{To: Moment{Time: at}}, newest(0, k+1)},
				"up to just before": {HistoryQuery{To: Moment{Time: at.Add(-time.Millisecond)}, Limit: 3}, newest(0, k)},
				"after a time":      {HistoryQuery{From: Moment{Time: at}}, newest(k+1, len(seqs))},
				"an empty range":    {HistoryQuery{From: Moment{Seq: seqs[k]}, To: Moment{Seq: seqs[k]}}, nil},
				"a reversed range":  {HistoryQuery{From: Moment{Seq: seqs[len(seqs)-1]}, To: Moment{Seq: seqs[k]}}, nil},
			} {
				if got := list(q.HistoryQuery); !slices.Equal(got, q.want) {
					t.Errorf("folded %s, record %d, %s: %v, want %v", c.name, k, name, got, q.want)
				}
			}
			after, upto, err := s.Range(h.ctx, doc, Moment{Time: at}, Moment{})
			if err != nil || after != seqs[k] || upto != seqs[len(seqs)-1] {
				t.Errorf("folded %s: the range from record %d is %d to %d, %v", c.name, k, after, upto, err)
			}
		}
	}
}

func TestDiffBetweenAnyTwoMomentsLeadsFromOneTextToTheOther(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	updates := everyShape(t)
	texts := make([]string, len(updates))
	for k := range updates {
		texts[k] = textOf(replayed(t, updates[:k+1]...))
	}
	for _, c := range foldings[2:4] {
		doc := stream.Doc("diff " + c.name)
		seqs, _ := h.wrote(s, doc, updates, c.fold)
		for from := range seqs {
			for to := from % 3; to < len(seqs); to += 3 {
				d, err := s.Diff(h.ctx, doc, Moment{Seq: seqs[from]}, Moment{Seq: seqs[to]})
				if err != nil || d.From != seqs[from] || d.To != seqs[to] {
					t.Fatalf("folded %s, %d to %d: %+v, %v", c.name, from, to, d, err)
				}
				changes, changed := d.Types["text"]
				if !changed {
					if texts[from] != texts[to] {
						t.Errorf("folded %s, %d to %d: no change, want %q to %q", c.name, from, to, texts[from], texts[to])
					}
					continue
				}
				var was, is strings.Builder
				for _, ch := range changes {
					if ch.Op != "insert" {
						was.WriteString(ch.Text)
					}
					if ch.Op != "delete" {
						is.WriteString(ch.Text)
					}
					if ch.Op == "keep" {
						continue
					}
					waited := ch.Seq == seqs[12] || ch.Seq == seqs[13]
					if k := slices.Index(seqs, ch.Seq); k < 0 || ch.User != []string{"ada", "bob"}[k%2] || k > max(from, to) || k <= min(from, to) && !waited {
						t.Errorf("folded %s, %d to %d: %+v, want its author and a record between the two, or one that waited", c.name, from, to, ch)
					}
				}
				if was.String() != texts[from] || is.String() != texts[to] {
					t.Errorf("folded %s, %d to %d: leads from %q to %q, want %q to %q", c.name, from, to, was.String(), is.String(), texts[from], texts[to])
				}
			}
		}
	}
}

func TestADocumentOfEveryShapeIsCopiedRestoredAndCarriedInAFileAsItWasAtEachMoment(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	updates := everyShape(t)
	seqs, start := h.wrote(s, "origin", updates, func(i int) bool { return i%5 == 3 })
	visible := func(d *yjs.Document) string {
		js, err := d.JSON(map[string]yjs.Kind{"text": yjs.KindText, "map": yjs.KindMap, "list": yjs.KindArray, "docs": yjs.KindMap, "xml": yjs.KindXMLFragment}, nil)
		if err != nil {
			t.Fatal(err)
		}
		delta, err := d.Delta("text", nil)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s\n%s", js, delta)
	}
	now := func(doc stream.Doc) *yjs.Document {
		t.Helper()
		st, err := s.At(h.ctx, doc, Moment{})
		if err != nil {
			t.Fatal(err)
		}
		return opened(t, st)
	}
	for k := 0; k < len(seqs); k += 4 {
		to := stream.Doc(fmt.Sprintf("copy/%d", k))
		if _, err := s.Copy(h.ctx, "origin", Moment{Seq: seqs[k]}, to, "eve", "c1"); err != nil {
			t.Fatalf("copy at record %d: %v", k, err)
		}
		if got, want := visible(now(to)), visible(replayed(t, updates[:k+1]...)); got != want {
			t.Errorf("copied at record %d:\n%s\nwant\n%s", k, got, want)
		}
		for r, err := range s.Records(h.ctx, to, 0, 0) {
			if err != nil || r.User != "eve" || r.Conn != "c1" {
				t.Errorf("copied at record %d: by %q on %q, %v; want eve on c1", k, r.User, r.Conn, err)
			}
		}
	}
	if _, err := s.Copy(h.ctx, "nowhere", Moment{}, "copy/none", "eve", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("a copy of nothing = %v, want ErrNotFound", err)
	}

	var file bytes.Buffer
	if err := s.Export(h.ctx, "origin", &file); err != nil {
		t.Fatal(err)
	}
	whole := file.Bytes()
	if done, err := s.Import(h.ctx, "carried", bytes.NewReader(whole), ImportOptions{KeepUsers: true}); err != nil || done.Records != len(updates) {
		t.Fatalf("import = %+v, %v", done, err)
	}
	for k := range updates {
		st, err := s.At(h.ctx, "carried", Moment{Time: start.Add(time.Duration(k) * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := looks(t, opened(t, st)), looks(t, replayed(t, updates[:k+1]...)); got != want {
			t.Errorf("carried, at record %d:\n%s\nwant\n%s", k, got, want)
		}
	}
	var again bytes.Buffer
	if err := s.Export(h.ctx, "carried", &again); err != nil {
		t.Fatal(err)
	}
	records := func(file []byte) (lines []string) {
		for line := range bytes.Lines(file) {
			var l transferLine
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			if l.Update != nil {
				lines = append(lines, fmt.Sprint(l.Time, l.User, base64.StdEncoding.EncodeToString(l.Update)))
			}
		}
		return lines
	}
	if got, want := records(again.Bytes()), records(whole); !slices.Equal(got, want) {
		t.Errorf("exported again: %d records, not those of the first file (%d)", len(got), len(want))
	}

	for _, k := range []int{14, 2, 9, 5} { // last, so that each restore begins where the one before ended
		if _, err := s.Restore(h.ctx, "carried", Moment{Time: start.Add(time.Duration(k) * time.Minute)}, "eve", ""); err != nil {
			t.Fatalf("restore to record %d: %v", k, err)
		}
		if got, want := visible(now("carried")), visible(replayed(t, updates[:k+1]...)); got != want {
			t.Errorf("restored to record %d:\n%s\nwant\n%s", k, got, want)
		}
		mustFold(t, s, "carried")
	}
	if _, err := s.VerifyDoc(h.ctx, "carried"); err != nil {
		t.Error(err)
	}
}

// failingWriter breaks after n bytes, as a client that goes away during a download.
type failingWriter struct{ n int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.n -= len(p); w.n < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestAnExportThatCannotBeWrittenOrHasNothingToWriteSaysSo(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("long", "ada")
	a.types(strings.Repeat("word ", 40<<10), "end")
	for _, n := range []int{0, 1 << 10, 100 << 10} {
		if err := s.Export(h.ctx, a.doc, &failingWriter{n}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: %v, want the writer's error", n, err)
		}
	}
	if err := s.Export(h.ctx, "nobody", io.Discard); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown document = %v, want ErrNotFound", err)
	}
}
