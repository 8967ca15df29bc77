package ingest

import (
	"bytes"
	"sync/atomic"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// writeMode is the least mode that may write.
const writeMode = auth.ReadWrite

// A session is one visit of one document over a conn.
type session struct {
	// Set before the session enters its room, then only read.
	c    *conn
	room *room
	d    dialect
	enc  *encoder
	user string
	came time.Time

	counted string // whose documents it is counted among; "": nobody's

	due atomic.Int64 // unix seconds at which the clock looks at its rights; 0: never

	// Owned by the reader (of Hocuspocus: by the goroutine that handles the document's messages).
	announced bool // an awareness frame has come
	entered   bool

	// Guarded by room.mu.
	grant        auth.Grant
	term         term
	lag          *lag // not nil: it misses broadcasts until its connection's queue is empty
	held         []held
	heldSize     int
	heldNext     uint64 // number of the next held update
	asked        bool   // a step 1 for the dependencies of held updates has gone out
	answering    bool   // the update at hand is the client's answer to a step 1
	told         bool   // the operator has read that it has edits whose predecessors nobody has
	dropped      bool   // held updates were discarded; true until the client's next step 2 brings them again
	acks         []ack
	group        uint64        // newest group that carries anything of it
	steps        []bool        // our step 1s under way, oldest first; true: the answer is acknowledged
	here         owner         // its presence
	refusals     int           // writes not taken
	presenceTold []*cause      // the bounds of presence that the client exceeded and was told of
	pause        time.Duration // the reader waits so long before the next message: a new document was begun above the rate
	durable      []byte        // payload of the last "is it saved?" question that was answered
	updates      int           // taken from it
	left         bool
}

// newSession makes a session of a document; it enters the room with enter or
// sync. The caller holds a reference to the room, which the session takes over.
func newSession(c *conn, r *room, d dialect, enc *encoder, grant auth.Grant) (*session, error) {
	s := &session{c: c, room: r, d: d, enc: enc, user: grant.User, grant: grant, came: time.Now()}
	s.here = owner{s: s, user: s.user, came: s.came}
	var err error
	r.look(func() {
		if err = r.failed; err == nil && len(r.sessions) >= c.srv.limits.PerDocument {
			err = causeDocumentCrowded
		}
	})
	if err == nil {
		err = r.listen(c.ctx)
	}
	if err != nil {
		c.srv.rooms.release(r)
		return nil, err
	}
	r.look(func() { s.schedule(s.came) })
	if !grant.Admin {
		s.counted = grant.User
	}
	if !c.srv.gate.open(s.counted, r.doc) {
		c.srv.rooms.release(r)
		return nil, causeUserDocuments
	}
	c.join(s)
	c.srv.metrics.sessions.WithLabelValues(d.name()).Inc()
	c.srv.log.Info("connected", "doc", string(r.doc), "user", s.user, "dialect", d.name(), "conn", c.id, "ip", c.ip)
	if !s.admitted() {
		s.leaveFor(causeRevoked, true)
		return nil, causeRevoked
	}
	return s, nil
}

// enter puts the session among those that get broadcasts: every record after those
// that the room holds now reaches it. Callers hold the room's lock.
func (s *session) enter() {
	r := s.room
	if s.entered || s.left {
		return
	}
	s.entered = true
	if r.sessions == nil {
		r.sessions = map[*session]struct{}{}
	}
	r.sessions[s] = struct{}{}
	delete(r.listeners, s)
	r.idle, r.deserted = time.Time{}, false
}

// greet sends our own step 1, then the presence of all users. Callers hold the room's lock.
func (s *session) greet() {
	s.ask(true)
	s.tellPresent()
}

// tellPresent sends the presence of all users. Callers hold the room's lock.
func (s *session) tellPresent() {
	if payload := s.room.aware.everybody(); payload != nil {
		s.room.out.put(s, s.enc.awareness(payload))
	}
}

// mostSteps are the step 1s that a session may leave unanswered before it is sent no more of them.
const mostSteps = 64

// ask sends a step 1; earns says whether the answer will be acknowledged where
// the dialect acknowledges. Callers hold the room's lock.
func (s *session) ask(earns bool) {
	if s.enc.json || !s.entered || s.grant.Mode < writeMode && s.d.settled(s, true) == nil {
		return // its answer would be thrown away
	}
	if len(s.steps) >= mostSteps {
		return // a client that asks on and on and never answers
	}
	s.steps = append(s.steps, earns)
	s.room.out.put(s, s.enc.sync(yjs.SyncStep1, s.room.stored.AppendVector(nil)))
}

// listen has a session that has not entered hear custom messages.
func (s *session) listen() {
	r := s.room
	r.do(func() {
		if s.entered || s.left {
			return
		}
		if r.listeners == nil {
			r.listeners = map[*session]struct{}{}
		}
		r.listeners[s] = struct{}{}
	})
}

// speakFirst lets a session in before its client has sent anything, with a step 1
// whatever the client may do: the client may wait for one.
func (s *session) speakFirst() {
	s.room.do(func() {
		if s.entered || s.left {
			return
		}
		s.enter()
		asked := len(s.steps)
		s.greet()
		if len(s.steps) == asked && !s.enc.json {
			s.steps = append(s.steps, false)
			s.room.out.put(s, s.enc.sync(yjs.SyncStep1, s.room.stored.AppendVector(nil)))
		}
	})
}

// hello lets a session in whose first message was no step 1.
func (s *session) hello() {
	s.room.do(func() {
		if !s.entered {
			s.enter()
			s.greet()
		}
	})
}

// askAgain sends a step 1 because something of the client was lost on the way.
func (s *session) askAgain() {
	s.room.do(func() {
		if !s.left {
			s.ask(false)
		}
	})
}

// publish sends a custom message to all others of the document, here, on other
// servers, and to any program that listens. kind says how the payload came: text.
func (s *session) publish(payload []byte, kind string) {
	p := bytes.Clone(payload)
	h := map[string]string{"Yjet-User": s.user, "Yjet-Conn": s.c.id, "Yjet-Kind": kind}
	if err := s.c.srv.o.Log.PublishMessage(s.room.doc, p, h); err != nil {
		s.c.srv.metrics.dropped("custom-message")
	}
	s.room.relay(s, p, h)
}

// end ends the session for a reason, and the connection with it unless the
// dialect can say goodbye to one document alone. It may be called from anywhere
// but under a lock.
func (s *session) end(err error) {
	cs := causeOf(err)
	if frames, alone := s.d.denied(s, cs); alone {
		s.c.send(frames)
		s.leaveFor(cs, true)
		return
	}
	s.c.close(err)
}

// leave takes the session out of its room. clean says that the client is gone
// for certain; else its presence waits a little for it to return.
func (s *session) leave(clean bool) {
	s.c.mu.Lock()
	err := s.c.err
	s.c.mu.Unlock()
	s.leaveFor(causeOf(err), clean)
}

func (s *session) leaveFor(cs *cause, clean bool) {
	r := s.room
	var again, last bool
	var seq stream.Seq
	var since tally
	var updates int
	r.do(func() {
		if again = s.left; again {
			return
		}
		s.left = true
		delete(r.sessions, s)
		delete(r.listeners, s)
		delete(r.commit.ackers, s)
		if len(s.held) > 0 {
			r.holders--
		}
		s.held, s.acks = nil, nil
		r.aware.leave(&s.here, clean, &r.srv.limits, time.Now(), r.perform)
		if last = len(r.sessions) == 0; last {
			r.idle = time.Now()
			r.deserted = true
		}
		seq, since, updates = r.seq, r.growth.since, s.updates
	})
	if again {
		return
	}
	s.c.part(s)
	srv := s.c.srv
	srv.gate.shut(s.counted, r.doc)
	srv.metrics.sessions.WithLabelValues(s.d.name()).Dec()
	srv.log.Info("left", "doc", string(r.doc), "user", s.user, "dialect", s.d.name(), "conn", s.c.id, "reason", cs.reason,
		"took", time.Since(s.came).Round(time.Millisecond).String(), "updates", updates)
	if last && srv.hook != nil {
		srv.hook.Hurry(r.doc)
	}
	if last {
		srv.o.Snapshots.Hint(r.doc, seq, since.bytes, since.records, true)
	}
	srv.rooms.release(r)
}

// catchUp brings sessions that missed broadcasts up to date.
func (c *conn) catchUp() {
	defer c.srv.wg.Done()
	c.mu.Lock()
	sessions := append([]*session(nil), c.sessions...)
	c.mu.Unlock()
	for _, s := range sessions {
		s.catchUp()
	}
}
