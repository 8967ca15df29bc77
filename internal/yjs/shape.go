package yjs

import (
	"hash/maphash"
	"math"
	"slices"
	"sort"
)

// The caller bounds a document's size in bytes; shape tracks the work that the document causes in a stock client. Its limits
// apply to the document, not to an update, because many small updates can add up to the work of one large one.
//
//   - Depth of nested types. Yjs recurses into types: it fails to read about 2,000 levels. When it deletes 4,000 levels, it
//     throws during its clean-up and sends none of its user's later edits.
//   - Root names, multiplied by the items that name a root. To write such an item, Yjs searches all roots for the item's own.
//     20,000 roots with one item each take a client 2.4 s whenever it encodes its document; so do 4,000 roots with 100,000 keys.
//   - Clients. Yjs copies its state vector twice in each transaction.
//   - Sub-documents. Yjs creates a document for each one as soon as it reads it.
//   - Items inserted at the same position. Yjs compares them one by one; see crowd.

// DocumentLimits bound a document. A zero field means its default, a negative one no limit.
type DocumentLimits struct {
	Depth     int // nesting of shared types, default 1,000
	Clients   int // clients that ever wrote, default 200,000: a key press costs a stock client some 0.1 s then
	RootWork  int // root names times items that name one, default 400 million: 2.4 s in a stock client
	SubDocs   int // default 50,000: 2.6 s in a stock client
	Conflicts int // milliseconds that stock clients spent ordering items at one position, see crowd; default 2,000
}

// A Bound names one of [DocumentLimits].
type Bound int

const (
	NoBound Bound = iota
	BoundDepth
	BoundClients
	BoundRootWork
	BoundSubDocs
	BoundConflicts
)

// String returns the name that logs and /stats show.
func (b Bound) String() string {
	return [...]string{"none", "depth", "clients", "root-work", "sub-documents", "conflicts"}[b]
}

const (
	defaultDepth     = 1_000
	defaultClients   = 200_000
	defaultRootWork  = 400_000_000
	defaultSubDocs   = 50_000
	defaultConflicts = 2_000
)

// Nearest returns the bound of which the document uses the largest share, and that share; 1 is all of it. It takes constant time.
func (s *State) Nearest(lim DocumentLimits) (bound Bound, share float64) {
	for _, v := range [...]struct {
		bound     Bound
		used      float64
		most, def int
	}{
		{BoundDepth, float64(s.shape.deepest), lim.Depth, defaultDepth},
		{BoundClients, float64(s.Clients()), lim.Clients, defaultClients},
		{BoundRootWork, float64(s.Roots()) * float64(s.shape.rootItems), lim.RootWork, defaultRootWork},
		{BoundSubDocs, float64(s.shape.subDocs), lim.SubDocs, defaultSubDocs},
		{BoundConflicts, float64(s.shape.crowd.heavy) / 1e6, lim.Conflicts, defaultConflicts},
	} {
		if part := v.used / float64(limit(v.most, v.def)); part > share {
			bound, share = v.bound, part
		}
	}
	return bound, share
}

// Grows reports whether u brings structs that the document does not have; deletes alone do not make it grow.
func (s *State) Grows(u *Update) bool {
	return slices.ContainsFunc(u.runs, func(r Run) bool { return !s.structs.Contains(r.Client, r.Clock, r.Len) })
}

// shape records the work that a document causes. The zero value describes an empty document.
type shape struct {
	depths    map[uint64]*depths // by client; none where nothing nests
	deepest   int
	rootItems int
	subDocs   int
	crowd     crowd
}

// depths maps one client's clocks to the number of types that contain the item. An entry is clock<<11 | depth and holds up to
// the next entry; entries are sorted by clock, and the depth before the first is 0. An ordinary document has about three
// entries, 24 bytes, for each paragraph; a text without nested types has none.
type depths []uint64

const (
	depthBits = 11
	maxDepth  = 1<<depthBits - 1
)

func (d depths) at(clock uint64) int {
	i := len(d)
	if i > 0 && d[i-1]>>depthBits > clock {
		i = sort.Search(i, func(i int) bool { return d[i]>>depthBits > clock })
	}
	if i == 0 {
		return 0
	}
	return int(d[i-1] & maxDepth)
}

