package ingest

import (
	"bytes"
	"time"
)

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

// turn names the condition of an acknowledgement: a group is delivered, or a held update is stored.
type turn struct {
	group uint64 // stored and delivered; 0: nothing
	hold  uint64 // number of a held update; everyHeld, answerHeld
}

const (
	everyHeld  = ^uint64(0)     // nothing is held any more
	answerHeld = ^uint64(0) - 1 // the answer to the step 1 that asks again for dropped updates
)

// question answers whether all that came before is stored: with the same bytes,
// when it is.
func (s *session) question(buf []byte) {
	s.room.do(func() {
		if s.left {
			return
		}
		p := turn{group: s.group}
		if s.waits() {
			p.hold = everyHeld
		}
		if s.dropped {
			p.hold = answerHeld
		}
		s.owe(ack{kind: ackSaved, buf: bytes.Clone(buf), turn: p, at: time.Now(), bad: s.refusals > 0})
		s.settle()
	})
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
			r.out.put(s, s.d.settled(s, !a.bad))
		case a.kind == ackJSON && a.bad:
		case a.kind == ackJSON:
			r.out.put(s, jsonStored(a.buf, r.seq))
		case a.bad:
			r.out.put(s, s.enc.keepAlive())
		default:
			s.durable = a.buf
			r.out.put(s, s.d.saved(s, a.buf))
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
				s.room.out.put(s, s.d.saved(s, s.durable))
			} else {
				s.room.out.put(s, s.enc.keepAlive())
			}
			return
		}
	}
}

// lose notes that the session's updates in groups after safe were dropped: they count as stored when the answer that contains them
// is. Callers hold the lock.
func (s *session) lose(safe uint64) {
	s.dropped = s.dropped || s.group > safe
	for i := range s.acks {
		if s.acks[i].turn.group > safe {
			s.acks[i].turn = turn{hold: answerHeld}
		}
	}
}

// dropAcks forgets the owed acknowledgements. Callers hold the lock.
func (s *session) dropAcks() {
	s.acks = nil
	delete(s.room.commit.ackers, s)
}
