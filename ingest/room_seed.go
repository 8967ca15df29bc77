package ingest

import (
	"context"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// seed stores the first state of a document that has none, exactly once across
// all servers; snapshot.ErrNotNew: it has one.
func (s *Server) seed(ctx context.Context, doc stream.Doc, grant auth.Grant, conn string, b []byte) (stream.Seq, error) {
	var u yjs.Update
	if err := s.parse(&u, b); err != nil {
		return 0, err
	}
	erased, err := s.o.Snapshots.Erased(ctx, doc)
	if err != nil {
		return 0, err
	}
	e := entrance{mode: grant.Mode, withdrawn: s.withdrawn(doc, grant), erased: erased, stored: new(yjs.State), shape: s.limits.Shape, log: s.o.Log}
	v, err := e.judge(&u)
	switch {
	case err != nil:
		return 0, err
	case v.Rest != nil:
		return 0, &needsMore{vector: []byte{0}}
	case v.stored && grant.Mode < writeMode: // an empty update begins a document too
		return 0, causeReadOnly
	case v.stored:
		v.Ready = emptyUpdate
	}
	return s.o.Snapshots.Seed(ctx, doc, grant.User, conn, v.Ready)
}
