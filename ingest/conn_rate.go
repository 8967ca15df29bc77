package ingest

import (
	"runtime"
	"time"
)

// A bucket is a token bucket that may go into debt: a message that was read counts in full, and the next one is read later.
// Not safe for concurrent use.
type bucket struct {
	rate, burst float64 // tokens a second; the most that may be saved, and the largest debt
	have        float64
	at          time.Time
}

func newBucket(rate, burst float64, now time.Time) bucket {
	return bucket{rate: rate, burst: burst, have: burst, at: now}
}

func (b *bucket) refill(now time.Time) {
	b.have = min(b.burst, b.have+now.Sub(b.at).Seconds()*b.rate)
	b.at = now
}

// take spends n tokens and returns the time until the debt is paid; 0 where there is none.
func (b *bucket) take(n float64, now time.Time) time.Duration {
	b.refill(now)
	b.have -= n
	return b.debt()
}

// takeWithin spends one token if the debt is paid within the longest wait, which it returns.
func (b *bucket) takeWithin(longest time.Duration, now time.Time) (wait time.Duration, ok bool) {
	b.refill(now)
	b.have--
	if wait = b.debt(); wait > longest {
		b.have++
		return 0, false
	}
	return wait, true
}

func (b *bucket) debt() time.Duration {
	if b.have >= 0 {
		return 0
	}
	return time.Duration(-b.have / b.rate * float64(time.Second))
}

func (b *bucket) full(now time.Time) bool {
	return b.have+now.Sub(b.at).Seconds()*b.rate >= b.burst
}

// A lane holds the connections that send in bulk: an import script, an offline day that was not merged, a bot. Their messages
// are handled a few at a time, in turn, so that half of the cores stay free for the connections of people who type. The sender
// notices through TCP that its messages are read later; its connection is never closed for its speed.
type lane chan struct{}

func newLane() lane { return make(lane, max(1, runtime.GOMAXPROCS(0)/2)) }

// enterLane waits for a slot of the lane.
func (c *conn) enterLane() error {
	got := false
	select {
	case c.srv.lane <- struct{}{}:
		got = true
	default:
		err := c.await(func(done <-chan struct{}) {
			select {
			case c.srv.lane <- struct{}{}:
				got = true
			case <-done:
			}
		})
		if err != nil && got {
			<-c.srv.lane
		}
		if err != nil {
			return err
		}
	}
	c.laned.Store(got)
	return nil
}

// leaveLane gives the slot back, if the connection has one. Every wait on behalf of the connection calls it first: a slot is
// for work, not for waiting.
func (c *conn) leaveLane() {
	if c.laned.CompareAndSwap(true, false) {
		<-c.srv.lane
	}
}
