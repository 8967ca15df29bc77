package ingest

import (
	"bytes"
	"runtime/debug"

	"yjet/internal/yjs"
)

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

// refused tells a client that a write was not taken. Callers hold the lock.
func (s *session) refused(cs *cause) error {
	s.refusals++
	s.c.srv.metrics.rejected(cs.reason)
	if s.refusals == 1 {
		s.room.put(s, s.d.readOnly(s, cs))
	}
	if cs == causeReadOnly || cs == causeTaken || cs == causeFull && s.d.settled(s, false) != nil {
		return nil
	}
	return cs // it would go on believing that its edits arrive
}
