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
	Wiped  bool       `json:"wiped,omitempty"` // and nothing of it is in the store's files, says who has them at hand
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
//  2. Everybody is told; rooms close.
//  3. Everything stored goes, and is overwritten where it lies.
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

// eraseLater looks again when no append from before can be under way any more.
func (s *Store) eraseLater(doc stream.Doc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.work.Add(1)
	s.late[doc] = time.AfterFunc(s.opt.EraseWait, func() {
		defer s.work.Done()
		s.mu.Lock()
		delete(s.late, doc)
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
		defer cancel()
		err := s.sweepErased(ctx, doc)
		if err == nil {
			err = s.wipeErased(ctx, doc)
		}
		if err != nil && s.ctx.Err() == nil {
			s.lg.Warn("erased document not looked at again; the sweep will", "doc", doc, "err", err)
		}
	})
}

// wipeErased looks once more that nothing of erased documents is left in the store's files, if this server has them at hand: NATS may have
// held a block in memory since before the erasure, and have written the file from there; and another server may have erased.
func (s *Store) wipeErased(ctx context.Context, docs ...stream.Doc) error {
	if !s.log.CanWipe() || len(docs) == 0 {
		return nil
	}
	start := time.Now()
	wiped, n, failed := s.log.Wipe(ctx, docs...)
	if n > 0 {
		s.lg.Info("overwrote in the store's files what was left of erased documents", "documents", len(docs), "messages", n)
	}
	for _, doc := range wiped {
		t, rev, err := s.tombstone(ctx, doc)
		if err != nil {
			return err
		}
		if t == nil || t.Wiped || !t.Swept || t.At.After(start) {
			continue
		}
		t.Wiped = true
		if err := s.amendTombstone(ctx, t, rev); err != nil {
			return err
		}
	}
	return failed
}

// amendTombstone writes what was done since; an erasure that came in between has the word.
func (s *Store) amendTombstone(ctx context.Context, t *tombstone, rev uint64) error {
	js, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if _, err := s.log.MetaPut(ctx, erasedKey(t.Doc), js, &rev); err != nil && !errors.Is(err, stream.ErrConflict) {
		return err
	}
	return nil
}

// settled tells whether nothing of an erased document is to be looked for any more. A nats-server whose index was lost, as by a power cut or
// by a stop while something is stored, can have back what it had deleted (2.15: PurgeEx writes no tombstones for a block that it empties,
// and keeps the block where it holds those of others). So it is looked for until it is overwritten, and its log after that too.
func (s *Store) settled(ctx context.Context, t *tombstone) bool {
	if !t.Swept || !t.Wiped && s.log.CanWipe() {
		return false
	}
	r, ok, err := s.log.RecordAt(ctx, t.Doc, 1)
	return err == nil && (!ok || r.Seq > t.Upto)
}

// sweepErased removes what stale clients managed to store in an erased document after all, and what came back of it. New content stays.
func (s *Store) sweepErased(ctx context.Context, doc stream.Doc) error {
	t, rev, err := s.tombstone(ctx, doc)
	if err != nil || t == nil || time.Since(t.At) < s.opt.EraseWait || s.settled(ctx, t) {
		return err
	}
	erased, err := s.Erased(ctx, doc)
	if err != nil {
		return err
	}
	if err := s.removeStaleHead(ctx, doc, erased); err != nil {
		return err
	}
	blobs, err := s.log.Blobs(ctx, doc) // before the records: whoever folds new content has some
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
		if err := s.removeAll(ctx, doc); err != nil {
			return err
		}
	default:
		if err := s.removeStale(ctx, doc, stale); err != nil {
			return err
		}
	}
	if fresh == 0 && len(stale) == 0 {
		// What a fold under way at the time left behind: it was killed before it could look again. No other sweep comes by, since the
		// log has no such document.
		for _, subject := range blobs {
			if err := s.log.RemoveBlob(ctx, subject); err != nil {
				return err
			}
			s.metrics.orphans.Inc()
		}
	}
	if len(stale) > 0 {
		s.lg.Warn("removed what was stored of an erased document all the same", "doc", doc, "records", len(stale))
	}
	if t.Swept {
		return nil
	}
	t.Swept = true
	return s.amendTombstone(ctx, t, rev)
}

// removeStale removes single records of stale clients: they hold nothing that the new content needs, for their clients are
// refused. Where the newest is among them an empty one follows it first: the log must not end before what was folded of it, and
// a document that is there has a record.
func (s *Store) removeStale(ctx context.Context, doc stream.Doc, stale []stream.Seq) error {
	head, err := s.log.Head(ctx, doc)
	if err != nil {
		return err
	}
	if slices.Contains(stale, head) {
		if _, err := s.Append(ctx, doc, "", "erase", empty); err != nil {
			return err
		}
	}
	return s.log.Remove(ctx, doc, stale...)
}

// removeStaleHead removes the snapshot of an erased document that a fold under way at the time left behind, because it ended
// before it could look again. Its blobs go with it.
func (s *Store) removeStaleHead(ctx context.Context, doc stream.Doc, erased *Erased) error {
	h, rev, err := s.snapHead(ctx, doc)
	if errors.Is(err, errDamaged) || err == nil && h == nil {
		return nil
	} else if err != nil {
		return err
	}
	base, err := s.state(ctx, h)
	switch {
	case errors.Is(err, errDamaged):
		// Its chunks went and it stayed. A document of which there is anything but that has a log.
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
	if err := s.log.RemoveSnapHead(ctx, doc, rev); err != nil {
		return err
	}
	for name := range h.names() {
		if err := s.log.RemoveBlob(ctx, name); err != nil {
			return err
		}
	}
	s.lg.Warn("removed the snapshot of an erased document", "doc", doc, "seq", h.upto)
	return nil
}
