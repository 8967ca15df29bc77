package stream

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

// hook listens to events of the connections. unhook restores the handlers that were there before.
func (l *Log) hook() (unhook func()) {
	oldErr, oldRe, oldDis, oldBulk := l.nc.ErrorHandler(), l.nc.ReconnectHandler(), l.nc.DisconnectErrHandler(), l.bulk.ErrorHandler()
	oldBulkRe := l.bulk.ReconnectHandler()
	// Ends and heads are read over bulk: where it reconnects last, compare now.
	l.bulk.SetReconnectHandler(func(nc *nats.Conn) {
		l.compareSoon()
		if oldBulkRe != nil {
			oldBulkRe(nc)
		}
	})
	// A batched read that was not delivered is retried by its reader, so an error on bulk is only logged.
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
			l.bulk.ForceReconnect() // it uses the same network path, and its pings have not noticed yet
		}
		if oldDis != nil {
			oldDis(nc, err)
		}
	})
	l.nc.SetReconnectHandler(func(nc *nats.Conn) {
		l.log.Info("NATS connection is back", "server", nc.ConnectedUrlRedacted())
		l.learnMaxUpdate()
		for _, s := range l.shards {
			s.checking.Store(true)
			s.reconnected.Add(1)
		}
		l.away.Store(true)
		l.compareSoon() // verifies the ends first, and lets appends go
		// The replica that answers now may lag; compare once more when it has caught up.
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
