package yjs

import "cmp"

// How a document keeps its structs.
//
// Every client has its structs in clock order, without holes. A struct is an item, or the length of collected content (GC).
// The items of a list are linked left to right, deleted ones too, since positions are named by their neighbours. The items
// of one key are linked likewise, and the rightmost is the value.
//
// An item covers as many clocks as its content is long. It is cut wherever an id inside of it is needed as a neighbour, and
// grows together again after each transaction.

// docID names one unit inside a document. The zero value is no id.
type docID struct {
	c     *docClient
	clock uint64
}

// docItem is one struct of a document. 128 bytes, two cache lines.
type docItem struct {
	left, right *docItem
	parent      *docType  // nil: a GC struct
	entry       *docEntry // the key it is a value of; nil: a list item

	client        *docClient
	clock, length uint64
	origin        docID // last id of the left neighbour when it was made
	rightOrigin   docID // first id of the right one

	data []byte   // Struct.Content, owned by the document; with room to grow after a join
	typ  *docType // of a RefType content

	mark  uint32 // when a conflict walk passed here last, see place
	ref   byte   // content number; RefGC: the struct holds nothing but its length
	flags byte
}

const (
	flagDeleted = 1 << iota
	flagFreed   // joined into its left neighbour, ready for use again
)

func (it *docItem) deleted() bool { return it.flags&flagDeleted != 0 }
func (it *docItem) end() uint64   { return it.clock + it.length }
func (it *docItem) lastID() docID { return docID{it.client, it.end() - 1} }
func (it *docItem) id() ID        { return ID{it.client.id, it.clock} }

// countable: the content is part of the length of its list.
func (it *docItem) countable() bool {
	return it.ref != RefDeleted && it.ref != RefFormat && it.ref != RefGC
}

// visible: not deleted, and something to see. Formats are not.
func (it *docItem) visible() bool { return it.flags&flagDeleted == 0 && it.countable() }

// docEntry is one key of a type.
type docEntry struct {
	key   string
	first *docItem // leftmost item
	last  *docItem // rightmost item: the value, unless it is deleted
}

// docType is a shared type. Every type has a list and keys; its kind decides which of them are read.
type docType struct {
	item    *docItem // the item that holds it; nil: a root
	name    string   // root name; node name of an element, or name of a hook
	kind    Kind     // KindAuto: a root of unknown kind
	start   *docItem
	length  uint64      // of all visible list items
	entries []*docEntry // in order of first use
	byKey   map[string]*docEntry
	formats bool // a Format was ever put here
}

// entry finds a key, and creates it if create is true.
func (t *docType) entry(key []byte, create bool) *docEntry {
	if t.byKey == nil {
		for _, e := range t.entries {
			if e.key == string(key) {
				return e
			}
		}
	} else if e := t.byKey[string(key)]; e != nil {
		return e
	}
	if !create {
		return nil
	}
	e := &docEntry{key: string(key)}
	t.entries = append(t.entries, e)
	if t.byKey != nil {
		t.byKey[e.key] = e
	} else if len(t.entries) > 8 {
		t.byKey = make(map[string]*docEntry, 2*len(t.entries))
		for _, e := range t.entries {
			t.byKey[e.key] = e
		}
	}
	return e
}

// docClient holds the structs of one client in clock order, in blocks, so that a cut moves little.
type docClient struct {
	id     uint64
	next   uint64 // clock after the last struct
	blocks [][]*docItem

	epoch  uint64 // the transaction that before belongs to
	before uint64 // next at the beginning of that transaction
}

// docBlock is the size of a block. Inserting moves half of it on average, finding halves it eight times.
const docBlock = 256

// docPos is a place in the blocks of a client.
type docPos struct{ b, i int }

// find returns the position of the struct that covers clock, which must be below next.
func (c *docClient) find(clock uint64) docPos {
	b := len(c.blocks) - 1
	block := c.blocks[b]
	if i := len(block) - 1; clock >= block[i].clock {
		return docPos{b, i}
	}
	if clock < block[0].clock {
		lo, hi := 0, b // blocks[lo][0].clock <= clock < blocks[hi][0].clock
		for hi-lo > 1 {
			m := int(uint(lo+hi) >> 1)
			if c.blocks[m][0].clock <= clock {
				lo = m
			} else {
				hi = m
			}
		}
		b, block = lo, c.blocks[lo]
	}
	lo, hi := 0, len(block)
	for hi-lo > 1 {
		m := int(uint(lo+hi) >> 1)
		if block[m].clock <= clock {
			lo = m
		} else {
			hi = m
		}
	}
	return docPos{b, lo}
}