// set sets the depth of the clocks [from, to).
func (d *depths) set(from, to uint64, depth int) {
	v := uint64(min(depth, maxDepth))
	l := *d
	n := len(l)
	if n == 0 || l[n-1]>>depthBits < from {
		if n == 0 || l[n-1]&maxDepth != v {
			*d = append(l, from<<depthBits|v)
		}
		return
	}
	after := uint64(l.at(to))
	i := sort.Search(n, func(i int) bool { return l[i]>>depthBits >= from })
	j := sort.Search(n, func(i int) bool { return l[i]>>depthBits > to })
	*d = slices.Replace(l, i, j, from<<depthBits|v, to<<depthBits|after)
}

// depth returns how many types contain the item of an id; 0 if the id is unknown. under is consulted for ids before the
// first entry of a client in h.
func (h *shape) depth(id ID, under *shape) int {
	if l := h.depths[id.Client]; l != nil && (*l)[0]>>depthBits <= id.Clock {
		return l.at(id.Clock)
	}
	if under != nil {
		return under.depth(id, nil)
	}
	return 0
}

// Admit checks that u keeps the document within its limits. The error is an [*Error] that is ErrLimit.
func (s *State) Admit(u *Update, lim DocumentLimits) error {
	refuse := func(reason string, b Bound) error { return &Error{Reason: reason, Limit: true, Bound: b} }
	if most := limit(lim.Clients, defaultClients); s.Clients()+len(u.runs) > most {
		fresh := make(map[uint64]struct{})
		for _, r := range u.runs {
			if s.structs.clients[r.Client] == nil {
				fresh[r.Client] = struct{}{}
			}
		}
		if len(fresh) > 0 && s.Clients()+len(fresh) > most {
			return refuse(reasonClients, BoundClients)
		}
	}
	if len(u.roots) > 0 {
		roots, items := s.Roots(), s.shape.rootItems+u.rootItems
		for _, name := range u.roots {
			if !s.HasRoot(name) {
				roots++
			}
		}
		if most := limit(lim.RootWork, defaultRootWork); roots > most/max(items, 1) {
			return refuse(reasonRoots, BoundRootWork)
		}
	}
	if u.subDocs > 0 && s.shape.subDocs+u.subDocs > limit(lim.SubDocs, defaultSubDocs) {
		return refuse(reasonSubDocs, BoundSubDocs)
	}
	if !s.shape.concerns(u) {
		return nil
	}
	var own shape
	own.take(u, &s.shape, &s.structs)
	if own.deepest > limit(lim.Depth, defaultDepth) {
		return refuse(reasonNesting, BoundDepth)
	}
	if ms := limit(lim.Conflicts, defaultConflicts); own.crowd.cost >= lightCrowd && (s.shape.crowd.heavy+own.crowd.cost)/1e6 > uint64(ms) {
		return refuse(reasonCrowd, BoundConflicts)
	}
	return nil
}

// concerns reports whether u may change more than counters. A keystroke that continues its client's text does not, in a
// document without nested types.
func (h *shape) concerns(u *Update) bool { return u.nested || u.jumps > 0 || len(h.depths) > 0 }

// add records u. known does not contain its structs yet.
func (h *shape) add(u *Update, known *IDSet) {
	if u.rootItems > 0 || u.subDocs > 0 {
		news := slices.ContainsFunc(u.runs, func(r Run) bool { return !known.Contains(r.Client, r.Clock, r.Len) })
		if news {
			h.rootItems += u.rootItems
			h.subDocs += u.subDocs
		}
	}
	if h.concerns(u) {
		h.crowd.cost = 0
		h.take(u, nil, known)
		if h.crowd.cost >= lightCrowd {
			h.crowd.heavy += h.crowd.cost
		}
	}
}

