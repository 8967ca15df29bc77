package ingest

import (
	"context"
	"errors"
	"fmt"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// write appends an update that came over HTTP, by the same rules as one of a
// socket, but for one: what depends on something the document does not have is
// refused (*needsMore), not held. It answers the sequence by which all of it is
// stored.
func (r *room) write(ctx context.Context, grant auth.Grant, conn string, b []byte) (stream.Seq, error) {
	u := updatePool.Get().(*yjs.Update)
	defer updatePool.Put(u)
	if err := r.srv.parse(u, b); err != nil {
		return 0, err
	}
	seq, err := r.writeParsed(ctx, grant, conn, u)
	if errors.As(err, new(*needsMore)) {
		// Another server may have acknowledged a moment ago what it depends on.
		if ok, _ := r.catchUp(ctx); ok {
			seq, err = r.writeParsed(ctx, grant, conn, u)
		}
	}
	return seq, err
}

func (r *room) writeParsed(ctx context.Context, grant auth.Grant, conn string, u *yjs.Update) (stream.Seq, error) {
	r.mu.Lock()
	wait := r.crowded()
	r.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return 0, causeStorage
		}
	}
	r.mu.Lock()
	reply, err := r.writeLocked(grant, conn, u)
	seq, group := r.seq, r.newestGroup()
	g := r.next()
	r.unlock()
	r.launch(g)
	switch {
	case err != nil:
		return 0, err
	case reply == nil && group == 0:
		return seq, nil // nothing new
	case reply == nil: // covered by what is under way
		if !r.reaches(ctx, func() bool { return r.commit.reached >= group }) || !r.holds(u) {
			return 0, causeStorage
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.seq, nil
	}
	select {
	case w := <-reply:
		return w.seq, w.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", causeStorage, ctx.Err())
	}
}

// fresh reports whether the document has no record yet.
func (r *room) fresh() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq == 0 && r.commit.last == 0
}

// holds reports whether the log holds an update.
func (r *room) holds(u *yjs.Update) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored.Contains(u)
}

// writeLocked queues an update. Without an error and a channel all of it is
// stored or under way.
func (r *room) writeLocked(grant auth.Grant, conn string, u *yjs.Update) (<-chan written, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	accepted := r.acceptedState()
	if _, planted := accepted.Planted(u); planted {
		return nil, causeTaken
	}
	switch {
	case r.stored.Contains(u):
		return nil, nil
	case grant.Mode < writeMode:
		return nil, causeReadOnly
	case r.srv.withdrawn(r.doc, grant):
		return nil, causeRevoked
	case r.erased.Refuses(u):
		return nil, causeDeleted
	case r.size() > r.srv.limits.Document:
		return nil, causeFull
	case r.srv.o.Log.Fault() != nil:
		return nil, causeStorage
	}
	if accepted.Contains(u) {
		return nil, nil
	}
	if err := accepted.Admit(u, r.srv.limits.Shape); err != nil {
		return nil, because(causeFull, err)
	}
	ready, err := accepted.Ready(u)
	if err != nil {
		return nil, because(causeMalformed, err)
	}
	if ready.Rest != nil {
		return nil, &needsMore{vector: r.stored.AppendVector(nil)}
	}
	reply := make(chan written, 1)
	r.queue(nil, grant.User, conn, u, append([]byte(nil), ready.Ready...))
	gather := r.commit.gather
	gather[len(gather)-1].reply = reply
	return reply, nil
}

// needsMore refuses an update whose dependencies the document does not have.
type needsMore struct{ vector []byte }

func (*needsMore) Error() string { return "the update depends on what the document does not have" }
