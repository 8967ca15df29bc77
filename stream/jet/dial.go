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
// Both reconnect for ever. Nothing is buffered while disconnected: the caller retries and knows what it sent.
func Dial(url string, opts ...nats.Option) (nc, bulk *nats.Conn, err error) {
	base := []nats.Option{
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			d := min(50*time.Millisecond<<min(attempts, 6), 500*time.Millisecond) // edits wait for it
			return d/2 + rand.N(d/2)
		}),
		nats.ReconnectBufSize(-1),
		nats.Timeout(3 * time.Second),
		// The net under WatchLink: a connection that is half open is noticed in 15 s, well before the 30 s after which writers are given up.
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
