package ingest

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"yjet/stream"
)

// rooms are the open documents of this process.
type rooms struct {
	srv   *Server
	loads chan struct{} // a token per document loading
	folds chan struct{} // a token per fold being made

	near nearDocs

	mu    sync.Mutex
	byDoc map[stream.Doc]*room // guarded by mu
}

func newRooms(s *Server) *rooms {
	return &rooms{srv: s, byDoc: map[stream.Doc]*room{}, loads: make(chan struct{}, s.limits.Loads), folds: make(chan struct{}, s.memory.folds(runtime.GOMAXPROCS(0)))}
}

// open returns the room of a document, loaded. Concurrent callers share one load.
// The caller owes a release.
func (rs *rooms) open(ctx context.Context, doc stream.Doc) (*room, error) {
	rs.mu.Lock()
	r := rs.byDoc[doc]
	if r == nil {
		if len(rs.byDoc) >= rs.srv.limits.Documents && !rs.evict() {
			rs.mu.Unlock()
			return nil, causeTooManyOpen
		}
		r = newRoom(rs.srv, doc)
		rs.byDoc[doc] = r
		rs.srv.wg.Add(1)
		go rs.load(r)
	}
	r.refs++
	rs.mu.Unlock()
	select {
	case <-r.loaded:
	case <-ctx.Done():
		rs.release(r)
		return nil, context.Cause(ctx)
	}
	if r.err != nil {
		rs.release(r)
		return nil, r.err
	}
	return r, nil
}

// evict makes space for one more document by forgetting an unused one, if there is
// one. Callers hold the lock.
func (rs *rooms) evict() bool {
	for doc, r := range rs.byDoc {
		if r.refs == 0 && isClosed(r.loaded) && r.quiet(time.Now().Add(rs.srv.limits.IdleUnload)) {
			delete(rs.byDoc, doc)
			go r.shut()
			return true
		}
	}
	return false
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// load reads a document, when it is its turn.
func (rs *rooms) load(r *room) {
	defer rs.srv.wg.Done()
	defer close(r.loaded)
	ctx, cancel := context.WithTimeout(rs.srv.ctx, rs.srv.limits.LoadWait)
	defer cancel()
	start := time.Now()
	select {
	case rs.loads <- struct{}{}:
		var n int64
		if n, r.err = rs.roomFor(ctx, r.doc); r.err == nil {
			r.err = r.load(ctx)
			rs.srv.memory.release(n)
		}
		<-rs.loads
	case <-ctx.Done():
		r.err = causeLoadQueue
	}
	if r.err != nil {
		if ctx.Err() != nil && causeOf(r.err) == causeInternal {
			r.err = because(causeStorage, r.err)
		}
		level := slog.LevelError
		if errors.Is(r.err, stream.ErrErased) {
			level = slog.LevelInfo // a user deleted it
		}
		r.logger().Log(rs.srv.ctx, level, "document could not be opened", "err", r.err)
		rs.discard(r)
		return
	}
	rs.srv.metrics.loaded(time.Since(start))
}

// release gives a room back.
func (rs *rooms) release(r *room) {
	rs.mu.Lock()
	r.refs--
	rs.mu.Unlock()
}

// discard removes a room that failed, so that the next open loads the document anew.
func (rs *rooms) discard(r *room) {
	rs.mu.Lock()
	if rs.byDoc[r.doc] == r {
		delete(rs.byDoc, r.doc)
	}
	rs.mu.Unlock()
	r.shut()
}

// erased hears that a document is being erased: its room closes, one that is
// still loading too, and nobody writes to it any more. Clients that come back open
// the new document under the name. A room that has not asked for the tombstone yet reads
// it after this announcement and waits for the erasure to end.
func (rs *rooms) erased(payload []byte) {
	rs.mu.Lock()
	r := rs.byDoc[stream.Doc(payload)]
	rs.mu.Unlock()
	if r == nil {
		return
	}
	for n := r.erasures.Load(); n != admitted; n = r.erasures.Load() {
		if r.erasures.CompareAndSwap(n, n+1) {
			return
		}
	}
	r.fail(stream.ErrErased)
}

// all lists the rooms that are loaded.
func (rs *rooms) all() []*room {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	list := make([]*room, 0, len(rs.byDoc))
	for _, r := range rs.byDoc {
		select {
		case <-r.loaded:
			list = append(list, r)
		default:
		}
	}
	return list
}

// find answers the room of a document if it is open, without a reference.
func (rs *rooms) find(doc stream.Doc) *room {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.byDoc[doc]
	if r == nil {
		return nil
	}
	select {
	case <-r.loaded:
		return r
	default:
		return nil
	}
}

func (rs *rooms) count() int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return len(rs.byDoc)
}

// tick does the due work of every room, and forgets rooms that were unused for a
// while.
func (rs *rooms) tick(now time.Time) {
	all := rs.all()
	for _, r := range all {
		r.tick(now)
	}
	rs.near.look(all, rs.srv.metrics, now)
	if rs.srv.memory.tight() {
		now = now.Add(rs.srv.limits.IdleUnload) // unused rooms go first
	}
	rs.unload(now)
}

// unload forgets the rooms that nobody has used for a while.
func (rs *rooms) unload(now time.Time) {
	var quiet []*room
	rs.mu.Lock()
	for doc, r := range rs.byDoc {
		select {
		case <-r.loaded:
		default:
			continue
		}
		if r.refs == 0 && r.quiet(now) {
			delete(rs.byDoc, doc)
			quiet = append(quiet, r)
		}
	}
	rs.mu.Unlock()
	for _, r := range quiet {
		r.shut()
	}
}

// settle waits until nothing is under way in any room.
func (rs *rooms) settle(ctx context.Context, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for _, r := range rs.all() {
		r.reaches(ctx, func() bool { return !r.commit.busy() })
	}
}

// close ends all rooms.
func (rs *rooms) close() {
	rs.mu.Lock()
	list := rs.byDoc
	rs.byDoc = map[stream.Doc]*room{}
	rs.mu.Unlock()
	for _, r := range list {
		r.shut()
	}
}

// roomFor reserves memory to load a document, at the cost of unused rooms. The caller owes a release of n bytes.
func (rs *rooms) roomFor(ctx context.Context, doc stream.Doc) (n int64, err error) {
	m := rs.srv.memory
	if m.limit() == 0 {
		return 0, nil
	}
	sum, err := rs.srv.o.Snapshots.Summary(ctx, doc)
	if err != nil {
		return 0, nil // loading will tell
	}
	n = int64(sum.Bytes)*loadCost + 1<<20
	if m.reserve(n) {
		return n, nil
	}
	rs.unload(time.Now().Add(rs.srv.limits.IdleUnload))
	wait(ctx, ctx, collectEvery+collectEvery/10) // until the next collection can run
	if m.reserve(n) {
		return n, nil
	}
	return 0, causeNoMemory
}
