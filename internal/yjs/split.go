package yjs

import (
	"cmp"
	"slices"
	"sort"
)

// Split divides update into valid updates of at most max bytes each, in causal order: a part depends only on itself, on
// earlier parts, and on ids that update itself lacks. Structs that are too large are cut where that is lossless: text
// between characters, JSON and Any between elements. Deletes come last. Join of the parts equals Join of the update.
//
// An update that fits is returned unchanged. ErrUnsplittable: one value alone is too large, or max is under 128.
func Split(update []byte, max int) ([][]byte, error) {
	if len(update) <= max {
		if err := decode(update); err != nil {
			return nil, err
		}
		return [][]byte{update}, nil
	}
	if max < 2*sectionRoom {
		return nil, ErrUnsplittable
	}
	canonical, err := Canonical(update)
	if err != nil {
		return nil, err
	}
	clients, order, r, err := gather(canonical)
	if err != nil {
		return nil, err
	}
	p := splitter{update: canonical, max: max, clients: clients, order: order, part: map[uint64]*encoder{}}
	if err := p.structs(); err != nil {
		return nil, err
	}
	var d Run
	for r.NextDelete(&d) {
		p.delete(d)
	}
	p.flush()
	return p.out, r.Err()
}

// decode reads an update to its end.
func decode(update []byte) error {
	r := NewReader(update)
	var d Run
	for r.NextDelete(&d) {
	}
	return r.Err()
}

const (
	// sectionRoom bounds the overhead of a client in a part, three numbers, and the counts that begin the structs and the
	// deletes of the part.
	sectionRoom = 64
	// headRoom bounds the bytes of a struct before its content, without root name and key.
	headRoom = 64
	// skipRoom is a gap between two structs.
	skipRoom = 10
	// rangeRoom is one delete range.
	rangeRoom = 18
)

// lacks reports whether the struct that holds clock is here and not placed yet.
func (w *waiting) lacks(clock uint64) bool {
	i := sort.Search(len(w.spans), func(i int) bool { return w.spans[i].end() > clock })
	return i < len(w.spans) && w.spans[i].clock <= clock && i >= w.next
}

type splitter struct {
	update  []byte
	max     int
	clients map[uint64]*waiting
	order   []uint64 // by descending client

	// The part being filled.
	size   int // upper bound of its bytes
	part   map[uint64]*encoder
	active []uint64 // clients in it
	dels   []Run

	out [][]byte
}

