package ingest

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestLargeMessagesWaitForEachOther: the bytes of large messages that connections hold are bounded, and a message that waits goes through when
// another has.
func TestLargeMessagesWaitForEachOther(t *testing.T) {
	w := start(t)
	w.srv.inbound.most = 400 << 10
	text := strings.Repeat("x", 1<<20)
	var all []*client
	for range 6 {
		all = append(all, w.open("/large"))
	}
	for i, c := range all {
		go c.ws.WriteMessage(websocket.BinaryMessage, edit(insert(uint64(i+1), 0, text)))
	}
	for i := range all {
		all[0].waitFor(time.Minute, "content", func() bool { return all[0].state().Structs().Prefix(uint64(i+1)) >= uint64(len(text)) })
	}
	w.srv.inbound.mu.Lock()
	defer w.srv.inbound.mu.Unlock()
	if n := w.srv.inbound.held; n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

func TestLargeMessageIsNotWaitedForEndlessly(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.MessageWait = 200 * time.Millisecond }))
	w.srv.inbound.most = 1 << 20
	for _, holder := range []string{"one", "the elder"} {
		if ok, _ := w.srv.inbound.take(holder, 1<<20); !ok {
			t.Fatalf("%s does not get any", holder)
		}
	}
	c := w.open("/large")
	c.send(edit(insert(1, 0, strings.Repeat("x", 3<<20))))
	c.wait("the end", func() bool { return c.closed })
	if !websocket.IsCloseError(c.err, 1013) {
		t.Errorf("ended with %v, want 1013", c.err)
	}
}