// at returns the struct that covers clock, which must be below next.
func (c *docClient) at(clock uint64) *docItem {
	p := c.find(clock)
	return c.blocks[p.b][p.i]
}

// step returns the position after p, or false at the end.
func (c *docClient) step(p docPos) (docPos, bool) {
	if p.i++; p.i < len(c.blocks[p.b]) {
		return p, true
	}
	return docPos{p.b + 1, 0}, p.b+1 < len(c.blocks)
}

// add appends a struct.
func (c *docClient) add(it *docItem) {
	n := len(c.blocks)
	if n == 0 || len(c.blocks[n-1]) >= docBlock {
		size := 4
		if n > 0 {
			size = docBlock
		}
		c.blocks = append(c.blocks, make([]*docItem, 0, size))
		n++
	}
	c.blocks[n-1] = append(c.blocks[n-1], it)
	c.next = it.end()
}

// insert inserts a struct after position p.
func (c *docClient) insert(p docPos, it *docItem) {
	block := c.blocks[p.b]
	if len(block) >= docBlock {
		half := len(block) / 2
		right := append(make([]*docItem, 0, docBlock), block[half:]...)
		clear(block[half:])
		c.blocks[p.b] = block[:half]
		c.blocks = append(c.blocks, nil)
		copy(c.blocks[p.b+2:], c.blocks[p.b+1:])
		c.blocks[p.b+1] = right
		if p.i >= half {
			p = docPos{p.b + 1, p.i - half}
		}
		block = c.blocks[p.b]
	}
	block = append(block, nil)
	copy(block[p.i+2:], block[p.i+1:])
	block[p.i+1] = it
	c.blocks[p.b] = block
}

// remove removes the struct at p. The caller must then extend its left neighbour over the gap.
func (c *docClient) remove(p docPos) {
	block := c.blocks[p.b]
	copy(block[p.i:], block[p.i+1:])
	block[len(block)-1] = nil
	c.blocks[p.b] = block[:len(block)-1]
	if len(block) == 1 {
		copy(c.blocks[p.b:], c.blocks[p.b+1:])
		c.blocks[len(c.blocks)-1] = nil
		c.blocks = c.blocks[:len(c.blocks)-1]
	}
}

// newItem returns an empty item, one freed by a join if possible.
func (d *Document) newItem() *docItem {
	if it := d.free; it != nil {
		d.free = it.right
		*it = docItem{}
		return it
	}
	if len(d.arena) == 0 {
		// The first items of a small document cost little; a large one is not asked for memory often.
		d.arenaSize = min(max(4, d.arenaSize*2), 256)
		d.arena = make([]docItem, d.arenaSize)
	}
	it := &d.arena[0]
	d.arena = d.arena[1:]
	return it
}

func (d *Document) freeItem(it *docItem) {
	if d.cursor.item == it {
		d.cursor = docCursor{}
	}
	*it = docItem{right: d.free, flags: flagFreed}
	d.free = it
}

// own copies content for the document to keep. Small contents share a slab.
func (d *Document) own(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	if len(p) > 64 {
		return append([]byte(nil), p...)
	}
	if cap(d.slab)-len(d.slab) < len(p) {
		d.slab = make([]byte, 0, 2048)
	}
	n := len(d.slab)
	d.slab = append(d.slab, p...)
	return d.slab[n:len(d.slab):len(d.slab)]
}

// cutItem divides it, which is at place p of its client, before unit k, 0 < k < length, and returns the right part.
func (d *Document) cutItem(c *docClient, p docPos, it *docItem, k uint64) *docItem {
	r := d.newItem()
	r.left, r.right = it, it.right
	r.parent, r.entry = it.parent, it.entry
	r.client, r.clock, r.length = c, it.clock+k, it.length-k
	r.origin = docID{c, it.clock + k - 1}
	r.rightOrigin = it.rightOrigin
	r.ref, r.flags, r.mark = it.ref, it.flags, it.mark
	switch it.ref {
	case RefString:
		it.data, r.data = cutString(it.data, it.length, k)
	case RefJSON:
		r.data = dropJSON(it.data, k)
		it.data = limitCap(it.data, len(it.data)-len(r.data))
	case RefAny:
		r.data = dropAny(it.data, k)
		it.data = limitCap(it.data, len(it.data)-len(r.data))
	}
	it.length = k
	it.right = r
	if r.right != nil {
		r.right.left = r
	} else if r.entry != nil {
		r.entry.last = r
	}
	c.insert(p, r)
	d.touch(c, r.clock)
	return r
}

