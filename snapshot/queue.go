package snapshot

import (
	"context"
	"errors"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"yjet/stream"
)

// Conditions for a fold. While a document is open: a tail above max(openBytes, half the snapshot) or openRecords. Once it is quiet:
// a tail above a sixteenth of the snapshot, or older than staleAfter, unless it is short.
//
// A short tail has at most fewRecords, and not more than openBytes. A fold costs 2 to 4 ms of CPU and up to seven records takes more bytes
// than they do; opening reads four in 0.5 ms and a snapshot in 0.35 (BenchmarkFewRecords). A tail that grows is folded in time. Where
// history ends, only a fold takes the past out of the log, so no tail is short there.
const (
	openBytes   = 64 << 10
	openRecords = 5000
	fewRecords  = 4
	staleAfter  = 24 * time.Hour
)

// short reports whether a tail is too short for a fold of a quiet document.
func (s *core) short(bytes, records int) bool {
	return s.keep == retention{} && records <= fewRecords && bytes <= openBytes
}

// queue holds the open documents and the lengths of their tails, and folds those for which it pays.
type queue struct {
	*core
	*headKeeper
	foldOne func(ctx context.Context, doc stream.Doc, mode foldMode) (stream.Seq, error) // set by assemble

	mu      sync.Mutex // guards the fields below; held for moments only, and before headKeeper.mu
	docs    map[stream.Doc]*known
	waiting []stream.Doc // to be folded, in order
	running int          // workers
	paused  map[stream.Doc]int
	stopAll int // pauses of all documents
}

// known is the state of one document as the hints report it; guarded by queue.mu.
type known struct {
	snapBytes int // of the state last read or written
	// The tail as the hints count it, and the part of it in the last fold.
	head          stream.Seq
	tailBytes     int
	tailRecords   int
	foldedBytes   int
	foldedRecords int
	idle, queued  bool
	timer         *time.Timer
}

// workers is the number of folds that one process runs at a time: folds compete with live edits for CPU and disk.
const workers = 2

// mostWorkers returns workers, or less if memory is limited: a fold holds several copies of a document.
func mostWorkers() int {
	if l := debug.SetMemoryLimit(-1); l > 0 && l < math.MaxInt64 {
		return int(min(max(l/(512<<20), 1), workers))
	}
	return workers
}

// length returns the number of documents that wait to be folded.
func (s *queue) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// stopTimers drops the planned folds, once no new one can begin.
func (s *queue) stopTimers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = nil
	for _, k := range s.docs {
		if k.timer != nil && k.timer.Stop() {
			s.work.Done()
		}
		k.timer = nil
	}
}

// Hint reports a room's view of its document. A room calls it when the tail grows, and with idle true when its last session goes. The
// tail is counted from the state that the room was opened with; with tailBytes 0 only the newest records of a closed document are known.
// Hint never blocks.
func (s *queue) Hint(doc stream.Doc, head stream.Seq, tailBytes, tailRecords int, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
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
		s.saw(doc, head)
	}
	k.head, k.tailBytes, k.tailRecords, k.idle = head, tailBytes, tailRecords, idle
	bytes, records := tailBytes-k.foldedBytes, tailRecords-k.foldedRecords
	if !idle {
		if bytes > max(openBytes, k.snapBytes/2) || records > openRecords {
			s.enqueueLocked(doc, k)
		}
		return
	}
	if records <= 0 || bytes > 0 && s.short(bytes, records) {
		s.forgetLocked(doc, k)
		return
	}
	if k.timer != nil {
		if k.timer.Stop() {
			s.work.Done()
		}
	}
	k.timer = nil
	if !s.begin() {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(s.opt.CompactAfter, func() {
		defer s.work.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		if k.timer != t {
			return // another one was set meanwhile
		}
		if k.timer = nil; s.docs[doc] == k && k.idle {
			s.enqueueLocked(doc, k)
		}
	})
	k.timer = t
}

// forgetLocked removes the entry of a document that is not open and has no planned fold.
func (s *queue) forgetLocked(doc stream.Doc, k *known) {
	if k.idle && !k.queued && k.timer == nil {
		delete(s.docs, doc)
	}
}

func (s *queue) enqueueLocked(doc stream.Doc, k *known) {
	if k.queued || s.closing.Err() != nil {
		return
	}
	k.queued = true
	s.waiting = append(s.waiting, doc)
	s.startLocked()
}

// startLocked starts a worker if there is work for it.
func (s *queue) startLocked() {
	if s.stopAll > 0 || s.running >= mostWorkers() || s.running >= len(s.waiting) || !s.begin() {
		return
	}
	s.running++
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
func (s *queue) next() (doc stream.Doc, idle, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, doc := range s.waiting {
		if s.closing.Err() != nil || s.stopAll > 0 {
			break
		}
		if s.paused[doc] > 0 {
			continue
		}
		s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
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

func (s *queue) foldQueued(doc stream.Doc, idle bool) {
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
	_, err := s.foldOne(ctx, doc, mode)
	if err != nil && !errors.Is(err, ErrRaced) && !errors.Is(err, ErrPaused) && !errors.Is(err, errErased) && s.ctx.Err() == nil {
		s.lg.Warn("document not folded; its log stays as it is", "doc", doc, "err", err)
	}
	s.mu.Lock()
	if k := s.docs[doc]; k != nil {
		s.forgetLocked(doc, k)
	}
	s.mu.Unlock()
}

// Pause stops folding of doc, or of all documents if doc is "", until resume is called. A fold under way continues.
func (s *queue) Pause(doc stream.Doc) (resume func()) {
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

func (s *queue) isPaused(doc stream.Doc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopAll > 0 || s.paused[doc] > 0
}

// learned records the size of an open document's snapshot.
func (s *queue) learned(doc stream.Doc, snapBytes int) {
	s.mu.Lock()
	if k := s.docs[doc]; k != nil {
		k.snapBytes = snapBytes
	}
	s.mu.Unlock()
}
