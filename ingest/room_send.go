package ingest

import (
	"sync"
)

// unlock unlocks the room and writes what was queued meanwhile.
func (r *room) unlock() {
	dirty, outbox := r.dirty, r.outbox
	r.dirty, r.outbox = nil, nil
	r.mu.Unlock()
	flushAll(dirty)
	for _, p := range outbox {
		if err := r.srv.o.Log.PublishAware(r.doc, p); err != nil {
			r.srv.metrics.dropped("awareness-publish")
		}
	}
	putDirty(dirty)
}

// flushAll writes every listed connection, above a number with the help of other
// cores.
func flushAll(conns []*conn) {
	const share = 64
	if len(conns) <= share {
		for _, c := range conns {
			c.flush()
		}
		return
	}
	var wg sync.WaitGroup
	for half := len(conns) / 2; len(conns) > 0; {
		part := conns[:min(half+1, len(conns))]
		conns = conns[len(part):]
		if len(conns) == 0 {
			flushPart(part)
			break
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			flushPart(part)
		}()
	}
	wg.Wait()
}

func flushPart(conns []*conn) {
	for _, c := range conns {
		c.flush()
	}
}

var dirtyPool = sync.Pool{New: func() any { s := make([]*conn, 0, 8); return &s }}

func putDirty(s []*conn) {
	if cap(s) == 0 || cap(s) > 1024 {
		return
	}
	clear(s)
	s = s[:0]
	dirtyPool.Put(&s)
}

// list notes that c has something to write. Callers hold the lock.
func (r *room) list(c *conn) {
	if r.dirty == nil {
		r.dirty = *dirtyPool.Get().(*[]*conn)
	}
	r.dirty = append(r.dirty, c)
}

// put queues a frame for a session. Callers hold the lock.
func (r *room) put(s *session, frame []byte) {
	if frame == nil {
		return
	}
	if list, _ := s.c.put(frame, false); list {
		r.list(s.c)
	}
}

// A broadcast is one message to all sessions, encoded once for each encoder.
type broadcast struct {
	payload []byte
	make    func(e *encoder, payload []byte) []byte
	frames  []encoded
	buf     [2]encoded
}

type encoded struct {
	e     *encoder
	frame []byte
}

func (b *broadcast) frame(e *encoder) []byte {
	for i := range b.frames {
		if b.frames[i].e == e {
			return b.frames[i].frame
		}
	}
	if b.frames == nil {
		b.frames = b.buf[:0]
	}
	f := b.make(e, b.payload)
	b.frames = append(b.frames, encoded{e, f})
	return f
}

// send queues a broadcast for all sessions that keep up. Callers hold the lock.
func (r *room) send(b *broadcast) {
	for s := range r.sessions {
		if s.lag != nil {
			continue
		}
		frame := b.frame(s.enc)
		if frame == nil {
			continue
		}
		list, over := s.c.put(frame, false)
		if list {
			r.list(s.c)
		}
		if over {
			r.fallBehind(s, len(frame))
		}
	}
}

// fallBehind takes a session whose connection does not keep up out of the
// broadcasts: when its queue is empty it gets all it missed at once. Callers hold
// the lock. last is the size of the frame that was too much: it alone is no reason to close, since a message may be larger than
// the queue's hard limit.
func (r *room) fallBehind(s *session, last int) {
	s.lag = &lag{seq: r.seq, vector: r.stored.Vector()}
	if s.c.fellBehind() {
		r.list(s.c)
	}
	r.srv.metrics.lagged.Inc()
	if s.c.overfull(last) {
		go s.c.close(causeSlow)
	}
}

// relay queues a custom message for every session but its sender's.
func (r *room) relay(from *session, payload []byte, header map[string]string) {
	r.mu.Lock()
	defer r.unlock()
	for s := range r.sessions {
		if s != from && s.lag == nil {
			r.put(s, s.d.custom(s, payload, header))
		}
	}
}
