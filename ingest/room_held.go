package ingest

import (
	"bytes"
	"slices"
	"time"

	"yjet/internal/yjs"
)

// held is an update that waits for its dependencies.
type held struct {
	number  uint64
	update  []byte // nil: too old or too large to be kept; it is asked for when something of missing has come
	missing []yjs.ID
	at      time.Time
	stuck   bool // the client's own answer to a step 1 did not bring its dependencies: no acknowledgement waits for it
}

// waits reports whether an update is held that the client itself may yet complete.
func (s *session) waits() bool {
	return slices.ContainsFunc(s.held, func(h held) bool { return !h.stuck })
}

// hold keeps an update until its dependencies have come, and returns its number.
// Over the bounds all held updates are dropped and asked for again: the answer to a
// step 1 contains them. What is left of such an answer takes the place of all
// that was held.
func (s *session) hold(update []byte, missing []yjs.ID) uint64 {
	r := s.room
	fits := len(update) <= r.srv.limits.HeldBytes
	switch {
	case s.answering:
		s.removeHeld()
	case len(s.held)+1 > r.srv.limits.Held || s.heldSize+len(update) > r.srv.limits.HeldBytes:
		s.dropHeld()
		return answerHeld
	}
	if len(s.held) == 0 {
		r.holders++
	}
	if !s.waits() {
		s.asked = false
	}
	s.heldNext++
	h := held{number: s.heldNext, missing: missing, at: time.Now(), stuck: s.answering}
	if fits {
		h.update = bytes.Clone(update)
		s.heldSize += len(update)
	}
	s.held = append(s.held, h)
	r.srv.metrics.held.Inc()
	if s.answering {
		s.tellLeftOut(len(update), missing)
	} else if !r.commit.busy() {
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

// removeHeld removes all that is held.
func (s *session) removeHeld() {
	if len(s.held) > 0 {
		s.room.holders--
	}
	s.held, s.heldSize = nil, 0
}

// answered notes that the client has answered a step 1 with all that it has. Updates still held wait for others, and the
// acknowledgements of stored updates go out. Callers hold the lock, then call settle.
func (s *session) answered() {
	s.dropped = false
	for i := range s.held {
		s.held[i].stuck = true
	}
	for i := range s.acks {
		if p := &s.acks[i].turn; p.hold != 0 {
			*p = turn{group: max(p.group, s.group)}
		}
	}
}

// tellLeftOut tells the operator, once a session, that a client has edits whose predecessors nobody has.
func (s *session) tellLeftOut(size int, missing []yjs.ID) {
	r := s.room
	r.srv.metrics.dropped("left-out")
	if s.told {
		return
	}
	s.told = true
	r.logger().Warn("edits of a client depend on edits that neither the client nor the document has: they wait, the rest is stored", "bytes", size, "missing", listIDs(missing), "user", s.grant.User, "conn", s.c.id)
}

// dropHeld drops the held updates and asks for them again.
func (s *session) dropHeld() {
	r := s.room
	s.removeHeld()
	s.dropped = true
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
			if h.update == nil {
				s.unhold(i, 0)
				s.ask(false)
				i--
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
					r.logger().Warn("a held update is refused: the document would exceed a bound", "err", err)
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
		if p.hold == number || p.hold == everyHeld && !s.waits() {
			*p = turn{group: max(p.group, s.group, group)}
		}
	}
}

// tickHeld drops updates that were held too long, and asks for them. Callers hold the lock.
func (r *room) tickHeld(now time.Time) {
	for s := range r.sessions {
		if len(s.held) > 0 {
			s.tickHeld(now)
		}
	}
}

func (s *session) tickHeld(now time.Time) {
	wait := s.room.srv.limits.HeldWait
	for i := range s.held {
		h := &s.held[i]
		age := now.Sub(h.at)
		switch {
		case h.stuck && age > wait:
			s.heldSize -= len(h.update)
			h.update = nil
		case h.stuck:
		case age > wait && s.enc.json:
			s.leaveOut()
			return
		case age > wait:
			s.dropHeld()
			return
		case age > time.Second:
			s.askHeld()
		}
	}
}

// leaveOut drops the held updates of a client that cannot be asked for them: they are not acknowledged, and no longer hold up what
// comes after them.
func (s *session) leaveOut() {
	s.tellLeftOut(s.heldSize, s.held[0].missing)
	s.removeHeld()
	for i := range s.acks {
		if a := &s.acks[i]; a.turn.hold != 0 {
			a.turn, a.bad = turn{}, true
		}
	}
	s.settle()
}
