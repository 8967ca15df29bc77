package auth

import (
	"hash/maphash"
	"sync"
	"time"
)

// Refusals counts the refusals of one token from one address. Stock providers reconnect at once after a socket that was opened and
// closed, but back off when the upgrade fails: after some refusals a client is therefore refused over HTTP. The zero value is not
// usable; see NewRefusals. It is safe for concurrent use.
type Refusals struct {
	seed maphash.Seed
	mu   sync.Mutex // guards seen
	seen *recent[refusalKey, [refusalsFree]time.Time]
}

const (
	refusalsFree   = 3 // refusals per refusalWindow that are reported over an open socket
	refusalWindow  = time.Minute
	maxRefusalKeys = 65_536
)

// refusalKey names a token by a seeded 64-bit hash, which a client cannot predict. Two tokens with one hash are counted together.
type refusalKey struct {
	client string
	token  uint64
}

// NewRefusals makes an empty count. It holds at most 65,536 pairs of token and address; beyond that the oldest are forgotten.
func NewRefusals() *Refusals {
	return &Refusals{seed: maphash.MakeSeed(), seen: newRecent[refusalKey, [refusalsFree]time.Time](maxRefusalKeys)}
}

// Refused counts a refusal.
func (f *Refusals) Refused(ip, token string) {
	k := refusalKey{ClientKey(ip), maphash.String(f.seed, token)}
	f.mu.Lock()
	defer f.mu.Unlock()
	last, _ := f.seen.get(k) // newest first
	copy(last[1:], last[:])
	last[0] = time.Now()
	f.seen.put(k, last)
}

// Many reports whether the pair was refused three times within the last minute: the next refusal must be an HTTP 401 before the
// upgrade. The caller still checks the token, since rights may have been granted meanwhile.
func (f *Refusals) Many(ip, token string) bool {
	k := refusalKey{ClientKey(ip), maphash.String(f.seed, token)}
	f.mu.Lock()
	defer f.mu.Unlock()
	last, ok := f.seen.get(k)
	third := last[refusalsFree-1]
	return ok && !third.IsZero() && time.Since(third) < refusalWindow
}
