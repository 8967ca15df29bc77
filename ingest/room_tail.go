package ingest

import (
	"errors"
	"log/slog"
	"time"
	"unicode/utf8"

	"yjet/internal/yjs"
	"yjet/stream"
)

var _ stream.Sink = (*room)(nil)

// Base takes in a folded state: the document as it was loaded, or the middle of
// it when the records that the room missed were folded meanwhile. Part of
// stream.Sink.
func (r *room) Base(update []byte, upto stream.Seq) {
	r.do(func() {
		defer r.failOnPanic()
		u := new(yjs.Update) // large, and not needed again soon
		if err := u.Parse(update, recordLimits); err != nil {
			r.failLocked(because(causeDamaged, err))
			return
		}
		fresh := r.seq == 0
		r.stored.Add(u)
		r.commit.add(u)
		r.seq = max(r.seq, upto)
		r.edited = r.seq
		r.growth.since = tally{}
		if fresh {
			r.base = fold{seq: upto, update: update}
			return
		}
		// A jump over records that are no longer in the log: one record to the room,
		// and to the sessions.
		r.addRecord(upto, update)
		r.send(&broadcast{payload: update, make: (*encoder).update})
	})
}

// Record takes in one record and queues it for all sessions. Flush, which ends the
// burst, writes them. Part of stream.Sink.
func (r *room) Record(record stream.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.failOnPanic()
	r.seq, r.at = record.Seq, record.Time
	if record.Sum.N <= 1 { // each edit is a writer of its own; a room's later records count on
		r.edited = record.Seq
	}
	r.growth.add(len(record.Update))
	u := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(u)
	if err := u.Parse(record.Update, recordLimits); err != nil {
		// Another program wrote it into NATS. It stays in the log, and out of the document.
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

// Flush ends a burst of records. Part of stream.Sink.
func (r *room) Flush() {
	var seq stream.Seq
	var since tally
	var hint, alone, fold bool
	r.do(func() {
		if r.holders > 0 {
			defer r.failOnPanic()
			r.retryHeld()
		}
		loaded := r.tail != nil
		hint = loaded && r.growth.tell()
		seq, since = r.seq, r.growth.since
		// Records without a session came over HTTP or from outside: no session will
		// leave and tell the store.
		alone = loaded && len(r.sessions) == 0 && since.records > 0
		fold = loaded && r.foldDue()
	})
	if hint || alone {
		r.srv.o.Snapshots.Hint(r.doc, seq, since.bytes, since.records, alone)
	}
	if fold {
		r.startFold()
	}
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
	r.do(func() {
		for _, e := range entries {
			r.perform(e.Client, r.aware.takeRemote(node, e, &r.srv.limits, now))
		}
		r.sendPresence(now)
	})
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

func (r *room) fail(err error) { r.do(func() { r.failLocked(err) }) }

func (r *room) failLocked(err error) {
	if r.failed != nil {
		return
	}
	r.failed = err
	r.commit.letGo()
	level := slog.LevelError
	if errors.Is(err, stream.ErrErased) {
		level = slog.LevelInfo // a user deleted it
	}
	r.logger().Log(r.srv.ctx, level, "document can be followed no longer", "seq", r.seq, "err", err)
	for s := range r.sessions {
		go s.end(err)
	}
	go r.srv.rooms.discard(r)
}

// failOnPanic ends the room, not the process, when a record makes it panic.
// Deferred with the lock held.
func (r *room) failOnPanic() {
	if p := recover(); p != nil {
		var err error
		func() { defer r.recovered(&err); panic(p) }()
		r.failLocked(err)
	}
}
