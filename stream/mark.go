package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A shard mark is the highest sequence that a shard is known to have reached: key mark.NN of ymeta, {"seq":n,"epoch":e}.
//
// A stream that ends below its mark has lost its end: a power cut without a sync, a damaged last block, a store put back
// from a backup. NATS then gives the same sequences to other records, and whoever remembers the old ones takes the new for
// duplicates. So, whenever the log is opened and whenever the connection was away:
//
//  1. Appends wait while the stream's end is compared with the mark and with what this process has seen itself.
//  2. Where it is lower, that is said aloud, and the mark's epoch is raised by one.
//  3. Tails that are past the end fail with ErrRewound: their clients come back, and bring what the log has lost.
//  4. Placeholders under a name that no document has use up the sequences that were given before; then they are purged.
//
// Then appends go on.
type mark struct {
	Seq   Seq    `json:"seq"`
	Epoch uint64 `json:"epoch"` // times that the shard was found too short
}

const (
	maxSkip     = 50_000_000      // sequences: some minutes
	placeholder = "=skip"         // no token: = is followed by hex in those
	shortDoubt  = 5 * time.Second // in a cluster a new leader may still be catching up
)

func (s *shard) markKey() string { return "mark." + s.nn }

// Epoch is how often the document's shard was found shorter than it had been, plus 1. A fold of an older epoch may cover
// sequences that the log does not have.
func (l *Log) Epoch(doc Doc) uint64 { return l.shardOf(doc.Token()).epoch.Load() + 1 }

// MarkShard records that the document's shard has reached seq. A fold does it before records are removed; the Log does it each
// minute.
func (l *Log) MarkShard(ctx context.Context, doc Doc, seq Seq) error {
	s := l.shardOf(doc.Token())
	_, err := l.raiseMark(ctx, s, func(m *mark) bool {
		if m.Seq >= seq {
			return false
		}
		m.Seq = seq
		return true
	})
	return err
}

// raiseMark changes a shard's mark, against other servers that do the same. change tells whether there is anything to write.
func (l *Log) raiseMark(ctx context.Context, s *shard, change func(*mark) bool) (mark, error) {
	for {
		var m mark
		e, ok, err := l.MetaGet(ctx, s.markKey())
		if err != nil {
			return m, fmt.Errorf("read the mark of shard %s: %w", s.nn, err)
		}
		if ok {
			if err := json.Unmarshal(e.Value, &m); err != nil {
				return m, fmt.Errorf("%w: key %s of bucket %s holds %q", ErrConfig, e.Key, metaBucket, e.Value)
			}
		}
		if !change(&m) {
			s.epoch.Store(m.Epoch)
			return m, nil
		}
		value, err := json.Marshal(m)
		if err != nil {
			return m, err
		}
		rev := e.Rev
		if !ok {
			rev = 0
		}
		if _, err = l.MetaPut(ctx, s.markKey(), value, &rev); err == nil {
			s.epoch.Store(m.Epoch)
			return m, nil
		} else if !errors.Is(err, ErrConflict) {
			return m, fmt.Errorf("write the mark of shard %s: %w", s.nn, err)
		}
	}
}

// saw notes a sequence of the shard that is stored.
func (s *shard) saw(seq Seq) {
	for {
		old := s.highest.Load()
		if old >= uint64(seq) || s.highest.CompareAndSwap(old, uint64(seq)) {
			return
		}
	}
}

// end asks the leader for the shard's last sequence.
func (l *Log) end(ctx context.Context, s *shard) (Seq, error) { return l.lastSeq(ctx, s.stream) }

func (l *Log) lastSeq(ctx context.Context, stream string) (Seq, error) {
	var info struct {
		State struct {
			Last Seq `json:"last_seq"`
		} `json:"state"`
	}
	err := retry(ctx, func(ctx context.Context) error { return l.request(ctx, "STREAM.INFO."+stream, nil, &info) })
	if err != nil {
		return 0, fmt.Errorf("ask %s for its end: %w", stream, err)
	}
	return info.State.Last, nil
}

// markNow brings the mark up to the stream's end.
func (l *Log) markNow(ctx context.Context, s *shard) error {
	last, err := l.end(ctx, s)
	if err != nil || last <= Seq(s.marked.Load()) {
		return err
	}
	m, err := l.raiseMark(ctx, s, func(m *mark) bool {
		if m.Seq >= last {
			return false
		}
		m.Seq = last
		return true
	})
	if err == nil {
		s.marked.Store(uint64(m.Seq))
	}
	return err
}

