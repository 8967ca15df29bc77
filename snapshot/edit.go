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

// ErrNoChange: the document already shows the requested content. Nothing was appended.
var ErrNoChange = errors.New("snapshot: the document is as it was at that moment")

// ErrBusy: on every try, other writes arrived before the computed edit could be stored. Nothing was appended.
var ErrBusy = errors.New("snapshot: the document changes faster than the edit can be computed")

// editTries limits how often an edit is computed; each try reads the document. In the first editStrict tries any concurrent record forces
// another try; after that only a concurrent edit does, and typing does not.
const (
	editTries  = 64
	editStrict = 8
)

// editor appends edits that are computed from the whole document.
type editor struct {
	*core
	*appender
	*tombs
	*reader
	*history
}

// Edit appends one update that change computes from the stored document, deleted content included. If any server stored a record since,
// Edit calls change again. While people type without a pause, their updates may come between, as they may between the edits of two people;
// another Edit never does. Change owns the document it is given; it returns nil for no update. The update may be stored in several
// records, all or none. Edit returns the last sequence. ErrNoChange: change had no update. ErrBusy: other writes came first on every
// try. A document without records reads as an empty one.
func (s *editor) Edit(ctx context.Context, doc stream.Doc, user, conn string, change func(now *yjs.Document) ([]byte, error)) (stream.Seq, error) {
	erased, err := s.erasedAt(ctx, doc)
	if err != nil {
		return 0, err
	}
	return s.edit(ctx, doc, erased, user, conn, change)
}

// edit is Edit for a change that uses earlier content of the document; erased is the time of the last erasure when that content was read.
// It ends with errErased if the document was erased since, so that erased content does not return.
func (s *editor) edit(ctx context.Context, doc stream.Doc, erased time.Time, user, conn string, change func(now *yjs.Document) ([]byte, error)) (stream.Seq, error) {
	var parts [][]byte // all that is stored through head
	var head stream.Seq
	for try := range editTries {
		v, err := s.read(ctx, doc, head)
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
		// An erasure writes its tombstone before it removes the log, and a removed log has another head: either this check finds the
		// tombstone, or the append finds the other head.
		if at, err := s.erasedAt(ctx, doc); err != nil {
			return 0, err
		} else if !at.Equal(erased) {
			return 0, errErased
		}
		entries, err := Entries(stream.Entry{User: user, Conn: conn, Update: update}, s.log.MaxUpdate())
		if err != nil {
			return 0, fmt.Errorf("%w: %w", stream.ErrTooLarge, err)
		}
		seq, err := s.log.AppendAt(ctx, doc, head, entries...)
		if try >= editStrict && errors.Is(err, stream.ErrConflict) {
			seq, err = s.appendAmong(ctx, doc, head, entries)
		}
		if !errors.Is(err, stream.ErrConflict) {
			return seq, err
		}
	}
	return 0, fmt.Errorf("%w: %q", ErrBusy, doc)
}

// appendAmong appends entries computed from the document through head after the records that were stored since. stream.ErrConflict: one
// of those may be an edit. Each edit is a writer of its own, so its first record has counter 1. A room's later records have higher
// counters. Records of other programs have none and are taken for edits.
func (s *editor) appendAmong(ctx context.Context, doc stream.Doc, head stream.Seq, entries []stream.Entry) (stream.Seq, error) {
	for {
		v, err := s.survey(ctx, doc, head)
		if errors.Is(err, errShort) {
			return 0, stream.ErrConflict
		} else if err != nil {
			return 0, err
		}
		if v.covered() > head || v.target < head { // the fold may contain an edit; the log was erased
			return 0, stream.ErrConflict
		}
		for i := range v.records {
			if v.records[i].Sum.N <= 1 {
				return 0, stream.ErrConflict
			}
		}
		head = v.target
		if seq, err := s.log.AppendAt(ctx, doc, head, entries...); !errors.Is(err, stream.ErrConflict) {
			return seq, err
		}
	}
}

// Restore makes the document show its content of moment m. It appends, in the name of user, a forward edit computed from the present
// state; open editors receive it like any edit. Concurrent restores, on any server, are computed one after the other. ErrNoChange: the
// document already shows that content. ErrBusy: see Edit.
func (s *editor) Restore(ctx context.Context, doc stream.Doc, m Moment, user, conn string) (stream.Seq, error) {
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

// Copy begins a new document as another one was at a moment, and returns the new one's last sequence. ErrNotNew: it exists.
func (s *editor) Copy(ctx context.Context, doc stream.Doc, m Moment, to stream.Doc, user, conn string) (stream.Seq, error) {
	st, err := s.At(ctx, doc, m)
	if err != nil {
		return 0, err
	}
	// Content deleted at that moment is not copied.
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
		return 0, fmt.Errorf("%w: %q was erased, and its erased content is refused under that name", ErrErased, to)
	}
	return s.Seed(ctx, to, user, conn, update)
}

// ErrErased: the update holds content that was erased under that name.
var ErrErased = errors.New("snapshot: erased content")

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
