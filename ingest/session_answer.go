package ingest

import (
	"yjet/internal/yjs"
	"yjet/stream"
)

// lag is the state that a session had when it fell behind.
type lag struct {
	seq    stream.Seq
	vector yjs.StateVector
}

// sync answers a step 1 with the content that the vector lacks, in the form that was asked
// in. The step 2 is queued under the room's lock, together with entering, so that
// every later update follows it. With asks a step 1 of ours goes in front of it, each
// time: a client that was just told that it is synced has not been asked yet for its
// offline edits, and Hocuspocus's forceSync counts on the question.
func (s *session) sync(vector []byte, form *encoder, asks bool) error {
	v := yjs.StateVector{}
	if len(vector) > 0 {
		var err error
		if v, err = yjs.DecodeStateVector(vector); err != nil {
			return because(causeMalformed, err)
		}
	}
	return s.c.await(func(<-chan struct{}) {
		if err := s.answer(v, form, asks); err != nil {
			s.end(err)
		}
	})
}

// answer queues the answer to a step 1 when the connection's earlier answers are written: one that does not read holds one answer.
func (s *session) answer(v yjs.StateVector, form *encoder, asks bool) error {
	r := s.room
	if err := s.c.beginAnswer(); err != nil {
		return err
	}
	defer s.c.endAnswer()
	for done := false; !done; {
		f, err := r.current(s.c.ctx)
		if err != nil {
			return err
		}
		payload, state := f.update, f.update
		if len(v) > 0 || form.json {
			state = nil
		}
		counted, err := s.c.count(state, len(payload))
		if err != nil {
			return err
		}
		if payload == nil {
			payload = emptyUpdate
		} else if len(v) > 0 {
			if payload, err = yjs.Diff(payload, v); err != nil {
				counted.give()
				return because(causeInternal, err)
			}
			counted.shrink(len(payload))
		}
		r.do(func() {
			if done = r.base.seq <= f.seq; !done {
				return // folded on meanwhile: the records between are no longer at hand
			}
			first := !s.entered
			s.enter()
			if asks {
				s.ask(true)
			}
			var head, rest []byte
			if form.json {
				head = jsonStored(payload, f.seq)
			} else {
				head, rest = form.split(yjs.SyncStep2, payload)
			}
			s.putAnswer(head, rest, f.seq)
			if first {
				s.tellPresent()
			}
			s.c.keep(counted)
		})
		if !done {
			counted.give()
		}
	}
	return nil
}

// putAnswer queues a frame that holds the document up to seq, in two parts, and the
// records after it. Callers hold the room's lock.
func (s *session) putAnswer(head, rest []byte, seq stream.Seq) {
	r := s.room
	if list, _ := s.c.put2(head, rest, true); list {
		r.out.list(s.c)
	}
	for _, update := range r.after(seq) {
		r.out.put(s, s.enc.update(update))
	}
}

// emptyUpdate says nothing: no structs, no deletes.
var emptyUpdate = []byte{0, 0}

// catchUp gives a session that fell behind all it missed, in one update. It runs
// beside the reader, when the connection's queue has become empty.
func (s *session) catchUp() {
	r := s.room
	if s.c.beginAnswer() != nil {
		return
	}
	defer s.c.endAnswer()
	for done := false; !done; {
		var counted *reading
		var l *lag
		var from, seq stream.Seq
		var parts [][]byte
		r.look(func() {
			if !s.left {
				l = s.lag
			}
			if l != nil {
				from, seq, parts = r.base.seq, r.seq, r.after(l.seq)
			}
		})
		if l == nil {
			return
		}
		var payload []byte
		var err error
		switch {
		case from > l.seq:
			var f fold
			if f, err = r.current(s.c.ctx); err == nil {
				seq = f.seq
				if counted, err = s.c.count(nil, len(f.update)); err == nil {
					payload, err = yjs.Diff(f.update, l.vector)
					counted.shrink(len(payload))
				}
			}
		case len(parts) > 0:
			payload, err = yjs.Merge(parts...)
		}
		if err != nil {
			counted.give()
			s.end(err)
			return
		}
		r.do(func() {
			if done = r.base.seq <= seq; done {
				s.caughtUp(payload, seq)
				s.c.keep(counted)
			}
		})
		if !done {
			counted.give()
		}
	}
}

// caughtUp queues everything that the session missed: one update up to seq, the records after
// it, and presence. Callers hold the room's lock.
func (s *session) caughtUp(payload []byte, seq stream.Seq) {
	r := s.room
	var head, rest []byte
	if payload != nil {
		head, rest = s.enc.split(yjs.SyncUpdate, payload)
	}
	s.putAnswer(head, rest, seq)
	for _, p := range [][]byte{r.aware.everybody(), r.aware.departed()} {
		if p != nil {
			r.out.put(s, s.enc.awareness(p))
		}
	}
	s.lag = nil
}
