package ingest

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// WebSocket opcodes with the FIN bit, as the first byte of a frame (RFC 6455 §5.2).
const (
	frameText   = 0x81
	frameBinary = 0x82
	frameClose  = 0x88
	framePing   = 0x89
	framePong   = 0x8a
)

// appendHeader appends the header of an unmasked frame of n bytes.
func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, first, byte(n))
	case n < 1<<16:
		return append(dst, first, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}

// A wire is the network connection under a WebSocket. gorilla reads from it and
// writes the handshake; from then on all writing is ours: frames are made once
// and shared by all connections. Writes of gorilla's own (pongs, close frames after
// protocol errors) are dropped, so that two writers never mix.
type wire struct {
	net.Conn
	raw      syscall.RawConn // nil under TLS
	upgraded atomic.Bool

	// Owned by the reader: a message has begun, so each read of the rest gets a
	// deadline of its own.
	inMessage bool
	patience  time.Duration
	armed     bool
	arm       func(time.Time) // sets the read deadline unless the connection is closing
	ahead     []byte          // read before gorilla asked for it
}

// hears reports whether anything comes by the deadline of reading. It keeps the bytes that came for Read.
func (w *wire) hears() bool {
	b := make([]byte, 256)
	n, err := w.Conn.Read(b)
	w.ahead = b[:n]
	return n > 0 || !isTimeout(err)
}

func (w *wire) Write(p []byte) (int, error) {
	if w.upgraded.Load() {
		return len(p), nil
	}
	return w.Conn.Write(p)
}

func (w *wire) Read(p []byte) (int, error) {
	if w.inMessage && w.arm != nil {
		w.armNow()
	}
	if len(w.ahead) > 0 {
		return w.readAhead(p)
	}
	return w.Conn.Read(p)
}

//go:noinline
func (w *wire) armNow() {
	w.armed = true
	w.arm(time.Now().Add(w.patience))
}

//go:noinline
func (w *wire) readAhead(p []byte) (int, error) {
	n := copy(p, w.ahead)
	if w.ahead = w.ahead[n:]; len(w.ahead) == 0 {
		w.ahead = nil
	}
	return n, nil
}

// halfClose tells the peer that nothing more comes.
func (w *wire) halfClose() {
	switch c := w.Conn.(type) {
	case *net.TCPConn:
		c.CloseWrite()
	case *tls.Conn:
		c.CloseWrite()
	}
}

// A hijacker puts a wire under the connection that gorilla takes over.
type hijacker struct {
	http.ResponseWriter
	wire *wire
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.wire = &wire{Conn: c}
	if tcp, ok := c.(*net.TCPConn); ok {
		h.wire.raw, _ = tcp.SyscallConn()
	}
	return h.wire, rw, nil
}
