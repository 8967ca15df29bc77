package stream

import (
	"context"
	"errors"
	"slices"
	"time"

	"yjet/stream/jet"
	"yjet/stream/name"
)

const (
	compareEvery = 60 * time.Second
	compareBatch = 1000 // subjects per request; NATS answers at most 1,024
)

// keep is the Log's keeper. It verifies the shards' ends and compares the heads of all open documents: every minute, after a reconnect,
// and on request.
func (l *Log) keep() {
	tick := time.NewTicker(compareEvery)
	defer tick.Stop()
	// The sequence up to which each shard was compared. A document opened later is compared when it is opened.
	upTo := make([]Seq, len(l.shards))
	for {
		minute := false
		select {
		case <-tick.C:
			minute = true
		case <-l.compare:
		case <-l.ctx.Done():
			return
		}
		l.learnMaxUpdate()
		ctx, cancel := context.WithTimeout(l.ctx, 30*time.Second)
		for i, s := range l.shards {
			if err := s.look(ctx, &upTo[i], minute); err != nil && l.ctx.Err() == nil {
				l.log.Warn("the end and the heads of a shard could not be compared, will be tried again", "stream", s.stream, "err", err)
				time.AfterFunc(time.Second, l.compareSoon)
			}
		}
		if l.away.Swap(false) {
			// A single NATS server loses the bucket, which is in memory, when it restarts.
			if _, err := l.ensure(ctx, presenceStream(), l.cfg.Replicas); err != nil && l.ctx.Err() == nil {
				l.away.Store(true)
				l.log.Warn("presence cannot be kept, will be tried again", "err", err)
				time.AfterFunc(time.Second, l.compareSoon)
			}
		}
		cancel()
	}
}

// look is the keeper's round over one shard.
func (s *shard) look(ctx context.Context, upTo *Seq, minute bool) error {
	if minute {
		last, err := s.end(ctx)
		if err != nil {
			return err
		}
		if last < Seq(s.highest.Load()) {
			s.checking.Store(true)
		} else if err := s.markNow(ctx); err != nil {
			return err
		}
	}
	if s.checking.Load() {
		epoch := s.reconnected.Load()
		if err := s.verifyEnd(ctx); err != nil {
			return err
		}
		if epoch == s.reconnected.Load() && s.l.nc.IsConnected() {
			s.checking.Store(false)
			s.nudge()
		}
	}
	next, err := s.compareHeads(ctx, *upTo)
	if err != nil {
		return err
	}
	*upTo = next
	return nil
}

func (l *Log) compareSoon() {
	select {
	case l.compare <- struct{}{}:
	default:
	}
}

// compareHeads asks for the last record of each open document of a shard, where it is newer than from, and repairs the tails that lack
// it. It returns the sequence up to which all tails are complete or under repair.
//
// Any replica may answer, even one that lags: the order of the feed and the acknowledgements find most losses, and the next round asks
// again.
func (s *shard) compareHeads(ctx context.Context, from Seq) (upTo Seq, err error) {
	open := map[string][]*Tail{}
	for _, t := range s.tails() {
		subject := s.no.Subject(name.Log, t.doc.Path())
		open[subject] = append(open[subject], t)
	}
	if len(open) == 0 {
		return from, nil
	}
	r, err := s.l.jet.NewReader(compareBatch)
	if err != nil {
		return from, err
	}
	defer r.Close()
	var ask func(subjects []string) error
	ask = func(subjects []string) error {
		for at := from; ; {
			a, err := r.Get(ctx, s.stream, jet.GetRequest{Multi: subjects, Seq: at + 1, UpTo: upTo, MaxBytes: 8 << 20}, func(m jet.Msg) bool {
				if m.Seq == 0 {
					return true
				}
				at = m.Seq
				for _, t := range open[m.Subject] {
					if t.Seq() < m.Seq {
						t.repair("head")
					}
				}
				return true
			})
			switch {
			case errors.Is(err, jet.ErrUnreadable) && len(subjects) > 1:
				half := len(subjects) / 2
				if err := ask(subjects[:half]); err != nil {
					return err
				}
				return ask(subjects[half:])
			case errors.Is(err, jet.ErrUnreadable):
				for _, t := range open[subjects[0]] {
					t.repair("head") // reading the document handles the damage
				}
				return nil
			case err != nil:
				return err
			case a.None:
				return nil
			}
			if upTo == 0 {
				upTo = a.UpTo
			}
			if a.Pending == 0 {
				return nil
			}
		}
	}
	all := make([]string, 0, len(open))
	for subject := range open {
		all = append(all, subject)
	}
	for chunk := range slices.Chunk(all, compareBatch) {
		if err := ask(chunk); err != nil {
			return from, err
		}
	}
	return max(upTo, from), nil
}
