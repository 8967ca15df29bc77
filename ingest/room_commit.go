package ingest

import (
	"context"
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
	accepted *yjs.State // stored, and what is under way; nil: as stored
	inflight *group
	gather   []pending
	bytes    int                   // of inflight and gather
	last     uint64                // number of the last group begun: the one that gathers, or the newest
	awaited  []*group              // stored, not yet delivered by the tail
	reached  uint64                // all groups up to this number are stored and delivered
	full     []chan struct{}       // senders that wait for room
	watch    []chan struct{}       // who wants to know when a group is settled
	ackers   map[*session]struct{} // sessions with acknowledgements to come
	recover  bool                  // an append was given up: after the next that is stored, ask all writers
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
	replies []reply    // to requests, which may read at once what they wrote: not before it is delivered
}

// A reply is owed to a request whose update is stored.
type reply struct {
	to  chan<- written
	seq stream.Seq
}

// edits says whose updates a group stores.
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

// open begins a writer.
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

// state is what the log will hold when all that is under way is stored.
func (r *room) acceptedState() *yjs.State {
	if r.commit.accepted == nil {
		r.commit.accepted = r.stored.Clone()
	}
	return r.commit.accepted
}

// groupOf answers the number of the newest group that carries anything, 0 if all
// there was has been delivered.
func (r *room) newestGroup() uint64 {
	c := &r.commit
	if c.reached >= c.last {
		return 0
	}
	return c.last
}

