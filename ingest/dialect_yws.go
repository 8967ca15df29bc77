package ingest

import (
	"sync/atomic"
	"time"

	"yjet/internal/yjs"
)

// yws is y-websocket's dialect, and what y-partykit, y-partyserver and Y-Sweet
// share with it: one document for a socket, named by the path; sync, awareness
// and the question after what is saved (102), which anybody may ask.
type yws struct {
	self    dialect // the dialect this is a part of
	s       *session
	enc     *encoder
	token   string
	texts   atomic.Bool // the client takes text frames: it said so, or sent one
	scolded bool        // it was told that it does not make sense
}

func newYWS(c *conn) *yws {
	d := &yws{token: c.token, enc: plain}
	d.texts.Store(c.route.textSafe)
	d.self = d
	return d
}

func (d *yws) name() string       { return "y-websocket" }
func (d *yws) open(*conn) error   { return nil }
func (d *yws) ended(*conn)        {}
func (d *yws) reannounces() bool  { return true }
func (d *yws) code(cs *cause) int { return cs.yws }

// enter lets the client in, with its first message, and tells it its rights if it takes text.
func (d *yws) enter(c *conn) error {
	room := c.route.room
	if c.route.reserved {
		return c.hold(causeName, d.token, nil)
	}
	doc, grant, err := c.authorize(room, d.token)
	if err != nil {
		return c.hold(err, d.token, deniedFrame(causeOf(err)))
	}
	c.limit.Store(int64(c.srv.limits.Message))
	err = c.await(func(<-chan struct{}) {
		r, err := c.srv.rooms.open(c.ctx, doc)
		if err != nil {
			c.close(err)
			return
		}
		if d.s, err = newSession(c, r, d.self, d.enc, grant); err != nil {
			c.close(err)
		}
	})
	if err == nil {
		d.s.greetText()
	}
	return err
}

// deniedFrame is what y-websocket clients write to their console.
func deniedFrame(cs *cause) []byte {
	return plain.binary(yjs.AppendDenied(nil, cs.reason), nil)
}

func (d *yws) message(c *conn, text bool, b []byte) error {
	if text {
		return d.text(c, b)
	}
	if d.s == nil {
		if err := d.enter(c); err != nil {
			return err
		}
	}
	for n := 0; n == 0 || len(b) > 0; n++ {
		m, rest, err := yjs.ReadMessage(b)
		if n == frameMessages {
			err = errFrame
		}
		if err != nil {
			return because(causeMalformed, err)
		}
		if err := d.handle(c, m); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func (d *yws) handle(c *conn, m yjs.Message) error {
	switch m.Type {
	case yjs.MsgSync:
		if m.Step == yjs.SyncStep1 {
			return d.s.sync(m.Payload, d.s.enc)
		}
		c.exempt = m.Step == yjs.SyncStep2
		d.s.hello()
		return d.s.update(m.Step, m.Payload, ackUpdate)
	case yjs.MsgAwareness:
		d.s.hello()
		return d.s.awareness(m.Payload)
	case yjs.MsgQueryAwareness:
		d.s.hello()
		if m.Payload != nil { // Y-Sweet answers with the same type
			return d.s.awareness(m.Payload)
		}
		d.s.tellEverybody()
	case yjs.MsgSaved:
		d.s.hello()
		d.s.question(m.Payload)
	default:
		c.srv.metrics.dropped("unknown-message")
	}
	return nil
}

// text takes a text frame; see dialect_json.go.
func (d *yws) text(c *conn, b []byte) error { return d.jsonMessage(c, b) }

func (d *yws) goodbye(c *conn, cs *cause) []byte {
	if !d.texts.Load() || !cs.fatal() {
		return nil
	}
	return jsonError(cs, true)
}

func (d *yws) keepAlive(c *conn) []byte {
	if s := d.s; s != nil && s.enc.json {
		return nil
	}
	return plainKeepAlive
}

func (d *yws) tick(*conn, time.Time) {}

func (d *yws) settled(*session, bool) []byte { return nil }

func (d *yws) saved(_ *session, question []byte) []byte {
	return plain.binary(yjs.AppendSaved(nil, question), nil)
}

func (d *yws) denied(*session, *cause) ([]byte, bool) { return nil, false }

func (d *yws) readOnly(s *session, cs *cause) []byte {
	if s.enc.json {
		return jsonError(cs, false)
	}
	frame := deniedFrame(cs)
	if d.texts.Load() {
		frame = append(frame, jsonError(cs, false)...)
	}
	return frame
}

func (d *yws) custom(*session, []byte, map[string]string) []byte { return nil }

// undecided is a connection whose path does not tell its dialect. The first
// message does: y-websocket's begins with a zero, Hocuspocus' with the length of
// a name that is never empty.
type undecided struct{ *yws }

func (d *undecided) message(c *conn, text bool, b []byte) error {
	var decided dialect = d.yws
	if !text && len(b) > 0 && b[0] != 0 {
		if _, _, err := yjs.ReadHocuspocus(b); err != nil {
			return because(causeMalformed, err)
		}
		decided = newHocuspocus(c)
	}
	c.setDialect(decided)
	if err := decided.open(c); err != nil {
		return err
	}
	return decided.message(c, text, b)
}
