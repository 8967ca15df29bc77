package stream

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

const (
	liveDepth = 16384 // live records that may wait for a feed; beyond that, the NATS client drops them and reports it
	softDepth = 4096  // awareness and custom messages
	burst     = 512   // messages applied before the sinks are flushed
	ackRule   = 100 * time.Millisecond
	fewAwait  = 8           // up to this many awaited records are no load: a feed that is silent then has lost them
	loadRule  = time.Second // with more, a silence this long counts as a loss
)

// feed delivers the live messages of some shards, in one goroutine for any number of open documents. Records and soft messages have
// separate channels, so that a flood of cursors cannot displace updates.
type feed struct {
	l    *Log
	live chan *nats.Msg
	soft chan *nats.Msg

	mu   sync.RWMutex
	subs map[*nats.Subscription]*Tail // guarded by mu: the tail of each subscription; closed tails are removed

	expMu    sync.Mutex    // guards expected; it may be taken under a tail's lock, never the reverse
	expected []expectation // in order of time; at most one per Tail
	kick     chan struct{} // wakes run

	releasedMu sync.Mutex // guards released
	released   []released // tails that may deliver their held-back records

	// Owned by run.
	dirty []*Tail
	drop  func(subject string) bool // for tests: loses the message
}

// expectation is a stored record that t has not received. At by, the feed checks whether it was lost.
type expectation struct {
	t     *Tail
	seq   Seq
	since time.Time
	by    time.Time
}

// lost reports whether the record of e was lost, rather than delayed. A shard's live records arrive in sequence order, so a later one
// of any document proves the loss. Otherwise silence of the feed does. A record that is held back until it is on disk is not lost.
// Mere slowness must not cause repairs: their reads would delay the commits further.
func (e *expectation) lost(now time.Time, await int) bool {
	if e.t.seq.Load() >= uint64(e.seq) || e.t.behind() {
		return false
	}
	s := e.t.shard
	if s.passed.Load() > uint64(e.seq) {
		return true
	}
	silence := now.Sub(e.since)
	if moved := time.Unix(0, s.movedAt.Load()); moved.After(e.since) {
		silence = now.Sub(moved)
	}
	if await <= fewAwait {
		return silence >= ackRule
	}
	return silence >= loadRule
}

func newFeed(l *Log) *feed {
	return &feed{
		l: l, live: make(chan *nats.Msg, liveDepth), soft: make(chan *nats.Msg, softDepth),
		subs: map[*nats.Subscription]*Tail{}, kick: make(chan struct{}, 1),
	}
}

func (f *feed) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case m := <-f.live:
			f.record(m)
			for n := 1; n < burst; n++ {
				select {
				case m = <-f.live:
					f.record(m)
					continue
				default:
				}
				break
			}
			// Cursors are sent with the edits that moved them, but must not delay edits.
			f.drainSoft(len(f.soft))
		case m := <-f.soft:
			f.softMsg(m)
			f.drainSoft(min(len(f.soft), burst))
		case <-f.kick:
		case <-timer.C:
		case <-f.l.ctx.Done():
			return
		}
		f.takeReleased()
		for i, t := range f.dirty {
			f.dirty[i] = nil
			t.flush()
		}
		f.dirty = f.dirty[:0]
		if next, some := f.overdue(time.Now()); some {
			timer.Reset(next)
		}
	}
}

func (f *feed) drainSoft(n int) {
	for ; n > 0; n-- {
		select {
		case m := <-f.soft:
			f.softMsg(m)
		default:
			return
		}
	}
}

func (f *feed) tailOf(sub *nats.Subscription) *Tail {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.subs[sub]
}

func (f *feed) record(m *nats.Msg) {
	t := f.tailOf(m.Sub)
	if t == nil || f.drop != nil && f.drop(m.Subject) {
		return
	}
	r, err := liveRecord(m)
	if err != nil {
		// Another program published on the live feed. Only records of the log count.
		f.l.log.Warn("message on the live feed without a sequence", "subject", m.Subject)
		return
	}
	f.l.m.liveRecords.Inc()
	t.shard.passed.Store(max(t.shard.passed.Load(), uint64(r.Seq)))
	t.shard.movedAt.Store(time.Now().UnixNano())
	if t.live(r) {
		f.dirty = append(f.dirty, t)
	}
}

func (f *feed) softMsg(m *nats.Msg) {
	t := f.tailOf(m.Sub)
	if t == nil {
		return
	}
	node := jet.Last(m.Header, name.HdrNode)
	if node == f.l.node {
		return
	}
	if t.soft(m, node) {
		f.dirty = append(f.dirty, t)
	}
}

// expect notes that seq is stored and must arrive within ackRule.
func (f *feed) expect(t *Tail, seq Seq) {
	f.expMu.Lock()
	now := time.Now()
	f.expected = append(f.expected, expectation{t, seq, now, now.Add(ackRule)})
	first := len(f.expected) == 1
	f.expMu.Unlock()
	if first {
		f.nudge()
	}
}

// overdue repairs the tails that have lost an acknowledged record. It returns the time until the next check.
func (f *feed) overdue(now time.Time) (next time.Duration, some bool) {
	f.expMu.Lock()
	i, await := 0, len(f.expected)
	for i < len(f.expected) && !f.expected[i].by.After(now) {
		i++
	}
	due := append([]expectation(nil), f.expected[:i]...)
	n := copy(f.expected, f.expected[i:])
	clear(f.expected[n:])
	f.expected = f.expected[:n]
	f.expMu.Unlock()
	var late, again []*Tail
	var wait []expectation
	for _, e := range due { // without expMu: a sink, which holds its tail's lock, may note an expectation
		switch {
		case e.t.Seq() >= e.seq || e.t.closed.Load():
			again = append(again, e.t)
		case e.lost(now, await):
			late = append(late, e.t)
		default:
			e.by = now.Add(ackRule)
			wait = append(wait, e)
		}
	}
	if len(wait) > 0 {
		f.expMu.Lock()
		f.expected = append(f.expected, wait...)
		f.expMu.Unlock()
	}
	for _, t := range late {
		t.awaiting.Store(false)
		t.repair("ack")
	}
	for _, t := range append(late, again...) {
		t.awaiting.Store(false)
		if want := Seq(t.expected.Load()); t.Seq() < want {
			t.Expect(want)
		}
	}
	f.expMu.Lock()
	defer f.expMu.Unlock()
	if len(f.expected) == 0 {
		return 0, false
	}
	return max(time.Until(f.expected[0].by), time.Millisecond), true
}
