package stream

import (
	"context"
	"fmt"
	"iter"
	"time"

	"yjet/stream/jet"
	"yjet/stream/name"
)

const (
	replayBatch = 512     // records per request: writers wait while NATS reads them
	replayBytes = 1 << 20 // bytes per request; one more record may come
	manyLeft    = 1024    // with this many records left, a consumer is worth creating
	lagWait     = 3 * time.Second
)

// Replay yields the stored records of doc with after < Seq ≤ upto, in order; upto 0 means the head at the time of the call. It yields
// every record that the leader holds. Trimmed records are absent; only a snapshot can tell them from lost ones. Prev is not set. An
// error ends the sequence.
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
		path := doc.Path()
		s := l.shardOf(path)
		p := replaying{l: l, doc: doc, s: s, subject: s.no.Subject(name.Log, path), after: after, upto: upto, yield: yield}
		if err := p.run(ctx); err != nil && !p.stopped {
			yield(Record{}, err)
		}
	}
}

// replaying is one call of Replay under way.
type replaying struct {
	l       *Log
	doc     Doc
	s       *shard
	subject string
	after   Seq // the last record that was yielded, or where to begin
	upto    Seq
	yield   func(Record, error) bool
	stopped bool // yield wants no more
}

// take yields the next record; false: no more are wanted.
func (p *replaying) take(rec Record) (more bool) {
	if rec.Seq > p.upto {
		p.after = p.upto
		return false
	}
	if rec.Seq <= p.after {
		return true
	}
	p.after = rec.Seq
	p.l.m.replayRecords.Inc()
	if !rec.Intact() {
		p.l.m.damaged.Inc()
	}
	p.stopped = !p.yield(rec, nil)
	return p.more()
}

// takeMsg is take of a message whose sequence is known.
func (p *replaying) takeMsg(m jet.Msg) (more bool) {
	rec, err := recordOf(m)
	return err == nil && p.take(rec)
}

func (p *replaying) more() bool { return !p.stopped && p.after < p.upto }

// run yields all records or returns an error. Batches of direct gets are sufficient; where many records are left, a consumer reads as
// many as it can.
func (p *replaying) run(ctx context.Context) error {
	r, err := p.l.jet.NewReader(replayBatch)
	if err != nil {
		return err
	}
	defer r.Close()
	failures, lagging, consumed := 0, time.Time{}, false
	for p.more() {
		before := p.after
		pending, broken, err := p.batch(ctx, r)
		switch {
		case p.stopped:
			return nil
		case broken != nil:
			// Another program's headers hide those of NATS. The leader's answer has the sequence outside of the headers.
			m, ok, err := p.leader(ctx)
			if err != nil {
				return fmt.Errorf("%w: %w", broken, err)
			}
			if !ok {
				return nil
			}
			p.takeMsg(m)
			continue
		case err != nil && !jet.Transient(err), err != nil && ctx.Err() != nil:
			return p.failed(err)
		case err != nil:
			failures++
			if cause := jet.Pause(ctx, jet.Backoff(failures)); cause != nil {
				return p.failed(fmt.Errorf("%w (%w)", err, cause))
			}
			continue
		case p.after > before || pending > 0:
			failures, lagging = 0, time.Time{}
			if pending >= manyLeft && p.upto-p.after >= manyLeft && !consumed {
				consumed = true // if it fails, another would
				if err := p.l.jet.Consume(ctx, p.s.stream, p.subject, randomName(), p.after, p.takeMsg); err != nil && p.more() {
					p.l.log.Debug("a consumer did not read a log to its end", "doc", p.doc, "after", p.after, "err", err)
				}
			}
			continue
		}
		// No more records, but the head is not reached. The replica may lag, or the record may have been trimmed meanwhile: ask the
		// leader.
		m, ok, err := p.leader(ctx)
		if err != nil || !ok {
			return err
		}
		if lagging.IsZero() {
			lagging = time.Now()
		}
		if time.Since(lagging) < lagWait {
			failures++
			if cause := jet.Pause(ctx, jet.Backoff(failures)); cause != nil {
				return cause
			}
			continue
		}
		// The replica does not return this record: take it from the leader.
		p.takeMsg(m)
	}
	return nil
}

// batch yields the records of one direct get. pending is the number of records after them; broken: a message could not be read as a
// record.
func (p *replaying) batch(ctx context.Context, r *jet.Reader) (pending uint64, broken, err error) {
	req := jet.GetRequest{Seq: p.after + 1, NextFor: p.subject, Batch: replayBatch, MaxBytes: replayBytes}
	a, err := r.Get(ctx, p.s.stream, req, func(m jet.Msg) bool {
		rec, err := recordOf(m)
		if err != nil {
			broken = p.failed(err)
			return false
		}
		return p.take(rec)
	})
	return a.Pending, broken, err
}

// leader reads the next record from the leader; false: there is none that is wanted.
func (p *replaying) leader(ctx context.Context) (jet.Msg, bool, error) {
	m, ok, err := p.l.jet.LeaderGet(ctx, p.s.stream, jet.GetRequest{Seq: p.after + 1, NextFor: p.subject})
	return m, ok && m.Seq <= p.upto, err
}

func (p *replaying) failed(err error) error {
	return fmt.Errorf("read %q after %d: %w", p.doc, p.after, err)
}
