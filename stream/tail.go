package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Filled is the stored part of a document after a given sequence: a folded state where one is needed, then every record after it up to
// Head. Where Base is nil, the records begin right after the given sequence.
type Filled struct {
	Base    []byte // nil: not needed
	Upto    Seq    // Base covers the records through Upto
	Records []Record
	Head    Seq // the leader's head when it was read; 0: the document has no record
}

// Filler reads the stored part of a document after have. It reads the head from the leader, then the log, then the snapshot head from
// the leader, and repeats until the result reaches the head. Errors that wrap ErrLost, ErrDamaged, ErrErased or ErrRewound end the
// Tail; after others the Tail tries again.
type Filler interface {
	Fill(ctx context.Context, doc Doc, have Seq) (Filled, error)
}

// Sink receives one open document. Calls are made one at a time, from a few goroutines that many documents share (during
// Tail, from its caller's): none may block. A Sink may call the methods of its Tail.
type Sink interface {
	Base(update []byte, upto Seq)                             // a folded state: the first load, or one that covers a gap
	Record(r Record)                                          // in sequence order, each once, none left out
	Flush()                                                   // the end of a burst: write to the sockets now
	Aware(node string, payload []byte)                        // another server's awareness update
	Message(node string, payload []byte, h map[string]string) // a custom message of another server or program
	Failed(err error)                                         // the Tail has ended: ErrLost, ErrDamaged, ErrErased, ErrRewound
}

// Tail follows one document. It owns no goroutine: the Log's repair workers read the records that it missed.
type Tail struct {
	l      *Log
	doc    Doc
	shard  *shard
	feed   *feed
	filler Filler
	sink   Sink
	subs   [3]*nats.Subscription // by subLive, subAware, subMsg; changed under the feed's mu

	listenMu sync.Mutex // held during Listen: two calls do not subscribe twice
	listens  bool       // guarded by listenMu

	seq      atomic.Uint64
	expected atomic.Uint64
	awaiting atomic.Bool // an expectation is noted in the feed
	closed   atomic.Bool

	mu      sync.Mutex // held during calls of the sink, so they come one at a time and in order; guards the fields below
	filling bool       // live records are kept back
	kept    []Record
	keptLen int  // bytes of kept
	spilled bool // more arrived than may be kept: the rest must be read from the log
	held    bool // the next record is held back: resume goes on from here
	dirty   bool // the sink has something to flush

	repairing repairState // guarded by the Log's repairMu
	foundBy   string      // guarded by the Log's repairMu: how the gap was found: order, ack or head

	// Owned by the worker that repairs.
	read     int // records and bases that fill has delivered
	failures int
	since    time.Time
}

// Places in Tail.subs.
const (
	subLive = iota
	subAware
	subMsg
)

const (
	maxKept      = 4096
	maxKeptBytes = 8 << 20
)

// Tail subscribes, then reads the stored records through f, and returns when s has everything up to the head. From then on s gets every
// record that any server stores, until Close or Failed. It retries until ctx ends.
func (l *Log) Tail(ctx context.Context, doc Doc, f Filler, s Sink) (*Tail, error) {
	path := doc.Path()
	sh := l.shardOf(path)
	t := &Tail{l: l, doc: doc, shard: sh, feed: l.feeds[int(sh.no)%len(l.feeds)], filler: f, sink: s, filling: true, repairing: repairRuns}
	sub, err := l.nc.ChanSubscribe(sh.no.Subject(name.Live, path), t.feed.live)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", doc, err)
	}
	// A message that arrives before this line is dropped. It is stored already, and f reads it below.
	t.feed.mu.Lock()
	t.subs[subLive] = sub
	t.feed.subs[sub] = t
	t.feed.mu.Unlock()
	l.m.tails.Inc()
	// The server must know of the subscription before the head is read.
	err = jet.Flush(ctx, l.nc)
	for attempt := 0; err == nil; attempt++ {
		var done bool
		if done, err = t.fill(ctx); done || err != nil && final(err) {
			break
		}
		if err == nil && attempt < 3 {
			continue
		}
		if cause := jet.Pause(ctx, jet.Backoff(attempt)); cause != nil {
			err = errors.Join(err, cause)
		} else {
			err = nil
		}
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("open %q: %w", doc, err)
	}
	t.repaired()
	if !l.cfg.Embedded {
		// In a cluster the stream's leader learns of our subscription a little later than our server does. Records stored between the
		// reading of the head and that moment are missed.
		time.AfterFunc(time.Second, t.Check)
	}
	return t, nil
}

