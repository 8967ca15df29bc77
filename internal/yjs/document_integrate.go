package yjs

import (
	"cmp"
	"slices"
)

// take integrates the unknown part of s, or returns the id that s waits for.
func (d *Document) take(s *Struct) (wait ID, ok bool) {
	c := d.client(s.Client)
	var next uint64
	if c != nil {
		next = c.next
	}
	if s.End() <= next {
		return ID{}, true
	}
	if s.Clock > next {
		return ID{s.Client, next}, false
	}
	if id, missing := d.missing(s, next > s.Clock); missing {
		return id, false
	}
	if c == nil {
		c = d.makeClient(s.Client)
	}
	d.integrate(c, s, next-s.Clock)
	return ID{}, true
}

// missing returns an id that s needs and the document lacks. Ids of its own client are below its clock, so they are present.
// A partly known struct continues its known part and needs neither its origin nor its parent.
func (d *Document) missing(s *Struct, known bool) (ID, bool) {
	if !known && s.HasOrigin() && s.Origin.Client != s.Client && s.Origin.Clock >= d.state(s.Origin.Client) {
		return s.Origin, true
	}
	if s.HasRight() && s.Right.Client != s.Client && s.Right.Clock >= d.state(s.Right.Client) {
		return s.Right, true
	}
	if !known && s.HasParent() && s.Root == nil && s.Parent.Client != s.Client && s.Parent.Clock >= d.state(s.Parent.Client) {
		return s.Parent, true
	}
	return ID{}, false
}

// integrate integrates s without its first offset units, which are known. All its dependencies are present.
func (d *Document) integrate(c *docClient, s *Struct, offset uint64) {
	if s.Ref() == RefGC {
		d.addGC(c, s.Len-offset)
		return
	}
	var left, right *docItem
	switch {
	case offset > 0:
		left = c.at(c.next - 1)
	case s.HasOrigin():
		left = d.endAt(d.client(s.Origin.Client), s.Origin.Clock)
	}
	if s.HasRight() {
		right = d.startAt(d.client(s.Right.Client), s.Right.Clock)
	}
	var parent *docType
	var entry *docEntry
	switch {
	case left != nil && left.ref == RefGC || right != nil && right.ref == RefGC:
	case left != nil:
		parent, entry = left.parent, left.entry
	case right != nil:
		parent, entry = right.parent, right.entry
	case s.Root != nil:
		parent = d.root(s.Root)
	default:
		if holder := d.client(s.Parent.Client).at(s.Parent.Clock); holder.ref == RefType {
			parent = holder.typ
		}
	}
	if parent == nil {
		// The parent was collected, so the item becomes GC.
		d.addGC(c, s.Len-offset)
		return
	}
	if left == nil && s.HasSub() {
		entry = parent.entry(s.Sub, true)
	}

	it := d.newItem()
	it.client, it.clock, it.length = c, s.Clock+offset, s.Len-offset
	it.parent, it.entry = parent, entry
	if left != nil {
		if offset > 0 {
			it.origin = docID{c, it.clock - 1}
		} else {
			it.origin = docID{left.client, s.Origin.Clock}
		}
	}
	if right != nil {
		it.rightOrigin = docID{right.client, s.Right.Clock}
	}
	it.ref = s.Ref()
	content := s.Content
	if offset > 0 {
		switch it.ref {
		case RefString:
			content = dropString(content, offset)
		case RefJSON:
			content = dropJSON(content, offset)
		case RefAny:
			content = dropAny(content, offset)
		}
	}
	it.data = d.own(content)
	d.place(it, left, right)
}

// addGC appends a GC struct of n units to the client's structs.
func (d *Document) addGC(c *docClient, n uint64) {
	it := d.newItem()
	it.client, it.clock, it.length = c, c.next, n
	it.ref, it.flags = RefGC, flagDeleted
	d.grow(c, it)
}

// grow appends a struct to its client's structs and marks the client as changed.
func (d *Document) grow(c *docClient, it *docItem) {
	if c.epoch != d.epoch {
		c.epoch, c.before = d.epoch, c.next
		d.changed = append(d.changed, c)
	}
	c.add(it)
}

