package auth

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// recent is a bounded map that forgets entries not used recently. It has two halves: when the younger is full, the older is
// dropped and the younger takes its place. It needs no list and no clock. The caller locks.
type recent[K comparable, V any] struct {
	half       int // entries in a half
	young, old map[K]V
}

// newRecent makes a map of at most max entries.
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

// verifiedCache keeps the identities of verified tokens by their hash, so that a reconnect, a second document or an HTTP call
// costs a hash instead of a signature. It holds accepted tokens only, so clients without a valid token cannot fill it. A change
// of keys empties it.
//
// It also keeps the parsed headers of accepted tokens: tokens signed with the same key have identical headers.
type verifiedCache struct {
	mu      sync.Mutex // guards the fields below: an identity is stored only under the generation of keys that verified it
	ids     *recent[tokenHash, *identity]
	headers *recent[string, header] // by a token's first part
	turns   uint64                  // the generation: counts changes of keys
}

// maxVerified bounds the cached tokens; one takes some 2 KiB with its claims.
const maxVerified = 8192

// maxHeaders bounds the cached headers: an issuer has a few keys.
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

// generation returns the number of the keys in force. A token that was checked under an older number is not cached.
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
	c.headers.put(strings.Clone(first), h) // a clone, so that the map does not keep the whole token alive
}

func (c *verifiedCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns++
	c.ids.clear()
}
