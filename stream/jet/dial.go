package jet

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

// Dial opens the two connections of a Client: nc for appends and the live feed, bulk for everything large. url may name several
// servers, separated by commas; with nats.InProcessServer in opts it is not used. opts come last and win (credentials, TLS).
//
// Both reconnect for ever. Nothing is buffered while disconnected: the caller retries.
func Dial(url string, opts ...nats.Option) (nc, bulk *nats.Conn, err error) {
	base := []nats.Option{
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			d := min(50*time.Millisecond<<min(attempts, 6), 500*time.Millisecond) // short, since edits wait for it
			return d/2 + rand.N(d/2)
		}),
		nats.ReconnectBufSize(-1),
		nats.Timeout(3 * time.Second),
		// A fallback for WatchLink: these pings notice a half-open connection within 15 s, well before writers are given up after 30 s.
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
	// NoEcho: this server does not receive its own awareness and custom messages.
	if nc, err = dial("yjet", nats.NoEcho()); err != nil {
		return nil, nil, err
	}
	if bulk, err = dial("yjet-bulk"); err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, bulk, nil
}
