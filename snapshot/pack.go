package snapshot

import (
	"context"
	"fmt"
	"time"
	"yjet/stream"
)

// segmentSmall is the packed size above which a segment is left alone.
const segmentSmall = 256 << 10

// packHistory writes the records since the last fold into segments. A new small segment is merged with its smaller neighbours, like the
// carry of a binary counter: a record is packed again about as often as its segment doubles.
func (c *compaction) packHistory(ctx context.Context) error {
	i := &c.next.info
	if c.s.keep.none {
		i.History, i.Horizon, i.HorizonMS = nil, c.next.upto, i.TimeMS
		return nil
	}
	if h := c.view.head; h != nil && h.info.Records == 0 && len(h.info.History) == 0 && i.Horizon == 0 {
		// Another program wrote the head, or the state was imported without a history.
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
			break // keep the damaged segment listed: verify reports it, and no newer one depends on it
		}
		recs = append(older, recs...)
		i.History = i.History[:n-1]
	}
	segs, err := c.writeSegments(ctx, recs, i.History)
	i.History = append(i.History, segs...)
	return err
}

// mayJoin limits the time span of a segment if history has an age: otherwise no segment would ever be old enough to drop.
func (s *compactor) mayJoin(seg segmentRef, nowMS int64) bool {
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
