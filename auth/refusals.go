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

// Refused counts a refusal.
func (f *Refusals) Refused(ip, token string) {
	k := refusalKey{ClientKey(ip), hashToken(token)}
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
	k := refusalKey{ClientKey(ip), hashToken(token)}
	f.mu.Lock()
	defer f.mu.Unlock()
	last, ok := f.seen.get(k)
	third := last[refusalsFree-1]
	return ok && !third.IsZero() && time.Since(third) < refusalWindow
}
