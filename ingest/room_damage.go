package ingest

import (
	"context"
	"fmt"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// damaged hears that a document was found damaged in storage, by this server or another. Where its room is open here, it holds
// what storage has lost, or its clients do: the room stores what it has, and every writer is asked for what he has.
func (s *Server) damaged(payload []byte) {
	r := s.rooms.find(stream.Doc(payload))
	if r == nil || s.ctx.Err() != nil {
		return
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
		defer cancel()
		f, err := r.current(ctx)
		if err == nil && f.seq > 0 {
			err = s.o.Snapshots.Heal(ctx, r.doc, f.update, f.seq)
		}
		if err != nil {
			r.logger().Error("damaged document not stored again from its room", "err", err)
		}
		r.do(func() {
			for t := range r.sessions {
				if t.grant.Mode >= writeMode && !t.left {
					t.ask(false)
				}
			}
		})
	}()
}

// vanished is told that records which the room has are in the log no more. Where a tombstone says so the document was erased. Without one
// nobody meant it, or somebody with rights in NATS purged the subject: the room stores what it holds, then sends its clients away, who
// come back at once with what they have and are never told that their document was deleted.
func (r *room) vanished(err error) {
	defer r.srv.wg.Done()
	ctx, cancel := context.WithTimeout(r.srv.ctx, vanishedWait)
	defer cancel()
	var loaded bool
	var before *snapshot.Erased
	r.look(func() { loaded, before = r.tail != nil, r.erased })
	erased, lookErr := r.srv.o.Snapshots.Erased(ctx, r.doc)
	switch {
	case lookErr != nil:
		r.fail(because(causeStorage, lookErr)) // who opens it next finds out
		return
	case erased != nil && (before == nil || erased.At.After(before.At)):
		r.fail(stream.ErrErased)
		return
	}
	lost := fmt.Errorf("%w: %q was not erased, and its records are gone: %v", stream.ErrRewound, r.doc, err)
	r.srv.o.Snapshots.Lost(r.doc, lost)
	if loaded {
		f, err := r.current(ctx)
		if err == nil && f.seq > 0 {
			err = r.srv.o.Snapshots.Heal(ctx, r.doc, f.update, f.seq)
		}
		if err != nil {
			r.logger().Error("vanished document not stored again from its room", "err", err)
		}
	}
	r.fail(lost)
}

// vanishedWait is how long a room tries to store again what the log has lost.
const vanishedWait = 30 * time.Second
