package ingest

import (
	"net/netip"
	"sync"
	"time"

	"yjet/auth"
	"yjet/stream"
)

// A gate counts who comes in, before a socket costs anything. Addresses of the
// loopback are programs of this host, or a proxy for everybody: they are only
// counted in all.
type gate struct {
	limits Limits

	mu     sync.Mutex
	total  int
	byIP   map[string]*visitor           // by auth.ClientKey
	byUser map[string]map[stream.Doc]int // sessions of a user in each document

	refusals *auth.Refusals
}

type visitor struct {
	open  int
	rate  bucket
	begun bucket // documents
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

// mayBegin counts a document that somebody at ip begins, unless those were too many lately.
func (g *gate) mayBegin(ip string, now time.Time) bool {
	if loopback(ip) {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitor(ip, now)
	return v.begun.allow(now)
}

func newGate(l Limits) *gate {
	return &gate{limits: l, byIP: map[string]*visitor{}, byUser: map[string]map[stream.Doc]int{}, refusals: auth.NewRefusals()}
}

func loopback(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && a.IsLoopback()
}

// enter counts a connection in, or says why not. The caller owes a leave.
func (g *gate) enter(ip string, now time.Time) *cause {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.limits.Connections {
		return causeOverloaded
	}
	if !loopback(ip) {
		v := g.visitor(ip, now)
		if v.open >= g.limits.PerIP || !v.rate.allow(now) {
			return causeTooMany
		}
		v.open++
	}
	g.total++
	return nil
}

func (g *gate) leave(ip string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if v := g.byIP[auth.ClientKey(ip)]; v != nil {
		v.open--
	}
}

// open counts a document that a user has open, unless there are too many already. Who has no name is not counted.
func (g *gate) open(user string, doc stream.Doc) bool {
	if user == "" {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	docs := g.byUser[user]
	if docs[doc] == 0 && len(docs) >= g.limits.PerUser {
		return false
	}
	if docs == nil {
		docs = map[stream.Doc]int{}
		g.byUser[user] = docs
	}
	docs[doc]++
	return true
}

// shut takes back what open counted.
func (g *gate) shut(user string, doc stream.Doc) {
	if user == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	docs := g.byUser[user]
	if docs[doc]--; docs[doc] <= 0 {
		delete(docs, doc)
	}
	if len(docs) == 0 {
		delete(g.byUser, user)
	}
}

// tick forgets who has not been here for a while.
func (g *gate) tick(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ip, v := range g.byIP {
		if v.open == 0 && v.rate.full(now) && v.begun.full(now) {
			delete(g.byIP, ip)
		}
	}
}
