package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// Moment is a point in a document's life: after a sequence, or at a time. The zero Moment is the present.
type Moment struct {
	Seq  stream.Seq
	Time time.Time
}

// Now reports whether m is the present.
func (m Moment) Now() bool { return m.Seq == 0 && m.Time.IsZero() }

// ParseMoment reads a sequence ("812"), an RFC 3339 time, or an age before now ("10m", "2d"); "" and "now" are the present.
func ParseMoment(v string, now time.Time) (Moment, error) {
	if v == "" || v == "now" {
		return Moment{}, nil
	}
	if n, err := strconv.ParseUint(v, 10, 63); err == nil {
		if n == 0 {
			return Moment{Time: time.UnixMilli(1)}, nil // before everything
		}
		return Moment{Seq: stream.Seq(n)}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		if t.IsZero() { // the year 1, which some languages use for "no time", is not the present
			t = time.UnixMilli(1)
		}
		return Moment{Time: t}, nil
	}
	if d, err := ParseAge(v); err == nil && d >= 0 {
		return Moment{Time: now.Add(-d)}, nil
	}
	return Moment{}, fmt.Errorf("moment %q: want a sequence, an RFC 3339 time such as 2026-01-31T12:00:00Z, or an age such as 10m", v)
}

// State is a document at one moment.
type State struct {
	Seq    stream.Seq // of the last record in it; 0: before the first
	Time   time.Time  // of that record
	Update []byte     // Yjs V1: everything in it, in one update
}

// GoneError holds the oldest moment of a document that can be read. It wraps ErrGone.
type GoneError struct {
	Oldest     stream.Seq // the earliest readable sequence
	OldestTime time.Time
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("history at that moment was dropped: the oldest readable moment is sequence %d, %s", e.Oldest, e.OldestTime.UTC().Format(time.RFC3339))
}

func (e *GoneError) Unwrap() error { return ErrGone }

// empty is the update that holds nothing.
var empty = []byte{0, 0}

// history returns the content of a document at a moment, and its events.
type history struct {
	*core
	*blobs
	*damages
	*reader
}

// At is the document at a moment: exactly the fold of its records up to there. Moments after the last record are the present.
// ErrNotFound: the document has no record. ErrGone: retention dropped that moment.
func (s *history) At(ctx context.Context, doc stream.Doc, m Moment) (st State, err error) {
	err = s.withHistory(ctx, doc, func(h *head, tail []stream.Record) (err error) {
		st, err = s.at(ctx, doc, h, tail, m)
		return err
	})
	return st, err
}

// withHistory calls f with the head of doc (nil: never folded) and the records of the log after it. It calls f again if a fold removed
// blobs that f was reading. ErrNotFound: the document has no record. stream.ErrLost: f met damage, which is marked.
func (s *history) withHistory(ctx context.Context, doc stream.Doc, f func(h *head, tail []stream.Record) error) error {
	for {
		h, tail, err := s.logTail(ctx, doc)
		if err != nil {
			return err
		}
		if h == nil && len(tail) == 0 {
			return fmt.Errorf("%w: document %q", ErrNotFound, doc)
		}
		if err = f(h, tail); err == nil || !errors.Is(err, errDamaged) {
			return err
		}
		// A fold removes blobs that the former head named and the new one does not.
		now, _, herr := s.snapHead(ctx, doc)
		if herr != nil || h == nil || now == nil || now.rev == h.rev {
			s.markDamaged(doc, "history", err)
			return fmt.Errorf("%w: %q: %w", stream.ErrLost, doc, err)
		}
	}
}

