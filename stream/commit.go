package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Each shard has one committer. In what it does next to the records it holds:
//
//  1. Appends that arrive while a commit is under way wait for the next one; there is no timer that gathers.
//  2. Few records go as single messages, at most one per document at a time; from batchFrom on they go as one atomic batch
//     (NATS decision record ADR-50), which costs one sync of the disk whatever its size.
//  3. Entries that must be stored together always go in one atomic batch.
//  4. A commit that was not acknowledged is sent again after a while. Until it is, its documents are held: nothing later of
//     them is sent, be it from another Writer.
//
// With more than one replica, or without a sync per message, there is nothing to share: then appends of different documents
// go out as they come, up to a window, and group in the server.
const (
	batchFrom     = 10       // records: a batch of fewer costs more than single messages
	maxBatch      = 1000     // records: the most NATS takes in one
	chainProcess  = 32       // records of one append: fewer cost less one after the other, without a sync
	chainCluster  = 3        // the same where each acknowledgement crosses the network; there a batch is staged in memory
	maxGroupBytes = 16 << 20 // of one commit; what must be stored together may be more
	maxRunBytes   = 64 << 20 // of what must be stored together
	window        = 2048     // records under way where commits are not grouped
	windowBytes   = 16 << 20 // and their bytes
	maxBatches    = 8        // batches under way: NATS allows 50 per stream, and other servers want some
	ackWait       = 5 * time.Second
	commitTick    = 100 * time.Millisecond // how soon an ended context or a late acknowledgement is noticed
	lateFor       = time.Minute            // how long an acknowledgement that is late is still understood
)

// pending is one Append on its way.
type pending struct {
	ctx     context.Context
	w       *Writer
	entries []Entry
	first   uint64 // count of the first entry
	since   time.Time
	refused error // known from the start: nothing is sent
	done    func([]Seq, error)

	// Owned by the committer.
	seqs     []Seq     // of the entries stored so far
	attempts int       // of the next entries
	due      time.Time // not before
	alone    bool      // a commit with others was refused; find out whose fault it is
	finished bool
	last     error // of the last attempt
}

// next is the first entry that is not stored.
func (p *pending) next() int { return len(p.seqs) }

// part is what a flight carries of one append: entries from to before to.
type part struct {
	*pending
	from, to int
}

// chunk is what of p goes in the next flight: from one entry to as many as one batch takes, never cutting what belongs together.
func (p *pending) chunk(most int) part {
	from := p.next()
	to, size := from, 0
	for at := from; at < len(p.entries); at++ {
		if size += len(p.entries[at].Update); to > from && (at-from >= most || size > maxGroupBytes) {
			break
		}
		if !p.entries[at].WithNext {
			to = at + 1
		}
	}
	return part{p, from, to}
}

func (c part) bytes() (n int) {
	for i := c.from; i < c.to; i++ {
		n += len(c.entries[i].Update)
	}
	return n
}

// flight is what one acknowledgement will answer: one message, or one batch.
type flight struct {
	id       uint64
	members  []part
	records  int
	bytes    int
	batch    bool
	sent     time.Time
	deadline time.Time
	epoch    uint64 // reconnections when it was sent
	late     bool   // given up waiting; its members go again
}

type shard struct {
	// Set by newShard, then only read.
	l       *Log
	no      int    // from 0
	nn      string // the same in two digits
	stream  string
	grouped bool // commits share a sync: one group at a time
	chain   int  // an append of more entries than this goes as a batch of its own
	acks    chan *nats.Msg
	ackSub  *nats.Subscription
	inbox   string // prefix of the reply subjects
	wake    chan struct{}
	trims   chan struct{} // a token per purge under way

	mu     sync.Mutex
	queue  []*pending // guarded by mu
	closed bool       // guarded by mu

	reconnected atomic.Uint64
	oldest      atomic.Int64  // unix nanoseconds since when something waits for its acknowledgement; 0: nothing does
	checking    atomic.Bool   // the connection was away: appends wait until the stream's end is verified
	highest     atomic.Uint64 // sequence known to be stored
	marked      atomic.Uint64 // sequence that the mark has
	epoch       atomic.Uint64
	lostEnd     atomic.Pointer[string] // what to say about it in Health

	// Owned by the committer.
	waiting []*pending            // ready to go, oldest first
	blocked map[string][]*pending // behind an append of the same document
	held    map[string]bool       // documents with an append under way or to be sent again
	again   []*pending            // to be sent again when due; their documents are held
	flights map[uint64]*flight
	nextID  uint64
	flying  int // records under way, late ones not counted
	bytes   int
	batches int
	spare   []*pending
}