// startAt returns the struct that begins at clock, cutting an item if necessary. clock must be below next.
func (d *Document) startAt(c *docClient, clock uint64) *docItem {
	p := c.find(clock)
	it := c.blocks[p.b][p.i]
	if it.clock < clock && it.ref != RefGC {
		return d.cutItem(c, p, it, clock-it.clock)
	}
	return it
}

// endAt returns the struct whose last clock is clock, cutting an item if necessary. clock must be below next.
func (d *Document) endAt(c *docClient, clock uint64) *docItem {
	p := c.find(clock)
	it := c.blocks[p.b][p.i]
	if clock != it.end()-1 && it.ref != RefGC {
		d.cutItem(c, p, it, clock-it.clock+1)
	}
	return it
}

// limitCap is p[:n] without spare capacity: the bytes behind it belong to another item.
func limitCap(p []byte, n int) []byte { return p[:n:n] }

// cutString cuts text of n UTF-16 units before unit k. It looks from the nearer end, so that cutting a text into pieces
// costs n log n in any order. A cut through a surrogate pair leaves U+FFFD on both sides, as in Yjs (ContentString.splice):
// the shorter side is copied, the longer one written over in its place.
func cutString(p []byte, n, k uint64) (left, right []byte) {
	if uint64(len(p)) == n {
		return p[:k:k], p[k:]
	}
	var off int
	var half bool
	if k <= n/2 {
		off, half = utf16Offset(p, k)
	} else {
		off, half = utf16OffsetBack(p, n-k)
	}
	if !half {
		return p[:off:off], p[off:]
	}
	if off < len(p)/2 {
		left = append(append(make([]byte, 0, off+3), p[:off]...), replacement...)
		right = p[off+1:]
		copy(right, replacement)
		return left, right
	}
	right = append(append(make([]byte, 0, len(p)-off-1), replacement...), p[off+4:]...)
	left = p[: off+3 : off+3]
	copy(left[off:], replacement)
	return left, right
}

// utf16OffsetBack is utf16Offset counted from the end: the byte before the last k units.
func utf16OffsetBack(p []byte, k uint64) (off int, half bool) {
	off = len(p)
	for k > 0 && off > 0 {
		off--
		for off > 0 && p[off]&0xc0 == 0x80 {
			off--
		}
		if p[off] >= 0xf0 {
			if k == 1 {
				return off, true
			}
			k--
		}
		k--
	}
	return off, false
}

// joinable reports whether b, the next struct of the same client after a, can be joined into a (Item.mergeWith of Yjs).
func joinable(a, b *docItem) bool {
	if a.ref != b.ref || a.flags&flagDeleted != b.flags&flagDeleted {
		return false
	}
	switch a.ref {
	case RefGC:
		return true
	case RefDeleted, RefString, RefJSON:
	case RefAny:
		if a.entry == nil && a.length+b.length > maxAnyRun {
			return false
		}
	default:
		return false
	}
	return a.right == b && b.origin == a.lastID() && a.rightOrigin == b.rightOrigin
}

// maxAnyRun bounds how many values one list item holds, since finding one among them means passing over those before it.
const maxAnyRun = 1024

// join makes b part of a and frees it. b is still in the store.
func (d *Document) join(a, b *docItem) {
	if d.cursor.item == b {
		d.cursor.item = a
		if a.visible() {
			d.cursor.index -= a.length
		}
	}
	a.data = append(a.data, b.data...)
	a.length += b.length
	if a.ref != RefGC {
		a.right = b.right
		if b.right != nil {
			b.right.left = a
		}
		if a.entry != nil && a.entry.last == b {
			a.entry.last = a
		}
	}
	d.freeItem(b)
}

// docTouch is a place where two structs of a client meet that may have become joinable.
type docTouch struct {
	c     *docClient
	clock uint64
}

func compareTouches(a, b docTouch) int {
	if n := cmp.Compare(a.c.id, b.c.id); n != 0 {
		return n
	}
	return cmp.Compare(a.clock, b.clock)
}
