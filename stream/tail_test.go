package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

func TestTailJoinsReplayToLive(t *testing.T) {
	l, srv := open(t, Config{})
	other := openOn(t, srv, Config{})
	const docs, writers, each = 3, 8, 60
	var wg sync.WaitGroup
	for i := range writers {
		by := l
		if i%2 == 1 {
			by = other
		}
		wg.Go(func() {
			w := by.Writer(docName(i % docs))
			for n := range each {
				if _, err := appendAll(within(t, 30*time.Second), w, Entry{Update: fmt.Appendf(nil, "%d:%d", i, n)}); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	// Tails join at any moment, on both servers.
	var mu sync.Mutex
	sinks := map[*sink]Doc{}
	for i := range 30 {
		by := l
		if i%3 == 0 {
			by = other
		}
		time.Sleep(rand.N(5 * time.Millisecond)) // spreads the joins; nothing depends on it
		wg.Go(func() {
			_, s := tail(t, by, docName(i%docs))
			mu.Lock()
			sinks[s] = docName(i % docs)
			mu.Unlock()
		})
	}
	wg.Wait()
	for s, doc := range sinks {
		want := len(replay(t, l, doc, 0, 0))
		eventually(t, "all records", func() bool { return s.len() >= want })
		sameAsLog(t, l, doc, s)
		if s.flushes == 0 {
			t.Error("a sink was never flushed")
		}
	}
}

func TestOneTailOfManyDoesNotDisturbTheOthers(t *testing.T) {
	l, _ := open(t, Config{})
	a, sa := tail(t, l, "d")
	_, sb := tail(t, l, "d")
	w := l.Writer("d")
	mustAppend(t, w, "1")
	eventually(t, "one record each", func() bool { return sa.len() == 1 && sb.len() == 1 })
	a.Close()
	a.Close()
	mustAppend(t, w, "2")
	eventually(t, "the second", func() bool { return sb.len() == 2 })
	if sa.len() != 1 {
		t.Errorf("a closed tail delivered %d records, want 1", sa.len())
	}
}

// lossy has every feed of l lose a share of the live messages.
func lossy(l *Log, share float64) (lost *atomic.Int64) {
	lost = new(atomic.Int64)
	for _, f := range l.feeds {
		f.mu.Lock() // before any message: no tail is open
		f.drop = func(string) bool {
			if rand.Float64() < share {
				lost.Add(1)
				return true
			}
			return false
		}
		f.mu.Unlock()
	}
	return lost
}

func TestLostLiveMessagesAreReadFromTheLog(t *testing.T) {
	l, srv := open(t, Config{})
	reader := openOn(t, srv, Config{})
	lost := lossy(reader, 0.02)
	const docs = 6
	var tails []*Tail
	var sinks []*sink
	for i := range docs {
		tl, s := tail(t, reader, docName(i))
		tails, sinks = append(tails, tl), append(sinks, s)
	}
	var wg sync.WaitGroup
	for i := range docs {
		wg.Go(func() {
			w := l.Writer(docName(i))
			for n := range 300 {
				seqs, err := appendAll(within(t, 30*time.Second), w, Entry{Update: fmt.Append(nil, n)})
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				if n == 299 {
					tails[i].Expect(seqs[0]) // the last has no successor to betray its loss
				}
			}
		})
	}
	wg.Wait()
	for i, s := range sinks {
		eventually(t, "all records", func() bool { return s.len() == 300 })
		sameAsLog(t, l, docName(i), s)
	}
	if lost.Load() == 0 {
		t.Error("nothing was lost: the test proves nothing")
	}
	t.Logf("%d live messages lost, gaps: order %v, ack %v", lost.Load(),
		value(reader.m.gaps.WithLabelValues("order")), value(reader.m.gaps.WithLabelValues("ack")))
}

func TestTheLastRecordIsMissedOnlyUntilItsAcknowledgement(t *testing.T) {
	l, _ := open(t, Config{})
	lossy(l, 1)
	tl, s := tail(t, l, "d")
	w := l.Writer("d")
	for n := range 5 {
		start := time.Now()
		tl.Expect(mustAppend(t, w, fmt.Sprint(n))[0])
		eventually(t, "the record", func() bool { return s.len() == n+1 })
		if took := time.Since(start); took < ackRule/2 {
			t.Errorf("a lost record came after %v: it was not lost", took)
		}
	}
	sameAsLog(t, l, "d", s)
}

func TestComparingHeadsFindsWhatNobodyExpects(t *testing.T) {
	l, srv := open(t, Config{})
	reader := openOn(t, srv, Config{})
	lossy(reader, 1)
	var sinks []*sink
	for i := range 40 {
		mustAppend(t, l.Writer(docName(i)), "before")
		_, s := tail(t, reader, docName(i))
		sinks = append(sinks, s)
	}
	for round := range 3 {
		for i := range sinks {
			if i%2 == 0 {
				mustAppend(t, l.Writer(docName(i)), "missed")
			}
		}
		reader.compareSoon()
		for i, s := range sinks {
			want := 1
			if i%2 == 0 {
				want += round + 1
			}
			eventually(t, "what was missed", func() bool { return s.len() == want })
			sameAsLog(t, l, docName(i), s)
		}
	}
}

func TestCheckFindsOneMissedRecord(t *testing.T) {
	l, srv := open(t, Config{})
	reader := openOn(t, srv, Config{})
	lossy(reader, 1)
	tl, s := tail(t, reader, "d")
	mustAppend(t, l.Writer("d"), "x")
	tl.Check()
	eventually(t, "the record", func() bool { return s.len() == 1 })
}

// TestCutConnectionsLoseNothing takes the server away under tails and writers: both go on by themselves.
func TestCutConnectionsLoseNothing(t *testing.T) {
	l, srv := open(t, Config{})
	reader := openOn(t, srv, Config{})
	var sinks []*sink
	for i := range 8 {
		_, s := tail(t, reader, docName(i))
		sinks = append(sinks, s)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var stored atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			w := l.Writer(docName(i))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := appendAll(within(t, 30*time.Second), w, Entry{Update: fmt.Append(nil, n)}); err != nil {
					t.Errorf("append: %v", err)
					return
				}
				stored.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		at := stored.Load() + n
		eventually(t, "appends go on", func() bool { return stored.Load() >= at })
	}
	for i := range 6 {
		more(200)
		if i%3 == 2 {
			srv.Restart()
			continue
		}
		// Only the reader's live connection, as a network would: the writers do not notice.
		reader.nc.ForceReconnect()
	}
	more(200)
	close(stop)
	wg.Wait()
	for i, s := range sinks {
		want := len(replay(t, l, docName(i), 0, 0))
		eventually(t, fmt.Sprintf("all %d records of %d (have %d)", want, i, s.len()), func() bool { return s.len() >= want })
		sameAsLog(t, l, docName(i), s)
	}
}

func TestAnErasedDocumentEndsItsTail(t *testing.T) {
	l, srv := open(t, Config{})
	for name, after := range map[string]func(*Tail){
		"and begun anew": func(*Tail) { mustAppend(t, l.Writer("d"), "new") },
		"and checked":    func(tl *Tail) { tl.Check() },
	} {
		t.Run(name, func(t *testing.T) {
			mustAppend(t, l.Writer("d"), "old")
			tl, s := tail(t, openOn(t, srv, Config{}), "d")
			if err := l.Erase(within(t, 10*time.Second), "d"); err != nil {
				t.Fatal(err)
			}
			after(tl)
			eventually(t, "the tail to fail", func() bool { return s.failed() != nil })
			if !errors.Is(s.failed(), ErrErased) {
				t.Errorf("got %v, want ErrErased", s.failed())
			}
			if err := l.Erase(within(t, 10*time.Second), "d"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// scripted is a Filler whose answers the test decides.
type scripted func(have Seq) (Filled, error)

func (f scripted) Fill(_ context.Context, _ Doc, have Seq) (Filled, error) { return f(have) }

func TestTailTakesAFoldedStateForWhatTheLogNoLongerHas(t *testing.T) {
	l, _ := open(t, Config{})
	w := l.Writer("d")
	s1 := mustAppend(t, w, "1")[0]
	s := &sink{t: t}
	folded := Seq(0)
	tl, err := l.Tail(within(t, 10*time.Second), "d", scripted(func(have Seq) (Filled, error) {
		f, err := logOnly{l}.Fill(context.Background(), "d", max(have, folded))
		if folded > have {
			f.Base, f.Upto = []byte("folded"), folded
		}
		return f, err
	}), s)
	if err != nil {
		t.Fatal(err)
	}
	defer tl.Close()
	// The live feed loses everything until the log is trimmed.
	sub := tl.subs[0]
	l.feeds[int(l.shardOf("d").no)%len(l.feeds)].mu.Lock()
	delete(tl.feed.subs, sub)
	l.feeds[int(l.shardOf("d").no)%len(l.feeds)].mu.Unlock()
	mustAppend(t, w, "2")
	s3 := mustAppend(t, w, "3")[0]
	folded = s3
	if err := l.Trim(within(t, 10*time.Second), "d", s3); err != nil {
		t.Fatal(err)
	}
	tl.feed.mu.Lock()
	tl.feed.subs[sub] = tl
	tl.feed.mu.Unlock()
	s4 := mustAppend(t, w, "4")[0]
	eventually(t, "the newest", func() bool { return tl.Seq() == s4 })
	got := s.got()
	if len(got) != 2 || got[0].Seq != s1 || got[1].Seq != s4 || len(s.bases) != 1 || s.bases[0] != s3 {
		t.Errorf("records %+v and bases %v, want %d, a base at %d, and %d", got, s.bases, s1, s3, s4)
	}
	if recs := replay(t, l, "d", 0, 0); len(recs) != 2 || recs[0].Seq != s3 {
		t.Errorf("after trimming the log holds %+v, want %d and %d", recs, s3, s4)
	}
}

func TestAFillerThatFailsForGoodEndsTheTailAndOthersAreAskedAgain(t *testing.T) {
	l, _ := open(t, Config{})
	mustAppend(t, l.Writer("d"), "1", "2")
	if _, err := l.Tail(within(t, 10*time.Second), "d", scripted(func(Seq) (Filled, error) { return Filled{}, fmt.Errorf("torn: %w", ErrLost) }), &sink{t: t}); !errors.Is(err, ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
	calls := 0
	tl, err := l.Tail(within(t, 10*time.Second), "d", scripted(func(have Seq) (Filled, error) {
		if calls++; calls < 4 {
			return Filled{}, errors.New("not now")
		}
		return logOnly{l}.Fill(context.Background(), "d", have)
	}), &sink{t: t})
	if err != nil {
		t.Fatalf("after %d calls: %v", calls, err)
	}
	tl.Close()
	if _, err := l.Tail(within(t, 100*time.Millisecond), "d", scripted(func(Seq) (Filled, error) { return Filled{}, errors.New("never") }), &sink{t: t}); err == nil || !strings.Contains(err.Error(), "never") {
		t.Errorf("got %v, want the filler's error", err)
	}
	tl, err = l.Tail(within(t, 10*time.Second), "d", scripted(func(have Seq) (Filled, error) {
		if have == 0 {
			return logOnly{l}.Fill(context.Background(), "d", have)
		}
		return Filled{Head: have - 1}, nil
	}), &sink{t: t})
	if err != nil {
		t.Fatal(err)
	}
	defer tl.Close()
	tl.Check()
	s := tl.sink.(*sink)
	eventually(t, "the tail to fail", func() bool { return s.failed() != nil })
	if !errors.Is(s.failed(), ErrRewound) {
		t.Errorf("a log that ends before us: got %v, want ErrRewound", s.failed())
	}
}

// TestALeaderThatCatchesUpIsAskedAgain: who has just become the leader answers for a moment as if the newest records, or all of a
// document's, were not there.
func TestALeaderThatCatchesUpIsAskedAgain(t *testing.T) {
	l, _ := open(t, Config{})
	w := l.Writer("d")
	mustAppend(t, w, "1", "2")
	for _, behind := range []Filled{{}, {Head: 1}} {
		var answered atomic.Int32
		s := &sink{t: t}
		tl, err := l.Tail(within(t, 10*time.Second), "d", scripted(func(have Seq) (Filled, error) {
			if have > 0 {
				if answered.Add(1) == 1 {
					return behind, nil
				}
			}
			return logOnly{l}.Fill(context.Background(), "d", have)
		}), s)
		if err != nil {
			t.Fatal(err)
		}
		tl.Check()
		seq := mustAppend(t, w, "3")[0]
		eventually(t, "the next record, or a failure", func() bool { return tl.Seq() == seq && answered.Load() > 1 || s.failed() != nil })
		if s.failed() != nil {
			t.Errorf("after the answer %+v: %v", behind, s.failed())
		}
		tl.Close()
	}
}

func TestMoreLiveRecordsThanMayBeKeptAreReadFromTheLog(t *testing.T) {
	l, _ := open(t, Config{Durability: "process"})
	mustAppend(t, l.Writer("d"), "first")
	s := &sink{t: t}
	hold, held := make(chan struct{}), make(chan struct{})
	first := true
	done := make(chan *Tail)
	go func() {
		tl, err := l.Tail(within(t, 60*time.Second), "d", scripted(func(have Seq) (Filled, error) {
			f, err := logOnly{l}.Fill(context.Background(), "d", have)
			if first {
				first = false
				close(held)
				<-hold
			}
			return f, err
		}), s)
		if err != nil {
			t.Error(err)
		}
		done <- tl
	}()
	<-held
	w := l.Writer("d")
	var last Seq
	for range 5 {
		entries := make([]Entry, jet.MaxBatch)
		for i := range entries {
			entries[i].Update = fmt.Append(nil, i)
		}
		seqs, err := appendAll(within(t, 30*time.Second), w, entries...)
		if err != nil {
			t.Fatal(err)
		}
		last = seqs[len(seqs)-1]
	}
	eventually(t, "the live feed", func() bool { return value(l.m.liveRecords) >= 5*jet.MaxBatch })
	close(hold)
	tl := <-done
	defer tl.Close()
	eventually(t, "the last record", func() bool { return tl.Seq() == last })
	sameAsLog(t, l, "d", s)
}

func TestAwarenessAndMessagesReachOtherServersOnly(t *testing.T) {
	l, srv := open(t, Config{})
	other := openOn(t, srv, Config{})
	listening := func(l *Log, doc Doc) *sink {
		tl, s := tail(t, l, doc)
		for range 2 { // again is fine
			if err := tl.Listen(within(t, 10*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	mine, theirs, stranger := listening(l, "a.b"), listening(other, "a.b"), listening(other, "a/b")
	if err := l.PublishAware("a.b", []byte("cursor")); err != nil {
		t.Fatal(err)
	}
	if err := l.PublishMessage("a.b", []byte("custom"), map[string]string{"Kind": "x\r\nEvil: 1"}); err != nil {
		t.Fatal(err)
	}
	if err := other.PublishMessage("a.b", []byte("back"), nil); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "Nats-Batch-Id", "nats-expected-stream", "A B", "A:B", "A\r\nB", name.HdrNode} {
		if err := l.PublishMessage("a.b", nil, map[string]string{bad: "x"}); err == nil {
			t.Errorf("header %q was taken", bad)
		}
	}
	nc := srv.Connect()
	if err := nc.PublishMsg(&nats.Msg{Subject: l.shardOf(Doc("a.b").Path()).no.Subject(name.Message, Doc("a.b").Path()), Data: []byte("program")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all messages", func() bool {
		mine.mu.Lock()
		theirs.mu.Lock()
		defer mine.mu.Unlock()
		defer theirs.mu.Unlock()
		return len(mine.messages) == 2 && len(theirs.messages) == 2 && len(theirs.aware) == 1
	})
	if want := l.Node() + " cursor"; theirs.aware[0] != want || len(mine.aware) != 0 {
		t.Errorf("awareness: theirs %q, mine %q; want %q and none", theirs.aware, mine.aware, want)
	}
	if theirs.messages[0] != l.Node()+" custom" && theirs.messages[1] != l.Node()+" custom" {
		t.Errorf("messages: %q", theirs.messages)
	}
	for _, h := range theirs.headers {
		if h["Kind"] != "" && h["Kind"] != "x\r\nEvil: 1" || h["Evil"] != "" || h[name.HdrNode] != "" {
			t.Errorf("headers: %q", h)
		}
	}
	if n := len(stranger.messages) + len(stranger.aware); n != 0 {
		t.Errorf("%d messages reached another document", n)
	}
}

func TestMessagesByHandOnTheLiveFeedAreNothing(t *testing.T) {
	l, srv := open(t, Config{})
	_, s := tail(t, l, "d")
	nc := srv.Connect()
	if err := nc.Publish(l.shardOf("d").no.Subject(name.Live, "d"), []byte("forged")); err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	mustAppend(t, l.Writer("d"), "true")
	eventually(t, "the true record", func() bool { return s.len() == 1 })
	sameAsLog(t, l, "d", s)
}

// Slowness is no loss: what is on its way, or held back until it is on disk, is not read again.
func TestALossIsProvenByALaterRecordOrBySilence(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name    string
		passed  uint64        // sequence of the shard that came by
		moved   time.Duration // since the feed brought something
		waited  time.Duration // since the acknowledgement
		await   int           // records that are on their way
		filling bool
		want    bool
	}{
		{"a later record came by", 8, 0, ackRule, 1000, false, true},
		{"only earlier ones came by, just now", 6, time.Millisecond, ackRule, 1, false, false},
		{"few are on their way and nothing came", 6, time.Minute, ackRule, 1, false, true},
		{"many are on their way and nothing came for a moment", 6, 2 * ackRule, 2 * ackRule, 1000, false, false},
		{"many are on their way and nothing came for long", 6, loadRule, loadRule, 1000, false, true},
		{"many are on their way and the feed moves", 6, ackRule, time.Minute, 1000, false, false},
		{"the tail holds it back", 8, time.Minute, time.Minute, 1, true, false},
	} {
		tl := &Tail{shard: &shard{}, filling: c.filling}
		tl.seq.Store(5)
		tl.shard.passed.Store(c.passed)
		tl.shard.movedAt.Store(now.Add(-c.moved).UnixNano())
		e := expectation{t: tl, seq: 7, since: now.Add(-c.waited)}
		if got := e.lost(now, c.await); got != c.want {
			t.Errorf("%s: got lost %v, want %v", c.name, got, c.want)
		}
	}
}
