package snapshot

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"yjet/stream"
)

// DamageAnnouncement is the kind of message by which a server reports a damaged document to the others; the payload is its name. A
// server that has the document open calls Heal with its state and asks its clients for theirs.
const DamageAnnouncement = "damage"

// Damage describes a fault in the stored form of a document.
type Damage struct {
	Doc   stream.Doc
	What  string // log, snapshot, history or scrub
	Err   error
	Found time.Time
}

// damages is the register of the documents that this process found damaged.
type damages struct {
	*core

	mu      sync.Mutex            // guards damaged
	damaged map[stream.Doc]Damage // the first fault found of each
}

// count returns the number of marked documents.
func (s *damages) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.damaged)
}

// Damaged reports whether this process found doc damaged, and the fault.
func (s *damages) Damaged(doc stream.Doc) (Damage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.damaged[doc]
	return d, ok
}

// AllDamaged lists the documents found damaged by this process, for /health.
func (s *damages) AllDamaged() []Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Damage, 0, len(s.damaged))
	for _, d := range s.damaged {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Damage) int { return strings.Compare(string(a.Doc), string(b.Doc)) })
	return list
}

// markDamaged reports a document once: to the log, the metric, /health and the rooms, which ask their clients for the missing updates.
func (s *damages) markDamaged(doc stream.Doc, what string, err error) {
	s.mu.Lock()
	_, known := s.damaged[doc]
	if !known {
		s.damaged[doc] = Damage{Doc: doc, What: what, Err: err, Found: time.Now()}
	}
	s.mu.Unlock()
	if known {
		return
	}
	s.metrics.damage.WithLabelValues(what).Inc()
	s.lg.Error("document is damaged in storage", "doc", doc, "what", what, "err", err)
	if err := s.log.Control().Announce(DamageAnnouncement, []byte(doc)); err != nil {
		s.lg.Warn("damage not announced", "doc", doc, "err", err)
	}
}

// Lost marks a document with records that a room has seen and the log no longer has, although no erasure took place.
func (s *damages) Lost(doc stream.Doc, err error) { s.markDamaged(doc, "log", err) }

// mended removes a document's mark if its fault is of that kind.
func (s *damages) mended(doc stream.Doc, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.damaged[doc]; ok && d.What == what {
		delete(s.damaged, doc)
		s.lg.Info("document is whole again", "doc", doc, "what", what)
	}
}

// unmark removes the mark of a document that no longer exists.
func (s *damages) unmark(doc stream.Doc) {
	s.mu.Lock()
	delete(s.damaged, doc)
	s.mu.Unlock()
}

func (s *damages) foundHoles(doc stream.Doc, holes []Hole) {
	s.markDamaged(doc, "log", fmt.Errorf("%w: %s (%d in all)", stream.ErrLost, holes[0].What, len(holes)))
}
