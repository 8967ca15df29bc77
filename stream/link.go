package stream

import (
	"context"
	"time"
)

const (
	echoEvery = 500 * time.Millisecond
	echoWait  = 1500 * time.Millisecond
	deadAfter = 2         // pings in a row that were not answered in time
	echoBusy  = 256 << 10 // bytes of records on their way from which on silence may be our own doing
	renewHold = 5 * time.Second
	renewMost = time.Minute
)

// watchLink finds out what TCP does not tell: that a connection is half open, or was for a while and swallowed messages both ways. Then
// acknowledgements are waited for that will not come, and PONGs are counted for the wrong PINGs from then on. Both end with a new
// connection, on which everything that is under way is sent again and the heads are compared. The pings of the client library are the
// net under it; they take 15 s. Where new connections are as bad, they are made ever more seldom.
func (l *Log) watchLink() {
	silent, hold := 0, renewHold
	var renewed time.Time
	for pause(l.ctx, echoEvery) == nil {
		if !l.nc.IsConnected() {
			silent = 0
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, echoWait)
		err := l.nc.FlushWithContext(ctx)
		late := err != nil && ctx.Err() != nil
		cancel()
		if !late {
			if silent = 0; time.Since(renewed) > hold {
				hold = renewHold
			}
			continue
		}
		silent++
		if silent < deadAfter || l.sending() > echoBusy || time.Since(renewed) < hold || l.ctx.Err() != nil {
			continue
		}
		l.log.Warn("NATS does not answer: connecting anew")
		silent, renewed, hold = 0, time.Now(), min(2*hold, renewMost)
		l.nc.ForceReconnect()
		l.bulk.ForceReconnect()
	}
}

// sending is how many bytes of records wait for their acknowledgement.
func (l *Log) sending() (n int64) {
	for _, s := range l.shards {
		n += s.underway.Load()
	}
	return n
}
