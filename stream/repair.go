package stream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"yjet/stream/jet"
)

// A few workers of the Log read missed records from storage, at most one worker per Tail at a time.

const maxRepairs = 8 // repair workers of a Log

// repairState is the state of a Tail's repair; at most one runs.
type repairState uint8

const (
	whole        repairState = iota
	repairQueued             // for a worker, or until it is tried again
	repairRuns
	repairAgain // runs, and another was requested meanwhile
)

// repair has a worker fill the gap. It may be called under any lock.
func (t *Tail) repair(foundBy string) {
	if t.closed.Load() {
		return
	}
	l := t.l
	l.repairMu.Lock()
	defer l.repairMu.Unlock()
	switch t.repairing {
	case whole:
		t.foundBy = foundBy
		t.enqueueLocked()
	case repairRuns:
		t.foundBy = foundBy
		t.repairing = repairAgain
	}
}

// enqueueLocked needs repairMu.
func (t *Tail) enqueueLocked() {
	l := t.l
	if l.ctx.Err() != nil {
		return
	}
	t.repairing = repairQueued
	l.repairQ = append(l.repairQ, t)
	if l.repairs < maxRepairs {
		l.repairs++
		l.running.Go(l.repairLoop)
	}
}

// repaired ends a repair, and queues another if one was requested meanwhile.
func (t *Tail) repaired() {
	t.l.repairMu.Lock()
	defer t.l.repairMu.Unlock()
	if t.repairing == repairAgain {
		t.enqueueLocked()
	} else {
		t.repairing = whole
	}
}

// repairLoop is a repair worker. It ends when no Tail waits.
func (l *Log) repairLoop() {
	for {
		l.repairMu.Lock()
		if len(l.repairQ) == 0 || l.ctx.Err() != nil {
			l.repairs--
			l.repairMu.Unlock()
			return
		}
		t := l.repairQ[0]
		l.repairQ[0] = nil
		l.repairQ = l.repairQ[1:]
		t.repairing = repairRuns
		foundBy := t.foundBy
		l.repairMu.Unlock()
		t.repairNow(foundBy)
	}
}

func (t *Tail) repairNow(foundBy string) {
	if t.closed.Load() {
		return
	}
	if t.since.IsZero() {
		t.since = time.Now()
	}
	ctx, cancel := context.WithTimeout(t.l.ctx, time.Minute)
	defer cancel()
	before := t.read
	done, err := t.fill(ctx)
	if t.read > before {
		t.l.m.gaps.WithLabelValues(foundBy).Inc()
	}
	switch {
	case done:
		t.l.m.repairSeconds.Observe(time.Since(t.since).Seconds())
		t.failures, t.since = 0, time.Time{}
		t.repaired()
		return
	case t.l.ctx.Err() != nil:
		return
	case err != nil && final(err):
		t.fail(err)
		return
	}
	// The record is not stored yet, or storage does not answer: free the worker and try again later.
	t.failures++
	if err != nil {
		t.l.log.Warn("gap in the live feed not read yet", "doc", t.doc, "seq", t.Seq(), "err", err)
	}
	t.l.repairMu.Lock()
	t.repairing = repairQueued
	t.l.repairMu.Unlock()
	time.AfterFunc(jet.Backoff(t.failures-1), func() {
		t.l.repairMu.Lock()
		defer t.l.repairMu.Unlock()
		t.enqueueLocked()
	})
}

func (t *Tail) fail(err error) {
	t.l.m.tailFailures.Inc()
	level := slog.LevelError
	if errors.Is(err, ErrErased) {
		level = slog.LevelInfo // a user asked for it
	}
	t.l.log.Log(t.l.ctx, level, "document cannot be followed any more", "doc", t.doc, "seq", t.Seq(), "err", err)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed.Load() {
		t.Close()
		t.sink.Failed(err)
	}
}
