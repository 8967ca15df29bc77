package yjs

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
)

// Merging follows mergeUpdates of Yjs. The output is the same to the byte where the inputs agree on the content at each clock.
//
//  1. Each update has a reader over its structs; Skips are left out. The next reader is the one whose current struct has the
//     highest client, then the lowest clock. Among equals it is the reader that moved last, then the first argument.
//  2. Structs that are already written are dropped. A struct that begins before the written end is cut there. A gap becomes a
//     Skip, so no section begins or ends with one.
//  3. The same reader continues as long as its structs are contiguous.
//  4. Only GC structs are joined, and only where the reader changes.
//  5. Deletes are sorted and joined for each client.
//
// Yjs sorts all readers after each step, which takes quadratic time. Here the structs of each client are gathered first. They
// are nearly always in order; otherwise a heap of readers orders them in n log n.

// span is a struct in the arena: the fields that merging needs and the position of its bytes. It holds no pointers.
type span struct {
	clock, len uint64
	off, n     uint32 // its bytes in the arena
	update     uint32 // which Add it came with
	info       byte   // normalised
	asIs       bool   // the bytes are canonical and whole; else they are decoded, cut to len from the left, and encoded
}

func (s *span) end() uint64 { return s.clock + s.len }

// cut removes the first k clocks.
func (s *span) cut(k uint64) {
	s.clock += k
	s.len -= k
	s.asIs = false
}

type clientSpans struct {
	client   uint64
	spans    []span // in the order they came
	unsorted bool   // some span begins before the end of the one before it
}

type clientDeletes struct {
	client   uint64
	ranges   []Range // in the order they came
	unsorted bool
}

// Merger folds updates as they arrive. Its results may be asked for at any time, and again after more Adds. The zero value
// is empty. Not safe for concurrent use.
type Merger struct {
	arena   []byte // the updates, one after the other
	updates uint32

	clients []*clientSpans
	byID    map[uint64]*clientSpans
	last    *clientSpans
	deletes []*clientDeletes
	delByID map[uint64]*clientDeletes

	scratch []Run
	order   []span
	heap    []mergeReader
	enc     encoder
}

// Add copies update into the merger. After an error the merger is as before.
func (m *Merger) Add(update []byte) error {
	base := len(m.arena)
	if uint64(base)+uint64(len(update)) > math.MaxUint32 || m.updates == math.MaxUint32 {
		return ErrTooLarge
	}
	m.arena = append(m.arena, update...)
	if m.byID == nil {
		m.byID = make(map[uint64]*clientSpans)
		m.delByID = make(map[uint64]*clientDeletes)
	}
	var r Reader
	var s Struct
	r.Reset(m.arena[base:])
	for r.skim(&s) {
		if s.Info == RefSkip {
			continue
		}
		c := m.last
		if c == nil || c.client != s.Client {
			c = m.spansOf(s.Client)
			m.last = c
			if c.spans == nil {
				c.spans = make([]span, 0, min(r.structs+1, 32)) // the section says how many, but has not been read yet
			}
		}
		if n := len(c.spans); n > 0 && s.Clock < c.spans[n-1].end() {
			c.unsorted = true
		}
		c.spans = append(c.spans, r.spanOf(&s, base, m.updates))
	}
	m.scratch = slices.Grow(m.scratch[:0], r.Left()/8) // more ranges than that are small ones
	var d Run
	for r.NextDelete(&d) {
		if d.Len > 0 {
			m.scratch = append(m.scratch, d)
		}
	}
	if err := r.Err(); err != nil {
		m.arena = m.arena[:base]
		for _, c := range m.clients {
			for n := len(c.spans); n > 0 && c.spans[n-1].update == m.updates; n-- {
				c.spans = c.spans[:n-1]
			}
		}
		return err
	}
	for _, d := range m.scratch {
		m.addDelete(d)
	}
	m.updates++
	return nil
}

func (m *Merger) spansOf(client uint64) *clientSpans {
	c := m.byID[client]
	if c == nil {
		c = &clientSpans{client: client}
		m.byID[client] = c
		m.clients = append(m.clients, c)
	}
	return c
}

