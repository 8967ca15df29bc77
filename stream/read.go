package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	replayBatch = 512     // records asked for at a time: writers wait while NATS reads them
	replayBytes = 1 << 20 // and their bytes; one more record may come
	lagWait     = 3 * time.Second
)

// Head asks the leader for the document's last sequence. Zero: it has no record; it is new, or was erased. Where the last
// record is damaged, it is the last that can be read, or ErrDamaged if there is none.
func (l *Log) Head(ctx context.Context, doc Doc) (Seq, error) {
	token := doc.Token()
	s := l.shardOf(token)
	m, ok, err := l.leaderGet(ctx, s.stream, getRequest{LastFor: s.subject(kindLog, token)})
	if errors.Is(err, ErrDamaged) {
		var v survey
		if v, err = l.survey(ctx, s, token); err != nil {
			return 0, err
		}
		l.m.damaged.Inc()
		l.log.Error("the last record of a document is damaged", "doc", doc, "readable", v.readable, "records", v.counted, "last", v.last)
		if v.readable == 0 {
			return 0, fmt.Errorf("%w: none of the %d records of %q can be read", ErrDamaged, v.counted, doc)
		}
		return v.last, nil
	}
	if err != nil || !ok {
		return 0, err
	}
	return m.seq, nil
}

// survey is what can be read of a document, record by record.
type survey struct {
	first, last       Seq
	readable, counted uint64
}

// survey walks the whole log of a document at the leader; for damage only.
func (l *Log) survey(ctx context.Context, s *shard, token string) (v survey, err error) {
	subject := s.subject(kindLog, token)
	if v.counted, err = l.count(ctx, s.stream, subject); err != nil {
		return v, err
	}
	for {
		m, ok, err := l.leaderGet(ctx, s.stream, getRequest{Seq: v.last + 1, NextFor: subject})
		if err != nil || !ok {
			return v, err
		}
		if v.first == 0 {
			v.first = m.seq
		}
		v.last = m.seq
		v.readable++
	}
}

// erasedAfter tells whether everything of the document up to have was removed. The feed says that a record is the first of its
// document when it is, and also when the one before it is damaged.
func (l *Log) erasedAfter(ctx context.Context, doc Doc, have Seq) (bool, error) {
	token := doc.Token()
	s := l.shardOf(token)
	m, ok, err := l.leaderGet(ctx, s.stream, getRequest{Seq: 1, NextFor: s.subject(kindLog, token)})
	if err != nil || ok && m.seq <= have {
		return false, err
	}
	v, err := l.survey(ctx, s, token)
	return v.readable >= v.counted, err
}

func (l *Log) lastRecord(ctx context.Context, s *shard, token string) (Record, bool, error) {
	m, ok, err := l.leaderGet(ctx, s.stream, getRequest{LastFor: s.subject(kindLog, token)})
	if err != nil || !ok {
		return Record{}, false, err
	}
	return m.record(), true, nil
}

// RecordAt reads one record of the document from the leader: the first with a sequence of at least from.
func (l *Log) RecordAt(ctx context.Context, doc Doc, from Seq) (Record, bool, error) {
	token := doc.Token()
	s := l.shardOf(token)
	m, ok, err := l.leaderGet(ctx, s.stream, getRequest{Seq: from, NextFor: s.subject(kindLog, token)})
	if err != nil || !ok {
		return Record{}, false, err
	}
	return m.record(), true, nil
}

