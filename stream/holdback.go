package stream

import (
	"slices"
	"sync"
	"sync/atomic"
)

// holdback keeps tails from delivering records of this process's atomic batches until the batch is acknowledged.
//
// A batch is acknowledged after its sync to disk. But the server queues the copies for the live feed while it stores the batch, and
// sends them even if the sync then fails; single messages are copied only once they are synced. On a failing disk, users would see
// edits that are not stored. The acknowledgement follows the copies on the same connection, so the wait is too short to notice.
// Batches of other processes cannot be recognised; they share our NATS server only where one disk serves several processes.
type holdback struct {
	count  atomic.Int32 // writers in byWriter: usually none, and then no lock is taken
	failed func()       // called after a failed append, to probe the store; may be nil

	mu       sync.Mutex             // guards byWriter and its heldWriters
	byWriter map[uint64]*heldWriter // writers with a batch that is not acknowledged
}

// heldWriter is one writer whose records tails hold back.
type heldWriter struct {
	failed  bool    // its append ended without an acknowledgement: held until the store takes messages again
	waiting []*Tail // tails that stopped at one of its records
}

// begin marks the writer's records as unacknowledged: tails hold them back until end.
func (h *holdback) begin(writer uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byWriter == nil {
		h.byWriter = map[uint64]*heldWriter{}
	}
	if h.byWriter[writer] == nil {
		h.byWriter[writer] = &heldWriter{}
		h.count.Add(1)
	}
}

// end lets tails show the writer's records. After a failed append they stay held back until storeWell.
func (h *holdback) end(writer uint64, failed bool) {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	w := h.byWriter[writer]
	if w == nil || failed {
		if w != nil {
			w.failed = true
		}
		h.mu.Unlock()
		if w != nil && h.failed != nil {
			h.failed()
		}
		return
	}
	delete(h.byWriter, writer)
	h.count.Add(-1)
	h.mu.Unlock()
	for _, t := range w.waiting {
		t.feed.release(t, false)
	}
}

// storeWell is called when the store has synced a message. Tails then read the stored records of failed appends from the log.
func (h *holdback) storeWell() {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	var waiting []*Tail
	for writer, w := range h.byWriter {
		if w.failed {
			waiting = append(waiting, w.waiting...)
			delete(h.byWriter, writer)
			h.count.Add(-1)
		}
	}
	h.mu.Unlock()
	for _, t := range waiting {
		t.feed.release(t, true)
	}
}

// holds reports whether a record of the writer must be held back. t is released when it no longer must.
func (h *holdback) holds(writer uint64, t *Tail) bool {
	if writer == 0 || h.count.Load() == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.byWriter[writer]
	if w == nil {
		return false
	}
	if !slices.Contains(w.waiting, t) {
		w.waiting = append(w.waiting, t)
	}
	return true
}

// release has the feed's goroutine resume a tail that held records back. reread: those records may not be in the log.
func (f *feed) release(t *Tail, reread bool) {
	f.releasedMu.Lock()
	f.released = append(f.released, released{t, reread})
	f.releasedMu.Unlock()
	f.nudge()
}

// nudge wakes the feed's goroutine.
func (f *feed) nudge() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

type released struct {
	t      *Tail
	reread bool
}

// takeReleased resumes the tails that were released.
func (f *feed) takeReleased() {
	f.releasedMu.Lock()
	list := f.released
	f.released = nil
	f.releasedMu.Unlock()
	for _, r := range list {
		if r.t.resume(r.reread) {
			f.dirty = append(f.dirty, r.t)
		}
	}
}

// resume delivers the records that the tail held back. dirtied reports that the sink needs its first flush in this burst.
func (t *Tail) resume(reread bool) (dirtied bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() || !t.held {
		return false
	}
	t.held = false
	if reread {
		t.kept, t.keptLen, t.spilled = nil, 0, true
	}
	if t.spilled {
		t.spilled = false
		t.repair("order")
		return false
	}
	before := t.dirty
	t.takeKept()
	if !t.held {
		if t.filling = len(t.kept) > 0; t.filling {
			t.repair("order")
		}
	}
	return t.dirty && !before
}

// takeKept delivers the kept records that are next in order and not held back.
func (t *Tail) takeKept() {
	i := 0
	for ; i < len(t.kept); i++ {
		r := t.kept[i]
		if r.Seq <= t.Seq() {
			continue
		}
		if r.Prev != t.Seq() {
			break
		}
		if t.shard.holdback.holds(r.Sum.Writer, t) {
			t.held = true
			break
		}
		t.deliver(r)
		t.dirty = true
	}
	for _, r := range t.kept[:i] {
		t.keptLen -= len(r.Update)
	}
	n := copy(t.kept, t.kept[i:])
	clear(t.kept[n:])
	if t.kept = t.kept[:n]; n == 0 {
		t.kept, t.keptLen = nil, 0
	}
}
