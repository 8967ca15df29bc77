package yjs

import (
	"cmp"
	"slices"
)

// docQueue holds structs of one client that are to be integrated, lowest clock first. Between updates only those are left
// that wait for something.
type docQueue struct {
	client   uint64
	fresh    []Struct // of the update that is being applied, in clock order
	parked   []Struct // from earlier ones: a heap by clock, its bytes the document's own
	sorted   int      // how many were parked when doubles were last thrown out
	wait     ID       // the id that the first struct waits for
	listed   bool     // it is in the list of those that wait for listedBy
	listedBy uint64
}

// integrateRest integrates what could not be integrated as it came, and what waited for what has come.
//
// Unlike Yjs, which keeps one list of missing clocks, every client's queue waits for one id and goes on as soon as that
// arrives; so nothing that could be applied stays pending.
func (d *Document) integrateRest() {
	if len(d.queues) == 0 && len(d.pending) == 0 {
		return
	}
	for i := range d.queues {
		if s := d.queues[i].fresh; !slices.IsSortedFunc(s, compareClocks) {
			slices.SortStableFunc(s, compareClocks)
		}
	}
	if d.pending == nil {
		d.pending = make(map[uint64]*docQueue)
		d.waiters = make(map[uint64][]*docQueue)
	}
	// Highest client first, as Yjs does: where several clients wrote at one place, the walk over conflicts stays short.
	slices.SortStableFunc(d.queues, func(a, b docQueue) int { return cmp.Compare(b.client, a.client) })
	touched := make([]*docQueue, 0, len(d.queues))
	for i := range d.queues {
		in := &d.queues[i]
		q := d.pending[in.client]
		if q == nil {
			q = &docQueue{client: in.client}
			d.pending[in.client] = q
		}
		if n := len(touched); n > 0 && touched[n-1] == q {
			q.fresh = append(slices.Clip(q.fresh), in.fresh...)
			slices.SortStableFunc(q.fresh, compareClocks)
			continue
		}
		q.fresh = in.fresh
		touched = append(touched, q)
	}
	for i := len(touched) - 1; i >= 0; i-- {
		d.todo = append(d.todo, touched[i])
	}
	for _, c := range d.changed {
		d.wake(c.id)
	}
	for len(d.todo) > 0 {
		q := d.todo[len(d.todo)-1]
		d.todo = d.todo[:len(d.todo)-1]
		before := d.state(q.client)
		d.run(q)
		if d.state(q.client) > before {
			d.wake(q.client)
		}
		if !q.empty() && !(q.listed && q.listedBy == q.wait.Client) {
			q.listed, q.listedBy = true, q.wait.Client
			d.waiters[q.wait.Client] = append(d.waiters[q.wait.Client], q)
		}
	}
	for _, q := range touched {
		q.park()
	}
	for _, c := range d.changed {
		if q := d.pending[c.id]; q != nil && q.empty() {
			delete(d.pending, c.id)
		}
	}
	for _, q := range touched { // nothing new came of these
		if q.empty() {
			delete(d.pending, q.client)
		}
	}
	if len(d.pending) == 0 {
		clear(d.waiters)
	}
}

func compareClocks(a, b Struct) int { return cmp.Compare(a.Clock, b.Clock) }

func (q *docQueue) empty() bool { return len(q.fresh) == 0 && len(q.parked) == 0 }

// first is the struct with the lowest clock; nil if there is none. Of two that begin alike the older one comes first.
func (q *docQueue) first() *Struct {
	switch {
	case len(q.parked) == 0 && len(q.fresh) == 0:
		return nil
	case len(q.fresh) == 0 || len(q.parked) > 0 && q.parked[0].Clock <= q.fresh[0].Clock:
		return &q.parked[0]
	}
	return &q.fresh[0]
}

// pop drops what first gave.
func (q *docQueue) pop() {
	if len(q.fresh) > 0 && (len(q.parked) == 0 || q.parked[0].Clock > q.fresh[0].Clock) {
		q.fresh = q.fresh[1:]
		return
	}
	h := q.parked
	n := len(h) - 1
	last := h[n]
	h[n] = Struct{}
	h = h[:n]
	q.parked = h
	if n == 0 {
		q.parked = nil
		return
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && h[child+1].Clock < h[child].Clock {
			child++
		}
		if h[child].Clock >= last.Clock {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = last
}

// park keeps what is left of the update.
func (q *docQueue) park() {
	for _, s := range q.fresh {
		s.Content = slices.Clone(s.Content)
		s.Sub = slices.Clone(s.Sub)
		if s.Root != nil {
			s.Root = append([]byte{}, s.Root...)
		}
		q.parked = append(q.parked, s)
		i := len(q.parked) - 1
		for i > 0 && q.parked[(i-1)/2].Clock > s.Clock {
			q.parked[i] = q.parked[(i-1)/2]
			i = (i - 1) / 2
		}
		q.parked[i] = s
	}
	q.fresh = nil
	if len(q.parked) > 2*q.sorted+64 {
		q.tidy()
	}
}

// tidy sorts what is parked and throws out what is there twice, so that somebody who sends the same again and again does
// not fill the memory.
func (q *docQueue) tidy() {
	slices.SortStableFunc(q.parked, compareClocks)
	var end uint64
	q.parked = slices.DeleteFunc(q.parked, func(s Struct) bool {
		if s.End() <= end {
			return true
		}
		end = s.End()
		return false
	})
	q.sorted = len(q.parked)
}

// pendingClients are the clients with pending structs, highest first.
func (d *Document) pendingClients() []uint64 {
	ids := make([]uint64, 0, len(d.pending))
	for id := range d.pending {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b uint64) int { return cmp.Compare(b, a) })
	return ids
}

func (d *Document) state(client uint64) uint64 {
	if c := d.client(client); c != nil {
		return c.next
	}
	return 0
}

// wake puts queues that waited for ids of a client which are here now on the list.
func (d *Document) wake(client uint64) {
	list := d.waiters[client]
	if len(list) == 0 {
		return
	}
	next := d.state(client)
	kept := list[:0]
	for _, q := range list {
		switch {
		case q.wait.Client != client || q.empty():
			// It waits elsewhere by now, and is listed there.
			if q.listedBy == client {
				q.listed = false
			}
		case q.wait.Clock < next:
			q.listed = false
			d.todo = append(d.todo, q)
		default:
			kept = append(kept, q)
		}
	}
	clear(list[len(kept):])
	if len(kept) == 0 {
		delete(d.waiters, client)
	} else {
		d.waiters[client] = kept
	}
}

// run integrates structs from the front of the queue until one has to wait.
func (d *Document) run(q *docQueue) {
	for {
		s := q.first()
		if s == nil {
			q.wait = ID{}
			return
		}
		wait, ok := d.take(s)
		if !ok {
			q.wait = wait
			return
		}
		q.pop()
	}
}

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
