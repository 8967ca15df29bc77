package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/internal/natstest"
	"yjet/stream/jet"
	"yjet/stream/name"
)

func TestAppendedRecordsComeBackWithEverything(t *testing.T) {
	l, _ := open(t, Config{})
	made := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	w := l.Writer("notes/todo.md")
	entries := []Entry{
		{Update: []byte("plain")},
		{User: "a\r\nYjet-User: admin", Conn: " 100% \x00\x7f né 🙂 ", Merged: 3, Time: made, Update: []byte{}},
		{User: "b", Conn: "c2", Merged: 1, Update: []byte{0, 1, 2, 255}},
	}
	var seqs []Seq
	for _, e := range entries {
		s, err := appendAll(within(t, 10*time.Second), w, e)
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, s...)
	}
	got := checkLog(t, l, "notes/todo.md")
	if len(got) != len(entries) {
		t.Fatalf("got %d records, want %d", len(got), len(entries))
	}
	for i, r := range got {
		e := entries[i]
		if r.Seq != seqs[i] || r.User != e.User || r.Conn != e.Conn || r.Merged != max(e.Merged, 1) || string(r.Update) != string(e.Update) {
			t.Errorf("record %d is %+v, want seq %d and %+v", i, r, seqs[i], e)
		}
		if r.Sum.Writer == 0 || r.Sum.N != uint64(i+1) || !r.Intact() {
			t.Errorf("record %d has sum %v, want an intact one with n %d", i, r.Sum, i+1)
		}
		if d := time.Since(r.Stored); d < -time.Minute || d > time.Minute {
			t.Errorf("record %d was stored %v ago", i, d)
		}
	}
	if !got[1].Time.Equal(made) || !got[0].Time.Equal(got[0].Stored) {
		t.Errorf("times are %v and %v, want the time of storing and %v", got[0].Time, got[1].Time, made)
	}
	if h, err := l.Head(within(t, 10*time.Second), "notes/todo.md"); err != nil || h != seqs[2] {
		t.Errorf("head is %d, %v, want %d", h, err, seqs[2])
	}
	if h, err := l.Head(within(t, 10*time.Second), "never"); err != nil || h != 0 {
		t.Errorf("head of a new document is %d, %v, want 0", h, err)
	}
	r, ok, err := l.RecordAt(within(t, 10*time.Second), "notes/todo.md", seqs[1])
	if err != nil || !ok || r.Seq != seqs[1] || r.User != entries[1].User {
		t.Errorf("record at %d is %+v, %v, %v", seqs[1], r, ok, err)
	}
}

func TestAppendOfSeveralEntriesIsOneBatchInOrder(t *testing.T) {
	for _, durability := range []string{"disk", "process"} {
		t.Run(durability, func(t *testing.T) {
			l, _ := open(t, Config{Durability: durability})
			var entries []Entry
			for i := range jet.MaxBatch {
				entries = append(entries, Entry{Update: fmt.Append(nil, i)})
			}
			seqs, err := appendAll(within(t, 30*time.Second), l.Writer("d"), entries...)
			if err != nil {
				t.Fatal(err)
			}
			recs := checkLog(t, l, "d")
			if len(recs) != len(entries) || len(seqs) != len(entries) {
				t.Fatalf("%d records, %d sequences, want %d", len(recs), len(seqs), len(entries))
			}
			for i, r := range recs {
				if r.Seq != seqs[i] || string(r.Update) != fmt.Sprint(i) {
					t.Fatalf("record %d is %d %q, want %d %q", i, r.Seq, r.Update, seqs[i], fmt.Sprint(i))
				}
			}
			if n := value(l.m.commits.WithLabelValues("batch")); n != 1 {
				t.Errorf("%v batches, want 1", n)
			}
		})
	}
}

func TestManyWritersShareBatchesAndFewGoSingly(t *testing.T) {
	l, _ := open(t, Config{Shards: 1})
	const writers, each = 64, 20
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			w := l.Writer(docName(i))
			for n := range each {
				if _, err := appendAll(within(t, 30*time.Second), w, Entry{Update: fmt.Append(nil, n)}); err != nil {
					t.Errorf("append %d of %d: %v", n, i, err)
				}
			}
		})
	}
	wg.Wait()
	for i := range writers {
		recs := checkLog(t, l, docName(i))
		for n, r := range recs {
			if string(r.Update) != fmt.Sprint(n) {
				t.Fatalf("record %d of %d is %q", n, i, r.Update)
			}
		}
		if len(recs) != each {
			t.Errorf("%d records of %d, want %d", len(recs), i, each)
		}
	}
	if n := value(l.m.commits.WithLabelValues("batch")); n == 0 {
		t.Error("no batch, want some")
	}
	before := value(l.m.commits.WithLabelValues("single"))
	mustAppend(t, l.Writer("lonely"), "x")
	if n := value(l.m.commits.WithLabelValues("single")); n != before+1 {
		t.Errorf("a lonely append made %v singles, want 1", n-before)
	}
}

