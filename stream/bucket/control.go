package bucket

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Control carries announcements between all servers: a revocation, a kick, an erased document. They are not stored.
type Control struct{ c *jet.Client }

// NewControl returns the announcements of a store.
func NewControl(c *jet.Client) *Control { return &Control{c} }

func control(kind string) (string, error) {
	if !name.ValidKey(kind) {
		return "", fmt.Errorf("stream: bad announcement kind %q", kind)
	}
	return string(name.Control) + "." + kind, nil
}

// Announce sends payload to all servers, this one included. kind is a single word.
func (b *Control) Announce(kind string, payload []byte) error {
	subject, err := control(kind)
	if err != nil {
		return err
	}
	// The bulk connection echoes, so this server receives it too.
	if err := b.c.Bulk.Publish(subject, payload); err != nil {
		return fmt.Errorf("announce %s: %w", kind, err)
	}
	return nil
}

// On calls f for each announcement of the kind, one call at a time, until stop is called.
func (b *Control) On(kind string, f func(payload []byte)) (stop func(), err error) {
	subject, err := control(kind)
	if err != nil {
		return nil, err
	}
	sub, err := b.c.Bulk.Subscribe(subject, func(m *nats.Msg) { f(m.Data) })
	if err != nil {
		return nil, fmt.Errorf("listen to %s: %w", kind, err)
	}
	return func() { sub.Unsubscribe() }, nil
}
