package jet

import (
	"context"
	"time"
)

const (
	echoEvery = 500 * time.Millisecond
	echoWait  = 1500 * time.Millisecond
	deadAfter = 2         // pings in a row that were not answered in time
	echoBusy  = 256 << 10 // bytes under way from which on our own sending may be the cause of the silence
	renewHold = 5 * time.Second
	renewMost = time.Minute
)

// WatchLink finds what TCP does not tell: a connection that is half open, or was for a while and swallowed messages both ways. Such a
// connection leaves acknowledgements waited for that will not come, and counts PONGs for the wrong PINGs from then on. WatchLink
// replaces both connections; the caller then sends again what was under way. The pings of nats.go are the net under it; they take
// 15 s. Where new connections are as bad, it replaces them ever less often. sending is how many bytes wait for their
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
