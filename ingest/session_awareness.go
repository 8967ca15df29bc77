package ingest

import (
	"encoding/json"
	"slices"
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
	s.room.do(func() {
		if s.left {
			return
		}
		if s.c.srv.o.StampPresence {
			for i := range entries {
				if e := &entries[i]; e.State != nil {
					e.State = stamp(e.State, s.grant)
				}
			}
		}
		s.room.takeAwareness(s, entries, first, time.Now())
	})
	return nil
}

// presenceOver says that an entry of the client is over a bound: each time to the metrics, once for each bound to the log and to
// a client that takes text. Callers hold the room's lock.
func (s *session) presenceOver(cs *cause, e yjs.AwarenessEntry) {
	s.c.srv.metrics.dropped(cs.reason)
	if slices.Contains(s.presenceTold, cs) {
		return
	}
	s.presenceTold = append(s.presenceTold, cs)
	s.room.logger().Warn("a presence is left out", "reason", cs.reason, "client", e.Client, "bytes", len(e.State), "user", s.grant.User, "conn", s.c.id)
	if b := s.d.notice(s, cs); b != nil {
		s.room.out.put(s, b)
	}
}

// tellEverybody answers a question for all awareness.
func (s *session) tellEverybody() {
	s.room.do(func() {
		if p := s.room.aware.everybody(); p != nil && !s.left {
			s.room.out.put(s, s.enc.awareness(p))
		}
	})
}

// stamp writes the token's user into the user field of an awareness state. Other fields that the client set there, such as its
// colour, stay. A state that is no object is unchanged.
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
