package snapshot

import (
	"context"
	"errors"
	"iter"
	"time"

	"yjet/stream"
)

// Records yields the single records of doc with after < Seq ≤ upto (0: to the head at the call) in order, from segments and
// then from the log. Records that retention dropped are left out: Horizon is the last of them.
func (s *history) Records(ctx context.Context, doc stream.Doc, after, upto stream.Seq) iter.Seq2[stream.Record, error] {
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

// Range resolves two moments to sequences: the records between them are those past after, up to upto. A from before the horizon is the
// horizon. The zero from is the beginning.
func (s *history) Range(ctx context.Context, doc stream.Doc, from, to Moment) (after, upto stream.Seq, err error) {
	err = s.withHistory(ctx, doc, func(h *head, tail []stream.Record) (err error) {
		after, upto, err = s.rangeOf(ctx, h, tail, from, to)
		return err
	})
	return after, upto, err
}

func (s *history) rangeOf(ctx context.Context, h *head, tail []stream.Record, from, to Moment) (after, upto stream.Seq, err error) {
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

// Summary describes a document's snapshot: the records and updates it covers, its last sequence, and the bytes of its state. All are zero
// if the document was never folded.
type Summary struct {
	Upto             stream.Seq
	Records, Updates uint64
	Bytes            int
	First            time.Time
}

// Summary reads the head of a document's snapshot.
func (s *history) Summary(ctx context.Context, doc stream.Doc) (Summary, error) {
	h, _, err := s.snapHead(ctx, doc)
	if err != nil || h == nil {
		return Summary{}, err
	}
	return Summary{Upto: h.upto, Records: h.info.Records, Updates: h.info.Updates, Bytes: h.info.Bytes, First: time.UnixMilli(h.info.FirstMS).UTC()}, nil
}
