package stream

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Each shard has one committer, which decides how records are published:
//
//  1. Appends that arrive while a commit is under way wait for the next one; no timer delays a commit to gather more.
//  2. Few records go as single messages, at most one per document at a time; from batchFrom on they go as one atomic batch
//     (NATS decision record ADR-50), which costs one sync of the disk whatever its size.
//  3. Entries that must be stored together always go in one atomic batch.
//  4. A commit that was not acknowledged in time is sent again. Until it is acknowledged, its documents are held: no later record of
//     them is sent, from any Writer.
//
// With more than one replica, or without a sync per message, there is nothing to share: then appends of different documents
// go out as they come, up to a window, and group in the server.
const (
	batchFrom     = 10                      // records: a batch of fewer costs more than single messages
	chainProcess  = 32                      // records of one append: without a sync per message, up to this many are cheaper one by one
	chainCluster  = 3                       // the same in a cluster, where each acknowledgement crosses the network and a batch is staged in memory
	maxGroupBytes = 16 << 20                // of one commit, unless entries that are stored together are larger
	maxRunBytes   = 64 << 20                // of entries that are stored together
	window        = 2048                    // records under way where commits are not grouped
	windowBytes   = 16 << 20                // and their bytes
	maxBatches    = 8                       // batches under way: NATS allows 50 per stream, shared by all servers
	ackSoon       = 2500 * time.Millisecond // the same in a cluster, of at most soonBytes
	soonBytes     = 64 << 10
	commitTick    = 100 * time.Millisecond // interval of the checks for ended contexts and late acknowledgements
	lateFor       = time.Minute            // a late acknowledgement is still accepted for this long
)

type shard struct {
	// Set by newShard, then only read.
	l       *Log
	no      name.Shard
	stream  string
	grouped bool // commits share a sync: one group at a time
	chain   int  // an append of more entries than this goes as a batch of its own
	acks    chan *nats.Msg
	ackSub  *nats.Subscription
	inbox   string // prefix of the reply subjects
	wake    chan struct{}

	mu     sync.Mutex // held for a few instructions only: Append takes it, and it never waits for the committer
	queue  []*pending // guarded by mu: submitted, not yet taken by the committer
	closed bool       // guarded by mu: the committer has ended and takes no more

	reconnected atomic.Uint64
	holdback    holdback
	oldest      atomic.Int64  // unix nanoseconds: submission of the oldest append without acknowledgement; 0: there is none
	checking    atomic.Bool   // the connection was away: appends wait until the stream's end is verified
	highest     atomic.Uint64 // sequence known to be stored
	passed      atomic.Uint64 // highest sequence received on the live feed; written by the feed's goroutine alone
	movedAt     atomic.Int64  // unix nanoseconds: arrival of the shard's last record on the live feed
	marked      atomic.Uint64 // sequence of the shard mark
	epoch       atomic.Uint64
	lostEnd     atomic.Pointer[string] // the note of the last lost end, for Health; nil: none
	underway    atomic.Int64           // bytes that wait for an acknowledgement, for WatchLink

	// Owned by the committer.
	waiting []*pending            // ready to send, oldest first
	blocked map[string][]*pending // waiting for an append of the same document, by path
	held    map[string]bool       // documents with an append under way or to be resent
	again   []*pending            // to be resent when due; their documents are held
	flights map[uint64]*flight
	nextID  uint64
	flying  int // records under way, late ones not counted
	bytes   int
	batches int
	spare   []*pending
}

func newShard(l *Log, no name.Shard) (*shard, error) {
	s := &shard{
		l: l, no: no, stream: no.Stream(name.Log),
		grouped:  l.cfg.Replicas == 1 && l.cfg.Durability != "process",
		acks:     make(chan *nats.Msg, 4*window),
		inbox:    nats.NewInbox() + ".",
		wake:     make(chan struct{}, 1),
		holdback: holdback{failed: l.findOut},
		blocked:  map[string][]*pending{}, held: map[string]bool{}, flights: map[uint64]*flight{},
	}
	switch {
	case s.grouped:
		s.chain = batchFrom - 1
	case l.cfg.Replicas == 1:
		s.chain = chainProcess
	default:
		s.chain = chainCluster
	}
	var err error
	if s.ackSub, err = l.nc.ChanSubscribe(s.inbox+"*", s.acks); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return s, nil
}

func (s *shard) submit(p *pending) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		go p.finish(nil, fmt.Errorf("%w: %w", ErrGaveUp, ErrClosed)) // the committer that calls done has ended
		return
	}
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	s.nudge()
}

func (s *shard) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the committer. It ends with the Log.
func (s *shard) run() {
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	ticking := false
	epoch := s.reconnected.Load()
	for {
		select {
		case <-s.wake:
		case m := <-s.acks:
			s.acked(m)
			for n := len(s.acks); n > 0; n-- {
				s.acked(<-s.acks)
			}
		case <-tick.C:
			ticking = false
			s.sweep(time.Now())
		case <-s.l.ctx.Done():
			s.stop()
			return
		}
		if e := s.reconnected.Load(); e != epoch {
			epoch = e
			s.resend(epoch)
		}
		s.take()
		s.send()
		if len(s.flights)+len(s.again)+len(s.waiting) == 0 {
			s.oldest.Store(0)
		} else if !ticking {
			tick.Reset(commitTick)
			ticking = true
		}
	}
}

