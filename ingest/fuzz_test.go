package ingest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
)

// mouth is a conn over a pipe, whose reader is the test.
func (w *world) mouth(t testing.TB, path string) (*conn, func()) {
	r, err := routeOf(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	go io.Copy(io.Discard, far)
	now := time.Now()
	c := &conn{srv: w.srv, id: "fuzz", ip: "127.0.0.1", route: r, wire: &wire{Conn: near}, opened: now, log: slog.New(slog.DiscardHandler)}
	c.ctx, c.cancel = context.WithCancelCause(w.srv.ctx)
	c.speaks = pick(c)
	return c, func() {
		c.fail(causeLeft)
		for _, s := range append([]*session(nil), c.sessions...) {
			s.leave(true)
		}
		c.dialect().ended(c)
		far.Close()
	}
}

// FuzzMessages feeds frames of strangers to the dialects: whatever comes, no panic,
// and everybody can read each update that gets into the log.
func FuzzMessages(f *testing.F) {
	w := start(f, limits(func(l *Limits) { l.RefusalHold = time.Nanosecond }))
	f.Add("/fuzz", step1(nil), edit(insert(1, 0, "hello")), false)
	f.Add("/fuzz", aware(1, 1, `{"user":{}}`), []byte{yjs.MsgSaved, 1, 7}, false)
	f.Add("/fuzz", edit(insert(2, 9, "held")), yjs.AppendSync(nil, yjs.SyncStep2, insert(2, 0, "early one")), false)
	f.Add("/", hpAuth("fuzz", "x"), hpSync("fuzz", yjs.SyncUpdate, insert(3, 0, "x")), false)
	f.Add("/", hpSync("fuzz\x00abcdefghijk", yjs.SyncStep1, []byte{0}), hp("fuzz\x00abcdefghijk", yjs.MsgClose), false)
	f.Add("/party/fuzz", []byte(`y-pk-batch#{"id":"","type":"start","size":5,"count":2}`), []byte(`y-pk-batch#{"id":"","type":"end","size":5,"count":2}`), true)
	f.Add("/party/fuzz", []byte(`{"type":"sync","payload":{"stateVector":"AA==","update":"AAA="}}`), []byte(`{"type":"awareness","payload":{"clientId":1,"clock":1,"state":{}}}`), true)
	f.Add("/party/fuzz", []byte("__YPS:hi"), []byte(`{"type":"auth","payload":{"token":"x"}}`), true)
	f.Add("/d/fuzz/ws/fuzz", step1([]byte{1, 1, 5}), []byte{yjs.MsgQueryAwareness}, false)
	f.Fuzz(func(t *testing.T, path string, first, second []byte, text bool) {
		if !strings.HasPrefix(path, "/") || len(path) > 300 {
			path = "/fuzz"
		}
		if _, err := routeOf(path, nil); err != nil {
			return
		}
		c, end := w.mouth(t, path)
		defer func() {
			end()
			if n := read(w.srv.metrics.panics); n > 0 {
				t.Errorf("panics: got %d, want none; log:\n%s", n, w.out)
			}
		}()
		for _, b := range [][]byte{first, second, first} {
			if err := c.dialect().message(c, text, b); err != nil {
				break
			}
		}
	})
}
