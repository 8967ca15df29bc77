package ingest

import (
	"context"
	"errors"
	"yjet/snapshot"
	"yjet/stream"
)

// stateAt reads a document: the present from its room where it is open.
func (rs *rooms) stateAt(ctx context.Context, doc stream.Doc, m snapshot.Moment) (snapshot.State, error) {
	if m.Now() {
		if r := rs.find(doc); r != nil {
			ok, err := r.catchUp(ctx)
			if errors.Is(err, snapshot.ErrNotFound) {
				return snapshot.State{}, err
			}
			if ok || err != nil { // the log cannot be asked: the room can still be read
				if f, err := r.current(ctx); err == nil && f.seq > 0 {
					st := snapshot.State{Seq: f.seq, Update: f.update}
					r.look(func() {
						if f.seq == r.seq {
							st.Time = r.at
						}
					})
					return st, nil
				}
			}
		}
	}
	if err := rs.srv.reachable(ctx, doc); err != nil {
		return snapshot.State{}, err
	}
	st, err := rs.srv.o.Snapshots.At(ctx, doc, m)
	if err == nil && m.Now() && st.Seq == 0 {
		err = snapshot.ErrNotFound
	}
	if errors.Is(err, snapshot.ErrNotFound) && m.Now() && rs.srv.loader != nil {
		// The load URL may have it; opening it would ask there too.
		ctx, cancel := context.WithTimeout(ctx, rs.srv.limits.LoadWait) // a service that is down is not asked for as long as the caller waits
		defer cancel()
		if lerr := rs.srv.loader.Load(ctx, doc); lerr != nil {
			return st, lerr
		}
		st, err = rs.srv.o.Snapshots.At(ctx, doc, m)
	}
	return st, err
}

// reachable reports whether the log answers for a document: without NATS a reader of the store would wait for as long as its caller
// does. It waits no longer than a document takes to load.
func (s *Server) reachable(ctx context.Context, doc stream.Doc) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.LoadWait)
	defer cancel()
	_, err := s.o.Log.Head(ctx, doc)
	return err
}