// Replay yields the stored records of doc with after < Seq ≤ upto, in order; upto 0 stands for the head at the call. Each
// record is there that the leader holds; those that were trimmed are not, which only a snapshot can tell from damage. Prev is
// not set. An error ends it.
func (l *Log) Replay(ctx context.Context, doc Doc, after, upto Seq) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if upto == 0 {
			head, err := l.Head(ctx, doc)
			if err != nil {
				yield(Record{}, err)
				return
			}
			upto = head
		}
		if after >= upto {
			return
		}
		token := doc.Token()
		s := l.shardOf(token)
		subject := s.subject(kindLog, token)
		r, err := l.newReader(replayBatch)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer r.close()
		failures, lagging := 0, time.Time{}
		for after < upto {
			stopped := false
			var broken error
			req := getRequest{Seq: after + 1, NextFor: subject, Batch: replayBatch, MaxBytes: replayBytes}
			before := after
			a, err := r.get(ctx, s.stream, req, func(m *nats.Msg) bool {
				rec, err := recordOf(m.Header, m.Data)
				if err != nil {
					broken = fmt.Errorf("read %q after %d: %w", doc, after, err)
					return false
				}
				rec.Prev = 0 // in such an answer the header tells something else
				if rec.Seq > upto {
					after = upto
					return false
				}
				if rec.Seq <= after {
					return true
				}
				after = rec.Seq
				l.m.replayRecords.Inc()
				if !rec.Intact() {
					l.m.damaged.Inc()
				}
				if !yield(rec, nil) {
					stopped = true
				}
				return !stopped && after < upto
			})
			switch {
			case stopped:
				return
			case broken != nil:
				// Another program's headers hide those of NATS. The leader tells the sequence beside them.
				m, ok, err := l.leaderGet(ctx, s.stream, getRequest{Seq: after + 1, NextFor: subject})
				switch {
				case err != nil:
					yield(Record{}, fmt.Errorf("%w: %w", broken, err))
					return
				case !ok || m.seq > upto:
					return
				}
				after = m.seq
				l.m.replayRecords.Inc()
				if !yield(m.record(), nil) {
					return
				}
				continue
			case err != nil && !transient(err), err != nil && ctx.Err() != nil:
				yield(Record{}, fmt.Errorf("read %q after %d: %w", doc, after, err))
				return
			case err != nil:
				failures++
				if cause := pause(ctx, backoff(failures)); cause != nil {
					yield(Record{}, fmt.Errorf("read %q after %d: %w (%w)", doc, after, err, cause))
					return
				}
				continue
			case after > before || a.pending > 0:
				failures, lagging = 0, time.Time{}
				continue
			}
			// Nothing more here, and the head is not reached. The replica that answered may lag, or the record may have been
			// trimmed meanwhile: the leader knows.
			m, ok, err := l.leaderGet(ctx, s.stream, getRequest{Seq: after + 1, NextFor: subject})
			switch {
			case err != nil:
				yield(Record{}, err)
				return
			case !ok || m.seq > upto:
				return
			}
			if lagging.IsZero() {
				lagging = time.Now()
			}
			if time.Since(lagging) < lagWait {
				failures++
				if cause := pause(ctx, backoff(failures)); cause != nil {
					yield(Record{}, cause)
					return
				}
				continue
			}
			// The replica does not come by it: go on with the leader, record by record.
			after = m.seq
			l.m.replayRecords.Inc()
			if !yield(m.record(), nil) {
				return
			}
		}
	}
}

// Trim removes the document's records below keep; record keep stays. At most one removal runs per shard at a time: it holds
// writers up.
func (l *Log) Trim(ctx context.Context, doc Doc, keep Seq) error {
	if keep == 0 {
		return errors.New("stream: trim below sequence 0")
	}
	token := doc.Token()
	s := l.shardOf(token)
	return l.purge(ctx, s, s.stream, s.subject(kindLog, token), keep)
}

func (l *Log) purge(ctx context.Context, s *shard, stream, filter string, below Seq) error {
	select {
	case s.trims <- struct{}{}:
		defer func() { <-s.trims }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	req := struct {
		Filter string `json:"filter"`
		Seq    Seq    `json:"seq,omitempty"`
	}{filter, below}
	err := retry(ctx, func(ctx context.Context) error { return l.request(ctx, "STREAM.PURGE."+stream, req, nil) })
	if err != nil {
		return fmt.Errorf("purge %s below %d: %w", filter, below, err)
	}
	return nil
}

// LogOnly is the Filler of a log without snapshots: everything is in the log, from its first record on.
func LogOnly(l *Log) Filler { return logOnly{l} }

type logOnly struct{ l *Log }

func (f logOnly) Fill(ctx context.Context, doc Doc, have Seq) (Filled, error) {
	head, err := f.l.Head(ctx, doc)
	if err != nil {
		return Filled{}, err
	}
	out := Filled{Head: head}
	if have >= head {
		return out, nil
	}
	for r, err := range f.l.Replay(ctx, doc, have, head) {
		if err != nil {
			return Filled{}, err
		}
		out.Records = append(out.Records, r)
	}
	if n := len(out.Records); n == 0 || out.Records[n-1].Seq != head {
		return Filled{}, fmt.Errorf("%w: %q ends before its head %d", ErrLost, doc, head)
	}
	return out, nil
}
