package stream

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"yjet/internal/natstest"
)

// update is about what a keystroke is on the wire.
var update = make([]byte, 40)

// benchLog is a Log in one of the two durability modes, on the server that fits.
func benchLog(b *testing.B, mode string) *Log {
	var opts []natstest.Option
	if mode == "process" {
		opts = append(opts, natstest.Process)
	}
	l, _ := open(b, Config{Durability: mode}, opts...)
	return l
}

// BenchmarkAppend has writers of a document each append one record after the other, and tells records per second and how long
// one takes.
func BenchmarkAppend(b *testing.B) {
	for _, mode := range []string{"disk", "process"} {
		for _, writers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/writers=%d", mode, writers), func(b *testing.B) {
				l := benchLog(b, mode)
				took := make([]time.Duration, b.N)
				var wg sync.WaitGroup
				b.ReportAllocs()
				b.ResetTimer()
				for i := range writers {
					wg.Go(func() {
						w := l.Writer(docName(i))
						ch := make(chan error, 1)
						done := func(_ []Seq, err error) { ch <- err }
						for n := i; n < b.N; n += writers {
							start := time.Now()
							w.Append(context.Background(), []Entry{{User: "user", Conn: "conn", Update: update}}, done)
							if err := <-ch; err != nil {
								b.Error(err)
								return
							}
							took[n] = time.Since(start)
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				report(b, took)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	ms := func(p float64) float64 { return took[int(p*float64(len(took)-1))].Seconds() * 1e3 }
	b.ReportMetric(ms(0.5), "p50-ms")
	b.ReportMetric(ms(0.99), "p99-ms")
}

// chanSink hands the arrival of each record over.
type chanSink struct{ ch chan Seq }

func (s chanSink) Base([]byte, Seq)                          {}
func (s chanSink) Record(r Record)                           { s.ch <- r.Seq }
func (s chanSink) Flush()                                    {}
func (s chanSink) Aware(string, []byte)                      {}
func (s chanSink) Message(string, []byte, map[string]string) {}
func (s chanSink) Failed(error)                              {}

// BenchmarkAppendToTail is a keystroke's way through the log: from Append until a Tail delivers it.
func BenchmarkAppendToTail(b *testing.B) {
	for _, mode := range []string{"disk", "process"} {
		b.Run(mode, func(b *testing.B) {
			l := benchLog(b, mode)
			s := chanSink{make(chan Seq, 16)}
			tl, err := l.Tail(within(b, 10*time.Second), "d", logOnly{l}, s)
			if err != nil {
				b.Fatal(err)
			}
			defer tl.Close()
			w := l.Writer("d")
			acked := make(chan error, 1)
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				w.Append(context.Background(), []Entry{{User: "user", Conn: "conn", Update: update}}, func(_ []Seq, err error) { acked <- err })
				<-s.ch
				took = append(took, time.Since(start))
				if err := <-acked; err != nil {
					b.Fatal(err)
				}
			}
			report(b, took)
		})
	}
}

// BenchmarkReplay reads a log of 10,000 records.
func BenchmarkReplay(b *testing.B) {
	for _, scattered := range []bool{false, true} {
		b.Run(fmt.Sprintf("records=10000/scattered=%v", scattered), func(b *testing.B) {
			l := benchLog(b, "process")
			const n = 10000
			w := l.Writer("long")
			noise := l.Writer("noise")
			entries := make([]Entry, 1000)
			for i := range entries {
				entries[i] = Entry{User: "user", Conn: "conn", Update: update}
			}
			for range n / len(entries) {
				if _, err := appendAll(context.Background(), w, entries...); err != nil {
					b.Fatal(err)
				}
				for range 10 {
					if !scattered {
						break
					}
					if _, err := appendAll(context.Background(), noise, entries...); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				got := 0
				for _, err := range l.Replay(context.Background(), "long", 0, 0) {
					if err != nil {
						b.Fatal(err)
					}
					got++
				}
				if got != n {
					b.Fatalf("%d records, want %d", got, n)
				}
			}
		})
	}
}

// BenchmarkHead asks the leader for a head: each opening does it twice, each repair once.
func BenchmarkHead(b *testing.B) {
	for _, size := range []int{40, 3 << 20} {
		b.Run(fmt.Sprintf("last=%dB", size), func(b *testing.B) {
			l := benchLog(b, "process")
			mustAppend(b, l.Writer("d"), string(make([]byte, size)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Head(context.Background(), "d"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpenIdleTails tells what an open document costs while nothing happens: the heap and the stacks of the whole process, the
// embedded server included.
func BenchmarkOpenIdleTails(b *testing.B) {
	const n = 5000
	l := benchLog(b, "process")
	w := make([]*Writer, 0, n)
	var before, after runtime.MemStats
	measure := func(m *runtime.MemStats) int {
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(m)
		return runtime.NumGoroutine()
	}
	// What a stored document costs is not what an open one does: store first.
	var wg sync.WaitGroup
	for i := range n {
		wr := l.Writer(docName(i))
		wg.Add(1)
		wr.Append(context.Background(), []Entry{{Update: update}}, func(_ []Seq, err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	for b.Loop() {
		g0 := measure(&before)
		tails := make([]*Tail, n)
		start := time.Now()
		var sink chanSink
		for i := range n {
			t, err := l.Tail(context.Background(), docName(i), scripted(func(Seq) (Filled, error) { return Filled{}, nil }), sink)
			if err != nil {
				b.Fatal(err)
			}
			tails[i] = t
			w = append(w, l.Writer(docName(i)))
		}
		took := time.Since(start)
		g1 := measure(&after)
		b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/n, "B/open")
		b.ReportMetric(float64(g1-g0)/n, "goroutines/open")
		b.ReportMetric(took.Seconds()*1e6/n, "µs/open")
		for _, t := range tails {
			t.Close()
		}
		w = w[:0]
	}
}

// BenchmarkCompareHeads is the minute's round over many open documents.
func BenchmarkCompareHeads(b *testing.B) {
	const n = 5000
	l := benchLog(b, "process")
	for i := range n {
		t, err := l.Tail(context.Background(), docName(i), scripted(func(Seq) (Filled, error) { return Filled{}, nil }), chanSink{})
		if err != nil {
			b.Fatal(err)
		}
		defer t.Close()
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range l.shards {
			if _, err := s.compareHeads(context.Background(), 0); err != nil {
				b.Fatal(err)
			}
		}
	}
}
