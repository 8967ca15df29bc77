package snapshot

import (
	"context"
	"errors"
	"fmt"

	"yjet/internal/yjs"
	"yjet/stream"
)

// Updates enter the log here: split to the log's message size, after the existing records, only into a new document, or only directly
// after the record that they were computed from.

// Entries splits the update of e into entries of at most limit bytes each. They keep the other fields of e and must be appended all or
// none. The last one carries the count of merged updates. yjs.ErrUnsplittable: a single value is larger than limit.
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

// appender brings updates into the log.
type appender struct {
	*core
}

// Append stores a valid update that depends only on stored content, in several records if it is too large for one. It returns the last
// sequence.
func (s *appender) Append(ctx context.Context, doc stream.Doc, user, conn string, update []byte) (stream.Seq, error) {
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

// ErrNotNew: the document to be created already has records.
var ErrNotNew = errors.New("snapshot: the document exists")

// Seed stores the first update of a new document. Of several servers only one succeeds, and all of the update is stored or none, in several
// records if it is too large for one. Seed returns the last sequence. ErrNotNew: the document has records.
func (s *appender) Seed(ctx context.Context, doc stream.Doc, user, conn string, update []byte) (stream.Seq, error) {
	return s.seed(ctx, doc, stream.Entry{User: user, Conn: conn, Update: update})
}

func (s *appender) seed(ctx context.Context, doc stream.Doc, e stream.Entry) (stream.Seq, error) {
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
