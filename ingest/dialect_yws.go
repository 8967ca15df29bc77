package ingest

import (
	"sync/atomic"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// yws is y-websocket's dialect, and the part that y-partykit, y-partyserver and
// Y-Sweet share with it: one document for a socket, named by the path; sync,
// awareness and the question "is it saved?" (102), which any client may ask.
type yws struct {
	self    dialect // the dialect this is a part of
	s       *session
	enc     *encoder
	token   string
	texts   atomic.Bool // the client takes text frames: it said so, or sent one
	json    atomic.Bool // it takes nothing else
	spoke   bool        // a binary frame has come of it
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

func (d *yws) carries(b []byte) bool { return d.s != nil && carriesUpdate(b) }

// carriesUpdate reports whether the message that begins with b, without an address, is a step 2 or an update.
func carriesUpdate(b []byte) bool {
	return len(b) > 2 && b[0] == yjs.MsgSync && (b[1] == yjs.SyncStep2 || b[1] == yjs.SyncUpdate)
}

// enter lets the client in, with its first message, and tells it its rights if it takes text.
func (d *yws) enter(c *conn) error {
	if c.route.reserved {
		return c.hold(causeName, d.token, nil)
	}
	doc, grant, err := c.authorize(c.route.room, d.token)
	if err != nil {
		return c.hold(err, d.token, deniedFrame(causeOf(err)))
	}
	return d.admit(c, doc, grant)
}

// admit opens the document and makes the session.
func (d *yws) admit(c *conn, doc stream.Doc, grant auth.Grant) error {
	c.limit.Store(int64(c.srv.limits.Message))
	var err error
	if ended := c.await(func(<-chan struct{}) {
		var r *room
		if r, err = c.srv.rooms.open(c.ctx, doc); err == nil {
			d.s, err = newSession(c, r, d.self, d.enc, grant)
		}
	}); ended != nil {
		return ended
	}
	if err == nil {
		d.s.greetText()
	}
	return err
}

// speakFirst lets the client in and sends our step 1, as the servers of PartyKit and Y-Sweet do.
func (d *yws) speakFirst(c *conn) error {
	if d.s == nil {
		if err := d.enter(c); err != nil {
			return err
		}
	}
	d.s.speakFirst()
	c.mayWait = true
	return nil
}

// admissible reports whether there is something to judge the client by before it has sent anything.
func (d *yws) admissible(c *conn) bool { return d.token != "" || c.srv.o.Auth.Open() }

// deniedFrame makes the frame whose reason y-websocket clients write to their console.
func deniedFrame(cs *cause) []byte {
	return plain.binary(yjs.AppendDenied(nil, cs.reason), nil)
}

// message takes a frame. Browsers put one message into it, some clients in other languages several.
func (d *yws) message(c *conn, text bool, b []byte) error {
	if text {
		return d.text(c, b)
	}
	d.spoke = true
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
	if m.Type == yjs.MsgSync && m.Step == yjs.SyncStep1 {
		return d.s.sync(m.Payload, d.s.enc, true)
	}
	d.s.hello()
	switch m.Type {
	case yjs.MsgSync:
		c.exempt = c.exempt || m.Step == yjs.SyncStep2
		return d.s.update(m.Step, m.Payload, ackUpdate)
	case yjs.MsgAwareness:
		return d.s.awareness(m.Payload)
	case yjs.MsgQueryAwareness:
		if m.Payload != nil { // Y-Sweet answers with the same type
			return d.s.awareness(m.Payload)
		}
		d.s.tellEverybody()
	case yjs.MsgSaved:
		d.s.question(m.Payload)
	default: // of the application's own, or meant for another server
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
	if d.json.Load() {
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

func (d *yws) notice(s *session, cs *cause) []byte {
	if s.enc.json || d.texts.Load() {
		return jsonError(cs, false)
	}
	return nil
}

func (d *yws) custom(*session, []byte, map[string]string) []byte { return nil }
