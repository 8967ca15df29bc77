package snapshot

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"yjet/internal/yjs"
	"yjet/stream"
)

// Restore makes the document show what it showed at a moment, by a forward edit that is computed against the present and
// appended in the name of user: editors that have the document open take it in once, like any edit. Of several at once, by whichever
// server, each is computed from what the others have stored. ErrNoChange: the document shows it already. ErrBusy: see Edit.
func (s *Store) Restore(ctx context.Context, doc stream.Doc, m Moment, user, conn string) (stream.Seq, error) {
	erased, err := s.erasedAt(ctx, doc)
	if err != nil {
		return 0, err
	}
	st, old, err := s.document(ctx, doc, m)
	if err != nil {
		return 0, err
	}
	return s.edit(ctx, doc, erased, user, conn, func(now *yjs.Document) ([]byte, error) {
		if sameLook(now, old) == nil {
			return nil, nil
		}
		update, err := now.Restore(old, newClient(now))
		if err != nil {
			return nil, fmt.Errorf("restore %q to %d: %w", doc, st.Seq, err)
		}
		return update, nil
	})
}

// newClient draws a client id that the document does not know, from the range that every Yjs takes.
func newClient(d *yjs.Document) uint64 {
	known := d.Vector()
	for {
		id := uint64(rand.Uint32())
		if _, taken := known[id]; !taken && id > 0 {
			return id
		}
	}
}

// Copy begins a new document as another one was at a moment, and returns the new one's last sequence. ErrNotNew: it exists.
func (s *Store) Copy(ctx context.Context, doc stream.Doc, m Moment, to stream.Doc, user, conn string) (stream.Seq, error) {
	st, err := s.At(ctx, doc, m)
	if err != nil {
		return 0, err
	}
	// What is deleted at that moment is no part of the copy.
	update, err := compacted(nil, [][]byte{st.Update})
	if err != nil {
		return 0, err
	}
	erased, err := s.Erased(ctx, to)
	if err != nil {
		return 0, err
	}
	var u yjs.Update
	if err := u.Parse(update, stored); err != nil {
		return 0, err
	}
	if erased.Refuses(&u) {
		return 0, fmt.Errorf("%w: %q was erased, and what it held may not come back under that name", ErrErased, to)
	}
	return s.Seed(ctx, to, user, conn, update)
}

// ErrErased: the update holds what was erased under that name.
var ErrErased = errors.New("snapshot: erased content")