// caughtUp waits until the shard's leader knows of a sequence that was there, or has not come to it for shortDoubt: then it is lost.
func (l *Log) caughtUp(ctx context.Context, s *shard, had Seq) error {
	for doubt := time.Now(); ; {
		last, err := l.end(ctx, s)
		if err != nil || last >= had || l.cfg.Embedded || time.Since(doubt) > shortDoubt {
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// verifyEnd compares the stream's end with what it was, and mends it. Appends to the shard wait meanwhile.
func (l *Log) verifyEnd(ctx context.Context, s *shard) error {
	m, err := l.raiseMark(ctx, s, func(*mark) bool { return false })
	if err != nil {
		return err
	}
	s.marked.Store(uint64(m.Seq))
	var last, want Seq
	var past []*Tail
	for doubt := time.Now(); ; {
		// What tails have is noted before the end is asked for: others may append meanwhile.
		tails := l.tailsOf(s)
		had := make([]Seq, len(tails))
		for i, t := range tails {
			had[i] = t.Seq()
		}
		want = max(m.Seq, Seq(s.highest.Load()))
		if last, err = l.end(ctx, s); err != nil {
			return err
		}
		past = past[:0]
		for i, t := range tails {
			if had[i] > last {
				past = append(past, t)
			}
		}
		if last >= want && len(past) == 0 {
			s.saw(last)
			return nil
		}
		if l.cfg.Embedded || time.Since(doubt) > shortDoubt {
			break
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	for _, t := range past {
		want = max(want, t.Seq())
	}
	if want > last+maxSkip {
		return fmt.Errorf("%w: %s ends at %d and had been at %d: too far to be skipped; restore the stream, or delete the key %s of bucket %s to begin at %d",
			ErrRewound, s.stream, last, want, s.markKey(), metaBucket, last+1)
	}
	l.log.Error("the log has lost its end: records were acknowledged that are not there; their sequences are skipped, and what clients still have comes back from them",
		"stream", s.stream, "last", last, "was", want)
	l.m.endsLost.Inc()
	note := fmt.Sprintf("%s lost its end: it ended at %d and had been at %d (%s)", s.stream, last, want, time.Now().UTC().Format(time.RFC3339))
	s.lostEnd.Store(&note)
	if _, err := l.raiseMark(ctx, s, func(m *mark) bool { m.Seq, m.Epoch = max(m.Seq, want), m.Epoch+1; return true }); err != nil {
		return err
	}
	lost := fmt.Errorf("%w: %s ends at %d and had been at %d", ErrRewound, s.stream, last, want)
	for _, t := range past {
		t.fail(lost)
	}
	subject := s.subject(kindLog, placeholder)
	for last < want {
		n := int(min(want-last, maxBatch))
		reached, err := l.skip(ctx, subject, n)
		if err != nil {
			return fmt.Errorf("skip the sequences of %s from %d to %d: %w", s.stream, last, want, err)
		}
		last = reached
	}
	s.saw(last)
	if err := l.purge(ctx, s, s.stream, subject, 0); err != nil {
		return err
	}
	l.log.Warn("the log goes on past its lost end", "stream", s.stream, "from", last+1)
	return nil
}

// skip stores n placeholders in one batch and returns the last sequence.
func (l *Log) skip(ctx context.Context, subject string, n int) (Seq, error) {
	var last Seq
	err := retry(ctx, func(ctx context.Context) error {
		if n == 1 {
			var err error
			last, err = publish(ctx, l.bulk, nats.NewMsg(subject))
			return err
		}
		id := randomName()
		for i := 1; ; i++ {
			m := nats.NewMsg(subject)
			m.Header["Nats-Batch-Id"] = []string{id}
			m.Header["Nats-Batch-Sequence"] = []string{fmt.Sprint(i)}
			if i == n {
				m.Header["Nats-Batch-Commit"] = []string{"1"}
				var err error
				last, err = publish(ctx, l.bulk, m)
				return err
			}
			if err := l.bulk.PublishMsg(m); err != nil {
				return err
			}
		}
	})
	return last, err
}

// tailsOf lists the open tails of a shard.
func (l *Log) tailsOf(s *shard) (tails []*Tail) {
	f := l.feeds[s.no%len(l.feeds)]
	f.mu.RLock()
	defer f.mu.RUnlock()
	for sub, t := range f.subs {
		if t.shard == s && sub == t.subs[subLive] {
			tails = append(tails, t)
		}
	}
	return tails
}
