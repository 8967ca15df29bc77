package ingest

import (
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// A gate counts who comes in, before a socket costs anything. Addresses of the
// loopback are programs of this host, or a proxy for everybody: they are only
// counted in all.
type gate struct {
	limits Limits

	mu      sync.Mutex
	open    int
	byIP    map[string]*visitor
	strikes map[[16]byte]*strike // refusals by address and token
}

type visitor struct {
	open int
	rate bucket
}

type strike struct {
	count int
	since time.Time
}

func newGate(l Limits) *gate {
	return &gate{limits: l, byIP: map[string]*visitor{}, strikes: map[[16]byte]*strike{}}
}

func loopback(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && a.IsLoopback()
}

// enter counts a connection in, or says why not. The caller owes a leave.
func (g *gate) enter(ip string, now time.Time) *cause {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.limits.Connections {
		return causeOverloaded
	}
	if !loopback(ip) {
		v := g.byIP[ip]
		if v == nil {
			v = &visitor{rate: newBucket(g.limits.NewPerIP, g.limits.NewPerIPBurst, now)}
			g.byIP[ip] = v
		}
		if v.open >= g.limits.PerIP || !v.rate.allow(now) {
			return causeTooMany
		}
		v.open++
	}
	g.open++
	return nil
}

func (g *gate) leave(ip string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if v := g.byIP[ip]; v != nil {
		v.open--
	}
}

// refusalsFree is how many refusals a minute are told over a socket; from then
// on they are told before the upgrade, where providers do back off.
const refusalsFree = 3

func strikeKey(ip, token string) [16]byte {
	sum := sha256.Sum256([]byte(ip + "\x00" + token))
	return [16]byte(sum[:16])
}

// strike notes that somebody was refused.
func (g *gate) strike(ip, token string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := strikeKey(ip, token)
	st := g.strikes[k]
	if st == nil || now.Sub(st.since) > time.Minute {
		if len(g.strikes) >= 100_000 {
			clear(g.strikes)
		}
		g.strikes[k] = &strike{1, now}
		return
	}
	st.count++
}

// repeated reports whether this token is refused again and again.
func (g *gate) repeated(ip, token string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	st := g.strikes[strikeKey(ip, token)]
	return st != nil && st.count >= refusalsFree && now.Sub(st.since) <= time.Minute
}

// tick forgets who has not been here for a while.
func (g *gate) tick(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ip, v := range g.byIP {
		if v.open == 0 && v.rate.full(now) {
			delete(g.byIP, ip)
		}
	}
	for k, st := range g.strikes {
		if now.Sub(st.since) > time.Minute {
			delete(g.strikes, k)
		}
	}
}

// clientIP is the address a request comes from: the peer's, or what a trusted
// proxy says it was, read from the right as far as proxies are trusted.
func (s *Server) clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	trusted := func(ip string) bool {
		a, err := netip.ParseAddr(ip)
		if err != nil {
			return false
		}
		for _, p := range s.o.TrustedProxies {
			if p.Contains(a.Unmap()) {
				return true
			}
		}
		return false
	}
	if !trusted(host) {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		host = hop
		if !trusted(hop) {
			break
		}
	}
	return host
}
