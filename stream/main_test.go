package stream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"yjet/internal/natstest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// nats-server keeps these for the life of the process.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*ipQueue[...]).push"),
		// A store that it opened while it was being stopped stays open, and so does the clock of stores. A server that a test forgot
		// to stop shows by its other goroutines.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"),
	)
}

// open starts a server and a Log on it; both end with the test.
func open(t testing.TB, cfg Config, opts ...natstest.Option) (*Log, *natstest.Server) {
	t.Helper()
	srv := natstest.Start(t, opts...)
	return openOn(t, srv, cfg), srv
}

// openOn opens another Log on a server, like another process would.
func openOn(t testing.TB, srv *natstest.Server, cfg Config) *Log {
	t.Helper()
	cfg.Embedded = true
	if cfg.Durability == "" {
		cfg.Durability = "disk"
	}
	return openAt(t, cfg, "", nats.InProcessServer(srv))
}

func openAt(t testing.TB, cfg Config, url string, opts ...nats.Option) *Log {
	t.Helper()
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	nc, bulk, err := Dial(url, opts...)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	l, err := Open(ctx, nc, bulk, cfg)
	if err != nil {
		nc.Close()
		bulk.Close()
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		l.Close()
		nc.Close()
		bulk.Close()
	})
	return l
}

// within is a context for one step of a test.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for something that happens elsewhere.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

type result struct {
	seqs []Seq
	err  error
}

// appendAll appends entries and waits.
func appendAll(ctx context.Context, w *Writer, entries ...Entry) ([]Seq, error) {
	ch := make(chan result, 1)
	w.Append(ctx, entries, func(seqs []Seq, err error) { ch <- result{seqs, err} })
	r := <-ch
	return r.seqs, r.err
}

func mustAppend(t testing.TB, w *Writer, updates ...string) []Seq {
	t.Helper()
	var entries []Entry
	for _, u := range updates {
		entries = append(entries, Entry{Update: []byte(u)})
	}
	seqs, err := appendAll(within(t, 30*time.Second), w, entries...)
	if err != nil {
		t.Fatalf("append %.40q: %v", updates, err)
	}
	return seqs
}

func replay(t testing.TB, l *Log, doc Doc, after, upto Seq) []Record {
	t.Helper()
	var out []Record
	for r, err := range l.Replay(within(t, 60*time.Second), doc, after, upto) {
		if err != nil {
			t.Fatalf("replay %q: %v", doc, err)
		}
		out = append(out, r)
	}
	return out
}

// checkLog is the law of every log: whole, intact, in order.
func checkLog(t testing.TB, l *Log, doc Doc) []Record {
	t.Helper()
	var c Checker
	recs := replay(t, l, doc, 0, 0)
	for i, r := range recs {
		if i > 0 && r.Seq <= recs[i-1].Seq {
			t.Errorf("log of %q: sequence %d after %d", doc, r.Seq, recs[i-1].Seq)
		}
		if _, err := c.Add(r); err != nil {
			t.Errorf("log of %q: %v", doc, err)
		}
	}
	return recs
}

// sink notes what a Tail delivers.
type sink struct {
	t testing.TB

	mu       sync.Mutex
	recs     []Record
	bases    []Seq
	flushes  int
	aware    []string
	messages []string
	headers  []map[string]string
	err      error
	inside   bool
}

func (s *sink) enter() func() {
	s.mu.Lock()
	if s.inside {
		s.t.Error("two calls of a sink at once")
	}
	s.inside = true
	return func() { s.inside = false; s.mu.Unlock() }
}

func (s *sink) Base(_ []byte, upto Seq) { defer s.enter()(); s.bases = append(s.bases, upto) }
func (s *sink) Record(r Record)         { defer s.enter()(); s.recs = append(s.recs, r) }
func (s *sink) Flush()                  { defer s.enter()(); s.flushes++ }
func (s *sink) Aware(node string, p []byte) {
	defer s.enter()()
	s.aware = append(s.aware, node+" "+string(p))
}
func (s *sink) Message(node string, p []byte, h map[string]string) {
	defer s.enter()()
	s.messages = append(s.messages, node+" "+string(p))
	s.headers = append(s.headers, h)
}
func (s *sink) Failed(err error) { defer s.enter()(); s.err = err }

func (s *sink) got() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.recs)
}

func (s *sink) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *sink) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.recs)
}

// sameAsLog compares what a Tail delivered with the whole log.
func sameAsLog(t testing.TB, l *Log, doc Doc, s *sink) {
	t.Helper()
	want := checkLog(t, l, doc)
	got := s.got()
	if len(got) != len(want) {
		t.Errorf("tail of %q delivered %d records, want %d", doc, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i].Seq != want[i].Seq || string(got[i].Update) != string(want[i].Update) {
			t.Fatalf("record %d of the tail is %d %.40q, want %d %.40q", i, got[i].Seq, got[i].Update, want[i].Seq, want[i].Update)
		}
	}
}

func tail(t testing.TB, l *Log, doc Doc) (*Tail, *sink) {
	t.Helper()
	s := &sink{t: t}
	tl, err := l.Tail(within(t, 30*time.Second), doc, logOnly{l}, s)
	if err != nil {
		t.Fatalf("tail %q: %v", doc, err)
	}
	t.Cleanup(tl.Close)
	return tl, s
}

// streams is JetStream as any other program sees it.
func streams(t testing.TB, l *Log) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(l.bulk)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func docName(i int) Doc { return Doc(fmt.Sprintf("docs/%d", i)) }

// value reads a counter or gauge.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	m.Write(&d)
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// logOnly is the Filler of a log without snapshots: everything is in the log, from its first record on.
type logOnly struct{ l *Log }

func (f logOnly) Fill(ctx context.Context, doc Doc, have Seq) (Filled, error) {
	head, err := f.l.Head(ctx, doc)
	if err != nil {
		return Filled{}, err
	}
	out := Filled{Head: head}
	if have >= head {
		return out, nil
	}
	for r, err := range f.l.Replay(ctx, doc, have, head) {
		if err != nil {
			return Filled{}, err
		}
		out.Records = append(out.Records, r)
	}
	if n := len(out.Records); n == 0 || out.Records[n-1].Seq != head {
		return Filled{}, fmt.Errorf("%w: %q ends before its head %d", ErrLost, doc, head)
	}
	return out, nil
}
