package ingest

import (
	"encoding/json"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
)

// awareness takes an awareness update of the client. b is only lent.
func (s *session) awareness(b []byte) error {
	var buf [4]yjs.AwarenessEntry
	entries, err := yjs.ReadAwareness(buf[:0], b)
	if err != nil {
		return because(causeMalformed, err)
	}
	if len(entries) == 0 {
		return nil // a sign of life
	}
	first := !s.announced
	s.announced = true
	r := s.room
	now := time.Now()
	r.mu.Lock()
	defer r.unlock()
	if s.left {
		return nil
	}
	for _, e := range entries {
		if s.c.srv.o.StampPresence && e.State != nil {
			e.State = stamp(e.State, s.grant)
		}
		if !r.aware.take(r, s, e, first && len(entries) == 1, now) {
			r.srv.metrics.dropped("awareness")
		}
	}
	r.sendPresence(now)
	return nil
}

// tellEverybody answers a question for all awareness.
func (s *session) tellEverybody() {
	s.room.mu.Lock()
	defer s.room.unlock()
	if p := s.room.everybody(); p != nil && !s.left {
		s.room.put(s, s.enc.awareness(p))
	}
}

// stamp writes who somebody is, by the token, into the user field of an awareness state; what else a client says of itself
// there, its colour say, stays. A state that is no object is as it was.
func stamp(state []byte, g auth.Grant) []byte {
	var fields map[string]json.RawMessage
	if g.User == "" || json.Unmarshal(state, &fields) != nil || fields == nil {
		return state
	}
	var user map[string]json.RawMessage
	if json.Unmarshal(fields["user"], &user) != nil || user == nil {
		user = map[string]json.RawMessage{}
	}
	user["id"], _ = json.Marshal(g.User)
	if g.Name != "" {
		user["name"], _ = json.Marshal(g.Name)
	}
	fields["user"], _ = json.Marshal(user)
	stamped, err := json.Marshal(fields)
	if err != nil {
		return state
	}
	return stamped
}
