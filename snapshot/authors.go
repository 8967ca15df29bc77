package snapshot

import (
	"context"
	"fmt"
	"sort"
	"time"
	"unicode/utf8"

	"yjet/internal/yjs"
	"yjet/stream"
)

// AuthorRun is a piece of text and who brought it. Pieces of one person that follow each other are one run while no more than
// authorGap lies between them. Whoever has no name is told from others by the connection, which says nothing about who it was.
type AuthorRun struct {
	Text string     `json:"text"`
	User string     `json:"user"`           // as verified when it was appended; empty: anonymous, another program, or before the horizon
	Conn string     `json:"conn,omitempty"` // the connection it came by, where there is no user; empty: not a connection of ours
	Time time.Time  `json:"time,omitzero"`
	Seq  stream.Seq `json:"seq,omitempty"` // of the newest record in the run
}

const authorGap = 5 * time.Minute

// origin is the record that first brought a run of clocks.
type origin struct {
	from, to uint64
	rec      int32 // index into origins.recs
}

type originRecord struct {
	user string
	conn string // only where user is empty
	seq  stream.Seq
	ms   int64
}

// origins tells for every client and clock which record brought it first.
type origins struct {
	recs     []originRecord
	byClient map[uint64][]origin // sorted, none overlapping
}

// add takes a record's runs of new clocks, or of deleted ones.
func (o *origins) add(r *stream.Record, runs []yjs.Run) {
	if len(runs) == 0 {
		return
	}
	if o.byClient == nil {
		o.byClient = make(map[uint64][]origin)
	}
	n := len(o.recs) - 1
	if n < 0 || o.recs[n].seq != r.Seq {
		rec := originRecord{user: r.User, seq: r.Seq, ms: r.Time.UnixMilli()}
		if rec.user == "" {
			rec.conn = r.Conn
		}
		o.recs = append(o.recs, rec)
		n++
	}
	for _, run := range runs {
		list := o.byClient[run.Client]
		from, to := run.Clock, run.End()
		k := len(list)
		if k > 0 && list[k-1].to > from { // known in part: a repeat, or what fills a gap
			k = sort.Search(len(list), func(i int) bool { return list[i].to > from })
		}
		for from < to {
			if k == len(list) {
				if k > 0 && list[k-1].to == from && o.same(list[k-1].rec, int32(n)) {
					list[k-1].to, list[k-1].rec = to, int32(n)
				} else {
					list = append(list, origin{from, to, int32(n)})
				}
				break
			}
			if next := list[k]; next.from > from {
				list = append(list, origin{})
				copy(list[k+1:], list[k:])
				list[k] = origin{from, min(to, next.from), int32(n)}
				k++
			}
			from = max(from, list[k].to)
			k++
		}
		o.byClient[run.Client] = list
	}
}

// same: two records that one run of text may show as one.
func (o *origins) same(a, b int32) bool {
	return sameAuthor(&o.recs[a], &o.recs[b])
}

// each cuts the clocks of a run by where they came from; rec is nil where nobody knows.
func (o *origins) each(client, from, to uint64, f func(from, to uint64, rec *originRecord)) {
	list := o.byClient[client]
	k := sort.Search(len(list), func(i int) bool { return list[i].to > from })
	for from < to {
		switch {
		case k == len(list) || list[k].from >= to:
			f(from, to, nil)
			return
		case list[k].from > from:
			f(from, list[k].from, nil)
			from = list[k].from
		}
		end := min(to, list[k].to)
		f(from, end, &o.recs[list[k].rec])
		from = end
		k++
	}
}

// originsOf reads who brought what with the records after < Seq ≤ upto; deletes, when given, gets who deleted what.
func (s *Store) originsOf(ctx context.Context, doc stream.Doc, after, upto stream.Seq, deletes *origins) (*origins, error) {
	var o origins
	var u yjs.Update
	for r, err := range s.Records(ctx, doc, after, upto) {
		if err != nil {
			return nil, err
		}
		if u.Parse(r.Update, stored) != nil {
			continue
		}
		o.add(&r, u.Runs())
		if deletes != nil {
			deletes.add(&r, u.Deletes())
		}
	}
	return &o, nil
}

// Authors tells who brought which run of the text in a root, at a moment. The zero name means all roots that hold text.
func (s *Store) Authors(ctx context.Context, doc stream.Doc, root string, m Moment) (State, map[string][]AuthorRun, error) {
	st, d, err := s.document(ctx, doc, m)
	if err != nil {
		return State{}, nil, err
	}
	from, err := s.originsOf(ctx, doc, 0, st.Seq, nil)
	if err != nil {
		return State{}, nil, err
	}
	out := make(map[string][]AuthorRun)
	for _, name := range textRoots(d, root) {
		runs := []AuthorRun{}
		var last *originRecord
		for _, t := range d.Runs(name) {
			text := t.Text
			from.each(t.Client, t.Clock, t.Clock+t.Len, func(a, b uint64, rec *originRecord) {
				var piece string
				piece, text = cutUnits(text, b-a)
				if n := len(runs); n > 0 && sameAuthor(last, rec) {
					r := &runs[n-1]
					r.Text += piece
					if rec != nil && rec.seq > r.Seq {
						r.Seq, r.Time = rec.seq, time.UnixMilli(rec.ms).UTC()
					}
				} else {
					r := AuthorRun{Text: piece}
					if rec != nil {
						r.User, r.Conn, r.Seq, r.Time = rec.user, rec.conn, rec.seq, time.UnixMilli(rec.ms).UTC()
					}
					runs = append(runs, r)
				}
				last = rec
			})
		}
		if len(runs) > 0 || root != "" {
			out[name] = runs
		}
	}
	return st, out, nil
}

