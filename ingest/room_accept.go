package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// How an update of a client becomes a record:
//
//  1. It is parsed and checked whole. A bad one ends its sender and changes nothing.
//  2. What the log already holds is acknowledged, not appended.
//  3. What is covered by commits under way is acknowledged with them.
//  4. Else what can be applied now goes into the next group, and the rest is held
//     until what it depends on has come; after one commit without it the client
//     is asked for it with a step 1.

var updatePool = sync.Pool{New: func() any { return new(yjs.Update) }}

// parse checks a stranger's update.
func (s *Server) parse(u *yjs.Update, b []byte) error {
	switch err := u.Parse(b, s.limits.Update); {
	case err == nil:
		return s.fits(b)
	case errors.Is(err, yjs.ErrLimit):
		return because(causeTooLarge, err)
	default:
		return because(causeMalformed, err)
	}
}

// fits refuses an update that is above what the log takes in one message and cannot be cut, before it shares a group with
// those of others.
func (s *Server) fits(b []byte) error {
	limit := s.o.Log.MaxUpdate()
	if len(b) <= limit {
		return nil
	}
	if _, err := yjs.Split(b, limit); err != nil {
		return because(causeTooLarge, err)
	}
	return nil
}

// accept decides about a checked update and answers where its acknowledgement
// stands, or why it is refused. Callers hold the lock, then call next and launch.
func (r *room) accept(s *session, u *yjs.Update) (turn, *cause) {
	at, cs := r.enter(s, u)
	if cs == nil {
		if id, planted := r.acceptedState().Planted(u); planted {
			r.logger().Warn("a client's edits are lost: somebody else used up its clocks", "client", id.Client, "clock", id.Clock, "user", s.grant.User, "conn", s.c.id)
			return at, causeTaken
		}
	}
	return at, cs
}

func (r *room) enter(s *session, u *yjs.Update) (turn, *cause) {
	if r.stored.Contains(u) {
		return turn{}, nil
	}
	switch {
	case s.grant.Mode < writeMode:
		return turn{}, causeReadOnly
	case r.erased.Refuses(u):
		return turn{}, causeDeleted
	case r.size() > r.srv.limits.Document:
		return turn{}, causeFull
	case r.srv.o.Log.Fault() != nil:
		return turn{}, causeStorage
	}
	accepted := r.acceptedState()
	if accepted.Contains(u) {
		at := turn{group: r.newestGroup()}
		s.group = max(s.group, at.group)
		return at, nil
	}
	if err := accepted.Admit(u, r.srv.limits.Shape); err != nil {
		r.logger().Warn("an update is refused for what the document would become", "err", err, "user", s.grant.User, "conn", s.c.id)
		return turn{}, causeFull
	}
	ready, err := accepted.Ready(u)
	if err != nil {
		return turn{}, causeMalformed
	}
	at := turn{}
	if ready.Ready != nil {
		if r.seq == 0 && r.commit.last == 0 && !s.grant.Admin && !r.srv.gate.mayBegin(s.c.ip, time.Now()) {
			return turn{}, causeTooMany
		}
		at.group = r.take(s, u, ready.Ready)
		s.group = max(s.group, at.group)
	}
	if ready.Rest != nil {
		at = turn{hold: r.hold(s, ready.Rest, ready.Missing)}
	} else if s.heldSize > 0 {
		r.retry(s)
	}
	return at, nil
}

// take queues what of u is ready. ready is u.Bytes itself, which is lent, or fresh.
func (r *room) take(s *session, u *yjs.Update, ready []byte) uint64 {
	if len(ready) == len(u.Bytes) && &ready[0] == &u.Bytes[0] {
		return r.queue(s, s.grant.User, s.c.id, u, bytes.Clone(ready))
	}
	part := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(part)
	if err := part.Parse(ready, recordLimits); err != nil {
		r.logger().Error("the ready part of an update does not parse", "err", err)
		return 0
	}
	if r.acceptedState().Contains(part) {
		return r.newestGroup()
	}
	return r.queue(s, s.grant.User, s.c.id, part, ready)
}

// size is about how large the document is.
func (r *room) size() int { return len(r.base.update) + r.recBytes }

var _ stream.Sink = (*room)(nil)

// checkImport holds an update of a file to the rules of one that comes by a socket: its limits, that it depends on nothing that is
// not there, and that its bearer still may.
func (s *Server) checkImport(doc stream.Doc, g auth.Grant, u *yjs.Update, have *yjs.State) error {
	if s.withdrawn(doc, g) {
		return causeRevoked
	}
	var checked yjs.Update
	if err := s.parse(&checked, u.Bytes); err != nil {
		return err
	}
	if err := have.Admit(u, s.limits.Shape); err != nil {
		return because(causeFull, err)
	}
	if ready, err := have.Ready(u); err != nil || ready.Rest != nil {
		return fmt.Errorf("%w: the update depends on what is neither in the file before it nor in the document", snapshot.ErrTransfer)
	}
	return nil
}
