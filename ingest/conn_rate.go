package ingest

import "time"

// A bucket is a token bucket that may go into debt: what has come has come, but
// the next is read later. Not safe for concurrent use.
type bucket struct {
	rate, burst float64 // a second; at most
	have        float64
	at          time.Time
}

func newBucket(rate, burst float64, now time.Time) bucket {
	return bucket{rate: rate, burst: burst, have: burst, at: now}
}

// take spends n and answers how long to wait before the next read.
func (b *bucket) take(n float64, now time.Time) time.Duration {
	b.have = min(b.burst, b.have+now.Sub(b.at).Seconds()*b.rate) - n
	b.at = now
	if b.have >= 0 {
		return 0
	}
	return time.Duration(-b.have / b.rate * float64(time.Second))
}

// allow spends one if there is one.
func (b *bucket) allow(now time.Time) bool {
	b.have = min(b.burst, b.have+now.Sub(b.at).Seconds()*b.rate)
	b.at = now
	if b.have < 1 {
		return false
	}
	b.have--
	return true
}

func (b *bucket) full(now time.Time) bool {
	return b.have+now.Sub(b.at).Seconds()*b.rate >= b.burst
}
