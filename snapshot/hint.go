package snapshot

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"yjet/stream"
)

// When a document is folded. While it is open: a tail above max(openBytes, half the snapshot) or openRecords. Once it is quiet:
// a tail above a sixteenth of the snapshot, or older than staleAfter.
const (
	openBytes   = 64 << 10
	openRecords = 5000
	staleAfter  = 24 * time.Hour
)

// Hint tells the store what a room knows: called when a document's tail grows and when its last session goes (idle true). The
// tail is counted from the state the room was opened with. It never blocks.
func (s *Store) Hint(doc stream.Doc, head stream.Seq, tailBytes, tailRecords int, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	k := s.docs[doc]
	if k == nil {
		k = &known{}
		s.docs[doc] = k
	}
	if tailRecords < k.foldedRecords || tailBytes < k.foldedBytes { // a new room, which counts from the newest fold
		k.foldedBytes, k.foldedRecords = 0, 0
	}
	if tailRecords > k.foldedRecords {
		s.sawLocked(doc, head)
	}
	k.head, k.tailBytes, k.tailRecords, k.idle = head, tailBytes, tailRecords, idle
	bytes, records := tailBytes-k.foldedBytes, tailRecords-k.foldedRecords
	if !idle {
		if bytes > max(openBytes, k.snapBytes/2) || records > openRecords {
			s.enqueueLocked(doc, k)
		}
		return
	}
	if records <= 0 {
		s.forgetLocked(doc, k)
		return
	}
	if k.timer != nil {
		if k.timer.Stop() {
			s.work.Done()
		}
	}
	s.work.Add(1)
	k.timer = time.AfterFunc(s.opt.CompactAfter, func() {
		defer s.work.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		if k.timer = nil; !s.closed && s.docs[doc] == k && k.idle {
			s.enqueueLocked(doc, k)
		}
	})
}

// forgetLocked drops what is remembered of a document that nobody has open and nothing is planned for.
func (s *Store) forgetLocked(doc stream.Doc, k *known) {
	if k.idle && !k.queued && k.timer == nil {
		delete(s.docs, doc)
	}
}

func (s *Store) enqueueLocked(doc stream.Doc, k *known) {
	if k.queued || s.closed {
		return
	}
	k.queued = true
	s.queue = append(s.queue, doc)
	s.startLocked()
}

// startLocked adds a worker where there is work for it.
func (s *Store) startLocked() {
	if s.closed || s.stopAll > 0 || s.running >= mostWorkers() || s.running >= len(s.queue) {
		return
	}
	s.running++
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		for {
			doc, idle, ok := s.next()
			if !ok {
				return
			}
			s.foldQueued(doc, idle)
		}
	}()
}

// next takes the first document in the queue that is not paused.
func (s *Store) next() (doc stream.Doc, idle, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, doc := range s.queue {
		if s.closed || s.stopAll > 0 {
			break
		}
		if s.paused[doc] > 0 {
			continue
		}
		s.queue = append(s.queue[:i], s.queue[i+1:]...)
		k := s.docs[doc]
		if k == nil {
			return doc, true, true
		}
		k.queued = false
		k.foldedBytes, k.foldedRecords = k.tailBytes, k.tailRecords
		return doc, k.idle, true
	}
	s.running--
	return "", false, false
}

func (s *Store) foldQueued(doc stream.Doc, idle bool) {
	defer func() {
		if p := recover(); p != nil { // a document that breaks the fold must not take the process with it
			s.metrics.folds.WithLabelValues("panic").Inc()
			s.lg.Error("folding a document panicked; its log is untouched", "doc", doc, "err", p, "stack", string(debug.Stack()))
		}
	}()
	mode := whenOpen
	if idle {
		mode = whenQuiet
	}
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	_, err := s.fold(ctx, doc, mode)
	if err != nil && !errors.Is(err, ErrRaced) && !errors.Is(err, ErrPaused) && !errors.Is(err, errErased) && s.ctx.Err() == nil {
		s.lg.Warn("document not folded; its log stays as it is", "doc", doc, "err", err)
	}
	s.mu.Lock()
	if k := s.docs[doc]; k != nil {
		s.forgetLocked(doc, k)
	}
	s.mu.Unlock()
}

// Pause stops folding of doc, or of all documents when doc is "", until the returned function is called. A fold under way goes on.
func (s *Store) Pause(doc stream.Doc) (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if doc == "" {
		s.stopAll++
	} else {
		s.paused[doc]++
	}
	done := false
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if done {
			return
		}
		done = true
		if doc == "" {
			s.stopAll--
		} else if s.paused[doc]--; s.paused[doc] == 0 {
			delete(s.paused, doc)
		}
		s.startLocked()
	}
}

func (s *Store) isPaused(doc stream.Doc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopAll > 0 || s.paused[doc] > 0
}

// learned remembers how large the snapshot of an open document is.
func (s *Store) learned(doc stream.Doc, snapBytes int) {
	s.mu.Lock()
	if k := s.docs[doc]; k != nil {
		k.snapBytes = snapBytes
	}
	s.mu.Unlock()
}
