package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/internal/natstest"
	"yjet/internal/yjs"
	"yjet/stream"
)

// The one law under load: while authors write and three stores fold and crash at every step, whoever joins has every update that
// was acknowledged before it asked, and whoever stays gets every one that comes, although two in a hundred messages of the live
// feed are lost on the way.

const liveLoss = 0.02

func TestReadersAmongRacingAndCrashingFoldsMissNothing(t *testing.T) {
	h := newHouse(t, natstest.Listen(t))
	lossy := natstest.StartLossy(t, h.srv, "ylive.", liveLoss)
	stress(t, h, h.lossyLog(stream.Config{Embedded: true}, lossy), 400, 4)
}

// TestReadersMissNothingWhileTheServerRestarts is the same with one node that is stopped and started all the time.
func TestReadersMissNothingWhileTheServerRestarts(t *testing.T) {
	if !long {
		t.Skip("takes minutes: set YJET_LONG=1")
	}
	h := newHouse(t, natstest.Listen(t))
	lossy := natstest.StartLossy(t, h.srv, "ylive.", liveLoss)
	defer restarting(func(int) *natstest.Server { return h.srv })()
	stress(t, h, h.lossyLog(stream.Config{Embedded: true}, lossy), longReplays(t), 8)
}

// TestReadersMissNothingWhileLeadersRestart is the same on three nodes, with the one that leads a stream stopped and started all
// the time.
func TestReadersMissNothingWhileLeadersRestart(t *testing.T) {
	if !long {
		t.Skip("takes minutes: set YJET_LONG=1")
	}
	h, c := newCluster(t)
	var lossy []*natstest.Lossy
	for _, n := range c.Nodes {
		lossy = append(lossy, natstest.StartLossy(t, n, "ylive.", liveLoss))
	}
	defer restarting(func(i int) *natstest.Server {
		return c.StreamLeader([]string{"YDOC_00", "YSNAP_00", "YDOC_01", "YSNAP_01"}[i%4])
	})()
	stress(t, h, h.lossyLog(stream.Config{}, lossy...), longReplays(t), 8)
}

// longReplays is how many joins a long run makes: 20,000, or what YJET_REPLAYS says.
func longReplays(t *testing.T) int {
	s := os.Getenv("YJET_REPLAYS")
	if s == "" {
		return 20_000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("YJET_REPLAYS: %v", err)
	}
	return n
}

// restarting stops the node that next picks, and starts it again, until it is told to end.
func restarting(next func(i int) *natstest.Server) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Second):
			}
			n := next(i)
			if n == nil {
				continue
			}
			n.Stop()
			select {
			case <-stop:
			case <-time.After(2 * time.Second):
			}
			n.Restart()
		}
	}()
	return func() { close(stop); <-done }
}

// lossyLog is another process whose connections go through lossy networks.
func (h *house) lossyLog(cfg stream.Config, through ...*natstest.Lossy) *stream.Log {
	h.t.Helper()
	var urls []string
	for _, p := range through {
		urls = append(urls, p.URL())
	}
	nc, bulk, err := stream.Dial(strings.Join(urls, ","), nats.IgnoreDiscoveredServers())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		nc.Close()
		bulk.Close()
		for _, p := range through {
			h.t.Logf("%d live messages lost", p.Lost.Load())
			if p.Lost.Load() == 0 && len(through) == 1 {
				h.t.Error("no live message was lost: the test proves nothing")
			}
		}
	})
	cfg.Log = quiet()
	log, err := stream.Open(h.ctx, nc, bulk, cfg)
	if err != nil {
		h.t.Fatalf("open the log: %v", err)
	}
	h.t.Cleanup(func() { _ = log.Close() })
	return log
}

// follower is a reader that has joined a document. It knows how far it has come with each client, and what went wrong.
type follower struct {
	mu     sync.Mutex
	have   yjs.StateVector
	last   stream.Seq
	faults []string
}

func (f *follower) Base(update []byte, upto stream.Seq) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have, err := yjs.VectorOf(update)
	if err != nil {
		f.faults = append(f.faults, fmt.Sprintf("base up to %d: %v", upto, err))
	}
	for client, was := range f.have {
		if have[client] < was {
			f.faults = append(f.faults, fmt.Sprintf("base up to %d has %d of %d, before it were %d", upto, have[client], client, was))
		}
	}
	f.have, f.last = have, upto
}

func (f *follower) Record(r stream.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var u yjs.Update
	if err := u.Parse(r.Update, yjs.Limits{}); err != nil {
		f.faults = append(f.faults, fmt.Sprintf("record %d: %v", r.Seq, err))
	}
	if r.Seq <= f.last {
		f.faults = append(f.faults, fmt.Sprintf("record %d after %d", r.Seq, f.last))
	}
	f.last = r.Seq
	for _, run := range u.Runs() {
		if have := f.have[run.Client]; run.Clock > have {
			f.faults = append(f.faults, fmt.Sprintf("record %d begins at %d of %d, before it were %d", r.Seq, run.Clock, run.Client, have))
		}
		f.have[run.Client] = max(f.have[run.Client], run.End())
	}
}

func (f *follower) Flush()                                    {}
func (f *follower) Aware(string, []byte)                      {}
func (f *follower) Message(string, []byte, map[string]string) {}

func (f *follower) Failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, err.Error())
}

