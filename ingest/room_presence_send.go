package ingest

import (
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// perform carries out the outcome of presences for a client id. Callers hold the lock.
func (r *room) perform(id uint64, out outcome) {
	p := r.aware.byID[id]
	if out.keep {
		r.srv.keeper.put(r, id, p)
	}
	if out.publish {
		r.out.publish(yjs.AppendAwareness(nil, []yjs.AwarenessEntry{p.entry(id)}))
	}
	if out.removed {
		payload := yjs.AppendAwareness(nil, []yjs.AwarenessEntry{{Client: id, Clock: r.aware.gone[id].clock}})
		r.send(&broadcast{payload: payload, make: (*encoder).awareness})
		if out.ours {
			r.out.publish(payload)
			r.srv.keeper.remove(r.doc, id)
		}
	}
}

// takeAwareness takes entries of a session. Callers hold the lock.
func (r *room) takeAwareness(s *session, entries []yjs.AwarenessEntry, first bool, now time.Time) {
	for _, e := range entries {
		out := r.aware.take(&s.here, e, first && len(entries) == 1, &r.srv.limits, now)
		switch {
		case out.over != nil:
			s.presenceOver(out.over, e)
		case !out.taken:
			r.srv.metrics.dropped("awareness")
		}
		r.perform(e.Client, out)
		if o := out.retell; o != nil && o.s.d.reannounces() {
			r.out.put(o.s, o.s.enc.awareness(yjs.AppendAwareness(nil, []yjs.AwarenessEntry{e})))
		}
	}
	r.sendPresence(now)
}

// takePresence takes in the bucket's entries of the other servers.
// Callers hold the lock.
func (r *room) takePresence(present []stream.Presence) {
	now := time.Now()
	for _, p := range present {
		if p.Node == r.srv.node || len(p.State) == 0 || string(p.State) == "null" {
			continue
		}
		r.perform(p.Client, r.aware.takeRemote(p.Node, yjs.AwarenessEntry{Client: p.Client, Clock: p.Clock, State: p.State}, &r.srv.limits, now))
	}
}

// sendPresence sends the news whose turn it is. Callers hold the lock.
func (r *room) sendPresence(now time.Time) {
	if len(r.aware.dirty) == 0 {
		return
	}
	var buf [8]yjs.AwarenessEntry
	entries, published, wait := r.aware.due(r.srv.limits.AwarenessEvery, now, buf[:0])
	if len(entries) > 0 {
		payload := yjs.AppendAwareness(nil, entries)
		r.send(&broadcast{payload: payload, make: (*encoder).awareness})
		switch {
		case len(published) == len(entries):
			r.publishPresence(payload, published)
		case len(published) > 0:
			r.publishPresence(nil, published)
		}
	}
	if wait > 0 {
		r.notice.start(wait, r.presenceDue)
	}
}

// publishPresence tells the other servers of entries, in messages that NATS takes with its smallest usual max_payload. payload is
// their encoding, nil if they are not encoded yet. Callers hold the lock.
func (r *room) publishPresence(payload []byte, entries []yjs.AwarenessEntry) {
	size, from := 0, 0
	for i, e := range entries {
		if size > 0 && size+len(e.State) > presenceMessage {
			r.out.publish(yjs.AppendAwareness(nil, entries[from:i]))
			size, from = 0, i
		}
		size += len(e.State) + 32
	}
	if from > 0 || payload == nil {
		payload = yjs.AppendAwareness(nil, entries[from:])
	}
	r.out.publish(payload)
}

// presenceMessage is how many bytes of presence go into one message to the other servers, unless one state has more.
const presenceMessage = 512 << 10

// presenceDue runs when news that waited has its turn.
func (r *room) presenceDue() {
	r.do(func() {
		r.notice.ran()
		r.sendPresence(time.Now())
	})
}

// tickPresence removes expired ids and tells the other servers of ours. Callers
// hold the lock.
func (r *room) tickPresence(now time.Time) {
	ours := r.aware.tick(&r.srv.limits, now, r.perform)
	if len(ours) == 0 {
		return
	}
	entries := make([]yjs.AwarenessEntry, 0, len(ours))
	for _, id := range ours {
		p := r.aware.byID[id]
		entries = append(entries, p.entry(id))
		r.srv.keeper.put(r, id, p)
	}
	r.publishPresence(nil, entries)
}
