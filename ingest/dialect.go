package ingest

import (
	"errors"
	"time"
)

// frameMessages bounds the messages of one frame, each of which may be answered with all that is known of a document. Clients
// send one, some a handful.
const frameMessages = 1000

var errFrame = errors.New("more messages in one frame than anybody sends")

// A dialect is one way of speaking Yjs over a WebSocket, as one provider does.
// Each conn has its own, made by the route or by its first message (pick reads the route, undecided
// the messages). A new one is a file with this
// interface and a line in pick: sessions and rooms know none of them.
//
// All dialects share the bodies of sync and awareness messages (client-protocols
// of y-protocols). They differ in the bytes before the body (encoder), in the receipts
// for writes, and in the way a connection ends.
type dialect interface {
	// name labels the dialect in logs, metrics and /health.
	name() string

	// open is called by the reader once the socket stands.
	open(c *conn) error

	// message takes one message of the client, in the reader's goroutine; b is
	// only lent. An error ends the connection with its cause.
	message(c *conn, text bool, b []byte) error

	// carries reports whether a binary message that begins with b, at least its first kilobytes, brings content of a document that the
	// client was let into: it may be as large as a document.
	carries(b []byte) bool

	// code is the close code for a cause.
	code(cs *cause) int

	// goodbye answers frames that go out before the close frame, or nil.
	goodbye(c *conn, cs *cause) []byte

	// keepAlive answers a frame that counts as a message for the provider's own
	// watchdog and means nothing, or nil.
	keepAlive(c *conn) []byte

	// tick is called about once a second by the server's clock.
	tick(c *conn, now time.Time)

	// ended is called by the reader when the connection has ended; it returns
	// when the dialect's own goroutines have.
	ended(c *conn)

	// settled answers the frame that tells a session the fate of one update it
	// sent, stored or refused; nil where the provider does not want to know.
	settled(s *session, stored bool) []byte

	// saved answers the frame that echoes a client's question whether all it
	// sent is stored.
	saved(s *session, question []byte) []byte

	// denied ends one session, not the connection, where the provider knows such
	// a thing: it answers the frames that say so and true; else false, and the
	// connection is closed.
	denied(s *session, cs *cause) ([]byte, bool)

	// readOnly answers the frame that tells a client, once, that writes are refused, or nil.
	readOnly(s *session, cs *cause) []byte

	// notice answers the text frame that tells a client of something that was left out and cost it nothing else, or nil
	// where the client does not take text.
	notice(s *session, cs *cause) []byte

	// custom answers the frame of a custom message, or nil where the provider
	// has none.
	custom(s *session, payload []byte, header map[string]string) []byte

	// reannounces says whether the provider, told that its own presence is gone,
	// announces it anew.
	reannounces() bool
}

// A listener is a dialect that speaks to a client that has sent nothing for Limits.SilentWait: it may be one that waits for the
// server's first message.
type listener interface {
	silent(c *conn) error
}

// An encoder makes the frames that rooms send to a session. Sessions with the same
// encoder share frames.
type encoder struct {
	prefix []byte // in front of each message: Hocuspocus' address
	json   bool   // JSON text frames instead of binary ones

	stored, refused []byte // frames that tell the fate of an update; nil: not told
}

// plain is the encoder of all y-websocket-like sessions.
var plain = &encoder{}

// jsonOnly is the encoder of sessions that began with a JSON frame.
var jsonOnly = &encoder{json: true}