// TestWritersOfOneDocumentDoNotOvertake has many writers on one document: each one's records stay in order.
func TestWritersOfOneDocumentDoNotOvertake(t *testing.T) {
	for _, durability := range []string{"disk", "process"} {
		t.Run(durability, func(t *testing.T) {
			l, _ := open(t, Config{Durability: durability})
			var wg sync.WaitGroup
			for i := range 24 {
				wg.Go(func() {
					w := l.Writer("one")
					for n := 0; n < 20; n += 2 {
						if _, err := appendAll(within(t, 30*time.Second), w, Entry{Update: fmt.Append(nil, i, n)}, Entry{Update: fmt.Append(nil, i, n+1)}); err != nil {
							t.Errorf("append: %v", err)
						}
					}
				})
			}
			wg.Wait()
			if n := len(checkLog(t, l, "one")); n != 24*20 {
				t.Errorf("%d records, want %d", n, 24*20)
			}
		})
	}
}

func TestTooLargeUpdatesAreRefusedAndTheWriterGoesOn(t *testing.T) {
	l, _ := open(t, Config{}, natstest.MaxPayload(64<<10))
	if got, want := l.MaxUpdate(), 64<<10-headerRoom; got != want {
		t.Errorf("MaxUpdate is %d, want %d", got, want)
	}
	w := l.Writer("big")
	_, err := appendAll(within(t, 10*time.Second), w, Entry{Update: make([]byte, l.MaxUpdate()+1)})
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte above the limit: got %v, want ErrTooLarge", err)
	}
	long := strings.Repeat("u", maxIdentity)
	if _, err := appendAll(within(t, 10*time.Second), w, Entry{User: long + "u", Update: []byte("x")}); !errors.Is(err, ErrIdentity) {
		t.Errorf("user of %d bytes: got %v, want ErrIdentity", len(long)+1, err)
	}
	// The largest of all at once fits into the room that is left for headers, also within a batch.
	e := Entry{User: long, Conn: long, Merged: 1000, Time: time.Now(), Update: make([]byte, l.MaxUpdate())}
	w = l.Writer(Doc(strings.Repeat("é", 127)))
	if _, err := appendAll(within(t, 10*time.Second), w, e, e); err != nil {
		t.Errorf("the largest update: %v", err)
	}
	if n := len(checkLog(t, l, Doc(strings.Repeat("é", 127)))); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

