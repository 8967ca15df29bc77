package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"yjet/auth"
	"yjet/internal/natstest"
	"yjet/internal/testlog"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is one yjet server on a nats-server of its own, or on another's.
type world struct {
	t    testing.TB
	nats *natstest.Server
	log  *stream.Log
	snap *snapshot.Store
	srv  *Server
	http *httptest.Server
	out  *testlog.Buffer
	reg  *prometheus.Registry
}

type setting func(*Options, *auth.Options, *stream.Config)

func limits(f func(*Limits)) setting {
	return func(o *Options, _ *auth.Options, _ *stream.Config) { f(&o.Limits) }
}

// start runs a server in process mode, which differs from disk mode in speed only.
func start(t testing.TB, settings ...setting) *world {
	t.Helper()
	return join(t, natstest.Start(t, natstest.Process), settings...)
}

// join runs another server on the same nats-server.
func join(t testing.TB, ns *natstest.Server, settings ...setting) *world {
	t.Helper()
	w := &world{t: t, nats: ns, out: &testlog.Buffer{}, reg: prometheus.NewRegistry()}
	ctx := context.Background()
	lg := slog.New(slog.NewTextHandler(w.out, nil))
	reg := w.reg // one for all rooms: their names must not collide
	o := Options{Metrics: reg, Logger: lg, Version: "test", DrainPeriod: time.Millisecond}
	ao := auth.Options{Mode: "none", Dev: true, Loopback: true}
	cfg := stream.Config{Metrics: reg, Shards: 2, Replicas: 1, Embedded: true, Durability: "process"}
	for _, f := range settings {
		f(&o, &ao, &cfg)
	}
	var err error
	if w.log, err = stream.Open(ctx, ns.Connect(), ns.Connect(), cfg); err != nil {
		t.Fatalf("open the log: %v", err)
	}
	w.snap = snapshot.New(w.log, snapshot.Options{Metrics: reg, CompactAfter: time.Hour, Log: slog.New(slog.DiscardHandler)})
	ao.Metrics = reg
	a, err := auth.New(ao)
	if err != nil {
		t.Fatalf("auth: %v", err)
	}
	o.Log, o.Snapshots, o.Auth = w.log, w.snap, a
	if w.srv, err = New(o); err != nil {
		t.Fatalf("New: %v", err)
	}
	w.http = httptest.NewServer(w.srv)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.srv.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		w.http.Close()
		w.snap.Close(ctx)
		w.log.Close()
		a.Close()
		if t.Failed() && os.Getenv("YJET_LOGS") != "" {
			t.Log(w.out)
		}
	})
	return w
}

func (w *world) url(path string) string { return "ws" + strings.TrimPrefix(w.http.URL, "http") + path }

// A client is a raw WebSocket client that collects what it receives.
type client struct {
	t  testing.TB
	ws *websocket.Conn

	mu     sync.Mutex
	cond   *sync.Cond
	frames []frame
	seen   int // frames that next has answered
	doc    yjs.State
	added  int // frames that are in doc
	err    error
	closed bool
	done   chan struct{}
}

type frame struct {
	text bool
	data []byte
}

func (w *world) dial(path string) *client {
	w.t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial(w.url(path), nil)
	if err != nil {
		w.t.Fatalf("dial %s: %v (%v)", path, err, resp)
	}
	return newClient(w.t, ws)
}

func newClient(t testing.TB, ws *websocket.Conn) *client {
	c := &client{t: t, ws: ws, done: make(chan struct{})}
	c.cond = sync.NewCond(&c.mu)
	go c.read()
	t.Cleanup(c.drop)
	return c
}

func (c *client) read() {
	defer close(c.done)
	for {
		kind, b, err := c.ws.ReadMessage()
		c.mu.Lock()
		if err != nil {
			c.err, c.closed = err, true
			c.cond.Broadcast()
			c.mu.Unlock()
			return
		}
		c.frames = append(c.frames, frame{kind == websocket.TextMessage, b})
		c.cond.Broadcast()
		c.mu.Unlock()
	}
}

// drop breaks the connection off without a close frame.
func (c *client) drop() {
	c.ws.Close()
	<-c.done
}

// leave closes as a browser does.
func (c *client) leave() {
	c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Second))
	<-c.done
	c.ws.Close()
}

func (c *client) send(b ...[]byte) {
	c.t.Helper()
	for _, p := range b {
		if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
			c.t.Fatalf("send: %v", err)
		}
	}
}

func (c *client) say(s string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(s)); err != nil {
		c.t.Fatalf("say: %v", err)
	}
}

// waitLong is the time in which a thing must happen on a machine that is as busy as can be.
const waitLong = 30 * time.Second

// wait waits until ok, which is called with the lock, is true.
func (c *client) wait(what string, ok func() bool) {
	c.t.Helper()
	c.waitFor(10*time.Second, what, ok)
}

func (c *client) waitFor(d time.Duration, what string, ok func() bool) {
	c.t.Helper()
	timeout := time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cond.Broadcast()
	})
	defer timeout.Stop()
	deadline := time.Now().Add(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	for !ok() {
		if time.Now().After(deadline) || c.closed && c.err != nil && !ok() && what != "close" {
			var got []string
			for _, f := range c.frames {
				got = append(got, clip(string(yjsText(f))))
			}
			c.t.Fatalf("no %s; closed %v (%v), got %d frames: %q", what, c.closed, c.err, len(c.frames), got)
		}
		c.cond.Wait()
	}
}

