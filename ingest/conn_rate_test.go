package ingest

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// An import script, a bot, an offline day that was not merged: all of it arrives, and the neighbours do not notice.
func TestClientThatWritesAtFullSpeedIsNeverClosed(t *testing.T) {
	w := start(t)
	script, neighbour := w.open("/bulk"), w.open("/beside")
	const updates = 20_000
	failed := make(chan error, 1)
	go func() {
		for i := range updates {
			if err := script.ws.WriteMessage(websocket.BinaryMessage, edit(insert(1, uint64(i), "x"))); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	for i := range 20 {
		neighbour.send(edit(insert(2, uint64(i), "y")))
		neighbour.has(2, uint64(i+1))
	}
	if err := <-failed; err != nil {
		t.Fatalf("the sender was cut off: %v", err)
	}
	script.send(edit(insert(1, updates, "still here")))
	eventually(t, time.Minute, "everything arrives", func() bool {
		late := w.open("/bulk")
		late.mu.Lock()
		defer late.mu.Unlock()
		return late.state().Structs().Prefix(1) == updates+10
	})
}

// Messages that are no updates go out one by one to everybody: their sender is slowed, and goes on.
func TestClientThatSendsOtherMessagesTooFastIsReadSlowly(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.MessageRate, l.MessageBurst = 200, 10 }))
	c, other := w.open("/fast"), w.open("/fast")
	begun := time.Now()
	for i := range 110 {
		c.send(aware(1, uint64(i+1), "{}"))
	}
	c.send(edit(insert(1, 0, "after it")))
	other.has(1, 8)
	if took := time.Since(begun); took < 400*time.Millisecond {
		t.Errorf("110 messages at 200 a second after a burst of 10 were read in %v, want half a second", took)
	}
}

func TestBucketsLetWaitWhatIsWithinBounds(t *testing.T) {
	now := time.Now()
	b := newBucket(10, 5, now)
	for i := range 5 {
		if wait := b.take(1, now); wait != 0 {
			t.Errorf("token %d of the burst: got a wait of %v", i, wait)
		}
	}
	if wait := b.take(1, now); wait != 100*time.Millisecond {
		t.Errorf("first token of the debt: got %v, want 100ms", wait)
	}
	if _, ok := b.takeWithin(150*time.Millisecond, now); ok {
		t.Error("a wait of 200ms: allowed, want at most 150ms")
	}
	if wait, ok := b.takeWithin(150*time.Millisecond, now.Add(100*time.Millisecond)); !ok || wait != 100*time.Millisecond {
		t.Errorf("later: got %v, %v, want 100ms", wait, ok)
	}
	if b.full(now) || !b.full(now.Add(time.Hour)) {
		t.Error("a bucket in debt is full, or one that had an hour is not")
	}
}

// A connection that waits gives the slot of the lane back: one room that is full does not hold up all senders.
func TestLaneIsForWorkNotForWaiting(t *testing.T) {
	w := start(t)
	c := w.open("/lane")
	c.send(edit(insert(1, 0, "x")))
	c.has(1, 1)
	var conn *conn
	w.srv.mu.Lock()
	for k := range w.srv.conns {
		conn = k
	}
	w.srv.mu.Unlock()
	if err := conn.enterLane(); err != nil || len(w.srv.lane) != 1 {
		t.Fatalf("enter: got %v and %d slots taken, want one", err, len(w.srv.lane))
	}
	conn.await(func(<-chan struct{}) {
		if n := len(w.srv.lane); n != 0 {
			t.Errorf("while it waits the connection holds %d slots, want none", n)
		}
	})
	conn.leaveLane()
	if n := len(w.srv.lane); n != 0 {
		t.Errorf("after leaving twice: %d slots taken, want none", n)
	}
}
