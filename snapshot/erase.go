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
	// Until is when the erasure that is under way is given up on, at the latest; zero once it has ended. Nobody opens the document before.
	Until time.Time `json:"until,omitzero"`
}

// erasedAt is when doc was last erased; zero: never. A caller that reads a document in order to write something of it asks before and
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

func erasedKey(doc stream.Doc) string { return "erased." + doc.Path() }

// Erased reads what of doc was erased, nil if it never was. A room asks before it opens the document: where an erasure is under way the
// answer comes when it has ended. What a client typed into a document that is going would go with it, or stay without what it builds on.
func (s *Store) Erased(ctx context.Context, doc stream.Doc) (*Erased, error) {
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
func (s *Store) erasedNow(ctx context.Context, doc stream.Doc) (*Erased, error) {
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
func (s *Store) ErasedSince(ctx context.Context, seen uint64) (list map[stream.Doc]time.Time, next uint64, err error) {
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

func (s *Store) tombstone(ctx context.Context, doc stream.Doc) (*tombstone, uint64, error) {
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

// Erase removes a document for good: log, snapshot, history, versions, presence.
//
//  1. The tombstone, with all that the document ever held by client and clock. From here on no server takes any of it in, and none opens
//     the document before the erasure has ended.
//  2. Every server is told; rooms close.
//  3. Everything stored is purged. What the streams hold at the time is overwritten first (stream.Log.Erase); what folds took out of
//     them earlier lies in NATS's block files until NATS rewrites those.
//  4. What rooms stored that had not heard is buried, told and purged likewise.
//  5. What was on its way then, and is found stored after Options.EraseWait, goes too; by the sweep if this server ends before.
//
// The name may be used again when Erase returns: only what the erased document's clients bring is refused. ErrNotFound: there is none.
func (s *Store) Erase(ctx context.Context, doc stream.Doc, user string) error {
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
	s.mu.Lock()
	delete(s.heads, doc)
	delete(s.upto, doc)
	s.mu.Unlock()
	s.unmark(doc)
	s.eraseLater(doc)
	s.lg.Info("document erased", "doc", doc, "user", user)
	return nil
}

// announceAndRemove has every server close the document's room and removes what is stored. The tombstone is written before.
func (s *Store) announceAndRemove(ctx context.Context, doc stream.Doc) error {
	if err := s.log.Control().Announce(EraseAnnouncement, []byte(doc)); err != nil {
		return err
	}
	return s.removeAll(ctx, doc)
}

// endErasure lets the document be opened again. Where it fails that happens by itself after eraseMost.
func (s *Store) endErasure(ctx context.Context, doc stream.Doc) {
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

// eraseMost is how long one purge of a document may take. A document whose erasure a server did not end is opened again after that.
const eraseMost = time.Minute

// eraseSettle is how long rooms have to hear that their document goes.
const eraseSettle = 200 * time.Millisecond

// bury writes the tombstone of all that is stored of doc now, joined with an earlier one. found: something is stored.
func (s *Store) bury(ctx context.Context, doc stream.Doc, user string) (found bool, err error) {
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
func (s *Store) removeAll(ctx context.Context, doc stream.Doc) error {
	return s.log.Erase(ctx, doc, versionsOf(doc))
}

// putTombstone stores t in the place of revision rev (0: there is none). ErrConflict: another one stands there by now.
func (s *Store) putTombstone(ctx context.Context, t *tombstone, rev uint64) error {
	js, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = s.log.Meta().Put(ctx, erasedKey(t.Doc), js, &rev)
	return err
}