// Listen subscribes the sink to awareness and custom messages too, from before it returns until Close. Documents without connected
// clients do not need it: each of the two subscriptions costs some 900 bytes. Calling it again does nothing.
func (t *Tail) Listen(ctx context.Context) error {
	t.listenMu.Lock()
	defer t.listenMu.Unlock()
	if t.listens || t.closed.Load() {
		return nil
	}
	path := t.doc.Path()
	for i, kind := range map[int]name.Kind{subAware: name.Aware, subMsg: name.Message} {
		sub, err := t.l.nc.ChanSubscribe(t.shard.no.Subject(kind, path), t.feed.soft)
		if err != nil {
			return fmt.Errorf("subscribe to %q: %w", t.doc, err)
		}
		t.feed.mu.Lock()
		if t.closed.Load() {
			t.feed.mu.Unlock()
			sub.Unsubscribe()
			return nil
		}
		old := t.subs[i]
		delete(t.feed.subs, old)
		t.subs[i] = sub
		t.feed.subs[sub] = t
		t.feed.mu.Unlock()
		if old != nil {
			old.Unsubscribe() // of a call that failed half-way
		}
	}
	if err := jet.Flush(ctx, t.l.nc); err != nil {
		return err
	}
	t.listens = true
	return nil
}

// final errors end a Tail.
func final(err error) bool {
	return errors.Is(err, ErrLost) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrErased) || errors.Is(err, ErrRewound)
}

// Seq is the sequence of the newest record that the sink has.
func (t *Tail) Seq() Seq { return Seq(t.seq.Load()) }

// Expect announces that seq is stored: unless it arrives within 100 ms, the Tail reads it from the log.
func (t *Tail) Expect(seq Seq) {
	if t.Seq() >= seq || t.closed.Load() {
		return
	}
	for {
		old := t.expected.Load()
		if old >= uint64(seq) || t.expected.CompareAndSwap(old, uint64(seq)) {
			break
		}
	}
	if t.awaiting.CompareAndSwap(false, true) {
		t.feed.expect(t, seq)
	}
}

// Check queues a comparison with the head, which reads the records that the Tail has missed.
func (t *Tail) Check() { t.repair("head") }

// behind reports whether live records wait until they are on disk, or until a running repair ends.
func (t *Tail) behind() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.filling
}

// Close ends the Tail. One call of the sink may still be running, or just about to start, when Close returns.
func (t *Tail) Close() {
	if t.closed.Swap(true) {
		return
	}
	t.feed.mu.Lock()
	subs := t.subs
	for _, sub := range subs {
		delete(t.feed.subs, sub)
	}
	t.feed.mu.Unlock()
	for _, sub := range subs {
		if sub != nil {
			sub.Unsubscribe()
		}
	}
	t.l.m.tails.Dec()
}

// live takes a record from the feed. dirtied reports that the sink needs its first flush in this burst.
func (t *Tail) live(r Record) (dirtied bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() {
		return false
	}
	if t.filling {
		t.keep(r)
		return false
	}
	switch have := t.Seq(); {
	case r.Seq <= have:
		t.l.m.liveDuplicates.Inc()
		return false
	case r.Prev != have:
		t.filling = true
		t.keep(r)
		t.repair("order")
		return false
	}
	if t.shard.holdback.holds(r.Sum.Writer, t) {
		t.filling, t.held = true, true
		t.keep(r)
		return false
	}
	t.deliver(r)
	dirtied, t.dirty = !t.dirty, true
	return dirtied
}

func (t *Tail) keep(r Record) {
	if t.spilled || len(t.kept) >= maxKept || t.keptLen+len(r.Update) > maxKeptBytes && len(t.kept) > 0 {
		t.kept, t.keptLen, t.spilled = nil, 0, true
		return
	}
	t.kept = append(t.kept, r)
	t.keptLen += len(r.Update)
}

