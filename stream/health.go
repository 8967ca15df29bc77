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

// Health is the state of the store, for /health and /readyz.
type Health struct {
	Connected  bool
	Durability string        // "disk", "process" or "unknown"
	RTT        time.Duration // to the NATS server and back
	Err        error         // the reason why nothing can be stored now, or nil
	LostEnds   []string      // shards found to have lost their end since this process started
}

const (
	stuckAfter = 3 * time.Second // an append that waits longer makes the server unready
	checkFresh = 2 * time.Second // a store that stored a message this recently is not asked
	probeWait  = 3 * time.Second
	faultHold  = 5 * time.Second // a store fault lasts at least this long
)

// Health reports whether edits can be stored. Unless an append has failed it writes nothing: without a recent append it asks NATS for
// the state of ymeta. It returns within a few seconds, or when ctx ends.
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

// check asks the store, unless it has just stored a message. Callers share one answer. After a failed append or check, only a stored
// probe proves that the store works again.
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

// ask reads the state of ymeta from its leader. It fails where JetStream is off, there is no leader, or most replicas are away.
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

// fault is a store error. While it lasts, the node acknowledges nothing.
type fault struct {
	err   error
	since time.Time // of the newest report
	final bool      // it lasts as long as the process
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// Fault returns the store's error while it lasts, or nil. It is cheap.
func (l *Log) Fault() error {
	if f := l.fault.Load(); f != nil {
		return f
	}
	return nil
}

// setFault stops appends on all shards. They resume once a probe is stored, at least faultHold after the last report.
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

// Refuse stops acknowledging for good; reads still work. The owner of the store calls it for a fault that NATS does not see, such as
// replaced files.
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

// findOut probes the store until it stores a message. Until then tails hold back the records of failed appends and all records after
// them.
func (l *Log) findOut() {
	l.repairMu.Lock()
	defer l.repairMu.Unlock()
	if l.ctx.Err() != nil || !l.findingOut.CompareAndSwap(false, true) {
		return
	}
	l.running.Go(func() {
		for attempt := 0; jet.Pause(l.ctx, time.Second+jet.Backoff(attempt)) == nil; attempt++ {
			l.findingOut.Store(false) // an append that fails from here on needs a probe of its own
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
				return // another findOut has begun
			}
		}
	})
}
