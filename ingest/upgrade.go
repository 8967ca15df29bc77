package ingest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/stream"
)

// upgrader makes sockets. Buffers are small: a conn keeps what it reads only
// while it handles it. There is no compression: its limits would count what is
// on the wire, not what it becomes.
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
	turnAway := func(cs *cause) {
		s.metrics.refused(cs.reason)
		refuse(w, cs)
	}
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
	if cs := s.gate.enter(ip, now); cs != nil {
		turnAway(cs)
		return
	}
	if err := s.stillRefused(r, ip, token, route.room); err != nil {
		// Told at once, providers would knock four times in the first three seconds: they back off from a fifth of
		// a second on. The wait counts as a connection, so that it cannot be piled up.
		wait(r.Context(), s.ctx, jitter(s.limits.RefusalHold))
		s.gate.leave(ip)
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
		s.gate.leave(ip)
		return
	}
	h.wire.upgraded.Store(true)
	c := &conn{
		srv: s, id: s.node + "." + strconv.FormatUint(s.number.Add(1), 36), ip: ip, origin: r.Header.Get("Origin"), token: token,
		route: route, ws: ws, wire: h.wire, opened: now, log: s.log,
		messages: newBucket(s.limits.MessageRate, s.limits.MessageBurst, now), bytes: newBucket(s.limits.ByteRate, s.limits.ByteBurst, now),
	}
	c.ctx, c.cancel = context.WithCancelCause(s.ctx)
	c.limit.Store(int64(s.limits.FirstMessage))
	c.speaks = pick(c)
	c.heard()
	c.lastOut.Store(s.seconds())
	c.lastPing.Store(s.seconds())
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	if s.draining.Load() {
		c.close(causeDraining)
	}
	go c.run() // not in this goroutine: net/http keeps buffers for it
}

// stillRefused answers why somebody who was refused again and again is not let in this time either; nil for all others, and
// for him once he has become welcome.
func (s *Server) stillRefused(r *http.Request, ip, token, room string) error {
	key := strikeKey(token, room)
	if !s.gate.refusals.Many(ip, key) {
		return nil
	}
	_, err := s.o.Auth.Grant(r.Context(), auth.Request{Doc: room, Token: token, IP: ip, Origin: r.Header.Get("Origin")})
	if err != nil && !errors.Is(err, auth.ErrUnavailable) {
		s.gate.refusals.Refused(ip, key)
	}
	return err
}

// wait lasts d, or until one of the two is over.
func wait(request, server context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-request.Done():
	case <-server.Done():
	}
}

// pick chooses a dialect by the route; where that does not tell, the first
// message does.
func pick(c *conn) dialect {
	switch c.route.place {
	case partyPlace, prefixPlace:
		return newParty(c)
	case sweetPlace:
		return newSweet(c)
	}
	return &undecided{yws: newYWS(c)}
}

// authorize asks what the connection may do with a document.
func (c *conn) authorize(room, token string) (stream.Doc, auth.Grant, error) {
	doc, err := docOf(room)
	if err != nil {
		return "", auth.Grant{}, err
	}
	grant, err := c.srv.o.Auth.Grant(c.ctx, auth.Request{Doc: string(doc), Token: token, IP: c.ip, Origin: c.origin})
	return doc, grant, err
}

// hold keeps a refused socket for a while before it is closed: providers that
// come back at once after a close would do so without a pause. It answers err.
// The refusal is counted by the token that was refused: one that came in a message
// says nothing about the next that begins without.
func (c *conn) hold(err error, token string, say []byte) error {
	cs := causeOf(err)
	c.srv.metrics.refused(cs.reason)
	c.log.Info("refused", "path", clip(c.route.path), "reason", cs.reason, "conn", c.id, "ip", c.ip)
	if cs.http == http.StatusUnauthorized || cs.http == http.StatusForbidden {
		c.srv.gate.refusals.Refused(c.ip, strikeKey(token, c.route.room))
	}
	c.send(say)
	if werr := c.sleep(jitter(c.srv.limits.RefusalHold)); werr != nil {
		return werr
	}
	return err
}

// clip makes what a stranger sent fit for a log line.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
