package snapshot

import (
	"context"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// TextChange is a piece of text that was kept, inserted or deleted between two moments, with the author and time of the change.
type TextChange struct {
	Op   string     `json:"op"` // keep, insert, delete
	Text string     `json:"text"`
	User string     `json:"user,omitempty"`
	Time time.Time  `json:"time,omitzero"`
	Seq  stream.Seq `json:"seq,omitempty"`
}

// Diff lists the changes to the text types between two moments, in the order of the text.
type Diff struct {
	From  stream.Seq              `json:"from"`
	To    stream.Seq              `json:"to"`
	Types map[string][]TextChange `json:"types"` // of the types whose text changed
}

// Diff compares two moments. If from is the later one, the text inserted between them reads as deleted. A change that waited for another
// one has the author and the record that brought it, which can be older than from.
func (s *people) Diff(ctx context.Context, doc stream.Doc, from, to Moment) (Diff, error) {
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
	after := a.Seq
	if p := old.Pending(); p.Structs > 0 || !p.Deletes.Empty() {
		after = 0 // the earlier moment has changes that wait for others and may take effect by the later one
	}
	var deletes origins
	inserts, err := s.originsOf(ctx, doc, after, b.Seq, &deletes)
	if err != nil {
		return Diff{}, err
	}
	for _, name := range textRoots(d, "") {
		w := changeWriter{list: []TextChange{}, inserts: inserts, deletes: &deletes, op: op}
		changes, err := d.TextDiff(old, name, reading(ctx))
		if err != nil {
			return Diff{}, err
		}
		for i, c := range changes {
			if i%lookUp == 0 && ctx.Err() != nil {
				return Diff{}, ctx.Err()
			}
			w.add(c)
		}
		if w.flush(); w.changed {
			out.Types[name] = w.list
		}
	}
	return out, nil
}

// changeWriter joins adjacent pieces of a comparison that have the same operation and author.
type changeWriter struct {
	list    []TextChange
	text    []byte // of the last one in list
	changed bool
	inserts *origins
	deletes *origins
	op      [3]string
}

func (w *changeWriter) add(c yjs.TextChange) {
	if c.Change == yjs.Kept {
		if n := len(w.list); n == 0 || w.list[n-1].Op != "keep" {
			w.begin(TextChange{Op: "keep"})
		}
		w.text = append(w.text, c.Text...)
		return
	}
	w.changed = true
	by := w.inserts
	if c.Change == yjs.Deleted {
		by = w.deletes
	}
	op, rest := w.op[c.Change], c.Text
	var last *originRecord
	by.each(c.Client, c.Clock, c.Clock+c.Len, func(from, to uint64, rec *originRecord) {
		var piece string
		piece, rest = cutUnits(rest, to-from)
		if n := len(w.list); n > 0 && w.list[n-1].Op == op && last != nil && sameAuthor(last, rec) {
			w.list[n-1].Seq = max(w.list[n-1].Seq, rec.seq)
		} else {
			t := TextChange{Op: op}
			if rec != nil {
				t.User, t.Seq, t.Time = rec.user, rec.seq, time.UnixMilli(rec.ms).UTC()
			}
			w.begin(t)
		}
		w.text = append(w.text, piece...)
		last = rec
	})
}

func (w *changeWriter) begin(t TextChange) {
	w.flush()
	w.list, w.text = append(w.list, t), w.text[:0]
}

// flush writes the text of the last change.
func (w *changeWriter) flush() {
	if n := len(w.list); n > 0 {
		w.list[n-1].Text = string(w.text)
	}
}
