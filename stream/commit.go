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
//  2. Few records go as single messages, at most one per document; from batchFrom on they go as one atomic batch (NATS
//     decision record ADR-50), which costs one sync of the disk whatever its size.
//  3. An append of several entries is always an atomic batch, alone or within a larger one.
//  4. A commit that was not acknowledged is sent again after a while. Until it is, its documents are held: nothing later of
//     them is sent, be it from another Writer.
//
// With more than one replica, or without a sync per message, there is nothing to share: then appends of different documents
// go out as they come, up to a window, and group in the server.
const (
	batchFrom      = 10       // records: a batch of fewer costs more than single messages
	maxBatch       = 1000     // records: the most NATS takes in one
	maxGroupBytes  = 16 << 20 // of one commit; a larger append goes alone
	maxAppendBytes = 64 << 20 // of one append of several entries
	window         = 2048     // records under way where commits are not grouped
	windowBytes    = 16 << 20 // and their bytes
	maxBatches     = 8        // batches under way: NATS allows 50 per stream, and other servers want some
	ackWait        = 5 * time.Second
	commitTick     = 100 * time.Millisecond // how soon an ended context or a late acknowledgement is noticed
	lateFor        = time.Minute            // how long an acknowledgement that is late is still understood
)

// pending is one Append on its way.
type pending struct {
	ctx     context.Context
	w       *Writer
	entries []Entry
	first   uint64 // count of the first entry
	bytes   int
	since   time.Time
	refused error // known from the start: nothing is sent
	done    func([]Seq, error)

	// Owned by the committer.
	attempts int
	due      time.Time // not before
	alone    bool      // a commit with others was refused; find out whose fault it is
	finished bool
	last     error // of the last attempt
}

