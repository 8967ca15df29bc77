package yjs

import "bytes"

// Protocol messages, one or more to a WebSocket message, here a frame. A message of the y-websocket family (y-websocket, y-partykit,
// y-partyserver, Y-Sweet) is
//
//	type body
//
// and one of Hocuspocus is the same behind an address, which is the document's name, or name, 0x00, session id:
//
//	varString(address) type body
//
// except for the bare bytes 09 (ping) and 0a (pong). C→S and S→C mark messages that only the client or the server sends.
//
//	type  body
//	00    sync: varUint step, varBytes(state vector or update)
//	01    awareness: varBytes(awareness update)
//	02    auth. y-websocket: 00 varString(reason), denied, S→C.
//	      Hocuspocus: 00 varString(token) [varString(version)] C→S; 00 alone asks for the token, S→C;
//	      01 varString(reason), denied; 02 varString("read-write" or "readonly"), let in
//	03    asks for all awareness; empty. Y-Sweet answers it with 03 varBytes(awareness update)
//	04    sync as 00, which is not answered with a step 1
//	05    stateless: varString
//	06    stateless for all; between servers only
//	07    close: empty C→S, varString(reason) S→C
//	08    sync status: varUint 1 stored, 0 refused, S→C
//	102   saved: varBytes(version), answered with the same bytes once all before it is stored

// Types of messages.
const (
	MsgSync               = 0
	MsgAwareness          = 1
	MsgAuth               = 2
	MsgQueryAwareness     = 3
	MsgSyncReply          = 4 // from here on Hocuspocus only
	MsgStateless          = 5
	MsgBroadcastStateless = 6
	MsgClose              = 7
	MsgSyncStatus         = 8
	MsgPing               = 9
	MsgPong               = 10
	MsgSaved              = 102 // Y-Sweet's saved message; other clients may send it too
)

// Steps of sync messages.
const (
	SyncStep1  = 0 // a state vector: the sender's state
	SyncStep2  = 1 // an update: the structs that the other side lacks
	SyncUpdate = 2 // an update: a new edit
)

// Kinds of auth messages.
const (
	AuthToken  = 0 // in the y-websocket family: denied
	AuthDenied = 1
	AuthOK     = 2
)

// Message is one decoded message. Its slices alias the frame.
type Message struct {
	Address []byte // Hocuspocus only, nil elsewhere
	Type    uint64
	Step    uint64 // of MsgSync and MsgSyncReply; the kind of MsgAuth; the status of MsgSyncStatus

	// Payload is the state vector, update, awareness update, token, reason or text, or the version of MsgSaved. For an
	// unknown type it is the whole body. It is nil if the message has none.
	Payload []byte

	Version []byte // of a Hocuspocus client, in MsgAuth; nil before Hocuspocus 4
}

// ReadMessage decodes the first message of a frame of the y-websocket family. rest holds further messages, as Rust clients
// send them, or is nil at the end of the frame. An unknown type is not an error, and its body is the rest of the frame. An
// unknown sync step is an error.
func ReadMessage(frame []byte) (m Message, rest []byte, err error) {
	c := cursor{b: frame}
	m = c.message(false)
	return m, c.rest(), c.err
}

// ReadHocuspocus is ReadMessage for a frame of Hocuspocus. A bare pong has no address; every other message has its own.
func ReadHocuspocus(frame []byte) (m Message, rest []byte, err error) {
	if len(frame) == 1 && (frame[0] == MsgPing || frame[0] == MsgPong) {
		return Message{Type: uint64(frame[0])}, nil, nil
	}
	c := cursor{b: frame}
	address := c.str()
	m = c.message(true)
	m.Address = address
	return m, c.rest(), c.err
}

// rest returns the unread bytes, or nil if there are none or after an error.
func (c *cursor) rest() []byte {
	if c.err != nil || c.left() == 0 {
		return nil
	}
	return c.b[c.off:]
}

