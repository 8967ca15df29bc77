package ingest

import (
	"bytes"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// How an update of a client becomes a record:
//
//  1. It is parsed and checked whole. A bad one ends its sender and changes nothing.
//  2. What the log already holds is acknowledged, not appended.
//  3. What is covered by commits under way is acknowledged with them.
//  4. Else what can be applied now goes into the next group, and the rest is held
//     until what it depends on has come; after one commit without it the client
//     is asked for it with a step 1.

// An ack is something owed to a session: it goes out when its turn has come,
// and after those before it.
type ack struct {
	kind ackKind
	buf  []byte
	bad  bool // the write was refused
	turn turn
	at   time.Time
}

type ackKind uint8

const (
	ackUpdate ackKind = iota // the fate of one update
	ackSaved                 // the echo of a saved question
	ackJSON                  // the answer to an update in a JSON frame
)

// turn says what an acknowledgement waits for: a group, or an update that is held.
type turn struct {
	group uint64 // stored and delivered; 0: nothing
	hold  uint64 // number of a held update; everyHeld, answerHeld
}

const (
	everyHeld  = ^uint64(0)     // nothing is held any more
	answerHeld = ^uint64(0) - 1 // the answer to a step 1 that asks again for what was dropped
)

// held is an update that waits for what it depends on.
type held struct {
	number  uint64
	update  []byte
	missing []yjs.ID
	at      time.Time
}

var updatePool = sync.Pool{New: func() any { return new(yjs.Update) }}

// parse checks a stranger's update.
func (s *Server) parse(u *yjs.Update, b []byte) error {
	switch err := u.Parse(b, s.limits.Update); {
	case err == nil:
		return nil
	case errors.Is(err, yjs.ErrLimit):
		return because(causeTooLarge, err)
	default:
		return because(causeMalformed, err)
	}
}

// update takes one update of the client: the answer to a step 1 or an edit. b is
// only lent. It returns when there is room for more.
func (s *session) update(step uint64, b []byte, kind ackKind) error {
	u := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(u)
	if err := s.c.srv.parse(u, b); err != nil {
		s.c.srv.metrics.rejected(causeOf(err).reason)
		return err
	}
	r := s.room
	r.mu.Lock()
	if s.left || r.failed != nil {
		r.mu.Unlock()
		return nil
	}
	earns := true
	if step == yjs.SyncStep2 {
		earns = false
		if len(s.steps) > 0 {
			earns = s.steps[0]
			s.steps = s.steps[1:]
		}
	}
	at, cs := r.guarded(s, u)
	if step == yjs.SyncStep2 && cs == nil {
		for i := range s.acks {
			if s.acks[i].turn.hold == answerHeld {
				s.acks[i].turn = at
			}
		}
	}
	s.updates++
	if earns {
		a := ack{kind: kind, turn: at, bad: cs != nil}
		if kind == ackJSON {
			a.buf = bytes.Clone(b)
		}
		s.owe(a)
	}
	var end error
	if cs != nil {
		end = s.refused(cs)
	}
	s.settle()
	wait := r.crowded()
	g := r.next()
	r.unlock()
	r.launch(g)
	if end != nil {
		return end
	}
	if wait != nil {
		return s.c.await(func(done <-chan struct{}) {
			select {
			case <-wait:
			case <-done:
			}
		})
	}
	return nil
}

// guarded accepts an update; one that makes us panic ends its sender, not the room.
func (r *room) guarded(s *session, u *yjs.Update) (at turn, cs *cause) {
	defer func() {
		if p := recover(); p != nil {
			r.srv.metrics.panics.Inc()
			r.logger().Error("panic over an update", "conn", s.c.id, "panic", p, "stack", string(debug.Stack()))
			r.reconsider()
			cs = causeInternal
		}
	}()
	return r.accept(s, u)
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

// refused tells a client that a write was not taken. Callers hold the lock.
func (s *session) refused(cs *cause) error {
	s.refusals++
	s.c.srv.metrics.rejected(cs.reason)
	if s.refusals == 1 {
		s.room.put(s, s.d.readOnly(s, cs))
	}
	if cs == causeReadOnly || cs == causeFull && s.d.settled(s, false) != nil {
		return nil
	}
	return cs // it would go on believing that its edits arrive
}

// accept decides about a checked update and answers where its acknowledgement
// stands, or why it is refused. Callers hold the lock, then call next and launch.
func (r *room) accept(s *session, u *yjs.Update) (turn, *cause) {
	if r.stored.Contains(u) {
		return turn{}, nil
	}
	switch {
	case s.grant.Mode != writeMode:
		return turn{}, causeReadOnly
	case r.erased.Refuses(u):
		return turn{}, causeDeleted
	case r.size() > r.srv.limits.Document:
		return turn{}, causeFull
	case r.srv.o.Log.Fault() != nil:
		return turn{}, causeStorage
	}
	accepted := r.acceptedState()
	if accepted.Contains(u) {
		at := turn{group: r.newestGroup()}
		s.group = max(s.group, at.group)
		return at, nil
	}
	if cs := r.crowd(u); cs != nil {
		return turn{}, cs
	}
	ready, err := accepted.Ready(u)
	if err != nil {
		return turn{}, causeMalformed
	}
	at := turn{}
	if ready.Ready != nil {
		if r.seq == 0 && r.commit.last == 0 && !s.grant.Admin && !r.srv.gate.mayBegin(s.c.ip, time.Now()) {
			return turn{}, causeTooMany
		}
		at.group = r.take(s, u, ready.Ready)
		s.group = max(s.group, at.group)
	}
	if ready.Rest != nil {
		at = turn{hold: r.hold(s, ready.Rest, ready.Missing)}
	} else if s.heldSize > 0 {
		r.retry(s)
	}
	return at, nil
}

// take queues what of u is ready. ready is u.Bytes itself, which is lent, or fresh.
func (r *room) take(s *session, u *yjs.Update, ready []byte) uint64 {
	if len(ready) == len(u.Bytes) && &ready[0] == &u.Bytes[0] {
		return r.queue(s, s.grant.User, s.c.id, u, bytes.Clone(ready))
	}
	part := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(part)
	if err := part.Parse(ready, recordLimits); err != nil {
		r.logger().Error("the ready part of an update does not parse", "err", err)
		return 0
	}
	if r.acceptedState().Contains(part) {
		return r.newestGroup()
	}
	return r.queue(s, s.grant.User, s.c.id, part, ready)
}

// size is about how large the document is.
func (r *room) size() int { return len(r.base.update) + r.recBytes }

// Limits of a whole document: what a stock client can still read.
const (
	maxRoots   = 1_000
	maxClients = 100_000
)

// crowd refuses an update that would bring too many root names or client ids.
func (r *room) crowd(u *yjs.Update) *cause {
	if roots := u.Roots(); len(roots) > 0 && r.stored.Roots()+len(roots) > maxRoots {
		fresh := 0
		for _, name := range roots {
			if !r.stored.HasRoot(name) {
				fresh++
			}
		}
		if r.stored.Roots()+fresh > maxRoots {
			return causeTooLarge
		}
	}
	if r.stored.Clients() >= maxClients {
		for _, run := range u.Runs() {
			if r.stored.Structs().Prefix(run.Client) == 0 {
				return causeTooLarge
			}
		}
	}
	return nil
}

// hold keeps an update until what it depends on has come, and answers its number.
// Over the bounds all that is held is dropped and asked for again: the answer to
// a step 1 contains it.
func (r *room) hold(s *session, update []byte, missing []yjs.ID) uint64 {
	if len(s.held)+1 > r.srv.limits.Held || s.heldSize+len(update) > r.srv.limits.HeldBytes {
		r.dropHeld(s)
		return answerHeld
	}
	if len(s.held) == 0 {
		r.holders++
		s.asked = false
	}
	s.heldNext++
	s.held = append(s.held, held{s.heldNext, bytes.Clone(update), missing, time.Now()})
	s.heldSize += len(update)
	r.srv.metrics.held.Inc()
	if !r.commit.busy() {
		r.askHeld(s) // nothing is under way that could bring it
	}
	return s.heldNext
}

// askHeld asks, once, for what held updates depend on, unless an answer that will
// contain it is on its way. Callers hold the lock.
func (r *room) askHeld(s *session) {
	if !s.asked && len(s.steps) == 0 {
		s.asked = true
		s.ask(false)
	}
}

// dropHeld forgets what is held and asks for it again.
func (r *room) dropHeld(s *session) {
	if len(s.held) > 0 {
		r.holders--
	}
	s.held, s.heldSize = nil, 0
	for i := range s.acks {
		if s.acks[i].turn.hold != 0 {
			s.acks[i].turn.hold = answerHeld
		}
	}
	r.srv.metrics.dropped("held")
	s.ask(false)
}

// retryHeld looks again at what all sessions hold, after the log has grown.
// Callers hold the lock, then call next and launch.
func (r *room) retryHeld() {
	for s := range r.sessions {
		if len(s.held) == 0 {
			continue
		}
		r.retry(s)
		if len(s.held) > 0 && !r.commit.busy() {
			r.askHeld(s)
		}
		s.settle()
	}
}

// retry looks again at what a session holds.
func (r *room) retry(s *session) {
	if len(s.held) == 0 {
		return
	}
	accepted := r.acceptedState()
	u := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(u)
	for again := true; again; {
		again = false
		for i := 0; i < len(s.held); i++ {
			h := &s.held[i]
			if !came(accepted, h.missing) {
				continue
			}
			if err := u.Parse(h.update, recordLimits); err != nil {
				r.logger().Error("a held update does not parse", "err", err)
				h.missing = nil
				continue
			}
			var group uint64
			if accepted.Contains(u) {
				group = r.newestGroup()
			} else {
				ready, err := accepted.Ready(u)
				if err != nil {
					continue
				}
				if ready.Ready != nil {
					group = r.take(s, u, ready.Ready)
					again = true
				}
				if ready.Rest != nil {
					s.heldSize += len(ready.Rest) - len(h.update)
					h.update, h.missing = bytes.Clone(ready.Rest), ready.Missing
					s.group = max(s.group, group)
					continue
				}
			}
			s.group = max(s.group, group)
			r.unhold(s, i, group)
			i--
		}
	}
}

// came reports whether anything of what an update waited for is there.
func came(state *yjs.State, missing []yjs.ID) bool {
	for _, id := range missing {
		if state.Structs().Prefix(id.Client) > id.Clock {
			return true
		}
	}
	return len(missing) == 0
}

// unhold takes a held update away that went into a group.
func (r *room) unhold(s *session, i int, group uint64) {
	number := s.held[i].number
	s.heldSize -= len(s.held[i].update)
	s.held = append(s.held[:i], s.held[i+1:]...)
	if len(s.held) == 0 {
		s.held = nil
		r.holders--
	}
	for j := range s.acks {
		p := &s.acks[j].turn
		if p.hold == number || p.hold == everyHeld && len(s.held) == 0 {
			*p = turn{group: max(p.group, s.group, group)}
		}
	}
}

// tickHeld drops what has been held too long, and asks for it. Callers hold the lock.
func (r *room) tickHeld(now time.Time) {
	for s := range r.sessions {
		if len(s.held) == 0 {
			continue
		}
		if now.Sub(s.held[0].at) > r.srv.limits.HeldWait {
			r.dropHeld(s)
		} else if now.Sub(s.held[0].at) > time.Second {
			r.askHeld(s)
		}
	}
}

// question answers whether all that came before is stored: with the same bytes,
// when it is.
func (s *session) question(buf []byte) {
	r := s.room
	r.mu.Lock()
	defer r.unlock()
	if s.left {
		return
	}
	p := turn{group: s.group}
	if len(s.held) > 0 {
		p.hold = everyHeld
	}
	for _, a := range s.acks {
		if a.turn.hold == answerHeld {
			p.hold = answerHeld
		}
	}
	s.owe(ack{kind: ackSaved, buf: bytes.Clone(buf), turn: p, at: time.Now(), bad: s.refusals > 0})
	s.settle()
}

// owe appends an acknowledgement. Callers hold the lock, then call settle.
func (s *session) owe(a ack) {
	if a.kind == ackUpdate && s.d.settled(s, true) == nil {
		return
	}
	s.acks = append(s.acks, a)
	c := &s.room.commit
	if c.ackers == nil {
		c.ackers = map[*session]struct{}{}
	}
	c.ackers[s] = struct{}{}
}

// settle sends the acknowledgements that are due, in order. Callers hold the lock.
func (s *session) settle() {
	r := s.room
	if len(s.acks) == 0 || r.srv.o.Log.Fault() != nil {
		return // the clock comes back to it
	}
	n := 0
	for n < len(s.acks) {
		a := &s.acks[n]
		if a.turn.hold != 0 || a.turn.group > r.commit.reached {
			break
		}
		switch {
		case a.kind == ackUpdate:
			r.put(s, s.d.settled(s, !a.bad))
		case a.kind == ackJSON && a.bad:
		case a.kind == ackJSON:
			r.put(s, jsonStored(a.buf, r.seq))
		case a.bad:
			r.put(s, s.enc.keepAlive())
		default:
			s.durable = a.buf
			r.put(s, s.d.saved(s, a.buf))
		}
		n++
	}
	if n == len(s.acks) {
		s.acks = nil
		delete(r.commit.ackers, s)
		return
	}
	s.acks = append(s.acks[:0], s.acks[n:]...)
}

// reassure keeps a client going that has asked for more than a second whether
// all is saved: it gets the last answer again. Callers hold the lock.
func (s *session) reassure(now time.Time) {
	for _, a := range s.acks {
		if a.kind == ackSaved && now.Sub(a.at) > time.Second {
			if s.durable != nil {
				s.room.put(s, s.d.saved(s, s.durable))
			} else {
				s.room.put(s, s.enc.keepAlive())
			}
			return
		}
	}
}

// dropAcks forgets what is owed. Callers hold the lock.
func (s *session) dropAcks() {
	s.acks = nil
	delete(s.room.commit.ackers, s)
}

var _ stream.Sink = (*room)(nil)
