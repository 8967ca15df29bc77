package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// How updates get into the log: cut to its size, after what is there, only into a new document, or only after the record that they were
// computed from.

// Entries cuts the update of e into entries of at most limit bytes each, which carry what else e says and are stored all or none. The last
// one counts what e has merged. yjs.ErrUnsplittable: one value of it is larger.
func Entries(e stream.Entry, limit int) ([]stream.Entry, error) {
	if len(e.Update) <= limit {
		return []stream.Entry{e}, nil
	}
	parts, err := yjs.Split(e.Update, limit)
	if err != nil {
		return nil, err
	}
	entries := make([]stream.Entry, len(parts))
	for i, p := range parts {
		entries[i] = e
		entries[i].Update = p
		if i < len(parts)-1 {
			entries[i].Merged, entries[i].WithNext = 1, true
		}
	}
	return entries, nil
}

// Append stores an update through the log, in several records where it is too large for one, and returns the last sequence. The
// update must be valid and depend on nothing that is not stored.
func (s *Store) Append(ctx context.Context, doc stream.Doc, user, conn string, update []byte) (stream.Seq, error) {
	entries, err := Entries(stream.Entry{User: user, Conn: conn, Update: update}, s.log.MaxUpdate())
	if err != nil {
		return 0, err
	}
	seqs, err := appendAll(ctx, s.log.Writer(doc), entries)
	if err != nil {
		return 0, err
	}
	return seqs[len(seqs)-1], nil
}

// appendAll appends and waits for the outcome.
func appendAll(ctx context.Context, w *stream.Writer, entries []stream.Entry) ([]stream.Seq, error) {
	type outcome struct {
		seqs []stream.Seq
		err  error
	}
	done := make(chan outcome, 1)
	w.Append(ctx, entries, func(seqs []stream.Seq, err error) { done <- outcome{seqs, err} })
	o := <-done
	return o.seqs, o.err
}

// ErrNotNew: the document that was to be made has records.
var ErrNotNew = errors.New("snapshot: the document exists")

// Seed stores the first update of a new document, exactly once among all servers, and whole or not at all: in several records where
// it is too large for one. It answers the last sequence. ErrNotNew: the document has records.
func (s *Store) Seed(ctx context.Context, doc stream.Doc, user, conn string, update []byte) (stream.Seq, error) {
	return s.seed(ctx, doc, stream.Entry{User: user, Conn: conn, Update: update})
}

func (s *Store) seed(ctx context.Context, doc stream.Doc, e stream.Entry) (stream.Seq, error) {
	entries, err := Entries(e, s.log.MaxUpdate())
	if err != nil {
		return 0, fmt.Errorf("%w: %w", stream.ErrTooLarge, err)
	}
	seq, err := s.log.AppendIfNew(ctx, doc, entries...)
	if errors.Is(err, stream.ErrConflict) {
		return 0, fmt.Errorf("%w: %q", ErrNotNew, doc)
	}
	return seq, err
}

// ErrNoChange: the document shows already what it is to show. Nothing was appended.
var ErrNoChange = errors.New("snapshot: the document is as it was at that moment")

// ErrBusy: others wrote to the document each time before an edit that was computed from it could be stored. Nothing was appended.
var ErrBusy = errors.New("snapshot: the document changes faster than the edit can be computed")

// editTries bounds how often an edit is computed. Each try takes as long as reading the document, and fails only where somebody else's
// write was stored in that time.
const editTries = 64

// Edit appends one update that change computes from the document as it is stored, deleted content included: the update is stored only
// where nothing was stored since, by whichever server, and change is asked again where something was. Change owns the document it is
// given, and answers nil for no update. The update may be stored in several records, all or none. It answers the last sequence.
// ErrNoChange: change had no update. ErrBusy: others were faster every time. A document that has no records reads as an empty one.
func (s *Store) Edit(ctx context.Context, doc stream.Doc, user, conn string, change func(now *yjs.Document) ([]byte, error)) (stream.Seq, error) {
	erased, err := s.erasedAt(ctx, doc)
	if err != nil {
		return 0, err
	}
	return s.edit(ctx, doc, erased, user, conn, change)
}

// edit is Edit where change knows what was there when the document had last been erased at a time: what was erased since must not come back.
func (s *Store) edit(ctx context.Context, doc stream.Doc, erased time.Time, user, conn string, change func(now *yjs.Document) ([]byte, error)) (stream.Seq, error) {
	var parts [][]byte // all that is stored through head
	var head stream.Seq
	for range editTries {
		v, err := s.read(ctx, doc, head, nil)
		if err != nil {
			return 0, err
		}
		good, _ := decodable(v.records)
		parts = append(parts, withBase(v.base, good)...)
		head = v.target
		now, err := yjs.OpenDocument(yjs.DocumentOptions{KeepDeleted: true}, parts...)
		if err != nil {
			return 0, fmt.Errorf("open %q at %d: %w", doc, head, err)
		}
		update, err := change(now)
		if err != nil {
			return 0, err
		} else if update == nil {
			return 0, ErrNoChange
		}
		if err := s.fail(doc, "append"); err != nil {
			return 0, err
		}
		seq, err := s.editAt(ctx, doc, head, erased, stream.Entry{User: user, Conn: conn, Update: update})
		if !errors.Is(err, stream.ErrConflict) {
			return seq, err
		}
	}
	return 0, fmt.Errorf("%w: %q", ErrBusy, doc)
}

// editAt appends an update that was computed from the document through head. An erasure writes its tombstone before it removes the log,
// and a log that was removed has another head: one of the two sees the other.
func (s *Store) editAt(ctx context.Context, doc stream.Doc, head stream.Seq, erased time.Time, e stream.Entry) (stream.Seq, error) {
	if at, err := s.erasedAt(ctx, doc); err != nil {
		return 0, err
	} else if !at.Equal(erased) {
		return 0, errErased
	}
	entries, err := Entries(e, s.log.MaxUpdate())
	if err != nil {
		return 0, fmt.Errorf("%w: %w", stream.ErrTooLarge, err)
	}
	return s.log.AppendAt(ctx, doc, head, entries...)
}
