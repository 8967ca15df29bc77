package snapshot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"yjet/stream"
)

// segmentSmall is the packed size above which a segment is left alone.
const segmentSmall = 256 << 10

// packHistory writes the records since the last fold into segments. Where they would make one more small segment they take
// smaller neighbours in, in the manner of a binary counter: a record is packed again about as often as its segment doubles.
func (c *compaction) packHistory(ctx context.Context) error {
	i := &c.next.info
	if c.s.keep.none {
		i.History, i.Horizon, i.HorizonMS = nil, c.next.upto, i.TimeMS
		return nil
	}
	if h := c.view.head; h != nil && h.info.Records == 0 && len(h.info.History) == 0 && i.Horizon == 0 {
		// The head was made by another program, or the state was imported without a history.
		i.Horizon, i.HorizonMS = h.upto, h.info.TimeMS
	}
	if err := c.keepHorizon(ctx); err != nil {
		return err
	}
	recs := c.view.records
	for n := len(i.History); n > 0; n = len(i.History) {
		last := i.History[n-1]
		if last.Bytes >= segmentSmall || last.Records > 2*len(recs) || last.Raw+c.view.bytes > segmentRaw || !c.s.mayJoin(last, i.TimeMS) {
			break
		}
		older, err := c.s.segment(ctx, last)
		if err != nil {
			c.s.markDamaged(c.doc, "history", err)
			break // what is damaged stays listed: verify tells, and nothing newer depends on it
		}
		recs = append(older, recs...)
		i.History = i.History[:n-1]
	}
	segs, err := c.writeSegments(ctx, recs, i.History)
	i.History = append(i.History, segs...)
	return err
}

// mayJoin keeps segments short in time where history has an age, or nothing in them would ever be old enough to go.
func (s *Store) mayJoin(seg segmentRef, nowMS int64) bool {
	return s.keep.age == 0 || time.Duration(nowMS-seg.StartMS)*time.Millisecond <= s.keep.age/8
}

// writeSegments packs and stores records that follow those of before.
func (c *compaction) writeSegments(ctx context.Context, recs []stream.Record, before []segmentRef) ([]segmentRef, error) {
	var out []segmentRef
	clock := int64(0)
	if n := len(before); n > 0 {
		clock = before[n-1].EndMS
	}
	limit := c.s.log.MaxUpdate() + 2048 // a record of the largest size still fits; headers of a segment are short
	for len(recs) > 0 {
		n, raw := 0, 0
		for n < len(recs) && (n == 0 || raw+len(recs[n].Update) <= segmentRaw) {
			raw += len(recs[n].Update)
			n++
		}
		data := c.s.codec.pack(recs[:n])
		for len(data) > limit && n > 1 {
			n = max(1, n*limit/len(data)*9/10)
			data = c.s.codec.pack(recs[:n])
		}
		seg := segmentRef{From: recs[0].Seq, To: recs[n-1].Seq, Records: n, StartMS: max(clock, recs[0].Time.UnixMilli())}
		seg.Subject = c.s.log.Blobs().SegmentSubject(c.doc, seg.From, seg.To, c.attempt)
		seg.Bytes, seg.Sum = len(data), sumOf(data)
		for k := range recs[:n] {
			seg.Raw += len(recs[k].Update)
			seg.Updates += max(recs[k].Merged, 1)
			clock = max(clock, recs[k].Time.UnixMilli())
		}
		seg.EndMS = clock
		c.wrote = append(c.wrote, seg.Subject)
		if _, err := c.s.log.Blobs().Put(ctx, seg.Subject, stream.Blob{Header: map[string]string{hdrSum: seg.Sum}, Data: data}); err != nil {
			return out, fmt.Errorf("store segment %s: %w", seg.Subject, err)
		}
		c.s.metrics.segmentBytes.Add(float64(len(data)))
		out = append(out, seg)
		recs = recs[n:]
	}
	return out, nil
}

// segment reads one packed run of records.
func (s *Store) segment(ctx context.Context, ref segmentRef) ([]stream.Record, error) {
	recs, _, err := s.readSegment(ctx, ref, true)
	return recs, err
}

// segmentTable reads who wrote what when in one packed run, and how many bytes, but not the updates.
func (s *Store) segmentTable(ctx context.Context, ref segmentRef) (recs []stream.Record, sizes []int, err error) {
	return s.readSegment(ctx, ref, false)
}