// take records the depths and places of the items of u that known does not hold. Lookups that fail in h go to under, which
// may be nil.
func (h *shape) take(u *Update, under *shape, known *IDSet) {
	nests := u.nested || len(h.depths) > 0 || under != nil && len(under.depths) > 0
	visit := func(s *Struct) {
		if !s.IsItem() || s.End() <= known.Prefix(s.Client) {
			return
		}
		h.crowd.take(s, under)
		if !nests {
			return
		}
		depth := 0
		if id, placed := s.place(); placed {
			depth = h.depth(id, under)
		} else if s.Root == nil {
			depth = h.depth(s.Parent, under) + 1
		}
		h.deepest = max(h.deepest, depth)
		l := h.depths[s.Client]
		if l == nil {
			if depth == 0 && under == nil {
				return // as if it were not there
			}
			if h.depths == nil {
				h.depths = make(map[uint64]*depths)
			}
			l = new(depths)
			h.depths[s.Client] = l
		}
		l.set(s.Clock, s.End(), depth)
	}
	if nests && len(u.runs) > 1 {
		inOrder(u, known, visit)
		return
	}
	var s Struct
	for r := NewReader(u.Bytes); r.Next(&s); {
		visit(&s)
	}
}

func (h *shape) clone() shape {
	c := *h
	if h.depths != nil {
		c.depths = make(map[uint64]*depths, len(h.depths))
		for client, l := range h.depths {
			copied := slices.Clone(*l)
			c.depths[client] = &copied
		}
	}
	c.crowd = h.crowd.clone()
	return c
}

// lane is one client's structs of an update, and how far they were visited.
type lane struct {
	r       Reader
	left    uint64 // structs that r has not read
	s       Struct // read, not visited; if has
	has     bool
	next    uint64 // clock after those that were visited
	waiters waiters
}

// inOrder visits the structs of u after the structs that they refer to, as far as u and known have those. Structs that wait
// for each other in a circle come last.
func inOrder(u *Update, known *IDSet, visit func(s *Struct)) {
	b := u.Bytes
	if u.disorder {
		if c, err := Canonical(b); err == nil {
			b = c
		}
	}
	lanes := make(map[uint64]*lane)
	var work []uint64
	var r Reader
	var s Struct
	var l *lane
	section := 0
	for r.Reset(b); r.skim(&s); l.left++ {
		if section != r.section {
			section = r.section
			l = &lane{r: Reader{c: cursor{b: b, off: r.start}, structs: math.MaxUint64, client: s.Client, clock: s.Clock}}
			lanes[s.Client] = l
			work = append(work, s.Client)
		}
	}
	slices.Reverse(work) // from the back, as on the wire
	advance := func(client uint64, force bool) {
		l := lanes[client]
		waits := func(id ID) bool {
			if id.Client == client || id.Clock < known.Prefix(id.Client) {
				return false
			}
			other := lanes[id.Client]
			if force || other == nil || id.Clock < other.next || other.left == 0 && !other.has {
				return false
			}
			other.waiters.add(id.Clock, client)
			return true
		}
		for l.has || l.left > 0 {
			if !l.has {
				l.r.Next(&l.s)
				l.left--
				l.has = true
			}
			s := &l.s
			if s.HasOrigin() && waits(s.Origin) || s.HasRight() && waits(s.Right) || s.HasParent() && s.Root == nil && waits(s.Parent) {
				break
			}
			visit(s)
			l.next, l.has = s.End(), false
		}
		upTo := l.next
		if l.left == 0 && !l.has {
			upTo = math.MaxUint64 // structs that wait for later clocks wait in vain
		}
		work = l.waiters.wake(upTo, work)
	}
	drain := func(force bool) {
		for len(work) > 0 {
			client := work[len(work)-1]
			work = work[:len(work)-1]
			advance(client, force)
		}
	}
	drain(false)
	for client, l := range lanes {
		if l.has || l.left > 0 {
			work = append(work, client)
		}
	}
	drain(true)
}

// crowd estimates the time stock clients need to order items inserted at one position: after the same item, first in the
// same list, or under the same key. Yjs compares a new item with all others there, 250 ns each, so 10,000 items of two
// clients at one position, 96 kB, cost 6 s. Under a key it also walks back to the first value, 12 ns for each value.
//
// Honest clients put few concurrent items at one position, one at a time. So only updates that cost at least 5 ms count, and
// their sum may reach 2 s. An item inserted directly before the last one there is free: its writer knew that one, and
// nothing has to be compared.
//
// An exact figure needs the whole document. This estimate ignores items inserted after the items of the position.
type crowd struct {
	seen   seen             // places of all items that do not follow the one their client wrote before
	places map[uint64]place // those that were seen twice
	cost   uint64           // of the update at hand, nanoseconds
	heavy  uint64           // of all updates that counted
}

