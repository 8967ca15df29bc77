// Package jet is a client of JetStream for what the log needs and nats.go does not offer: reads that the leader of a stream answers,
// batched direct reads and their failures told apart, short-lived consumers, atomic batches, and streams that are compared with
// what they should be. It knows streams and messages, not documents.
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

// ReadWait is how long one answer is waited for.
const ReadWait = 5 * time.Second

// Client sends requests over two connections, which it does not close.
type Client struct {
	Live *nats.Conn // appends
	Bulk *nats.Conn // requests, reads and all that is large

	// Damaged is called for a message that a listing must leave out since NATS cannot read it. Set before the first use.
	Damaged func()

	// NoConsumer is until when Consume does nothing, in unix nanoseconds: a minute after one could not be made.
	NoConsumer atomic.Int64

	js    jetstream.JetStream
	log   *slog.Logger
	reads chan struct{} // a token per batched read under way, so that their answers fit into max_pending

	turnMu sync.Mutex
	turns  map[string]chan struct{} // guarded by turnMu: by stream, a token per purge in turn that is under way
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

// Reading returns how many batched reads are under way.
func (c *Client) Reading() int { return len(c.reads) }

// Request asks JetStream's API once and reads the JSON answer into resp, which may be nil. The answer's "error" becomes the error.
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

// Transient reports whether an error may be gone at the next attempt: no leader, no connection, no answer.
func Transient(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrConnectionReconnecting) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrStaleConnection) || errors.Is(err, ErrRefused) || broke(err)
}

// broke reports an error of the connection itself, which a request meets when the server goes away while it is written.
func broke(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}

// Backoff is the pause after a failed attempt, the first being 0: 20 ms to 1 s, spread.
func Backoff(attempt int) time.Duration {
	d := min(20*time.Millisecond<<min(attempt, 10), time.Second)
	return d/2 + rand.N(d/2)
}

// Pause waits for d. It returns the cause where ctx ends before.
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

// Flush returns when the server has seen all that was sent on a connection. A connection that is away is a transient error.
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
