package ingest

import (
	"testing"
	"time"
	"unsafe"
)

// setBy is t on a clock that was set by d: the measured time between it and other times does not change.
func setBy(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // with a measure beside it a time has its seconds from bit 30 on
	*wall = uint64(int64(*wall) + int64(d/time.Second)<<30)
	return t
}

func TestClockThatIsSetSendsNobodyAway(t *testing.T) {
	w := start(t)
	for i, d := range []time.Duration{time.Hour, -time.Hour} {
		a := w.open("/clock")
		now := time.Now()
		set := setBy(now, d)
		if set.Sub(now) != 0 || set.Round(0).Sub(now.Round(0)) != d {
			t.Fatalf("the clock was set from %v to %v, want a difference of %v that is not measured", now, set, d)
		}
		var c *conn
		w.srv.mu.Lock()
		for c = range w.srv.conns {
			break
		}
		w.srv.mu.Unlock()
		eventually(t, 5*time.Second, "the reader reads", func() bool { return c.waiting.Load() == 0 })
		w.srv.tickAt(set)
		a.send(edit(insert(uint64(1+i), 0, "still here")))
		a.has(uint64(1+i), 10)
		if silent := w.srv.seconds() - c.lastIn.Load(); silent < 0 || silent > 30 {
			t.Errorf("clock set by %v: silent for %d s", d, silent)
		}
		a.leave()
		eventually(t, 5*time.Second, "nobody is here", func() bool { w.srv.mu.Lock(); defer w.srv.mu.Unlock(); return len(w.srv.conns) == 0 })
	}
}
