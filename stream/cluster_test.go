package stream

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"yjet/internal/natstest"
)

// TestClusterLosesNothingWhenLeadersGo runs writers and tails of two servers on three NATS nodes, and stops the leader of the
// log again and again.
func TestClusterLosesNothingWhenLeadersGo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	rounds := 2
	if os.Getenv("YJET_LONG") == "1" {
		rounds = 20
	}
	// Syncing each message three times says nothing about what is tested here.
	c := natstest.StartCluster(t, natstest.Process)
	a := openAt(t, Config{Shards: 1, Durability: "unknown"}, c.URL())
	b := openAt(t, Config{Durability: "unknown"}, c.URL())
	if a.cfg.Replicas != 3 {
		t.Fatalf("%d replicas, want 3", a.cfg.Replicas)
	}
	seedWholeAndOnce(t, a, b)
	const docs = 4
	var sinks []*sink
	for i := range 2 * docs {
		by := a
		if i%2 == 0 {
			by = b
		}
		_, s := tail(t, by, docName(i/2))
		sinks = append(sinks, s)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var stored atomic.Int64
	acked := make([]map[string]bool, 2*docs)
	for i := range acked {
		acked[i] = map[string]bool{}
		by := a
		if i%2 == 0 {
			by = b
		}
		wg.Go(func() {
			w := by.Writer(docName(i / 2))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				es := []Entry{{Update: fmt.Appendf(nil, "%d:%d", i, n)}}
				if n%10 == 9 {
					for k := range 5 {
						es = append(es, Entry{Update: fmt.Appendf(nil, "%d:%d:%d", i, n, k)})
					}
				}
				if _, err := appendAll(within(t, 60*time.Second), w, es...); err != nil {
					t.Errorf("append: %v", err)
					return
				}
				for _, e := range es {
					acked[i][string(e.Update)] = true
				}
				stored.Add(int64(len(es)))
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		at := stored.Load() + n
		eventually(t, "appends go on", func() bool { return stored.Load() >= at })
	}
	for range rounds {
		more(1000)
		leader := c.StreamLeader("YDOC_00")
		if leader == nil {
			t.Fatal("the log has no leader")
		}
		start := time.Now()
		leader.Stop()
		more(500)
		t.Logf("appends went on after %v without the leader", time.Since(start).Round(time.Millisecond))
		leader.Restart()
		c.WaitLeader(t)
	}
	more(500)
	close(stop)
	wg.Wait()
	for d := range docs {
		recs := checkLog(t, a, docName(d))
		have := map[string]bool{}
		for _, r := range recs {
			have[string(r.Update)] = true
		}
		for i := 2 * d; i < 2*d+2; i++ {
			for u := range acked[i] {
				if !have[u] {
					t.Errorf("document %d: acknowledged %s is lost", d, u)
				}
			}
			s := sinks[i]
			eventually(t, "all records", func() bool { return s.len() >= len(recs) })
			sameAsLog(t, b, docName(d), s)
		}
	}
}

// TestReplicaThatBeginsEmptyFetchesNothingErased is what docs/operate.md says of a cluster whose files hold what was trimmed before it
// was erased.
func TestReplicaThatBeginsEmptyFetchesNothingErased(t *testing.T) {
	if os.Getenv("YJET_LONG") != "1" {
		t.Skip("waits until NATS has cut its Raft logs; YJET_LONG=1 does")
	}
	c := natstest.StartCluster(t, natstest.Process)
	l := openAt(t, Config{Shards: 1, Durability: "unknown"}, c.URL())
	ctx := within(t, 9*time.Minute)
	secret, other := l.Writer("secret"), l.Writer("neighbour")
	neighbour := strings.Repeat("neighbour ", 20<<10)
	const n, kept = 60, 100 // 20 MB
	var last Seq
	for i := range kept {
		if i < n {
			last = mustAppend(t, secret, fmt.Sprintf("SECRET %d", i))[0]
		}
		mustAppend(t, other, neighbour)
	}
	if err := l.Trim(ctx, "secret", last); err != nil {
		t.Fatal(err)
	}
	if err := l.Erase(ctx, "secret"); err != nil {
		t.Fatal(err)
	}
	before := 0
	for _, s := range c.Nodes {
		before += len(natstest.FilesWith(t, s.Dir(), "SECRET"))
	}
	if before == 0 {
		t.Fatal("nothing is left in the files: the test tests nothing")
	}
	time.Sleep(5 * time.Minute) // NATS looks every two, and cuts a Raft log of more than 8 MB, which the erasure makes
	for _, s := range c.Nodes {
		s.Stop()
		if err := os.RemoveAll(s.Dir()); err != nil {
			t.Fatal(err)
		}
		s.Restart()
		c.WaitLeader(t)
		c.WaitCurrent(t, streams(t, l))
	}
	for i, s := range c.Nodes {
		if got := natstest.FilesWith(t, s.Dir(), "SECRET"); len(got) != 0 {
			t.Errorf("node %d has the text still in %q; %d files had it before", i, got, before)
		}
	}
	if got := len(replay(t, l, "neighbour", 0, 0)); got != kept {
		t.Errorf("the neighbour has %d records, want %d", got, kept)
	}
}
