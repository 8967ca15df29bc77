package ingest

import (
	"math"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync"
	"time"
)

// memory keeps the process below the runtime's memory limit (GOMEMLIMIT, or what cmd makes of the container's). The limit alone makes
// the garbage collector work harder, and in the end work without result while the kernel looks for whom to kill. What lives is
// what counts: above three quarters of the limit documents that nobody uses are forgotten at once, and no more are opened.
// Without a limit it only bounds what large messages hold while they come in.
type memory struct {
	limit uint64 // bytes; 0: none

	mu     sync.Mutex
	looked time.Time // when it was last asked, and what the answer was
	full   bool

	incoming int64         // bytes of large messages that are being read or taken in
	most     int64         // of incoming, but for the elder's
	elder    any           // whose message goes on whatever the others hold, so that one always ends; nil: nobody's
	freed    chan struct{} // closed when something was given back
}

const (
	largeMessage = 256 << 10 // smaller ones are not counted
	mostIncoming = 1 << 30
	lookEvery    = 250 * time.Millisecond
	collectEvery = time.Second
)

func newMemory() *memory {
	m := &memory{most: mostIncoming, freed: make(chan struct{})}
	if l := debug.SetMemoryLimit(-1); l > 0 && l < math.MaxInt64 {
		m.limit, m.most = uint64(l), min(mostIncoming, max(l/4, 64<<20))
	}
	return m
}

// loads is how many documents may be read at once: one of 50 MB takes three times as much while it is.
func (m *memory) loads(most int) int {
	if m.limit == 0 {
		return most
	}
	return int(min(max(m.limit/(128<<20), 1), uint64(most)))
}

// tight reports whether nothing more should be opened.
func (m *memory) tight() bool {
	if m.limit == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(m.looked) < lookEvery || m.full && now.Sub(m.looked) < collectEvery {
		return m.full
	}
	m.full = m.used() > m.limit/4*3
	if m.full {
		// Much of it may be garbage, which the runtime is in no hurry to find before the limit.
		runtime.GC()
		m.full = m.used() > m.limit/4*3
	}
	m.looked = time.Now()
	return m.full
}

func (m *memory) used() uint64 {
	s := [...]runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	runtimemetrics.Read(s[:])
	return s[0].Value.Uint64() + s[1].Value.Uint64()
}

// take counts n more bytes of a large message for its holder, and reports whether it may go on; else freed is closed when it may ask
// again.
func (m *memory) take(holder any, n int) (ok bool, freed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.incoming+int64(n) > m.most && m.elder != holder {
		if m.elder != nil {
			return false, m.freed
		}
		m.elder = holder
	}
	m.incoming += int64(n)
	return true, nil
}

// give takes back all n bytes that the holder has taken.
func (m *memory) give(holder any, n int) {
	if n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.incoming -= int64(n)
	if m.elder == holder {
		m.elder = nil
	}
	close(m.freed)
	m.freed = make(chan struct{})
}