// flight is what one acknowledgement will answer: one message, or one batch.
type flight struct {
	id       uint64
	members  []*pending
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
	acks    chan *nats.Msg
	ackSub  *nats.Subscription
	inbox   string // prefix of the reply subjects
	wake    chan struct{}
	trims   chan struct{} // a token per purge under way

	mu     sync.Mutex
	queue  []*pending // guarded by mu
	closed bool       // guarded by mu

	reconnected atomic.Uint64
	oldest      atomic.Int64 // unix nanoseconds since when something waits for its acknowledgement; 0: nothing does
	behind      atomic.Pointer[error]

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
	if err := s.refusal(); err != nil {
		for _, p := range s.waiting {
			s.finish(p, nil, err)
		}
		s.waiting = s.waiting[:0]
		for _, p := range s.again {
			s.finish(p, nil, err)
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

// refusal is why nothing is appended to this shard now.
func (s *shard) refusal() error {
	if f := s.l.fault.Load(); f != nil {
		return f
	}
	return s.behindErr()
}

func (s *shard) behindErr() error {
	if e := s.behind.Load(); e != nil {
		return *e
	}
	return nil
}

func (s *shard) room() bool {
	if !s.l.nc.IsConnected() {
		return false // the reconnection wakes us
	}
	if s.grouped {
		return s.flying == 0
	}
	return s.flying < window && s.bytes < windowBytes && s.batches < maxBatches
}

// pick chooses the next commit: what is due again first, then what waits, in order, within the bounds of one commit. The
// documents of the chosen are held.
func (s *shard) pick() (group []*pending, records int) {
	limit := maxBatch
	if !s.grouped {
		limit = min(limit, window-s.flying)
	}
	size, batches, alone := 0, s.batches, false
	fits := func(p *pending) bool {
		switch {
		case len(group) == 0:
			return true
		case alone || p.alone:
			return false
		case !s.grouped && len(p.entries) > 1 && batches >= maxBatches:
			return false
		}
		return records+len(p.entries) <= limit && size+p.bytes <= maxGroupBytes
	}
	choose := func(p *pending) {
		group = append(group, p)
		records += len(p.entries)
		size += p.bytes
		alone = alone || p.alone
		if len(p.entries) > 1 {
			batches++
		}
	}
	now := time.Now()
	rest := s.again[:0]
	for _, p := range s.again {
		if !p.due.After(now) && fits(p) {
			choose(p)
		} else {
			rest = append(rest, p)
		}
	}
	clear(s.again[len(rest):])
	s.again = rest

	fromWaiting := 0
	var mine map[string]bool // documents chosen from waiting: one batch may hold several appends of one
	for _, p := range s.waiting {
		if p.finished {
			fromWaiting++
			continue
		}
		if s.held[p.w.token] && !(mine[p.w.token] && s.grouped) {
			s.blocked[p.w.token] = append(s.blocked[p.w.token], p)
			fromWaiting++
			continue
		}
		if !fits(p) {
			break
		}
		choose(p)
		if mine == nil {
			mine = make(map[string]bool)
		}
		mine[p.w.token] = true
		s.held[p.w.token] = true
		fromWaiting++
	}
	n := copy(s.waiting, s.waiting[fromWaiting:])
	clear(s.waiting[n:])
	s.waiting = s.waiting[:n]
	return group, records
}

// launch sends a group: as one batch, or as single messages.
func (s *shard) launch(group []*pending, records int) {
	if s.grouped && records >= batchFrom {
		s.fly(group, records)
		return
	}
	var seen map[string]bool
	if len(group) > 1 {
		seen = make(map[string]bool, len(group))
	}
	for _, p := range group {
		if seen[p.w.token] {
			// A second append of the same document waits for the first.
			s.blocked[p.w.token] = append(s.blocked[p.w.token], p)
			continue
		}
		if seen != nil {
			seen[p.w.token] = true
		}
		s.fly([]*pending{p}, len(p.entries))
	}
}

// fly publishes one flight.
func (s *shard) fly(members []*pending, records int) {
	now := time.Now()
	s.nextID++
	f := &flight{id: s.nextID, members: members, records: records, batch: records > 1, sent: now, epoch: s.reconnected.Load()}
	wait := ackWait
	for _, p := range members {
		f.bytes += p.bytes
		p.attempts++
		wait = max(wait, min(time.Duration(p.attempts)*ackWait, 4*ackWait)) // a slow server is not helped by more of the same
	}
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
		return nc.PublishMsg(f.members[0].message(0, reply, 0))
	}
	id := []string{reply[len(nats.InboxPrefix):]} // unique, and below the 64 characters that NATS allows
	n := 0
	for _, p := range f.members {
		for i := range p.entries {
			n++
			m := p.message(i, "", 3)
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
	for _, p := range f.members {
		seqs := make([]Seq, len(p.entries))
		for i := range seqs {
			seqs[i] = next
			next++
		}
		if !p.finished {
			s.l.m.appendSeconds.Observe(now.Sub(p.since).Seconds())
			s.finish(p, seqs, nil)
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
	for _, p := range f.members {
		s.release(p.w.token)
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
	var first map[string]bool
	if len(f.members) > 1 {
		first = make(map[string]bool, len(f.members))
	}
	var after []*pending
	for _, p := range f.members {
		p.last = err
		if p.finished {
			continue
		}
		switch {
		case errors.Is(err, ErrFault):
			s.finish(p, nil, err)
			continue
		case errors.Is(err, ErrTooLarge) && (len(f.members) == 1):
			s.finish(p, nil, err)
			continue
		case errors.Is(err, ErrTooLarge):
			p.alone = true
		case errors.Is(err, errRefused) && p.attempts > 2:
			p.alone = true
		}
		if first[p.w.token] {
			after = append(after, p)
			continue
		}
		if first != nil {
			first[p.w.token] = true
		}
		p.due = now.Add(backoff(p.attempts - 1))
		if errors.Is(err, errReconnected) {
			p.due = now
		}
		s.again = append(s.again, p)
	}
	// Later appends of a document that goes again wait before those that were blocked already.
	for i := len(after) - 1; i >= 0; i-- {
		t := after[i].w.token
		s.blocked[t] = append([]*pending{after[i]}, s.blocked[t]...)
	}
	goes := make(map[string]bool, len(f.members))
	for _, p := range f.members {
		if !p.finished {
			goes[p.w.token] = true
		}
	}
	for _, p := range f.members {
		if !goes[p.w.token] {
			s.release(p.w.token)
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
		for _, p := range f.members {
			s.expire(p)
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
		for _, p := range f.members {
			s.finish(p, nil, err)
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
