package ingest

import (
	"context"
	"slices"
	"time"

	"yjet/ingest/outbound"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// commits is the writing side of a room: one group of updates on its way to the
// log, and the next one, which gathers meanwhile. Groups are numbered from 1, and
// are stored and delivered in that order. Guarded by room.mu.
type commits struct {
	writer   *stream.Writer
	ctx      context.Context // of the writer: ends when an append is given up
	cancel   context.CancelFunc
	accepted *yjs.State // stored and under way; nil: as stored
	inflight *group
	gather   []pending
	bytes    int                   // of inflight and gather
	last     uint64                // number of the last group begun: the one that gathers, or the newest
	awaited  []*group              // stored, not yet delivered by the tail
	reached  uint64                // all groups up to this number are stored and delivered
	full     []chan struct{}       // of senders that wait until less is under way
	watch    []chan struct{}       // closed when a group is settled or a record has come by
	ackers   map[*session]struct{} // sessions with acknowledgements to come
	recover  bool                  // an append was given up: ask all writers after the next that is stored
}

// A pending update waits for the next group. Those of one connection that are
// neighbours are merged; two people's never are.
type pending struct {
	from    *session // nil: from HTTP
	user    string
	conn    string
	updates [][]byte
	size    int
	last    int            // index of its last entry in the append
	reply   chan<- written // from HTTP: told the fate, has room for it
}

// written is the fate of an update that came over HTTP.
type written struct {
	seq stream.Seq
	err error
}

// A group is one append.
type group struct {
	number  uint64
	updates []pending
	size    int
	started time.Time
	seq     stream.Seq // of its last record, once stored
	replies []reply    // to requests, sent on delivery: a client can read its own write
	writer  *stream.Writer
	ctx     context.Context // of writer
}

// A reply is owed to a request whose update is stored.
type reply struct {
	to  chan<- written
	seq stream.Seq
}

// edits lists whose updates a group stores.
func (g *group) edits() []outbound.Edit {
	list := make([]outbound.Edit, len(g.updates))
	for i, p := range g.updates {
		list[i] = outbound.Edit{User: p.user, Updates: len(p.updates)}
	}
	return list
}

func (g *group) answer() {
	for _, r := range g.replies {
		r.to <- written{seq: r.seq}
	}
	g.replies = nil
}

// open begins a writer of the room's document.
func (c *commits) open(r *room) {
	c.writer = r.srv.o.Log.Writer(r.doc)
	c.ctx, c.cancel = context.WithCancel(r.srv.ctx)
}

func (c *commits) busy() bool {
	return c.inflight != nil || len(c.gather) > 0 || len(c.awaited) > 0
}

// add takes in a record of the tail.
func (c *commits) add(u *yjs.Update) {
	if c.accepted != nil {
		c.accepted.Add(u)
	}
}

// state is the content of the log once all groups under way are stored. stored is
// its content now.
func (c *commits) state(stored *yjs.State) *yjs.State {
	if c.accepted == nil {
		c.accepted = stored.Clone()
	}
	return c.accepted
}

// peek is state for a caller that only reads.
func (c *commits) peek(stored *yjs.State) *yjs.State {
	if c.accepted == nil {
		return stored
	}
	return c.accepted
}

// newest is the number of the newest group with updates, 0 if every group has been
// delivered.
func (c *commits) newest() uint64 {
	if c.reached >= c.last {
		return 0
	}
	return c.last
}

// queue puts an update that is ready into the next group and returns the group's
// number. u must be parsed from b, which belongs to the room from now on. s is nil
// for an update that came over HTTP.
func (c *commits) queue(stored *yjs.State, s *session, user, conn string, u *yjs.Update, b []byte) uint64 {
	c.state(stored).Add(u)
	if len(c.gather) == 0 {
		c.last++
	}
	c.bytes += len(b)
	if n := len(c.gather) - 1; n >= 0 && s != nil && c.gather[n].from == s && c.gather[n].size+len(b) <= mergeMax && len(c.gather[n].updates) < 1000 {
		p := &c.gather[n]
		p.updates = append(p.updates, b)
		p.size += len(b)
		return c.last
	}
	c.gather = append(c.gather, pending{from: s, user: user, conn: conn, updates: [][]byte{b}, size: len(b)})
	return c.last
}

// mergeMax bounds the size of merged neighbours, in bytes.
const mergeMax = 256 << 10

// next takes the gathered updates as the group to append. Nothing may be in flight.
func (c *commits) next() *group {
	g := &group{number: c.last, updates: c.gather, started: time.Now(), writer: c.writer, ctx: c.ctx}
	for i := range g.updates {
		g.size += g.updates[i].size
	}
	c.gather, c.inflight = nil, g
	return g
}

// stored moves the group in flight to those that wait for the tail. seqs are the
// sequences of its entries.
func (c *commits) stored(g *group, seqs []stream.Seq) {
	g.seq = slices.Max(seqs)
	for _, p := range g.updates {
		if p.reply != nil {
			g.replies = append(g.replies, reply{p.reply, seqs[p.last]})
		}
	}
	g.updates = nil
	c.inflight = nil
	c.bytes -= g.size
	c.awaited = append(c.awaited, g)
}

// deliver ends the groups whose records have come by, up to seq, and reports
// whether there were any.
func (c *commits) deliver(seq stream.Seq) bool {
	n := 0
	for n < len(c.awaited) && c.awaited[n].seq <= seq {
		c.reached = c.awaited[n].number
		c.awaited[n].answer()
		n++
	}
	c.awaited = append(c.awaited[:0], c.awaited[n:]...)
	return n > 0
}

// drop forgets the group in flight and all that waits behind it, and returns their
// updates. Groups up to safe are stored; they count as delivered now.
func (c *commits) drop(g *group) (dropped []pending, safe uint64) {
	if c.cancel != nil {
		c.cancel()
	}
	dropped = append(append([]pending(nil), g.updates...), c.gather...)
	c.inflight, c.gather, c.bytes = nil, nil, 0
	safe = c.reached
	if n := len(c.awaited); n > 0 {
		safe = c.awaited[n-1].number
	}
	c.reached = c.last
	c.letGo()
	c.writer, c.ctx, c.cancel, c.accepted = nil, nil, nil, nil // made anew with the next group
	c.recover = true
	return dropped, safe
}

// letGo answers requests whose updates are stored without waiting for the tail.
func (c *commits) letGo() {
	for _, g := range c.awaited {
		g.answer()
	}
	c.awaited = nil
}

// crowded returns a channel that is closed when less than limit bytes are under
// way; nil: they are now.
func (c *commits) crowded(limit int) chan struct{} {
	if c.bytes < limit {
		return nil
	}
	ch := make(chan struct{})
	c.full = append(c.full, ch)
	return ch
}

// release lets waiting senders go on when less than limit bytes are under way.
func (c *commits) release(limit int) {
	if c.bytes < limit {
		for _, ch := range c.full {
			close(ch)
		}
		c.full = nil
	}
}

// change returns a channel that is closed when a group is settled or a record has
// come by.
func (c *commits) change() <-chan struct{} {
	ch := make(chan struct{})
	c.watch = append(c.watch, ch)
	return ch
}

// tell closes the channels of change.
func (c *commits) tell() {
	for _, ch := range c.watch {
		close(ch)
	}
	c.watch = nil
}

// reconsider computes accepted again, from the stored state and the groups under way,
// after a panic left it in doubt.
func (c *commits) reconsider(stored *yjs.State) {
	c.accepted = stored.Clone()
	groups := [][]pending{c.gather}
	if g := c.inflight; g != nil {
		groups = append(groups, g.updates)
	}
	var u yjs.Update
	for _, updates := range groups {
		for _, p := range updates {
			for _, b := range p.updates {
				if u.Parse(b, recordLimits) == nil {
					c.accepted.Add(&u)
				}
			}
		}
	}
}

// nextGroup takes the gathered updates as the group to launch, unless one is on its
// way. leave calls it under the lock.
func (r *room) nextGroup() *group {
	c := &r.commit
	if c.inflight != nil || len(c.gather) == 0 || r.tail == nil || r.failed != nil {
		return nil
	}
	if c.writer == nil {
		c.open(r)
	}
	return c.next()
}

// launch appends a group; nil is none. The caller does not hold the lock.
func (r *room) launch(g *group) {
	if g == nil {
		return
	}
	entries, err := r.entries(g)
	if err != nil {
		r.committed(g, nil, err)
		return
	}
	g.writer.Append(g.ctx, entries, func(seqs []stream.Seq, err error) { r.committed(g, seqs, err) })
}

// entries merges updates of one connection, and cuts those larger than a message
// of the log.
func (r *room) entries(g *group) (entries []stream.Entry, err error) {
	defer r.recovered(&err)
	limit := r.srv.o.Log.MaxUpdate()
	entries = make([]stream.Entry, 0, len(g.updates))
	for i := range g.updates {
		p := &g.updates[i]
		if entries, err = p.entries(entries, limit); err != nil {
			return nil, err
		}
		p.last = len(entries) - 1
	}
	return entries, nil
}

// entries appends the log entries of p.
func (p *pending) entries(entries []stream.Entry, limit int) (_ []stream.Entry, err error) {
	u := p.updates[0]
	if len(p.updates) > 1 {
		if u, err = yjs.Merge(p.updates...); err != nil {
			return nil, err
		}
	}
	whole, err := p.cut(entries, u, len(p.updates), limit)
	if err == nil || len(p.updates) == 1 {
		return whole, err
	}
	// A value that fits as it came may not fit beside its neighbours.
	for _, u := range p.updates {
		if entries, err = p.cut(entries, u, 1, limit); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// cut appends an update that contains merged of p's updates, in as many entries as
// the log's largest message demands.
func (p *pending) cut(entries []stream.Entry, u []byte, merged, limit int) ([]stream.Entry, error) {
	cut, err := snapshot.Entries(stream.Entry{User: p.user, Conn: p.conn, Merged: merged, Update: u}, limit)
	if err != nil {
		return entries, because(causeValueTooLarge, err)
	}
	return append(entries, cut...), nil
}

// committed hears the fate of a group, in the committer's goroutine.
func (r *room) committed(g *group, seqs []stream.Seq, err error) {
	if err != nil {
		r.givenUp(g, err)
		return
	}
	r.srv.metrics.appended(len(g.updates), g.size, time.Since(g.started))
	last := slices.Max(seqs)
	if r.srv.hook != nil { // before the group counts as settled: Drain closes the hook when all are
		r.srv.hook.Note(r.doc, last, g.edits())
		var hurry bool
		r.look(func() { hurry, r.deserted = r.deserted, false })
		if hurry {
			r.srv.hook.Hurry(r.doc)
		}
	}
	var tail *stream.Tail
	r.do(func() {
		c := &r.commit
		c.stored(g, seqs)
		if r.failed != nil {
			c.letGo() // the tail delivers nothing any more
		}
		r.delivered()
		if len(c.awaited) > 0 {
			tail = r.tail
		}
		if c.recover {
			c.recover = false
			for s := range r.sessions {
				s.ask(false)
			}
		}
		c.release(r.srv.limits.RoomBytes)
	})
	if tail != nil {
		tail.Expect(last)
	}
}

// delivered ends the groups whose records have come by, and sends the
// acknowledgements that are due. Callers hold the lock.
func (r *room) delivered() {
	c := &r.commit
	if c.deliver(r.seq) {
		if !c.busy() && len(r.sessions) == 0 {
			c.accepted = nil // as stored again
		}
		for s := range c.ackers {
			s.settle()
		}
	}
	c.tell() // a request may wait for another server's record
}

// givenUp drops a group that could not be stored, and with it all that waits
// behind it, which may need the lost updates. The document's writers are sent
// away; their providers still have the edits and send them again when they come
// back. The writer is new from here on, so that records of the lost group that turn
// up in the log after all are not taken for repetitions.
func (r *room) givenUp(g *group, err error) {
	cs := causeOf(err)
	if r.srv.ctx.Err() != nil {
		cs = causeDraining
	}
	r.logger().Error("updates not stored", "updates", len(g.updates), "bytes", g.size, "reason", cs.reason, "err", err)
	r.srv.metrics.appendFailed(cs.reason)
	guilty := map[*session]bool{}
	for _, p := range g.updates {
		guilty[p.from] = true
	}
	var dropped []pending
	var away []*session
	r.do(func() {
		var safe uint64
		dropped, safe = r.commit.drop(g)
		for s := range r.sessions {
			if s.grant.Mode < writeMode {
				continue
			}
			if cs == causeValueTooLarge && !guilty[s] {
				s.lose(safe)
				s.ask(false)
				continue
			}
			s.dropAcks()
			away = append(away, s)
		}
		r.commit.release(r.srv.limits.RoomBytes)
		r.commit.tell()
	})
	for _, p := range dropped {
		if p.reply != nil {
			p.reply <- written{err: because(cs, err)}
		}
	}
	for _, s := range away {
		s.end(because(cs, err))
	}
}