func (t *Tail) deliver(r Record) {
	t.seq.Store(uint64(r.Seq))
	t.sink.Record(r)
}

func (t *Tail) soft(m *nats.Msg, node string) (dirtied bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() {
		return false
	}
	if m.Sub == t.subs[subAware] {
		t.sink.Aware(node, m.Data)
	} else {
		h := make(map[string]string, len(m.Header))
		for k, v := range m.Header {
			if k != name.HdrNode && len(v) > 0 {
				h[k] = name.UnescapeHeader(v[0])
			}
		}
		t.sink.Message(node, m.Data, h)
	}
	dirtied, t.dirty = !t.dirty, true
	return dirtied
}

func (t *Tail) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dirty && !t.closed.Load() {
		t.sink.Flush()
	}
	t.dirty = false
}

// fill reads the stored part after the Tail's sequence once and delivers it to the sink. done reports that no record is missing and
// live records are delivered directly again.
func (t *Tail) fill(ctx context.Context) (done bool, err error) {
	have := t.Seq()
	if err := t.begunAnew(ctx, have); err != nil {
		return false, err
	}
	got, err := t.filler.Fill(ctx, t.doc, have)
	if err == nil && got.Head < have {
		// A new leader may not have applied all records that the previous one acknowledged.
		if err = t.shard.caughtUp(ctx, have); err == nil {
			got, err = t.filler.Fill(ctx, t.doc, have)
		}
	}
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() {
		return true, nil
	}
	switch {
	case got.Head == 0 && have > 0:
		return false, fmt.Errorf("%w: %q had record %d and has none", ErrErased, t.doc, have)
	case got.Head < have:
		return false, fmt.Errorf("%w: %q ends at %d and had record %d", ErrRewound, t.doc, got.Head, have)
	}
	// Without a known gap the live feed went on meanwhile: records that it delivered are skipped.
	if got.Base != nil && got.Upto > t.Seq() {
		t.seq.Store(uint64(got.Upto))
		t.sink.Base(got.Base, got.Upto)
		t.read++
		t.dirty = true
	}
	t.held = false
	for _, r := range got.Records {
		if t.closed.Load() {
			return true, nil
		}
		if r.Seq <= t.Seq() {
			continue
		}
		if t.shard.holdback.holds(r.Sum.Writer, t) {
			// The record is in the store, but perhaps not on disk. It is read again when that is known.
			t.held, t.spilled, t.filling = true, true, true
			t.kept, t.keptLen = nil, 0
			break
		}
		t.deliver(r)
		t.read++
		t.dirty = true
	}
	if !t.held {
		if t.Seq() < got.Head {
			err = fmt.Errorf("stream: %q was read to %d, want %d", t.doc, t.Seq(), got.Head)
		} else {
			t.takeKept()
		}
		done = err == nil && len(t.kept) == 0 && !t.spilled
		t.filling = !done
		if !t.held {
			t.spilled = false
		}
	}
	if t.held {
		done = true // resume goes on from here
	}
	if t.dirty {
		t.sink.Flush()
		t.dirty = false
	}
	return done, err
}

// begunAnew returns ErrErased where a kept record is marked as the first of its document, and the leader confirms it.
func (t *Tail) begunAnew(ctx context.Context, have Seq) error {
	first := false
	t.mu.Lock()
	for _, r := range t.kept {
		first = first || r.Prev == 0 && have > 0 && r.Seq > have
	}
	t.mu.Unlock()
	if !first {
		return nil
	}
	erased, err := t.l.erasedAfter(ctx, t.doc, have)
	if err == nil && erased {
		err = fmt.Errorf("%w: %q had record %d and begins anew", ErrErased, t.doc, have)
	}
	return err
}

// OpenHeads returns the sequence of every document that has a Tail here.
func (l *Log) OpenHeads() map[Doc]Seq {
	heads := make(map[Doc]Seq)
	for _, f := range l.feeds {
		f.mu.RLock()
		for sub, t := range f.subs {
			if sub == t.subs[subLive] {
				heads[t.doc] = max(heads[t.doc], t.Seq())
			}
		}
		f.mu.RUnlock()
	}
	return heads
}