// lacks tells what is missing of the first n characters of each author, "" if nothing is.
func (f *follower) lacks(authors []*author, n uint64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range authors {
		if f.have[a.client] < n {
			return fmt.Sprintf("%d of %d characters of %s", f.have[a.client], n, a.user)
		}
	}
	return ""
}

// stress has authors write through h, stores fold on h, and readers join and follow through the lossy log.
func stress(t *testing.T, h *house, lossy *stream.Log, replays, docs int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	stop, turns := make(chan struct{}), make(chan struct{}, 8)
	turn := func() {
		select {
		case turns <- struct{}{}:
		default:
		}
	}
	var wg sync.WaitGroup
	var crashes, folds, raced atomic.Int64
	type book struct {
		mu      sync.Mutex
		acked   uint64 // characters acknowledged, of each author the same
		authors []*author
	}
	books := make([]*book, docs)
	known := func(b *book) uint64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.acked
	}
	for d := range books {
		b := &book{}
		books[d] = b
		doc := stream.Doc(fmt.Sprintf("stress/%d", d))
		for k := range 2 {
			b.authors = append(b.authors, h.author(doc, fmt.Sprint("author", k)))
		}
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(d)))
			for {
				select { // a few updates for each replay, so that documents grow with the test and not with the machine
				case <-stop:
					return
				case <-turns:
				}
				text := strings.Repeat("x", 1+rnd.IntN(20))
				if b.acked == 0 && d == 0 {
					text = strings.Repeat("long", 80<<10) // one document in chunks
				}
				for _, a := range b.authors {
					if _, err := a.try(a.entry(text)); err != nil {
						t.Errorf("append: %v", err)
						return
					}
				}
				b.mu.Lock()
				b.acked += uint64(len(text))
				b.mu.Unlock()
			}
		})
	}
	for k := range 3 {
		s := h.store(Options{})
		rnd := rand.New(rand.NewPCG(seed, 100+uint64(k)))
		s.failpoint = func(stream.Doc, string) error {
			if rnd.IntN(12) == 0 {
				crashes.Add(1)
				return errCrash
			}
			return nil
		}
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := s.fold(h.ctx, books[rnd.IntN(docs)].authors[0].doc, always)
				switch {
				case err == nil:
					folds.Add(1)
				case errors.Is(err, ErrRaced):
					raced.Add(1)
				case !errors.Is(err, errCrash):
					t.Errorf("fold: %v", err)
				}
			}
		})
	}
	reader := New(lossy, Options{Log: quiet()})
	defer reader.Close(context.Background())
	var left, incomplete atomic.Int64
	left.Store(int64(replays))
	began := time.Now()
	var readers sync.WaitGroup
	for k := range 4 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 200+uint64(k)))
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				if n%1000 == 0 && n > 0 {
					t.Logf("%d to go after %v", n, time.Since(began).Round(time.Second))
				}
				turn()
				b := books[rnd.IntN(docs)]
				doc, acked := b.authors[0].doc, known(b)
				f := &follower{have: yjs.StateVector{}}
				tail, err := lossy.Tail(h.ctx, doc, reader, f)
				if err != nil {
					t.Errorf("tail: %v", err)
					return
				}
				if l := f.lacks(b.authors, acked); l != "" {
					incomplete.Add(1)
					t.Errorf("a replay of %q has %s", doc, l)
				}
				// It stays until something new has come.
				for deadline := time.Now().Add(time.Minute); known(b) == acked; turn() {
					if time.Now().After(deadline) {
						t.Errorf("nobody could write to %q for a minute", doc)
						return
					}
					time.Sleep(time.Millisecond)
				}
				acked = known(b)
				for deadline := time.Now().Add(time.Minute); f.lacks(b.authors, acked) != ""; turn() { // the record after a lost one betrays it
					if time.Now().After(deadline) {
						incomplete.Add(1)
						t.Errorf("a follower of %q has %s after a minute", doc, f.lacks(b.authors, acked))
						return
					}
					time.Sleep(time.Millisecond)
				}
				tail.Close()
				f.mu.Lock()
				if len(f.faults) > 0 {
					incomplete.Add(1)
					t.Errorf("a follower of %q: %q", doc, f.faults)
				}
				f.mu.Unlock()
			}
		})
	}
	readers.Wait()
	close(stop)
	wg.Wait()
	end := h.store(Options{})
	for _, b := range books {
		doc := b.authors[0].doc
		mustFold(t, end, doc)
		if _, err := end.sweepDoc(h.ctx, doc, 0); err != nil {
			t.Fatal(err)
		}
		head, _, err := end.snapHead(h.ctx, doc)
		if err != nil {
			t.Fatal(err)
		}
		h.wantBlobs(end, doc, head)
		var updates [][]byte
		for r, err := range end.Records(h.ctx, doc, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			updates = append(updates, r.Update)
		}
		if got, want := filled(t, end, doc), foldOf(t, updates...); !bytes.Equal(got, want) {
			t.Errorf("%q: snapshot and tail differ from the fold of all %d records", doc, len(updates))
		}
		if _, err := end.VerifyDoc(h.ctx, doc); err != nil {
			t.Errorf("verify %q: %v", doc, err)
		}
	}
	t.Logf("%d replays, %d incomplete; %d folds, %d raced, %d crashes", replays, incomplete.Load(), folds.Load(), raced.Load(), crashes.Load())
	if crashes.Load() == 0 || folds.Load() == 0 {
		t.Error("nothing was folded or nothing crashed: the test proves nothing")
	}
}