func (m *Merger) addDelete(d Run) {
	c := m.delByID[d.Client]
	if c == nil {
		c = &clientDeletes{client: d.Client}
		m.delByID[d.Client] = c
		m.deletes = append(m.deletes, c)
	}
	if n := len(c.ranges); n > 0 {
		last := &c.ranges[n-1]
		if d.Clock <= last.End() && d.End() >= last.Clock { // typing and backspacing touch the previous delete
			from := min(d.Clock, last.Clock)
			last.Len = max(d.End(), last.End()) - from
			last.Clock = from
			if n > 1 && c.ranges[n-2].End() >= from {
				c.unsorted = true
			}
			return
		}
		if d.Clock < last.Clock {
			c.unsorted = true
		}
	}
	c.ranges = append(c.ranges, Range{d.Clock, d.Len})
}

// normalise sorts and joins the ranges.
func (c *clientDeletes) normalise() []Range {
	if c.unsorted {
		slices.SortFunc(c.ranges, func(a, b Range) int { return cmp.Compare(a.Clock, b.Clock) })
		out := c.ranges[:1]
		for _, r := range c.ranges[1:] {
			if last := &out[len(out)-1]; r.Clock <= last.End() {
				last.Len = max(last.End(), r.End()) - last.Clock
			} else {
				out = append(out, r)
			}
		}
		c.ranges, c.unsorted = out, false
	}
	return c.ranges
}

// Len returns the number of bytes added.
func (m *Merger) Len() int { return len(m.arena) }

// Updates returns the number of updates added.
func (m *Merger) Updates() int { return int(m.updates) }

// Reset empties the merger and keeps its memory.
func (m *Merger) Reset() {
	*m = Merger{arena: m.arena[:0], scratch: m.scratch[:0], order: m.order[:0], heap: m.heap[:0], enc: m.enc}
	m.enc.reset()
}

// Merge returns the union of all updates, as mergeUpdates of Yjs does: nothing is lost, gaps become Skips. A single update
// is returned unchanged.
func (m *Merger) Merge() ([]byte, error) {
	switch m.updates {
	case 0:
		return []byte{0, 0}, nil
	case 1:
		return slices.Clone(m.arena), nil
	}
	return m.canonical(), nil
}

// canonical is Merge even for a single update.
func (m *Merger) canonical() []byte {
	return m.write(func(e *encoder, c *clientSpans, spans []span) {
		var from, to uint32 // bytes that go out unchanged, gathered into long copies
		for i := range spans {
			s := &spans[i]
			if !s.asIs || s.off != to || s.clock != e.next || e.structs == 0 {
				e.cur = append(e.cur, m.arena[from:to]...)
				from, to = 0, 0
				e.gap(s.clock)
			}
			if s.asIs {
				if to == 0 {
					from = s.off
				}
				to = s.off + s.n
			} else {
				st := m.decode(c.client, s)
				e.cur = st.Append(e.cur)
			}
			e.next += s.len
			e.structs++
		}
		e.cur = append(e.cur, m.arena[from:to]...)
	})
}

// decode returns the struct of a span.
func (m *Merger) decode(client uint64, s *span) Struct { return s.decode(m.arena, client) }

// decode returns the struct of a span of b, cut as the span says.
func (s *span) decode(b []byte, client uint64) Struct {
	var st Struct
	c := cursor{b: b[s.off : s.off+s.n]}
	c.structV1(&st)
	st.Client = client
	if s.info == RefGC { // joined or cut: only the length counts
		st.Clock, st.Len = s.clock, s.len
		return st
	}
	cut := st.Len - s.len
	st.Clock = s.clock - cut
	if cut > 0 {
		st.DropLeft(cut)
	}
	return st
}

// addSpan adds a struct of b, unread if it can.
func (e *encoder) addSpan(b []byte, s *span) {
	if !s.asIs {
		st := s.decode(b, e.client)
		e.add(&st)
		return
	}
	e.gap(s.clock)
	e.cur = append(e.cur, b[s.off:s.off+s.n]...)
	e.next += s.len
	e.structs++
}