func newShard(l *Log, i int) (*shard, error) {
	s := &shard{
		l: l, no: i, nn: fmt.Sprintf("%02d", i), stream: streamName(kindLog, i),
		grouped: l.cfg.Replicas == 1 && l.cfg.Durability != "process",
		acks:    make(chan *nats.Msg, 4*window),
		inbox:   nats.NewInbox() + ".",
		wake:    make(chan struct{}, 1),
		trims:   make(chan struct{}, 1),
		blocked: map[string][]*pending{}, held: map[string]bool{}, flights: map[uint64]*flight{},
	}
	switch {
	case s.grouped:
		s.chain = batchFrom - 1
	case l.cfg.Replicas == 1:
		s.chain = chainProcess
	default:
		s.chain = chainCluster
	}
	var err error
	if s.ackSub, err = l.nc.ChanSubscribe(s.inbox+"*", s.acks); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return s, nil
}

func (s *shard) index() int { return s.no }

func (s *shard) submit(p *pending) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		go p.finish(nil, fmt.Errorf("%w: %w", ErrGaveUp, ErrClosed)) // there is no committer any more to call done
		return
	}
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	s.nudge()
}

func (s *shard) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the committer. It ends with the Log.
func (s *shard) run() {
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	ticking := false
	epoch := s.reconnected.Load()
	for {
		select {
		case <-s.wake:
		case m := <-s.acks:
			s.acked(m)
			for n := len(s.acks); n > 0; n-- {
				s.acked(<-s.acks)
			}
		case <-tick.C:
			ticking = false
			s.sweep(time.Now())
		case <-s.l.ctx.Done():
			s.stop()
			return
		}
		if e := s.reconnected.Load(); e != epoch {
			epoch = e
			s.resend(epoch)
		}
		s.take()
		s.send()
		if len(s.flights)+len(s.again)+len(s.waiting) == 0 {
			s.oldest.Store(0)
		} else if !ticking {
			tick.Reset(commitTick)
			ticking = true
		}
	}
}

// take moves what was submitted to what waits, in order.
func (s *shard) take() {
	s.mu.Lock()
	q := s.queue
	s.queue = s.spare[:0]
	s.mu.Unlock()
	for i, p := range q {
		q[i] = nil
		if p.refused != nil {
			p.finished = true
			p.finish(nil, p.refused)
			continue
		}
		s.waiting = append(s.waiting, p)
	}
	s.spare = q
}

// send commits what can be committed now.
func (s *shard) send() {
	if len(s.waiting)+len(s.again) == 0 {
		return
	}
	if fault := s.l.fault.Load(); fault != nil {
		for _, p := range s.waiting {
			s.finish(p, nil, fault)
		}
		s.waiting = s.waiting[:0]
		for _, p := range s.again {
			s.finish(p, nil, fault)
			s.release(p.w.token)
		}
		s.again = s.again[:0]
		// What was blocked came to wait by the releases; it meets the same fate.
		if len(s.waiting) > 0 {
			s.send()
		}
		return
	}
	for s.room() {
		group, records := s.pick()
		if len(group) == 0 {
			return
		}
		s.launch(group, records)
	}
}

func (s *shard) room() bool {
	if s.checking.Load() || !s.l.nc.IsConnected() {
		return false // the end of that wakes us
	}
	if s.grouped {
		return s.flying == 0
	}
	return s.flying < window && s.bytes < windowBytes && s.batches < maxBatches
}

