package ingest

import (
	"context"
	"errors"
	"fmt"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// write appends an update that came over HTTP, by the rules of sockets but for
// one: an update that depends on something the document does not have is refused
// (*needsMore), not held. It returns the sequence by which all of it is stored.
func (r *room) write(ctx context.Context, grant auth.Grant, conn string, b []byte) (stream.Seq, error) {
	u := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(u)
	if err := r.srv.parse(u, b); err != nil {
		return 0, err
	}
	seq, err := r.writeParsed(ctx, grant, conn, u)
	if errors.As(err, new(*needsMore)) {
		// Another server may have acknowledged its dependency a moment ago.
		if ok, _ := r.catchUp(ctx); ok {
			seq, err = r.writeParsed(ctx, grant, conn, u)
		}
	}
	return seq, err
}

func (r *room) writeParsed(ctx context.Context, grant auth.Grant, conn string, u *yjs.Update) (stream.Seq, error) {
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
			return 0, causeStorage
		}
	}
	withdrawn := r.srv.withdrawn(r.doc, grant)
	var reply <-chan written
	var err error
	var seq stream.Seq
	var group uint64
	r.do(func() {
		reply, err = r.writeLocked(grant, withdrawn, conn, u)
		seq, group = r.seq, r.commit.newest()
	})
	switch {
	case err != nil:
		return 0, err
	case reply == nil && group == 0:
		return seq, nil // nothing new
	case reply == nil: // under way
		holds := false
		if !r.reaches(ctx, func() bool {
			seq, holds = r.seq, r.stored.Contains(u)
			return r.commit.reached >= group
		}) || !holds {
			return 0, causeStorage
		}
		return seq, nil
	}
	select {
	case w := <-reply:
		return w.seq, w.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", causeStorage, ctx.Err())
	}
}

// writeLocked queues an update. Without an error and a channel all of it is stored
// or under way. Callers hold the lock.
func (r *room) writeLocked(grant auth.Grant, withdrawn bool, conn string, u *yjs.Update) (<-chan written, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	if _, taken := r.taken(u); taken {
		return nil, causeTaken
	}
	v, err := r.judge(grant.Mode, withdrawn, u)
	switch {
	case err != nil || v.stored || v.underWay:
		return nil, err
	case v.Rest != nil:
		return nil, &needsMore{vector: r.stored.AppendVector(nil)}
	}
	reply := make(chan written, 1)
	c := &r.commit
	c.queue(&r.stored, nil, grant.User, conn, u, append([]byte(nil), v.Ready...))
	c.gather[len(c.gather)-1].reply = reply
	return reply, nil
}

// needsMore refuses an update whose dependencies the document does not have.
type needsMore struct{ vector []byte }

func (*needsMore) Error() string { return "the update depends on what the document does not have" }
