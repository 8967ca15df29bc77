package auth

import (
	"sync"
	"time"
)

// Refusals counts how often the same token was refused to the same address. Stock providers come back at once when a socket
// was opened and then closed, but wait longer and longer when it was never opened: a client that does not learn is told by
// HTTP. The zero value is not usable; see NewRefusals.
type Refusals struct {
	mu   sync.Mutex
	seen *recent[refusalKey, [refusalsFree]time.Time]
}

const (
	refusalsFree   = 3 // refusals in refusalWindow that are told over an open socket
	refusalWindow  = time.Minute
	maxRefusalKeys = 65_536
)

type refusalKey struct {
	client string
	token  tokenHash
}

// NewRefusals makes an empty count. It holds at most 65,536 pairs; above that the oldest are forgotten.
func NewRefusals() *Refusals {
	return &Refusals{seen: newRecent[refusalKey, [refusalsFree]time.Time](maxRefusalKeys)}
}

// Refused counts a refusal and reports whether it is the fourth or a later one within a minute, and so to be answered with
// HTTP 401 before the upgrade. Every refused request is counted once, however it is answered.
func (f *Refusals) Refused(ip, token string) bool {
	k := refusalKey{ClientKey(ip), hashToken(token)}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	last, _ := f.seen.get(k) // newest first
	many := !last[refusalsFree-1].IsZero() && now.Sub(last[refusalsFree-1]) < refusalWindow
	copy(last[1:], last[:])
	last[0] = now
	f.seen.put(k, last)
	return many
}

// Rate lets each key do something so often: rate a second in the long run, burst at once. It holds a bounded number of keys;
// one that is forgotten under pressure starts with its burst again. See NewRate.
type Rate struct {
	rate, burst float64

	mu      sync.Mutex
	buckets *recent[string, bucket]
}

type bucket struct {
	left float64
	at   time.Time
}

// NewRate makes a limit of rate a second (above 0) and burst at once, for at most 65,536 keys.
func NewRate(rate, burst float64) *Rate {
	return &Rate{rate: rate, burst: burst, buckets: newRecent[string, bucket](65_536)}
}

// Allow reports whether key may do it now, and counts it if so; wait is how long until it may otherwise.
func (l *Rate) Allow(key string) (ok bool, wait time.Duration) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets.get(key)
	if !known {
		b = bucket{left: l.burst, at: now}
	}
	b.left = min(l.burst, b.left+now.Sub(b.at).Seconds()*l.rate)
	b.at = now
	if ok = b.left >= 1; ok {
		b.left--
	} else {
		wait = time.Duration((1 - b.left) / l.rate * float64(time.Second))
	}
	l.buckets.put(key, b)
	return ok, wait
}

// Slots lets each key have so many of something at a time. See NewSlots.
type Slots struct {
	each, all int

	mu    sync.Mutex
	total int
	held  map[string]int
}

// NewSlots makes a limit of each for one key and all for everybody together; 0 is no limit.
func NewSlots(each, all int) *Slots {
	return &Slots{each: each, all: all, held: make(map[string]int)}
}

// Take takes a slot of key; ok is false, and nothing taken, where none is free. The caller calls give once, when it is done.
func (s *Slots) Take(key string) (give func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all > 0 && s.total >= s.all || s.each > 0 && s.held[key] >= s.each {
		return nil, false
	}
	s.total++
	s.held[key]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.held[key]--; s.held[key] == 0 {
			delete(s.held, key)
		}
	}), true
}

// Len is how many slots are taken.
func (s *Slots) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
