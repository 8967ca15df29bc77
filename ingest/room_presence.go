package ingest

import (
	"bytes"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// Awareness tells which users are here, with their cursors and names.
// Providers re-send what they receive and declare each other gone on timers of
// their own. Left alone, users who are here would blink and those who left would
// stay, so the server speaks for an entry's owner:
//
//   - The owner of a client id is the connection whose entry first advanced it. The
//     first awareness frame of a newer connection claims it even at an equal clock
//     (the same tab, its old socket half open): with its next news, or when the old
//     one ends, it is the owner. Not before: a viewer without a presence of its own
//     begins with an echo of another user's. News of the owner ends the claim.
//   - A live owner loses its id to nobody but another connection of the same signed-in
//     user. Where nobody signs in a newcomer waits until the owner's connection ends;
//     where users are known nobody takes the id of another user.
//   - An entry is news when its clock is higher, or equal and it says that a known
//     one is gone. All else is dropped before any client sees it.
//   - That an id is gone is believed of its owner only.
//   - An owner that is connected is never expired. One whose socket broke off is
//     kept a few seconds; one of another server as long as that server speaks of it.
//   - A removal keeps the clock: one higher would beat the client's own return.

// presences judges awareness entries and keeps those of a room. It writes
// nothing and calls nothing: its methods return outcomes for the room to carry out. Guarded by room.mu.
type presences struct {
	byID  map[uint64]*presence
	gone  map[uint64]tomb // removed in the last minute: late updates for them are ignored
	dirty []uint64        // ids with news that has not gone out
	sign  time.Time       // when the other servers are to hear of ours again
	bytes int             // of all states in byID
}

// presence is one client id.
type presence struct {
	clock   uint64
	state   []byte             // JSON
	owner   *owner             // nil: of another server, or its socket broke off
	claim   *owner             // a newer connection that may be the same client
	next    yjs.AwarenessEntry // the newest news of claim, taken when the owner ends; its State is owned
	node    string             // the server it is at, if that is another; else ""
	user    string             // of the owner, from its token
	since   time.Time          // when it came
	seen    time.Time          // when its server last spoke of it
	until   time.Time          // its socket broke off: kept until then
	sent    time.Time          // when news of it last went out
	news    bool               // it is in dirty
	publish bool               // the other servers are to hear of the news
}

// An owner is a session as presence sees it.
type owner struct {
	s    *session // whose socket is written to
	user string
	came time.Time
	ids  map[uint64]struct{} // it owns, or owned and has not lost for good
	left bool
}

type tomb struct {
	clock uint64
	at    time.Time
}

// An outcome lists the actions of the room for one client id.
type outcome struct {
	taken   bool   // false: the entry is dropped
	keep    bool   // put it into the presence bucket
	publish bool   // tell the other servers of it at once
	removed bool   // tell the sessions here that it is gone
	ours    bool   // with removed: tell the other servers and the bucket too
	retell  *owner // tell this owner that its peers gave it up
	over    *cause // the bound that the entry exceeds; nil: none
}

const (
	presenceEvery  = 15 * time.Second // between two signs of life of our entries, to the others and the bucket
	presenceSilent = 40 * time.Second // without a sign of its server an entry is removed
	tombFor        = time.Minute
	evenState      = 16 << 10 // bytes of a state above which its news goes out less often, so that its bytes a second stay the same

	// mostClock is far below the largest integer that JavaScript counts exactly, so that a client whose clock was driven up goes on counting. An entry
	// above it is dropped, as is one that leaps: a clock goes up by one with each state. It may begin anywhere: some clients begin
	// with the time.
	mostClock = 1 << 50
	mostLeap  = 1 << 32
	mostDepth = 256 // of a state's JSON: stock clients compare states by recursion
)

// take judges one entry of a session here. first: it is alone in the session's
// first awareness frame.
func (a *presences) take(o *owner, e yjs.AwarenessEntry, first bool, l *Limits, now time.Time) outcome {
	p := a.byID[e.Client]
	switch {
	case e.Clock > mostClock || e.Depth > mostDepth, p != nil && e.Clock >= p.clock+mostLeap:
		return outcome{}
	case len(e.State) > l.AwarenessState:
		return a.refuse(o, e, p, causePresenceLarge, now)
	case p != nil && p.owner == o && len(e.State) > len(p.state) && a.bytes-len(p.state)+len(e.State) > l.AwarenessBytes:
		return a.refuse(o, e, p, causePresenceFull, now)
	case p == nil:
		return a.appear(o, e, first, l, now)
	case e.State == nil:
		return a.depart(o, e, p, l, now)
	}
	return a.renew(o, e, p, first, l)
}

// refuse drops an entry that is over a bound. The state that an owner's entry grew out of is removed: peers would take it for
// the newest.
func (a *presences) refuse(o *owner, e yjs.AwarenessEntry, p *presence, over *cause, now time.Time) outcome {
	out := outcome{}
	if p != nil && p.owner == o && e.Clock > p.clock {
		out = a.remove(e.Client, e.Clock, now)
		out.taken = true
	}
	out.over = over
	return out
}

// appear judges an entry of an unknown id.
func (a *presences) appear(o *owner, e yjs.AwarenessEntry, first bool, l *Limits, now time.Time) outcome {
	if t, ok := a.gone[e.Client]; e.State == nil || ok && e.Clock <= t.clock && !first {
		return outcome{}
	}
	switch {
	case !o.mayOwn(e.Client, l):
		return outcome{over: causePresenceIDs}
	case len(a.byID) >= l.AwarenessStates, a.bytes+len(e.State) > l.AwarenessBytes:
		return outcome{over: causePresenceFull}
	}
	p := a.add(e.Client, &presence{since: now, publish: true})
	p.give(o, e.Client)
	a.set(e, p)
	return outcome{taken: true, keep: true}
}

// depart judges an entry that says that a known id is gone.
func (a *presences) depart(o *owner, e yjs.AwarenessEntry, p *presence, l *Limits, now time.Time) outcome {
	switch {
	case e.Clock < p.clock:
		return outcome{}
	case p.owner == o && e.Clock == p.clock && a.yield(p, e.Client, l):
		return outcome{keep: true, publish: true} // its old socket says goodbye
	case p.owner == o, p.claim == o && e.Clock > p.clock && o.mayTake(p):
		p.give(o, e.Client)
		out := a.remove(e.Client, e.Clock, now)
		out.taken = true
		return out
	}
	// A peer's timer gave the owner up. Told so, a provider announces itself anew,
	// which brings it back for that peer.
	return outcome{retell: p.owner}
}

// renew judges an entry of a known id that has a state.
func (a *presences) renew(o *owner, e yjs.AwarenessEntry, p *presence, first bool, l *Limits) outcome {
	news := e.Clock > p.clock
	_, had := o.ids[e.Client]
	out := outcome{taken: true}
	switch {
	case p.owner == o:
		if news {
			p.claim, p.next = nil, yjs.AwarenessEntry{}
		}
	case !o.mayTake(p) && p.claim != o && !(first && o.user == p.user && e.Clock >= p.clock):
		return outcome{}
	case !o.mayTake(p), first && e.Clock == p.clock && (p.owner != nil || p.node != ""):
		if p.owner == nil || o.came.After(p.owner.came) {
			if p.claim != o {
				p.claim, p.next = o, yjs.AwarenessEntry{}
			}
			if e.Clock > max(p.clock, p.next.Clock) {
				p.next = yjs.AwarenessEntry{Client: e.Client, Clock: e.Clock, State: bytes.Clone(e.State)}
			}
		}
		return outcome{}
	case first && e.Clock >= p.clock, // a newer connection of the same client
		p.claim == o && news,
		p.owner == nil && p.node == "" && news, // its socket broke off
		had && news:                            // it was taken from o by mistake
		if !o.mayOwn(e.Client, l) {
			return outcome{over: causePresenceIDs}
		}
		p.publish = p.publish || p.node != "" || news
		p.give(o, e.Client)
		out.keep = true
	default:
		return outcome{}
	}
	if news || p.publish {
		p.publish = true
		a.set(e, p)
	}
	return out
}

// takeRemote judges an entry of another server, which speaks only of ids that its
// own connections own.
func (a *presences) takeRemote(node string, e yjs.AwarenessEntry, l *Limits, now time.Time) outcome {
	p := a.byID[e.Client]
	switch {
	case e.Clock > mostClock || e.Depth > mostDepth:
		return outcome{}
	case p == nil:
		if e.State == nil || e.Clock < a.gone[e.Client].clock || len(a.byID) >= l.AwarenessStates ||
			len(e.State) > l.AwarenessState || a.bytes+len(e.State) > l.AwarenessBytes {
			return outcome{}
		}
		a.set(e, a.add(e.Client, &presence{node: node, since: now, seen: now}))
	case e.Clock < p.clock:
		return outcome{}
	case e.State == nil && (p.owner != nil || p.node != node):
		return outcome{}
	case e.State == nil:
		if e.Clock == p.clock && a.yield(p, e.Client, l) {
			return outcome{keep: true, publish: true}
		}
		return a.remove(e.Client, e.Clock, now)
	default:
		// The client has moved there: it announced itself to that server later than
		// to ours, or its old socket here is half open.
		p.owner, p.node, p.seen, p.until = nil, node, now, time.Time{}
		if e.Clock > p.clock {
			p.claim = nil
			a.set(e, p)
		}
	}
	return outcome{taken: true}
}

// leave sees a session off: if it is gone for certain its ids vanish now, else
// they are kept until then for its return. do is called for each.
func (a *presences) leave(o *owner, clean bool, l *Limits, now time.Time, do func(id uint64, out outcome)) {
	o.left = true
	for id := range o.ids {
		p := a.byID[id]
		switch {
		case p == nil || p.owner != o:
		case a.yield(p, id, l):
			do(id, outcome{keep: true, publish: true})
		case clean:
			do(id, a.remove(id, p.clock, now))
		default:
			p.owner, p.until = nil, now.Add(l.LeaveWait)
		}
	}
	o.ids = nil
}

// tick expires ids; do is called for each. It returns the ids that the other
// servers and the bucket are to hear of again.
func (a *presences) tick(l *Limits, now time.Time, do func(id uint64, out outcome)) (ours []uint64) {
	if len(a.byID)+len(a.gone) == 0 {
		return nil
	}
	sign := now.After(a.sign)
	if sign {
		a.sign = now.Add(presenceEvery)
	}
	for id, p := range a.byID {
		switch {
		case p.owner != nil:
			if sign {
				ours = append(ours, id)
			}
		case p.node == "" && now.After(p.until), p.node != "" && now.Sub(p.seen) > presenceSilent:
			if a.yield(p, id, l) {
				do(id, outcome{keep: true, publish: true})
			} else {
				do(id, a.remove(id, p.clock, now))
			}
		}
	}
	for id, t := range a.gone {
		if now.Sub(t.at) > tombFor {
			delete(a.gone, id)
		}
	}
	return ours
}

// due takes the news whose turn it is, each id at most every so often, and an id of a large state less often. published
// are those of entries that the other servers are to hear of; wait is when more is
// due, 0: nothing waits. buf is reused for entries.
func (a *presences) due(every time.Duration, now time.Time, buf []yjs.AwarenessEntry) (entries, published []yjs.AwarenessEntry, wait time.Duration) {
	entries = buf
	later := a.dirty[:0]
	all := true
	for _, id := range a.dirty {
		p := a.byID[id]
		if p == nil {
			continue
		}
		if w := every*time.Duration(1+len(p.state)/evenState) - now.Sub(p.sent); w > 0 {
			wait = max(wait, w)
			later = append(later, id)
			continue
		}
		p.news, p.sent = false, now
		entries = append(entries, p.entry(id))
		all = all && p.publish
	}
	a.dirty = later
	if all {
		published = entries
	}
	for _, e := range entries {
		p := a.byID[e.Client]
		if !all && p.publish {
			published = append(published, e)
		}
		p.publish = false
	}
	return entries, published, wait
}

func (a *presences) add(id uint64, p *presence) *presence {
	if a.byID == nil {
		a.byID = map[uint64]*presence{}
	}
	a.byID[id] = p
	a.bytes += len(p.state)
	delete(a.gone, id)
	return p
}

// set takes an entry's news, which is due with the next.
func (a *presences) set(e yjs.AwarenessEntry, p *presence) {
	p.clock = e.Clock
	a.bytes += len(e.State) - len(p.state)
	p.state = bytes.Clone(e.State)
	if !p.news {
		p.news = true
		a.dirty = append(a.dirty, e.Client)
	}
}

// remove takes an id away.
func (a *presences) remove(id, clock uint64, now time.Time) outcome {
	p := a.byID[id]
	delete(a.byID, id)
	a.bytes -= len(p.state)
	if a.gone == nil {
		a.gone = map[uint64]tomb{}
	}
	a.gone[id] = tomb{clock, now}
	if p.node == "" && p.owner != nil {
		delete(p.owner.ids, id)
	}
	return outcome{removed: true, ours: p.node == ""}
}

// everybody is the awareness update of all ids, nil if there are none.
func (a *presences) everybody() []byte {
	if len(a.byID) == 0 {
		return nil
	}
	entries := make([]yjs.AwarenessEntry, 0, len(a.byID))
	for id, p := range a.byID {
		entries = append(entries, p.entry(id))
	}
	return yjs.AppendAwareness(nil, entries)
}

// departed is the awareness update of the ids removed in the last minute, nil if
// there are none.
func (a *presences) departed() []byte {
	if len(a.gone) == 0 {
		return nil
	}
	entries := make([]yjs.AwarenessEntry, 0, len(a.gone))
	for id, t := range a.gone {
		entries = append(entries, yjs.AwarenessEntry{Client: id, Clock: t.clock})
	}
	return yjs.AppendAwareness(nil, entries)
}

// list is all ids as HTTP shows them. node is this server's.
func (a *presences) list(node string) []stream.Presence {
	list := make([]stream.Presence, 0, len(a.byID))
	for id, p := range a.byID {
		v := stream.Presence{User: p.user, Client: id, Clock: p.clock, Node: p.node, Since: p.since, State: p.state}
		if p.owner != nil {
			v.Node = node
		}
		v.Name, v.Color = nameAndColor(p.state)
		list = append(list, v)
	}
	return list
}

func (p *presence) entry(id uint64) yjs.AwarenessEntry {
	return yjs.AwarenessEntry{Client: id, Clock: p.clock, State: p.state}
}

// give makes o the owner.
func (p *presence) give(o *owner, id uint64) {
	if o.ids == nil {
		o.ids = map[uint64]struct{}{}
	}
	o.ids[id] = struct{}{}
	p.owner, p.claim, p.node, p.user, p.until = o, nil, "", o.user, time.Time{}
	p.next = yjs.AwarenessEntry{}
}

// yield gives an id whose owner has ended to the connection that claims it, with
// the news that it has sent meanwhile, and reports whether there is one.
func (a *presences) yield(p *presence, id uint64, l *Limits) bool {
	o, next := p.claim, p.next
	if o == nil || o.left || !o.mayOwn(id, l) {
		return false
	}
	if p.owner != nil {
		delete(p.owner.ids, id)
	}
	p.give(o, id)
	if next.Clock > p.clock && a.bytes-len(p.state)+len(next.State) <= l.AwarenessBytes {
		p.publish = true
		a.set(next, p)
	}
	return true
}

// mayTake reports whether a session may take an id that is another's: a live one, if both are the same signed-in user's; else
// one that no other user is known to have.
func (o *owner) mayTake(p *presence) bool {
	if p.owner != nil && p.owner != o {
		return o.user != "" && o.user == p.owner.user
	}
	return p.user == "" || p.user == o.user
}

// mayOwn reports whether a session may own one more id.
func (o *owner) mayOwn(id uint64, l *Limits) bool {
	_, had := o.ids[id]
	return had || len(o.ids) < l.AwarenessOwn
}
