package ingest

import (
	"bytes"
	"runtime/debug"
	"time"

	"yjet/internal/yjs"
)

// update takes one update of the client: the answer to a step 1 or an edit. b is
// only lent. It returns when the room has space for more.
func (s *session) update(step uint64, b []byte, kind ackKind) error {
	s.c.update.Store(true)
	u := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(u)
	if err := s.c.srv.parse(u, b); err != nil {
		s.c.srv.metrics.rejected(causeOf(err).reason)
		return err
	}
	var end error
	var wait <-chan struct{}
	var pause time.Duration
	s.room.do(func() {
		if !s.left && s.room.failed == nil {
			wait, end = s.updateLocked(step, u, kind)
		}
		pause, s.pause = s.pause, 0
	})
	if end != nil {
		return end
	}
	if pause > 0 {
		if err := s.c.sleep(pause); err != nil {
			return err
		}
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

// updateLocked takes a parsed update. It returns a channel to wait for before the next,
// and the cause that ends the session. Callers hold the room's lock.
func (s *session) updateLocked(step uint64, u *yjs.Update, kind ackKind) (wait <-chan struct{}, end error) {
	r := s.room
	earns := true
	if step == yjs.SyncStep2 {
		earns = false
		if len(s.steps) > 0 {
			earns, s.answering = s.steps[0], true
			s.steps = s.steps[1:]
		}
	}
	at, cs := s.accepted(u)
	switch {
	case cs != nil:
	case s.answering:
		at.hold = 0
		s.answered()
	case step == yjs.SyncStep2: // unasked
		s.dropped = at.hold == answerHeld
		for i := range s.acks {
			if s.acks[i].turn.hold == answerHeld {
				s.acks[i].turn = at
			}
		}
	}
	s.answering = false
	s.updates++
	if earns {
		a := ack{kind: kind, turn: at, bad: cs != nil}
		if kind == ackJSON {
			a.buf = bytes.Clone(u.Bytes)
		}
		s.owe(a)
	}
	if cs != nil {
		end = s.refused(cs)
	}
	s.settle()
	if ch := r.commit.crowded(r.srv.limits.RoomBytes); ch != nil {
		wait = ch
	}
	return wait, end
}

// accepted has the room accept an update. One that makes it panic ends its sender,
// not the room.
func (s *session) accepted(u *yjs.Update) (at turn, cs *cause) {
	r := s.room
	defer func() {
		if p := recover(); p != nil {
			r.srv.metrics.panics.Inc()
			r.logger().Error("panic over an update", "conn", s.c.id, "panic", p, "stack", string(debug.Stack()))
			r.commit.reconsider(&r.stored)
			cs = causeInternal
		}
	}()
	return r.accept(s, u)
}

// unsettled returns a channel to wait for while something of the session is not
// stored and delivered, else nil.
func (s *session) unsettled() (wait <-chan struct{}) {
	r := s.room
	r.look(func() {
		if r.commit.reached < s.group && r.failed == nil && !s.left {
			wait = r.commit.change()
		}
	})
	return wait
}

// refused tells a client that a write was not taken, and returns why the session
// ends, nil if it goes on. Callers hold the room's lock.
func (s *session) refused(cs *cause) error {
	s.refusals++
	s.c.srv.metrics.rejected(cs.reason)
	if s.refusals == 1 {
		s.room.out.put(s, s.d.readOnly(s, cs))
	}
	if cs.ofWrites() { // the client may read on, and delete
		return nil
	}
	return cs // the client would go on believing that its edits arrive
}