// pick chooses the next commit: what is due again first, then what waits, in order, within the bounds of one commit. The
// documents of the chosen are held.
func (s *shard) pick() (group []part, records int) {
	limit := maxBatch
	if !s.grouped {
		limit = max(1, min(limit, window-s.flying))
	}
	size, batches, alone := 0, s.batches, false
	choose := func(p *pending) bool {
		c := p.chunk(maxBatch)
		n, bytes := c.to-c.from, c.bytes()
		switch {
		case len(group) == 0:
		case alone || p.alone, !s.grouped && n > s.chain && batches >= maxBatches, records+n > limit, size+bytes > maxGroupBytes:
			return false
		}
		group = append(group, c)
		records += n
		size += bytes
		alone = alone || p.alone
		if n > s.chain {
			batches++
		}
		return true
	}
	now := time.Now()
	rest := s.again[:0]
	for _, p := range s.again {
		if p.due.After(now) || !choose(p) {
			rest = append(rest, p)
		}
	}
	clear(s.again[len(rest):])
	s.again = rest

	taken := 0
	var mine map[string]bool // documents chosen from waiting: one batch may hold several appends of one
choosing:
	for _, p := range s.waiting {
		switch {
		case p.finished:
		case s.held[p.w.token] && !(mine[p.w.token] && s.grouped):
			s.blocked[p.w.token] = append(s.blocked[p.w.token], p)
		case !choose(p):
			break choosing
		default:
			if mine == nil {
				mine = make(map[string]bool)
			}
			mine[p.w.token] = true
			s.held[p.w.token] = true
			if group[len(group)-1].to < len(p.entries) {
				delete(mine, p.w.token) // the rest of it comes before anything later
			}
		}
		taken++
	}
	n := copy(s.waiting, s.waiting[taken:])
	clear(s.waiting[n:])
	s.waiting = s.waiting[:n]
	return group, records
}

// launch sends a group: as one batch, or document by document.
func (s *shard) launch(group []part, records int) {
	if s.grouped && records >= batchFrom {
		s.fly(group)
		return
	}
	var seen map[string]bool
	if len(group) > 1 {
		seen = make(map[string]bool, len(group))
	}
	for _, c := range group {
		if seen[c.w.token] {
			// A second append of the same document waits for the first.
			s.blocked[c.w.token] = append(s.blocked[c.w.token], c.pending)
			continue
		}
		if seen != nil {
			seen[c.w.token] = true
		}
		s.flyNext(c.pending)
	}
}

// flyNext sends the next entries of one append: a single message where that will do.
func (s *shard) flyNext(p *pending) {
	if len(p.entries)-p.next() <= s.chain {
		s.fly([]part{p.chunk(1)})
	} else {
		s.fly([]part{p.chunk(maxBatch)})
	}
}

// fly publishes one flight.
func (s *shard) fly(members []part) {
	now := time.Now()
	s.nextID++
	f := &flight{id: s.nextID, members: members, sent: now, epoch: s.reconnected.Load()}
	wait := ackWait
	for _, c := range members {
		f.records += c.to - c.from
		f.bytes += c.bytes()
		c.attempts++
		wait = max(wait, min(time.Duration(c.attempts)*ackWait, 4*ackWait)) // a slow server is not helped by more of the same
	}
	f.batch = f.records > 1
	f.deadline = now.Add(wait)
	s.flights[f.id] = f
	s.flying += f.records
	s.bytes += f.bytes
	if f.batch {
		s.batches++
	}
	reply := s.inbox + strconv.FormatUint(f.id, 36)
	if err := s.publish(f, reply); err != nil {
		s.fail(f, err)
	}
}

