package ingest

import (
	"context"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// seed stores the first state of a document that has none, exactly once across
// all servers; snapshot.ErrNotNew: it has one. left is the part that depends on
// structs that the update does not have; where that is all of it, the error is
// *needsMore.
func (s *Server) seed(ctx context.Context, doc stream.Doc, grant auth.Grant, conn string, b []byte) (seq stream.Seq, left *leftOut, err error) {
	var u yjs.Update
	if err := s.parse(&u, b); err != nil {
		return 0, nil, err
	}
	erased, err := s.o.Snapshots.Erased(ctx, doc)
	if err != nil {
		return 0, nil, err
	}
	e := entrance{mode: grant.Mode, withdrawn: s.withdrawn(doc, grant), erased: erased, stored: new(yjs.State), shape: s.limits.Shape, log: s.o.Log}
	v, err := e.judge(&u)
	switch {
	case err != nil:
		return 0, nil, err
	case v.Rest != nil && v.Ready == nil:
		return 0, nil, &needsMore{vector: []byte{0}}
	case v.Rest != nil:
		left = &leftOut{bytes: len(v.Rest), missing: v.Missing}
	case v.stored && grant.Mode < writeMode: // an empty update begins a document too
		return 0, nil, causeReadOnly
	case v.stored:
		v.Ready = emptyUpdate
	}
	seq, err = s.o.Snapshots.Seed(ctx, doc, grant.User, conn, v.Ready)
	return seq, left, err
}
