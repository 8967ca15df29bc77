package snapshot

import (
	"context"
	"time"
	"unicode/utf8"

	"yjet/internal/yjs"
	"yjet/stream"
)

// AuthorRun is a piece of text by one author. Adjacent pieces by the same author form one run if they were written within authorGap.
// Authors without a name are told apart by connection, which does not identify a person.
type AuthorRun struct {
	Text string     `json:"text"`
	User string     `json:"user"`           // as verified when it was appended; empty: anonymous, another program, or before the horizon
	Conn string     `json:"conn,omitempty"` // the connection, if there is no user; empty: not a connection of ours
	Time time.Time  `json:"time,omitzero"`
	Seq  stream.Seq `json:"seq,omitempty"` // of the newest record in the run
}

const authorGap = 5 * time.Minute

// people computes the authors of a text and the changes between two moments.
type people struct {
	*history
}

// Authors returns the text of a root at a moment as runs, each with its author. The zero name means all roots that hold text. The work
// grows with the document's records and text; it stops when ctx ends.
func (s *people) Authors(ctx context.Context, doc stream.Doc, root string, m Moment) (State, map[string][]AuthorRun, error) {
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
		written, err := d.Runs(name, reading(ctx))
		if err != nil {
			return State{}, nil, err
		}
		runs, err := authorsOf(ctx, written, from)
		if err != nil {
			return State{}, nil, err
		}
		if len(runs) > 0 || root != "" {
			out[name] = runs
		}
	}
	return st, out, nil
}

// authorsOf joins adjacent pieces of a text by the same author.
func authorsOf(ctx context.Context, pieces []yjs.TextRun, from *origins) ([]AuthorRun, error) {
	runs := []AuthorRun{}
	var last *originRecord
	var text []byte // of the last run
	for i, t := range pieces {
		if i%lookUp == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		rest := t.Text
		from.each(t.Client, t.Clock, t.Clock+t.Len, func(a, b uint64, rec *originRecord) {
			var piece string
			piece, rest = cutUnits(rest, b-a)
			if n := len(runs); n > 0 && sameAuthor(last, rec) {
				if r := &runs[n-1]; rec != nil && rec.seq > r.Seq {
					r.Seq, r.Time = rec.seq, time.UnixMilli(rec.ms).UTC()
				}
			} else {
				if n > 0 {
					runs[n-1].Text = string(text)
				}
				var r AuthorRun
				if rec != nil {
					r.User, r.Conn, r.Seq, r.Time = rec.user, rec.conn, rec.seq, time.UnixMilli(rec.ms).UTC()
				}
				runs, text = append(runs, r), text[:0]
			}
			text = append(text, piece...)
			last = rec
		})
	}
	if n := len(runs); n > 0 {
		runs[n-1].Text = string(text)
	}
	return runs, nil
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

// textRoots names the roots of d that may hold text, nested in lists too. If root is not empty, it names only that one.
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

// reading limits the cost of reading the text of one root: 1 GiB of work is some twenty passes over a document of 50 MiB, the largest.
func reading(ctx context.Context) *yjs.Budget {
	return &yjs.Budget{Bytes: 64 << 20, Work: 1 << 30, Check: ctx.Err}
}