func (s *shard) publish(f *flight, reply string) error {
	nc := s.l.nc
	if !f.batch {
		c := f.members[0]
		return nc.PublishMsg(c.message(c.from, reply, 0))
	}
	id := []string{reply[len(nats.InboxPrefix):]} // unique, and below the 64 characters that NATS allows
	n := 0
	for _, c := range f.members {
		for i := c.from; i < c.to; i++ {
			n++
			m := c.message(i, "", 3)
			m.Header["Nats-Batch-Id"] = id
			m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(n)}
			if n == f.records {
				m.Header["Nats-Batch-Commit"] = []string{"1"}
				m.Reply = reply
			}
			if err := nc.PublishMsg(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// acked takes an answer in.
func (s *shard) acked(m *nats.Msg) {
	id, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, s.inbox), 36, 64)
	f := s.flights[id]
	if err != nil || f == nil {
		return
	}
	seq, count, err := parseAck(m)
	if err == nil && f.batch && count != f.records {
		err = fmt.Errorf("%w: %d records of a batch acknowledged, want %d", errRefused, count, f.records)
	}
	if err != nil {
		if !f.late {
			s.fail(f, err)
		}
		return
	}
	s.land(f)
	delete(s.flights, f.id)
	now := time.Now()
	s.l.lastAck.Store(now.UnixNano())
	s.saw(seq)
	// A batch is stored in one piece: its sequences are consecutive and end with the one acknowledged.
	next := seq - Seq(f.records) + 1
	if f.batch {
		s.l.m.commits.WithLabelValues("batch").Inc()
		s.l.m.batchRecords.Observe(float64(f.records))
	} else {
		s.l.m.commits.WithLabelValues("single").Inc()
	}
	s.l.m.records.Add(float64(f.records))
	s.l.m.bytes.Add(float64(f.bytes))
	for _, c := range f.members {
		at := next
		next += Seq(c.to - c.from)
		if c.finished || c.next() != c.from {
			continue // given up, or stored by another attempt
		}
		if c.seqs == nil {
			c.seqs = make([]Seq, 0, len(c.entries))
		}
		for range c.to - c.from {
			c.seqs = append(c.seqs, at)
			at++
		}
		c.attempts, c.alone = 0, false
		if c.next() == len(c.entries) {
			s.l.m.appendSeconds.Observe(now.Sub(c.since).Seconds())
			s.finish(c.pending, c.seqs, nil)
		}
	}
	if f.late {
		// Its members were to go again: they need not, unless they are in the air already.
		keep := s.again[:0]
		for _, p := range s.again {
			if p.finished {
				s.release(p.w.token)
			} else {
				keep = append(keep, p)
			}
		}
		clear(s.again[len(keep):])
		s.again = keep
		return
	}
	s.carryOn(f)
}

// carryOn sends the rest of appends whose entries go in several flights, and lets the next append of the other documents go.
// Of several appends of one document in a flight only the last can have a rest.
func (s *shard) carryOn(f *flight) {
	var rest map[string]bool
	for _, c := range f.members {
		if !c.finished {
			if rest == nil {
				rest = make(map[string]bool)
			}
			rest[c.w.token] = true
		}
	}
	for _, c := range f.members {
		if !c.finished {
			s.flyNext(c.pending)
		} else if !rest[c.w.token] {
			s.release(c.w.token)
		}
	}
}

// land takes a flight out of the account.
func (s *shard) land(f *flight) {
	if f.late {
		return
	}
	s.flying -= f.records
	s.bytes -= f.bytes
	if f.batch {
		s.batches--
	}
}

// release lets the next append of a document go.
func (s *shard) release(token string) {
	delete(s.held, token)
	if q := s.blocked[token]; len(q) > 0 {
		s.waiting = append(s.waiting, q...)
		delete(s.blocked, token)
	}
}

func (s *shard) finish(p *pending, seqs []Seq, err error) {
	if p.finished {
		return
	}
	p.finished = true
	p.finish(seqs, err)
}

// fail takes a flight down that was not stored, or not known to be: its members go again, in order per document.
func (s *shard) fail(f *flight, err error) {
	s.land(f)
	delete(s.flights, f.id)
	reason := "refused"
	switch {
	case errors.Is(err, ErrFault):
		s.l.setFault(err)
	case errors.Is(err, errTimeout):
		reason = "timeout"
		f.late = true
		s.flights[f.id] = f
	case errors.Is(err, errReconnected):
		reason = "reconnect"
		f.late = true
		s.flights[f.id] = f
	case errors.Is(err, nats.ErrNoResponders):
		reason = "no_responders"
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, ErrTooLarge):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, errRefused):
	default:
		reason = "disconnected"
	}
	s.l.m.retries.WithLabelValues(reason).Inc()
	now := time.Now()
	goes := make(map[string]bool, len(f.members)) // documents with something to send again
	var after []*pending
	for _, c := range f.members {
		c.last = err
		switch {
		case c.finished:
			continue
		case errors.Is(err, ErrFault), errors.Is(err, ErrTooLarge) && len(f.members) == 1:
			s.finish(c.pending, nil, err)
			continue
		case errors.Is(err, ErrTooLarge), errors.Is(err, errRefused) && c.attempts > 2:
			c.alone = true
		}
		if goes[c.w.token] {
			after = append(after, c.pending)
			continue
		}
		goes[c.w.token] = true
		c.due = now.Add(backoff(c.attempts - 1))
		if errors.Is(err, errReconnected) {
			c.due = now
		}
		s.again = append(s.again, c.pending)
	}
	// Later appends of a document that goes again wait before those that were blocked already.
	for i := len(after) - 1; i >= 0; i-- {
		t := after[i].w.token
		s.blocked[t] = append([]*pending{after[i]}, s.blocked[t]...)
	}
	for _, c := range f.members {
		if !goes[c.w.token] {
			s.release(c.w.token)
		}
	}
}

