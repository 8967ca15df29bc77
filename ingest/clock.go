package ingest

import "time"

// tick is the server's clock: one goroutine for all that is due by time. It ends
// with the server's context.
func (s *Server) tick() {
	defer s.wg.Done()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-t.C:
			s.tickAt(now)
		}
	}
}

// tickAt does what is due.
func (s *Server) tickAt(now time.Time) {
	s.clock.Store(s.secondsAt(now))
	s.tickConns(now)
	s.rooms.tick(now)
	s.gate.tick(now)
	s.revoker.tick(now)
	s.erased.tick(now)
}

// tickConns sends pings and keep-alives and drops the dead.
func (s *Server) tickConns(now time.Time) {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.tick(now)
	}
}

// pingFrame is shared by all.
var pingFrame = []byte{framePing, 0}

// tick is called about once a second.
func (c *conn) tick(now time.Time) {
	l, sec := &c.srv.limits, c.srv.secondsAt(now)
	d := c.dialect()
	if c.waiting.Load() == 0 && sec-c.lastIn.Load() > int64(l.DeadAfter/time.Second) {
		c.fail(causeDead)
		return
	}
	if sec-c.lastPing.Load() >= int64(l.PingEvery/time.Second) {
		c.lastPing.Store(sec)
		c.send(pingFrame)
	}
	// A tick early, and one for the rounding of the clock.
	if sec-c.lastOut.Load() >= int64(l.SilenceMax/time.Second)-2 {
		c.send(d.keepAlive(c))
	}
	d.tick(c, now)
	c.tickRights(now)
}
