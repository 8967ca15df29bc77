package stream

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	compareEvery = 60 * time.Second
	compareBatch = 1000 // subjects asked for at a time; NATS answers at most 1,024
)

// keep is the Log's keeper: it verifies where the shards end and compares the heads of all open documents, each minute, after
// the connection was away, and when asked.
func (l *Log) keep() {
	tick := time.NewTicker(compareEvery)
	defer tick.Stop()
	// Up to here each shard was compared. A document that is opened later is compared then.
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
		ctx, cancel := context.WithTimeout(l.ctx, 30*time.Second)
		for i, s := range l.shards {
			if err := l.look(ctx, s, &upTo[i], minute); err != nil && l.ctx.Err() == nil {
				l.log.Warn("the end and the heads of a shard could not be compared, will be tried again", "stream", s.stream, "err", err)
				time.AfterFunc(time.Second, l.compareSoon)
			}
		}
		if l.away.Swap(false) {
			// A single NATS server that was started anew has no bucket in memory any more.
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
func (l *Log) look(ctx context.Context, s *shard, upTo *Seq, minute bool) error {
	if minute {
		last, err := l.end(ctx, s)
		if err != nil {
			return err
		}
		if last < Seq(s.highest.Load()) {
			s.checking.Store(true)
		} else if err := l.markNow(ctx, s); err != nil {
			return err
		}
	}
	if s.checking.Load() {
		epoch := s.reconnected.Load()
		if err := l.verifyEnd(ctx, s); err != nil {
			return err
		}
		if epoch == s.reconnected.Load() && l.nc.IsConnected() {
			s.checking.Store(false)
			s.nudge()
		}
	}
	next, err := l.compareShard(ctx, s, *upTo)
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

// compareShard asks for the last record of each open document of a shard, as far as it is newer than from, and has those
// tails checked that are not there yet. It returns the sequence up to which all is known to be well or being repaired.
//
// Any replica may answer: this is the net under the order of the feed and the acknowledgements, and the next round will ask
// again.
func (l *Log) compareShard(ctx context.Context, s *shard, from Seq) (upTo Seq, err error) {
	f := l.feeds[s.index()%len(l.feeds)]
	open := map[string][]*Tail{}
	f.mu.RLock()
	for sub, t := range f.subs {
		if t.shard == s && sub == t.subs[subLive] {
			subject := s.subject(kindLog, t.doc.Token())
			open[subject] = append(open[subject], t)
		}
	}
	f.mu.RUnlock()
	if len(open) == 0 {
		return from, nil
	}
	r, err := l.newReader(compareBatch)
	if err != nil {
		return from, err
	}
	defer r.close()
	var ask func(subjects []string) error
	ask = func(subjects []string) error {
		for at := from; ; {
			a, err := r.get(ctx, s.stream, getRequest{Multi: subjects, Seq: at + 1, UpTo: upTo, MaxBytes: 8 << 20}, func(m *nats.Msg) bool {
				seq, err := strconv.ParseUint(get(m.Header, hdrSeq), 10, 64)
				if err != nil {
					return true
				}
				at = Seq(seq)
				for _, t := range open[get(m.Header, hdrSubject)] {
					if t.Seq() < Seq(seq) {
						t.repair("head")
					}
				}
				return true
			})
			switch {
			case errors.Is(err, errUnreadable) && len(subjects) > 1:
				half := len(subjects) / 2
				if err := ask(subjects[:half]); err != nil {
					return err
				}
				return ask(subjects[half:])
			case errors.Is(err, errUnreadable):
				for _, t := range open[subjects[0]] {
					t.repair("head") // its own reading knows what to do about damage
				}
				return nil
			case err != nil:
				return err
			case a.none:
				return nil
			}
			if upTo == 0 {
				upTo = a.upTo
			}
			if a.pending == 0 {
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
