// Package jet is a JetStream client with the operations that the log needs and nats.go lacks: reads from a stream's leader, batched
// direct reads with distinct errors, short-lived consumers, atomic batches, and the comparison of a stream with its wanted
// configuration. It deals with streams and messages, not with documents.
//
// A Client is safe for concurrent use. It starts no goroutine; WatchLink runs in its caller's.
package jet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Seq is the sequence of a message in its stream, from 1. Zero is before the first.
type Seq uint64

// ReadWait is the time limit for one answer.
const ReadWait = 5 * time.Second

// Client sends requests over two connections, which it does not close.
type Client struct {
	Live *nats.Conn // appends
	Bulk *nats.Conn // requests, reads and large messages

	// Damaged is called for a message that a listing skips because NATS cannot read it. Set it before the first use.
	Damaged func()

	// NoConsumer is the time until which Consume does nothing, in unix nanoseconds: consumerRest after a failure to create a consumer.
	NoConsumer atomic.Int64

	js    jetstream.JetStream
	log   *slog.Logger
	reads chan struct{} // one token per batched read under way; the bound keeps their answers within max_pending

	turnMu sync.Mutex               // guards turns; not held during a purge
	turns  map[string]chan struct{} // by stream: one token, held by the PurgeInTurn that runs
}

// New returns a client of two connections, which Dial makes.
func New(live, bulk *nats.Conn, log *slog.Logger) (*Client, error) {
	js, err := jetstream.New(bulk)
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return &Client{
		Live: live, Bulk: bulk, Damaged: func() {}, js: js, log: log,
		reads: make(chan struct{}, 8), turns: make(map[string]chan struct{}),
	}, nil
}

// Reading returns the number of batched reads under way.
func (c *Client) Reading() int { return len(c.reads) }

// Request sends one request to JetStream's API and decodes the JSON answer into resp, which may be nil. It returns the answer's
// "error" as an error.
func (c *Client) Request(ctx context.Context, subject string, req, resp any) error {
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, ReadWait)
	defer cancel()
	m, err := c.Bulk.RequestWithContext(ctx, "$JS.API."+subject, body)
	if err != nil {
		return err
	}
	var e struct {
		Error *APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return fmt.Errorf("stream: answer of $JS.API.%s: %w", subject, err)
	}
	if e.Error != nil {
		return e.Error.as()
	}
	if resp == nil {
		return nil
	}
	return json.Unmarshal(m.Data, resp)
}

// Retry calls f until it succeeds, fails for good, or ctx ends.
func Retry(ctx context.Context, f func(ctx context.Context) error) error {
	for attempt := 0; ; attempt++ {
		err := f(ctx)
		if err == nil || !Transient(err) {
			return err
		}
		if cause := Pause(ctx, Backoff(attempt)); cause != nil {
			return fmt.Errorf("%w (%w)", err, cause)
		}
	}
}

// Transient reports whether another attempt may succeed: no leader, no connection, no answer.
func Transient(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrConnectionReconnecting) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrStaleConnection) || errors.Is(err, ErrRefused) || broke(err)
}

// broke reports whether err is an error of the connection itself: the server went away while the request was written.
func broke(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}

// Backoff returns the pause after failed attempt number attempt, from 0: 20 ms to 1 s, with jitter.
func Backoff(attempt int) time.Duration {
	d := min(20*time.Millisecond<<min(attempt, 10), time.Second)
	return d/2 + rand.N(d/2)
}

// Pause waits for d. If ctx ends first, it returns the cause.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Flush returns when the server has received everything sent on a connection. A lost connection is a transient error.
func Flush(ctx context.Context, nc *nats.Conn) error {
	return Retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, ReadWait)
		defer cancel()
		if !nc.IsConnected() {
			return nats.ErrDisconnected
		}
		err := nc.FlushWithContext(ctx)
		if errors.Is(err, nats.ErrConnectionClosed) && !nc.IsClosed() {
			return nats.ErrDisconnected // nats.go says closed when the connection was lost meanwhile
		}
		return err
	})
}
