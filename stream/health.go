package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Health is what /health and /readyz ask for.
type Health struct {
	Connected  bool
	Durability string        // "disk", "process" or "unknown"
	RTT        time.Duration // to the NATS server and back
	Err        error         // why nothing can be stored now, or nil
	LostEnds   []string      // shards that were found to end lower than they had, since the start of this process
}

const (
	stuckAfter = 3 * time.Second // an append that waits longer makes the server unready
	checkFresh = 2 * time.Second // a store that took something this recently is not asked
	probeWait  = 3 * time.Second
	faultHold  = 5 * time.Second // a store fault lasts at least this long
)

// Health tells whether edits can be stored. It writes nothing as long as nothing failed: where nobody appended lately it asks NATS for
// the state of ymeta. It takes at most some seconds, less where ctx ends.
func (l *Log) Health(ctx context.Context) Health {
	h := Health{Connected: l.nc.IsConnected() && l.bulk.IsConnected(), Durability: l.cfg.Durability}
	if h.Durability == "" {
		h.Durability = "unknown"
	}
	for _, s := range l.shards {
		if note := s.lostEnd.Load(); note != nil {
			h.LostEnds = append(h.LostEnds, *note)
		}
	}
	if l.ctx.Err() != nil {
		h.Err = ErrClosed
		return h
	}
	if !h.Connected {
		h.Err = fmt.Errorf("stream: no connection to NATS: %w", nats.ErrDisconnected)
		return h
	}
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	start := time.Now()
	if err := l.nc.FlushWithContext(ctx); err != nil {
		h.Err = fmt.Errorf("stream: NATS does not answer: %w", err)
		return h
	}
	h.RTT = time.Since(start)
	if f := l.fault.Load(); f != nil {
		h.Err = f
		return h
	}
	if gone := l.gone.Load(); gone != nil {
		h.Err = fmt.Errorf("stream: %w", *gone)
		return h
	}
	for _, s := range l.shards {
		if at := s.oldest.Load(); at != 0 {
			if waited := time.Since(time.Unix(0, at)); waited > stuckAfter {
				h.Err = fmt.Errorf("stream: an append to %s waits for %v to be stored", s.stream, waited.Round(time.Millisecond))
				return h
			}
		}
	}
	h.Err = l.check(ctx)
	return h
}

// check asks the store, unless it took something just now. Callers share one answer. Where an append failed, or the last check, only
// a message that is stored proves the store well again.
func (l *Log) check(ctx context.Context) error {
	suspect := l.findingOut.Load()
	if !suspect && time.Since(time.Unix(0, l.lastAck.Load())) < checkFresh {
		return nil
	}
	l.checkMu.Lock()
	defer l.checkMu.Unlock()
	if time.Since(l.checkedAt) < checkFresh {
		return l.checkErr
	}
	if suspect || l.checkErr != nil {
		l.checkErr = l.store(ctx)
	} else {
		l.checkErr = l.ask(ctx)
	}
	l.checkedAt = time.Now()
	return l.checkErr
}

// ask reads the state of ymeta from its leader: an error where JetStream is off, nobody leads, or most replicas are away.
func (l *Log) ask(ctx context.Context) error {
	var info struct {
		Cluster struct {
			Replicas []struct {
				Offline bool `json:"offline"`
			} `json:"replicas"`
		} `json:"cluster"`
	}
	if err := l.jet.Request(ctx, "STREAM.INFO."+name.MetaStream, nil, &info); err != nil {
		return fmt.Errorf("stream: %s does not answer: %w", name.MetaStream, err)
	}
	away := 0
	for _, r := range info.Cluster.Replicas {
		if r.Offline {
			away++
		}
	}
	if n := 1 + len(info.Cluster.Replicas); n-away <= n/2 {
		return fmt.Errorf("stream: %d of the %d replicas of %s are away", away, n, name.MetaStream)
	}
	return nil
}

// store writes a probe: the key probe.<node> in ymeta.
func (l *Log) store(ctx context.Context) error {
	m := nats.NewMsg(name.Meta("probe." + l.node))
	m.Data = []byte(time.Now().UTC().Format(time.RFC3339Nano))
	_, err := jet.Publish(ctx, l.nc, m)
	if errors.Is(err, ErrFault) {
		l.setFault(err)
	}
	if err != nil {
		return fmt.Errorf("stream: a probe was not stored: %w", err)
	}
	return nil
}

// stored notes a success outside of the committers.
func (l *Log) stored(records, bytes int) {
	l.m.records.Add(float64(records))
	l.m.bytes.Add(float64(bytes))
	l.lastAck.Store(time.Now().UnixNano())
}

// fault is a store error while it lasts: the node acknowledges nothing.
type fault struct {
	err   error
	since time.Time // of the newest report
	final bool      // it lasts as long as the process
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// Fault is the store's error while it lasts, or nil. It costs nothing to ask.
func (l *Log) Fault() error {
	if f := l.fault.Load(); f != nil {
		return f
	}
	return nil
}

// setFault stops appends on all shards. They go on when, some seconds after the last report, a probe is stored.
func (l *Log) setFault(err error) {
	l.m.faults.Inc()
	l.faultMu.Lock()
	defer l.faultMu.Unlock()
	old := l.fault.Load()
	if old != nil && old.final {
		return
	}
	l.fault.Store(&fault{err: err, since: time.Now()})
	if old != nil {
		return
	}
	l.log.Error("the store reported an error: nothing is acknowledged until it takes messages again", "err", err)
	l.repairMu.Lock()
	defer l.repairMu.Unlock()
	if l.ctx.Err() == nil {
		l.running.Go(l.recover)
	}
}

// Refuse makes a fault of the store known that only its owner can see, and that does not pass: nothing is acknowledged any more, everything
// can be read.
func (l *Log) Refuse(err error) {
	l.m.faults.Inc()
	l.faultMu.Lock()
	l.fault.Store(&fault{err: fmt.Errorf("%w: %w", ErrFault, err), since: time.Now(), final: true})
	l.faultMu.Unlock()
	for _, s := range l.shards {
		s.nudge()
	}
}

func (l *Log) recover() {
	for jet.Pause(l.ctx, time.Second) == nil {
		f := l.fault.Load()
		if f.final {
			return
		}
		if time.Since(f.since) < faultHold {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, probeWait)
		err := l.store(ctx)
		cancel()
		if err != nil {
			continue
		}
		l.faultMu.Lock()
		cleared := l.fault.CompareAndSwap(f, nil)
		l.faultMu.Unlock()
		if cleared {
			l.log.Warn("the store takes messages again")
			for _, s := range l.shards {
				s.holdback.storeWell()
				s.nudge()
			}
			return
		}
	}
}

// findOut probes the store until it takes a message: tails hold back records until then, others' records behind them too.
func (l *Log) findOut() {
	l.repairMu.Lock()
	defer l.repairMu.Unlock()
	if l.ctx.Err() != nil || !l.findingOut.CompareAndSwap(false, true) {
		return
	}
	l.running.Go(func() {
		for attempt := 0; jet.Pause(l.ctx, time.Second+jet.Backoff(attempt)) == nil; attempt++ {
			l.findingOut.Store(false) // this probe says nothing about an append that fails from here on
			if l.fault.Load() != nil {
				return // recover probes instead
			}
			ctx, cancel := context.WithTimeout(l.ctx, probeWait)
			err := l.store(ctx)
			cancel()
			if err == nil {
				for _, s := range l.shards {
					s.holdback.storeWell()
				}
				return
			}
			if !l.findingOut.CompareAndSwap(false, true) {
				return // another has begun
			}
		}
	})
}