// structs places all structs: each client as far as it goes, and again when one that it waits for has moved.
func (p *splitter) structs() error {
	work := slices.Clone(p.order)
	slices.Reverse(work) // the first of the order is taken first
	for len(work) > 0 {
		client := work[len(work)-1]
		work = work[:len(work)-1]
		w := p.clients[client]
		from := w.next
		for w.next < len(w.spans) {
			h := &w.spans[w.next]
			var s Struct
			if len(p.order) > 1 || !h.asIs {
				s = h.decode(p.update, client)
			}
			if other, clock := p.waitsFor(&s); other != nil {
				other.waiters.add(clock, client)
				break
			}
			if err := p.place(client, h); err != nil {
				return err
			}
			w.next++
		}
		if w.next > from {
			work = w.waiters.wake(w.spans[w.next-1].end(), work)
		}
	}
	// The remaining items wait for each other in a circle, or depend on such items: any order will do.
	for _, client := range p.order {
		w := p.clients[client]
		for ; w.next < len(w.spans); w.next++ {
			if err := p.place(client, &w.spans[w.next]); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitsFor returns the client that must advance before s can be placed, and past which clock; nil if none.
func (p *splitter) waitsFor(s *Struct) (*waiting, uint64) {
	if !s.IsItem() {
		return nil, 0
	}
	var ids [2]ID
	n := 0
	if s.HasOrigin() {
		ids[n] = s.Origin
		n++
	}
	if s.HasRight() {
		ids[n] = s.Right
		n++
	}
	if s.HasParent() && s.Root == nil {
		ids[n] = s.Parent
		n++
	}
	for _, id := range ids[:n] {
		if id.Client == s.Client {
			continue
		}
		if w := p.clients[id.Client]; w != nil && w.lacks(id.Clock) {
			return w, id.Clock
		}
	}
	return nil, 0
}

// place adds a struct to the part being filled, or to as many new ones as it needs.
func (p *splitter) place(client uint64, h *span) error {
	size := int(h.n)
	if !h.asIs {
		size += headRoom
	}
	if p.room(client, h.clock, size) {
		p.section(client).addSpan(p.update, h)
		return nil
	}
	p.flush()
	if p.room(client, h.clock, size) {
		p.section(client).addSpan(p.update, h)
		return nil
	}
	s := h.decode(p.update, client)
	names := len(s.Root) + len(s.Sub)
	for !p.room(client, s.Clock, len(s.Content)+names+headRoom) {
		k := s.unitsWithin(p.max - sectionRoom - headRoom - names)
		if k == 0 {
			return ErrUnsplittable
		}
		first := s
		first.Keep(k)
		p.section(client).add(&first)
		p.flush()
		s.DropLeft(k)
		names = 0
	}
	p.section(client).add(&s)
	return nil
}

// room reports whether the part has room for a struct of the client that takes size bytes, and takes it.
func (p *splitter) room(client, clock uint64, size int) bool {
	if e := p.part[client]; e == nil || e.structs == 0 {
		size += sectionRoom
	} else if e.next != clock {
		size += skipRoom
	}
	if p.size+size > p.max {
		return false
	}
	p.size += size
	return true
}

// section returns the encoder of the client's structs in this part.
func (p *splitter) section(client uint64) *encoder {
	e := p.part[client]
	if e == nil {
		e = new(encoder)
		p.part[client] = e
	}
	if e.structs == 0 {
		e.begin(client)
		p.active = append(p.active, client)
	}
	return e
}

func (p *splitter) delete(d Run) {
	size := rangeRoom
	if n := len(p.dels); n == 0 || p.dels[n-1].Client != d.Client {
		size += sectionRoom
	}
	if p.size+size > p.max {
		p.flush()
		size = rangeRoom + sectionRoom
	}
	p.size += size
	p.dels = append(p.dels, d)
}

// flush ends the part being filled.
func (p *splitter) flush() {
	if len(p.active) == 0 && len(p.dels) == 0 {
		return
	}
	slices.SortFunc(p.active, func(a, b uint64) int { return cmp.Compare(b, a) })
	var whole encoder
	for _, c := range p.active {
		e := p.part[c]
		e.end()
		whole.sections += e.sections
		whole.body = append(whole.body, e.body...)
		e.reset()
	}
	p.out = append(p.out, whole.finish(nil, appendDeletes(nil, p.dels)))
	p.active, p.dels, p.size = p.active[:0], p.dels[:0], 0
}

// unitsWithin returns the largest number of units, less than Len, whose content has at most room bytes; 0 if there is none,
// or the content can't be cut. It never cuts a surrogate pair.
func (s *Struct) unitsWithin(room int) uint64 {
	var k uint64
	c := cursor{b: s.Content}
	switch s.Ref() {
	case RefString:
		off := 0
		for off < len(s.Content) {
			size, units := 1, uint64(1)
			switch x := s.Content[off]; {
			case x >= 0xf0:
				size, units = 4, 2
			case x >= 0xe0:
				size = 3
			case x >= 0xc0:
				size = 2
			}
			if off+size > room || k+units >= s.Len {
				break
			}
			off += size
			k += units
		}
	case RefJSON, RefAny:
		for k+1 < s.Len {
			if s.Ref() == RefJSON {
				c.bytes()
			} else {
				c.skipAny(1)
			}
			if c.off > room {
				break
			}
			k++
		}
	}
	return k
}
