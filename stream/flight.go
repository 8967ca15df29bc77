package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
)

// pending is one Append that has not finished.
type pending struct {
	ctx     context.Context
	w       *Writer
	entries []Entry
	writer  uint64 // writer name of the entries; the Writer may take a new one later
	first   uint64 // count of the first entry
	since   time.Time
	refused error // set at submission: nothing is sent
	done    func([]Seq, error)

	// Owned by the committer.
	seqs     []Seq     // of the entries stored so far
	attempts int       // of the next entries
	due      time.Time // earliest time of the next attempt
	alone    bool      // a commit with others was refused: send this append alone, to find the one at fault
	finished bool
	last     error // of the last attempt
}

// next is the first entry that is not stored.
func (p *pending) next() int { return len(p.seqs) }

// part is the piece of an append that one flight carries: the entries [from, to).
type part struct {
	*pending
	from, to int
}

// chunk returns the next part of p: one entry or more, as many as fit in one batch, never splitting entries that are stored together.
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

// flight is one message or one batch that waits for its acknowledgement.
type flight struct {
	id       uint64
	members  []part
	records  int
	bytes    int
	batch    bool
	sent     time.Time
	deadline time.Time
	epoch    uint64 // reconnections when it was sent
	late     bool   // not acknowledged in time; its members are sent again
}

// flyNext sends the next entries of one append: a single message, or a batch where the append is longer than chain.
func (s *shard) flyNext(p *pending) {
	if len(p.entries)-p.next() <= s.chain {
		s.fly([]part{p.chunk(1)})
	} else {
		s.fly([]part{p.chunk(jet.MaxBatch)})
	}
}

// fly publishes one flight.
func (s *shard) fly(members []part) {
	now := time.Now()
	s.nextID++
	f := &flight{id: s.nextID, members: members, sent: now, epoch: s.reconnected.Load()}
	attempts := 0
	for _, c := range members {
		f.records += c.to - c.from
		f.bytes += c.bytes()
		c.attempts++
		attempts = max(attempts, c.attempts)
	}
	wait := min(time.Duration(attempts)*jet.AckWait, 4*jet.AckWait) // resending more often would slow the server further
	if !s.grouped && f.bytes <= soonBytes {
		wait = ackSoon // retry small commits soon: a new leader may have been elected
	}
	f.batch = f.records > 1
	f.deadline = now.Add(wait)
	s.flights[f.id] = f
	s.flying += f.records
	s.bytes += f.bytes
	s.underway.Store(int64(s.bytes))
	if f.batch {
		s.batches++
		if s.grouped {
			for _, c := range members {
				s.holdback.begin(c.writer)
			}
		}
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
	id := reply[len(nats.InboxPrefix):]
	n := 0
	for _, c := range f.members {
		for i := c.from; i < c.to; i++ {
			n++
			m := c.message(i, "", jet.BatchHeaders)
			if jet.SetBatch(m.Header, id, n, f.records); n == f.records {
				m.Reply = reply
			}
			if err := nc.PublishMsg(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// acked handles an acknowledgement.
func (s *shard) acked(m *nats.Msg) {
	id, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, s.inbox), 36, 64)
	f := s.flights[id]
	if err != nil || f == nil {
		return
	}
	seq, count, err := jet.ParseAck(m)
	if err == nil && f.batch && count != f.records {
		err = fmt.Errorf("%w: %d records of a batch acknowledged, want %d", jet.ErrRefused, count, f.records)
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
	// A batch has consecutive sequences, of which the acknowledged one is the last.
	next := seq - Seq(f.records) + 1
	if f.batch {
		s.l.m.commits.WithLabelValues("batch").Inc()
		s.l.m.batchRecords.Observe(float64(f.records))
	} else {
		s.l.m.commits.WithLabelValues("single").Inc()
	}
	s.l.m.records.Add(float64(f.records))
	s.l.m.bytes.Add(float64(f.bytes))
	s.holdback.storeWell()
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
		// Its members were queued to be sent again, but are stored now.
		keep := s.again[:0]
		for _, p := range s.again {
			if p.finished {
				s.release(p.w.path)
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

// carryOn sends the next part of appends that need several flights, and releases the other documents.
// Of several appends of one document in a flight, only the last can have entries left.
func (s *shard) carryOn(f *flight) {
	var rest map[string]bool
	for _, c := range f.members {
		if !c.finished {
			if rest == nil {
				rest = make(map[string]bool)
			}
			rest[c.w.path] = true
		}
	}
	for _, c := range f.members {
		if !c.finished {
			s.flyNext(c.pending)
		} else if !rest[c.w.path] {
			s.release(c.w.path)
		}
	}
}

// land subtracts a flight from the totals under way.
func (s *shard) land(f *flight) {
	if f.late {
		return
	}
	s.flying -= f.records
	s.bytes -= f.bytes
	s.underway.Store(int64(s.bytes))
	if f.batch {
		s.batches--
	}
}

// fail ends a flight that is not known to be stored. It queues its members to be sent again, in order per document.
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
	case errors.Is(err, jet.ErrRefused):
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
		case errors.Is(err, ErrTooLarge), errors.Is(err, jet.ErrRefused) && c.attempts > 2:
			c.alone = true
		}
		if goes[c.w.path] {
			after = append(after, c.pending)
			continue
		}
		goes[c.w.path] = true
		c.due = now.Add(jet.Backoff(c.attempts - 1))
		if errors.Is(err, errReconnected) {
			c.due = now
		}
		s.again = append(s.again, c.pending)
	}
	// Later appends of a document that is sent again go before those that were already blocked.
	for i := len(after) - 1; i >= 0; i-- {
		t := after[i].w.path
		s.blocked[t] = append([]*pending{after[i]}, s.blocked[t]...)
	}
	for _, c := range f.members {
		if !goes[c.w.path] {
			s.release(c.w.path)
		}
	}
}

// resend sends again all flights from before the connection was lost, since their acknowledgements may be lost. A record that is stored
// twice does no harm.
func (s *shard) resend(epoch uint64) {
	for _, f := range s.flights {
		if !f.late && f.epoch < epoch {
			s.fail(f, errReconnected)
		}
	}
}

// sweep ends flights and appends that took too long.
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
	// A flight whose members were all given up stays counted until its deadline, and its documents stay held.
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
			s.release(p.w.path)
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
	s.noteOldest()
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

// expire ends an append whose context has ended. It returns true for an append that is over.
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

// noteOldest publishes the submission time of the oldest append for Health.
func (s *shard) noteOldest() {
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

var (
	errTimeout     = errors.New("stream: no acknowledgement in time")
	errReconnected = errors.New("stream: the connection was lost before the acknowledgement")
)
