package ingest

import (
	"context"
	"fmt"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// damaged hears that this server or another found a document damaged in storage. If the document is open here, the room or its
// clients have the lost content: the room stores its state, and every writer is asked for theirs.
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

// vanished hears that records of the room are no longer in the log. With a tombstone the document was erased. Without one the loss was
// not meant, or an operator purged the subject in NATS: the room stores its state, then closes its clients. They come back at once with
// their content, and are never told that their document was deleted.
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
		r.fail(because(causeStorage, lookErr)) // the next open finds out
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

// vanishedWait bounds how long a room tries to store its state again.
const vanishedWait = 30 * time.Second
