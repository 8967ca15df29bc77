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
	if grant.Mode < writeMode {
		return 0, causeReadOnly
	}
	if s.withdrawn(doc, grant) {
		return 0, causeRevoked
	}
	erased, err := s.o.Snapshots.Erased(ctx, doc)
	if err != nil {
		return 0, err
	}
	if erased.Refuses(&u) {
		return 0, causeDeleted
	}
	var nothing yjs.State
	if err := nothing.Admit(&u, s.limits.Shape); err != nil {
		return 0, because(causeFull, err)
	}
	ready, err := nothing.Ready(&u)
	if err != nil || ready.Rest != nil {
		return 0, &needsMore{vector: []byte{0}}
	}
	return s.o.Snapshots.Seed(ctx, doc, grant.User, conn, ready.Ready)
}
