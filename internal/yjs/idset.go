package yjs

import (
	"cmp"
	"iter"
	"slices"
	"sort"
)

// Range is a run of clocks of one client: [Clock, Clock+Len).
type Range struct{ Clock, Len uint64 }

// End is the clock after the last one.
func (r Range) End() uint64 { return r.Clock + r.Len }

// End is the clock after the last one.
func (r Run) End() uint64 { return r.Clock + r.Len }

// IDSet is a set of ids, kept as ranges per client. The zero value is empty. Reading it from several goroutines at once is
// fine, changing it is not.
type IDSet struct {
	clients map[uint64]*ranges
}

// ranges are sorted, and do not touch each other.
type ranges []Range

// Add adds a run. Extending the last range of a client allocates nothing.
func (s *IDSet) Add(client, clock, length uint64) {
	if length > 0 {
		s.of(client).add(clock, clock+length)
	}
}

// addSorted adds many runs of one client, sorted by clock, in one pass.
func (s *IDSet) addSorted(client uint64, runs []Run) {
	l := s.of(client)
	if len(runs) <= 8 {
		for _, r := range runs {
			l.add(r.Clock, r.End())
		}
		return
	}
	if n := len(*l); n == 0 || (*l)[n-1].Clock <= runs[0].Clock {
		*l = slices.Grow(*l, len(runs))
		for _, r := range runs {
			l.add(r.Clock, r.End())
		}
		return
	}
	old := *l
	*l = make(ranges, 0, len(old)+len(runs))
	for len(old) > 0 || len(runs) > 0 {
		if len(runs) == 0 || len(old) > 0 && old[0].Clock <= runs[0].Clock {
			l.add(old[0].Clock, old[0].End())
			old = old[1:]
		} else {
			l.add(runs[0].Clock, runs[0].End())
			runs = runs[1:]
		}
	}
}

func (s *IDSet) of(client uint64) *ranges {
	l := s.clients[client]
	if l == nil {
		if s.clients == nil {
			s.clients = make(map[uint64]*ranges)
		}
		l = new(ranges)
		s.clients[client] = l
	}
	return l
}

func (l *ranges) add(from, to uint64) {
	if from >= to {
		return
	}
	n := len(*l)
	if n == 0 || from > (*l)[n-1].End() {
		*l = append(*l, Range{from, to - from})
		return
	}
	if last := &(*l)[n-1]; from >= last.Clock {
		last.Len = max(last.End(), to) - last.Clock
		return
	}
	// Those that the new range touches, [i, j), become one.
	i := sort.Search(n, func(i int) bool { return (*l)[i].End() >= from })
	j := i
	for j < n && (*l)[j].Clock <= to {
		j++
	}
	if i == j {
		*l = slices.Insert(*l, i, Range{from, to - from})
		return
	}
	from, to = min(from, (*l)[i].Clock), max(to, (*l)[j-1].End())
	(*l)[i] = Range{from, to - from}
	*l = slices.Delete(*l, i+1, j)
}

// find returns the range that holds clock, or false if none does.
func (l ranges) find(clock uint64) (Range, bool) {
	n := len(l)
	if n > 0 && l[n-1].Clock <= clock {
		return l[n-1], clock < l[n-1].End()
	}
	i := sort.Search(n, func(i int) bool { return l[i].End() > clock })
	if i < n && l[i].Clock <= clock {
		return l[i], true
	}
	return Range{}, false
}

// Contains reports whether the whole run is in the set. A run of length 0 always is.
func (s *IDSet) Contains(client, clock, length uint64) bool {
	if length == 0 {
		return true
	}
	l := s.clients[client]
	if l == nil {
		return false
	}
	r, ok := l.find(clock)
	return ok && clock+length <= r.End()
}

// Prefix returns the end of the client's run that begins at clock 0, or 0 if there is none.
func (s *IDSet) Prefix(client uint64) uint64 {
	if l := s.clients[client]; l != nil && len(*l) > 0 && (*l)[0].Clock == 0 {
		return (*l)[0].Len
	}
	return 0
}

// Ranges returns the client's ranges, sorted. The set owns them.
func (s *IDSet) Ranges(client uint64) []Range {
	if l := s.clients[client]; l != nil {
		return *l
	}
	return nil
}

// All yields each client that has ranges, highest first, with its ranges. The set owns them.
func (s *IDSet) All() iter.Seq2[uint64, []Range] {
	return func(yield func(uint64, []Range) bool) {
		clients := make([]uint64, 0, len(s.clients))
		for c, l := range s.clients {
			if len(*l) > 0 {
				clients = append(clients, c)
			}
		}
		slices.SortFunc(clients, func(a, b uint64) int { return cmp.Compare(b, a) })
		for _, c := range clients {
			if !yield(c, *s.clients[c]) {
				return
			}
		}
	}
}

// Empty reports whether no id is in the set.
func (s *IDSet) Empty() bool {
	for _, l := range s.clients {
		if len(*l) > 0 {
			return false
		}
	}
	return true
}

// Clone returns a deep copy.
func (s *IDSet) Clone() IDSet {
	var c IDSet
	if s.clients == nil {
		return c
	}
	c.clients = make(map[uint64]*ranges, len(s.clients))
	for client, l := range s.clients {
		copied := slices.Clone(*l)
		c.clients[client] = &copied
	}
	return c
}

// Append appends the set as the delete set of a V1 update.
func (s *IDSet) Append(dst []byte) []byte {
	n := 0
	for _, l := range s.clients {
		if len(*l) > 0 {
			n++
		}
	}
	dst = AppendUvarint(dst, uint64(n))
	for client, l := range s.All() {
		dst = AppendUvarint(dst, client)
		dst = AppendUvarint(dst, uint64(len(l)))
		for _, r := range l {
			dst = AppendUvarint(dst, r.Clock)
			dst = AppendUvarint(dst, r.Len)
		}
	}
	return dst
}
