package stream

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/internal/natstest"
	"yjet/stream/jet"
	"yjet/stream/name"
)

// modelDoc is what a document's log holds.
type modelDoc struct {
	doc  Doc
	w    *Writer
	seqs []Seq
	sums []uint32
	keep Seq // trimmed below
}

// between is what a replay has to yield.
func (d *modelDoc) between(after, upto Seq) (seqs []Seq, sums []uint32) {
	for i, s := range d.seqs {
		if s > after && s <= upto && s >= d.keep {
			seqs, sums = append(seqs, s), append(sums, d.sums[i])
		}
	}
	return seqs, sums
}

// head is the last sequence that is known to be stored.
func (d *modelDoc) head() Seq {
	if len(d.seqs) == 0 {
		return 0
	}
	return d.seqs[len(d.seqs)-1]
}

// consumers counts those that the stream has.
func consumers(t testing.TB, nc *nats.Conn, stream string) int {
	t.Helper()
	m, err := nc.Request("$JS.API.STREAM.INFO."+stream, nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		State struct {
			Consumers *int `json:"consumer_count"`
		} `json:"state"`
	}
	if err := json.Unmarshal(m.Data, &info); err != nil || info.State.Consumers == nil {
		t.Fatalf("stream info %s: %v", m.Data, err)
	}
	return *info.State.Consumers
}

// noConsumers waits until replays have deleted their consumers, for less than NATS would let them be idle.
func noConsumers(t testing.TB, nc *nats.Conn) {
	t.Helper()
	for start := time.Now(); consumers(t, nc, "YDOC_00") > 0; time.Sleep(2 * time.Millisecond) {
		if time.Since(start) > jet.ConsumerIdle/2 {
			t.Fatalf("%d consumers were not deleted", consumers(t, nc, "YDOC_00"))
		}
	}
}

