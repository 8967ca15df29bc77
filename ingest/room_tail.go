package ingest

import (
	"errors"
	"log/slog"
	"time"
	"unicode/utf8"

	"yjet/internal/yjs"
	"yjet/stream"
)

// A rec is a record after the base.
type rec struct {
	seq    stream.Seq
	update []byte
}

// A tally counts a document's log after a snapshot.
type tally struct{ bytes, records int }

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
var recordLimits = yjs.Limits{Structs: -1, DeleteRanges: -1, Stored: true}

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

// Aware takes in another server's awareness update. Part of stream.Sink.
func (r *room) Aware(node string, payload []byte) {
	if node == r.srv.node {
		return
	}
	entries, err := yjs.ReadAwareness(nil, payload)
	if err != nil {
		r.srv.metrics.dropped("awareness-malformed")
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.unlock()
	for _, e := range entries {
		r.aware.takeRemote(r, node, e, now)
	}
	r.sendPresence(now)
}
