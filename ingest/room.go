package ingest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

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

// A rec is a record after the base.
type rec struct {
	seq    stream.Seq
	update []byte
}

// A tally counts a document's log after a snapshot.
type tally struct{ bytes, records int }

func (r *room) logger() *slog.Logger { return r.srv.log.With("doc", string(r.doc)) }

// unlock unlocks the room and writes what was queued meanwhile.
func (r *room) unlock() {
	dirty, outbox := r.dirty, r.outbox
	r.dirty, r.outbox = nil, nil
	r.mu.Unlock()
	flushAll(dirty)
	for _, p := range outbox {
		if err := r.srv.o.Log.PublishAware(r.doc, p); err != nil {
			r.srv.metrics.dropped("awareness-publish")
		}
	}
	putDirty(dirty)
}

// flushAll writes every listed connection, above a number with the help of other
// cores.
func flushAll(conns []*conn) {
	const share = 64
	if len(conns) <= share {
		for _, c := range conns {
			c.flush()
		}
		return
	}
	var wg sync.WaitGroup
	for half := len(conns) / 2; len(conns) > 0; {
		part := conns[:min(half+1, len(conns))]
		conns = conns[len(part):]
		if len(conns) == 0 {
			flushPart(part)
			break
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			flushPart(part)
		}()
	}
	wg.Wait()
}

func flushPart(conns []*conn) {
	for _, c := range conns {
		c.flush()
	}
}

var dirtyPool = sync.Pool{New: func() any { s := make([]*conn, 0, 8); return &s }}

func putDirty(s []*conn) {
	if cap(s) == 0 || cap(s) > 1024 {
		return
	}
	clear(s)
	s = s[:0]
	dirtyPool.Put(&s)
}

// list notes that c has something to write. Callers hold the lock.
func (r *room) list(c *conn) {
	if r.dirty == nil {
		r.dirty = *dirtyPool.Get().(*[]*conn)
	}
	r.dirty = append(r.dirty, c)
}

// put queues a frame for a session. Callers hold the lock.
func (r *room) put(s *session, frame []byte) {
	if frame == nil {
		return
	}
	if list, _ := s.c.put(frame, false); list {
		r.list(s.c)
	}
}

// A broadcast is one message to all sessions, encoded once for each encoder.
type broadcast struct {
	payload []byte
	make    func(e *encoder, payload []byte) []byte
	frames  []encoded
	buf     [2]encoded
}

type encoded struct {
	e     *encoder
	frame []byte
}

func (b *broadcast) frame(e *encoder) []byte {
	for i := range b.frames {
		if b.frames[i].e == e {
			return b.frames[i].frame
		}
	}
	if b.frames == nil {
		b.frames = b.buf[:0]
	}
	f := b.make(e, b.payload)
	b.frames = append(b.frames, encoded{e, f})
	return f
}

// send queues a broadcast for all sessions that keep up. Callers hold the lock.
func (r *room) send(b *broadcast) {
	for s := range r.sessions {
		if s.lag != nil {
			continue
		}
		frame := b.frame(s.enc)
		if frame == nil {
			continue
		}
		list, over := s.c.put(frame, false)
		if list {
			r.list(s.c)
		}
		if over {
			r.fallBehind(s, len(frame))
		}
	}
}

// fallBehind takes a session whose connection does not keep up out of the
// broadcasts: when its queue is empty it gets all it missed at once. Callers hold
// the lock. last is the size of the frame that was too much: it alone is no reason to close, since a message may be larger than
// the queue's hard limit.
func (r *room) fallBehind(s *session, last int) {
	s.lag = &lag{seq: r.seq, vector: r.stored.Vector()}
	if s.c.fellBehind() {
		r.list(s.c)
	}
	r.srv.metrics.lagged.Inc()
	if s.c.overfull(last) {
		go s.c.close(causeSlow)
	}
}

// Base takes in a folded state: the document as it was loaded, or the middle of
// it when what we had missed was folded away meanwhile. Part of stream.Sink.
func (r *room) Base(update []byte, upto stream.Seq) {
	r.mu.Lock()
	defer r.unlock()
	defer r.failOnPanic()
	u := new(yjs.Update) // large, and not seen again soon
	if err := u.Parse(update, recordLimits); err != nil {
		r.failLocked(because(causeDamaged, err))
		return
	}
	fresh := r.seq == 0
	r.stored.Add(u)
	r.commit.add(u)
	r.seq = max(r.seq, upto)
	r.since = tally{}
	if fresh {
		r.base = fold{seq: upto, update: update}
		return
	}
	// A jump over records that are no longer in the log: it is one record to us,
	// and to the sessions.
	r.addRecord(upto, update)
	r.send(&broadcast{payload: update, make: (*encoder).update})
}

