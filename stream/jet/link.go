package jet

import (
	"context"
	"time"
)

const (
	echoEvery = 500 * time.Millisecond
	echoWait  = 1500 * time.Millisecond
	deadAfter = 2         // consecutive pings without an answer in time
	echoBusy  = 256 << 10 // with more bytes under way, our own traffic may delay the answers
	renewHold = 5 * time.Second
	renewMost = time.Minute
)

// WatchLink detects faults that TCP does not report: a connection that is half open, or was for a while and lost messages both ways.
// On such a connection some acknowledgements never come, and later PONGs are matched to the wrong PINGs. WatchLink replaces both
// connections; the caller then resends its unacknowledged messages. If WatchLink fails to notice, the pings of nats.go do after 15 s.
// Where new connections are no better, it replaces them less and less often. sending returns the number of bytes without
// acknowledgement. WatchLink returns when ctx ends.
func (c *Client) WatchLink(ctx context.Context, sending func() int64) {
	silent, hold := 0, renewHold
	var renewed time.Time
	for Pause(ctx, echoEvery) == nil {
		if !c.Live.IsConnected() {
			silent = 0
			continue
		}
		ping, cancel := context.WithTimeout(ctx, echoWait)
		err := c.Live.FlushWithContext(ping)
		late := err != nil && ping.Err() != nil
		cancel()
		if !late {
			if silent = 0; time.Since(renewed) > hold {
				hold = renewHold
			}
			continue
		}
		silent++
		if silent < deadAfter || sending() > echoBusy || time.Since(renewed) < hold || ctx.Err() != nil {
			continue
		}
		c.log.Warn("NATS does not answer: connecting anew")
		silent, renewed, hold = 0, time.Now(), min(2*hold, renewMost)
		c.Live.ForceReconnect()
		c.Bulk.ForceReconnect()
	}
}
