package ingest

import (
	"math"
	"runtime"
	"runtime/debug"
	rtm "runtime/metrics"
	"sync"
	"time"
)

// A memory tells how near the process is to its memory limit (GOMEMLIMIT; without one it never is). The Go runtime keeps to the limit
// by collecting garbage; live memory goes over it, until the kernel kills the process with all its connections. So there must be
// memory for a document before it is loaded: unused rooms are unloaded first, and then the request is refused.
type memory struct {
	mu        sync.Mutex
	reserved  int64 // by loads under way
	collected time.Time
	samples   []rtm.Sample
}

const (
	// memoryShare of the limit may be in use when a document is opened. The rest is for edits, folds, and the caches of NATS.
	memoryShare = 0.7
	// loadCost is the memory to load and fold a document once, in times its state.
	loadCost = 5
	// messageCost is the memory of a message, in times its size: as received, on its way into NATS, in the cache of NATS's files, on
	// its way back, and in the document.
	messageCost = 8
	// collectEvery is the shortest time between two forced garbage collections.
	collectEvery = time.Second
)

func newMemory() *memory {
	m := &memory{}
	for _, name := range []string{"/memory/classes/total:bytes", "/memory/classes/heap/released:bytes", "/memory/classes/heap/free:bytes",
		"/memory/classes/heap/unused:bytes", "/memory/classes/heap/objects:bytes", "/gc/heap/live:bytes"} {
		m.samples = append(m.samples, rtm.Sample{Name: name})
	}
	return m
}

// limit is how many bytes may be in use when a document is opened; 0: no limit.
func (m *memory) limit() int64 {
	l := debug.SetMemoryLimit(-1)
	if l == math.MaxInt64 {
		return 0
	}
	return int64(float64(l) * memoryShare)
}

// reserve sets n bytes aside, if they are there. The caller owes a release of as many.
func (m *memory) reserve(n int64) bool {
	limit := m.limit()
	m.mu.Lock()
	defer m.mu.Unlock()
	if limit > 0 && !m.fitsLocked(n, limit) {
		return false
	}
	m.reserved += n
	return true
}

func (m *memory) release(n int64) {
	m.mu.Lock()
	m.reserved -= n
	m.mu.Unlock()
}

// tight reports whether nothing more should be opened.
func (m *memory) tight() bool {
	limit := m.limit()
	if limit == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.fitsLocked(0, limit)
}

// takes reports whether n bytes of a message may be read. They may go up to the limit itself: it is for them that documents leave room.
func (m *memory) takes(n int) bool {
	if m.limit() == 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fitsLocked(int64(n)*messageCost, debug.SetMemoryLimit(-1))
}

// folds is how many documents may be folded at once.
func (m *memory) folds(most int) int {
	if m.limit() == 0 {
		return most
	}
	return int(min(max(debug.SetMemoryLimit(-1)/(256<<20), 1), int64(most)))
}

func (m *memory) fitsLocked(n, limit int64) bool {
	n += m.reserved
	all, live := m.inUseLocked()
	if all+n <= limit {
		return true
	}
	if time.Since(m.collected) > collectEvery {
		runtime.GC()
		m.collected = time.Now()
		_, live = m.inUseLocked()
	}
	return live+n <= limit
}

// inUseLocked returns the bytes in use with all garbage, and those in use without the garbage of the last collection.
func (m *memory) inUseLocked() (all, live int64) {
	rtm.Read(m.samples)
	v := func(i int) int64 { return int64(m.samples[i].Value.Uint64()) }
	all = v(0) - v(1) - v(2) - v(3)
	return all, all - v(4) + v(5)
}
