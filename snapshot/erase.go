package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// EraseAnnouncement is the kind of message by which a server tells the others (stream.Log.Announce) that it erases a document; the
// payload is its name. Rooms close with 4404 and their writers append no more.
const EraseAnnouncement = "erase"

// eraser removes documents for good and checks each a second time.
type eraser struct {
	*core
	*blobs
	*damages
	*tombs
	*headKeeper
	*queue
	*reader
	*history

	mu   sync.Mutex                 // guards late
	late map[stream.Doc]*time.Timer // second checks to come, by document
}

// Erase removes a document for good: log, snapshot, history, versions, presence.
//
//  1. The tombstone is written, with every client and clock of the document. From here on no server accepts any of its content, and no
//     server opens the document before the erasure has ended.
//  2. Every server is told; rooms close.
//  3. Everything stored is purged. Messages still in the streams are overwritten first (stream.Log.Erase); messages that earlier folds
//     removed stay in NATS's block files until NATS rewrites those.
//  4. Records that rooms stored before they heard of the erasure are added to the tombstone, announced and purged likewise.
//  5. Appends that were under way, and are found stored after Options.EraseWait, are purged; by the sweep if this server ends before.
//
// The name may be used again when Erase returns: only updates of the erased document's clients are refused. ErrNotFound: there is no such
// document.
func (s *eraser) Erase(ctx context.Context, doc stream.Doc, user string) error {
	resume := s.Pause(doc)
	defer resume()
	found, err := s.bury(ctx, doc, user)
	if err != nil {
		return err
	}
	if found {
		defer s.endErasure(ctx, doc)
	} else {
		blobs, err := s.log.Blobs().List(ctx, doc)
		if err != nil {
			return err
		}
		if h, _, err := s.snapHead(ctx, doc); len(blobs) == 0 && h == nil && err == nil {
			return fmt.Errorf("%w: document %q", ErrNotFound, doc)
		}
	}
	if err := s.announceAndRemove(ctx, doc); err != nil {
		return err
	}
	if err := sleep(ctx, eraseSettle); err != nil {
		return err
	}
	if again, err := s.bury(ctx, doc, user); err != nil {
		return err
	} else if again {
		if err := s.announceAndRemove(ctx, doc); err != nil {
			return err
		}
	}
	s.forget(doc)
	s.unmark(doc)
	s.eraseLater(doc)
	s.lg.Info("document erased", "doc", doc, "user", user)
	return nil
}

// announceAndRemove has every server close the document's room, then removes the stored data. The tombstone is written before.
func (s *eraser) announceAndRemove(ctx context.Context, doc stream.Doc) error {
	if err := s.log.Control().Announce(EraseAnnouncement, []byte(doc)); err != nil {
		return err
	}
	return s.removeAll(ctx, doc)
}

// endErasure allows the document to be opened again. If it fails, the block ends by itself after eraseMost.
func (s *eraser) endErasure(ctx context.Context, doc stream.Doc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for range 10 {
		t, rev, err := s.tombstone(ctx, doc)
		if err == nil && t != nil && !t.Until.IsZero() {
			t.Until = time.Time{}
			err = s.putTombstone(ctx, t, rev)
		}
		if errors.Is(err, stream.ErrConflict) {
			continue
		}
		if err != nil {
			s.lg.Warn("erased document stays closed for a while", "doc", doc, "longest", eraseMost, "err", err)
		}
		return
	}
}

// eraseMost is the longest time for one purge of a document. If the server dies meanwhile, the document can be opened again after it.
const eraseMost = time.Minute

// eraseSettle is the time that rooms get to hear of the erasure.
const eraseSettle = 200 * time.Millisecond

// bury writes the tombstone for everything stored of doc now, joined with an earlier tombstone. found: something is stored.
func (s *eraser) bury(ctx context.Context, doc stream.Doc, user string) (found bool, err error) {
	var parts [][]byte
	var upto stream.Seq
	v, err := s.read(ctx, doc, 0)
	switch {
	case err == nil:
		upto = max(v.target, v.covered())
		if v.base != nil {
			parts = append(parts, v.base)
		}
		for i := range v.records {
			parts = append(parts, v.records[i].Update)
		}
	case errors.Is(err, stream.ErrLost):
		// A damaged document can be erased too; its readable records go into the tombstone.
		for r, err := range s.log.Replay(ctx, doc, 0, 0) {
			if err != nil {
				break
			}
			parts = append(parts, r.Update)
			upto = r.Seq
		}
		found = true
	default:
		return false, err
	}
	vector := make(yjs.StateVector)
	var u yjs.Update
	for _, p := range parts {
		if u.Parse(p, stored) != nil {
			continue
		}
		found = true
		for _, r := range u.Runs() {
			vector[r.Client] = max(vector[r.Client], r.End())
		}
	}
	if !found {
		return false, nil
	}
	for range 10 {
		t, rev, err := s.tombstone(ctx, doc)
		if err != nil {
			return false, err
		}
		if t != nil {
			old, err := yjs.DecodeStateVector(t.Vector)
			if err != nil {
				return false, err
			}
			for client, clock := range old {
				vector[client] = max(vector[client], clock)
			}
			upto = max(upto, t.Upto)
		}
		now := time.Now().UTC()
		next := tombstone{Doc: doc, Vector: vector.Append(nil), At: now, User: user, Upto: upto, Until: now.Add(eraseMost)}
		if err = s.putTombstone(ctx, &next, rev); !errors.Is(err, stream.ErrConflict) {
			return true, err
		}
	}
	return false, fmt.Errorf("tombstone of %q: %w", doc, stream.ErrConflict)
}

// removeAll removes everything stored of doc but the tombstone.
func (s *eraser) removeAll(ctx context.Context, doc stream.Doc) error {
	return s.log.Erase(ctx, doc, versionsOf(doc))
}
