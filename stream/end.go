package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// A shard mark is the highest sequence that a shard is known to have reached: key mark.NN of ymeta, {"seq":n,"epoch":e}.
//
// A stream that ends below its mark has lost its end: through a power cut without a sync, a damaged last block, or a store restored
// from a backup. NATS then reuses the lost sequences, and a reader that remembers the lost records takes the new ones for duplicates.
// So, when the log is opened and when the connection comes back:
//
//  1. Appends wait while the stream's end is compared with the mark and with the highest sequence that this process has seen.
//  2. Where the end is lower, the log reports it, and the mark's epoch rises by one.
//  3. Tails that are past the end fail with ErrRewound: their clients reconnect and send the lost updates again.
//  4. Placeholders under a path that no document has use up the lost sequences; then they are purged.
//
// Then appends go on.
type shardMark struct {
	Seq   Seq    `json:"seq"`
	Epoch uint64 `json:"epoch"` // times that the shard was found too short
}

const (
	maxSkip     = 50_000_000      // sequences: some minutes
	placeholder = "=skip"         // no document has this path: in a path, = is followed by hex
	shortDoubt  = 5 * time.Second // in a cluster a new leader may still be catching up
)

func (s *shard) markKey() string { return "mark." + s.no.String() }

// Epoch returns 1 plus the number of times that the document's shard lost its end. A fold of an older epoch may cover sequences that
// the log does not have.
func (l *Log) Epoch(doc Doc) uint64 { return l.shardOf(doc.Path()).epoch.Load() + 1 }

// MarkShard records that the document's shard has reached seq. A fold calls it before it trims records; the Log calls it every minute.
func (l *Log) MarkShard(ctx context.Context, doc Doc, seq Seq) error {
	s := l.shardOf(doc.Path())
	_, err := s.raiseMark(ctx, func(m *shardMark) bool {
		if m.Seq >= seq {
			return false
		}
		m.Seq = seq
		return true
	})
	return err
}

// raiseMark changes the shard's mark by compare-and-set, since other servers raise it too. change returns false where the mark needs no
// write.
func (s *shard) raiseMark(ctx context.Context, change func(*shardMark) bool) (shardMark, error) {
	for {
		var m shardMark
		e, ok, err := s.l.meta.Get(ctx, s.markKey())
		if err != nil {
			return m, fmt.Errorf("read the mark of shard %s: %w", s.no.String(), err)
		}
		if ok {
			if err := json.Unmarshal(e.Value, &m); err != nil {
				return m, fmt.Errorf("%w: key %s of bucket %s holds %q", ErrConfig, e.Key, name.MetaBucket, e.Value)
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
		if _, err = s.l.meta.Put(ctx, s.markKey(), value, &rev); err == nil {
			s.epoch.Store(m.Epoch)
			return m, nil
		} else if !errors.Is(err, ErrConflict) {
			return m, fmt.Errorf("write the mark of shard %s: %w", s.no.String(), err)
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
func (s *shard) end(ctx context.Context) (Seq, error) { return s.l.jet.LastSeq(ctx, s.stream) }

// markNow raises the mark to the stream's end.
func (s *shard) markNow(ctx context.Context) error {
	last, err := s.end(ctx)
	if err != nil || last <= Seq(s.marked.Load()) {
		return err
	}
	m, err := s.raiseMark(ctx, func(m *shardMark) bool {
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

// caughtUp waits until the shard's leader has the sequence had. After shortDoubt without it, had counts as lost.
func (s *shard) caughtUp(ctx context.Context, had Seq) error {
	for doubt := time.Now(); ; {
		last, err := s.end(ctx)
		if err != nil || last >= had || s.l.cfg.Embedded || time.Since(doubt) > shortDoubt {
			return err
		}
		if err := jet.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// verifyEnd compares the stream's end with the end it had, and carries out the steps above. Appends to the shard wait meanwhile.
func (s *shard) verifyEnd(ctx context.Context) error {
	m, err := s.raiseMark(ctx, func(*shardMark) bool { return false })
	if err != nil {
		return err
	}
	s.marked.Store(uint64(m.Seq))
	var last, want Seq
	var past []*Tail
	for doubt := time.Now(); ; {
		// The positions of tails are read before the end: other servers may append meanwhile.
		tails := s.tails()
		had := make([]Seq, len(tails))
		for i, t := range tails {
			had[i] = t.Seq()
		}
		want = max(m.Seq, Seq(s.highest.Load()))
		if last, err = s.end(ctx); err != nil {
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
		if s.l.cfg.Embedded || time.Since(doubt) > shortDoubt {
			break
		}
		if err := jet.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	for _, t := range past {
		want = max(want, t.Seq())
	}
	if want > last+maxSkip {
		return fmt.Errorf("%w: %s ends at %d and had been at %d: too far to be skipped; restore the stream, or delete the key %s of bucket %s to begin at %d",
			ErrRewound, s.stream, last, want, s.markKey(), name.MetaBucket, last+1)
	}
	s.l.log.Error("the log has lost its end: records were acknowledged that are not there; their sequences are skipped, and what clients still have comes back from them",
		"stream", s.stream, "last", last, "was", want)
	s.l.m.endsLost.Inc()
	note := fmt.Sprintf("%s lost its end: it ended at %d and had been at %d (%s)", s.stream, last, want, time.Now().UTC().Format(time.RFC3339))
	s.lostEnd.Store(&note)
	if _, err := s.raiseMark(ctx, func(m *shardMark) bool { m.Seq, m.Epoch = max(m.Seq, want), m.Epoch+1; return true }); err != nil {
		return err
	}
	lost := fmt.Errorf("%w: %s ends at %d and had been at %d", ErrRewound, s.stream, last, want)
	for _, t := range past {
		t.fail(lost)
	}
	subject := s.no.Subject(name.Log, placeholder)
	for last < want {
		n := int(min(want-last, jet.MaxBatch))
		reached, err := s.skip(ctx, subject, n)
		if err != nil {
			return fmt.Errorf("skip the sequences of %s from %d to %d: %w", s.stream, last, want, err)
		}
		last = reached
	}
	s.saw(last)
	if err := s.l.jet.PurgeInTurn(ctx, s.stream, subject, 0); err != nil {
		return err
	}
	s.l.log.Warn("the log goes on past its lost end", "stream", s.stream, "from", last+1)
	return nil
}

// skip stores n placeholders in one batch and returns the last sequence.
func (s *shard) skip(ctx context.Context, subject string, n int) (last Seq, err error) {
	err = jet.Retry(ctx, func(ctx context.Context) error {
		msgs := make([]*nats.Msg, n)
		for i := range msgs {
			msgs[i] = nats.NewMsg(subject)
		}
		var err error
		last, err = jet.PublishAll(ctx, s.l.bulk, randomName(), msgs)
		return err
	})
	return last, err
}

// tailsOf lists the open tails of a shard.
func (s *shard) tails() (tails []*Tail) {
	f := s.l.feeds[int(s.no)%len(s.l.feeds)]
	f.mu.RLock()
	defer f.mu.RUnlock()
	for sub, t := range f.subs {
		if t.shard == s && sub == t.subs[subLive] {
			tails = append(tails, t)
		}
	}
	return tails
}
