package ingest

import "sync"

// outgoing is work that waits until the room's lock is left.
type outgoing struct {
	conns []*conn  // have frames to be written
	aware [][]byte // awareness updates for the other servers
}

// list notes that c has frames to be written.
func (o *outgoing) list(c *conn) {
	if o.conns == nil {
		o.conns = *connsPool.Get().(*[]*conn)
	}
	o.conns = append(o.conns, c)
}

// put queues a frame for a session; nil is no frame.
func (o *outgoing) put(s *session, frame []byte) {
	if frame == nil {
		return
	}
	if list, _ := s.c.put(frame, false); list {
		o.list(s.c)
	}
}

// publish queues an awareness update for the other servers.
func (o *outgoing) publish(payload []byte) { o.aware = append(o.aware, payload) }

// write does it. The caller does not hold the room's lock.
func (o *outgoing) write(r *room) {
	flushAll(o.conns)
	for _, p := range o.aware {
		if err := r.srv.o.Log.PublishAware(r.doc, p); err != nil {
			r.srv.metrics.dropped("awareness-publish")
		}
	}
	putConns(o.conns)
}

// flushAll writes to every listed connection. Above a number of them a second core
// takes half.
func flushAll(conns []*conn) {
	const share = 64
	if len(conns) <= share {
		flushPart(conns)
		return
	}
	half := len(conns)/2 + 1
	var wg sync.WaitGroup
	wg.Go(func() { flushPart(conns[:half]) })
	flushPart(conns[half:])
	wg.Wait()
}

func flushPart(conns []*conn) {
	for _, c := range conns {
		c.flush()
	}
}

var connsPool = sync.Pool{New: func() any { s := make([]*conn, 0, 8); return &s }}

func putConns(s []*conn) {
	if cap(s) == 0 || cap(s) > 1024 {
		return
	}
	clear(s)
	s = s[:0]
	connsPool.Put(&s)
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
			r.out.list(s.c)
		}
		if over {
			r.fallBehind(s, len(frame))
		}
	}
}

// fallBehind takes a session whose connection does not keep up out of the
// broadcasts: once its queue is empty it gets all it missed in one update. last is
// the size of the frame that was too much. That frame alone is no reason to close,
// since one message may be larger than the queue's hard limit. Callers hold the
// lock.
func (r *room) fallBehind(s *session, last int) {
	s.lag = &lag{seq: r.seq, vector: r.stored.Vector()}
	if s.c.fellBehind() {
		r.out.list(s.c)
	}
	r.srv.metrics.lagged.Inc()
	if s.c.overfull(last) {
		go s.c.close(causeSlow)
	}
}

// relay queues a custom message for every session but its sender's.
func (r *room) relay(from *session, payload []byte, header map[string]string) {
	r.do(func() {
		for _, those := range []map[*session]struct{}{r.sessions, r.listeners} {
			for s := range those {
				if s != from && s.lag == nil {
					r.out.put(s, s.d.custom(s, payload, header))
				}
			}
		}
	})
}
