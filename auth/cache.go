package auth

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// recent is a bounded map that forgets what was not asked for lately: two halves, of which the older is dropped when the
// younger is full. It costs no list and no clock. The caller locks.
type recent[K comparable, V any] struct {
	half       int // entries in a half
	young, old map[K]V
}

// newRecent makes one of at most max entries.
func newRecent[K comparable, V any](max int) *recent[K, V] {
	return &recent[K, V]{half: (max + 1) / 2, young: make(map[K]V)}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	v, ok := r.young[k]
	if !ok {
		if v, ok = r.old[k]; ok {
			r.put(k, v)
		}
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	if _, ok := r.young[k]; !ok && len(r.young) >= r.half {
		r.old, r.young = r.young, make(map[K]V)
	}
	r.young[k] = v
}

func (r *recent[K, V]) remove(k K) {
	delete(r.young, k)
	delete(r.old, k)
}

func (r *recent[K, V]) removeFunc(match func(K, V) bool) {
	maps.DeleteFunc(r.young, match)
	maps.DeleteFunc(r.old, match)
}

func (r *recent[K, V]) clear() {
	r.young, r.old = make(map[K]V), nil
}

func (r *recent[K, V]) len() int { return len(r.young) + len(r.old) }

// verifiedCache keeps what verified tokens said, by their hash, so that a reconnect, a second document or an HTTP call costs
// a hash instead of a signature. Only what was accepted is kept, so strangers cannot fill it; a change of keys empties it.
//
// It also keeps what the headers of accepted tokens said: those of one key are the same, letter by letter.
type verifiedCache struct {
	mu      sync.Mutex
	ids     *recent[tokenHash, *identity]
	headers *recent[string, header] // by a token's first part
	turns   uint64
}

// maxVerified is how many tokens are remembered; with their claims some 2 KiB each.
const maxVerified = 8192

// maxHeaders is how many headers are remembered: an issuer has a few keys.
const maxHeaders = 64

func newVerifiedCache() *verifiedCache {
	return &verifiedCache{ids: newRecent[tokenHash, *identity](maxVerified), headers: newRecent[string, header](maxHeaders)}
}

func (c *verifiedCache) get(h tokenHash) *identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.ids.get(h)
	if !ok {
		return nil
	}
	if !id.inForce(time.Now()) {
		c.ids.remove(h)
		return nil
	}
	return id
}

// generation names the keys in force: what was checked under older ones is not kept.
func (c *verifiedCache) generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.turns
}

func (c *verifiedCache) put(h tokenHash, id *identity, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation == c.turns {
		c.ids.put(h, id)
	}
}

func (c *verifiedCache) header(first string) (header, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers.get(first)
}

func (c *verifiedCache) putHeader(first string, h header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers.put(strings.Clone(first), h) // not to keep the whole token
}

func (c *verifiedCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns++
	c.ids.clear()
}
