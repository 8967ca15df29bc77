package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// EraseAnnouncement is the kind under which servers tell each other (stream.Log.Announce) that a document is being erased; the
// payload is its name. Rooms close with 4404 and their writers append no more.
const EraseAnnouncement = "erase"

// A tombstone remembers what an erased document held: which client ids, and up to which clock. It is the key erased.<doc> in
// ymeta. Nothing of the content is in it.
type tombstone struct {
	Doc    stream.Doc `json:"doc"`
	Vector []byte     `json:"vector"` // Yjs state vector: past every clock that was ever seen, gaps or not
	At     time.Time  `json:"at"`
	User   string     `json:"user,omitempty"`
	Upto   stream.Seq `json:"upto,omitempty"`  // the last sequence that was seen of it
	Swept  bool       `json:"swept,omitempty"` // what was on its way at the time has been looked for
}

// erasedAt is when doc was last erased; zero: never. Who reads a document in order to write something of it asks before and
// after: what an erasure removed meanwhile must not come back.
func (s *Store) erasedAt(ctx context.Context, doc stream.Doc) (time.Time, error) {
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

func erasedKey(doc stream.Doc) string { return "erased." + doc.Token() }

// Erased reads what of doc was erased, nil if it never was. A room asks when it opens.
func (s *Store) Erased(ctx context.Context, doc stream.Doc) (*Erased, error) {
	t, _, err := s.tombstone(ctx, doc)
	if err != nil || t == nil {
		return nil, err
	}
	v, err := yjs.DecodeStateVector(t.Vector)
	if err != nil {
		return nil, fmt.Errorf("tombstone of %q: %w", doc, err)
	}
	return &Erased{At: t.At, vector: v}, nil
}

// ErasedSince lists what was erased since the revision seen, with when it was, and answers the revision to ask with next time.
// Revision 0 lists nothing: the erasures that are to be told of begin with the call.
func (s *Store) ErasedSince(ctx context.Context, seen uint64) (list map[stream.Doc]time.Time, next uint64, err error) {
	if seen == 0 {
		next, err = s.log.MetaEnd(ctx)
		return nil, next, err
	}
	entries, err := s.log.MetaSince(ctx, "erased.", seen)
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
	}
	return list, seen, nil
}

func (s *Store) tombstone(ctx context.Context, doc stream.Doc) (*tombstone, uint64, error) {
	e, ok, err := s.log.MetaGet(ctx, erasedKey(doc))
	if err != nil || !ok {
		return nil, 0, err
	}
	var t tombstone
	if err := json.Unmarshal(e.Value, &t); err != nil {
		return nil, e.Rev, fmt.Errorf("tombstone of %q: %w", doc, err)
	}
	return &t, e.Rev, nil
}

// Erase removes a document for good: log, snapshot, history, versions, presence.
//
//  1. The tombstone, with all that the document ever held by client and clock. From here on no server takes any of it in.
//  2. Every server is told; rooms close.
//  3. Everything stored is purged. What the streams hold at the time is overwritten first (stream.Log.Erase); what folds took out of
//     them earlier lies in NATS's block files until NATS rewrites those.
//  4. What was on its way then, and is found stored after Options.EraseWait, goes too; by the sweep if this server ends before.
//
// The name may be used again at once: only what the erased document's clients bring is refused. ErrNotFound: there is none.
func (s *Store) Erase(ctx context.Context, doc stream.Doc, user string) error {
	resume := s.Pause(doc)
	defer resume()
	found, err := s.bury(ctx, doc, user, nil)
	if err != nil {
		return err
	}
	if !found {
		blobs, err := s.log.Blobs(ctx, doc)
		if err != nil {
			return err
		}
		if h, _, err := s.snapHead(ctx, doc); len(blobs) == 0 && h == nil && err == nil {
			return fmt.Errorf("%w: document %q", ErrNotFound, doc)
		}
	}
	if err := s.log.Announce(EraseAnnouncement, []byte(doc)); err != nil {
		return err
	}
	if err := s.removeAll(ctx, doc); err != nil {
		return err
	}
	// Rooms of other servers have heard by now; what they stored in between is of the same clients, or of ones that wrote
	// their first words into a document that was being erased.
	if err := sleep(ctx, eraseSettle); err != nil {
		return err
	}
	if again, err := s.bury(ctx, doc, user, nil); err != nil {
		return err
	} else if again {
		if err := s.removeAll(ctx, doc); err != nil {
			return err
		}
	}
	s.mu.Lock()
	delete(s.damaged, doc)
	delete(s.heads, doc)
	delete(s.upto, doc)
	s.mu.Unlock()
	s.eraseLater(doc)
	s.lg.Info("document erased", "doc", doc, "user", user)
	return nil
}

// eraseSettle is how long rooms have to hear that their document goes.
const eraseSettle = 200 * time.Millisecond

// bury writes the tombstone of all that is stored of doc now, joined with an earlier one. found: something is stored.
func (s *Store) bury(ctx context.Context, doc stream.Doc, user string, only func(*yjs.Update) bool) (found bool, err error) {
	var parts [][]byte
	var upto stream.Seq
	v, err := s.read(ctx, doc, 0, nil)
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
		// A damaged document can be erased too; what can be read of it is buried.
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
		if u.Parse(p, stored) != nil || only != nil && !only(&u) {
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
		js, err := json.Marshal(tombstone{Doc: doc, Vector: vector.Append(nil), At: time.Now().UTC(), User: user, Upto: upto})
		if err != nil {
			return false, err
		}
		if _, err = s.log.MetaPut(ctx, erasedKey(doc), js, &rev); !errors.Is(err, stream.ErrConflict) {
			return true, err
		}
	}
	return false, fmt.Errorf("tombstone of %q: %w", doc, stream.ErrConflict)
}

// removeAll removes everything stored of doc but the tombstone.
func (s *Store) removeAll(ctx context.Context, doc stream.Doc) error {
	if err := s.log.MetaPurge(ctx, versionsPrefix(doc)); err != nil {
		return err
	}
	return s.log.Erase(ctx, doc)
}
