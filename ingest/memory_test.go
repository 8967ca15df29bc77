package ingest

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// Under a limit on memory a client that asks for one more document is refused, those that are in go on, and documents that nobody uses make room.
func TestDocumentsThatMemoryIsTooShortForAreRefused(t *testing.T) {
	w := start(t)
	const docs, size = 40, 3 << 20
	ctx := context.Background()
	for i := range docs {
		doc := stream.Doc(fmt.Sprint("mem-", i))
		done := make(chan error, 1)
		w.log.Writer(doc).Append(ctx, []stream.Entry{{Update: uncuttable(1, size)}}, func(_ []stream.Seq, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if _, err := w.snap.Fold(ctx, doc); err != nil {
			t.Fatal(err)
		}
	}
	live := func() int64 {
		for range 3 { // pools let go by and by
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	w.nats.Restart() // which holds much of the content that was just stored
	eventually(t, 10*time.Second, "NATS answers", func() bool { return w.log.Health(ctx).Err == nil })
	time.Sleep(500 * time.Millisecond)
	limit := int64(float64(live()+80<<20) / memoryShare)
	debug.SetMemoryLimit(limit)
	defer debug.SetMemoryLimit(math.MaxInt64)
	var in []*client
	refused := 0
	for i := 0; i < docs && refused < 2; i++ {
		c := w.dial(fmt.Sprint("/mem-", i))
		c.send(step1(nil))
		c.wait("close", func() bool { return c.closed || c.count(yjs.MsgSync, yjs.SyncStep2) > 0 })
		if !c.closed {
			c.mu.Lock()
			c.frames = nil // the test itself holds nothing
			c.mu.Unlock()
			in = append(in, c)
			continue
		}
		if got := c.code(); got != 1013 {
			t.Fatalf("close code: got %d, want 1013", got)
		}
		refused++
	}
	t.Logf("%d of %d documents are open; %d MiB of %d in use", len(in), docs, live()>>20, limit>>20)
	if got := live(); got > limit {
		t.Errorf("%d MiB are in use, above the limit of %d", got>>20, limit>>20)
	}
	if refused == 0 || len(in) < 3 {
		t.Fatalf("%d documents were let in and %d refused, want some of each", len(in), refused)
	}
	in[0].send(edit(insert(7, 0, "goes on")))
	in[0].has(7, 7)
	for _, c := range in {
		c.leave()
	}
	eventually(t, 30*time.Second, "one more is let in", func() bool {
		c := w.dial(fmt.Sprint("/mem-", docs-1))
		defer c.drop()
		c.send(step1(nil))
		c.wait("close", func() bool { return c.closed || c.count(yjs.MsgSync, yjs.SyncStep2) > 0 })
		return !c.closed
	})
}