// resolve turns a moment into the sequence of the last record that belongs to it; 0: before the first.
func (s *history) resolve(ctx context.Context, h *head, tail []stream.Record, m Moment) (stream.Seq, error) {
	last := lastOf(h, tail)
	switch {
	case m.Now() || m.Seq >= last:
		return last, nil
	case m.Seq > 0:
		return m.Seq, nil
	}
	t := m.Time.UnixMilli()
	clock, n := int64(0), stream.Seq(0)
	if h != nil {
		if h.info.Horizon > 0 {
			if t < h.info.HorizonMS {
				// Before the horizon only the sequences of versions can be read, not times.
				return 0, &GoneError{h.info.Horizon, time.UnixMilli(h.info.HorizonMS)}
			}
			n = h.info.Horizon
		}
		for _, seg := range h.info.History {
			if seg.StartMS > t {
				return n, nil
			}
			if seg.EndMS <= t {
				n, clock = seg.To, seg.EndMS
				continue
			}
			recs, _, err := s.segmentTable(ctx, seg)
			if err != nil {
				return 0, err
			}
			for i := range recs {
				if clock = max(clock, recs[i].Time.UnixMilli()); clock > t {
					return n, nil
				}
				n = recs[i].Seq
			}
		}
		if h.info.TimeMS <= t {
			n, clock = h.upto, h.info.TimeMS
		}
	}
	for i := range tail {
		if clock = max(clock, tail[i].Time.UnixMilli()); clock > t {
			break
		}
		n = tail[i].Seq
	}
	return n, nil
}

func (s *history) at(ctx context.Context, doc stream.Doc, h *head, tail []stream.Record, m Moment) (State, error) {
	n, err := s.resolve(ctx, h, tail, m)
	if err != nil {
		return State{}, err
	}
	var base []byte
	var recs []stream.Record
	st := State{}
	switch {
	case h != nil && n >= h.upto:
		if base, err = s.state(ctx, h); err != nil {
			return State{}, err
		}
		st.Seq, st.Time = h.upto, time.UnixMilli(h.info.TimeMS)
	case h != nil:
		if base, recs, err = s.below(ctx, h, n, &st); err != nil {
			return State{}, err
		}
		tail = nil
	}
	for i := range tail {
		if tail[i].Seq <= n {
			recs = append(recs, tail[i])
		}
	}
	good, _ := decodable(recs)
	for i := range recs {
		st.Seq = recs[i].Seq
		if t := recs[i].Time; t.After(st.Time) {
			st.Time = t
		}
	}
	if len(good) == 0 {
		if st.Update = base; base == nil {
			st.Update = empty
		}
		return st, nil
	}
	// Join only: restore and authors need deleted content, which may be alive at an earlier moment.
	st.Update, err = joined(base, good)
	return st, err
}

// below gathers the parts of the state at n, a sequence before the snapshot: the nearest fold at or below it, and the records between.
func (s *history) below(ctx context.Context, h *head, n stream.Seq, st *State) (base []byte, recs []stream.Record, err error) {
	var from stream.Seq
	var near *foldRef
	for k := range h.info.Folds {
		f := &h.info.Folds[k]
		// A fold before the horizon serves its own moment only: the records after it are gone.
		if f.Upto <= n && (f.Upto >= h.info.Horizon || f.Upto == n) {
			near = f
		}
	}
	if n < h.info.Horizon && (near == nil || near.Upto != n) || h.info.Horizon > 0 && near == nil {
		return nil, nil, &GoneError{h.info.Horizon, time.UnixMilli(h.info.HorizonMS)}
	}
	if near != nil {
		if base, err = s.getState(ctx, near.Parts, near.Bytes, near.Sum); err != nil {
			return nil, nil, err
		}
		from, st.Seq, st.Time = near.Upto, near.Upto, time.UnixMilli(near.TimeMS)
	}
	for _, seg := range h.info.History {
		if seg.To <= from || seg.From > n {
			continue
		}
		packed, err := s.segment(ctx, seg)
		if err != nil {
			return nil, nil, err
		}
		for i := range packed {
			if packed[i].Seq > from && packed[i].Seq <= n {
				recs = append(recs, packed[i])
			}
		}
	}
	return base, recs, nil
}

// document opens the document as it was at a moment, content deleted by then included.
func (s *history) document(ctx context.Context, doc stream.Doc, m Moment) (State, *yjs.Document, error) {
	st, err := s.At(ctx, doc, m)
	if err != nil {
		return State{}, nil, err
	}
	d, err := yjs.OpenDocument(yjs.DocumentOptions{KeepDeleted: true}, st.Update)
	if err != nil {
		return State{}, nil, fmt.Errorf("open %q at %d: %w", doc, st.Seq, err)
	}
	return st, d, nil
}