// spanOf notes the struct that r has just read, as part of update base bytes into the arena.
func (r *Reader) spanOf(s *Struct, base int, update uint32) span {
	return span{
		clock: s.Clock, len: s.Len,
		off: uint32(base + r.start), n: uint32(r.c.off - r.start),
		update: update, info: s.Info, asIs: r.asIs(s),
	}
}

// write encodes all clients, each by section, and the deletes.
func (m *Merger) write(section func(e *encoder, c *clientSpans, spans []span)) []byte {
	slices.SortFunc(m.clients, func(a, b *clientSpans) int { return cmp.Compare(b.client, a.client) })
	slices.SortFunc(m.deletes, func(a, b *clientDeletes) int { return cmp.Compare(b.client, a.client) })
	e := &m.enc
	e.reset()
	if m.updates < 16 { // of a few updates most stays; thousands of key presses shrink to a tenth
		e.body = slices.Grow(e.body, len(m.arena))
	}
	ranks := m.newRanks()
	for _, c := range m.clients {
		if len(c.spans) == 0 {
			continue
		}
		e.begin(c.client)
		section(e, c, m.inOrder(c, ranks))
		e.end()
	}
	dels := e.cur[:0]
	n := uint64(0)
	for _, c := range m.deletes {
		if len(c.ranges) > 0 {
			n++
		}
	}
	dels = AppendUvarint(dels, n)
	for _, c := range m.deletes {
		ranges := c.normalise()
		if len(ranges) == 0 {
			continue
		}
		dels = AppendUvarint(dels, c.client)
		dels = AppendUvarint(dels, uint64(len(ranges)))
		for _, r := range ranges {
			dels = AppendUvarint(dels, r.Clock)
			dels = AppendUvarint(dels, r.Len)
		}
	}
	e.cur = dels
	return e.finish(nil, dels)
}

// ranks decide between readers at the same clock: the lower goes first. nil if every client came in order, so that there
// are no such readers.
type ranks struct {
	of  []int64 // by update, 0..n-1 at first
	low int64
}

func (m *Merger) newRanks() *ranks {
	for _, c := range m.clients {
		if c.unsorted {
			r := &ranks{of: make([]int64, m.updates)}
			for i := range r.of {
				r.of[i] = int64(i)
			}
			return r
		}
	}
	return nil
}

// moved puts the update's reader before its equals.
func (r *ranks) moved(update uint32) {
	r.low--
	r.of[update] = r.low
}

// inOrder returns the client's spans sorted and without overlap, GC joined. The result is valid until the next call.
func (m *Merger) inOrder(c *clientSpans, ranks *ranks) []span {
	if c.unsorted {
		return m.interleave(c, ranks)
	}
	if ranks != nil {
		for i := range c.spans {
			if s := &c.spans[i]; i == len(c.spans)-1 || s.update != c.spans[i+1].update || s.end() != c.spans[i+1].clock {
				ranks.moved(s.update)
			}
		}
	}
	// Join GC where readers change.
	i := 1
	for ; i < len(c.spans); i++ {
		a, b := &c.spans[i-1], &c.spans[i]
		if a.info == RefGC && b.info == RefGC && a.end() == b.clock && a.update != b.update {
			break
		}
	}
	if i >= len(c.spans) {
		return c.spans
	}
	out := append(m.order[:0], c.spans[:i]...)
	joined := false
	for j := i; j < len(c.spans); j++ {
		s := c.spans[j]
		last := &out[len(out)-1]
		if last.info == RefGC && s.info == RefGC && last.end() == s.clock && (joined || c.spans[j-1].update != s.update) {
			last.len += s.len
			last.asIs = false
			joined = true
			continue
		}
		joined = false
		out = append(out, s)
	}
	m.order = out
	return out
}

// mergeReader is one update's spans of one client, not yet merged.
type mergeReader struct {
	clock  uint64 // of its head
	rank   int64
	spans  []span
	update uint32
}

func (a *mergeReader) before(b *mergeReader) bool {
	return a.clock < b.clock || a.clock == b.clock && a.rank < b.rank
}