func (s *Store) readSegment(ctx context.Context, ref segmentRef, bodies bool) ([]stream.Record, []int, error) {
	b, err := s.getBlob(ctx, ref.blobRef)
	if err != nil {
		return nil, nil, err
	}
	recs, sizes, err := s.codec.unpack(b, bodies)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", ref.Subject, err)
	}
	if n := len(recs); n != ref.Records || recs[0].Seq != ref.From || recs[n-1].Seq != ref.To {
		return nil, nil, fmt.Errorf("%w: %s has %d records, %d to %d, want %d, %d to %d", errDamaged, ref.Subject, n, recs[0].Seq, recs[n-1].Seq, ref.Records, ref.From, ref.To)
	}
	return recs, sizes, nil
}

// Records yields the single records of doc with after < Seq ≤ upto (0: to the head at the call) in order, from segments and
// then from the log. Records that retention dropped are left out: Horizon says where they end.
func (s *Store) Records(ctx context.Context, doc stream.Doc, after, upto stream.Seq) iter.Seq2[stream.Record, error] {
	return func(yield func(stream.Record, error) bool) {
		h, tail, err := s.logTail(ctx, doc)
		if err != nil {
			yield(stream.Record{}, err)
			return
		}
		if upto == 0 {
			upto = lastOf(h, tail)
		}
		if h != nil {
			for _, seg := range h.info.History {
				if seg.To <= after || seg.From > upto {
					continue
				}
				recs, err := s.segment(ctx, seg)
				if err != nil {
					yield(stream.Record{}, err)
					return
				}
				for _, r := range recs {
					if r.Seq > after && r.Seq <= upto && !yield(r, nil) {
						return
					}
				}
			}
		}
		for _, r := range tail {
			if r.Seq > after && r.Seq <= upto && !yield(r, nil) {
				return
			}
		}
	}
}

func lastOf(h *head, tail []stream.Record) stream.Seq {
	if n := len(tail); n > 0 {
		return tail[n-1].Seq
	}
	if h != nil {
		return h.upto
	}
	return 0
}

// logTail reads the head and the records of the log past it, without the state.
func (s *Store) logTail(ctx context.Context, doc stream.Doc) (*head, []stream.Record, error) {
	var got *view
	v, err := s.read(ctx, doc, 0, func(v *view) error {
		if v.target > max(v.reach(), v.covered()) {
			return errShort // begin again, as the reading itself would
		}
		got = v
		return errEnough
	})
	if got == nil {
		got = v // made again from the history, or an error
	}
	if got == nil {
		return nil, nil, err
	}
	return got.head, got.records, nil
}

// Range turns two moments into the sequences after and up to which the records between them lie. A beginning before the horizon is
// the horizon. The zero from is the beginning.
func (s *Store) Range(ctx context.Context, doc stream.Doc, from, to Moment) (after, upto stream.Seq, err error) {
	err = s.withHistory(ctx, doc, func(h *head, tail []stream.Record) (err error) {
		after, upto, err = s.rangeOf(ctx, h, tail, from, to)
		return err
	})
	return after, upto, err
}

func (s *Store) rangeOf(ctx context.Context, h *head, tail []stream.Record, from, to Moment) (after, upto stream.Seq, err error) {
	if h != nil {
		after = h.info.Horizon
	}
	if !from.Now() {
		n, err := s.resolve(ctx, h, tail, from)
		if err != nil && !errors.Is(err, ErrGone) {
			return 0, 0, err
		}
		after = max(after, n)
	}
	upto, err = s.resolve(ctx, h, tail, to)
	return after, upto, err
}

// Summary is what a document's snapshot says of it: how many records and updates it covers, through which sequence, and the bytes
// of its state. All are zero where it was never folded.
type Summary struct {
	Upto             stream.Seq
	Records, Updates uint64
	Bytes            int
	First            time.Time
}

// Summary reads the head of a document's snapshot.
func (s *Store) Summary(ctx context.Context, doc stream.Doc) (Summary, error) {
	h, _, err := s.snapHead(ctx, doc)
	if err != nil || h == nil {
		return Summary{}, err
	}
	return Summary{Upto: h.upto, Records: h.info.Records, Updates: h.info.Updates, Bytes: h.info.Bytes, First: time.UnixMilli(h.info.FirstMS).UTC()}, nil
}
