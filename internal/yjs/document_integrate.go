package yjs

import (
	"cmp"
	"slices"
)

// take integrates what is new of s, or says which id that waits for.
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

// missing is an id that s needs and the document does not hold. Ids of its own client are below its clock, and so here.
// A struct that is known in part hangs on to that part, and needs neither its origin nor its parent.
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

// integrate puts s, whose first offset units are known, into its place. What it refers to is here.
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
		// Its place was collected together with the type it was in.
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

// addGC puts a collected run behind what the client has.
func (d *Document) addGC(c *docClient, n uint64) {
	it := d.newItem()
	it.client, it.clock, it.length = c, c.next, n
	it.ref, it.flags = RefGC, flagDeleted
	d.grow(c, it)
}

// grow puts a struct behind what its client has, and notes that the client has changed.
func (d *Document) grow(c *docClient, it *docItem) {
	if c.epoch != d.epoch {
		c.epoch, c.before = d.epoch, c.next
		d.changed = append(d.changed, c)
	}
	c.add(it)
}

// place finds the place of it between left and right, which were its neighbours when it was made, and puts it there.
//
// Where others were put between the two since, the order follows from the ids alone, so that every replica finds the same
// (the conflict rule of Yjs, Item.integrate). Going over the items o between left and right:
//
//  1. o has the same origin: the lower client stands left, so if that is o, it goes after o. If otherwise even the right
//     origin is the same, it goes here. Else o may still stand before something that it conflicts with: go on.
//  2. o's origin is among the items passed: o belongs to it, and so stands where that stands. If what it belongs to was not
//     passed since the last item that it goes after, it goes after o too.
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
		passed := d.walk   // items marked above this one were passed
		conflict := d.walk // and above this one, since the last item that it goes after
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
		d.cursor = docCursor{} // whoever edits here sets it again
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

// cutAny divides a long run of values, see maxAnyRun.
func (d *Document) cutAny(it *docItem) {
	for it.length > maxAnyRun {
		it = d.startAt(it.client, it.clock+maxAnyRun)
	}
}

// resetMarks forgets all walks, so that their numbers may begin anew.
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

// delete marks an item, and all that is inside of it.
func (d *Document) delete(it *docItem) {
	d.deleteOne(it)
	for len(d.types) > 0 {
		t := d.types[len(d.types)-1]
		d.types = d.types[:len(d.types)-1]
		for o := t.start; o != nil; o = o.right {
			d.deleteOne(o)
		}
		for _, e := range t.entries {
			// What is not the value is deleted already.
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

// deleteAll applies the deletes that were loaded, and those pending ones that were waited for.
func (d *Document) deleteAll() {
	late := d.ranges[:0] // what has to wait
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

// addRuns adds runs to a set, and sorts them for it.
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

// deleteRange deletes what is here of a range and returns the rest of it.
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
