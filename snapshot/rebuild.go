package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"yjet/stream"
	"yjet/stream/name"
)

// readWithoutSnapshot rebuilds the state from the packed history and the log when the snapshot cannot be read. The document is lost only
// if those are damaged too.
func (s *reader) readWithoutSnapshot(ctx context.Context, doc stream.Doc, have stream.Seq, cause error) (*view, error) {
	s.markDamaged(doc, "snapshot", cause)
	h, rev, err := s.snapHead(ctx, doc)
	if err != nil && !errors.Is(err, errDamaged) {
		return nil, err
	}
	lost := func(err error) (*view, error) {
		s.metrics.lost.Inc()
		return nil, fmt.Errorf("%w: %q: %w; and it cannot be rebuilt: %w", stream.ErrLost, doc, cause, err)
	}
	salvaged := h == nil
	if salvaged {
		if h, err = s.salvage(ctx, doc); err != nil {
			return lost(err)
		}
	}
	h.rev = rev
	var base []byte
	if h.info.Horizon > 0 {
		f := h.fold(h.info.Horizon)
		if f == nil {
			return lost(fmt.Errorf("the fold at the horizon %d is not listed", h.info.Horizon))
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
		return lost(fmt.Errorf("the packed history ends before %d", h.upto))
	}
	state, err := compacted(base, updates)
	if err != nil {
		return lost(err)
	}
	if salvaged { // it names no state; readers of the head find the rebuilt one
		h.inline, h.info.Bytes, h.info.Sum = state, len(state), sumOf(state)
	}
	v := &view{head: h, rev: rev, base: state, loaded: true, rebuilt: true}
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
	s.lg.Warn("snapshot rebuilt from history and log", "doc", doc, "seq", h.upto, "bytes", len(state))
	return v, nil
}

// salvage rebuilds an unreadable head from the subjects of the history segments. Of several packings of the same records it uses the
// longest.
func (s *reader) salvage(ctx context.Context, doc stream.Doc) (*head, error) {
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
		return nil, errors.New("no packed history left")
	}
	h.info.Version, h.info.TimeMS = formatVersion, h.info.History[len(h.info.History)-1].EndMS
	h.info.FirstMS = h.info.History[0].StartMS
	return h, nil
}
