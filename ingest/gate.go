package ingest

import (
	"net/netip"
	"sync"
	"time"

	"yjet/auth"
	"yjet/stream"
)

// A gate counts sockets and documents by address and by user, before they cost anything. A socket counts for its address until
// a token names its user; from then on it counts for the user, so that a class or an office behind one address does not share
// one allowance. Loopback addresses are programs of this host, or a proxy for everybody: their sockets count in the total only.
type gate struct {
	limits Limits

	// mu guards everything below. Its holder sees each socket counted once: for its address, or for its user.
	mu     sync.Mutex
	total  int
	byIP   map[string]*visitor // by auth.ClientKey
	byUser map[string]*member

	refusals *auth.Refusals
}

// visitor is one address.
type visitor struct {
	open  int    // sockets whose user is not known
	asked int    // HTTP requests being answered
	rate  bucket // new sockets
	begun bucket // new documents of clients without a user
}

// member is one signed-in user.
type member struct {
	open  int // sockets
	docs  map[stream.Doc]int
	begun bucket
}

// gateHold is the longest time that a newcomer above a rate waits for its turn; it is refused where it would take longer.
const gateHold = 5 * time.Second

func newGate(l Limits) *gate {
	return &gate{limits: l, byIP: map[string]*visitor{}, byUser: map[string]*member{}, refusals: auth.NewRefusals()}
}

func loopback(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && a.IsLoopback()
}

// visitor finds an address or begins to count it. Callers hold the lock.
func (g *gate) visitor(ip string, now time.Time) *visitor {
	ip = auth.ClientKey(ip)
	v := g.byIP[ip]
	if v == nil {
		v = &visitor{rate: newBucket(g.limits.NewPerIP, g.limits.NewPerIPBurst, now), begun: newBucket(g.limits.NewDocuments/60, g.limits.NewDocuments, now)}
		g.byIP[ip] = v
	}
	return v
}

// member finds a user or begins to count them. Callers hold the lock.
func (g *gate) member(user string, now time.Time) *member {
	m := g.byUser[user]
	if m == nil {
		m = &member{docs: map[stream.Doc]int{}, begun: newBucket(g.limits.NewDocuments/60, g.limits.NewDocuments, now)}
		g.byUser[user] = m
	}
	return m
}

// enter counts a new socket of an address, and returns how long it waits before it is let in, or why it is refused. The caller
// owes a leave.
func (g *gate) enter(ip string, now time.Time) (hold time.Duration, cs *cause) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.limits.Connections {
		return 0, causeServerFull
	}
	if !loopback(ip) {
		v := g.visitor(ip, now)
		if v.open >= g.limits.PerIP {
			return 0, causeAddressFull
		}
		var ok bool
		if hold, ok = v.rate.takeWithin(gateHold, now); !ok {
			return 0, causeAddressRate
		}
		v.open++
	}
	g.total++
	return hold, nil
}

// signIn counts a socket for its user from now on, no longer for its address, and reports whether the user may have one more.
// The caller passes user to leave.
func (g *gate) signIn(ip, user string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.member(user, now)
	if m.open >= g.limits.PerUser {
		return false
	}
	m.open++
	if v := g.byIP[auth.ClientKey(ip)]; v != nil && !loopback(ip) {
		v.open--
	}
	return true
}

// leave undoes the count of enter and, where user is not "", that of signIn.
func (g *gate) leave(ip, user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if user != "" {
		g.byUser[user].open--
	} else if v := g.byIP[auth.ClientKey(ip)]; v != nil {
		v.open--
	}
}

// ask counts an HTTP request of an address, and reports whether it is answered. The caller owes an answered where it is.
func (g *gate) ask(ip string, now time.Time) bool {
	if loopback(ip) {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitor(ip, now)
	if v.asked >= g.limits.Requests {
		return false
	}
	v.asked++
	return true
}

// answered undoes the count of ask.
func (g *gate) answered(ip string) {
	if loopback(ip) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byIP[auth.ClientKey(ip)].asked--
}

// mayBegin counts a new document of a user, or of an address where nobody is signed in. It returns how long the client is to
// wait before its next one, and false where the document itself would have to wait too long.
func (g *gate) mayBegin(ip, user string, now time.Time) (hold time.Duration, ok bool) {
	if user == "" && loopback(ip) {
		return 0, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if user != "" {
		return g.member(user, now).begun.takeWithin(gateHold, now)
	}
	return g.visitor(ip, now).begun.takeWithin(gateHold, now)
}

// open counts a document that a user has open, and reports whether they may have one more. A client without a user is not counted.
func (g *gate) open(user string, doc stream.Doc) bool {
	if user == "" {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.member(user, time.Now())
	if m.docs[doc] == 0 && len(m.docs) >= g.limits.UserDocuments {
		return false
	}
	m.docs[doc]++
	return true
}

// shut undoes the count of open.
func (g *gate) shut(user string, doc stream.Doc) {
	if user == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	docs := g.byUser[user].docs
	if docs[doc]--; docs[doc] <= 0 {
		delete(docs, doc)
	}
}

// tick removes the addresses and users that have nothing open and whose rates have recovered.
func (g *gate) tick(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ip, v := range g.byIP {
		if v.open == 0 && v.asked == 0 && v.rate.full(now) && v.begun.full(now) {
			delete(g.byIP, ip)
		}
	}
	for user, m := range g.byUser {
		if m.open == 0 && len(m.docs) == 0 && m.begun.full(now) {
			delete(g.byUser, user)
		}
	}
}
