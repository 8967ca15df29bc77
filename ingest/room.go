package ingest

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// A room is the fan-out of one open document: the content of the log, the updates
// of the commits under way, and the sessions. It is the
// stream.Sink of its document's tail, and has no goroutine of its own.
//
// Lock order: rooms.mu, room.mu, conn.mu.
type room struct {
	// Set by open, then only read.
	srv    *Server
	doc    stream.Doc
	loaded chan struct{}    // closed when the document is loaded, or could not be
	err    error            // why not; read after loaded
	erased *snapshot.Erased // earlier content of this name that is never taken again; set by load

	hearing sync.Mutex // held by a session that begins to listen
	hears   bool       // guarded by hearing

	// Guarded by rooms.mu.
	refs int // sessions, joiners and requests that hold the room

	// erasures counts the erasures that were announced before load asked for the tombstone; admitted from then on.
	erasures atomic.Int64

	desk desk // the document as HTTP edits see it

	// mu guards all fields below, and those of the room's sessions that say so.
	// Its holder sees the document between two records, and frames reach every
	// session in the order in which they are queued. Nothing waits under it: no
	// network, no merge, no fold.
	//
	// do is the way to change the room, look the way to read it. Nothing else locks
	// mu but Record, which leaves the writing to the Flush that ends its burst.
	mu         sync.Mutex
	tail       *stream.Tail // nil until loaded
	content                 // the content of the log
	growth     growth       // records and bytes that the store has not been told of
	sessions   map[*session]struct{}
	failed     error    // the document can be followed no longer
	out        outgoing // done when the lock is left
	named      *encoder // shared by sessions that put the document's name in front of messages
	commit     commits
	aware      presences
	notice     delay                 // until presence news that waits is due
	holders    int                   // sessions that hold updates
	idle       time.Time             // since when no session is here
	listeners  map[*session]struct{} // let in, and not among sessions yet: they get custom messages and nothing else
	nearTold   bool                  // the log says that the document is near a bound
	nearFolded time.Time             // when it was last folded for being near its bound of bytes
	deserted   bool                  // the last session left, and nothing was stored since
}

func newRoom(s *Server, doc stream.Doc) *room {
	return &room{srv: s, doc: doc, loaded: make(chan struct{}), desk: desk{turn: make(chan struct{}, 1)}}
}

// do runs f with the room locked, then does the work that f left: it writes to
// the connections that have frames waiting, publishes awareness, and appends the
// next group of updates. f must not call do or look.
func (r *room) do(f func()) {
	r.mu.Lock()
	defer r.leave()
	f()
}

// leave unlocks the room and does the work that was left. Only do calls it.
func (r *room) leave() {
	out, g := r.out, r.nextGroup()
	r.out = outgoing{}
	r.mu.Unlock()
	out.write(r)
	r.launch(g)
}

// look runs f with the room locked. f queues neither frames nor updates: nothing is
// written afterwards, so look may be called under rooms.mu. f must not call do or
// look.
func (r *room) look(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *room) logger() *slog.Logger { return r.srv.log.With("doc", string(r.doc)) }

// admitted stands in room.erasures once the room knows of all erasures so far: a
// later one ends it.
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
	r.do(func() {
		r.tail, r.erased = tail, erased
		r.idle = time.Now()
		err = r.failed
	})
	return err
}

// listen subscribes to the presence of the other servers and reads their entries
// in the bucket. The first session does it: a document that is open without a session
// needs no presence.
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
	// A session is not kept waiting for cursors.
	ctx, cancel = context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	present, err := r.srv.o.Log.Presence().List(ctx, r.doc)
	if err != nil {
		r.logger().Warn("presence could not be read", "err", err)
	}
	r.do(func() { r.takePresence(present) })
	r.hears = true
	return nil
}

// tick is called about once a second.
func (r *room) tick(now time.Time) {
	r.desk.tidy(now, r.srv)
	r.do(func() {
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
	})
}

// quiet reports whether the room can be forgotten. Callers hold rooms.mu.
func (r *room) quiet(now time.Time) (yes bool) {
	r.look(func() {
		yes = len(r.sessions) == 0 && !r.commit.busy() && r.folding == nil && !r.idle.IsZero() && now.Sub(r.idle) >= r.srv.limits.IdleUnload
	})
	return yes
}

// shut ends a room that nothing refers to any more.
func (r *room) shut() {
	var tail *stream.Tail
	r.look(func() {
		tail = r.tail
		if r.commit.cancel != nil {
			r.commit.cancel()
		}
		r.notice.stop()
	})
	if tail != nil {
		tail.Close()
	}
}

// A delay runs a function once after a while. The zero value is ready. Guarded by
// room.mu.
type delay struct {
	timer *time.Timer
	armed bool
}

// start runs f after wait, unless it is already to run. f calls ran.
func (d *delay) start(wait time.Duration, f func()) {
	switch {
	case d.armed:
		return
	case d.timer == nil:
		d.timer = time.AfterFunc(wait, f)
	default:
		d.timer.Reset(wait)
	}
	d.armed = true
}

func (d *delay) ran() { d.armed = false }

func (d *delay) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
