package stream

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

const (
	liveDepth = 16384 // live records that may wait for a feed; beyond, NATS drops and says so
	softDepth = 4096  // awareness and custom messages
	burst     = 512   // messages applied before the sinks are flushed
	ackRule   = 100 * time.Millisecond
)

// feed delivers the live messages of some of the shards: one goroutine for any number of open documents. Records and soft
// messages wait in channels of their own, so that a flood of cursors cannot push updates out.
type feed struct {
	l    *Log
	live chan *nats.Msg
	soft chan *nats.Msg

	mu   sync.RWMutex
	subs map[*nats.Subscription]*Tail // guarded by mu: the tail of each subscription; a closed tail is in it no more

	expMu    sync.Mutex
	expected []expectation // guarded by expMu: in order of time; at most one per Tail
	kick     chan struct{} // wakes run

	releasedMu sync.Mutex
	released   []released // guarded by releasedMu: tails that go on with what they held back

	// Owned by run.
	dirty []*Tail
	drop  func(subject string) bool // for tests: loses the message
}

// expectation: t is at seq by then, or the message was lost.
type expectation struct {
	t   *Tail
	seq Seq
	by  time.Time
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
			// Cursors go along with the edits that moved them, but never hold edits up for long.
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
	f.expected = append(f.expected, expectation{t, seq, time.Now().Add(ackRule)})
	first := len(f.expected) == 1
	f.expMu.Unlock()
	if first {
		f.nudge()
	}
}

// overdue repairs the tails whose acknowledged record did not come by, and returns when to look again.
func (f *feed) overdue(now time.Time) (next time.Duration, some bool) {
	f.expMu.Lock()
	var late, again []*Tail
	i := 0
	for ; i < len(f.expected) && !f.expected[i].by.After(now); i++ {
		e := f.expected[i]
		if e.t.Seq() < e.seq {
			late = append(late, e.t)
		} else {
			again = append(again, e.t)
		}
	}
	n := copy(f.expected, f.expected[i:])
	clear(f.expected[n:])
	f.expected = f.expected[:n]
	f.expMu.Unlock()
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