// Record takes in one record and queues it for everybody. Part of stream.Sink.
func (r *room) Record(record stream.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.failOnPanic()
	r.seq, r.at = record.Seq, record.Time
	r.since.records++
	r.since.bytes += len(record.Update)
	u := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(u)
	if err := u.Parse(record.Update, recordLimits); err != nil {
		// Somebody wrote it past us. It stays in the log, and out of the document.
		r.srv.metrics.quarantined.Inc()
		r.logger().Error("record does not decode, left out", "seq", record.Seq, "user", record.User, "err", err)
	} else {
		r.stored.Add(u)
		r.commit.add(u)
		r.addRecord(record.Seq, record.Update)
		if len(r.sessions) > 0 {
			r.send(&broadcast{payload: record.Update, make: (*encoder).update})
		}
	}
	r.delivered()
}

func (r *room) addRecord(seq stream.Seq, update []byte) {
	r.recs = append(r.recs, rec{seq, update})
	r.recBytes += len(update)
}

// recordLimits bound what is read from the log: what is stored is bounded by the
// size of a message; the limits of a stranger's update were checked at the door.
var recordLimits = yjs.Limits{Structs: 1 << 30, DeleteRanges: 1 << 30, Clients: 1 << 30, Roots: 1 << 30, SubDocs: 1 << 30, Stored: true}

// Flush ends a burst: now is the time to write. Part of stream.Sink.
func (r *room) Flush() {
	r.mu.Lock()
	func() {
		defer r.failOnPanic()
		if r.holders > 0 {
			r.retryHeld()
		}
	}()
	g := r.next()
	grown := tally{r.since.bytes - r.hinted.bytes, r.since.records - r.hinted.records}
	hint := r.tail != nil && (grown.bytes > 64<<10 || grown.records > 500)
	if hint {
		r.hinted = r.since
	}
	seq, since := r.seq, r.since
	// What nobody is here to see came over HTTP or past us: no session will leave and tell.
	alone := r.tail != nil && len(r.sessions) == 0 && since.records > 0
	fold := r.foldDue()
	r.unlock()
	r.launch(g)
	if hint || alone {
		r.srv.o.Snapshots.Hint(r.doc, seq, since.bytes, since.records, alone)
	}
	if fold {
		r.startFold()
	}
}

// failOnPanic ends the room, not the process, when what the log brings breaks us.
// Deferred with the lock held.
func (r *room) failOnPanic() {
	if p := recover(); p != nil {
		var err error
		func() { defer r.recovered(&err); panic(p) }()
		r.failLocked(err)
	}
}

// Failed ends the room: its document can be followed no longer. Part of stream.Sink.
func (r *room) Failed(err error) {
	if (errors.Is(err, stream.ErrErased) || errors.Is(err, stream.ErrRewound)) && r.srv.ctx.Err() == nil {
		r.srv.wg.Add(1)
		go r.vanished(err)
		return
	}
	r.fail(err)
}

func (r *room) fail(err error) {
	r.mu.Lock()
	defer r.unlock()
	r.failLocked(err)
}

func (r *room) failLocked(err error) {
	if r.failed != nil {
		return
	}
	r.failed = err
	r.commit.letGo()
	level := slog.LevelError
	if errors.Is(err, stream.ErrErased) {
		level = slog.LevelInfo // somebody meant it
	}
	r.logger().Log(r.srv.ctx, level, "document can be followed no longer", "seq", r.seq, "err", err)
	for s := range r.sessions {
		go s.end(err)
	}
	go r.srv.rooms.discard(r)
}

// Message relays a custom message of another server or program. Part of stream.Sink.
func (r *room) Message(node string, payload []byte, header map[string]string) {
	if node == r.srv.node {
		return
	}
	if !utf8.Valid(payload) {
		r.srv.metrics.dropped("message-not-text") // a provider reads it as a string, and throws
		return
	}
	r.relay(nil, payload, header)
}

// relay queues a custom message for every session but its sender's.
func (r *room) relay(from *session, payload []byte, header map[string]string) {
	r.mu.Lock()
	defer r.unlock()
	for s := range r.sessions {
		if s != from && s.lag == nil {
			r.put(s, s.d.custom(s, payload, header))
		}
	}
}

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
	present, err := r.srv.o.Log.ListPresence(ctx, r.doc)
	if err != nil {
		r.logger().Warn("presence could not be read", "err", err)
	}
	r.mu.Lock()
	defer r.unlock()
	r.takePresence(present)
	r.hears = true
	return nil
}

// load opens the document's tail.
func (r *room) load(ctx context.Context) error {
	if l := r.srv.loader; l != nil {
		if err := l.load(ctx, r.doc); err != nil {
			return err
		}
	}
	tail, err := r.srv.o.Log.Tail(ctx, r.doc, r.srv.o.Snapshots, r)
	if err != nil {
		return err
	}
	erased, err := r.srv.o.Snapshots.Erased(ctx, r.doc)
	if err != nil {
		tail.Close()
		return err
	}
	r.mu.Lock()
	defer r.unlock()
	r.tail, r.erased = tail, erased
	r.idle = time.Now()
	return r.failed
}
