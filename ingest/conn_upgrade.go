package ingest

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"yjet/auth"
)

// upgrader makes sockets. Buffers are small: a conn keeps a message only while it
// handles it. There is no compression: limits would count the bytes on the wire, not
// those they expand to.
var upgrader = websocket.Upgrader{
	HandshakeTimeout: 5 * time.Second,
	ReadBufferSize:   1024,
	WriteBufferPool:  &sync.Pool{},
	CheckOrigin:      func(*http.Request) bool { return true }, // checked before
}

// serveSocket takes a WebSocket in, or refuses it before the upgrade where
// nothing has to be said to the client.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	turnAway := func(cs *cause) { s.metrics.refuse(w, cs) }
	if s.draining.Load() {
		turnAway(causeDraining)
		return
	}
	query := r.URL.Query()
	route, err := routeOf(r.URL.EscapedPath(), query)
	if err != nil {
		turnAway(causeOf(err))
		return
	}
	if route.place != anyPlace {
		if _, err := docOf(route.room); err != nil {
			turnAway(causeOf(err))
			return
		}
	}
	if err := s.o.Auth.CheckOrigin(r); err != nil {
		s.log.Warn("origin refused", "origin", clip(r.Header.Get("Origin")), "host", clip(r.Host))
		turnAway(causeOrigin)
		return
	}
	ip := s.clientIP(r)
	token, protocol := auth.TokenFrom(r, query)
	if route.place == sweetPlace && token == "" && !s.o.Auth.Open() { // Y-Sweet's clients fetch another token after an HTTP refusal
		turnAway(causeNoToken)
		return
	}
	hold, cs := s.gate.enter(ip, now)
	if cs != nil {
		turnAway(cs)
		return
	}
	if hold > 0 { // one client opens many sockets at once: the later ones wait for their turn
		wait(r.Context(), s.ctx, hold)
		now = time.Now()
	}
	if err := s.stillRefused(r, ip, token, route.room); err != nil {
		// Told at once, providers would knock four times in the first three seconds: they back off from a fifth of
		// a second on. The wait counts as a connection, so that it cannot be piled up.
		wait(r.Context(), s.ctx, jitter(s.limits.RefusalHold))
		s.gate.leave(ip, "")
		turnAway(causeOf(err))
		return
	}
	header := http.Header{}
	if protocol != "" {
		header.Set("Sec-WebSocket-Protocol", protocol)
	}
	h := &hijacker{ResponseWriter: w}
	ws, err := upgrader.Upgrade(h, r, header)
	if err != nil {
		s.gate.leave(ip, "")
		return
	}
	h.wire.upgraded.Store(true)
	c := s.newConn(ws, h.wire, route, token, now)
	c.ip, c.origin = ip, r.Header.Get("Origin")
	c.speaks = pick(c)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	if s.draining.Load() {
		c.close(causeDraining)
	}
	go c.run() // not in this goroutine: net/http keeps buffers for it
}

// newConn makes the conn of a socket that was upgraded at now. The caller sets its
// address, origin and dialect.
func (s *Server) newConn(ws *websocket.Conn, w *wire, route route, token string, now time.Time) *conn {
	c := &conn{
		srv: s, id: s.node + "." + strconv.FormatUint(s.number.Add(1), 36), token: token, route: route, ws: ws, wire: w, opened: now, log: s.log,
		messages: newBucket(s.limits.MessageRate, s.limits.MessageBurst, now), bytes: newBucket(s.limits.ByteRate, s.limits.ByteBurst, now),
		bulk: newBucket(s.limits.BulkRate, s.limits.BulkBurst, now),
	}
	c.ctx, c.cancel = context.WithCancelCause(s.ctx)
	c.limit.Store(int64(s.limits.FirstMessage))
	c.heard()
	c.lastOut.Store(s.seconds())
	c.lastPing.Store(s.seconds())
	return c
}
