package yjs

import (
	"cmp"
	"slices"
	"sort"
)

// Split cuts update into valid updates of at most max bytes each, in causal order: a part refers only to itself, to parts
// before it, and to what the whole already left open. Structs that are too large are cut where that is lossless: text
// between characters, JSON and Any between elements. Deletes come last. Join of the parts equals Join of the update.
//
// An update that fits comes back as it is. ErrUnsplittable: one value alone is too large, or max is under 128.
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
	p := splitter{max: max, clients: map[uint64]*splitClient{}, part: map[uint64][]Struct{}}
	r := NewReader(canonical)
	var s Struct
	for r.Next(&s) {
		if s.Info == RefSkip {
			continue
		}
		c := p.clients[s.Client]
		if c == nil {
			c = new(splitClient)
			p.clients[s.Client] = c
			p.order = append(p.order, s.Client)
		}
		c.structs = append(c.structs, s)
	}
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
	// sectionRoom is what a client costs in a part beside its structs or ranges: three numbers, and a Skip; and the numbers
	// that begin the structs and the deletes of the part.
	sectionRoom = 64
	// headRoom is what a struct can need before its content, root name and key not counted.
	headRoom = 64
	// rangeRoom is one delete range.
	rangeRoom = 18
)

type splitClient struct {
	structs []Struct
	next    int      // structs before it are placed
	waiters []uint64 // clients whose next struct refers to one of ours
}

// lacks reports whether the struct that holds clock is here and not placed yet.
func (c *splitClient) lacks(clock uint64) bool {
	i := sort.Search(len(c.structs), func(i int) bool { return c.structs[i].End() > clock })
	return i < len(c.structs) && c.structs[i].Clock <= clock && i >= c.next
}

type splitter struct {
	max     int
	clients map[uint64]*splitClient
	order   []uint64 // by descending client

	size int // what the part being filled takes at most
	part map[uint64][]Struct
	dels []Run
	out  [][]byte
}

// structs places all structs: each client as far as it goes, and again when one that it waits for has moved.
func (p *splitter) structs() error {
	work := slices.Clone(p.order)
	slices.Reverse(work) // the first of the order is taken first
	for len(work) > 0 {
		client := work[len(work)-1]
		work = work[:len(work)-1]
		c := p.clients[client]
		from := c.next
		for c.next < len(c.structs) {
			s := &c.structs[c.next]
			if other := p.waitsFor(s); other != nil {
				other.waiters = append(other.waiters, client)
				break
			}
			if err := p.place(*s); err != nil {
				return err
			}
			c.next++
		}
		if c.next > from {
			work = append(work, c.waiters...)
			c.waiters = c.waiters[:0]
		}
	}
	// Left are items that wait for each other in a circle, and what hangs on them: no order is better than another.
	for _, client := range p.order {
		c := p.clients[client]
		for ; c.next < len(c.structs); c.next++ {
			if err := p.place(c.structs[c.next]); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitsFor is the client that must go on before s can be placed; nil if none.
func (p *splitter) waitsFor(s *Struct) *splitClient {
	if !s.IsItem() {
		return nil
	}
	open := func(id ID) *splitClient {
		if id.Client == s.Client {
			return nil
		}
		if c := p.clients[id.Client]; c != nil && c.lacks(id.Clock) {
			return c
		}
		return nil
	}
	if s.HasOrigin() {
		if c := open(s.Origin); c != nil {
			return c
		}
	}
	if s.HasRight() {
		if c := open(s.Right); c != nil {
			return c
		}
	}
	if s.HasParent() && s.Root == nil {
		return open(s.Parent)
	}
	return nil
}

// place puts s into the part being filled, or into as many new ones as it needs.
func (p *splitter) place(s Struct) error {
	for {
		size := p.sizeOf(&s)
		if p.size+size <= p.max {
			p.put(s, size)
			return nil
		}
		if p.size > 0 {
			p.flush()
			continue
		}
		k := s.unitsWithin(p.max - sectionRoom - headRoom - len(s.Root) - len(s.Sub))
		if k == 0 {
			return ErrUnsplittable
		}
		first := s
		first.Keep(k)
		p.put(first, p.max)
		p.flush()
		s.DropLeft(k)
	}
}

// sizeOf is at least what the part grows by with s.
func (p *splitter) sizeOf(s *Struct) int {
	size := 1 + uvarintLen(uint64(len(s.Content))|s.Len) + len(s.Content)
	if s.HasOrigin() {
		size += uvarintLen(s.Origin.Client) + uvarintLen(s.Origin.Clock)
	}
	if s.HasRight() {
		size += uvarintLen(s.Right.Client) + uvarintLen(s.Right.Clock)
	}
	if s.HasParent() {
		size += 10 + max(uvarintLen(s.Parent.Client)+uvarintLen(s.Parent.Clock), len(s.Root)) + len(s.Sub)
	}
	part := p.part[s.Client]
	if len(part) == 0 {
		size += sectionRoom
	} else if gap := s.Clock - part[len(part)-1].End(); gap > 0 {
		size += 1 + uvarintLen(gap)
	}
	return size
}

func (p *splitter) put(s Struct, size int) {
	p.size += size
	p.part[s.Client] = append(p.part[s.Client], s)
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
	if p.size == 0 {
		return
	}
	clients := make([]uint64, 0, len(p.part))
	for c := range p.part {
		clients = append(clients, c)
	}
	slices.SortFunc(clients, func(a, b uint64) int { return cmp.Compare(b, a) })
	var e encoder
	for _, c := range clients {
		e.begin(c)
		for i := range p.part[c] {
			e.add(&p.part[c][i])
		}
		e.end()
	}
	p.out = append(p.out, e.finish(nil, appendDeletes(nil, p.dels)))
	clear(p.part)
	p.dels, p.size = p.dels[:0], 0
}

// unitsWithin is the largest number of units, less than Len, whose content has at most room bytes; 0 if there is none, or
// the content can't be cut. It never cuts a surrogate pair.
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
