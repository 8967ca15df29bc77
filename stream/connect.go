package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

// Dial opens the two connections of a Log: nc for appends and the live feed, bulk for everything large. url may name several
// servers, separated by commas; with nats.InProcessServer in opts it is not used. opts come last and win (credentials, TLS).
//
// Both reconnect for ever. Nothing is buffered while disconnected: the log retries by itself and knows what it sent.
func Dial(url string, opts ...nats.Option) (nc, bulk *nats.Conn, err error) {
	base := []nats.Option{
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			d := min(50*time.Millisecond<<min(attempts, 6), 500*time.Millisecond) // edits wait for it
			return d/2 + rand.N(d/2)
		}),
		nats.ReconnectBufSize(-1),
		nats.Timeout(3 * time.Second),
		// The net under watchLink: a connection that is half open is noticed in 15 s, well before the 30 s after which writers are given up.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(10 * time.Second),
	}
	dial := func(name string, more ...nats.Option) (*nats.Conn, error) {
		all := append(append(append([]nats.Option{nats.Name(name)}, base...), more...), opts...)
		c, err := nats.Connect(url, all...)
		if err != nil {
			return nil, fmt.Errorf("stream: connect to NATS: %w", err)
		}
		return c, nil
	}
	// NoEcho: our own awareness and custom messages do not come back to us.
	if nc, err = dial("yjet", nats.NoEcho()); err != nil {
		return nil, nil, err
	}
	if bulk, err = dial("yjet-bulk"); err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, bulk, nil
}

// hook listens to what happens to the connections; the result takes the listeners off again.
func (l *Log) hook() (unhook func()) {
	oldErr, oldRe, oldDis, oldBulk := l.nc.ErrorHandler(), l.nc.ReconnectHandler(), l.nc.DisconnectErrHandler(), l.bulk.ErrorHandler()
	oldBulkRe := l.bulk.ReconnectHandler()
	// Ends and heads are read over bulk: where it came back last, now is the time.
	l.bulk.SetReconnectHandler(func(nc *nats.Conn) {
		l.compareSoon()
		if oldBulkRe != nil {
			oldBulkRe(nc)
		}
	})
	// A batched read that NATS could not deliver is asked for again; there is nothing else to do about an error on bulk.
	l.bulk.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		l.log.Info("NATS reported an error on the bulk connection", "err", err)
	})
	l.nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrSlowConsumer) {
			l.m.slowConsumers.Inc()
			l.compareSoon()
		} else if err != nil {
			l.log.Warn("NATS reported an error", "err", err)
		}
		if oldErr != nil {
			oldErr(nc, sub, err)
		}
	})
	l.nc.SetDisconnectErrHandler(func(nc *nats.Conn, err error) {
		l.m.disconnects.Inc()
		for _, s := range l.shards {
			s.checking.Store(true)
		}
		if l.ctx.Err() == nil {
			l.log.Warn("NATS connection lost", "err", err)
		}
		if errors.Is(err, nats.ErrStaleConnection) {
			l.bulk.ForceReconnect() // the same way, and no pings have told of it yet
		}
		if oldDis != nil {
			oldDis(nc, err)
		}
	})
	l.nc.SetReconnectHandler(func(nc *nats.Conn) {
		l.log.Info("NATS connection is back", "server", nc.ConnectedUrlRedacted())
		for _, s := range l.shards {
			s.checking.Store(true)
			s.reconnected.Add(1)
		}
		l.away.Store(true)
		l.compareSoon() // verifies the ends first, and lets appends go
		// A replica that answers now may not have caught up yet; look once more when it has.
		time.AfterFunc(2*time.Second, l.compareSoon)
		if oldRe != nil {
			oldRe(nc)
		}
	})
	return func() {
		l.bulk.SetErrorHandler(oldBulk)
		l.bulk.SetReconnectHandler(oldBulkRe)
		l.nc.SetErrorHandler(oldErr)
		l.nc.SetReconnectHandler(oldRe)
		l.nc.SetDisconnectErrHandler(oldDis)
	}
}