func sameAuthor(a, b *originRecord) bool {
	if a == nil || b == nil {
		return a == b
	}
	d := a.ms - b.ms
	return a.user == b.user && a.conn == b.conn && max(d, -d) <= authorGap.Milliseconds()
}

// cutUnits cuts s after n UTF-16 units. Half a surrogate pair takes the whole character.
func cutUnits(s string, n uint64) (head, rest string) {
	i := 0
	for n > 0 && i < len(s) {
		r, w := utf8.DecodeRuneInString(s[i:])
		i += w
		if r > 0xffff && n > 1 {
			n--
		}
		n--
	}
	return s[:i], s[i:]
}

// document opens the document as it was at a moment, what was deleted by then included.
func (s *Store) document(ctx context.Context, doc stream.Doc, m Moment) (State, *yjs.Document, error) {
	st, err := s.At(ctx, doc, m)
	if err != nil {
		return State{}, nil, err
	}
	d, err := yjs.OpenDocument(yjs.DocumentOptions{KeepDeleted: true}, st.Update)
	if err != nil {
		return State{}, nil, fmt.Errorf("open %q at %d: %w", doc, st.Seq, err)
	}
	return st, d, nil
}

// textRoots names the roots of d that may hold text, nested in lists too, or the one that was asked for.
func textRoots(d *yjs.Document, root string) (names []string) {
	if root != "" {
		return []string{root}
	}
	for _, r := range d.Roots() {
		if r.Kind != yjs.KindMap {
			names = append(names, r.Name)
		}
	}
	return names
}

// TextChange is a piece of text that was kept, inserted or deleted between two moments, and by whom and when.
type TextChange struct {
	Op   string     `json:"op"` // keep, insert, delete
	Text string     `json:"text"`
	User string     `json:"user,omitempty"`
	Time time.Time  `json:"time,omitzero"`
	Seq  stream.Seq `json:"seq,omitempty"`
}

// Diff is what changed in the text types between two moments, in the order of the text.
type Diff struct {
	From  stream.Seq              `json:"from"`
	To    stream.Seq              `json:"to"`
	Types map[string][]TextChange `json:"types"` // of the types whose text changed
}

// Diff compares two moments; where from is the later one, what came since reads as deleted.
func (s *Store) Diff(ctx context.Context, doc stream.Doc, from, to Moment) (Diff, error) {
	a, old, err := s.document(ctx, doc, from)
	if err != nil {
		return Diff{}, err
	}
	b, d, err := s.document(ctx, doc, to)
	if err != nil {
		return Diff{}, err
	}
	out := Diff{From: a.Seq, To: b.Seq, Types: make(map[string][]TextChange)}
	op := [...]string{yjs.Kept: "keep", yjs.Inserted: "insert", yjs.Deleted: "delete"}
	if a.Seq > b.Seq {
		a, b, old, d = b, a, d, old
		op[yjs.Inserted], op[yjs.Deleted] = "delete", "insert"
	}
	if a.Seq == b.Seq {
		return out, nil
	}
	var deletes origins
	inserts, err := s.originsOf(ctx, doc, a.Seq, b.Seq, &deletes)
	if err != nil {
		return Diff{}, err
	}
	for _, name := range textRoots(d, "") {
		list := []TextChange{}
		changed := false
		for _, c := range d.TextDiff(old, name) {
			if n := len(list); c.Change == yjs.Kept && n > 0 && list[n-1].Op == "keep" {
				list[n-1].Text += c.Text
				continue
			} else if c.Change == yjs.Kept {
				list = append(list, TextChange{Op: "keep", Text: c.Text})
				continue
			}
			changed = true
			by := inserts
			if c.Change == yjs.Deleted {
				by = &deletes
			}
			text := c.Text
			var last *originRecord
			by.each(c.Client, c.Clock, c.Clock+c.Len, func(from, to uint64, rec *originRecord) {
				var piece string
				piece, text = cutUnits(text, to-from)
				if n := len(list); n > 0 && list[n-1].Op == op[c.Change] && last != nil && sameAuthor(last, rec) {
					list[n-1].Text += piece
					list[n-1].Seq = max(list[n-1].Seq, rec.seq)
				} else {
					t := TextChange{Op: op[c.Change], Text: piece}
					if rec != nil {
						t.User, t.Seq, t.Time = rec.user, rec.seq, time.UnixMilli(rec.ms).UTC()
					}
					list = append(list, t)
				}
				last = rec
			})
		}
		if changed {
			out.Types[name] = list
		}
	}
	return out, nil
}
