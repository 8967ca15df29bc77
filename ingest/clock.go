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

// tickAt does all work that is due at now.
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