func yjsText(f frame) []byte { return f.data }

// next answers the next frame.
func (c *client) next() frame {
	c.t.Helper()
	var f frame
	c.wait("next frame", func() bool {
		if c.seen < len(c.frames) {
			f = c.frames[c.seen]
			c.seen++
			return true
		}
		return false
	})
	return f
}

// code waits for the end and answers the close code.
func (c *client) code() int {
	c.t.Helper()
	c.wait("close", func() bool { return c.closed })
	var ce *websocket.CloseError
	if errors.As(c.err, &ce) {
		return ce.Code
	}
	return 0
}

// turn returns when the server has handled all that the client sent, and all that it
// queued for the client until then has come: messages of one socket are taken in order.
func (c *client) turn() {
	c.t.Helper()
	c.mu.Lock()
	n := c.count(yjs.MsgSync, yjs.SyncStep2)
	c.mu.Unlock()
	c.send(step1(nil))
	c.wait("step 2", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep2) > n })
}

// state is the document as the client knows it after all sync frames so far.
// Callers hold the lock.
func (c *client) state() *yjs.State {
	for ; c.added < len(c.frames); c.added++ {
		f := c.frames[c.added]
		m, _, err := yjs.ReadMessage(f.data)
		if f.text || err != nil || m.Type != yjs.MsgSync || m.Step == yjs.SyncStep1 {
			continue
		}
		var p yjs.Update
		if err := p.Parse(m.Payload, recordLimits); err != nil {
			c.t.Fatalf("received update %x does not parse: %v", m.Payload, err)
		}
		c.doc.Add(&p)
	}
	return &c.doc
}

// count counts frames of a type and step.
func (c *client) count(kind, step uint64) (n int) {
	for _, f := range c.frames {
		if m, _, err := yjs.ReadMessage(f.data); !f.text && err == nil && m.Type == kind && (kind != yjs.MsgSync || m.Step == step) {
			n++
		}
	}
	return n
}

// present is the awareness that the client has: client id to JSON, by the rules of
// y-protocols.
func (c *client) present() map[uint64]string {
	known := map[uint64]yjs.AwarenessEntry{}
	for _, f := range c.frames {
		m, _, err := yjs.ReadMessage(f.data)
		if f.text || err != nil || m.Type != yjs.MsgAwareness {
			continue
		}
		entries, err := yjs.ReadAwareness(nil, m.Payload)
		if err != nil {
			c.t.Fatalf("awareness %x: %v", f.data, err)
		}
		for _, e := range entries {
			// An entry is news if its clock is higher, or if it says at the known clock that a present client is gone.
			if had := known[e.Client]; e.Clock > had.Clock || e.Clock == had.Clock && e.State == nil && had.State != nil {
				known[e.Client] = e
			}
		}
	}
	out := map[uint64]string{}
	for _, e := range known {
		if e.State != nil {
			out[e.Client] = string(e.State)
		}
	}
	return out
}

// has waits until the client has so many units of an author's content.
func (c *client) has(author, n uint64) {
	c.t.Helper()
	c.wait("content", func() bool { return c.state().Structs().Prefix(author) >= n })
}

// open connects as y-websocket does: step 1, then the answer.
func (w *world) open(path string) *client {
	w.t.Helper()
	c := w.dial(path)
	c.send(step1(nil))
	c.wait("step 2", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep2) > 0 })
	return c
}

func step1(vector []byte) []byte {
	if vector == nil {
		vector = []byte{0}
	}
	return yjs.AppendSync(nil, yjs.SyncStep1, vector)
}

func edit(u []byte) []byte { return yjs.AppendSync(nil, yjs.SyncUpdate, u) }

// insert is the update of an author who types s at the end of their own text t,
// of which clock units are there.
func insert(author, clock uint64, s string) []byte {
	b := []byte{1, 1}
	b = yjs.AppendUvarint(b, author)
	b = yjs.AppendUvarint(b, clock)
	if clock == 0 {
		b = append(b, 0x04, 1)
		b = yjs.AppendVarString(b, "t")
	} else {
		b = append(b, 0x84)
		b = yjs.AppendUvarint(b, author)
		b = yjs.AppendUvarint(b, clock-1)
	}
	b = yjs.AppendVarString(b, s)
	return append(b, 0)
}

// aware is an awareness message with one entry.
func aware(id, clock uint64, state string) []byte {
	e := yjs.AwarenessEntry{Client: id, Clock: clock}
	if state != "null" {
		e.State = []byte(state)
	}
	return awarenessMessage(e)
}

// awarenessMessage is an awareness message with these entries.
func awarenessMessage(entries ...yjs.AwarenessEntry) []byte {
	return yjs.AppendVarBytes([]byte{yjs.MsgAwareness}, yjs.AppendAwareness(nil, entries))
}

// records reads the whole log of a document.
func (w *world) records(doc string) (list []stream.Record) {
	w.t.Helper()
	d, err := stream.ParseDoc(doc)
	if err != nil {
		w.t.Fatal(err)
	}
	for r, err := range w.log.Replay(context.Background(), d, 0, 0) {
		if err != nil {
			w.t.Fatalf("replay of %q: %v", doc, err)
		}
		list = append(list, r)
	}
	return list
}

// eventually waits for something that no frame tells of.
func eventually(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", d, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
