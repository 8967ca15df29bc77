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
//  3. What commits under way will store is acknowledged with them.
//  4. Of the rest, the part that can be applied now goes into the next group. The remainder
//     is held until its dependencies have come; after one commit without them the
//     client is asked for them with a step 1. Where its answer does not bring them
//     either, acknowledgements wait no longer. (Over HTTP the remainder is left out,
//     and the answer says so; where nothing can be applied, the update is refused.)

var updatePool = sync.Pool{New: func() any { return new(yjs.Update) }}

// parse checks a stranger's update.
func (s *Server) parse(u *yjs.Update, b []byte) error {
	switch err := u.Parse(b, s.limits.Update); {
	case err == nil:
		return s.fits(b)
	case errors.Is(err, yjs.ErrLimit):
		return because(causeTooManyParts, err)
	default:
		return because(causeMalformed, err)
	}
}

// fits refuses an update that is larger than a message of the log and cannot be
// cut, before it shares a group with updates of others.
func (s *Server) fits(b []byte) error {
	limit := s.o.Log.MaxUpdate()
	if len(b) <= limit {
		return nil
	}
	if _, err := yjs.Split(b, limit); err != nil {
		return because(causeValueTooLarge, err)
	}
	return nil
}

// An entrance is everything an update is held against before it may enter a
// document's log. Every way in uses it: sockets, POST, seeding and import.
type entrance struct {
	mode      auth.Mode        // of the author
	withdrawn bool             // a revocation took the right away after it was granted
	erased    *snapshot.Erased // nil: nothing was erased under this name
	stored    *yjs.State       // the content of the log
	commits   *commits         // groups under way; nil: there are none
	size      int              // of the document, in bytes
	limit     int              // of size; 0: none
	message   int              // by so many bytes a document below limit may exceed it
	shape     yjs.DocumentLimits
	log       *stream.Log // nil: a fault is not asked for
}

// A verdict is the fate of an update that may enter.
type verdict struct {
	stored   bool // the log holds all of it: there is nothing to append
	underWay bool // all of it is in groups under way
	yjs.Readiness
}

// judge decides about a parsed update. The order is the order of the answers: content
// that the document has is never refused, and a missing right is told before a limit.
func (e *entrance) judge(u *yjs.Update) (verdict, error) {
	if e.stored.Contains(u) {
		return verdict{stored: true}, nil
	}
	switch {
	case e.mode < writeMode:
		return verdict{}, causeReadOnly
	case e.withdrawn:
		return verdict{}, causeRevoked
	case e.erased.Refuses(u):
		return verdict{}, causeDeleted
	case e.full(u):
		return verdict{}, causeFull
	case e.log != nil && e.log.Fault() != nil:
		return verdict{}, causeStorage
	}
	accepted := e.stored
	if e.commits != nil {
		if accepted = e.commits.state(e.stored); accepted.Contains(u) {
			return verdict{underWay: true}, nil
		}
	}
	if err := accepted.Admit(u, e.shape); err != nil {
		return verdict{}, overBound(err)
	}
	ready, err := accepted.Ready(u)
	if err != nil {
		return verdict{}, because(causeMalformed, err)
	}
	return verdict{Readiness: ready}, nil
}

// full reports whether the document has no room for the update. One that only deletes always has it.
func (e *entrance) full(u *yjs.Update) bool {
	over := e.size > e.limit
	switch {
	case e.limit == 0, !over && (len(u.Bytes) <= e.message || e.size+len(u.Bytes) <= e.limit+e.message):
		return false // of nearly all updates the sizes tell it
	case !e.stored.Grows(u):
		return false
	case over:
		return true
	}
	news, err := yjs.Diff(u.Bytes, e.stored.Vector()) // a client may send all that it has with the little that is new
	return err != nil || e.size+len(news) > e.limit+e.message
}

// judge holds an update against the room. Callers hold the lock.
func (r *room) judge(mode auth.Mode, withdrawn bool, u *yjs.Update) (verdict, error) {
	e := entrance{mode: mode, withdrawn: withdrawn, erased: r.erased, stored: &r.stored, commits: &r.commit,
		size: r.size(), limit: r.srv.limits.Document, message: r.srv.limits.Message, shape: r.srv.limits.Shape, log: r.srv.o.Log}
	return e.judge(u)
}

