package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"yjet/internal/yjs"
	"yjet/stream"
)

// A tombstone records the client ids of an erased document, each with its last clock, and none of the content. It is the key erased.<doc>
// in ymeta.
type tombstone struct {
	Doc    stream.Doc `json:"doc"`
	Vector []byte     `json:"vector"` // Yjs state vector: past every clock that was ever seen, gaps or not
	At     time.Time  `json:"at"`
	User   string     `json:"user,omitempty"`
	Upto   stream.Seq `json:"upto,omitempty"`  // the last sequence that was seen of it
	Swept  bool       `json:"swept,omitempty"` // the second check, for late appends, is done
	// Until is the latest end of an erasure under way; zero once it has ended. No server opens the document before.
	Until time.Time `json:"until,omitzero"`
}

// tombs reads and writes the tombstones of erased documents.
type tombs struct {
	*core
	*damages
	*appender
}

// erasedAt returns the time at which doc was last erased; zero: never. A caller that copies content out of a document asks before it reads
// and again before it writes: content that was erased in between must not return.
func (s *tombs) erasedAt(ctx context.Context, doc stream.Doc) (time.Time, error) {
	t, _, err := s.tombstone(ctx, doc)
	if err != nil || t == nil {
		return time.Time{}, err
	}
	return t.At, nil
}

// Erased identifies the content of an erased document, which must never be accepted again. A nil Erased refuses nothing.
type Erased struct {
	At     time.Time
	vector yjs.StateVector
}

// covers reports whether an update contains only structs of clients that wrote in the erased document.
func (e *Erased) covers(u *yjs.Update) bool {
	for _, r := range u.Runs() {
		if _, ok := e.vector[r.Client]; !ok {
			return false
		}
	}
	return len(u.Runs()) > 0
}

// Refuses reports whether an update contains a struct of a client that wrote in the erased document. An editor that starts empty draws
// a new client id, so a known id belongs to an editor that still holds the erased document: its new updates depend on erased content.
// New content comes from new clients.
func (e *Erased) Refuses(u *yjs.Update) bool {
	if e == nil {
		return false
	}
	for _, r := range u.Runs() {
		if _, ok := e.vector[r.Client]; ok {
			return true
		}
	}
	return false
}

func erasedKey(doc stream.Doc) string { return "erased." + doc.Path() }

// Erased returns the erased content of doc, nil if it never was erased. A room asks before it opens the document. During an erasure the
// answer waits for the end: a client's updates would be erased too, or would stay without the content they depend on.
func (s *tombs) Erased(ctx context.Context, doc stream.Doc) (*Erased, error) {
	for {
		t, _, err := s.tombstone(ctx, doc)
		if err != nil || t == nil {
			return nil, err
		}
		if !time.Now().Before(t.Until) {
			return t.erased()
		}
		if err := sleep(ctx, eraseSettle/8); err != nil {
			return nil, fmt.Errorf("%q is being erased: %w", doc, err)
		}
	}
}

// erasedNow is Erased without waiting.
func (s *tombs) erasedNow(ctx context.Context, doc stream.Doc) (*Erased, error) {
	t, _, err := s.tombstone(ctx, doc)
	if err != nil || t == nil {
		return nil, err
	}
	return t.erased()
}

func (t *tombstone) erased() (*Erased, error) {
	v, err := yjs.DecodeStateVector(t.Vector)
	if err != nil {
		return nil, fmt.Errorf("tombstone of %q: %w", t.Doc, err)
	}
	return &Erased{At: t.At, vector: v}, nil
}

// ErasedSince lists the documents erased since the revision seen, each with its time, and returns the revision for the next call.
// Revision 0 lists nothing: it only returns the current revision. Damage marks of listed documents are removed: a server that reads a
// document while another one erases it finds records missing.
func (s *tombs) ErasedSince(ctx context.Context, seen uint64) (list map[stream.Doc]time.Time, next uint64, err error) {
	if seen == 0 {
		next, err = s.log.Meta().End(ctx)
		return nil, next, err
	}
	entries, err := s.log.Meta().Since(ctx, "erased.>", seen)
	if err != nil {
		return nil, seen, err
	}
	for _, e := range entries {
		seen = max(seen, e.Rev)
		var t tombstone
		if err := json.Unmarshal(e.Value, &t); err != nil {
			s.lg.Error("tombstone does not decode", "key", e.Key, "err", err)
			continue
		}
		if list == nil {
			list = make(map[stream.Doc]time.Time)
		}
		list[t.Doc] = t.At
		s.unmark(t.Doc)
	}
	return list, seen, nil
}

func (s *tombs) tombstone(ctx context.Context, doc stream.Doc) (*tombstone, uint64, error) {
	e, ok, err := s.log.Meta().Get(ctx, erasedKey(doc))
	if err != nil || !ok {
		return nil, 0, err
	}
	var t tombstone
	if err := json.Unmarshal(e.Value, &t); err != nil {
		return nil, e.Rev, fmt.Errorf("tombstone of %q: %w", doc, err)
	}
	return &t, e.Rev, nil
}

// putTombstone stores t in place of revision rev (0: there is none). ErrConflict: the tombstone has another revision.
func (s *tombs) putTombstone(ctx context.Context, t *tombstone, rev uint64) error {
	js, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = s.log.Meta().Put(ctx, erasedKey(t.Doc), js, &rev)
	return err
}

// amendTombstone stores a tombstone with its progress. If the document was erased again meanwhile, that tombstone wins.
func (s *tombs) amendTombstone(ctx context.Context, t *tombstone, rev uint64) error {
	if err := s.putTombstone(ctx, t, rev); !errors.Is(err, stream.ErrConflict) {
		return err
	}
	return nil
}

// removeStale removes single records of stale clients. New content does not depend on them, since their clients are refused. If the newest
// record is among them, an empty one is appended first: the log must not end before its last folded record, and an existing document
// has a record.
func (s *tombs) removeStale(ctx context.Context, doc stream.Doc, stale []stream.Seq) error {
	head, err := s.log.Head(ctx, doc)
	if err != nil {
		return err
	}
	if slices.Contains(stale, head) {
		if _, err := s.Append(ctx, doc, "", "erase", empty); err != nil {
			return err
		}
	}
	return s.log.EraseRecords(ctx, doc, stale...)
}