// queue puts an update that is ready into the next group and answers the group's
// number. u must be parsed from b, and b belongs to the room from now on. Callers
// hold the lock, then call next and launch.
func (r *room) queue(s *session, user, conn string, u *yjs.Update, b []byte) uint64 {
	c := &r.commit
	r.acceptedState().Add(u)
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

// mergeMax bounds what neighbours grow to by being merged.
const mergeMax = 256 << 10

// next takes the gathered updates as the group to launch, unless one is on its
// way. Callers hold the lock, and launch the group after unlocking.
func (r *room) next() *group {
	c := &r.commit
	if c.inflight != nil || len(c.gather) == 0 || r.tail == nil || r.failed != nil {
		return nil
	}
	if c.writer == nil {
		c.open(r)
	}
	g := &group{number: c.last, updates: c.gather, started: time.Now()}
	for i := range g.updates {
		g.size += g.updates[i].size
	}
	c.gather = nil
	c.inflight = g
	return g
}

// launch appends a group. The caller does not hold the lock.
func (r *room) launch(g *group) {
	if g == nil {
		return
	}
	entries, err := r.entries(g)
	r.mu.Lock()
	writer, ctx := r.commit.writer, r.commit.ctx
	r.mu.Unlock()
	if err != nil {
		r.committed(g, nil, err)
		return
	}
	writer.Append(ctx, entries, func(seqs []stream.Seq, err error) { r.committed(g, seqs, err) })
}

// entries merges what waited of one connection, and cuts what is larger than the
// server takes in one message.
func (r *room) entries(g *group) (entries []stream.Entry, err error) {
	defer r.recovered(&err)
	entries = make([]stream.Entry, 0, len(g.updates))
	for i := range g.updates {
		p := &g.updates[i]
		u := p.updates[0]
		if len(p.updates) > 1 {
			if u, err = yjs.Merge(p.updates...); err != nil {
				return nil, err
			}
		}
		n := len(entries)
		if entries, err = r.cut(entries, p, u, len(p.updates)); err != nil && len(p.updates) > 1 {
			// A value that fits as it came may not fit beside its neighbours.
			entries, err = entries[:n], nil
			for k := 0; k < len(p.updates) && err == nil; k++ {
				entries, err = r.cut(entries, p, p.updates[k], 1)
			}
		}
		if err != nil {
			return nil, err
		}
		p.last = len(entries) - 1
	}
	return entries, nil
}

// cut appends an update of p, in which merged of its updates are, in as many entries as the server's size of messages demands.
func (r *room) cut(entries []stream.Entry, p *pending, u []byte, merged int) ([]stream.Entry, error) {
	cut, err := snapshot.Entries(stream.Entry{User: p.user, Conn: p.conn, Merged: merged, Update: u}, r.srv.o.Log.MaxUpdate())
	if err != nil {
		return entries, because(causeTooLarge, err)
	}
	return append(entries, cut...), nil
}

// committed is told the fate of a group, in the committer's goroutine.
func (r *room) committed(g *group, seqs []stream.Seq, err error) {
	if err != nil {
		r.givenUp(g, err)
		return
	}
	var last stream.Seq
	for _, seq := range seqs {
		last = max(last, seq)
	}
	r.srv.metrics.appended(len(g.updates), g.size, time.Since(g.started))
	r.mu.Lock()
	c := &r.commit
	for _, p := range g.updates {
		if p.reply != nil {
			g.replies = append(g.replies, reply{p.reply, seqs[p.last]})
		}
	}
	if r.srv.hook != nil {
		r.srv.hook.Note(r.doc, last, g.edits())
	}
	g.seq = last
	g.updates = nil
	c.inflight = nil
	c.bytes -= g.size
	c.awaited = append(c.awaited, g)
	if r.failed != nil {
		c.letGo() // nothing is delivered any more
	}
	tail := r.tail
	r.delivered()
	late := len(c.awaited) > 0
	if c.recover {
		c.recover = false
		for s := range r.sessions {
			s.ask(false)
		}
	}
	next := r.next()
	r.release()
	r.unlock()
	if late {
		tail.Expect(last)
	}
	r.launch(next)
}

// release lets waiting senders go on. Callers hold the lock.
func (r *room) release() {
	if r.commit.bytes < r.srv.limits.RoomBytes {
		for _, ch := range r.commit.full {
			close(ch)
		}
		r.commit.full = nil
	}
}

// crowded answers a channel to wait for when too much is under way, nil else.
// Callers hold the lock.
func (r *room) crowded() chan struct{} {
	if r.commit.bytes < r.srv.limits.RoomBytes {
		return nil
	}
	ch := make(chan struct{})
	r.commit.full = append(r.commit.full, ch)
	return ch
}

// delivered settles the groups whose records have come by. Callers hold the lock.
func (r *room) delivered() {
	c := &r.commit
	n := 0
	for n < len(c.awaited) && c.awaited[n].seq <= r.seq {
		c.reached = c.awaited[n].number
		c.awaited[n].answer()
		n++
	}
	if n == 0 {
		c.tell() // somebody may wait for another server's record
		return
	}
	c.awaited = append(c.awaited[:0], c.awaited[n:]...)
	if !c.busy() && len(r.sessions) == 0 {
		c.accepted = nil // as stored again
	}
	r.settle()
	c.tell()
}

// letGo stops waiting for what is stored to be delivered.
func (c *commits) letGo() {
	for _, g := range c.awaited {
		g.answer()
	}
	c.awaited = nil
}

// settle sends the acknowledgements that are due. Callers hold the lock.
func (r *room) settle() {
	for s := range r.commit.ackers {
		s.settle()
	}
}

// givenUp drops a group that could not be stored, and with it all that waits
// behind it: it may need the lost one. The document's writers are sent away; their
// providers still have what they typed and send it again when they come back. The
// writer is new from here on, so that what may yet turn up in the log is not
// taken for a repetition.
func (r *room) givenUp(g *group, err error) {
	cs := causeOf(err)
	r.mu.Lock()
	c := &r.commit
	if r.srv.ctx.Err() != nil {
		cs = causeDraining
	}
	r.logger().Error("updates not stored", "updates", len(g.updates), "bytes", g.size, "reason", cs.reason, "err", err)
	r.srv.metrics.appendFailed(cs.reason)
	guilty := map[*session]bool{}
	for _, p := range g.updates {
		guilty[p.from] = true
	}
	if c.cancel != nil {
		c.cancel()
	}
	dropped := append(append([]pending(nil), g.updates...), c.gather...)
	c.inflight, c.gather, c.bytes = nil, nil, 0
	safe := c.reached // all groups up to this number are stored
	if n := len(c.awaited); n > 0 {
		safe = c.awaited[n-1].number
	}
	c.reached = c.last // nothing is under way; what is awaited counts as delivered when it comes
	c.letGo()
	c.writer, c.ctx, c.cancel, c.accepted = nil, nil, nil, nil // made anew with the next group
	c.recover = true
	var away []*session
	for s := range r.sessions {
		if s.grant.Mode < writeMode {
			continue
		}
		if cs == causeTooLarge && !guilty[s] {
			s.lose(safe)
			s.ask(false)
			continue
		}
		s.dropAcks()
		away = append(away, s)
	}
	r.release()
	c.tell()
	r.unlock()
	for _, p := range dropped {
		if p.reply != nil {
			p.reply <- written{err: because(cs, err)}
		}
	}
	for _, s := range away {
		s.end(because(cs, err))
	}
}

// reconsider makes anew what is accepted: what is stored and what is under way.
func (r *room) reconsider() {
	r.commit.accepted = r.stored.Clone()
	groups := [][]pending{r.commit.gather}
	if g := r.commit.inflight; g != nil {
		groups = append(groups, g.updates)
	}
	var u yjs.Update
	for _, updates := range groups {
		for _, p := range updates {
			for _, b := range p.updates {
				if u.Parse(b, recordLimits) == nil {
					r.commit.accepted.Add(&u)
				}
			}
		}
	}
}
