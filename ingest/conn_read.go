package ingest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

var messagePool = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// read takes messages until the connection ends and answers why it did.
//
// Where it waits for the next message, the stack of its goroutine is the most that an idle connection has in memory. The collector halves
// a stack of which less than a quarter is used, so what is needed only while a message is handled belongs into take.
func (c *conn) read() error {
	if err := c.begin(); err != nil {
		return err
	}
	for first := true; ; first = false {
		c.ws.SetReadLimit(int64(max(int(c.limit.Load()), c.srv.limits.largest())))
		kind, r, err := c.ws.NextReader()
		if err == nil {
			err = c.take(kind, r, first)
		} else {
			err = c.readError(err, first)
		}
		if err != nil {
			return err
		}
	}
}

// begin prepares the socket and lets the dialect speak first.
//
//go:noinline
func (c *conn) begin() error {
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
	if err := c.listen(); err != nil {
		return err
	}
	if c.mayWait {
		c.readBy(time.Time{})
	} else {
		c.readBy(c.opened.Add(c.srv.limits.FirstWait))
	}
	return nil
}

// take reads one message and has the dialect handle it.
//
//go:noinline
func (c *conn) take(kind int, r io.Reader, first bool) error {
	bp := messagePool.Get().(*[]byte)
	c.wire.inMessage = !first
	b, held, err := c.readAll(r, (*bp)[:0], int(c.limit.Load()))
	c.wire.inMessage = false
	if err != nil {
		c.srv.inbound.give(c, held)
		return c.readError(err, first)
	}
	if first || c.wire.armed {
		c.wire.armed = false
		c.readBy(time.Time{})
	}
	c.heard()
	d := c.dialect()
	c.srv.metrics.received(d.name(), len(b))
	c.exempt = false
	c.update.Store(false)
	err = func() error {
		defer c.srv.inbound.give(c, held)
		if c.bulk.take(1, time.Now()) > 0 {
			c.bulk.have = max(c.bulk.have, -c.bulk.burst)
			if err := c.enterLane(); err != nil {
				return err
			}
			defer c.leaveLane()
		}
		if err := d.message(c, kind == websocket.TextMessage, b); err != nil || held == 0 || c.srv.memory.limit() == 0 {
			return err
		}
		return c.settled()
	}()
	messages, n := 1.0, float64(len(b))
	if cap(b) <= 64<<10 {
		*bp = b
		messagePool.Put(bp)
	}
	if err != nil {
		return err
	}
	if c.update.Load() {
		messages = 0
	}
	if c.exempt {
		n = 0
	}
	return c.pace(messages, n)
}

// listen waits a moment for the client to begin; where its dialect has a word for a silent one, it goes out.
func (c *conn) listen() error {
	l, ok := c.dialect().(listener)
	if wait := c.srv.limits.SilentWait; !ok || wait >= c.srv.limits.FirstWait {
		return nil
	}
	c.readBy(time.Now().Add(c.srv.limits.SilentWait))
	heard := c.wire.hears()
	if err := c.ended(); err != nil || heard {
		return err
	}
	return l.silent(c)
}

// ended answers why the connection has ended, nil while it has not.
func (c *conn) ended() error {
	if c.ctx.Err() == nil {
		return nil
	}
	return context.Cause(c.ctx)
}

// readAll reads a message of at most most bytes into b; one that brings content of a document may be longer. It counts the bytes of
// a large one as they arrive, as readUpdate does, and reads on only while those of all connections together are below the bound; the
// caller gives held back.
func (c *conn) readAll(r io.Reader, b []byte, most int) (_ []byte, held int, err error) {
	for {
		if len(b) > most && !c.dialect().carries(b) {
			return b, held, causeTooLarge
		}
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
func (c *conn) reserve(n int) (err error) {
	if c.srv.memory.takes(n) {
		if ok, _ := c.srv.inbound.take(c, n); ok {
			return nil
		}
	}
	if ended := c.await(func(done <-chan struct{}) {
		err = c.srv.inbound.wait(c.srv.memory, c, n, c.srv.limits.MessageWait, done)
	}); ended != nil && err != nil {
		return ended
	}
	return err
}

// settled waits until all updates of the connection are stored and delivered: until then a large update is in memory many times, on its
// way into the log, in it, and back.
func (c *conn) settled() error {
	c.mu.Lock()
	sessions := append([]*session(nil), c.sessions...)
	c.mu.Unlock()
	for _, s := range sessions {
		for {
			ch := s.unsettled()
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

// readError returns the cause that an error of the socket stands for.
func (c *conn) readError(err error, first bool) error {
	var ce *websocket.CloseError
	var cs *cause
	own := errors.As(err, &cs)
	switch {
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case (errors.Is(err, websocket.ErrReadLimit) || cs == causeTooLarge) && first && c.limit.Load() < int64(c.srv.limits.Message):
		return causeFirstTooLarge
	case errors.Is(err, websocket.ErrReadLimit):
		return causeTooLarge
	case own:
		return err
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

// pace reads a connection that sends too fast later. Updates count by their bytes alone: they merge in the log, and their cost
// is shared out in the lane. All other messages count one by one, since each goes out to everybody in the document.
func (c *conn) pace(messages, bytes float64) error {
	now := time.Now()
	if wait := max(c.messages.take(messages, now), c.bytes.take(bytes, now)); wait > 0 {
		return c.sleep(wait)
	}
	return nil
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
	c.leaveLane()
	c.waiting.Add(1)
	f(c.ctx.Done())
	c.heard()
	c.waiting.Add(-1)
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return nil
}
