package ingest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/internal/natstest"
	"yjet/internal/yjs"
	"yjet/stream"
)

// What people feel, measured through real sockets on loopback. The bare server is
// what nobody can be faster than with the same library: a gorilla broadcast that
// reads a message and writes it to everybody.
//
//	go test -run '^$' -bench . ./ingest

func bare(b *testing.B) string {
	up := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}
	var mu sync.Mutex
	all := map[*websocket.Conn]*sync.Mutex{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		mu.Lock()
		all[ws] = &sync.Mutex{}
		mu.Unlock()
		for {
			kind, p, err := ws.ReadMessage()
			if err != nil {
				mu.Lock()
				delete(all, ws)
				mu.Unlock()
				return
			}
			mu.Lock()
			for c, m := range all {
				m.Lock()
				c.WriteMessage(kind, p)
				m.Unlock()
			}
			mu.Unlock()
		}
	}))
	b.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http")
}

// generous takes the limits off that a load from one place runs into.
var generous = limits(func(l *Limits) { l.MessageRate, l.MessageBurst, l.ByteRate, l.ByteBurst = 1e9, 1e9, 1e12, 1e12 })

func served(b *testing.B, opts ...natstest.Option) *world {
	durability := "disk"
	if len(opts) > 0 {
		durability = "process"
	}
	return join(b, natstest.Start(b, opts...), generous, func(_ *Options, _ *auth.Options, c *stream.Config) { c.Durability = durability })
}

// servers are those that a benchmark compares.
func servers(b *testing.B, f func(b *testing.B, url string)) {
	b.Run("bare", func(b *testing.B) { f(b, bare(b)) })
	b.Run("process", func(b *testing.B) { f(b, served(b, natstest.Process).url("")) })
	b.Run("disk", func(b *testing.B) { f(b, served(b).url("")) })
}

// A reader counts messages that hold edits, without looking into them.
type reader struct {
	ws  *websocket.Conn
	got chan int // bytes of each edit
}

func connect(b *testing.B, url string) *reader {
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r := &reader{ws: ws, got: make(chan int, 4096)}
	ready := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(r.got)
		for {
			_, p, err := ws.ReadMessage()
			if err != nil {
				return
			}
			if len(p) > 1 && p[0] == 0 && p[1] == yjs.SyncUpdate {
				r.got <- len(p)
			}
			if len(p) > 1 && p[0] == 0 && p[1] < yjs.SyncUpdate {
				once.Do(func() { close(ready) })
			}
		}
	})
	b.Cleanup(func() {
		ws.Close()
		for range r.got {
		}
		wg.Wait()
	})
	ws.WriteMessage(websocket.BinaryMessage, step1(nil))
	<-ready
	return r
}

// report puts quantiles of the times into the result.
func report(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkKeystroke times an edit from one user's socket to another's.
func BenchmarkKeystroke(b *testing.B) {
	servers(b, func(b *testing.B, url string) {
		writer, seer := connect(b, url+"/keystroke"), connect(b, url+"/keystroke")
		go func() {
			for range writer.got {
			}
		}()
		var times []time.Duration
		clock := uint64(0)
		for b.Loop() {
			u := edit(insert(7, clock, "x"))
			clock++
			start := time.Now()
			writer.ws.WriteMessage(websocket.BinaryMessage, u)
			<-seer.got
			times = append(times, time.Since(start))
			time.Sleep(2 * time.Millisecond) // a person does not type in bursts
		}
		report(b, times)
	})
}

// BenchmarkFanout times an edit until all of many others have it.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			servers(b, func(b *testing.B, url string) {
				writer := connect(b, url+"/fanout")
				seers := make([]*reader, n)
				for i := range seers {
					seers[i] = connect(b, url+"/fanout")
				}
				go func() {
					for range writer.got {
					}
				}()
				var times []time.Duration
				clock := uint64(0)
				for b.Loop() {
					u := edit(insert(7, clock, "x"))
					clock++
					start := time.Now()
					writer.ws.WriteMessage(websocket.BinaryMessage, u)
					for _, s := range seers {
						<-s.got
					}
					times = append(times, time.Since(start))
					time.Sleep(5 * time.Millisecond)
				}
				report(b, times)
			})
		})
	}
}

