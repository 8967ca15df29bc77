package ingest

import (
	"bytes"
	"time"

	"yjet/internal/yjs"
)

// held is an update that waits for its dependencies.
type held struct {
	number  uint64
	update  []byte
	missing []yjs.ID
	at      time.Time
}

// hold keeps an update until its dependencies have come, and returns its number.
// Over the bounds all held updates are dropped and asked for again: the answer to a
// step 1 contains them.
func (s *session) hold(update []byte, missing []yjs.ID) uint64 {
	r := s.room
	if len(s.held)+1 > r.srv.limits.Held || s.heldSize+len(update) > r.srv.limits.HeldBytes {
		s.dropHeld()
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
		s.askHeld() // nothing is under way that could bring it
	}
	return s.heldNext
}

// askHeld asks, once, for the dependencies of held updates, unless an answer that
// will contain them is on its way. Callers hold the lock.
func (s *session) askHeld() {
	if !s.asked && len(s.steps) == 0 {
		s.asked = true
		s.ask(false)
	}
}

// dropHeld drops the held updates and asks for them again.
func (s *session) dropHeld() {
	r := s.room
	if len(s.held) > 0 {
		r.holders--
	}
	s.held, s.heldSize, s.dropped = nil, 0, true
	for i := range s.acks {
		if s.acks[i].turn.hold != 0 {
			s.acks[i].turn.hold = answerHeld
		}
	}
	r.srv.metrics.dropped("held")
	s.ask(false)
}

// retryHeld looks again at the held updates of all sessions, after the log has grown.
// Callers hold the lock.
func (r *room) retryHeld() {
	for s := range r.sessions {
		if len(s.held) == 0 {
			continue
		}
		s.retryHeld()
		if len(s.held) > 0 && !r.commit.busy() {
			s.askHeld()
		}
		s.settle()
	}
}

// retryHeld looks again at the held updates of the session.
func (s *session) retryHeld() {
	r := s.room
	if len(s.held) == 0 {
		return
	}
	accepted := r.commit.state(&r.stored)
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
				group = r.commit.newest()
			} else {
				if err := accepted.Admit(u, r.srv.limits.Shape); err != nil {
					r.logger().Warn("a held update is refused for what the document would become", "err", err)
					h.missing = nil
					continue
				}
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
			s.unhold(i, group)
			i--
		}
	}
}

// came reports whether any of the missing ids is there.
func came(state *yjs.State, missing []yjs.ID) bool {
	for _, id := range missing {
		if state.Structs().Prefix(id.Client) > id.Clock {
			return true
		}
	}
	return len(missing) == 0
}

// unhold takes a held update away that went into a group.
func (s *session) unhold(i int, group uint64) {
	number := s.held[i].number
	s.heldSize -= len(s.held[i].update)
	s.held = append(s.held[:i], s.held[i+1:]...)
	if len(s.held) == 0 {
		s.held = nil
		s.room.holders--
	}
	for j := range s.acks {
		p := &s.acks[j].turn
		if p.hold == number || p.hold == everyHeld && len(s.held) == 0 {
			*p = turn{group: max(p.group, s.group, group)}
		}
	}
}

// tickHeld drops updates that were held too long, and asks for them. Callers hold the lock.
func (r *room) tickHeld(now time.Time) {
	for s := range r.sessions {
		if len(s.held) == 0 {
			continue
		}
		if now.Sub(s.held[0].at) > r.srv.limits.HeldWait {
			s.dropHeld()
		} else if now.Sub(s.held[0].at) > time.Second {
			s.askHeld()
		}
	}
}
