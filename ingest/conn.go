package ingest

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// A conn is one socket: a reader in its own goroutine, a bounded queue of frames
// that are ready to be written, and a writer that exists only while the socket
// does not take them at once.
type conn struct {
	// Set before the reader starts, then only read.
	srv    *Server
	id     string // node.number, the log's Yjet-Conn
	ip     string
	origin string
	token  string // never logged
	route  route
	ws     *websocket.Conn
	wire   *wire
	ctx    context.Context // ends, with its cause, when the connection does
	cancel context.CancelCauseFunc
	opened time.Time
	log    *slog.Logger

	lastIn   atomic.Int64 // seconds since the start: anything came, pongs included
	lastOut  atomic.Int64 // an application message was queued
	lastPing atomic.Int64
	waiting  atomic.Int32 // the reader waits for us: its silence is not the client's
	limit    atomic.Int64 // bytes a message may have
	laned    atomic.Bool  // holds a slot of the lane
	counted  atomic.Bool  // the refusal that ends it is in the metrics
	update   atomic.Bool  // the message under way brings an update: it does not count as a message

	// Owned by the reader.
	messages, bytes bucket
	bulk            bucket // in debt: the connection sends in bulk, and its messages go through the lane
	exempt          bool   // the message under way is an answer that we asked for: its bytes do not count
	mayWait         bool   // it was let in before it sent anything: it may go on listening

	mu       sync.Mutex
	user     string // whom the gate counts the connection for; "": its address
	speaks   dialect
	sessions []*session
	q        [][]byte // whole frames, or the parts of one next to each other; shared, never changed
	spare    [][]byte
	size     int // bytes in q and being written, without exempt ones
	frames   int
	outSize  int // the part of size and frames that the writer has taken
	outCount int
	listed   bool // a caller of put has been told to call flush
	writing  bool
	behind   bool // sessions missed broadcasts: they catch up when the queue is empty
	answers  answerer
	closing  bool
	err      error // why
}

func (c *conn) dialect() dialect {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.speaks
}

func (c *conn) setDialect(d dialect) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.speaks = d
}

// run is the whole life of the connection.
func (c *conn) run() {
	var err error
	defer c.finish(&err)
	err = c.read()
}

// finish leaves all documents and closes the socket. Deferred: a panic becomes an internal error, which ends one connection and not the
// process.
func (c *conn) finish(why *error) {
	if p := recover(); p != nil {
		*why = c.panicked(p)
	}
	c.close(*why)
	c.mu.Lock()
	err, d := c.err, c.speaks
	c.mu.Unlock()
	clean := causeOf(err) != causeGone && causeOf(err) != causeDead
	c.leaveAll(clean)
	d.ended(c)
	c.leaveAll(clean) // of documents that were just being let in
	c.linger()
	c.mu.Lock()
	c.dropAnswers() // a writer that still waits ends with the socket
	c.mu.Unlock()
	c.srv.forget(c, d)
}

// panicked tells of a panic and returns the error that it becomes.
func (c *conn) panicked(p any) error {
	c.srv.metrics.panics.Inc()
	c.log.Error("panic in a connection", "panic", p, "stack", string(debug.Stack()))
	return causeInternal
}

func (c *conn) leaveAll(clean bool) {
	c.mu.Lock()
	sessions := append([]*session(nil), c.sessions...)
	c.mu.Unlock()
	for _, s := range sessions {
		s.leave(clean)
	}
}

// join and part keep the list of sessions of the connection.
func (c *conn) join(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions = append(c.sessions, s)
}

func (c *conn) part(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, o := range c.sessions {
		if o == s {
			c.sessions = append(c.sessions[:i:i], c.sessions[i+1:]...)
			return
		}
	}
}

// drainSessions waits, no longer than until, for the updates of the connection's
// sessions to be stored and acknowledged.
func (c *conn) drainSessions(ctx context.Context, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	c.mu.Lock()
	sessions := append([]*session(nil), c.sessions...)
	c.mu.Unlock()
	for _, s := range sessions {
		s.room.reaches(ctx, func() bool { return s.group <= s.room.commit.reached && len(s.acks) == 0 })
	}
}

// pingFrame is shared by all.
var pingFrame = []byte{framePing, 0}

// tick is called about once a second.
func (c *conn) tick(now time.Time) {
	l, sec := &c.srv.limits, c.srv.secondsAt(now)
	d := c.dialect()
	if c.waiting.Load() == 0 && sec-c.lastIn.Load() > int64(l.DeadAfter/time.Second) {
		c.fail(causeDead)
		return
	}
	if sec-c.lastPing.Load() >= int64(l.PingEvery/time.Second) {
		c.lastPing.Store(sec)
		c.send(pingFrame)
	}
	// A tick early, and one for the rounding of the clock.
	if sec-c.lastOut.Load() >= int64(l.SilenceMax/time.Second)-2 {
		c.send(d.keepAlive(c))
	}
	d.tick(c, now)
	c.tickRights(now)
}