var (
	errTimeout     = errors.New("stream: no acknowledgement in time")
	errReconnected = errors.New("stream: the connection was lost before the acknowledgement")
)

// resend sends again what was under way when the connection was lost: its acknowledgement may have been lost with it. Stored
// twice is no harm, waiting is.
func (s *shard) resend(epoch uint64) {
	for _, f := range s.flights {
		if !f.late && f.epoch < epoch {
			s.fail(f, errReconnected)
		}
	}
}

// sweep notices what took too long.
func (s *shard) sweep(now time.Time) {
	for id, f := range s.flights {
		if f.late {
			if now.Sub(f.deadline) > lateFor {
				delete(s.flights, id)
			}
			continue
		}
		if now.After(f.deadline) {
			s.l.log.Warn("no acknowledgement from NATS", "stream", s.stream, "records", f.records, "took", now.Sub(f.sent))
			s.fail(f, errTimeout)
		}
	}
	// Flights whose members were all given up stay in the account until their time is over: their documents stay held, too.
	for _, f := range s.flights {
		if f.late {
			continue
		}
		for _, c := range f.members {
			s.expire(c.pending)
		}
	}
	keep := s.again[:0]
	for _, p := range s.again {
		if s.expire(p) {
			s.release(p.w.token)
		} else {
			keep = append(keep, p)
		}
	}
	clear(s.again[len(keep):])
	s.again = keep
	s.waiting = s.dropExpired(s.waiting)
	for t, q := range s.blocked {
		if q = s.dropExpired(q); len(q) == 0 {
			delete(s.blocked, t)
		} else {
			s.blocked[t] = q
		}
	}
	s.markOldest()
}

func (s *shard) dropExpired(q []*pending) []*pending {
	keep := q[:0]
	for _, p := range q {
		if !s.expire(p) {
			keep = append(keep, p)
		}
	}
	clear(q[len(keep):])
	return keep
}

// expire gives an append up whose context has ended, and tells whether it is over.
func (s *shard) expire(p *pending) bool {
	if p.finished || p.ctx.Err() == nil {
		return p.finished
	}
	s.l.m.gaveUp.Inc()
	err := fmt.Errorf("%w: %q: %w", ErrGaveUp, p.w.doc, context.Cause(p.ctx))
	if p.last != nil {
		err = fmt.Errorf("%w; last: %w", err, p.last)
	}
	s.finish(p, nil, err)
	return true
}

// markOldest lets Health see since when the oldest append waits.
func (s *shard) markOldest() {
	var oldest time.Time
	note := func(t time.Time) {
		if oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	for _, f := range s.flights {
		if !f.late {
			note(f.members[0].since)
		}
	}
	for _, p := range s.again {
		note(p.since)
	}
	for _, p := range s.waiting {
		note(p.since)
	}
	if oldest.IsZero() {
		s.oldest.Store(0)
	} else {
		s.oldest.Store(oldest.UnixNano())
	}
}

// stop gives everything up.
func (s *shard) stop() {
	s.ackSub.Unsubscribe()
	s.mu.Lock()
	s.closed = true
	q := s.queue
	s.queue = nil
	s.mu.Unlock()
	err := fmt.Errorf("%w: %w", ErrGaveUp, ErrClosed)
	for _, f := range s.flights {
		for _, c := range f.members {
			s.finish(c.pending, nil, err)
		}
	}
	for _, list := range append([][]*pending{q, s.again, s.waiting}, values(s.blocked)...) {
		for _, p := range list {
			s.finish(p, nil, err)
		}
	}
}

func values(m map[string][]*pending) (out [][]*pending) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// backoff is the pause after a failed attempt, the first being 0: 20 ms to 1 s, spread.
func backoff(attempt int) time.Duration {
	d := min(20*time.Millisecond<<min(attempt, 10), time.Second)
	return d/2 + rand.N(d/2)
}

// pause waits, or tells why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
