package yjs

import (
	"cmp"
	"slices"
)

// Diff returns the part of update that v lacks, as diffUpdate of Yjs does: of each client the structs from its clock on, the
// first one cut if it begins earlier, and the whole delete set, since a state vector does not cover deletes. Sections keep
// their order. The result may depend on structs that the receiver does not have yet.
func Diff(update []byte, v StateVector) ([]byte, error) {
	r := NewReader(update)
	var s Struct
	var e encoder
	var order sectionOrder
	var known uint64
	section, copying := 0, false
	from, to := 0, 0 // bytes to copy unchanged
	flush := func() {
		e.cur = append(e.cur, update[from:to]...)
		from, to = 0, 0
	}
	for r.skim(&s) {
		if section != r.section {
			flush()
			e.end()
			section, known, copying = r.section, v[s.Client], false
			if order.repeats(s.Client) {
				canonical, err := Canonical(update)
				if err != nil {
					return nil, err
				}
				return Diff(canonical, v)
			}
			e.begin(s.Client)
		}
		if !copying {
			if s.Info == RefSkip || s.End() <= known {
				continue
			}
			copying = true
			if s.Clock < known {
				r.again(&s)
				s.DropLeft(known - s.Clock)
				e.add(&s)
				continue
			}
			e.gap(s.Clock)
		}
		if r.asIs(&s) {
			if to != r.start {
				flush()
				from = r.start
			}
			to = r.c.off
		} else {
			flush()
			r.again(&s)
			e.cur = s.Append(e.cur)
		}
		e.next += s.Len
		e.structs++
	}
	flush()
	e.end()
	dels, err := copyDeletes(&r)
	if err != nil {
		return nil, err
	}
	return e.finish(nil, dels), nil
}

// Canonical returns update as Merge would write it: each client once, in order, deletes sorted and joined.
func Canonical(update []byte) ([]byte, error) {
	m, err := merger([][]byte{update})
	if err != nil {
		return nil, err
	}
	defer m.release()
	return m.canonical(), nil
}

// sectionOrder finds clients that have more than one section in an update. It uses little memory in the usual case, sections
// by descending client.
type sectionOrder struct {
	clients []uint64
	seen    map[uint64]bool // from the first section on that is out of order
}

func (o *sectionOrder) repeats(client uint64) bool {
	n := len(o.clients)
	if o.seen == nil && (n == 0 || client < o.clients[n-1]) {
		o.clients = append(o.clients, client)
		return false
	}
	if o.seen == nil {
		o.seen = make(map[uint64]bool, n)
		for _, c := range o.clients {
			o.seen[c] = true
		}
	}
	if o.seen[client] {
		return true
	}
	o.seen[client] = true
	return false
}

// copyDeletes returns the rest of r, its delete set, in wire form: by descending client, the ranges of each in input order,
// neither sorted nor joined. diffUpdate of Yjs does the same.
func copyDeletes(r *Reader) ([]byte, error) {
	var runs []Run
	var d Run
	sorted := true
	for r.NextDelete(&d) {
		sorted = sorted && (len(runs) == 0 || runs[len(runs)-1].Client >= d.Client)
		runs = append(runs, d)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if !sorted {
		slices.SortStableFunc(runs, func(a, b Run) int { return cmp.Compare(b.Client, a.Client) })
	}
	return appendDeletes(nil, runs), nil
}

// appendDeletes appends runs, grouped by client, as a delete set.
func appendDeletes(dst []byte, runs []Run) []byte {
	n := uint64(0)
	for i := range runs {
		if i == 0 || runs[i-1].Client != runs[i].Client {
			n++
		}
	}
	dst = AppendUvarint(dst, n)
	for i := 0; i < len(runs); {
		j := i + 1
		for j < len(runs) && runs[j].Client == runs[i].Client {
			j++
		}
		dst = AppendUvarint(dst, runs[i].Client)
		dst = AppendUvarint(dst, uint64(j-i))
		for ; i < j; i++ {
			dst = AppendUvarint(dst, runs[i].Clock)
			dst = AppendUvarint(dst, runs[i].Len)
		}
	}
	return dst
}
