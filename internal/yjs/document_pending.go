package yjs

import (
	"cmp"
	"slices"
)

// docQueue holds one client's structs that are not integrated yet. Between updates it holds only structs that wait.
type docQueue struct {
	client   uint64
	fresh    []Struct // of the current update, in clock order
	parked   []Struct // from earlier updates: a heap by clock; the document owns the bytes
	sorted   int      // number parked when duplicates were last removed
	wait     ID       // the id that the first struct waits for
	listed   bool     // in the list of queues that wait for listedBy
	listedBy uint64
}

// integrateRest integrates the structs that stream queued, and pending structs whose dependencies have arrived.
//
// Yjs keeps one list of missing clocks. Here every client's queue waits for one id and continues as soon as it arrives, so
// nothing that can be applied stays pending.
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
	for _, q := range touched { // no new structs of these are left
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

// first returns the struct with the lowest clock, or nil. Of two with the same clock the older one comes first.
func (q *docQueue) first() *Struct {
	switch {
	case len(q.parked) == 0 && len(q.fresh) == 0:
		return nil
	case len(q.fresh) == 0 || len(q.parked) > 0 && q.parked[0].Clock <= q.fresh[0].Clock:
		return &q.parked[0]
	}
	return &q.fresh[0]
}

// pop removes the struct that first returned.
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

// park moves the unused structs of the update to parked, copying their bytes.
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

// tidy sorts the parked structs and removes duplicates, so that a client that repeats an update does not fill the memory.
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

// pendingClients returns the clients with pending structs, highest first.
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

// wake schedules the queues that waited for ids of a client that are now present.
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
			// It waits for another client now, and is listed there.
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
