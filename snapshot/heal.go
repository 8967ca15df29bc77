package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"
	"yjet/internal/yjs"
	"yjet/stream"
)

// healer stores lost content of documents again, from the rooms that still hold it.
type healer struct {
	*core
	*blobs
	*appender
	*damages
	*tombs
	*reader
	*compactor
}

// Heal restores content that storage has lost and a room still holds: state is the whole document through record seq. Heal appends the
// missing updates and replaces a snapshot that can be neither read nor rebuilt.
func (s *healer) Heal(ctx context.Context, doc stream.Doc, state []byte, seq stream.Seq) error {
	var u yjs.Update
	if err := u.Parse(state, stored); err != nil {
		return err
	}
	if erased, err := s.erasedNow(ctx, doc); err != nil {
		return err
	} else if erased.Refuses(&u) {
		return fmt.Errorf("%w: %q", ErrErased, doc) // the room has not heard of the erasure
	}
	var have yjs.State
	if err := s.holds(ctx, doc, &have); errors.Is(err, stream.ErrLost) {
		return s.replaceSnapshot(ctx, doc, state, seq)
	} else if err != nil {
		return err
	}
	if have.Contains(&u) {
		s.mended(doc, "log")
		return nil
	}
	missing, err := yjs.Diff(state, have.Vector())
	if err != nil {
		return err
	}
	if seq, err = s.Append(ctx, doc, "", "repair", missing); err != nil {
		return err
	}
	s.lg.Warn("what storage had lost was stored again from an open room", "doc", doc, "seq", seq, "bytes", len(missing))
	s.mended(doc, "log")
	return nil
}

// replaceSnapshot stores a head for a state that a room still holds, in place of a head that is lost for good.
func (s *healer) replaceSnapshot(ctx context.Context, doc stream.Doc, state []byte, seq stream.Seq) error {
	h, rev, err := s.snapHead(ctx, doc)
	if err != nil && !errors.Is(err, errDamaged) {
		return err
	}
	if h == nil {
		h = &head{}
	}
	h.rev = rev
	if h.upto > seq {
		return fmt.Errorf("%w: the room is at %d, the snapshot covered %d", stream.ErrLost, seq, h.upto)
	}
	if !s.begin() {
		return ErrClosed
	}
	defer s.work.Done()
	erased, err := s.erasedAt(ctx, doc)
	if err != nil {
		return err
	}
	c := &compaction{s: s.compactor, doc: doc, mode: always, lg: s.lg.With("doc", doc), attempt: s.log.Blobs().NewAttempt(), erased: erased, view: &view{head: h, rev: rev}, state: state}
	next := *h
	next.upto, next.epoch, next.inline = seq, s.log.Epoch(doc), nil
	i := &next.info
	i.Version, i.Attempt, i.Parts, i.Bytes, i.Sum = formatVersion, c.attempt, nil, len(state), sumOf(state)
	i.TimeMS = max(i.TimeMS, time.Now().UnixMilli())
	// The single records end here: the history begins anew.
	i.History, i.Folds, i.Horizon, i.HorizonMS = nil, nil, seq, i.TimeMS
	c.next = &next
	err = c.writeChunks(ctx)
	if err == nil {
		err = c.writeHead(ctx)
	}
	if err != nil {
		c.takeBack(err)
		return err
	}
	s.mended(doc, "snapshot")
	s.lg.Warn("lost snapshot replaced from an open room; its history begins anew", "doc", doc, "seq", seq, "bytes", len(state))
	return c.removeUnnamed(ctx)
}
