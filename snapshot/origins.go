package snapshot

import (
	"cmp"
	"context"
	"slices"
	"sort"

	"yjet/internal/yjs"
	"yjet/stream"
)

// origin is the record that first brought a run of clocks.
type origin struct {
	from, to uint64
	rec      int32 // index into origins.recs
}

type originRecord struct {
	user string
	conn string // empty if user is set
	seq  stream.Seq
	ms   int64
}

// origins maps every client and clock to the first record that brought it. All records are added before the first lookup.
type origins struct {
	recs     []originRecord
	byClient map[uint64]*clientOrigins
}

// clientOrigins are the runs of one client. Consecutive runs, the usual case, are appended at once. All others wait in late and are
// sorted together: a text deleted from its end to its beginning brings them in the worst order.
type clientOrigins struct {
	list []origin // sorted, none overlapping
	late []origin // in the order they came
}

// add takes a record's runs of new clocks, or of deleted ones. Records come in their order.
func (o *origins) add(r *stream.Record, runs []yjs.Run) {
	if len(runs) == 0 {
		return
	}
	if o.byClient == nil {
		o.byClient = make(map[uint64]*clientOrigins)
	}
	n := int32(len(o.recs) - 1)
	if n < 0 || o.recs[n].seq != r.Seq {
		rec := originRecord{user: r.User, seq: r.Seq, ms: r.Time.UnixMilli()}
		if rec.user == "" {
			rec.conn = r.Conn
		}
		o.recs = append(o.recs, rec)
		n++
	}
	for _, run := range runs {
		c := o.byClient[run.Client]
		if c == nil {
			c = &clientOrigins{}
			o.byClient[run.Client] = c
		}
		if k := len(c.list); len(c.late) == 0 && (k == 0 || c.list[k-1].to <= run.Clock) {
			c.list = o.follow(c.list, origin{run.Clock, run.End(), n})
		} else {
			c.late = append(c.late, origin{run.Clock, run.End(), n})
		}
	}
}

// follow appends a run to a list that ends before it. It extends the last run instead if both have the same author.
func (o *origins) follow(list []origin, next origin) []origin {
	if k := len(list); k > 0 && list[k-1].to == next.from && sameAuthor(&o.recs[list[k-1].rec], &o.recs[next.rec]) {
		list[k-1].to, list[k-1].rec = next.to, max(list[k-1].rec, next.rec)
		return list
	}
	return append(list, next)
}

// settle merges the late runs into the list. Where several records bring the same clock, the oldest one counts. It walks the runs by their
// start and keeps the open ones in a heap, the oldest record on top.
func (o *origins) settle(c *clientOrigins) {
	if len(c.late) == 0 {
		return
	}
	runs := append(c.list, c.late...)
	slices.SortFunc(runs, func(a, b origin) int {
		if d := cmp.Compare(a.from, b.from); d != 0 {
			return d
		}
		return cmp.Compare(a.rec, b.rec)
	})
	list := make([]origin, 0, len(runs))
	var open originHeap
	at := uint64(0) // placed up to here
	for k := 0; k < len(runs) || len(open) > 0; {
		if len(open) == 0 {
			at = max(at, runs[k].from)
		}
		for k < len(runs) && runs[k].from <= at {
			open.push(runs[k])
			k++
		}
		top := open[0]
		if top.to <= at {
			open.pop()
			continue
		}
		end := top.to
		if k < len(runs) {
			end = min(end, runs[k].from)
		}
		list = o.follow(list, origin{at, end, top.rec})
		at = end
	}
	c.list, c.late = list, nil
}

// originHeap is a heap of runs, that of the oldest record first.
type originHeap []origin

func (h *originHeap) push(r origin) {
	l := append(*h, r)
	for i := len(l) - 1; i > 0 && l[i].rec < l[(i-1)/2].rec; i = (i - 1) / 2 {
		l[i], l[(i-1)/2] = l[(i-1)/2], l[i]
	}
	*h = l
}

func (h *originHeap) pop() {
	l := *h
	n := len(l) - 1
	l[0] = l[n]
	l = l[:n]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < n; child++ {
			if l[child].rec < l[least].rec {
				least = child
			}
		}
		if least == i {
			break
		}
		l[i], l[least] = l[least], l[i]
		i = least
	}
	*h = l
}

// each splits a run of clocks by origin and calls f for each part; rec is nil if no record brought it.
func (o *origins) each(client, from, to uint64, f func(from, to uint64, rec *originRecord)) {
	c := o.byClient[client]
	if c == nil {
		f(from, to, nil)
		return
	}
	o.settle(c)
	list := c.list
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

// originsOf reads the authors of the content of records after < Seq ≤ upto. If deletes is not nil, it receives the authors of the deletions.
func (s *people) originsOf(ctx context.Context, doc stream.Doc, after, upto stream.Seq, deletes *origins) (*origins, error) {
	var o origins
	var u yjs.Update
	n := 0
	for r, err := range s.Records(ctx, doc, after, upto) {
		if err != nil {
			return nil, err
		}
		if n++; n%lookUp == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
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

// lookUp is the number of records or pieces of text between two checks of ctx in a long computation.
const lookUp = 1024

func sameAuthor(a, b *originRecord) bool {
	if a == nil || b == nil {
		return a == b
	}
	d := a.ms - b.ms
	return a.user == b.user && a.conn == b.conn && max(d, -d) <= authorGap.Milliseconds()
}
