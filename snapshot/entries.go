package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"yjet/stream"
)

// Entry is a piece of a document's history: one group of records.
type Entry struct {
	First   stream.Seq `json:"first"` // first and last record
	Last    stream.Seq `json:"last"`
	From    time.Time  `json:"from"` // their times
	To      time.Time  `json:"to"`
	Users   []string   `json:"users"` // in order of appearance; "" stands for anonymous
	Records int        `json:"records"`
	Updates int        `json:"updates"`
	Bytes   int        `json:"bytes"` // of the updates
}

// Grouping selects the records that form one entry.
type Grouping struct {
	Gap      time.Duration // a longer gap between two records starts a new entry; 0: each record is an entry
	ByAuthor bool          // another author starts a new entry
	// Even spreads the entries evenly over all records of the query, however many there are: each entry is of the same number of records, a
	// power of two, but for the oldest, which may have fewer. There are at most Limit entries, and more than half as many where there are as
	// many records. There is no second page.
	Even bool
}

// ParseGrouping reads "5m", "author", "5m,author", "none" or "even"; "" is five minutes.
func ParseGrouping(v string) (Grouping, error) {
	g := Grouping{Gap: 5 * time.Minute}
	if v == "even" {
		return Grouping{Even: true}, nil
	}
	for part := range strings.SplitSeq(v, ",") {
		switch part {
		case "":
		case "author", "user":
			g.ByAuthor = true
		case "none", "record":
			g.Gap = 0
		default:
			d, err := ParseAge(part)
			if err != nil || d <= 0 {
				return g, fmt.Errorf("group %q: want a gap such as 5m, author, both as in 5m,author, none, or even", v)
			}
			g.Gap = d
		}
	}
	return g, nil
}

// HistoryQuery selects a page of a document's history.
type HistoryQuery struct {
	From, To Moment // the records after From and up to To; zero: from the beginning, to the present
	Group    Grouping
	Before   stream.Seq // only records before this one: Next of the page before
	Limit    int        // entries; 0: 100
}

// HistoryPage is newest first.
type HistoryPage struct {
	Entries []Entry    `json:"entries"`
	Next    stream.Seq `json:"next,omitempty"` // Before of the next page; 0: this is the last
	// Oldest is the first single record; the earlier ones were dropped and are one state.
	Oldest     stream.Seq `json:"oldest,omitempty"`
	OldestTime time.Time  `json:"oldestTime,omitzero"`
}

// History lists a document's events, newest first. It reads only the segments of the page. stream.ErrLost: one of them is damaged.
func (s *history) History(ctx context.Context, doc stream.Doc, q HistoryQuery) (page HistoryPage, err error) {
	err = s.withHistory(ctx, doc, func(h *head, tail []stream.Record) (err error) {
		page, err = s.page(ctx, h, tail, q)
		return err
	})
	return page, err
}

// page builds one page from the segments that h lists and the records after them.
func (s *history) page(ctx context.Context, h *head, tail []stream.Record, q HistoryQuery) (HistoryPage, error) {
	page := HistoryPage{Entries: []Entry{}}
	var after stream.Seq
	if h != nil && h.info.Horizon > 0 {
		page.Oldest, page.OldestTime = h.info.Horizon, time.UnixMilli(h.info.HorizonMS).UTC()
		after = h.info.Horizon
	}
	if !q.From.Now() {
		n, err := s.resolve(ctx, h, tail, q.From)
		if err != nil && !errors.Is(err, ErrGone) {
			return HistoryPage{}, err
		}
		after = max(after, n) // a moment before the horizon means the horizon
	}
	upto, err := s.resolve(ctx, h, tail, q.To)
	if errors.Is(err, ErrGone) {
		return page, nil // all of it is older than the horizon
	} else if err != nil {
		return HistoryPage{}, err
	}
	if q.Before > 0 {
		upto = min(upto, q.Before-1)
	}
	g := grouper{Grouping: q.Group, limit: q.Limit, stride: 1}
	if g.limit <= 0 {
		g.limit = 100
	}
	take := func(recs []stream.Record, sizes func(i int) int) (more bool) {
		for i := len(recs) - 1; i >= 0; i-- {
			if r := &recs[i]; r.Seq > after && r.Seq <= upto && !g.add(r, sizes(i)) {
				page.Next = g.last().First
				return false
			}
		}
		return true
	}
	more := take(tail, func(i int) int { return len(tail[i].Update) })
	if h != nil {
		for k := len(h.info.History) - 1; k >= 0 && more; k-- {
			seg := h.info.History[k]
			if seg.From > upto {
				continue
			}
			if seg.To <= after {
				break
			}
			recs, sizes, err := s.segmentTable(ctx, seg)
			if err != nil {
				return HistoryPage{}, err
			}
			more = take(recs, func(i int) int { return sizes[i] })
		}
	}
	page.Entries = append(page.Entries, g.entries...)
	return page, nil
}

// grouper collects records into entries, newest first.
type grouper struct {
	Grouping
	limit   int // entries, at least 1
	stride  int // records that fill an entry of even ones
	entries []Entry
}

func (g *grouper) last() *Entry { return &g.entries[len(g.entries)-1] }

// begins reports whether an older record starts an entry of its own.
func (g *grouper) begins(r *stream.Record) bool {
	switch {
	case len(g.entries) == 0:
		return true
	case g.Even:
		return g.last().Records >= g.stride
	}
	return g.Gap == 0 || g.last().From.Sub(r.Time) > g.Gap || g.ByAuthor && g.last().Users[0] != r.User
}

// add adds the next older record; false: the page is full without it.
func (g *grouper) add(r *stream.Record, size int) bool {
	if g.Even && len(g.entries) == g.limit && g.begins(r) {
		g.halve()
	}
	if g.begins(r) {
		if len(g.entries) == g.limit {
			return false
		}
		g.entries = append(g.entries, Entry{Last: r.Seq, To: r.Time.UTC().Truncate(time.Millisecond)})
	}
	e := g.last()
	e.First, e.From = r.Seq, r.Time.UTC().Truncate(time.Millisecond)
	e.Records++
	e.Updates += max(r.Merged, 1)
	e.Bytes += size
	e.Users = inFront(e.Users, r.User)
	return true
}

// inFront puts a user at the front of a list that names each user once.
func inFront(users []string, user string) []string {
	i := slices.Index(users, user)
	if i < 0 {
		return append([]string{user}, users...)
	}
	copy(users[1:i+1], users[:i])
	users[0] = user
	return users
}

// halve joins each entry with the older one after it and doubles the stride.
func (g *grouper) halve() {
	half := g.entries[:0]
	for i := 0; i < len(g.entries); i += 2 {
		e := g.entries[i]
		if i+1 < len(g.entries) {
			older := &g.entries[i+1]
			e.First, e.From = older.First, older.From
			e.Records, e.Updates, e.Bytes = e.Records+older.Records, e.Updates+older.Updates, e.Bytes+older.Bytes
			for _, u := range slices.Backward(older.Users) {
				e.Users = inFront(e.Users, u)
			}
		}
		half = append(half, e)
	}
	g.entries = half
	g.stride *= 2
}