func (c *cursor) message(hocuspocus bool) (m Message) {
	m.Type = c.uint()
	switch {
	case c.err != nil:
	case m.Type == MsgSync, m.Type == MsgSyncReply && hocuspocus:
		at := c.off
		m.Step = c.uint()
		if m.Step > SyncUpdate {
			c.fail(at, reasonFrame)
		}
		m.Payload = c.bytes()
	case m.Type == MsgAwareness, m.Type == MsgSaved && !hocuspocus:
		m.Payload = c.bytes()
	case m.Type == MsgAuth:
		m.Step = c.uint()
		if c.left() > 0 || !hocuspocus {
			m.Payload = c.str()
		}
		if c.left() > 0 && hocuspocus && m.Step == AuthToken {
			m.Version = c.str()
		}
	case m.Type == MsgQueryAwareness:
		// An answer fills the frame; other bytes are the next message.
		if answer := (cursor{b: c.b, off: c.off}); c.left() > 0 {
			if p := answer.bytes(); answer.err == nil && answer.left() == 0 {
				m.Payload = p
				c.off = len(c.b)
			}
		}
	case !hocuspocus:
		m.Payload = c.b[c.off:]
		c.off = len(c.b)
	case m.Type == MsgStateless, m.Type == MsgBroadcastStateless:
		m.Payload = c.str()
	case m.Type == MsgClose:
		if c.left() > 0 {
			m.Payload = c.str()
		}
	case m.Type == MsgSyncStatus:
		m.Step = c.uint()
	default:
		m.Payload = c.b[c.off:]
		c.off = len(c.b)
	}
	if c.err != nil {
		return Message{}
	}
	return m
}

// SplitAddress splits a Hocuspocus address. session is nil if the client does not open the document more than once on its
// socket.
func SplitAddress(address []byte) (name, session []byte) {
	name, session, found := bytes.Cut(address, []byte{0})
	if !found {
		session = nil
	}
	return name, session
}

// AppendAddress begins a Hocuspocus message: any of the functions below follows.
func AppendAddress(dst, address []byte) []byte { return AppendVarBytes(dst, address) }

// AppendSync appends a sync message.
func AppendSync(dst []byte, step byte, payload []byte) []byte {
	return AppendVarBytes(append(dst, MsgSync, step), payload)
}

// AppendDenied appends the y-websocket family's refusal, which clients write to their console.
func AppendDenied(dst []byte, reason string) []byte {
	return AppendVarString(append(dst, MsgAuth, 0), reason)
}

// AppendSaved appends the answer to a saved message.
func AppendSaved(dst, version []byte) []byte {
	return AppendVarBytes(append(dst, MsgSaved), version)
}

// AppendAuthRequest appends Hocuspocus's request for a token.
func AppendAuthRequest(dst []byte) []byte { return append(dst, MsgAuth, AuthToken) }

// AppendAuthDenied appends Hocuspocus's refusal.
func AppendAuthDenied(dst []byte, reason string) []byte {
	return AppendVarString(append(dst, MsgAuth, AuthDenied), reason)
}

// AppendAuthOK appends Hocuspocus's admission.
func AppendAuthOK(dst []byte, readOnly bool) []byte {
	scope := "read-write"
	if readOnly {
		scope = "readonly"
	}
	return AppendVarString(append(dst, MsgAuth, AuthOK), scope)
}

// AppendStateless appends a Hocuspocus stateless message.
func AppendStateless(dst []byte, text string) []byte {
	return AppendVarString(append(dst, MsgStateless), text)
}

// AppendClose appends Hocuspocus's note that the document was closed by the server.
func AppendClose(dst []byte, reason string) []byte {
	return AppendVarString(append(dst, MsgClose), reason)
}

// AppendSyncStatus appends Hocuspocus's receipt for an update or step 2.
func AppendSyncStatus(dst []byte, stored bool) []byte {
	status := byte(0)
	if stored {
		status = 1
	}
	return append(dst, MsgSyncStatus, status)
}
