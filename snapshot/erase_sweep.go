package snapshot

import (
	"context"
	"errors"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// The work that follows an erasure: late appends, records of stale clients, and messages that NATS restores.

// eraseLater schedules the second check for the time when no earlier append can be under way any more.
func (s *eraser) eraseLater(doc stream.Doc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.late[doc]; t != nil && t.Stop() {
		s.work.Done()
	}
	delete(s.late, doc)
	if !s.begin() {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(s.opt.EraseWait, func() {
		defer s.work.Done()
		s.mu.Lock()
		if s.late[doc] == t {
			delete(s.late, doc)
		}
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(s.closing, time.Minute)
		defer cancel()
		if err := s.sweepErased(ctx, doc); err != nil && s.closing.Err() == nil {
			s.lg.Warn("second check of an erased document failed; the next sweep repeats it", "doc", doc, "err", err)
		}
	})
	s.late[doc] = t
}

// stopTimers cancels the second checks that have not begun; the sweep does them.
func (s *eraser) stopTimers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for doc, t := range s.late {
		if t.Stop() {
			s.work.Done()
		}
		delete(s.late, doc)
	}
}

// settled reports whether an erased document needs no further check. A nats-server that lost its index, by a power cut or by a stop
// during a write, can restore deleted messages (2.15: PurgeEx writes no tombstones for a block that it empties, and keeps the block
// if it holds messages of others). So the log below the tombstone's end is checked each time.
func (s *eraser) settled(ctx context.Context, t *tombstone) bool {
	if !t.Swept {
		return false
	}
	r, ok, err := s.log.RecordAt(ctx, t.Doc, 1)
	return err == nil && (!ok || r.Seq > t.Upto)
}

// sweepErased removes records that stale clients stored in an erased document, and messages that NATS restored. New content stays.
func (s *eraser) sweepErased(ctx context.Context, doc stream.Doc) error {
	t, rev, err := s.tombstone(ctx, doc)
	if err != nil || t == nil || time.Since(t.At) < s.opt.EraseWait || s.settled(ctx, t) {
		return err
	}
	erased, err := s.erasedNow(ctx, doc)
	if err != nil {
		return err
	}
	if err := s.removeStaleHead(ctx, doc, erased); err != nil {
		return err
	}
	blobs, err := s.log.Blobs().List(ctx, doc) // before the records: a fold of new content has written some
	if err != nil {
		return err
	}
	var stale []stream.Seq
	fresh := 0
	var u yjs.Update
	for r, err := range s.Records(ctx, doc, 0, 0) {
		if err != nil {
			return err
		}
		if u.Parse(r.Update, stored) == nil && erased.Refuses(&u) {
			stale = append(stale, r.Seq)
		} else {
			fresh++
		}
	}
	switch {
	case len(stale) == 0:
	case fresh == 0:
		if err := s.announceAndRemove(ctx, doc); err != nil { // a room that accepted it has not heard of the erasure
			return err
		}
	default:
		if err := s.removeStale(ctx, doc, stale); err != nil {
			return err
		}
	}
	if fresh == 0 && len(stale) == 0 {
		// A fold that was killed during the erasure may have left blobs. No other sweep finds them, since the log has no such document.
		for _, subject := range blobs {
			if err := s.log.Blobs().Remove(ctx, subject); err != nil {
				return err
			}
			s.metrics.orphans.Inc()
		}
	}
	if len(stale) > 0 {
		s.lg.Warn("removed records that stale clients stored in an erased document", "doc", doc, "records", len(stale))
	}
	if t.Swept {
		return nil
	}
	t.Swept = true
	return s.amendTombstone(ctx, t, rev)
}

// removeStaleHead removes the snapshot of an erased document, and its blobs, if a fold under way at the time ended before its own check
// and left them behind.
func (s *eraser) removeStaleHead(ctx context.Context, doc stream.Doc, erased *Erased) error {
	h, rev, err := s.snapHead(ctx, doc)
	if errors.Is(err, errDamaged) || err == nil && h == nil {
		return nil
	} else if err != nil {
		return err
	}
	base, err := s.state(ctx, h)
	switch {
	case errors.Is(err, errDamaged):
		// The chunks are gone and the head is left. A document with newer content has a log.
		if head, err := s.log.Head(ctx, doc); err != nil || head > 0 {
			return err
		}
	case err != nil:
		return err
	default:
		var u yjs.Update
		if u.Parse(base, stored) != nil || !erased.covers(&u) {
			return nil
		}
	}
	if err := s.log.Blobs().RemoveHead(ctx, doc, rev); err != nil {
		return err
	}
	for name := range h.names() {
		if err := s.log.Blobs().Remove(ctx, name); err != nil {
			return err
		}
	}
	s.lg.Warn("removed the snapshot of an erased document", "doc", doc, "seq", h.upto)
	return nil
}
