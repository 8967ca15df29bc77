package ingest

import "sync"

// An answerer lets the answers of one connection follow one another: the next is computed when the socket has taken the one before.
type answerer struct {
	// turn is held while an answer is computed and queued: one at a time.
	turn sync.Mutex

	// Guarded by conn.mu.
	queued  int           // bytes of answers in the queue
	writing int           // bytes of answers that the writer has taken
	counted []*reading    // of the queued answers
	written chan struct{} // closed when all answers are written; nil: nobody waits
}

// beginAnswer waits for the connection's turn to answer. The caller owes an endAnswer where the error is nil.
func (c *conn) beginAnswer() error {
	c.answers.turn.Lock()
	for {
		c.mu.Lock()
		if c.answers.queued+c.answers.writing <= c.srv.limits.QueueSoft {
			c.mu.Unlock()
			return nil
		}
		if c.answers.written == nil {
			c.answers.written = make(chan struct{})
		}
		written := c.answers.written
		c.mu.Unlock()
		select {
		case <-written:
		case <-c.ctx.Done():
			c.endAnswer()
			return c.ended()
		}
	}
}

func (c *conn) endAnswer() { c.answers.turn.Unlock() }

// count reserves an answer of n bytes among all that wait to be read. state is the state that readers share, or nil.
func (c *conn) count(state []byte, n int) (*reading, error) {
	r, ok := c.srv.unread.take(state, n, c.srv.limits.LoadWait, c.ctx.Done())
	if ok {
		return r, nil
	}
	if err := c.ended(); err != nil {
		return nil, err
	}
	return nil, causeUnread
}

// keep has a reading count until the socket has taken all answers that are queued.
func (c *conn) keep(r *reading) {
	if r == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.answers.queued+c.answers.writing == 0 { // written already, or never
		r.give()
		return
	}
	c.answers.counted = append(c.answers.counted, r)
}

// answersWritten notes that the writer has written all it took. Callers hold the lock.
func (c *conn) answersWritten() {
	a := &c.answers
	if a.writing = 0; a.queued > 0 {
		return
	}
	c.dropAnswers()
}

// dropAnswers gives back the bytes that the answers counted. Callers hold the lock.
func (c *conn) dropAnswers() {
	a := &c.answers
	for _, r := range a.counted {
		r.give()
	}
	a.counted = nil
	if a.written != nil {
		close(a.written)
		a.written = nil
	}
}
