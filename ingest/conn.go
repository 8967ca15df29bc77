package ingest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// A conn is one socket: a reader in its own goroutine, a bounded queue of frames
// that are ready to be written, and a writer that exists only while the socket
// does not take them at once.
type conn struct {
	// Set before the reader starts, then only read.
	srv    *Server
	id     string // node.number, the log's Yjet-Conn
	ip     string
	origin string
	token  string // never logged
	route  route
	ws     *websocket.Conn
	wire   *wire
	ctx    context.Context // ends, with its cause, when the connection does
	cancel context.CancelCauseFunc
	opened time.Time
	log    *slog.Logger

	lastIn   atomic.Int64 // seconds since the start: anything came, pongs included
	lastOut  atomic.Int64 // an application message was queued
	lastPing atomic.Int64
	waiting  atomic.Int32 // the reader waits for us: its silence is not the client's
	limit    atomic.Int64 // bytes a message may have

	// Owned by the reader.
	messages, bytes bucket
	slowSince       time.Time // since when it is read slowly
	exempt          bool      // the message under way does not count as bytes

	mu       sync.Mutex
	speaks   dialect
	sessions []*session
	q        [][]byte // whole frames, or the parts of one next to each other; shared, never changed
	spare    [][]byte
	size     int // bytes in q and being written, without exempt ones
	frames   int
	outSize  int // of size and frames, what the writer has taken
	outCount int
	listed   bool // somebody will call flush
	writing  bool
	behind   bool // sessions missed broadcasts: they catch up when the queue is empty
	closing  bool
	err      error // why
}

func (c *conn) dialect() dialect {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.speaks
}

func (c *conn) setDialect(d dialect) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.speaks = d
}

// run is the whole life of the connection.
func (c *conn) run() {
	if !c.srv.o.Auth.Open() {
		stretch(-1)
	}
	err := c.guard(c.read)
	c.close(err)
	c.mu.Lock()
	err, d := c.err, c.speaks
	c.mu.Unlock()
	clean := causeOf(err) != causeGone && causeOf(err) != causeDead
	c.leaveAll(clean)
	d.ended(c)
	c.leaveAll(clean) // of documents that were just being let in
	c.linger()
	c.srv.forget(c, d)
}

func (c *conn) leaveAll(clean bool) {
	c.mu.Lock()
	sessions := append([]*session(nil), c.sessions...)
	c.mu.Unlock()
	for _, s := range sessions {
		s.leave(clean)
	}
}

// stretch makes the stack of a fresh goroutine as large as the verification of a signature needs it, in one step: left alone
// it grows there three times, and each time all that is on it is copied. What stays unused the garbage collector takes back.
// at is where in its frame it reads; below zero it leaves the frame untouched.
//
//go:noinline
func stretch(at int) byte {
	if at < 0 {
		return 0
	}
	var frame [12 << 10]byte
	return frame[at]
}

// guard turns a panic into an internal error: it ends one connection, not the
// process.
func (c *conn) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.metrics.panics.Inc()
			c.log.Error("panic in a connection", "panic", p, "stack", string(debug.Stack()))
			err = causeInternal
		}
	}()
	return f()
}

var messagePool = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// read takes messages until the connection ends and answers why it did.
func (c *conn) read() error {
	c.ws.SetPingHandler(func(data string) error {
		c.heard()
		c.put(append(appendHeader(make([]byte, 0, len(data)+2), framePong, len(data)), data...), false)
		c.flush()
		return c.pace(1, 0)
	})
	c.ws.SetPongHandler(func(string) error { c.heard(); return nil })
	c.ws.SetCloseHandler(func(int, string) error { return nil })
	c.wire.patience = c.srv.limits.MessageWait
	c.wire.arm = c.readBy
	c.readBy(c.opened.Add(c.srv.limits.FirstWait))
	if err := c.dialect().open(c); err != nil {
		return err
	}
	first := true
	for {
		c.ws.SetReadLimit(c.limit.Load())
		kind, r, err := c.ws.NextReader()
		if err != nil {
			return c.readError(err, first)
		}
		bp := messagePool.Get().(*[]byte)
		c.wire.inMessage = !first
		b, held, err := c.readAll(r, (*bp)[:0])
		c.wire.inMessage = false
		if err != nil {
			c.srv.inbound.give(c, held)
			return c.readError(err, first)
		}
		if first || c.wire.armed {
			first, c.wire.armed = false, false
			c.readBy(time.Time{})
		}
		c.heard()
		d := c.dialect()
		c.srv.metrics.received(d.name(), len(b))
		c.exempt = false
		err = func() error {
			defer c.srv.inbound.give(c, held)
			if err := d.message(c, kind == websocket.TextMessage, b); err != nil || held == 0 || c.srv.memory.limit() == 0 {
				return err
			}
			return c.settled()
		}()
		n := float64(len(b))
		if cap(b) <= 64<<10 {
			*bp = b
			messagePool.Put(bp)
		}
		if err != nil {
			return err
		}
		if c.exempt {
			n = 0
		}
		if err := c.pace(1, n); err != nil {
			return err
		}
	}
}

// readAll reads a message into b. Of a large one it counts what it holds, and reads on only when all connections together hold
// little enough; the caller gives held back.
func (c *conn) readAll(r io.Reader, b []byte) (_ []byte, held int, err error) {
	for {
		if len(b) == cap(b) {
			if len(b) >= largeMessage {
				if err := c.reserve(len(b)); err != nil {
					return b, held, err
				}
				held += len(b)
			}
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, held, nil
		}
		if err != nil {
			return b, held, err
		}
	}
}