// take moves the submitted appends to waiting, in order.
func (s *shard) take() {
	s.mu.Lock()
	q := s.queue
	s.queue = s.spare[:0]
	s.mu.Unlock()
	for i, p := range q {
		q[i] = nil
		if p.refused != nil {
			p.finished = true
			p.finish(nil, p.refused)
			continue
		}
		s.waiting = append(s.waiting, p)
	}
	s.spare = q
}

// send starts every commit that may start now.
func (s *shard) send() {
	if len(s.waiting)+len(s.again) == 0 {
		return
	}
	if fault := s.l.fault.Load(); fault != nil {
		for _, p := range s.waiting {
			s.finish(p, nil, fault)
		}
		s.waiting = s.waiting[:0]
		for _, p := range s.again {
			s.finish(p, nil, fault)
			s.release(p.w.path)
		}
		s.again = s.again[:0]
		// release moved blocked appends to waiting; fail those too.
		if len(s.waiting) > 0 {
			s.send()
		}
		return
	}
	for s.room() {
		group, records := s.pick()
		if len(group) == 0 {
			return
		}
		s.launch(group, records)
	}
}

func (s *shard) room() bool {
	if s.checking.Load() || !s.l.nc.IsConnected() {
		return false // the keeper wakes the committer when the check has ended
	}
	if s.grouped {
		return s.flying == 0
	}
	return s.flying < window && s.bytes < windowBytes && s.batches < maxBatches
}

// pick chooses the appends of the next commit, within its bounds: first those that are due to be sent again, then the waiting ones in
// order. It holds their documents.
func (s *shard) pick() (group []part, records int) {
	limit := jet.MaxBatch
	if !s.grouped {
		limit = max(1, min(limit, window-s.flying))
	}
	size, batches, alone := 0, s.batches, false
	choose := func(p *pending) bool {
		c := p.chunk(jet.MaxBatch)
		n, bytes := c.to-c.from, c.bytes()
		switch {
		case len(group) == 0:
		case alone || p.alone, !s.grouped && n > s.chain && batches >= maxBatches, records+n > limit, size+bytes > maxGroupBytes:
			return false
		}
		group = append(group, c)
		records += n
		size += bytes
		alone = alone || p.alone
		if n > s.chain {
			batches++
		}
		return true
	}
	now := time.Now()
	rest := s.again[:0]
	for _, p := range s.again {
		if p.due.After(now) || !choose(p) {
			rest = append(rest, p)
		}
	}
	clear(s.again[len(rest):])
	s.again = rest

	taken := 0
	var mine map[string]bool // documents chosen from waiting: one batch may hold several appends of one
choosing:
	for _, p := range s.waiting {
		switch {
		case p.finished:
		case s.held[p.w.path] && !(mine[p.w.path] && s.grouped):
			s.blocked[p.w.path] = append(s.blocked[p.w.path], p)
		case !choose(p):
			break choosing
		default:
			if mine == nil {
				mine = make(map[string]bool)
			}
			mine[p.w.path] = true
			s.held[p.w.path] = true
			if group[len(group)-1].to < len(p.entries) {
				delete(mine, p.w.path) // its rest must precede later appends of the document
			}
		}
		taken++
	}
	n := copy(s.waiting, s.waiting[taken:])
	clear(s.waiting[n:])
	s.waiting = s.waiting[:n]
	return group, records
}

// launch sends a group: as one batch, or document by document.
func (s *shard) launch(group []part, records int) {
	if s.grouped && records >= batchFrom {
		s.fly(group)
		return
	}
	var seen map[string]bool
	if len(group) > 1 {
		seen = make(map[string]bool, len(group))
	}
	for _, c := range group {
		if seen[c.w.path] {
			// A second append of the same document waits for the first.
			s.blocked[c.w.path] = append(s.blocked[c.w.path], c.pending)
			continue
		}
		if seen != nil {
			seen[c.w.path] = true
		}
		s.flyNext(c.pending)
	}
}

// release makes the next blocked append of a document ready to send.
func (s *shard) release(path string) {
	delete(s.held, path)
	if q := s.blocked[path]; len(q) > 0 {
		s.waiting = append(s.waiting, q...)
		delete(s.blocked, path)
	}
}

func (s *shard) finish(p *pending, seqs []Seq, err error) {
	if p.finished {
		return
	}
	p.finished = true
	p.finish(seqs, err)
	s.holdback.end(p.writer, err != nil)
}

// stop fails all appends that are not stored.
func (s *shard) stop() {
	s.ackSub.Unsubscribe()
	s.mu.Lock()
	s.closed = true
	q := s.queue
	s.queue = nil
	s.mu.Unlock()
	err := fmt.Errorf("%w: %w", ErrGaveUp, ErrClosed)
	for _, f := range s.flights {
		for _, c := range f.members {
			s.finish(c.pending, nil, err)
		}
	}
	for _, list := range append([][]*pending{q, s.again, s.waiting}, values(s.blocked)...) {
		for _, p := range list {
			s.finish(p, nil, err)
		}
	}
}

func values(m map[string][]*pending) (out [][]*pending) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}
