package ingest

import (
	"context"
	"time"

	"yjet/snapshot"
)

// reaches waits until ok reports true or ctx ends, and reports which. ok is called
// with the room locked, after each record and each settled group.
func (r *room) reaches(ctx context.Context, ok func() bool) bool {
	for {
		var change <-chan struct{}
		r.look(func() {
			if !ok() {
				change = r.commit.change()
			}
		})
		if change == nil {
			return true
		}
		select {
		case <-change:
		case <-ctx.Done():
			return false
		}
	}
}

// catchUp waits until the room has all that the log holds now: an update that was
// acknowledged, here or by another server, may not have come by yet. False: it did
// not in time, and the caller has to ask the log.
func (r *room) catchUp(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // without NATS the log does not answer at all
	defer cancel()
	head, err := r.srv.o.Log.Head(ctx, r.doc)
	if err != nil {
		return false, err
	}
	if head == 0 {
		return false, snapshot.ErrNotFound // it was erased just now
	}
	return r.reaches(ctx, func() bool { return r.seq >= head }), nil
}