// interleave is the general case of inOrder: steps 1 to 4 above.
func (m *Merger) interleave(c *clientSpans, ranks *ranks) []span {
	h := m.heap[:0]
	for i := 0; i < len(c.spans); {
		j := i + 1
		sorted := true
		for j < len(c.spans) && c.spans[j].update == c.spans[i].update {
			sorted = sorted && c.spans[j-1].clock <= c.spans[j].clock
			j++
		}
		own := c.spans[i:j]
		if !sorted { // the same client twice in one update
			slices.SortStableFunc(own, func(a, b span) int { return cmp.Compare(a.clock, b.clock) })
		}
		h = append(h, mergeReader{clock: own[0].clock, rank: ranks.of[own[0].update], spans: own, update: own[0].update})
		i = j
	}
	for i := len(h)/2 - 1; i >= 0; i-- {
		siftDown(h, i)
	}
	out := m.order[:0]
	var end uint64 // end of the output so far
	for len(h) > 0 {
		r := &h[0]
		if len(out) > 0 {
			passed := false
			for len(r.spans) > 0 && r.spans[0].end() <= end {
				r.spans = r.spans[1:]
				passed = true
			}
			if len(r.spans) == 0 || passed && r.spans[0].clock > end {
				h = reinsert(h, ranks)
				continue
			}
		}
		s := r.spans[0]
		if len(out) > 0 && s.clock < end {
			s.cut(end - s.clock)
		}
		if last := len(out) - 1; last >= 0 && s.info == RefGC && out[last].info == RefGC && s.clock == end {
			out[last].len += s.len
			out[last].asIs = false
			end = out[last].end()
			h = reinsert(h, ranks)
			continue
		}
		out = append(out, s)
		end = s.end()
		r.spans = r.spans[1:]
		for len(r.spans) > 0 && r.spans[0].clock == end {
			out = append(out, r.spans[0])
			end = r.spans[0].end()
			r.spans = r.spans[1:]
		}
		h = reinsert(h, ranks)
	}
	m.order, m.heap = out, h
	return out
}

// reinsert puts the first reader, which has moved, where it now belongs, or drops it at its end.
func reinsert(h []mergeReader, ranks *ranks) []mergeReader {
	r := &h[0]
	ranks.moved(r.update)
	if len(r.spans) == 0 {
		last := len(h) - 1
		h[0] = h[last]
		h[last] = mergeReader{}
		h = h[:last]
	} else {
		r.clock, r.rank = r.spans[0].clock, ranks.of[r.update]
	}
	siftDown(h, 0)
	return h
}

func siftDown(h []mergeReader, i int) {
	for {
		least := 2*i + 1
		if least >= len(h) {
			return
		}
		if right := least + 1; right < len(h) && h[right].before(&h[least]) {
			least = right
		}
		if !h[least].before(&h[i]) {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

var mergers = sync.Pool{New: func() any { return new(Merger) }}

// merger returns a merger with all updates added.
func merger(updates [][]byte) (*Merger, error) {
	m := mergers.Get().(*Merger)
	total := 0
	for _, u := range updates {
		total += len(u)
	}
	m.arena = slices.Grow(m.arena, total)
	for i, u := range updates {
		if err := m.Add(u); err != nil {
			m.release()
			return nil, inUpdate(err, i, len(updates))
		}
	}
	return m, nil
}

func (m *Merger) release() {
	m.Reset()
	if cap(m.arena) <= 1<<20 && cap(m.order) <= 1<<15 && cap(m.enc.body) <= 1<<20 {
		mergers.Put(m)
	}
}

// Merge returns the union of all updates, as mergeUpdates of Yjs does, in n log n. Nothing is lost: gaps and structs with
// missing dependencies stay. Without updates the result is the empty update; a single update is returned unread.
func Merge(updates ...[]byte) ([]byte, error) {
	if len(updates) == 1 {
		return updates[0], nil
	}
	m, err := merger(updates)
	if err != nil {
		return nil, err
	}
	defer m.release()
	return m.Merge()
}

// inUpdate adds to an error which of several inputs it concerns.
func inUpdate(err error, i, n int) error {
	if n == 1 {
		return err
	}
	return fmt.Errorf("update %d of %d: %w", i+1, n, err)
}
