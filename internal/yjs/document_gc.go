package yjs

import "slices"

// The end of a transaction, as in Yjs: deleted content is dropped and structs are joined.

// touch notes that the structs that meet at clock may have become joinable. joinNew handles new structs.
func (d *Document) touch(c *docClient, clock uint64) {
	if c.epoch == d.epoch && clock >= c.before || clock == 0 {
		return
	}
	d.touched = append(d.touched, docTouch{c, clock})
}

// finish closes a transaction.
func (d *Document) finish() {
	for _, r := range d.deleted {
		d.collect(r)
	}
	for _, c := range d.changed {
		d.joinNew(c)
	}
	if len(d.touched) > 1 {
		slices.SortFunc(d.touched, compareTouches)
		d.touched = slices.Compact(d.touched)
	}
	for _, t := range d.touched {
		d.joinAt(t.c, t.clock)
	}
	if cap(d.touched) > 1024 {
		d.touched = nil
	}
	if cap(d.deleted) > 1024 {
		d.deleted = nil
	}
	if cap(d.changed) > 64 {
		d.changed = nil
	}
}

// collect drops the content of a deleted range.
func (d *Document) collect(r docRange) {
	d.touch(r.c, r.clock)
	d.touch(r.c, r.clock+r.len)
	if d.keepDeleted {
		return
	}
	end := r.clock + r.len
	pos := r.c.find(r.clock)
	for more := true; more; pos, more = r.c.step(pos) {
		it := r.c.blocks[pos.b][pos.i]
		if it.clock >= end {
			break
		}
		if it.ref == RefDeleted || it.ref == RefGC || !it.deleted() {
			continue
		}
		if it.typ != nil {
			d.collectType(it.typ)
		}
		it.ref, it.data, it.typ = RefDeleted, nil, nil
	}
}

// collectType turns everything inside a deleted type into GC structs. Their positions are not needed: later items that refer
// to them are dropped with their parent.
func (d *Document) collectType(t *docType) {
	d.types = append(d.types[:0], t)
	for len(d.types) > 0 {
		t := d.types[len(d.types)-1]
		d.types = d.types[:len(d.types)-1]
		for it := t.start; it != nil; {
			next := it.right
			d.collectItem(it)
			it = next
		}
		for _, e := range t.entries {
			for it := e.last; it != nil; {
				next := it.left
				d.collectItem(it)
				it = next
			}
		}
		t.start, t.entries, t.byKey, t.length = nil, nil, nil, 0
	}
	if cap(d.types) > 1024 {
		d.types = nil
	}
}

func (d *Document) collectItem(it *docItem) {
	if it.typ != nil {
		d.types = append(d.types, it.typ)
	}
	if d.cursor.item == it {
		d.cursor = docCursor{}
	}
	d.touch(it.client, it.clock)
	d.touch(it.client, it.end())
	*it = docItem{client: it.client, clock: it.clock, length: it.length, ref: RefGC, flags: flagDeleted}
}

// joinNew joins the structs that a client got in this transaction, and the last struct before them.
func (d *Document) joinNew(c *docClient) {
	if last := c.blocks[len(c.blocks)-1]; len(last) > 1 && last[len(last)-1].clock == c.before {
		// One new struct, as from a key press.
		if n := len(last) - 1; joinable(last[n-1], last[n]) {
			d.join(last[n-1], last[n])
			last[n] = nil
			c.blocks[len(c.blocks)-1] = last[:n]
		}
		return
	}
	from := docPos{}
	if c.before > 0 {
		from = c.find(c.before - 1)
	}
	var prev *docItem
	w := docPos{from.b, from.i} // where the next remaining struct is written
	for b := from.b; b < len(c.blocks); b++ {
		block := c.blocks[b]
		i := 0
		if b == from.b {
			i = from.i
		}
		for ; i < len(block); i++ {
			it := block[i]
			if prev != nil && joinable(prev, it) {
				d.join(prev, it)
				continue
			}
			prev = it
			if w.i == docBlock {
				w = docPos{w.b + 1, 0}
			}
			if w.i >= len(c.blocks[w.b]) {
				c.blocks[w.b] = append(c.blocks[w.b], it)
			} else {
				c.blocks[w.b][w.i] = it
			}
			w.i++
		}
	}
	clear(c.blocks[w.b][w.i:])
	c.blocks[w.b] = c.blocks[w.b][:w.i]
	clear(c.blocks[w.b+1:])
	c.blocks = c.blocks[:w.b+1]
}

// joinAt joins the structs that meet at clock, if they are joinable.
func (d *Document) joinAt(c *docClient, clock uint64) {
	if clock == 0 || clock >= c.next {
		return
	}
	pos := c.find(clock)
	b := c.blocks[pos.b][pos.i]
	if b.clock != clock {
		return
	}
	var a *docItem
	if pos.i > 0 {
		a = c.blocks[pos.b][pos.i-1]
	} else if block := c.blocks[pos.b-1]; true {
		a = block[len(block)-1]
	}
	if joinable(a, b) {
		c.remove(pos)
		d.join(a, b)
	}
}
