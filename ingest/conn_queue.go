package ingest

import (
	"errors"
	"os"
	"sync"
	"time"
)

// put queues a frame. It reports whether the caller has to see to it that flush
// is called, and whether the queue has passed its soft limit. An exempt frame
// (an answer to a step 1) does not count here: one waits at a time, and unread counts it.
func (c *conn) put(frame []byte, exempt bool) (list, over bool) {
	return c.put2(frame, nil, exempt)
}

// put2 queues one frame of two parts, so that a large shared payload is not
// copied for each connection.
func (c *conn) put2(head, payload []byte, exempt bool) (list, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || len(head) == 0 {
		return false, false
	}
	c.q = append(c.q, head)
	if len(payload) > 0 {
		c.q = append(c.q, payload)
	}
	c.frames++
	if exempt {
		c.answers.queued += len(head) + len(payload)
	} else {
		c.size += len(head) + len(payload)
	}
	if first := head[0]; first != framePing && first != framePong {
		c.lastOut.Store(c.srv.seconds())
	}
	list = !c.listed && !c.writing
	c.listed = c.listed || list
	return list, c.frames > c.srv.limits.QueueFrames || c.size > c.srv.limits.QueueSoft
}

// send queues a frame and flushes the queue.
func (c *conn) send(frame []byte) {
	if frame == nil {
		return
	}
	c.put(frame, false)
	c.flush()
}

// overfull reports whether the queue has passed the hard limit, its last frame not counted.
func (c *conn) overfull(last int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size-last > c.srv.limits.QueueHard
}

// fellBehind notes that a session of the connection missed a broadcast. It reports whether the caller has to see to it that flush
// is called: the queue may have been written since it was found too long, and then no other caller does.
func (c *conn) fellBehind() (list bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behind = true
	list = !c.listed && !c.writing
	c.listed = c.listed || list
	return list
}

var writePool = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// flush writes as much of the queue as the socket takes without waiting; a
// goroutine writes the rest.
func (c *conn) flush() {
	c.mu.Lock()
	c.listed = false
	if c.writing {
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	for {
		q := c.takeQueue()
		if q == nil {
			return
		}
		rest, err := c.tryQueue(q)
		if err != nil {
			c.fail(causeGone)
			return
		}
		if rest != nil {
			c.srv.wg.Add(1)
			go c.drain(rest)
			return
		}
		c.wrote(q)
	}
}

// takeQueue takes all that waits. With nothing left it ends the writing and
// answers nil.
func (c *conn) takeQueue() [][]byte {
	c.mu.Lock()
	if len(c.q) == 0 {
		c.writing = false
		closing, behind := c.closing, c.behind
		c.behind = false
		c.mu.Unlock()
		if closing {
			c.wire.halfClose()
		} else if behind {
			c.srv.wg.Add(1)
			go c.catchUp()
		}
		return nil
	}
	q := c.q
	c.q, c.spare = c.spare, nil
	c.outSize, c.outCount = c.size, c.frames
	c.answers.writing, c.answers.queued = c.answers.queued, 0
	c.mu.Unlock()
	return q
}

// wrote takes q out of the counts of frames and bytes.
func (c *conn) wrote(q [][]byte) {
	clear(q)
	c.mu.Lock()
	c.size -= c.outSize
	c.frames -= c.outCount
	c.answersWritten()
	if cap(q) <= 16 {
		c.spare = q[:0]
	}
	c.mu.Unlock()
}

// tryQueue writes without waiting and returns the rest that the socket did not take.
func (c *conn) tryQueue(q [][]byte) (rest [][]byte, err error) {
	if c.wire.raw == nil {
		return append([][]byte(nil), q...), nil
	}
	if len(q) == 1 {
		n, err := c.wire.tryWrite(q[0])
		if err != nil || n == len(q[0]) {
			return nil, err
		}
		return [][]byte{q[0][n:]}, nil
	}
	for len(q) > 0 {
		bp := writePool.Get().(*[]byte)
		b, k := (*bp)[:0], 0
		for k < len(q) && len(b)+len(q[k]) <= 64<<10 {
			b = append(b, q[k]...)
			k++
		}
		p := b
		if k == 0 { // a large one, as it is
			p, k = q[0], 1
		}
		n, err := c.wire.tryWrite(p)
		if n < len(p) && err == nil {
			left := p[n:]
			if len(b) > 0 { // it lies in the pool's buffer; a large one is its frame itself, which many connections share
				left = append([]byte(nil), left...)
			}
			rest = append(rest, left)
			rest = append(rest, q[k:]...)
		}
		*bp = b
		writePool.Put(bp)
		if err != nil || rest != nil {
			return rest, err
		}
		q = q[k:]
	}
	return nil, nil
}

// drain writes rest and all that comes meanwhile, waiting for the socket; one
// that takes nothing for too long is dropped.
func (c *conn) drain(rest [][]byte) {
	defer c.srv.wg.Done()
	for q := rest; q != nil; q = c.takeQueue() {
		for _, p := range q {
			for len(p) > 0 {
				c.wire.SetWriteDeadline(time.Now().Add(c.srv.limits.WriteWait))
				n, err := c.wire.Conn.Write(p[:min(len(p), 64<<10)])
				p = p[n:]
				if err == nil || n > 0 && c.wire.raw != nil && errors.Is(err, os.ErrDeadlineExceeded) {
					continue
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					c.srv.metrics.slow.Inc()
					c.fail(causeSlow)
				} else {
					c.fail(causeGone)
				}
				return
			}
		}
		c.wrote(q)
		// Once nothing waits, flush writes again, which never waits: a deadline that is left over would end the connection when it is over.
		c.wire.SetWriteDeadline(time.Time{})
	}
}
