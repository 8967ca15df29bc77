package stream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// proofs hold back from the live feed what this process appends in an atomic batch, until the batch is acknowledged.
//
// A batch is acknowledged after its sync of the disk. But the server queues the copies for the live feed while it stores the
// batch, and sends them even when the sync then fails; single messages are copied only once they are synced. On a dying disk
// the copy alone would show people what is not stored. The acknowledgement follows the copies on the same connection, so
// waiting for it costs a good batch nothing that a person notices. Copies of other processes' batches cannot be told apart
// from others; they share our NATS server only where one disk serves several processes.
type proofs struct {
	open   atomic.Int32 // how many are in byWriter: none is the usual case
	unsure func()       // an append failed: find out whether the store is well, though nobody may append here any more; or nil

	mu       sync.Mutex
	byWriter map[uint64]*proof // of appends with a batch under way
}

// proof is one append that is not proven yet.
type proof struct {
	failed  bool // it ended without an acknowledgement: nothing is known until the store takes messages again
	waiting []*Tail
}

// begin: from now on records of the writer prove nothing.
func (p *proofs) begin(writer uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byWriter == nil {
		p.byWriter = map[uint64]*proof{}
	}
	if p.byWriter[writer] == nil {
		p.byWriter[writer] = &proof{}
		p.open.Add(1)
	}
}

// end: the writer's append is over. Without an acknowledgement its records stay held back until storeWell.
func (p *proofs) end(writer uint64, failed bool) {
	if p.open.Load() == 0 {
		return
	}
	p.mu.Lock()
	pr := p.byWriter[writer]
	if pr == nil || failed {
		if pr != nil {
			pr.failed = true
		}
		p.mu.Unlock()
		if pr != nil && p.unsure != nil {
			p.unsure()
		}
		return
	}
	delete(p.byWriter, writer)
	p.open.Add(-1)
	p.mu.Unlock()
	for _, t := range pr.waiting {
		t.feed.release(t, false)
	}
}

// storeWell: the store has synced something. What it has of appends that failed before is read from it.
func (p *proofs) storeWell() {
	if p.open.Load() == 0 {
		return
	}
	p.mu.Lock()
	var waiting []*Tail
	for writer, pr := range p.byWriter {
		if pr.failed {
			waiting = append(waiting, pr.waiting...)
			delete(p.byWriter, writer)
			p.open.Add(-1)
		}
	}
	p.mu.Unlock()
	for _, t := range waiting {
		t.feed.release(t, true)
	}
}

// findOut probes the store until what failed is proven: others may store records that tails keep back behind it.
func (l *Log) findOut() {
	l.repairMu.Lock()
	defer l.repairMu.Unlock()
	if l.ctx.Err() != nil || !l.findingOut.CompareAndSwap(false, true) {
		return
	}
	l.running.Go(func() {
		for attempt := 0; pause(l.ctx, time.Second+backoff(attempt)) == nil; attempt++ {
			l.findingOut.Store(false) // what fails from here on is not proven by this probe
			if l.fault.Load() != nil {
				return // recover probes, and tells
			}
			ctx, cancel := context.WithTimeout(l.ctx, probeWait)
			err := l.store(ctx)
			cancel()
			if err == nil {
				for _, s := range l.shards {
					s.proofs.storeWell()
				}
				return
			}
			if !l.findingOut.CompareAndSwap(false, true) {
				return // another has begun
			}
		}
	})
}

// unproven reports whether a record of the writer must be held back; t is then released when it no longer must.
func (p *proofs) unproven(writer uint64, t *Tail) bool {
	if writer == 0 || p.open.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pr := p.byWriter[writer]
	if pr == nil {
		return false
	}
	if !slices.Contains(pr.waiting, t) {
		pr.waiting = append(pr.waiting, t)
	}
	return true
}

// release has the feed's goroutine look at a tail that waited for a proof. reread: what it kept back is not to be trusted.
func (f *feed) release(t *Tail, reread bool) {
	f.provenMu.Lock()
	f.proven = append(f.proven, released{t, reread})
	f.provenMu.Unlock()
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

type released struct {
	t      *Tail
	reread bool
}

// takeReleased delivers what tails kept back until now.
func (f *feed) takeReleased() {
	f.provenMu.Lock()
	list := f.proven
	f.proven = nil
	f.provenMu.Unlock()
	for _, r := range list {
		if r.t.proven(r.reread) {
			f.dirty = append(f.dirty, r.t)
		}
	}
}

// proven goes on after a proof, and tells whether the sink is to be flushed for the first time in this burst.
func (t *Tail) proven(reread bool) (dirtied bool) {
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

// takeKept delivers what was kept back, as far as it is in order and proven.
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
		if t.shard.proofs.unproven(r.Sum.Writer, t) {
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
