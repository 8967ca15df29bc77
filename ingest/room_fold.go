package ingest

import (
	"context"
	"fmt"
	"runtime/debug"

	"yjet/internal/yjs"
	"yjet/stream"
)

// current returns a fold that contains at least all that the room had when it was
// called. Joiners share one fold, and one more for all that come while that is
// being made.
func (r *room) current(ctx context.Context) (f fold, err error) {
	var want stream.Seq
	r.look(func() { want = r.seq })
	for {
		done := false
		r.look(func() {
			f, err = r.base, r.failed
			done = r.base.seq >= want || len(r.recs) == 0
		})
		if err != nil {
			return fold{}, err
		}
		if done {
			return f, nil
		}
		job := r.startFold()
		select {
		case <-job.done:
		case <-ctx.Done():
			return fold{}, context.Cause(ctx)
		}
		if job.err != nil {
			return fold{}, job.err
		}
	}
}

// startFold starts a fold of all there is, or returns the one under way.
func (r *room) startFold() (job *foldJob) {
	var parts [][]byte
	r.look(func() { job, parts = r.beginFold() })
	if parts != nil {
		r.srv.wg.Add(1)
		go r.fold(job, parts)
	}
	return job
}

// fold runs a job, as many at a time as there are cores.
func (r *room) fold(job *foldJob, parts [][]byte) {
	defer r.srv.wg.Done()
	defer close(job.done)
	r.srv.rooms.folds <- struct{}{}
	update, err := r.compact(parts)
	<-r.srv.rooms.folds
	r.look(func() {
		r.folding = nil
		if err == nil {
			r.endFold(job, update)
		}
	})
	if err != nil {
		r.logger().Error("records do not fold", "seq", job.seq, "err", err)
		job.err = because(causeDamaged, err)
	}
}

// compact folds updates. A document that breaks the fold must not take the process
// with it.
func (r *room) compact(parts [][]byte) (update []byte, err error) {
	defer r.recovered(&err)
	return yjs.Compact(parts...)
}

// recovered turns a panic into an error. Deferred.
func (r *room) recovered(err *error) {
	if p := recover(); p != nil {
		r.srv.metrics.panics.Inc()
		r.logger().Error("panic in a room", "panic", p, "stack", string(debug.Stack()))
		*err = because(causeInternal, fmt.Errorf("panic: %v", p))
	}
}
