package ingest

import (
	"yjet/internal/yjs"
	"yjet/stream"
)

// lag is what a session had when it fell behind.
type lag struct {
	seq    stream.Seq
	vector yjs.StateVector
}

// sync answers a step 1 with what the vector lacks, in the form that was asked
// in. The step 2 is queued under the room's lock, together with entering, so that
// every later update follows it. In front of it goes a step 1 of ours, where asks
// says so, each time: a client that has just been told that it is synced would not
// have been asked yet for what it did offline, and Hocuspocus's forceSync counts on
// the question.
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

func (s *session) answer(v yjs.StateVector, form *encoder, asks bool) error {
	r := s.room
	for {
		f, err := r.current(s.c.ctx)
		if err != nil {
			return err
		}
		payload := f.update
		if payload == nil {
			payload = emptyUpdate
		} else if len(v) > 0 {
			if payload, err = yjs.Diff(payload, v); err != nil {
				return because(causeInternal, err)
			}
		}
		r.mu.Lock()
		if r.base.seq > f.seq {
			r.mu.Unlock()
			continue // folded on meanwhile: what lies between is no longer at hand
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
		if list, _ := s.c.put2(head, rest, true); list {
			r.list(s.c)
		}
		for _, rec := range r.recs {
			if rec.seq > f.seq {
				r.put(s, s.enc.update(rec.update))
			}
		}
		if first {
			s.tellPresent()
		}
		r.unlock()
		return nil
	}
}

// emptyUpdate says nothing: no structs, no deletes.
var emptyUpdate = []byte{0, 0}

// catchUp gives a session that fell behind all it missed, in one update. It runs
// beside the reader, when the connection's queue has become empty.
func (s *session) catchUp() {
	r := s.room
	for {
		r.mu.Lock()
		l := s.lag
		if l == nil || s.left {
			r.mu.Unlock()
			return
		}
		base, seq := r.base, r.seq
		var parts [][]byte
		for _, rec := range r.recs {
			if rec.seq > l.seq {
				parts = append(parts, rec.update)
			}
		}
		r.mu.Unlock()
		var payload []byte
		var err error
		switch {
		case base.seq > l.seq:
			var f fold
			if f, err = r.current(s.c.ctx); err == nil {
				seq = f.seq
				payload, err = yjs.Diff(f.update, l.vector)
			}
		case len(parts) > 0:
			payload, err = yjs.Merge(parts...)
		}
		if err != nil {
			s.end(err)
			return
		}
		r.mu.Lock()
		if r.base.seq > seq {
			r.mu.Unlock()
			continue
		}
		if payload != nil {
			head, rest := s.enc.split(yjs.SyncUpdate, payload)
			if list, _ := s.c.put2(head, rest, true); list {
				r.list(s.c)
			}
		}
		for _, rec := range r.recs {
			if rec.seq > seq {
				r.put(s, s.enc.update(rec.update))
			}
		}
		if p := r.everybody(); p != nil {
			r.put(s, s.enc.awareness(p))
		}
		if p := r.departed(); p != nil {
			r.put(s, s.enc.awareness(p))
		}
		s.lag = nil
		r.unlock()
		return
	}
}