// requests counts what is published on a subject from now on.
func requests(t testing.TB, nc *nats.Conn, subject string) (count func() int64) {
	t.Helper()
	var n atomic.Int64
	sub, err := nc.Subscribe(subject, func(*nats.Msg) { n.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	return func() int64 {
		sub.Unsubscribe() // what a subject without listeners says is part of the protocol
		nc.Flush()
		return n.Load()
	}
}

// TestReplayYieldsWhatTheModelHolds replays random parts of documents that share a shard very unequally, while they are written
// to: runs and single records, gaps where others write and where the log was trimmed, records that end a batch by their bytes and
// one that is longer than a batch may be, records of other programs.
func TestReplayYieldsWhatTheModelHolds(t *testing.T) {
	l, srv := open(t, Config{Shards: 1, Durability: "process"}, natstest.Process)
	nc := srv.Connect()
	asked := requests(t, nc, "$JS.API.CONSUMER.CREATE.>")
	seed := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("YJET_SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("YJET_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))

	var mu sync.Mutex // of the model: what is in it is stored
	docs := []*modelDoc{{doc: "long"}, {doc: "spread"}, {doc: "heavy"}, {doc: "few"}}
	for _, d := range docs {
		d.w = l.Writer(d.doc)
	}
	add := func(rnd *rand.Rand, d *modelDoc, n, size int) {
		t.Helper()
		entries := make([]Entry, n)
		sums := make([]uint32, n)
		for i := range entries {
			u := make([]byte, 8+rnd.IntN(size))
			for k := range 8 {
				u[k] = byte(rnd.Uint32())
			}
			entries[i] = Entry{User: "ann", Update: u}
			sums[i] = crc32.ChecksumIEEE(u)
		}
		seqs, err := appendAll(within(t, 60*time.Second), d.w, entries...)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		d.seqs, d.sums = append(d.seqs, seqs...), append(d.sums, sums...)
		mu.Unlock()
	}
	// others are records of another program, which only has to be heard by the stream.
	others := func(d *modelDoc, h nats.Header) {
		t.Helper()
		u := fmt.Append(nil, "other ", rnd.Uint64())
		m, err := nc.RequestMsg(&nats.Msg{Subject: l.shards[0].no.Subject(name.Log, d.doc.Path()), Header: h, Data: u}, 5*time.Second)
		var ack struct{ Seq Seq }
		if err != nil || json.Unmarshal(m.Data, &ack) != nil || ack.Seq == 0 {
			t.Fatalf("append beside: %v", err)
		}
		d.seqs, d.sums = append(d.seqs, ack.Seq), append(d.sums, crc32.ChecksumIEEE(u))
	}
	long, spread, heavy, few := docs[0], docs[1], docs[2], docs[3]
	for i := range 24 {
		add(rnd, long, 1+rnd.IntN(500), 60)
		for range 60 {
			add(rnd, spread, 1, 60)
			if rnd.IntN(3) == 0 {
				add(rnd, long, 1+rnd.IntN(2), 60)
			}
			if rnd.IntN(20) == 0 {
				add(rnd, few, 1, 60)
			}
		}
		add(rnd, spread, 10, 300)
		add(rnd, heavy, 40+rnd.IntN(40), 20)
		add(rnd, heavy, 1+rnd.IntN(6), 300_000)
		others(long, nil)
		others(long, nats.Header{jet.HdrSeq: {"x"}, "Status": {"404"}, "Description": {"No Results"}})
		if i == 12 {
			add(rnd, heavy, 1, 20)
			add(rnd, long, 1, 2*replayBytes)
			add(rnd, heavy, 1, 8*replayBytes)
			add(rnd, heavy, 2, 8*replayBytes)
		}
	}
	for _, d := range []*modelDoc{long, heavy, few} {
		keep := d.seqs[rnd.IntN(len(d.seqs)/4)] + Seq(rnd.IntN(2))
		if err := l.Trim(within(t, 10*time.Second), d.doc, keep); err != nil {
			t.Fatal(err)
		}
		d.keep = keep
	}

	before := l.bulk.NumSubscriptions()
	stop := make(chan struct{})
	var wg, readers sync.WaitGroup
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 2))
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				add(rnd, docs[rnd.IntN(len(docs))], 1+rnd.IntN(20), 60)
			}
		}
	})
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for reader := range uint64(3) {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 3+reader))
			for range rounds {
				d := docs[rnd.IntN(3)]
				if rnd.IntN(8) == 0 {
					d = few
				}
				mu.Lock()
				head := d.head()
				mu.Unlock()
				var after, upto Seq
				if rnd.IntN(3) > 0 {
					after = Seq(rnd.Uint64N(uint64(head)))
				}
				if rnd.IntN(3) > 0 {
					upto = after + Seq(rnd.Uint64N(uint64(head-after)+1)) // upto 0 is the head
				}
				enough := 1 << 30
				if rnd.IntN(3) == 0 {
					enough = 1 + rnd.IntN(4000)
				}
				var got []Record
				for r, err := range l.Replay(within(t, 60*time.Second), d.doc, after, upto) {
					if err != nil {
						t.Errorf("replay %q after %d up to %d: %v", d.doc, after, upto, err)
						return
					}
					if got = append(got, r); len(got) == enough {
						break
					}
				}
				// The end of a replay up to the head may not be in the model yet.
				last := upto
				if upto == 0 {
					last = head
					if len(got) > 0 && got[len(got)-1].Seq > head {
						last = got[len(got)-1].Seq
						eventually(t, "the writer to know what it has written", func() bool {
							mu.Lock()
							defer mu.Unlock()
							return d.head() >= last
						})
					}
				}
				mu.Lock()
				seqs, sums := d.between(after, last)
				mu.Unlock()
				if len(seqs) > enough {
					seqs = seqs[:enough]
				}
				if len(got) != len(seqs) {
					t.Errorf("replay %q after %d up to %d, at most %d: %d records, want %d", d.doc, after, upto, enough, len(got), len(seqs))
				}
				for i := range min(len(got), len(seqs)) {
					if r := got[i]; r.Seq != seqs[i] || crc32.ChecksumIEEE(r.Update) != sums[i] || !r.Intact() || r.Prev != 0 || r.Merged != 1 ||
						time.Since(r.Stored).Abs() > time.Hour || !r.Time.Equal(r.Stored) || r.Sum != (Sum{}) != (r.User == "ann") {
						t.Errorf("replay %q after %d up to %d: record %d is %d with %d bytes, %+v, want %d", d.doc, after, upto, i, r.Seq, len(r.Update), r.Sum, seqs[i])
						break
					}
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	wg.Wait()
	if t.Failed() {
		return
	}
	made := asked()
	t.Logf("%d records in %q, %d in %q, %d in %q, %d in %q; %d consumers made", len(long.seqs), long.doc, len(spread.seqs), spread.doc,
		len(heavy.seqs), heavy.doc, len(few.seqs), few.doc, made)
	if made == 0 {
		t.Error("no replay was long enough for a consumer: the test proves half of it")
	}
	if n := l.bulk.NumSubscriptions(); n != before {
		t.Errorf("%d subscriptions, want the %d from before", n, before)
	}
	if n := l.jet.Reading(); n != 0 {
		t.Errorf("%d reads are held to be under way", n)
	}
	noConsumers(t, nc)
}

// TestTheConsumerReadsAllThatALongReplayHasLeft, records too that are longer than what is asked for at a time.
func TestTheConsumerReadsAllThatALongReplayHasLeft(t *testing.T) {
	l, srv := open(t, Config{Shards: 1, Durability: "process"}, natstest.Process)
	const n = 5000
	entries := make([]Entry, n)
	for i := range entries {
		entries[i].Update = make([]byte, 20)
		if i%1500 == 1400 {
			entries[i].Update = make([]byte, 3*replayBytes/2)
		}
		if i > n-500 {
			entries[i].Update = make([]byte, 10_000)
		}
	}
	if _, err := appendAll(within(t, 30*time.Second), l.Writer("d"), entries...); err != nil {
		t.Fatal(err)
	}
	nc := srv.Connect()
	direct, made, pulls := requests(t, nc, "$JS.API.DIRECT.GET.>"), requests(t, nc, "$JS.API.CONSUMER.CREATE.>"), requests(t, nc, "$JS.API.CONSUMER.MSG.NEXT.>")
	if got := len(checkLog(t, l, "d")); got != n {
		t.Errorf("%d records, want %d", got, n)
	}
	if d, m := direct(), made(); d != 1 || m != 1 {
		t.Errorf("%d direct gets and %d consumers, want one each", d, m)
	}
	// By number, by bytes, and for each of three long records one that asks in vain, one for it alone and one more.
	if p, most := pulls(), int64(n/jet.PullBatch+500*10_000/replayBytes+3*3+2); p > most {
		t.Errorf("%d requests to the consumer, want %d or less", p, most)
	}
	noConsumers(t, nc)
}

// TestALongReplayDoesWithoutItsConsumer takes the consumer away in the middle of a replay, or lets none be made.
func TestALongReplayDoesWithoutItsConsumer(t *testing.T) {
	l, srv := open(t, Config{Shards: 1, Durability: "process"}, natstest.Process)
	const n = 6000
	entries := make([]Entry, n)
	for i := range entries {
		entries[i].Update = fmt.Append(nil, i)
	}
	seqs, err := appendAll(within(t, 30*time.Second), l.Writer("d"), entries...)
	if err != nil {
		t.Fatal(err)
	}
	whole := func(t *testing.T, at func(i int)) {
		t.Helper()
		i := 0
		for r, err := range l.Replay(within(t, 60*time.Second), "d", 0, seqs[n-1]) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Seq != seqs[i] || string(r.Update) != fmt.Sprint(i) {
				t.Fatalf("record %d is %d %.20q, want %d", i, r.Seq, r.Update, seqs[i])
			}
			at(i)
			i++
		}
		if i != n {
			t.Errorf("%d records, want %d", i, n)
		}
	}
	nc := srv.Connect()
	t.Run("deleted", func(t *testing.T) {
		whole(t, func(i int) {
			if i != n/2 {
				return
			}
			m, err := nc.Request("$JS.API.CONSUMER.NAMES.YDOC_00", nil, 5*time.Second)
			var list struct{ Consumers []string }
			if err != nil || json.Unmarshal(m.Data, &list) != nil || len(list.Consumers) != 1 {
				t.Fatalf("consumers in the middle of a long replay: %q, %v; want one", list.Consumers, err)
			}
			if _, err := nc.Request("$JS.API.CONSUMER.DELETE.YDOC_00."+list.Consumers[0], nil, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("server restarted", func(t *testing.T) {
		whole(t, func(i int) {
			if i == n/2 {
				srv.Restart()
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		s, err := streams(t, l).Stream(within(t, 5*time.Second), "YDOC_00")
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.ConsumerLimits.InactiveThreshold = time.Second // shorter than ours
		if _, err := streams(t, l).UpdateStream(within(t, 5*time.Second), cfg); err != nil {
			t.Fatal(err)
		}
		asked := requests(t, nc, "$JS.API.CONSUMER.CREATE.>")
		whole(t, func(int) {})
		whole(t, func(int) {})
		if n := asked(); n != 1 {
			t.Errorf("a consumer was asked for %d times, want 1: it had been refused", n)
		}
	})
	noConsumers(t, nc)
}

// TestLongReplaysSurviveTheNodesTheyReadFrom stops one node of three after the other in the middle of a replay.
func TestLongReplaysSurviveTheNodesTheyReadFrom(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	c := natstest.StartCluster(t, natstest.Process)
	l := openAt(t, Config{Shards: 1, Durability: "unknown"}, c.URL())
	const n = 5000
	entries := make([]Entry, n)
	for i := range entries {
		entries[i].Update = fmt.Append(nil, i)
	}
	seqs, err := appendAll(within(t, 30*time.Second), l.Writer("d"), entries...)
	if err != nil {
		t.Fatal(err)
	}
	for round, node := range c.Nodes {
		i := 0
		for r, err := range l.Replay(within(t, 60*time.Second), "d", 0, seqs[n-1]) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Seq != seqs[i] || string(r.Update) != fmt.Sprint(i) {
				t.Fatalf("round %d: record %d is %d %.20q, want %d", round, i, r.Seq, r.Update, seqs[i])
			}
			if i++; i == n/2 {
				node.Stop()
			}
		}
		if i != n {
			t.Errorf("round %d: %d records, want %d", round, i, n)
		}
		node.Restart()
		c.WaitLeader(t)
		l.jet.NoConsumer.Store(0)
	}
}
