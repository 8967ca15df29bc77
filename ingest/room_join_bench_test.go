package ingest

import (
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	rtm "runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/yjs"
	"yjet/stream"
)

// BenchmarkJoinersOfALargeDocument: 150 clients come at once to a document of 20 MB that nobody has open. It is loaded once and
// encoded once. live-heap is the most that a collection found in use meanwhile, NATS and the
// clients included, which are in this process too; ×document is the memory that the joiners add to that in use before.
func BenchmarkJoinersOfALargeDocument(b *testing.B) {
	const joiners, size = 150, 20 << 20
	w := start(b)
	text := make([]byte, 400<<10)
	var entries []stream.Entry
	for at := 0; at < size; at += len(text) {
		for i := range text {
			text[i] = 'a' + byte(rand.IntN(26))
		}
		entries = append(entries, stream.Entry{User: "ada", Update: insert(1, uint64(at), string(text))})
	}
	done := make(chan error, 1)
	w.log.Writer("large").Append(context.Background(), entries, func(_ []stream.Seq, err error) { done <- err })
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	entries, text = nil, nil
	if _, err := w.snap.Fold(context.Background(), "large"); err != nil {
		b.Fatal(err)
	}
	var peak atomic.Uint64
	var most, added uint64
	var slowest time.Duration
	for b.Loop() {
		b.StopTimer()
		if r := w.srv.rooms.find("large"); r != nil {
			w.srv.rooms.discard(r)
		}
		runtime.GC()
		before := []rtm.Sample{{Name: "/gc/heap/live:bytes"}}
		rtm.Read(before)
		peak.Store(0)
		stop := make(chan struct{})
		var watch sync.WaitGroup
		watch.Go(func() {
			live := []rtm.Sample{{Name: "/gc/heap/live:bytes"}} // found in use by the last collection
			for {
				rtm.Read(live)
				peak.Store(max(peak.Load(), live[0].Value.Uint64()))
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
		b.StartTimer()
		began := time.Now()
		var wg sync.WaitGroup
		for range joiners {
			wg.Go(func() {
				ws, _, err := websocket.DefaultDialer.Dial(w.url("/large"), nil)
				if err != nil {
					b.Error(err)
					return
				}
				defer ws.Close()
				if err := ws.WriteMessage(websocket.BinaryMessage, step1(nil)); err != nil {
					b.Error(err)
					return
				}
				for {
					_, r, err := ws.NextReader()
					if err != nil {
						b.Error(err)
						return
					}
					var head [2]byte
					if _, err := io.ReadFull(r, head[:]); err != nil {
						continue
					}
					n, err := io.Copy(io.Discard, r)
					if err != nil {
						b.Error(err)
						return
					}
					if head[0] == yjs.MsgSync && head[1] == yjs.SyncStep2 {
						if n < size {
							b.Errorf("step 2 has %d bytes, want %d at least", n, size)
						}
						return
					}
				}
			})
		}
		wg.Wait()
		slowest = max(slowest, time.Since(began))
		b.StopTimer()
		close(stop)
		watch.Wait()
		most = max(most, peak.Load())
		added = max(added, peak.Load()-min(before[0].Value.Uint64(), peak.Load()))
		b.StartTimer()
	}
	b.ReportMetric(float64(most)/(1<<20), "live-heap-MB")
	b.ReportMetric(float64(added)/size, "×document")
	b.ReportMetric(slowest.Seconds(), "slowest-s")
}
