package stream

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Announce tells all servers something: a revocation, a kick, an erased document. It is not stored. kind is a word.
func (l *Log) Announce(kind string, payload []byte) error {
	if !validKey(kind) {
		return fmt.Errorf("stream: bad announcement kind %q", kind)
	}
	// The bulk connection has an echo: this server hears it like all others.
	if err := l.bulk.Publish(kindCtl+"."+kind, payload); err != nil {
		return fmt.Errorf("announce %s: %w", kind, err)
	}
	return nil
}

// OnAnnounce has f called, one call at a time, for each announcement of the kind, our own included, until stop.
func (l *Log) OnAnnounce(kind string, f func(payload []byte)) (stop func(), err error) {
	if !validKey(kind) {
		return nil, fmt.Errorf("stream: bad announcement kind %q", kind)
	}
	sub, err := l.bulk.Subscribe(kindCtl+"."+kind, func(m *nats.Msg) { f(m.Data) })
	if err != nil {
		return nil, fmt.Errorf("listen to %s: %w", kind, err)
	}
	return func() { sub.Unsubscribe() }, nil
}