// place finds the position of it between left and right, its neighbours at creation, and links it there.
//
// If other items were inserted between the two, the order follows from the ids alone, so every replica computes the same one
// (the conflict rule of Yjs, Item.integrate). For each item o between left and right:
//
//  1. o has the same origin: the lower client stands left, so if o's client is lower, it goes after o. Otherwise, if
//     the right origins are equal too, it goes here. Else o may still stand before a conflicting item: continue.
//  2. o's origin is among the items passed: o belongs to that item and stands where it stands. So it goes after o too,
//     unless that item was passed after the last item that it goes after.
//  3. o's origin is further left: it goes here.
//
// It has more than 80 lines because the walk and the links that it sets are one rule, to be compared with Yjs line by line.
func (d *Document) place(it, left, right *docItem) {
	p, e := it.parent, it.entry
	if left == nil && (right == nil || right.left != nil) || left != nil && left.right != right {
		if d.walk > 1<<31 {
			d.resetMarks()
		}
		var o *docItem
		switch {
		case left != nil:
			o = left.right
		case e != nil:
			o = e.first
		default:
			o = p.start
		}
		passed := d.walk   // items with a higher mark were passed
		conflict := d.walk // items with a higher mark were passed after the last item that it goes after
		for ; o != nil && o != right; o = o.right {
			d.walk++
			o.mark = d.walk
			if it.origin == o.origin {
				if o.client.id < it.client.id {
					left = o
					conflict = d.walk
				} else if it.rightOrigin == o.rightOrigin {
					break
				}
			} else if o.origin.c != nil {
				m := o.origin.c.at(o.origin.clock).mark
				if m <= passed {
					break
				}
				if m <= conflict {
					left = o
					conflict = d.walk
				}
			} else {
				break
			}
		}
	}

	it.left = left
	if left != nil {
		it.right = left.right
		left.right = it
	} else if e != nil {
		it.right = e.first
		e.first = it
	} else {
		it.right = p.start
		p.start = it
	}
	if it.right != nil {
		it.right.left = it
	} else if e != nil {
		e.last = it
		if left != nil {
			d.delete(left)
		}
	}
	if e == nil && it.countable() {
		p.length += it.length
	}
	if d.cursor.t == p {
		d.cursor = docCursor{} // the edit that placed the item sets the cursor again
	}
	d.grow(it.client, it)

	switch it.ref {
	case RefDeleted:
		it.flags |= flagDeleted
		d.deleted = append(d.deleted, docRange{it.client, it.clock, it.length})
	case RefType:
		it.typ = typeOf(it.data)
		it.typ.item = it
	case RefFormat:
		p.formats = true
	}
	if p.item != nil && p.item.deleted() || e != nil && it.right != nil {
		d.delete(it)
	}
	if it.ref == RefAny && e == nil && it.length > maxAnyRun {
		d.cutAny(it)
	}
}

// cutAny splits a long run of values; see maxAnyRun.
func (d *Document) cutAny(it *docItem) {
	for it.length > maxAnyRun {
		it = d.startAt(it.client, it.clock+maxAnyRun)
	}
}

// resetMarks clears all marks, so that their numbering can restart.
func (d *Document) resetMarks() {
	for _, c := range d.clients {
		for _, block := range c.blocks {
			for _, it := range block {
				it.mark = 0
			}
		}
	}
	d.walk = 0
}

// delete marks an item as deleted, and everything inside it.
func (d *Document) delete(it *docItem) {
	d.deleteOne(it)
	for len(d.types) > 0 {
		t := d.types[len(d.types)-1]
		d.types = d.types[:len(d.types)-1]
		for o := t.start; o != nil; o = o.right {
			d.deleteOne(o)
		}
		for _, e := range t.entries {
			// All other items of the key are deleted already.
			if e.last != nil {
				d.deleteOne(e.last)
			}
		}
	}
}

func (d *Document) deleteOne(it *docItem) {
	if it.deleted() {
		return
	}
	if it.entry == nil {
		if it.countable() {
			it.parent.length -= it.length
		}
		if d.cursor.t == it.parent {
			d.cursor = docCursor{}
		}
	}
	it.flags |= flagDeleted
	d.deleted = append(d.deleted, docRange{it.client, it.clock, it.length})
	if it.typ != nil {
		d.types = append(d.types, it.typ)
	}
}

// deleteAll applies the loaded deletes, and pending deletes whose structs have arrived.
func (d *Document) deleteAll() {
	late := d.ranges[:0] // deletes that have to wait
	for _, r := range d.ranges {
		if rest := d.deleteRange(r); rest.Len > 0 {
			late = append(late, rest)
		}
	}
	if !d.pendingDeletes.Empty() {
		for _, c := range d.changed {
			l := d.pendingDeletes.clients[c.id]
			if l == nil {
				continue
			}
			n := 0
			for n < len(*l) && (*l)[n].Clock < c.next {
				rest := d.deleteRange(Run{c.id, (*l)[n].Clock, (*l)[n].Len})
				n++
				if rest.Len > 0 {
					late = append(late, rest)
				}
			}
			if *l = slices.Delete(*l, 0, n); len(*l) == 0 {
				delete(d.pendingDeletes.clients, c.id)
			}
		}
	}
	addRuns(&d.pendingDeletes, late)
}

// addRuns sorts runs and adds them to a set.
func addRuns(s *IDSet, runs []Run) {
	if len(runs) > 1 {
		slices.SortFunc(runs, func(a, b Run) int {
			if n := cmp.Compare(a.Client, b.Client); n != 0 {
				return n
			}
			return cmp.Compare(a.Clock, b.Clock)
		})
	}
	for len(runs) > 0 {
		n := 1
		for n < len(runs) && runs[n].Client == runs[0].Client {
			n++
		}
		s.addSorted(runs[0].Client, runs[:n])
		runs = runs[n:]
	}
}

// deleteRange deletes the present part of a range and returns the rest.
func (d *Document) deleteRange(r Run) (rest Run) {
	c := d.client(r.Client)
	end := r.Clock + r.Len
	if c == nil || r.Clock >= c.next {
		return r
	}
	if end > c.next {
		rest = Run{r.Client, c.next, end - c.next}
		end = c.next
	}
	pos := c.find(r.Clock)
	it := c.blocks[pos.b][pos.i]
	if it.clock < r.Clock && !it.deleted() {
		it = d.cutItem(c, pos, it, r.Clock-it.clock)
		pos = c.find(it.clock)
	}
	for it.clock < end {
		if !it.deleted() {
			if it.end() > end {
				d.cutItem(c, pos, it, end-it.clock)
				pos = c.find(it.clock)
			}
			d.delete(it)
		}
		var more bool
		if pos, more = c.step(pos); !more {
			break
		}
		it = c.blocks[pos.b][pos.i]
	}
	return rest
}
