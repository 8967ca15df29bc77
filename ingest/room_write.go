package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// write appends an update that came over HTTP, by the rules of sockets but for
// one: a part that depends on something that the document does not have is not held. It is
// left out, and where nothing else is new the update is refused (*needsMore). seq is
// the sequence by which all the rest is stored; left is nil where nothing was left out.
func (r *room) write(ctx context.Context, grant auth.Grant, conn string, b []byte) (seq stream.Seq, left *leftOut, err error) {
	u := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(u)
	if err := r.srv.parse(u, b); err != nil {
		return 0, nil, err
	}
	seq, left, err = r.writeParsed(ctx, grant, conn, u)
	if left == nil && !errors.As(err, new(*needsMore)) {
		return seq, nil, err
	}
	// Another server may have acknowledged its dependency a moment ago.
	if ok, _ := r.catchUp(ctx); !ok {
		return seq, left, err
	}
	again, rest, err := r.writeParsed(ctx, grant, conn, u)
	if left != nil && errors.As(err, new(*needsMore)) {
		return seq, left, nil // as the first time
	}
	return again, rest, err
}

func (r *room) writeParsed(ctx context.Context, grant auth.Grant, conn string, u *yjs.Update) (stream.Seq, *leftOut, error) {
	var wait <-chan struct{}
	r.look(func() {
		if ch := r.commit.crowded(r.srv.limits.RoomBytes); ch != nil {
			wait = ch
		}
	})
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return 0, nil, causeStorage
		}
	}
	withdrawn := r.srv.withdrawn(r.doc, grant)
	var reply <-chan written
	var left *leftOut
	var err error
	var seq stream.Seq
	var group uint64
	r.do(func() {
		reply, left, err = r.writeLocked(grant, withdrawn, conn, u)
		seq, group = r.seq, r.commit.newest()
	})
	switch {
	case err != nil:
		return 0, nil, err
	case reply == nil && group == 0:
		return seq, nil, nil // nothing new
	case reply == nil: // under way
		holds := false
		if !r.reaches(ctx, func() bool {
			seq, holds = r.seq, r.stored.Contains(u)
			return r.commit.reached >= group
		}) || !holds {
			return 0, nil, causeStorage
		}
		return seq, nil, nil
	}
	select {
	case w := <-reply:
		return w.seq, left, w.err
	case <-ctx.Done():
		return 0, nil, fmt.Errorf("%w: %w", causeStorage, ctx.Err())
	}
}

// writeLocked queues the ready part of an update. Without an error and a channel all
// of it is stored or under way. Callers hold the lock.
func (r *room) writeLocked(grant auth.Grant, withdrawn bool, conn string, u *yjs.Update) (<-chan written, *leftOut, error) {
	if r.failed != nil {
		return nil, nil, r.failed
	}
	if _, taken := r.taken(u); taken {
		return nil, nil, causeTaken
	}
	v, err := r.judge(grant.Mode, withdrawn, u)
	var left *leftOut
	part := u
	switch {
	case err != nil || v.stored || v.underWay:
		return nil, nil, err
	case v.Ready == nil:
		return nil, nil, &needsMore{vector: r.stored.AppendVector(nil)}
	case v.Rest != nil:
		left = &leftOut{bytes: len(v.Rest), missing: v.Missing}
		part = updatePool.Get().(*yjs.Update)
		defer updatePool.Put(part)
		if err := part.Parse(v.Ready, recordLimits); err != nil {
			return nil, nil, because(causeInternal, err)
		}
	}
	reply := make(chan written, 1)
	c := &r.commit
	c.queue(&r.stored, nil, grant.User, conn, part, append([]byte(nil), v.Ready...))
	c.gather[len(c.gather)-1].reply = reply
	return reply, left, nil
}

// leftOut describes the part of an update that could not be stored: its predecessors are neither in the update nor in the document.
type leftOut struct {
	bytes   int // as an update
	missing []yjs.ID
}

// header is the value of Yjet-Left-Out, a structured field: bytes, and the first ids that are missing, each as client:clock.
func (l *leftOut) header() string {
	return fmt.Sprintf("%d;missing=%q", l.bytes, listIDs(l.missing))
}

// listIDs writes the first ten ids, each as client:clock.
func listIDs(ids []yjs.ID) string {
	var b strings.Builder
	for i, id := range ids[:min(len(ids), 10)] {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d:%d", id.Client, id.Clock)
	}
	return b.String()
}

// needsMore refuses an update whose dependencies the document does not have.
type needsMore struct{ vector []byte }

func (*needsMore) Error() string {
	return "the update depends on edits that the document does not have"
}
