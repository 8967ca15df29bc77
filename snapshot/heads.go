package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"yjet/stream"
)

// A document's log must reach at least its last folded record, which stays in the log. A fold says nothing about the records after it:
// if a block of the log's file lost the last ones, counters would not show it, since a counter reveals only gaps before a later record.
// So each server writes down, every minute and when it stops, the heads of the documents that are not folded through their end: key
// heads.<node> of ymeta. A server that starts compares.
type headsMark struct {
	At    time.Time                 `json:"at"`
	Heads map[stream.Doc]stream.Seq `json:"heads"`
}

const (
	headsPrefix = "heads."
	headsEvery  = time.Minute
	// headsMost limits a mark: one server has fewer documents that are being written to and not yet folded.
	headsMost = 20_000
	// headsStale is the age of a mark after which its server counts as gone.
	headsStale = 10 * headsEvery
)

// headKeeper keeps the heads of documents that are not folded through their end, and checks the logs against the marks of all servers.
type headKeeper struct {
	*core
	*damages
	*tombs

	mu       sync.Mutex                // guards the fields below
	heads    map[stream.Doc]stream.Seq // of documents that are not folded through their end
	upto     map[stream.Doc]stream.Seq // last folded record of open documents
	headsNew bool                      // heads differs from the written mark
}

// saw records a document's head.
func (s *headKeeper) saw(doc stream.Doc, head stream.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sawLocked(doc, head)
}

// forget removes the entries of an erased document.
func (s *headKeeper) forget(doc stream.Doc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.heads, doc)
	delete(s.upto, doc)
}

func (s *headKeeper) sawLocked(doc stream.Doc, head stream.Seq) {
	if head > s.heads[doc] && (len(s.heads) < headsMost || s.heads[doc] > 0) {
		s.heads[doc] = head
		s.headsNew = true
	}
}

// foldedThrough removes a document that is folded through its end from the mark.
func (s *headKeeper) foldedThrough(doc stream.Doc, upto stream.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heads[doc] <= upto {
		delete(s.heads, doc)
	}
	s.upto[doc] = upto // markHeads sees an open document every minute, changed or not
}

// markHeads writes the mark if it has changed.
func (s *headKeeper) markHeads(ctx context.Context) error {
	open := s.log.OpenHeads()
	s.mu.Lock()
	for doc, head := range open {
		if head > s.upto[doc] {
			s.sawLocked(doc, head)
		}
	}
	for doc := range s.upto {
		if _, ok := open[doc]; !ok {
			delete(s.upto, doc)
		}
	}
	if !s.headsNew {
		s.mu.Unlock()
		return nil
	}
	s.headsNew = false
	mark := headsMark{At: time.Now().UTC(), Heads: maps.Clone(s.heads)}
	s.mu.Unlock()
	js, err := json.Marshal(mark)
	if err == nil {
		_, err = s.log.Meta().Put(ctx, headsPrefix+s.log.Node(), js, nil)
	}
	if err != nil {
		s.mu.Lock()
		s.headsNew = true
		s.mu.Unlock()
	}
	return err
}

// checkHeads compares the marks of all servers with the logs, and removes the marks of servers that are gone.
func (s *headKeeper) checkHeads(ctx context.Context) error {
	marks, err := s.log.Meta().List(ctx, headsPrefix+">")
	if err != nil {
		return err
	}
	for _, e := range marks {
		var m headsMark
		if err := json.Unmarshal(e.Value, &m); err != nil {
			s.lg.Warn("mark of heads does not decode", "key", e.Key, "err", err)
			continue
		}
		for doc, seq := range m.Heads {
			if err := s.checkHead(ctx, doc, seq, m.At); err != nil {
				return err
			}
		}
		if time.Since(m.At) > headsStale {
			if err := s.log.Meta().Delete(ctx, e.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *headKeeper) checkHead(ctx context.Context, doc stream.Doc, seq stream.Seq, at time.Time) error {
	head, err := s.log.Head(ctx, doc)
	if errors.Is(err, stream.ErrDamaged) || errors.Is(err, stream.ErrLost) {
		s.markDamaged(doc, "log", err)
		return nil
	}
	if err != nil || head >= seq {
		return err
	}
	// A server may write a mark again long after one of its documents was erased.
	if t, _, err := s.tombstone(ctx, doc); err != nil || t != nil && (seq <= t.Upto || t.At.After(at.Add(-headsEvery))) {
		return err
	}
	s.markDamaged(doc, "log", fmt.Errorf("%w: the log ends at sequence %d, and had come to %d on %s", stream.ErrLost, head, seq, at.Format(time.RFC3339)))
	return nil
}

// run compares once, then writes marks until the Store closes, and a last one then.
func (s *headKeeper) run() {
	defer s.work.Done()
	ctx, cancel := context.WithTimeout(s.closing, headsEvery)
	if err := s.checkHeads(ctx); err != nil && s.closing.Err() == nil {
		s.lg.Warn("how far documents had come could not be compared", "err", err)
	}
	cancel()
	tick := time.NewTicker(headsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.closing.Done():
			ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
			defer cancel()
			if err := s.markHeads(ctx); err != nil && !errors.Is(err, context.Canceled) {
				s.lg.Warn("how far documents had come is not written down", "err", err)
			}
			return
		}
		ctx, cancel := context.WithTimeout(s.closing, headsEvery/2)
		if err := s.markHeads(ctx); err != nil && s.closing.Err() == nil {
			s.lg.Warn("how far documents had come is not written down", "err", err)
		}
		cancel()
	}
}
