package ingest

import (
	"context"
	"fmt"
	"runtime/debug"

	"yjet/internal/yjs"
	"yjet/stream"
)

// A fold is a document's whole state up to a record, compacted: what a browser
// reads fastest. It is never changed.
type fold struct {
	seq    stream.Seq
	update []byte // nil: nothing yet
}

// A foldJob folds the records up to seq. Joiners share it.
type foldJob struct {
	seq  stream.Seq
	done chan struct{}
	err  error // read after done
}

// current answers a fold that holds at least all that the room had when it was
// asked. Joiners share one fold, and one more for all who come while that is
// being made.
func (r *room) current(ctx context.Context) (fold, error) {
	r.mu.Lock()
	want := r.seq
	for {
		if r.failed != nil {
			defer r.mu.Unlock()
			return fold{}, r.failed
		}
		if r.base.seq >= want || len(r.recs) == 0 {
			f := r.base
			r.mu.Unlock()
			return f, nil
		}
		r.mu.Unlock()
		job := r.startFold()
		select {
		case <-job.done:
		case <-ctx.Done():
			return fold{}, context.Cause(ctx)
		}
		if job.err != nil {
			return fold{}, job.err
		}
		r.mu.Lock()
	}
}

// foldDue reports whether the records weigh so much that folding them saves
// memory. Callers hold the lock.
func (r *room) foldDue() bool {
	return r.tail != nil && r.folding == nil && (r.recBytes > max(1<<20, len(r.base.update)) || len(r.recs) > 5000)
}

// startFold starts a fold of all there is, or answers the one under way.
func (r *room) startFold() *foldJob {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.folding != nil {
		return r.folding
	}
	job := &foldJob{seq: r.seq, done: make(chan struct{})}
	parts := make([][]byte, 0, len(r.recs)+1)
	if r.base.update != nil {
		parts = append(parts, r.base.update)
	}
	for _, rec := range r.recs {
		parts = append(parts, rec.update)
	}
	r.folding = job
	r.srv.wg.Add(1)
	go r.fold(job, parts)
	return job
}

// fold runs a job: as many at a time as there are cores.
func (r *room) fold(job *foldJob, parts [][]byte) {
	defer r.srv.wg.Done()
	defer close(job.done)
	r.srv.rooms.folds <- struct{}{}
	update, err := compact(r, parts)
	<-r.srv.rooms.folds
	r.mu.Lock()
	defer r.mu.Unlock()
	r.folding = nil
	if err != nil {
		r.logger().Error("records do not fold", "seq", job.seq, "err", err)
		job.err = because(causeDamaged, err)
		return
	}
	r.base = fold{seq: job.seq, update: update}
	n := 0
	for n < len(r.recs) && r.recs[n].seq <= job.seq {
		r.recBytes -= len(r.recs[n].update)
		n++
	}
	if n == len(r.recs) {
		r.recs = nil
	} else {
		r.recs = append([]rec(nil), r.recs[n:]...)
	}
}

// compact folds updates. A document that breaks the fold must not take the
// process with it.
func compact(r *room, parts [][]byte) (update []byte, err error) {
	defer r.recovered(&err)
	return yjs.Compact(parts...)
}

// recovered turns a panic into an error.
func (r *room) recovered(err *error) {
	if p := recover(); p != nil {
		r.srv.metrics.panics.Inc()
		r.logger().Error("panic in a room", "panic", p, "stack", string(debug.Stack()))
		*err = because(causeInternal, fmt.Errorf("panic: %v", p))
	}
}