func TestAppendIfNewStoresOnlyOnce(t *testing.T) {
	l, srv := open(t, Config{})
	other := openOn(t, srv, Config{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored, conflicts := 0, 0
	for i := range 16 {
		wg.Go(func() {
			by := l
			if i%2 == 0 {
				by = other
			}
			_, err := by.AppendIfNew(within(t, 10*time.Second), "seed", Entry{Update: fmt.Append(nil, i)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				stored++
			case errors.Is(err, ErrConflict):
				conflicts++
			default:
				t.Errorf("seed %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if stored != 1 || conflicts != 15 {
		t.Errorf("%d stored and %d conflicts, want 1 and 15", stored, conflicts)
	}
	if n := len(checkLog(t, l, "seed")); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

func TestAppendGivesUpWithItsContext(t *testing.T) {
	l, srv := open(t, Config{})
	w := l.Writer("d")
	mustAppend(t, w, "1")
	srv.Stop()
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan result, 1)
	w.Append(ctx, []Entry{{Update: []byte("2")}}, func(s []Seq, err error) { ch <- result{s, err} })
	cause := errors.New("the room is closed")
	cancel(cause)
	if r := <-ch; !errors.Is(r.err, ErrGaveUp) || !errors.Is(r.err, cause) {
		t.Errorf("got %v, want ErrGaveUp and the cause", r.err)
	}
	if _, err := appendAll(within(t, time.Second), w, Entry{Update: []byte("3")}); !errors.Is(err, ErrGaveUp) {
		t.Errorf("a spent writer: got %v, want ErrGaveUp", err)
	}
	srv.Restart()
	mustAppend(t, l.Writer("d"), "4")
	checkLog(t, l, "d")
}

func TestCloseGivesUpWhatIsUnderWay(t *testing.T) {
	l, srv := open(t, Config{})
	srv.Stop()
	ch := make(chan result, 100)
	for i := range 100 {
		l.Writer(docName(i%7)).Append(context.Background(), []Entry{{Update: []byte("x")}}, func(s []Seq, err error) { ch <- result{s, err} })
	}
	l.Close()
	for range 100 {
		if r := <-ch; !errors.Is(r.err, ErrGaveUp) {
			t.Fatalf("got %v, want ErrGaveUp", r.err)
		}
	}
	if _, err := appendAll(context.Background(), l.Writer("late"), Entry{}); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: got %v, want ErrClosed", err)
	}
}

// TestRestartsUnderAppends stops and starts NATS while writers append: everything acknowledged is there, in each writer's
// order, without a hole; what was stored twice is known as such.
func TestRestartsUnderAppends(t *testing.T) {
	l, srv := open(t, Config{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	acked := make([]int, 24)
	for i := range acked {
		wg.Go(func() {
			w := l.Writer(docName(i % 12))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := appendAll(within(t, 30*time.Second), w, Entry{Update: fmt.Appendf(nil, "%d:%d", i, n)}); err != nil {
					t.Errorf("append %d by %d: %v", n, i, err)
					return
				}
				acked[i] = n + 1
			}
		})
	}
	for range 4 {
		before := value(l.m.records)
		eventually(t, "appends go on", func() bool { return value(l.m.records) > before+500 })
		srv.Restart()
	}
	before := value(l.m.records)
	eventually(t, "appends go on", func() bool { return value(l.m.records) > before+500 })
	close(stop)
	wg.Wait()
	seen := make([]int, len(acked))
	for d := range 12 {
		var c Checker
		for _, r := range replay(t, l, docName(d), 0, 0) {
			dup, err := c.Add(r)
			if err != nil {
				t.Errorf("log of %d: %v", d, err)
			}
			if dup {
				continue
			}
			var i, n int
			fmt.Sscanf(string(r.Update), "%d:%d", &i, &n)
			if n != seen[i] {
				t.Fatalf("writer %d: record %d, want %d", i, n, seen[i])
			}
			seen[i]++
		}
		if c.Duplicates > 0 {
			t.Logf("document %d: %d records stored twice", d, c.Duplicates)
		}
	}
	for i := range acked {
		if seen[i] < acked[i] {
			t.Errorf("writer %d: %d records in the log, %d acknowledged", i, seen[i], acked[i])
		}
	}
}

// TestStoreErrorStopsAcknowledging fills a stream to its limit: an error of the store, which ends when there is room again.
func TestStoreErrorStopsAcknowledging(t *testing.T) {
	l, _ := open(t, Config{Shards: 1})
	w := l.Writer("d")
	mustAppend(t, w, "1")
	limit := func(n int64) {
		t.Helper()
		s, err := streams(t, l).Stream(within(t, 5*time.Second), "YDOC_00")
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxBytes = n
		if _, err := streams(t, l).UpdateStream(within(t, 5*time.Second), cfg); err != nil {
			t.Fatal(err)
		}
	}
	limit(2000)
	if _, err := appendAll(within(t, 10*time.Second), w, Entry{Update: make([]byte, 4000)}); !errors.Is(err, ErrFault) {
		t.Errorf("append beyond the limit: got %v, want ErrFault", err)
	}
	if h := l.Health(within(t, 5*time.Second)); !errors.Is(h.Err, ErrFault) {
		t.Errorf("health is %v, want ErrFault", h.Err)
	}
	if _, err := appendAll(within(t, 10*time.Second), l.Writer("other"), Entry{Update: []byte("small")}); !errors.Is(err, ErrFault) {
		t.Errorf("append during the fault: got %v, want ErrFault", err)
	}
	limit(-1)
	eventually(t, "the fault ends", func() bool { return l.Health(within(t, 5*time.Second)).Err == nil })
	mustAppend(t, l.Writer("d"), "2")
	if n := len(checkLog(t, l, "d")); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

func TestRecordsOfOtherProgramsAreTakenAndMarked(t *testing.T) {
	l, srv := open(t, Config{})
	_, s := tail(t, l, "d")
	nc := srv.Connect()
	subject := l.shardOf("d").no.Subject(name.Log, "d")
	for _, m := range []*nats.Msg{
		{Subject: subject, Data: []byte("bare")},
		{Subject: subject, Header: nats.Header{"Yjet-Sum": {"nonsense"}, "Yjet-N": {"-4"}, "Yjet-Time": {"soon"}}, Data: []byte("odd")},
		{Subject: subject, Header: nats.Header{"Yjet-Sum": {"00000000-0000000000000001-1"}}, Data: []byte("wrong sum")},
	} {
		if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three records", func() bool { return s.len() == 3 })
	var c Checker
	for i, r := range replay(t, l, "d", 0, 0) {
		_, err := c.Add(r)
		if i < 2 && (err != nil || r.Sum != Sum{} || r.Merged != 1 || !r.Time.Equal(r.Stored)) {
			t.Errorf("record %d is %+v, %v", i, r, err)
		}
		if i == 2 && !errors.Is(err, ErrDamaged) {
			t.Errorf("wrong sum: got %v, want ErrDamaged", err)
		}
	}
	if c.Outside != 2 || c.Faults != 1 {
		t.Errorf("%d from outside and %d faults, want 2 and 1", c.Outside, c.Faults)
	}
}

// Whoever may append may write any header, those too that NATS adds to what it returns, and some that are no headers at all.
func TestForgedHeadersHideNoRecord(t *testing.T) {
	l, srv := open(t, Config{})
	live, s := tail(t, l, "d")
	nc := srv.Connect()
	subject := l.shardOf("d").no.Subject(name.Log, "d")
	if _, err := appendAll(within(t, 5*time.Second), l.Writer("d"), Entry{Update: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	for _, h := range []nats.Header{
		{jet.HdrSeq: {"999999"}, jet.HdrLast: {"1"}, "Nats-Subject": {"ydoc.00.other"}, "Nats-Time-Stamp": {"never"}},
		{jet.HdrSeq: {"1"}}, {jet.HdrSeq: {"x"}}, {"Status": {"404"}, "Description": {"No Results"}}, {"Status": {"204"}}, {"Status": {"503"}},
	} {
		if _, err := nc.RequestMsg(&nats.Msg{Subject: subject, Header: h, Data: []byte("forged")}, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := srv.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	go io.Copy(io.Discard, raw)
	for _, h := range []string{"NATS/1.0 404 No Messages\r\n\r\n", "NATS/1.0\r\nno header\r\n\r\n"} {
		fmt.Fprintf(raw, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %d %d\r\n%sraw\r\n", subject, len(h), len(h)+3, h)
	}
	eventually(t, "all records", func() bool { head, err := l.Head(within(t, 5*time.Second), "d"); return err == nil && head == 9 })
	if _, err := appendAll(within(t, 5*time.Second), l.Writer("d"), Entry{Update: []byte("last")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last record", func() bool { return live.Seq() == 10 })
	if n := s.len(); n != 10 {
		t.Errorf("the tail has %d records, want 10", n)
	}
	all := replay(t, l, "d", 0, 0)
	for i, r := range all {
		if r.Seq != Seq(i+1) {
			t.Errorf("record %d has sequence %d", i+1, r.Seq)
		}
	}
	if len(all) != 10 || string(all[9].Update) != "last" {
		t.Errorf("%d records in the log, want 10", len(all))
	}
}

func TestLongAppendsGoInSeveralBatchesAndWhatBelongsTogetherInOne(t *testing.T) {
	for _, durability := range []string{"disk", "process"} {
		t.Run(durability, func(t *testing.T) {
			l, _ := open(t, Config{Durability: durability})
			entries := make([]Entry, 2500)
			for i := range entries {
				entries[i].Update = fmt.Append(nil, i)
				entries[i].WithNext = i >= 995 && i < 1200 // does not fit into what is left of the first batch
			}
			seqs, err := appendAll(within(t, 30*time.Second), l.Writer("d"), entries...)
			if err != nil || len(seqs) != len(entries) {
				t.Fatalf("%d sequences, %v", len(seqs), err)
			}
			for i, r := range checkLog(t, l, "d") {
				if string(r.Update) != fmt.Sprint(i) || r.Seq != seqs[i] {
					t.Fatalf("record %d is %d %q", i, r.Seq, r.Update)
				}
			}
			if n := value(l.m.commits.WithLabelValues("batch")); n < 3 || n > 4 {
				t.Errorf("%v batches, want 3 or 4", n)
			}
			two := []Entry{{Update: []byte("a"), WithNext: true}, {Update: []byte("b")}}
			before := value(l.m.commits.WithLabelValues("single"))
			if _, err := appendAll(within(t, 30*time.Second), l.Writer("d"), two...); err != nil {
				t.Fatal(err)
			}
			if n := value(l.m.commits.WithLabelValues("single")) - before; n != 0 {
				t.Errorf("parts of one update went as %v singles", n)
			}
			if _, err := appendAll(within(t, time.Second), l.Writer("d"), two[0]); err == nil {
				t.Error("an entry without its next was stored")
			}
			run := make([]Entry, jet.MaxBatch+1)
			for i := range jet.MaxBatch {
				run[i].WithNext = true
			}
			if _, err := appendAll(within(t, time.Second), l.Writer("d"), run...); !errors.Is(err, ErrTooLarge) {
				t.Errorf("more together than a batch takes: got %v, want ErrTooLarge", err)
			}
		})
	}
}

func TestSeedInSeveralPartsIsWholeAndOnce(t *testing.T) {
	l, srv := open(t, Config{})
	seedWholeAndOnce(t, l, openOn(t, srv, Config{}), openOn(t, srv, Config{}))
}

// seedWholeAndOnce: parts of one update are there all together, once, whichever server was first.
func seedWholeAndOnce(t *testing.T, servers ...*Log) {
	t.Helper()
	for round := range 5 {
		doc := Doc(fmt.Sprintf("seed/%d", round))
		_, s := tail(t, servers[0], doc)
		var wg sync.WaitGroup
		var won atomic.Int32
		for i, l := range servers {
			wg.Go(func() {
				parts := []Entry{{Update: fmt.Append(nil, i, " a")}, {Update: fmt.Append(nil, i, " b")}, {Update: fmt.Append(nil, i, " c")}}
				switch seq, err := l.AppendIfNew(within(t, 10*time.Second), doc, parts...); {
				case err == nil && seq > 0:
					won.Add(1)
				case !errors.Is(err, ErrConflict):
					t.Errorf("AppendIfNew = %d, %v; want a sequence or ErrConflict", seq, err)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Errorf("%d servers have seeded %q, want 1", n, doc)
		}
		recs := checkLog(t, servers[0], doc)
		if len(recs) != 3 || recs[0].Update[0] != recs[2].Update[0] {
			t.Fatalf("got %d records, want the three of one server", len(recs))
		}
		eventually(t, "the tail to have them", func() bool { return s.len() == 3 })
		if _, err := servers[0].AppendIfNew(within(t, 10*time.Second), doc, Entry{Update: []byte("late")}, Entry{Update: []byte("too")}); !errors.Is(err, ErrConflict) {
			t.Errorf("seeding again = %v, want ErrConflict", err)
		}
	}
}

func TestErrorsOfTheConnectionAreTransient(t *testing.T) {
	for _, err := range []error{io.ErrClosedPipe, fmt.Errorf("write: %w", net.ErrClosed), &net.OpError{Op: "write", Err: errors.New("broken pipe")}, nats.ErrNoResponders, nats.ErrTimeout} {
		if !jet.Transient(err) {
			t.Errorf("%v is final, want another try", err)
		}
	}
	for _, err := range []error{ErrConflict, ErrTooLarge, errors.New("anything")} {
		if jet.Transient(err) {
			t.Errorf("%v is tried again", err)
		}
	}
}

func TestAppendAtStoresOnlyAfterItsHead(t *testing.T) {
	l, srv := open(t, Config{})
	servers := []*Log{l, openOn(t, srv, Config{})}
	head, err := l.AppendIfNew(within(t, 10*time.Second), "at", Entry{Update: []byte("seed")})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 4 {
		var wg sync.WaitGroup
		seqs := make(chan Seq, 8)
		for i := range 8 {
			wg.Go(func() {
				parts := []Entry{{Update: fmt.Append(nil, i, " a")}, {Update: fmt.Append(nil, i, " b")}}[:1+round%2]
				switch seq, err := servers[i%2].AppendAt(within(t, 10*time.Second), "at", head, parts...); {
				case err == nil:
					seqs <- seq
				case !errors.Is(err, ErrConflict):
					t.Errorf("round %d, server %d: %v; want a sequence or ErrConflict", round, i%2, err)
				}
			})
		}
		wg.Wait()
		if n := len(seqs); n != 1 {
			t.Fatalf("round %d: %d appends at record %d, want 1", round, n, head)
		}
		if _, err := l.AppendAt(within(t, 10*time.Second), "at", head, Entry{Update: []byte("late")}); !errors.Is(err, ErrConflict) {
			t.Errorf("round %d: an append at a former head = %v, want ErrConflict", round, err)
		}
		head = <-seqs
		if last, err := l.Head(within(t, 10*time.Second), "at"); err != nil || last != head {
			t.Errorf("round %d: the head is %d, %v; the append answered %d", round, last, err, head)
		}
	}
	if n := len(checkLog(t, l, "at")); n != 7 {
		t.Errorf("%d records, want the seed and 1, 2, 1 and 2", n)
	}
}
