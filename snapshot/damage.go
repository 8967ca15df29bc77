package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
	"yjet/stream/name"
)

// DamageAnnouncement is the kind under which servers tell each other that a document was found damaged; the payload is its name. A
// server that has the document open calls Heal with what it holds, and asks its clients for what they have.
const DamageAnnouncement = "damage"

// Damage is what was found wrong with the stored form of a document.
type Damage struct {
	Doc   stream.Doc
	What  string // log, snapshot or history
	Err   error
	Found time.Time
}

// Damaged tells whether doc was found damaged by this process, and how.
func (s *Store) Damaged(doc stream.Doc) (Damage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.damaged[doc]
	return d, ok
}

// AllDamaged lists the documents found damaged by this process, for /health.
func (s *Store) AllDamaged() []Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Damage, 0, len(s.damaged))
	for _, d := range s.damaged {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Damage) int { return strings.Compare(string(a.Doc), string(b.Doc)) })
	return list
}

// markDamaged tells everybody once: log, metric, health, and the rooms, which ask their clients for what is missing.
func (s *Store) markDamaged(doc stream.Doc, what string, err error) {
	s.mu.Lock()
	_, known := s.damaged[doc]
	d := Damage{Doc: doc, What: what, Err: err, Found: time.Now()}
	if !known {
		s.damaged[doc] = d
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
	if s.opt.OnDamage != nil {
		s.opt.OnDamage(d)
	}
}

// Lost marks a document whose records a room has seen and the log has no more, though nobody erased it.
func (s *Store) Lost(doc stream.Doc, err error) { s.markDamaged(doc, "log", err) }

// mended takes the mark off a document whose fault of that kind is gone.
func (s *Store) mended(doc stream.Doc, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.damaged[doc]; ok && d.What == what {
		delete(s.damaged, doc)
		s.lg.Info("document is whole again", "doc", doc, "what", what)
	}
}

// unmark takes the mark off a document that is no more.
func (s *Store) unmark(doc stream.Doc) {
	s.mu.Lock()
	delete(s.damaged, doc)
	s.mu.Unlock()
}

func (s *Store) foundHoles(doc stream.Doc, holes []Hole) {
	s.markDamaged(doc, "log", fmt.Errorf("%w: %s (%d in all)", stream.ErrLost, holes[0].What, len(holes)))
}

// foundShort: record N stays in the log when a fold covers N, so a log that ends before has lost its end. What an erasure
// removes at this moment is no damage.
func (s *Store) foundShort(ctx context.Context, doc stream.Doc, v *view) {
	if e, err := s.erasedNow(ctx, doc); err == nil && e != nil && time.Since(e.At) < time.Minute {
		return
	}
	s.markDamaged(doc, "log", fmt.Errorf("%w: the snapshot covers sequence %d and the log ends at %d", stream.ErrLost, v.covered(), v.target))
}

// readWithoutSnapshot is the way back when the snapshot cannot be read: its state is made again from the packed history and the
// log. Only where these are not whole either is the document lost.
func (s *Store) readWithoutSnapshot(ctx context.Context, doc stream.Doc, have stream.Seq, cause error) (*view, error) {
	s.markDamaged(doc, "snapshot", cause)
	h, rev, err := s.snapHead(ctx, doc)
	if err != nil && !errors.Is(err, errDamaged) {
		return nil, err
	}
	lost := func(err error) (*view, error) {
		s.metrics.lost.Inc()
		return nil, fmt.Errorf("%w: %q: %w; and it cannot be made again: %w", stream.ErrLost, doc, cause, err)
	}
	if h == nil {
		if h, err = s.salvage(ctx, doc); err != nil {
			return lost(err)
		}
	}
	h.rev = rev
	var base []byte
	if h.info.Horizon > 0 {
		f := h.fold(h.info.Horizon)
		if f == nil {
			return lost(fmt.Errorf("no fold at the horizon %d", h.info.Horizon))
		}
		if base, err = s.getState(ctx, f.Parts, f.Bytes, f.Sum); err != nil {
			return lost(err)
		}
	}
	var updates [][]byte
	for _, seg := range h.info.History {
		recs, err := s.segment(ctx, seg)
		if err != nil {
			return lost(err)
		}
		good, _ := decodable(recs)
		updates = append(updates, good...)
	}
	if last := len(h.info.History); last == 0 || h.info.History[last-1].To < h.upto {
		return lost(fmt.Errorf("history does not reach %d", h.upto))
	}
	state, err := compacted(base, updates)
	if err != nil {
		return lost(err)
	}
	v := &view{head: h, rev: rev, base: state, rebuilt: true}
	if v.target, err = s.log.Head(ctx, doc); err != nil {
		return nil, err
	}
	for r, err := range s.log.Replay(ctx, doc, max(have, h.upto), v.target) {
		if err != nil {
			return nil, err
		}
		v.records = append(v.records, r)
		v.bytes += len(r.Update)
	}
	if v.target > max(have, v.reach()) {
		return lost(errShort)
	}
	v.count(have)
	s.metrics.rebuilt.Inc()
	s.lg.Warn("snapshot made again from history and log", "doc", doc, "seq", h.upto, "bytes", len(state))
	return v, nil
}

// Heal brings back what storage has lost of a document and a room still holds: state is all of it through the record seq. What
// is missing is appended; a snapshot that cannot be read, nor made again, is replaced.
func (s *Store) Heal(ctx context.Context, doc stream.Doc, state []byte, seq stream.Seq) error {
	var u yjs.Update
	if err := u.Parse(state, stored); err != nil {
		return err
	}
	if erased, err := s.erasedNow(ctx, doc); err != nil {
		return err
	} else if erased.Refuses(&u) {
		return fmt.Errorf("%w: %q", ErrErased, doc) // a room that has not heard of it
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

// holds adds to have all that storage holds of a document.
func (s *Store) holds(ctx context.Context, doc stream.Doc, have *yjs.State) error {
	v, err := s.read(ctx, doc, 0, nil)
	if err != nil {
		return err
	}
	good, _ := decodable(v.records)
	var u yjs.Update
	for _, part := range withBase(v.base, good) {
		if err := u.Parse(part, stored); err != nil {
			return err
		}
		have.Add(&u)
	}
	return nil
}

// replaceSnapshot stores a head for a state that a room still holds, in place of one that is lost for good.
func (s *Store) replaceSnapshot(ctx context.Context, doc stream.Doc, state []byte, seq stream.Seq) error {
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
	c := &compaction{s: s, doc: doc, mode: always, lg: s.lg.With("doc", doc), attempt: s.log.Blobs().NewAttempt(), erased: erased, view: &view{head: h, rev: rev}, state: state}
	next := *h
	next.upto, next.epoch, next.inline = seq, s.epoch(doc), nil
	i := &next.info
	i.Version, i.Attempt, i.Parts, i.Bytes, i.Sum = formatVersion, c.attempt, nil, len(state), sumOf(state)
	i.TimeMS = max(i.TimeMS, time.Now().UnixMilli())
	// What is left of the single records ends here: the history begins anew.
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

// salvage makes up a head from the subjects of the history segments when the head itself is not readable. Of several packings of the
// same records it takes the longest.
func (s *Store) salvage(ctx context.Context, doc stream.Doc) (*head, error) {
	subjects, err := s.log.Blobs().List(ctx, doc)
	if err != nil {
		return nil, err
	}
	var segs []segmentRef
	for _, subject := range subjects {
		if b, ok := name.ParseBlob(subject); ok && b.Kind == name.Hist {
			segs = append(segs, segmentRef{blobRef: blobRef{Subject: subject}, From: stream.Seq(b.From), To: stream.Seq(b.To)})
		}
	}
	slices.SortFunc(segs, func(a, b segmentRef) int {
		if a.From != b.From {
			return int(a.From) - int(b.From)
		}
		return int(b.To) - int(a.To)
	})
	h := &head{}
	for _, seg := range segs {
		if seg.From <= h.upto {
			continue
		}
		b, ok, err := s.log.Blobs().Get(ctx, seg.Subject)
		if err != nil {
			return nil, err
		} else if !ok {
			continue
		}
		recs, _, err := s.codec.unpack(b.Data, true)
		if err != nil {
			continue // another packing may hold the same records
		}
		seg.Bytes, seg.Sum, seg.Records = len(b.Data), sumOf(b.Data), len(recs)
		seg.StartMS, seg.EndMS = recs[0].Time.UnixMilli(), recs[len(recs)-1].Time.UnixMilli()
		var check stream.Checker
		check.Resume(countersOf(h.info.Writers))
		for _, r := range recs {
			if _, err := check.Add(r); err != nil {
				return nil, fmt.Errorf("packed history has a hole: %w", err)
			}
			seg.Raw += len(r.Update)
			seg.Updates += max(r.Merged, 1)
		}
		h.info.Writers = writersOf(check.Counters(time.Time{}))
		h.info.History = append(h.info.History, seg)
		h.info.Records += uint64(seg.Records)
		h.info.Updates += uint64(seg.Updates)
		h.upto = seg.To
	}
	if h.upto == 0 {
		return nil, errors.New("no packed history is left")
	}
	h.info.Version, h.info.TimeMS = formatVersion, h.info.History[len(h.info.History)-1].EndMS
	h.info.FirstMS = h.info.History[0].StartMS
	return h, nil
}
