package ingest

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// A room is the fan-out of one open document: a folded state and the records
// since, what the log holds and what it will hold once the commits under way are
// stored, and the sessions. It is the stream.Sink of its document's tail, and has
// no goroutine of its own.
//
// Lock order: rooms.mu, room.mu, conn.mu. Nothing under room.mu waits: no network,
// no merge, no fold.
type room struct {
	// Set by open, then only read.
	srv    *Server
	doc    stream.Doc
	loaded chan struct{}    // closed when the document is loaded, or could not be
	err    error            // why not; read after loaded
	erased *snapshot.Erased // what of an earlier document of this name is never taken again; set by load

	hearing sync.Mutex // held while somebody begins to listen
	hears   bool       // guarded by hearing

	// Guarded by rooms.mu.
	refs int // sessions, joiners and requests that hold the room

	// erasures counts the erasures that were announced before load asked for the tombstone; admitted from then on.
	erasures atomic.Int64

	mu       sync.Mutex
	tail     *stream.Tail // nil until loaded
	seq      stream.Seq   // of the last record taken in
	at       time.Time    // its time
	stored   yjs.State    // what the log holds up to seq
	base     fold         // folded state
	recs     []rec        // records after base.seq
	recBytes int
	folding  *foldJob
	sessions map[*session]struct{}
	failed   error // the document can be followed no longer
	dirty    []*conn
	outbox   [][]byte // awareness for the other servers
	named    *encoder // shared by sessions that put the document's name in front of messages

	commit   commits
	aware    presences
	holders  int       // sessions that hold updates
	idle     time.Time // since when nobody is here
	nextSign time.Time // when our presence is due again
	hinted   tally     // what the store was told last
	since    tally     // what came since the snapshot that was loaded
}

func (r *room) logger() *slog.Logger { return r.srv.log.With("doc", string(r.doc)) }

// quiet reports whether the room can be forgotten. Callers hold rooms.mu.
func (r *room) quiet(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions) == 0 && !r.commit.busy() && r.folding == nil && !r.idle.IsZero() && now.Sub(r.idle) >= r.srv.limits.IdleUnload
}

// listen hears from here on who comes and goes on the other servers, and reads
// who is there. Whoever brings the first session does it; a document that is open
// without anybody in it does without.
func (r *room) listen(ctx context.Context) error {
	r.hearing.Lock()
	defer r.hearing.Unlock()
	if r.hears {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.srv.limits.LoadWait)
	defer cancel()
	if err := r.tail.Listen(ctx); err != nil {
		return because(causeStorage, err)
	}
	// Nobody waits for long to be let in because cursors are not to be had.
	ctx, cancel = context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	present, err := r.srv.o.Log.Presence().List(ctx, r.doc)
	if err != nil {
		r.logger().Warn("presence could not be read", "err", err)
	}
	r.mu.Lock()
	defer r.unlock()
	r.takePresence(present)
	r.hears = true
	return nil
}

// admitted stands in room.erasures once the room knows of all erasures so far: a later one ends it.
const admitted = -1

// load opens the document's tail, after an erasure that is under way has ended.
func (r *room) load(ctx context.Context) error {
	if l := r.srv.loader; l != nil {
		if err := l.Load(ctx, r.doc); err != nil {
			return err
		}
	}
	var erased *snapshot.Erased
	for {
		n := r.erasures.Load()
		var err error
		if erased, err = r.srv.o.Snapshots.Erased(ctx, r.doc); err != nil {
			return err
		}
		if r.erasures.CompareAndSwap(n, admitted) {
			break
		}
	}
	tail, err := r.srv.o.Log.Tail(ctx, r.doc, r.srv.o.Snapshots, r)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.unlock()
	r.tail, r.erased = tail, erased
	r.idle = time.Now()
	return r.failed
}

// shut ends a room that nobody uses.
func (r *room) shut() {
	r.mu.Lock()
	tail := r.tail
	if r.commit.cancel != nil {
		r.commit.cancel()
	}
	if r.aware.timer != nil {
		r.aware.timer.Stop()
	}
	r.mu.Unlock()
	if tail != nil {
		tail.Close()
	}
}

// tick is called about once a second.
func (r *room) tick(now time.Time) {
	r.mu.Lock()
	r.tickPresence(now)
	if r.holders > 0 {
		r.tickHeld(now)
	}
	for s := range r.commit.ackers {
		s.settle()
		s.reassure(now)
	}
	if g := r.commit.inflight; g != nil && now.Sub(g.started) > r.srv.limits.AppendWait && r.commit.cancel != nil {
		r.commit.cancel() // the append answers with an error
	}
	g := r.next()
	r.unlock()
	r.launch(g)
}