// BenchmarkRooms pushes edits through many rooms at once, as fast as they come
// back.
func BenchmarkRooms(b *testing.B) {
	const rooms = 64
	servers(b, func(b *testing.B, url string) {
		var wg sync.WaitGroup
		per := b.N/rooms + 1
		start := time.Now()
		for i := range rooms {
			c := connect(b, fmt.Sprintf("%s/rooms%d", url, i))
			wg.Go(func() {
				for k := range per {
					c.ws.WriteMessage(websocket.BinaryMessage, edit(insert(uint64(i+1), uint64(k), "x")))
					<-c.got
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(per*rooms)/time.Since(start).Seconds(), "edits/s")
	})
}

// BenchmarkOpen10k opens a document of 10,000 records that nobody has open, to
// the step 2.
func BenchmarkOpen10k(b *testing.B) {
	w := served(b, natstest.Process)
	doc := stream.Doc("open10k")
	writer := w.log.Writer(doc)
	for at := 0; at < 10_000; at += 500 {
		entries := make([]stream.Entry, 500)
		for i := range entries {
			entries[i] = stream.Entry{Merged: 1, Update: insert(7, uint64(at+i), "x")}
		}
		done := make(chan error, 1)
		writer.Append(context.Background(), entries, func(_ []stream.Seq, err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		c := connect(b, w.url("/open10k"))
		times = append(times, time.Since(start))
		c.ws.Close()
		w.empty(b)
	}
	report(b, times)
}

// empty forgets all rooms once they are idle.
func (w *world) empty(b testing.TB) {
	eventually(b, 10*time.Second, "rooms idle", func() bool {
		w.srv.rooms.tick(time.Now().Add(time.Hour))
		return w.srv.rooms.count() == 0
	})
}

// BenchmarkIdleDocument measures the cost of an open document beside its sessions.
func BenchmarkIdleDocument(b *testing.B) {
	w := served(b, natstest.Process)
	const n = 5000
	heap := func() (bytes, goroutines int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapInuse + m.StackInuse), runtime.NumGoroutine()
	}
	for b.Loop() {
		before, g0 := heap()
		for i := range n {
			name := stream.Doc(fmt.Sprintf("idle/%d", i))
			r, err := w.srv.rooms.open(context.Background(), name)
			if err != nil {
				b.Fatal(err)
			}
			defer w.srv.rooms.release(r)
		}
		after, g1 := heap()
		b.ReportMetric(float64(after-before)/n, "bytes/document")
		b.ReportMetric(float64(g1-g0)/n, "goroutines/document")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdleSession measures the cost of a connected client.
func BenchmarkIdleSession(b *testing.B) {
	w := served(b, natstest.Process)
	const n = 500
	for b.Loop() {
		runtime.GC()
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		conns := make([]net.Conn, n)
		for i := range conns {
			ws, _, err := websocket.DefaultDialer.Dial(w.url("/sessions"), nil)
			if err != nil {
				b.Fatal(err)
			}
			ws.WriteMessage(websocket.BinaryMessage, step1(nil))
			conns[i] = ws.NetConn()
		}
		eventually(b, 10*time.Second, "all in", func() bool {
			r := w.srv.rooms.find("sessions")
			if r == nil {
				return false
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.sessions) == n
		})
		runtime.GC()
		runtime.ReadMemStats(&m1)
		// Both ends are in this process: the client's, without its goroutine, is
		// about a third.
		b.ReportMetric(float64(m1.HeapInuse+m1.StackInuse-m0.HeapInuse-m0.StackInuse)/n, "bytes/session+client")
		for _, c := range conns {
			c.Close()
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAccept is the work of the server on a keystroke before the log has it:
// no socket, no log.
func BenchmarkAccept(b *testing.B) {
	w := served(b, natstest.Process)
	r, err := w.srv.rooms.open(context.Background(), "accept")
	if err != nil {
		b.Fatal(err)
	}
	defer w.srv.rooms.release(r)
	s := &session{room: r, c: &conn{srv: w.srv}}
	s.grant.Mode = writeMode
	updates := make([][]byte, 4096)
	for i := range updates {
		updates[i] = insert(7, uint64(i), "x")
	}
	var u yjs.Update
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(updates) {
			i = 0
			r.mu.Lock()
			r.commit.accepted, r.commit.gather = nil, nil
			r.mu.Unlock()
		}
		if err := w.srv.parse(&u, updates[i]); err != nil {
			b.Fatal(err)
		}
		r.mu.Lock()
		if _, cs := r.accept(s, &u); cs != nil {
			b.Fatal(cs)
		}
		r.mu.Unlock()
		i++
	}
	r.mu.Lock()
	r.commit.gather = nil
	r.mu.Unlock()
}

// BenchmarkRecord is the work of the server on a record from the log: one room,
// no socket.
func BenchmarkRecord(b *testing.B) {
	w := served(b, natstest.Process)
	r, err := w.srv.rooms.open(context.Background(), "record")
	if err != nil {
		b.Fatal(err)
	}
	defer w.srv.rooms.release(r)
	updates := make([][]byte, 4096)
	for i := range updates {
		updates[i] = insert(7, uint64(i), "x")
	}
	b.ReportAllocs()
	i, seq := 0, r.seq
	for b.Loop() {
		if i == len(updates) {
			i = 0
			r.mu.Lock()
			r.recs, r.recBytes = nil, 0
			r.mu.Unlock()
		}
		seq++
		r.Record(stream.Record{Seq: seq, Update: updates[i]})
		i++
	}
}
