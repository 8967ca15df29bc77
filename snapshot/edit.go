package snapshot

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// ErrNoChange: the document shows already what it is to be restored to. Nothing was appended.
var ErrNoChange = errors.New("snapshot: the document is as it was at that moment")

// ErrNotNew: the document that was to be made has records.
var ErrNotNew = errors.New("snapshot: the document exists")

// Append stores an update through the log, in several records where it is too large for one, and returns the last sequence. The
// update must be valid and depend on nothing that is not stored.
func (s *Store) Append(ctx context.Context, doc stream.Doc, user, conn string, update []byte) (stream.Seq, error) {
	seqs, err := s.appendParts(ctx, doc, user, conn, update)
	if err != nil {
		return 0, err
	}
	return seqs[len(seqs)-1], nil
}

func (s *Store) appendParts(ctx context.Context, doc stream.Doc, user, conn string, update []byte) ([]stream.Seq, error) {
	parts := [][]byte{update}
	if len(update) > s.log.MaxUpdate() {
		var err error
		if parts, err = yjs.Split(update, s.log.MaxUpdate()); err != nil {
			return nil, err
		}
	}
	entries := make([]stream.Entry, len(parts))
	for i, p := range parts {
		entries[i] = stream.Entry{User: user, Conn: conn, Update: p}
	}
	return appendAll(ctx, s.log.Writer(doc), entries)
}

func appendAll(ctx context.Context, w *stream.Writer, entries []stream.Entry) ([]stream.Seq, error) {
	type fate struct {
		seqs []stream.Seq
		err  error
	}
	done := make(chan fate, 1)
	w.Append(ctx, entries, func(seqs []stream.Seq, err error) { done <- fate{seqs, err} })
	f := <-done
	return f.seqs, f.err
}

// appendUnlessErased is Append of what was made of a document that had last been erased at a time: what was erased since must not
// come back with it.
func (s *Store) appendUnlessErased(ctx context.Context, doc stream.Doc, erased time.Time, user, conn string, update []byte) (stream.Seq, error) {
	if err := s.fail(doc, "append"); err != nil {
		return 0, err
	}
	seqs, err := s.appendParts(ctx, doc, user, conn, update)
	if err != nil {
		return 0, err
	}
	// An erasure that did not remove it had written its tombstone before it was stored.
	at, err := s.erasedAt(ctx, doc)
	if err != nil || at.Equal(erased) {
		return seqs[len(seqs)-1], err
	}
	if err := s.log.EraseRecords(ctx, doc, seqs...); err != nil {
		return 0, err
	}
	return 0, errErased
}

// Restore makes the document show what it showed at a moment, by a forward edit that is computed against the present and
// appended in the name of user: editors that have the document open take it in once, like any edit. ErrNoChange: it does already.
func (s *Store) Restore(ctx context.Context, doc stream.Doc, m Moment, user, conn string) (stream.Seq, error) {
	erased, err := s.erasedAt(ctx, doc)
	if err != nil {
		return 0, err
	}
	st, old, err := s.document(ctx, doc, m)
	if err != nil {
		return 0, err
	}
	_, now, err := s.document(ctx, doc, Moment{})
	if err != nil {
		return 0, err
	}
	if sameLook(now, old) == nil {
		return 0, ErrNoChange
	}
	update, err := now.Restore(old, newClient(now))
	if err != nil {
		return 0, fmt.Errorf("restore %q to %d: %w", doc, st.Seq, err)
	}
	if update == nil {
		return 0, ErrNoChange
	}
	return s.appendUnlessErased(ctx, doc, erased, user, conn, update)
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

// Seed stores the first update of a new document, exactly once among all servers, and whole or not at all: in several records where
// it is too large for one. It answers the last sequence. ErrNotNew: the document has records.
func (s *Store) Seed(ctx context.Context, doc stream.Doc, user, conn string, update []byte) (stream.Seq, error) {
	parts := [][]byte{update}
	if len(update) > s.log.MaxUpdate() {
		var err error
		if parts, err = yjs.Split(update, s.log.MaxUpdate()); err != nil {
			return 0, fmt.Errorf("%w: %w", stream.ErrTooLarge, err)
		}
	}
	entries := make([]stream.Entry, len(parts))
	for i, p := range parts {
		entries[i] = stream.Entry{User: user, Conn: conn, Update: p}
	}
	seq, err := s.log.AppendIfNew(ctx, doc, entries...)
	if errors.Is(err, stream.ErrConflict) {
		return 0, fmt.Errorf("%w: %q", ErrNotNew, doc)
	}
	return seq, err
}
