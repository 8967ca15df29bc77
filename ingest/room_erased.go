package ingest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// erasures hears which documents are being erased: by an announcement, within a millisecond. One that was missed, because the
// connection to NATS was away, is found by its tombstone: new ones are read every few seconds. A room that went on would show
// erased content, and take edits that depend on it.
type erasures struct {
	srv     *Server
	stop    func()
	busy    atomic.Bool // new tombstones are being read
	nextAt  time.Time   // owned by the clock
	seen    uint64      // through this revision they are known; owned by the goroutine that set busy
	missing atomic.Bool // they could not be read last time: said once
}

const erasedEvery = 10 * time.Second

func newErasures(s *Server) (*erasures, error) {
	e := &erasures{srv: s, nextAt: time.Now().Add(erasedEvery)}
	var err error
	if e.stop, err = s.o.Log.Control().On(snapshot.EraseAnnouncement, s.rooms.erased); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), erasedEvery)
	defer cancel()
	if err := e.look(ctx); err != nil {
		e.stop()
		return nil, fmt.Errorf("read the erasures: %w", err)
	}
	return e, nil
}

// tick looks now and then, in a goroutine of its own.
func (e *erasures) tick(now time.Time) {
	if now.Before(e.nextAt) || !e.busy.CompareAndSwap(false, true) {
		return
	}
	e.nextAt = now.Add(erasedEvery)
	e.srv.wg.Add(1)
	go func() {
		defer e.srv.wg.Done()
		defer e.busy.Store(false)
		ctx, cancel := context.WithTimeout(e.srv.ctx, erasedEvery)
		defer cancel()
		err := e.look(ctx)
		if failed := err != nil && e.srv.ctx.Err() == nil; e.missing.Swap(failed) != failed && failed {
			e.srv.log.Warn("erasures could not be read", "err", err)
		}
	}()
}

// look ends the rooms of documents that were erased since they were opened.
func (e *erasures) look(ctx context.Context) error {
	list, seen, err := e.srv.o.Snapshots.ErasedSince(ctx, e.seen)
	if err != nil {
		return err
	}
	for doc, at := range list {
		if !e.srv.rooms.erasedAt(doc, at) {
			return nil // the next look finds it again
		}
	}
	e.seen = seen
	return nil
}

// erasedAt ends the room of a document that was erased at a time, unless it was opened later. False: the room is loading, and
// cannot tell yet.
func (rs *rooms) erasedAt(doc stream.Doc, at time.Time) bool {
	rs.mu.Lock()
	r := rs.byDoc[doc]
	rs.mu.Unlock()
	switch {
	case r == nil:
		return true
	case !isClosed(r.loaded):
		return false
	}
	known := false
	r.look(func() { known = r.erased != nil && !r.erased.At.Before(at) })
	if !known {
		r.fail(stream.ErrErased)
	}
	return true
}
