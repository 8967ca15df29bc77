package ingest

import (
	"context"
	"time"

	"yjet/stream"
)

// damaged hears that a document was found damaged in storage, by this server or another. Where its room is open here, it holds
// what storage has lost, or its clients do: the room stores what it has, and every writer is asked for what he has.
func (s *Server) damaged(payload []byte) {
	r := s.rooms.find(stream.Doc(payload))
	if r == nil || s.ctx.Err() != nil {
		return
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
		defer cancel()
		f, err := r.current(ctx)
		if err == nil && f.seq > 0 {
			err = s.o.Snapshots.Heal(ctx, r.doc, f.update, f.seq)
		}
		if err != nil {
			r.logger().Error("damaged document not stored again from its room", "err", err)
		}
		r.mu.Lock()
		defer r.unlock()
		for t := range r.sessions {
			if t.grant.Mode == writeMode && !t.left {
				t.ask(false)
			}
		}
	}()
}
