package ingest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"yjet/auth"
	"yjet/stream"
)

// stillRefused checks a client that was refused repeatedly once more. It returns why the client must be refused over HTTP, or nil:
// it may go on to the upgrade.
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

// authorize asks for the connection's rights on a document.
func (c *conn) authorize(room, token string) (stream.Doc, auth.Grant, error) {
	doc, err := docOf(room)
	if err != nil {
		return "", auth.Grant{}, err
	}
	grant, err := c.srv.o.Auth.Grant(c.ctx, auth.Request{Doc: string(doc), Token: token, IP: c.ip, Origin: c.origin})
	if err == nil {
		err = c.signIn(grant.User)
	}
	return doc, grant, err
}

// signIn has the connection count for its user, the first that a token of it names.
func (c *conn) signIn(user string) error {
	if user == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.user != "" {
		return nil
	}
	if !c.srv.gate.signIn(c.ip, user, time.Now()) {
		return causeUserFull
	}
	c.user = user
	return nil
}

// hold keeps a refused socket for a while before it is closed: providers that
// come back at once after a close would do so without a pause. It answers err.
// The refusal is counted by the token that was refused: one that came in a message
// says nothing about the next that begins without.
func (c *conn) hold(err error, token string, say []byte) error {
	cs := causeOf(err)
	c.srv.metrics.refused(cs.reason)
	c.counted.Store(true)
	c.log.Info("refused", append([]any{"path", clip(c.route.path), "reason", cs.reason, "conn", c.id, "ip", c.ip}, auth.LogAttrs(err)...)...)
	if cs.http == http.StatusUnauthorized || cs.http == http.StatusForbidden {
		c.srv.gate.refusals.Refused(c.ip, strikeKey(token, c.route.room))
	}
	c.send(say)
	if werr := c.sleep(jitter(c.srv.limits.RefusalHold)); werr != nil {
		return werr
	}
	return err
}

// jitter is d, give or take a third.
func jitter(d time.Duration) time.Duration {
	return d*2/3 + rand.N(d*2/3+1)
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

// strikeKey is the key, beside the address, by which refusals are counted: the token, or the room of a client without one. So
// clients that send their token in a message are not counted together.
func strikeKey(token, room string) string {
	if token == "" {
		return "room " + room
	}
	return token
}

// clientIP is the address a request comes from: the peer's, or the one that a trusted
// proxy names.
func (s *Server) clientIP(r *http.Request) string {
	return auth.Proxies(s.o.TrustedProxies).ClientIP(r)
}
