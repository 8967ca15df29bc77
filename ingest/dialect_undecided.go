package ingest

import (
	"bytes"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"yjet/internal/yjs"
)

// undecided is a connection whose path does not tell its dialect: y-websocket with the room as path, or Hocuspocus, which ignores
// the path. The first frame that is a message of one of the two and not of the other decides. y-websocket's first frame may be
// anything: awareness that the application sets in the status event, a question, or a message of the application's own. It is
// never an error; one that could be Hocuspocus's as well is kept until the next frame has told.
type undecided struct {
	*yws
	kept  [][]byte // frames that told nothing, in order
	size  int      // bytes of kept
	keeps atomic.Bool
}

// Bounds of the kept messages; a connection that exceeds them is taken for y-websocket's.
const (
	undecidedFrames = 16
	undecidedBytes  = 64 << 10
)

func (d *undecided) message(c *conn, text bool, b []byte) error {
	if text {
		return d.decide(c, d.yws, text, b)
	}
	switch family := familyOf(b, c.route.room != "" && !c.route.reserved); {
	case family == hocuspocusFamily:
		d.withdraw()
		return d.decide(c, newHocuspocus(c), false, b)
	case family == yFamily || len(d.kept) >= undecidedFrames || d.size+len(b) > undecidedBytes:
		return d.decide(c, d.yws, false, b)
	}
	d.kept = append(d.kept, bytes.Clone(b))
	d.size += len(b)
	d.keeps.Store(true)
	return nil
}

// decide hands the connection over to its dialect, with the frames that came before.
func (d *undecided) decide(c *conn, decided dialect, text bool, b []byte) error {
	c.setDialect(decided)
	if err := decided.open(c); err != nil {
		return err
	}
	for _, b := range d.kept {
		if err := decided.message(c, false, b); err != nil {
			return err
		}
	}
	d.kept = nil
	return decided.message(c, text, b)
}

// silent greets a client that waits for the server's first message. Hocuspocus's clients, which may still be fetching their
// token, drop a message without an address; so nothing is decided by it, and no refusal comes of it.
func (d *undecided) silent(c *conn) error {
	if c.route.room == "" || c.route.reserved || c.route.json || !d.admissible(c) {
		return nil
	}
	doc, grant, err := c.authorize(c.route.room, d.token)
	if err == nil {
		err = d.admit(c, doc, grant)
	}
	if err != nil {
		return c.ended()
	}
	d.s.speakFirst()
	c.mayWait = true
	return nil
}

// withdraw leaves the document that a silent client was greeted with.
func (d *undecided) withdraw() {
	if d.s != nil {
		d.s.leaveFor(causeLeft, true)
		d.s = nil
	}
}

// tick ends a connection that goes on telling nothing.
func (d *undecided) tick(c *conn, now time.Time) {
	if d.keeps.Load() && now.Sub(c.opened) > c.srv.limits.FirstWait {
		c.close(causeNeverAuth)
	}
}

// A family is the group of dialects that a frame's sender may speak.
type family int

const (
	eitherFamily family = iota
	yFamily
	hocuspocusFamily
)

// familyOf reads a frame as a message of each family. room says whether the path names a room that a y-websocket could mean.
func familyOf(b []byte, room bool) family {
	if len(b) == 0 {
		return yFamily
	}
	own, known := ownMessages(b)
	hp, certain := hocuspocusMessage(b)
	switch {
	case hp && (certain || !room):
		if own && known && room {
			return yFamily
		}
		return hocuspocusFamily
	case !hp || own && known:
		return yFamily
	}
	return eitherFamily
}

// ownMessages reports whether b is messages of the y-websocket family with nothing left over, and whether y-protocols knows all
// of their types.
func ownMessages(b []byte) (ok, known bool) {
	known = true
	for len(b) > 0 {
		m, rest, err := yjs.ReadMessage(b)
		if err != nil {
			return false, false
		}
		switch m.Type {
		case yjs.MsgSync, yjs.MsgQueryAwareness, yjs.MsgSaved:
		case yjs.MsgAwareness:
			if _, err := yjs.ReadAwareness(nil, m.Payload); err != nil {
				return false, false
			}
		case yjs.MsgAuth:
			known = known && m.Step == 0
		default:
			known = false
		}
		b = rest
	}
	return true, known
}

// hocuspocusMessage reports whether b is one message of Hocuspocus, and whether it is of a kind that nothing else looks like: a
// token, a sync message, or awareness.
func hocuspocusMessage(b []byte) (ok, certain bool) {
	m, rest, err := yjs.ReadHocuspocus(b)
	if err != nil || len(rest) > 0 || m.Address == nil || !addressLike(m.Address) {
		return false, false
	}
	switch m.Type {
	case yjs.MsgAuth:
		ok = m.Step == yjs.AuthToken && m.Payload != nil
		return ok, ok
	case yjs.MsgSync:
		ok = len(m.Address) > 0
		if ok && m.Step == yjs.SyncStep1 {
			_, err := yjs.DecodeStateVector(m.Payload)
			ok = err == nil
		}
		return ok, ok
	case yjs.MsgAwareness:
		_, err := yjs.ReadAwareness(nil, m.Payload)
		return err == nil, err == nil
	case yjs.MsgQueryAwareness, yjs.MsgStateless, yjs.MsgClose, yjs.MsgBroadcastStateless:
		return len(m.Address) > 0, false
	}
	return false, false
}

// addressLike reports whether b may be a document's name, with a session behind a zero or without.
func addressLike(b []byte) bool {
	name, session := yjs.SplitAddress(b)
	for _, part := range [][]byte{name, session} {
		if !utf8.Valid(part) || bytes.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return false
		}
	}
	return true
}
