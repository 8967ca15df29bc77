package auth

import (
	"hash/maphash"
	"sync"
	"time"
)

// Refusals counts how often the same token was refused to the same address. Stock providers come back at once when a socket
// was opened and then closed, but wait longer and longer when it was never opened: a client that does not learn is told by
// HTTP. The zero value is not usable; see NewRefusals.
type Refusals struct {
	seed maphash.Seed
	mu   sync.Mutex
	seen *recent[refusalKey, [refusalsFree]time.Time]
}

const (
	refusalsFree   = 3 // refusals in refusalWindow that are told over an open socket
	refusalWindow  = time.Minute
	maxRefusalKeys = 65_536
)

// refusalKey names the token by 64 bits that nobody outside can aim at: two of one address that share them are counted together.
type refusalKey struct {
	client string
	token  uint64
}

// NewRefusals makes an empty count. It holds at most 65,536 pairs; above that the oldest are forgotten.
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

// Many reports whether one more refusal would be the fourth or a later one within a minute, and so is to be told with HTTP 401
// before the upgrade. It is no refusal itself: rights may have come meanwhile.
func (f *Refusals) Many(ip, token string) bool {
	k := refusalKey{ClientKey(ip), maphash.String(f.seed, token)}
	f.mu.Lock()
	defer f.mu.Unlock()
	last, ok := f.seen.get(k)
	third := last[refusalsFree-1]
	return ok && !third.IsZero() && time.Since(third) < refusalWindow
}
