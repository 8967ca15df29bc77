package ingest

import (
	"io"
	"time"

	"github.com/gorilla/websocket"
)

// close ends the connection for a reason: queued frames go out first, then a
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
	if cs.fatal() && !c.counted.Load() {
		c.srv.metrics.refused(cs.reason)
	}
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
	c.answers.queued = 0
	c.dropAnswers()
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
