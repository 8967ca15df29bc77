package ingest

import (
	"bytes"
	"cmp"
	"encoding/json"

	"yjet/auth"
	"yjet/internal/yjs"
)

// Text frames. Providers of the Yjs family speak binary, and most throw at a text
// frame; so text goes out only to a client that is known to take it (text-safe by
// its route) or that has sent a JSON frame itself.

// incoming is a JSON text frame of a client.
type incoming struct {
	Type    string          `json:"type"` // sync, awareness, auth
	Payload json.RawMessage `json:"payload"`
}

func jsonError(cs *cause, fatal bool) []byte {
	return jsonFrame("error", map[string]any{"code": cs.reason, "message": cs.message(), "fatal": fatal}, "")
}

// jsonGrant tells a client its rights.
func jsonGrant(s *session, g auth.Grant, expiring bool) []byte {
	p := map[string]any{"ok": true, "document": string(s.room.doc), "session": cmp.Or(g.Session, s.c.id)}
	permissions := []string{"read"}
	if g.Mode >= writeMode {
		permissions = append(permissions, "write")
	}
	p["permissions"] = permissions
	if !g.Expires.IsZero() {
		p["expiresAt"] = g.Expires.UnixMilli()
	}
	if expiring {
		p["expiring"] = true
	}
	return jsonFrame("auth", p, s.user)
}

// jsonMessage takes a text frame: a JSON frame, or ping. Anything else is
// answered once where the client takes text, and never a reason to close.
func (d *yws) jsonMessage(c *conn, b []byte) error {
	if string(bytes.TrimSpace(b)) == "ping" {
		if d.texts.Load() {
			c.send(textFrame([]byte("pong")))
		}
		return nil
	}
	var in incoming
	if json.Unmarshal(b, &in) != nil || in.Type != "sync" && in.Type != "awareness" && in.Type != "auth" {
		c.srv.metrics.dropped("unknown-text")
		if d.texts.Load() && !d.scolded {
			d.scolded = true
			c.send(jsonError(causeMalformed, false))
		}
		return nil
	}
	d.texts.Store(true)
	if in.Type == "auth" {
		return d.jsonAuth(c, in.Payload)
	}
	if err := d.speakJSON(c); err != nil {
		return err
	}
	if in.Type == "awareness" {
		return d.jsonAwareness(c, in.Payload)
	}
	return d.jsonSync(c, in.Payload)
}

// speakJSON lets a client in that begins with JSON: from then on it gets no binary at all.
func (d *yws) speakJSON(c *conn) error {
	if d.s == nil {
		d.enc = jsonOnly
		if err := d.enter(c); err != nil {
			return err
		}
	}
	d.s.room.do(func() {
		if !d.spoke && d.s.enc != jsonOnly {
			d.s.enc = jsonOnly
			d.s.steps = nil // it was greeted with a step 1 that it cannot read
			if d.s.entered {
				d.s.tellPresent()
			}
		}
		d.json.Store(d.s.enc.json)
	})
	d.s.hello()
	return nil
}

// jsonAuth takes a token in a frame: the first one of a connection that came
// without, or a fresh one of the same subject.
func (d *yws) jsonAuth(c *conn, payload []byte) error {
	var in struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(payload, &in) != nil || in.Token == "" {
		c.send(jsonError(causeToken, false))
		return nil
	}
	if d.s == nil {
		d.token = in.Token
		return d.enter(c) // its next frame tells how it speaks
	}
	d.s.refreshed(in.Token)
	return nil
}

// greetText tells a client that takes text its rights.
func (s *session) greetText() {
	s.room.do(func() { s.tell(false) })
}

// granted tells a client that takes text of its rights.
func (d *yws) granted(s *session, g auth.Grant, expiring bool) []byte {
	if !d.texts.Load() {
		return nil
	}
	return jsonGrant(s, g, expiring)
}

func (d *yws) jsonAwareness(c *conn, payload []byte) error {
	var in struct {
		Client uint64          `json:"clientId"`
		Clock  uint64          `json:"clock"`
		State  json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		c.send(jsonError(causeMalformed, false))
		return nil
	}
	e := yjs.AwarenessEntry{Client: in.Client, Clock: in.Clock}
	if len(in.State) > 0 && string(in.State) != "null" {
		e.State = in.State
	}
	return d.s.awareness(yjs.AppendAwareness(nil, []yjs.AwarenessEntry{e}))
}

// jsonSync takes an update, or answers a state vector, or both.
func (d *yws) jsonSync(c *conn, payload []byte) error {
	var in struct {
		Vector *[]byte `json:"stateVector"`
		Update []byte  `json:"update"`
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		c.send(jsonError(causeMalformed, false))
		return nil
	}
	if in.Vector != nil {
		if err := d.s.sync(*in.Vector, jsonOnly, true); err != nil {
			return err
		}
	}
	if len(in.Update) > 0 {
		return d.s.update(yjs.SyncUpdate, in.Update, ackJSON)
	}
	return nil
}
