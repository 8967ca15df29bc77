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

// A tombstone remembers what an erased document held: which client ids, and up to which clock. It is the key erased.<doc> in
// ymeta. Nothing of the content is in it.
type tombstone struct {
	Doc    stream.Doc `json:"doc"`
	Vector []byte     `json:"vector"` // Yjs state vector: past every clock that was ever seen, gaps or not
	At     time.Time  `json:"at"`
	User   string     `json:"user,omitempty"`
	Upto   stream.Seq `json:"upto,omitempty"`  // the last sequence that was seen of it
	Swept  bool       `json:"swept,omitempty"` // what was on its way at the time has been looked for
	// Until is when the erasure that is under way is given up on, at the latest; zero once it has ended. Nobody opens the document before.
	Until time.Time `json:"until,omitzero"`
}

// tombs reads and writes the tombstones of erased documents.
type tombs struct {
	*core
	*damages
	*appender
}

// erasedAt is when doc was last erased; zero: never. A caller that reads a document in order to write something of it asks before and
// after: what an erasure removed meanwhile must not come back.
func (s *tombs) erasedAt(ctx context.Context, doc stream.Doc) (time.Time, error) {
	t, _, err := s.tombstone(ctx, doc)
	if err != nil || t == nil {
		return time.Time{}, err
	}
	return t.At, nil
}

// Erased is what an erased document must never take in again. A nil Erased refuses nothing.
type Erased struct {
	At     time.Time
	vector yjs.StateVector
}

// covers tells whether an update holds nothing but what clients wrote that had written in the erased document.
func (e *Erased) covers(u *yjs.Update) bool {
	for _, r := range u.Runs() {
		if _, ok := e.vector[r.Client]; !ok {
			return false
		}
	}
	return len(u.Runs()) > 0
}

// Refuses tells whether an update brings anything of a client that wrote in the erased document. Client ids are drawn anew by
// every editor that starts from nothing, so one that comes back has the erased document under it: what it writes now
// depends on what is gone. New content comes from new clients.
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

// Erased reads what of doc was erased, nil if it never was. A room asks before it opens the document: where an erasure is under way the
// answer comes when it has ended. What a client typed into a document that is going would go with it, or stay without what it builds on.
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

// ErasedSince lists what was erased since the revision seen, with when it was, and answers the revision to ask with next time.
// Revision 0 lists nothing: the erasures that are to be told of begin with the call. Marks of damage on documents that are listed go: a
// server that reads what another one removes finds much missing.
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

// putTombstone stores t in the place of revision rev (0: there is none). ErrConflict: another one stands there by now.
func (s *tombs) putTombstone(ctx context.Context, t *tombstone, rev uint64) error {
	js, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = s.log.Meta().Put(ctx, erasedKey(t.Doc), js, &rev)
	return err
}

// amendTombstone writes what was done since. If the document was erased again meanwhile, that tombstone wins.
func (s *tombs) amendTombstone(ctx context.Context, t *tombstone, rev uint64) error {
	if err := s.putTombstone(ctx, t, rev); !errors.Is(err, stream.ErrConflict) {
		return err
	}
	return nil
}

// removeStale removes single records of stale clients: they hold nothing that the new content needs, for their clients are
// refused. Where the newest is among them an empty one follows it first: the log must not end before what was folded of it, and
// a document that is there has a record.
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
