package ingest

import (
	"context"
	"time"

	"yjet/snapshot"
)

// reaches waits until ok, which is called with the lock and looks at what is under
// way, or ctx ends.
func (r *room) reaches(ctx context.Context, ok func() bool) bool {
	for {
		r.mu.Lock()
		if ok() {
			r.mu.Unlock()
			return true
		}
		ch := make(chan struct{})
		r.commit.watch = append(r.commit.watch, ch)
		r.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return false
		}
	}
}

// catchUp waits until the room has all that the log holds now: what somebody was told is stored, here or by another server,
// may not have come by yet. False: it did not, and the log has to be asked.
func (r *room) catchUp(ctx context.Context) (bool, error) {
	head, err := r.srv.o.Log.Head(ctx, r.doc)
	if err != nil {
		return false, err
	}
	if head == 0 {
		return false, snapshot.ErrNotFound // it was erased just now
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return r.reaches(ctx, func() bool { return r.seq >= head }), nil
}

// unsettled answers a channel to wait for while something of a session is not stored and delivered, else nil.
func (r *room) unsettled(s *session) <-chan struct{} {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.commit.reached >= s.group || r.failed != nil || s.left {
		return nil
	}
	ch := make(chan struct{})
	r.commit.watch = append(r.commit.watch, ch)
	return ch
}

// tell wakes who waits for a group.
func (c *commits) tell() {
	for _, ch := range c.watch {
		close(ch)
	}
	c.watch = nil
}
