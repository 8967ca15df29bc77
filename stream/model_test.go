package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

// modelLog is one document's log, of which the live feed and storage show what a real one may show.
type modelLog struct {
	mu      sync.Mutex
	rng     *rand.Rand
	recs    []Record
	trimmed int // records that only the folded state has
}

// Fill answers with the log as it is now; sometimes with a fold, sometimes with nothing but an error.
func (m *modelLog) Fill(_ context.Context, _ Doc, have Seq) (Filled, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rng.IntN(10) == 0 {
		return Filled{}, errors.New("not now")
	}
	if len(m.recs) == 0 {
		return Filled{}, nil
	}
	if m.rng.IntN(4) == 0 { // a compactor was here; the newest record stays
		m.trimmed = max(m.trimmed, m.rng.IntN(len(m.recs)))
	}
	f := Filled{Head: m.recs[len(m.recs)-1].Seq}
	from := 0
	for from < len(m.recs) && m.recs[from].Seq <= have {
		from++
	}
	if from < m.trimmed || from == 0 && m.trimmed > 0 || m.rng.IntN(20) == 0 && len(m.recs) > 1 {
		from = max(from, m.trimmed, 1)
		f.Base, f.Upto = []byte{}, m.recs[from-1].Seq
	}
	for _, r := range m.recs[from:] {
		r.Prev = 0
		f.Records = append(f.Records, r)
	}
	return f, nil
}

// modelSink checks what a Tail delivers against the log, as it comes.
type modelSink struct {
	m       *modelLog
	at      int // records covered
	last    Seq
	trouble error
	failed  error
}

func (s *modelSink) index(seq Seq) int {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for i, r := range s.m.recs {
		if r.Seq == seq {
			return i
		}
	}
	return -1
}

func (s *modelSink) Base(_ []byte, upto Seq) {
	if i := s.index(upto); i < s.at {
		s.trouble = errors.Join(s.trouble, fmt.Errorf("base up to record %d after %d", i, s.at-1))
	} else {
		s.at, s.last = i+1, upto
	}
}

func (s *modelSink) Record(r Record) {
	if i := s.index(r.Seq); i != s.at || string(r.Update) != fmt.Sprint(i) {
		s.trouble = errors.Join(s.trouble, fmt.Errorf("record %d %q after %d", i, r.Update, s.at-1))
	}
	s.at, s.last = s.at+1, r.Seq
}

func (s *modelSink) Flush()                                    {}
func (s *modelSink) Aware(string, []byte)                      {}
func (s *modelSink) Message(string, []byte, map[string]string) {}
func (s *modelSink) Failed(err error)                          { s.failed = err }

// TestTailPutsAnyFeedInOrder has a feed that loses, repeats and reorders, against storage that is compacted and fails: what
// is delivered is the log, each record once, in order, and in the end all of it.
func TestTailPutsAnyFeedInOrder(t *testing.T) {
	seeds := uint64(2000)
	if os.Getenv("YJET_LONG") == "1" {
		seeds = 50000
	}
	l := &Log{m: newMetrics(nil), log: slog.New(slog.DiscardHandler)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	defer func() {
		l.cancel()
		l.running.Wait()
	}()
	base := rand.Uint64()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range seeds {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := tailModel(l, base+i); err != nil {
				t.Errorf("seed %d: %v", base+i, err)
			}
		})
		if t.Failed() {
			break
		}
	}
	wg.Wait()
}

func tailModel(l *Log, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := &modelLog{rng: rand.New(rand.NewPCG(seed, 2))}
	s := &modelSink{m: m}
	f := newFeed(l)
	tl := &Tail{l: l, shard: &shard{}, doc: "d", feed: f, filler: m, sink: s}
	n := 5 + rng.IntN(60)
	var late []Record // on its way
	seq, prev := Seq(0), Seq(0)
	for i := range n {
		seq += 1 + Seq(rng.IntN(3))
		r := Record{Seq: seq, Prev: prev, Update: fmt.Append(nil, i)}
		prev = seq
		m.mu.Lock()
		m.recs = append(m.recs, r)
		m.mu.Unlock()
		switch rng.IntN(10) {
		case 0: // lost
		case 1:
			late = append(late, r, r)
		default:
			late = append(late, r)
		}
		if rng.IntN(8) == 0 {
			rng.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
		}
		for len(late) > 0 && rng.IntN(3) > 0 {
			tl.live(late[0])
			late = late[1:]
		}
		if rng.IntN(30) == 0 {
			tl.Check()
		}
	}
	for _, r := range late {
		tl.live(r)
	}
	deadline := time.Now().Add(20 * time.Second)
	for tl.Seq() != seq {
		tl.Check()
		if time.Now().After(deadline) {
			return fmt.Errorf("at %d, want %d", tl.Seq(), seq)
		}
		time.Sleep(100 * time.Microsecond)
	}
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.closed.Store(true)
	if s.trouble != nil || s.failed != nil || s.at != n {
		return fmt.Errorf("%d of %d records, failed %v: %w", s.at, n, s.failed, s.trouble)
	}
	return nil
}