// taken returns the first id of u at which the document, with the groups under way,
// came to hold no content: another client used up the clocks, and no reader will see
// the text that this one wrote there. Callers hold the lock.
func (r *room) taken(u *yjs.Update) (yjs.ID, bool) { return r.commit.peek(&r.stored).Planted(u) }

// accept takes a checked update of a session and says where its acknowledgement
// stands, or why it is refused. Callers hold the lock.
func (r *room) accept(s *session, u *yjs.Update) (turn, *cause) {
	at, cs := r.enter(s, u)
	if cs == nil {
		if id, taken := r.taken(u); taken {
			r.logger().Warn("edits of a client are lost: another client used up its clocks", "client", id.Client, "clock", id.Clock, "user", s.grant.User, "conn", s.c.id)
			return at, causeTaken
		}
	}
	return at, cs
}

func (r *room) enter(s *session, u *yjs.Update) (turn, *cause) {
	v, err := r.judge(s.grant.Mode, false, u) // a revocation changes the grant itself
	switch {
	case errors.Is(err, yjs.ErrLimit):
		r.logger().Warn("an update is refused: the document would exceed a bound", "err", err, "user", s.grant.User, "conn", s.c.id)
		return turn{}, causeOf(err)
	case err != nil:
		return turn{}, causeOf(err)
	case v.stored:
		return turn{}, nil
	case v.underWay:
		at := turn{group: r.commit.newest()}
		s.group = max(s.group, at.group)
		return at, nil
	}
	at := turn{}
	if v.Ready != nil {
		if r.isNew() && !s.grant.Admin {
			pause, ok := r.srv.gate.mayBegin(s.c.ip, s.grant.User, time.Now())
			if !ok {
				return turn{}, causeNewDocuments
			}
			s.pause = pause
		}
		at.group = r.take(s, u, v.Ready)
		s.group = max(s.group, at.group)
	}
	if v.Rest != nil {
		at.hold = s.hold(v.Rest, v.Missing)
	} else if s.heldSize > 0 {
		s.retryHeld()
	}
	return at, nil
}

// isNew reports whether the document has no record and none is under way. Callers
// hold the lock.
func (r *room) isNew() bool { return r.seq == 0 && r.commit.last == 0 }

// fresh is isNew for callers without the lock.
func (r *room) fresh() (yes bool) {
	r.look(func() { yes = r.isNew() })
	return yes
}

// take queues the ready part of u. ready is u.Bytes itself, which is lent, or fresh.
func (r *room) take(s *session, u *yjs.Update, ready []byte) uint64 {
	c := &r.commit
	if len(ready) == len(u.Bytes) && &ready[0] == &u.Bytes[0] {
		return c.queue(&r.stored, s, s.grant.User, s.c.id, u, bytes.Clone(ready))
	}
	part := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(part)
	if err := part.Parse(ready, recordLimits); err != nil {
		r.logger().Error("the ready part of an update does not parse", "err", err)
		return 0
	}
	if c.state(&r.stored).Contains(part) {
		return c.newest()
	}
	return c.queue(&r.stored, s, s.grant.User, s.c.id, part, ready)
}

// checkImport holds an update of an imported file to the rules of live edits, and
// returns the part that can be stored, nil where none can. have is the document with
// the file's earlier updates. The import itself refuses erased
// content and files above the size limit.
func (s *Server) checkImport(doc stream.Doc, g auth.Grant, u *yjs.Update, have *yjs.State) (part []byte, err error) {
	var checked yjs.Update
	if err := s.parse(&checked, u.Bytes); err != nil {
		return nil, err
	}
	e := entrance{mode: g.Mode, withdrawn: s.withdrawn(doc, g), stored: have, shape: s.limits.Shape}
	v, err := e.judge(u)
	switch {
	case errors.Is(err, causeMalformed):
		return nil, fmt.Errorf("%w: %w", snapshot.ErrTransfer, err)
	case err != nil:
		return nil, err
	case v.Rest != nil: // its predecessors are neither in the file before it nor in the document
		return v.Ready, nil
	}
	return u.Bytes, nil
}
