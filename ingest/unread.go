package ingest

import (
	"math"
	"runtime/debug"
	"sync"
	"time"
)

// unread bounds the large answers of all sockets and HTTP requests that wait for their readers: an eighth of the process's memory
// limit, or 1 GiB. A state that several readers share counts once. An answer that finds no room waits for others to be read.
type unread struct {
	// mu guards everything below. Its holder sees held as the sum of the shared answers and those of one reader.
	mu     sync.Mutex
	held   int64 // bytes
	most   int64
	shared map[*byte]*sharedAnswer // by the first byte of the state
	freed  chan struct{}           // closed when something was given back
}

type sharedAnswer struct{ bytes, readers int }

const mostUnread = 1 << 30

func newUnread() *unread {
	u := &unread{most: mostUnread, shared: map[*byte]*sharedAnswer{}, freed: make(chan struct{})}
	if l := debug.SetMemoryLimit(-1); l != math.MaxInt64 {
		u.most = min(mostUnread, max(l/8, 16<<20))
	}
	return u
}

// A reading is an answer that counts until its reader has it. A nil reading counts nothing.
type reading struct {
	u     *unread
	key   *byte // of a shared state; nil: the answer is this reader's alone
	bytes int
}

// take counts an answer of n bytes, of which state, unless it is nil, is the state that other readers share. It waits up to
// longest for room, or until done, and returns false where there was none. The caller owes a give.
func (u *unread) take(state []byte, n int, longest time.Duration, done <-chan struct{}) (*reading, bool) {
	if n < largeMessage {
		return nil, true
	}
	var late <-chan time.Time
	for {
		r, freed := u.try(state, n)
		if r != nil {
			return r, true
		}
		if late == nil {
			t := time.NewTimer(longest)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-freed:
		case <-late:
			return nil, false
		case <-done:
			return nil, false
		}
	}
}

// try counts an answer if there is room. The largest answer of all is let in alone.
func (u *unread) try(state []byte, n int) (*reading, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var key *byte
	if len(state) > 0 {
		key = &state[0]
		if s := u.shared[key]; s != nil {
			s.readers++
			return &reading{u, key, s.bytes}, nil
		}
	}
	if u.held > 0 && u.held+int64(n) > u.most {
		return nil, u.freed
	}
	u.held += int64(n)
	if key != nil {
		u.shared[key] = &sharedAnswer{bytes: n, readers: 1}
	}
	return &reading{u, key, n}, nil
}

// shrink counts n bytes from now on, where the answer turned out smaller than was reserved for it.
func (r *reading) shrink(n int) {
	if r == nil || r.key != nil || n >= r.bytes {
		return
	}
	r.u.mu.Lock()
	defer r.u.mu.Unlock()
	r.u.free(r.bytes - n)
	r.bytes = n
}

// give takes the answer back. A second call does nothing. Not safe for concurrent use on one reading.
func (r *reading) give() {
	if r == nil || r.bytes == 0 {
		return
	}
	r.u.mu.Lock()
	defer r.u.mu.Unlock()
	n := r.bytes
	r.bytes = 0
	if r.key != nil {
		s := r.u.shared[r.key]
		if s.readers--; s.readers > 0 {
			return
		}
		delete(r.u.shared, r.key)
	}
	r.u.free(n)
}

// free gives bytes back. Callers hold the lock.
func (u *unread) free(n int) {
	u.held -= int64(n)
	close(u.freed)
	u.freed = make(chan struct{})
}
