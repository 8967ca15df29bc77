package ingest

import (
	"bytes"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// Awareness is who is here, where their cursors are, what they call themselves.
// The server is the advocate of an entry's owner: providers re-send what they
// receive and declare each other gone on timers of their own, and without a judge
// live people would blink and dead ones would stay.
//
//   - Owner of a client id is the connection whose entry first advanced it; the
//     first awareness frame of a newer connection claims it even at an equal clock
//     (the same tab, its old socket half open): with its next news, or when the old
//     one ends, it is the owner. Not before: a viewer without a presence of its own
//     begins with an echo of somebody else's. News of the owner ends the claim.
//   - An entry is news when its clock is higher, or equal and it says that a known
//     one is gone. All else is dropped before anybody sees it.
//   - That an id is gone is believed of its owner only.
//   - An owner that is connected is never expired. One whose socket broke off is
//     kept a few seconds; one of another server as long as that server speaks of it.
//   - A removal keeps the clock: one higher would beat the client's own return.

// presences is the presence of a room. Guarded by room.mu.
type presences struct {
	byID  map[uint64]*presence
	gone  map[uint64]tomb // removed of late: echoes of them are not believed
	dirty []uint64        // ids with news that has not gone out
	timer *time.Timer     // runs while news waits for its turn
	armed bool
}

// presence is one client id.
type presence struct {
	clock   uint64
	state   []byte    // JSON
	owner   *session  // nil: of another server, or nobody's
	claim   *session  // a newer connection of the same client, perhaps
	node    string    // that server; "" with owner nil: the owner broke off
	user    string    // of the owner, from its token
	since   time.Time // when it came
	seen    time.Time // when its server last spoke of it
	until   time.Time // nobody's: kept so long
	sent    time.Time // when news of it last went out
	news    bool      // in dirty
	publish bool      // the other servers are to be told
}

type tomb struct {
	clock uint64
	at    time.Time
}

const (
	presenceEvery  = 15 * time.Second // our entries are told to the others, and put into the bucket, so often
	presenceSilent = 40 * time.Second // entries of a server that says nothing for so long are removed
	tombFor        = time.Minute
)

// take judges one entry of a session. It answers false for what is dropped.
func (a *presences) take(r *room, s *session, e yjs.AwarenessEntry, first bool, now time.Time) bool {
	if len(e.State) > r.srv.limits.AwarenessState {
		return false
	}
	p := a.byID[e.Client]
	if p == nil {
		if t, ok := a.gone[e.Client]; e.State == nil || ok && e.Clock <= t.clock && !first {
			return false
		}
		if len(a.byID) >= r.srv.limits.AwarenessStates || !r.mayOwn(s, e.Client) {
			return false
		}
		p = &presence{since: now}
		if a.byID == nil {
			a.byID = map[uint64]*presence{}
		}
		a.byID[e.Client] = p
		delete(a.gone, e.Client)
		r.own(s, e.Client, p)
		p.publish = true
		a.set(e, p)
		r.srv.keeper.put(r, e.Client, p)
		return true
	}
	if e.State == nil {
		switch {
		case e.Clock < p.clock:
			return false
		case p.owner == s && e.Clock == p.clock && r.claimed(e.Client, p):
			return false // its old socket says goodbye
		case p.owner == s, p.claim == s && e.Clock > p.clock:
			r.own(s, e.Client, p)
			a.remove(r, e.Client, e.Clock, now)
			return true
		case p.owner != nil && p.owner.d.reannounces():
			// Its peer's timer gave it up. Told so, it announces itself anew, which
			// brings it back for that peer.
			r.put(p.owner, p.owner.enc.awareness(yjs.AppendAwareness(nil, []yjs.AwarenessEntry{e})))
		}
		return false
	}
	news := e.Clock > p.clock
	_, had := s.ids[e.Client]
	switch {
	case p.owner == s:
		if news {
			p.claim = nil
		}
	case first && !news && e.Clock == p.clock && (p.owner != nil || p.node != ""):
		if p.owner == nil || s.came.After(p.owner.came) {
			p.claim = s
		}
		return false
	case first && e.Clock >= p.clock, // a newer connection of the same client
		p.claim == s && news,
		p.owner == nil && p.node == "" && news, // nobody's
		had && news:                            // it was taken from s by mistake
		if !r.mayOwn(s, e.Client) {
			return false
		}
		p.publish = p.publish || p.node != "" || news
		r.own(s, e.Client, p)
		r.srv.keeper.put(r, e.Client, p)
	default:
		return false
	}
	if !news && !p.publish {
		return true
	}
	p.publish = true
	a.set(e, p)
	return true
}

// mayOwn reports whether a session may own one more id.
func (r *room) mayOwn(s *session, id uint64) bool {
	_, had := s.ids[id]
	return had || len(s.ids) < r.srv.limits.AwarenessOwn
}

func (r *room) own(s *session, id uint64, p *presence) {
	if s.ids == nil {
		s.ids = map[uint64]struct{}{}
	}
	s.ids[id] = struct{}{}
	p.owner, p.claim, p.node, p.user, p.until = s, nil, "", s.user, time.Time{}
}

// claimed gives an id whose owner has ended to the connection that claims it, if there is one.
func (r *room) claimed(id uint64, p *presence) bool {
	s := p.claim
	if s == nil || s.left || !r.mayOwn(s, id) {
		return false
	}
	if p.owner != nil {
		delete(p.owner.ids, id)
	}
	r.own(s, id, p)
	r.srv.keeper.put(r, id, p)
	r.outbox = append(r.outbox, yjs.AppendAwareness(nil, []yjs.AwarenessEntry{{Client: id, Clock: p.clock, State: p.state}}))
	return true
}

// set takes an entry's news, which goes out with the next send.
func (a *presences) set(e yjs.AwarenessEntry, p *presence) {
	p.clock = e.Clock
	p.state = bytes.Clone(e.State)
	if !p.news {
		p.news = true
		a.dirty = append(a.dirty, e.Client)
	}
}

// remove takes an id away and tells everybody at once.
func (a *presences) remove(r *room, id, clock uint64, now time.Time) {
	p := a.byID[id]
	if p == nil {
		return
	}
	delete(a.byID, id)
	if a.gone == nil {
		a.gone = map[uint64]tomb{}
	}
	a.gone[id] = tomb{clock, now}
	payload := yjs.AppendAwareness(nil, []yjs.AwarenessEntry{{Client: id, Clock: clock}})
	r.send(&broadcast{payload: payload, make: (*encoder).awareness})
	if p.node != "" {
		return
	}
	if p.owner != nil {
		delete(p.owner.ids, id)
	}
	r.outbox = append(r.outbox, payload)
	r.srv.keeper.remove(r.doc, id)
}

// sendPresence sends the news whose turn it is; each id at most every
// AwarenessEvery. Callers hold the lock.
func (r *room) sendPresence(now time.Time) {
	a := &r.aware
	if len(a.dirty) == 0 {
		return
	}
	every := r.srv.limits.AwarenessEvery
	var wait time.Duration
	var buf [8]yjs.AwarenessEntry
	entries, publish := buf[:0], 0
	later := a.dirty[:0]
	for _, id := range a.dirty {
		p := a.byID[id]
		if p == nil {
			continue
		}
		if w := every - now.Sub(p.sent); w > 0 {
			wait = max(wait, w)
			later = append(later, id)
			continue
		}
		p.news, p.sent = false, now
		entries = append(entries, yjs.AwarenessEntry{Client: id, Clock: p.clock, State: p.state})
		if p.publish {
			publish++
		}
	}
	a.dirty = later
	if len(entries) > 0 {
		payload := yjs.AppendAwareness(nil, entries)
		r.send(&broadcast{payload: payload, make: (*encoder).awareness})
		if publish == len(entries) {
			r.outbox = append(r.outbox, payload)
		} else if publish > 0 {
			ours := entries[:0]
			for _, e := range entries {
				if a.byID[e.Client].publish {
					ours = append(ours, e)
				}
			}
			r.outbox = append(r.outbox, yjs.AppendAwareness(nil, ours))
		}
		for _, e := range entries {
			a.byID[e.Client].publish = false
		}
	}
	if len(a.dirty) > 0 && !a.armed {
		a.armed = true
		if a.timer == nil {
			a.timer = time.AfterFunc(wait, r.presenceDue)
		} else {
			a.timer.Reset(wait)
		}
	}
}

// presenceDue runs when news that waited has its turn.
func (r *room) presenceDue() {
	r.mu.Lock()
	defer r.unlock()
	r.aware.armed = false
	r.sendPresence(time.Now())
}

// everybody is the awareness update of all who are here, nil if nobody is.
// Callers hold the lock.
func (r *room) everybody() []byte {
	if len(r.aware.byID) == 0 {
		return nil
	}
	entries := make([]yjs.AwarenessEntry, 0, len(r.aware.byID))
	for id, p := range r.aware.byID {
		entries = append(entries, yjs.AwarenessEntry{Client: id, Clock: p.clock, State: p.state})
	}
	return yjs.AppendAwareness(nil, entries)
}

// departed is the awareness update of those who left of late, nil if nobody did. Callers hold the lock.
func (r *room) departed() []byte {
	if len(r.aware.gone) == 0 {
		return nil
	}
	entries := make([]yjs.AwarenessEntry, 0, len(r.aware.gone))
	for id, t := range r.aware.gone {
		entries = append(entries, yjs.AwarenessEntry{Client: id, Clock: t.clock})
	}
	return yjs.AppendAwareness(nil, entries)
}

// absent sees a session off: if it is gone for certain its ids vanish now, else
// they wait a little for it. Callers hold the lock.
func (r *room) absent(s *session, clean bool) {
	now := time.Now()
	for id := range s.ids {
		p := r.aware.byID[id]
		if p == nil || p.owner != s || r.claimed(id, p) {
			continue
		}
		if clean {
			r.aware.remove(r, id, p.clock, now)
			continue
		}
		p.owner, p.until = nil, now.Add(r.srv.limits.LeaveWait)
	}
	s.ids = nil
}

// takeRemote judges an entry of another server, which speaks only of ids that its
// own connections own.
func (a *presences) takeRemote(r *room, node string, e yjs.AwarenessEntry, now time.Time) {
	p := a.byID[e.Client]
	if p == nil {
		if e.State == nil || e.Clock < a.gone[e.Client].clock || len(a.byID) >= r.srv.limits.AwarenessStates || len(e.State) > r.srv.limits.AwarenessState {
			return
		}
		if a.byID == nil {
			a.byID = map[uint64]*presence{}
		}
		p = &presence{node: node, since: now, seen: now}
		a.byID[e.Client] = p
		delete(a.gone, e.Client)
		a.set(e, p)
		return
	}
	if e.Clock < p.clock {
		return
	}
	if e.State == nil {
		if p.owner == nil && p.node == node && !(e.Clock == p.clock && r.claimed(e.Client, p)) {
			a.remove(r, e.Client, e.Clock, now)
		}
		return
	}
	// The client has moved there: it announced itself to that server later than
	// to ours, or its old socket here is half open.
	p.owner, p.node, p.seen, p.until = nil, node, now, time.Time{}
	if e.Clock > p.clock {
		p.claim = nil
		a.set(e, p)
	}
}

// takePresence takes in what the bucket holds of the other servers' people.
// Callers hold the lock.
func (r *room) takePresence(present []stream.Presence) {
	now := time.Now()
	for _, p := range present {
		if p.Node == r.srv.node || len(p.State) == 0 || string(p.State) == "null" {
			continue
		}
		r.aware.takeRemote(r, p.Node, yjs.AwarenessEntry{Client: p.Client, Clock: p.Clock, State: p.State}, now)
	}
}

// tickPresence removes who is gone and tells the others of ours. Callers hold the
// lock.
func (r *room) tickPresence(now time.Time) {
	a := &r.aware
	if len(a.byID)+len(a.gone) == 0 {
		return
	}
	sign := now.After(r.nextSign)
	if sign {
		r.nextSign = now.Add(presenceEvery)
	}
	var ours []yjs.AwarenessEntry
	for id, p := range a.byID {
		switch {
		case p.owner != nil && sign:
			ours = append(ours, yjs.AwarenessEntry{Client: id, Clock: p.clock, State: p.state})
			r.srv.keeper.put(r, id, p)
		case p.owner != nil:
		case p.node == "" && now.After(p.until), p.node != "" && now.Sub(p.seen) > presenceSilent:
			if !r.claimed(id, p) {
				a.remove(r, id, p.clock, now)
			}
		}
	}
	if len(ours) > 0 {
		r.outbox = append(r.outbox, yjs.AppendAwareness(nil, ours))
	}
	for id, t := range a.gone {
		if now.Sub(t.at) > tombFor {
			delete(a.gone, id)
		}
	}
}

// present lists who is here.
func (r *room) present() []stream.Presence {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]stream.Presence, 0, len(r.aware.byID))
	for id, p := range r.aware.byID {
		v := stream.Presence{User: p.user, Client: id, Clock: p.clock, Node: p.node, Since: p.since, State: p.state}
		if p.owner != nil {
			v.Node = r.srv.node
		}
		v.Name, v.Color = nameAndColor(p.state)
		list = append(list, v)
	}
	return list
}
