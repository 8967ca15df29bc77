package ingest

import (
	"math"
	"runtime/debug"
	"sync"
	"time"
)

// inbound bounds the memory of large messages of all connections together, until they are stored and sent out, when each is there
// some ten times: a sixty-fourth of the process's memory limit, or 1 GiB. A connection that finds no space waits for the others.
type inbound struct {
	mu    sync.Mutex
	held  int64         // bytes
	most  int64         // of held, but for the elder's
	elder any           // whose message goes on whatever the others hold, so that one always ends; nil: nobody's
	freed chan struct{} // closed when something was given back
}

const (
	largeMessage = 256 << 10 // bytes; smaller ones are not counted
	mostInbound  = 1 << 30
)

func newInbound() *inbound {
	in := &inbound{most: mostInbound, freed: make(chan struct{})}
	if l := debug.SetMemoryLimit(-1); l != math.MaxInt64 {
		in.most = min(mostInbound, max(l/64, 4<<20))
	}
	return in
}

// take counts n more bytes of a large message for its holder, and reports whether it may go on; else freed is closed when it may ask
// again.
func (in *inbound) take(holder any, n int) (ok bool, freed <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.held+int64(n) > in.most && in.elder != holder {
		if in.elder != nil {
			return false, in.freed
		}
		in.elder = holder
	}
	in.held += int64(n)
	return true, nil
}

// wait takes n more bytes for a holder as soon as there is room, in inbound and in the process's memory; causeInboundFull: there was
// none for as long as patience. After an error, also that done is closed, nothing is taken.
func (in *inbound) wait(m *memory, holder any, n int, patience time.Duration, done <-chan struct{}) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	again := time.NewTicker(collectEvery) // memory may have become free meanwhile
	defer again.Stop()
	for {
		var freed <-chan struct{}
		if m.takes(n) {
			var ok bool
			if ok, freed = in.take(holder, n); ok {
				return nil
			}
		}
		select {
		case <-freed:
		case <-again.C:
		case <-late.C:
			return causeInboundFull
		case <-done:
			return causeGone
		}
	}
}

// give takes back all n bytes that the holder has taken.
func (in *inbound) give(holder any, n int) {
	if n == 0 {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.held -= int64(n)
	if in.elder == holder {
		in.elder = nil
	}
	close(in.freed)
	in.freed = make(chan struct{})
}