// place is where several items were put, as a hash.
type place struct {
	n      uint32 // items, all in all
	run    uint32 // of the client that put the last one, as the last
	mixed  bool   // their right origins differ
	client uint64
	lowest uint64 // client
	last   ID     // first id of the last one
	right  ID     // origin of the last one
}

const (
	passNanos  = 250
	valueNanos = 12
	lightCrowd = 5_000_000 // nanoseconds
)

var seed = maphash.MakeSeed()

// placeOf returns the place of an item as a hash, or false if the item continues its client's previous one, and so is alone.
func placeOf(s *Struct) (h uint64, ok bool) {
	mix := func(kind, client, clock uint64) uint64 {
		return maphash.Comparable(seed, [3]uint64{kind, client, clock})
	}
	switch {
	case s.HasOrigin():
		if s.Origin.Client == s.Client && s.Origin.Clock+1 == s.Clock {
			return 0, false
		}
		return mix(1, s.Origin.Client, s.Origin.Clock), true
	case s.HasRight():
		return mix(2, s.Right.Client, s.Right.Clock), true
	case s.Root != nil:
		h = maphash.Bytes(seed, s.Root)
	default:
		h = mix(3, s.Parent.Client, s.Parent.Clock)
	}
	if s.HasSub() {
		h = mix(h, maphash.Bytes(seed, s.Sub), 4)
	}
	return h, true
}

// take counts an item.
func (c *crowd) take(s *Struct, under *shape) {
	h, ok := placeOf(s)
	if !ok {
		return
	}
	p, known := c.places[h]
	if !known && under != nil {
		p, known = under.crowd.places[h]
	}
	if !known {
		if !c.seen.add(h) && (under == nil || !under.crowd.seen.has(h)) {
			return // the first
		}
		p = place{n: 1, lowest: math.MaxUint64, right: s.Right}
	}
	p.mixed = p.mixed || s.Right != p.right
	switch {
	case s.HasRight() && s.Right == p.last: // nothing stands between its neighbours
	case s.Client < p.lowest && !p.mixed: // it stops at the first
	case s.Client == p.client && !p.mixed:
		c.cost += uint64(p.n-p.run) * passNanos
	default:
		c.cost += uint64(p.n) * passNanos
	}
	if s.HasSub() {
		c.cost += uint64(p.n) * valueNanos
	}
	if p.client == s.Client {
		p.run++
	} else {
		p.client, p.run = s.Client, 1
	}
	p.n++
	p.lowest, p.right = min(p.lowest, s.Client), s.Right
	p.last = ID{s.Client, s.Clock}
	if c.places == nil {
		c.places = make(map[uint64]place)
	}
	c.places[h] = p
}

func (c *crowd) clone() crowd {
	d := *c
	if c.places != nil {
		d.places = make(map[uint64]place, len(c.places))
		for h, p := range c.places {
			d.places[h] = p
		}
	}
	d.seen.layers = slices.Clone(c.seen.layers)
	for i, l := range d.seen.layers {
		d.seen.layers[i] = slices.Clone(l)
	}
	return d
}

// seen is a set of hashes with one byte for each. About one lookup in twenty wrongly reports a new hash as present.
type seen struct {
	layers [][]uint64 // bits, each layer four times as many as the one before
	n      int        // hashes in the last layer
}

func (b *seen) has(h uint64) bool {
	for _, l := range b.layers {
		mask := uint64(len(l))*64 - 1
		i, j := h&mask, h>>32&mask
		if l[i/64]&(1<<(i%64)) != 0 && l[j/64]&(1<<(j%64)) != 0 {
			return true
		}
	}
	return false
}

// add adds h and reports whether it was present.
func (b *seen) add(h uint64) bool {
	if b.has(h) {
		return true
	}
	if k := len(b.layers); k == 0 || b.n >= len(b.layers[k-1])*8 {
		b.layers = append(b.layers, make([]uint64, 8<<(2*k)))
		b.n = 0
	}
	l := b.layers[len(b.layers)-1]
	mask := uint64(len(l))*64 - 1
	i, j := h&mask, h>>32&mask
	l[i/64] |= 1 << (i % 64)
	l[j/64] |= 1 << (j % 64)
	b.n++
	return false
}