// reserve counts n more bytes of a large message; it waits while there is no room for them, but not for ever.
func (c *conn) reserve(n int) error {
	var late <-chan time.Time
	for {
		freed := make(<-chan struct{})
		if c.srv.memory.takes(n) {
			var ok bool
			if ok, freed = c.srv.inbound.take(c, n); ok {
				return nil
			}
		}
		if late == nil {
			late = time.After(c.srv.limits.MessageWait)
		}
		overdue := false
		if err := c.await(func(done <-chan struct{}) {
			select {
			case <-freed:
			case <-time.After(collectEvery): // memory may have become free meanwhile
			case <-late:
				overdue = true
			case <-done:
			}
		}); err != nil {
			return err
		}
		if overdue {
			return causeOverloaded
		}
	}
}

// settled waits until what the connection has sent is stored and delivered: until then a large update is there many times, on its way into
// the log, in it, and back.
func (c *conn) settled() error {
	c.mu.Lock()
	sessions := append([]*session(nil), c.sessions...)
	c.mu.Unlock()
	for _, s := range sessions {
		for {
			ch := s.room.unsettled(s)
			if ch == nil {
				break
			}
			if err := c.await(func(done <-chan struct{}) {
				select {
				case <-ch:
				case <-done:
				}
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// readError says what an error of the socket means.
func (c *conn) readError(err error, first bool) error {
	var ce *websocket.CloseError
	var cs *cause
	switch {
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case errors.As(err, &cs):
		return err // of our own handler of pings
	case errors.Is(err, websocket.ErrReadLimit):
		return causeTooLarge
	case errors.As(err, &ce) && ce.Code != websocket.CloseAbnormalClosure && ce.Code != websocket.CloseProtocolError && ce.Code != websocket.CloseInvalidFramePayloadData:
		return causeLeft
	case isTimeout(err) && first:
		return causeNeverAuth
	case isTimeout(err):
		return causeDead
	case isNetworkError(err):
		return causeGone
	}
	return causeMalformed // the frame itself was wrong
}

// isTimeout: gorilla hides the error of the socket, but not that it was one of time.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func isNetworkError(err error) bool {
	var ce *websocket.CloseError
	var ne net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &ne) ||
		errors.As(err, &ce) && ce.Code == websocket.CloseAbnormalClosure
}

func (c *conn) heard() { c.lastIn.Store(c.srv.seconds()) }

// readBy sets the deadline of the next read, unless the connection is closing
// and the reader is to be woken.
func (c *conn) readBy(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.wire.SetReadDeadline(t)
	}
}

// pace makes a client that sends too fast wait, and ends it when that does not
// help for long.
func (c *conn) pace(messages, bytes float64) error {
	now := time.Now()
	wait := max(c.messages.take(messages, now), c.bytes.take(bytes, now))
	if wait == 0 {
		if !c.slowSince.IsZero() && c.messages.have > c.messages.burst/4 && c.bytes.have > c.bytes.burst/4 {
			c.slowSince = time.Time{}
		}
		return nil
	}
	if c.slowSince.IsZero() {
		c.slowSince = now
	} else if now.Sub(c.slowSince) > c.srv.limits.RateWait {
		return causeTooFast
	}
	return c.sleep(wait)
}

// sleep waits in the reader without letting the client look dead.
func (c *conn) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	return c.await(func(done <-chan struct{}) {
		select {
		case <-t.C:
		case <-done:
		}
	})
}

// await runs f, which may block until done, in the reader's goroutine.
func (c *conn) await(f func(done <-chan struct{})) error {
	c.waiting.Add(1)
	f(c.ctx.Done())
	c.heard()
	c.waiting.Add(-1)
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return nil
}

// close ends the connection for a reason: what is queued goes out first, then a
// close frame. The reader does the rest. It may be called from anywhere but
// under the conn's own lock, and more than once: the first reason stays.
func (c *conn) close(err error) {
	cs := causeOf(err)
	d := c.dialect()
	var bye []byte
	if !cs.silent {
		bye = append(d.goodbye(c, cs), closeFrame(d.code(cs), cs.reason)...)
	}
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return
	}
	c.closing, c.err = true, err
	if bye != nil {
		c.q = append(c.q, bye)
	}
	c.wire.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	c.mu.Unlock()
	c.cancel(err)
	c.flush()
}

func closeFrame(code int, reason string) []byte {
	if code == 0 {
		code = websocket.CloseInternalServerErr
	}
	b := appendHeader(nil, frameClose, 2+len(reason))
	return append(append(b, byte(code>>8), byte(code)), reason...)
}

// fail ends the connection at once, without a word.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if !c.closing {
		c.closing, c.err = true, err
	}
	c.q = nil
	c.mu.Unlock()
	c.cancel(err)
	c.wire.Conn.Close()
}

// linger reads on until the peer has seen the close frame: closing a socket with
// unread data in it would take the frame away again.
func (c *conn) linger() {
	defer c.wire.Conn.Close()
	c.mu.Lock()
	silent := causeOf(c.err).silent
	c.mu.Unlock()
	if silent {
		return
	}
	c.wire.SetReadDeadline(time.Now().Add(2 * time.Second))
	io.CopyN(io.Discard, c.wire.Conn, 64<<20)
}

// join and part keep the list of sessions of the connection.
func (c *conn) join(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions = append(c.sessions, s)
}

func (c *conn) part(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, o := range c.sessions {
		if o == s {
			c.sessions = append(c.sessions[:i:i], c.sessions[i+1:]...)
			return
		}
	}
}
