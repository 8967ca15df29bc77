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

var updatePool = sync.Pool{New: func() any { return new(yjs.Update) }}

// parse checks a stranger's update.
func (s *Server) parse(u *yjs.Update, b []byte) error {
	switch err := u.Parse(b, s.limits.Update); {
	case err == nil:
		return s.fits(b)
	case errors.Is(err, yjs.ErrLimit):
		return because(causeTooLarge, err)
	default:
		return because(causeMalformed, err)
	}
}

// fits refuses an update that is above what the log takes in one message and cannot be cut, before it shares a group with
// those of others.
func (s *Server) fits(b []byte) error {
	limit := s.o.Log.MaxUpdate()
	if len(b) <= limit {
		return nil
	}
	if _, err := yjs.Split(b, limit); err != nil {
		return because(causeTooLarge, err)
	}
	return nil
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
		s.dropped = at.hold == answerHeld
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
func (r *room) crowd(u *yjs.Update) *cause { return crowd(&r.stored, u) }

func crowd(have *yjs.State, u *yjs.Update) *cause {
	if roots := u.Roots(); len(roots) > 0 && have.Roots()+len(roots) > maxRoots {
		fresh := 0
		for _, name := range roots {
			if !have.HasRoot(name) {
				fresh++
			}
		}
		if have.Roots()+fresh > maxRoots {
			return causeTooLarge
		}
	}
	if have.Clients() >= maxClients {
		for _, run := range u.Runs() {
			if have.Structs().Prefix(run.Client) == 0 {
				return causeTooLarge
			}
		}
	}
	return nil
}

var _ stream.Sink = (*room)(nil)
