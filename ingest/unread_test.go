package ingest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// large puts a document of about n bytes into the log.
func (w *world) large(doc string, n int) {
	w.t.Helper()
	if code, body, _ := w.ask("POST", "/api/docs/"+doc, insert(7, 0, strings.Repeat("x", n))); code != http.StatusNoContent {
		w.t.Fatalf("POST of %d bytes: got %d %s", n, code, body)
	}
}

// raw opens a connection to the server, for requests that no HTTP client sends.
func (w *world) raw(request string) net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.http.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// waiting counts the bytes that wait for sockets to take them.
func (w *world) waiting() (bytes int) {
	w.srv.mu.Lock()
	defer w.srv.mu.Unlock()
	for c := range w.srv.conns {
		c.mu.Lock()
		for _, p := range c.q {
			bytes += len(p)
		}
		c.mu.Unlock()
	}
	return bytes
}

func TestReaderThatDoesNotReadHoldsOneAnswer(t *testing.T) {
	const size, questions = 6 << 20, 60
	w := start(t)
	w.large("held", size)
	ws, _, err := websocket.DefaultDialer.Dial(w.url("/held"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	question := step1((yjs.StateVector{99: 5}).Append(nil)) // a vector, so that each answer is computed for itself
	for range questions {
		if err := ws.WriteMessage(websocket.BinaryMessage, question); err != nil {
			t.Fatal(err)
		}
	}
	held := func() int64 {
		w.srv.unread.mu.Lock()
		defer w.srv.unread.mu.Unlock()
		return w.srv.unread.held
	}
	eventually(t, waitLong, "the reader waits with an answer that is counted", func() bool {
		if n := w.waiting(); n > 2*size {
			t.Fatalf("%d bytes wait for one socket, want one answer of %d", n, size)
		}
		w.srv.mu.Lock()
		defer w.srv.mu.Unlock()
		for c := range w.srv.conns {
			return c.waiting.Load() == 1 && held() > size/2 && held() < 3*size
		}
		return false
	})
	ws.SetReadDeadline(time.Now().Add(60 * time.Second))
	for answers := 0; answers < questions; {
		_, b, err := ws.ReadMessage()
		if err != nil {
			t.Fatalf("after %d answers: %v", answers, err)
		}
		if n := w.waiting(); n > 2*size {
			t.Fatalf("%d bytes wait for one socket, want one answer of %d", n, size)
		}
		if m, _, err := yjs.ReadMessage(b); err == nil && m.Type == yjs.MsgSync && m.Step == yjs.SyncStep2 {
			answers++
		}
	}
	eventually(t, waitLong, "nothing is counted", func() bool { return held() == 0 })
}

func TestSharedAnswersCountOnceAndOthersWait(t *testing.T) {
	u := newUnread()
	u.most = 3 << 20
	state := make([]byte, 2<<20)
	one, ok := u.take(state, len(state), 0, nil)
	two, ok2 := u.take(state, len(state), 0, nil)
	if !ok || !ok2 || u.held != 2<<20 {
		t.Fatalf("two readers of one state: got %v, %v and %d bytes, want 2 MiB", ok, ok2, u.held)
	}
	if _, ok := u.take(nil, 2<<20, 0, nil); ok {
		t.Error("an answer above the bound: counted, want it refused")
	}
	done := make(chan bool)
	go func() {
		r, ok := u.take(nil, 2<<20, time.Minute, nil)
		r.shrink(1 << 20)
		r.give()
		done <- ok
	}()
	one.give()
	one.give() // a second time does nothing
	two.give()
	if !<-done {
		t.Error("an answer that waited: refused, want it counted when there was room")
	}
	if r, ok := u.take(nil, 30<<20, 0, nil); !ok || u.held != 30<<20 {
		t.Errorf("the only answer, larger than the bound: got %v, want it counted", ok)
	} else {
		r.give()
	}
	if u.held != 0 || len(u.shared) != 0 {
		t.Errorf("in the end: got %d bytes and %d states, want none", u.held, len(u.shared))
	}
}

func TestHTTPAnswersThatNobodyReadsEnd(t *testing.T) {
	const size, readers = 8 << 20, 6
	w := start(t, limits(func(l *Limits) { l.WriteWait, l.MessageWait = 300*time.Millisecond, 300*time.Millisecond }))
	w.large("unread", size)
	w.srv.unread.most = 2 * size
	for range readers {
		// format=json is rendered for each reader.
		c := w.raw("GET /api/docs/unread?format=json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		c.(*net.TCPConn).SetReadBuffer(4096)
	}
	seen := int64(0)
	held := func() int64 {
		w.srv.unread.mu.Lock()
		defer w.srv.unread.mu.Unlock()
		seen = max(seen, w.srv.unread.held)
		return w.srv.unread.held
	}
	eventually(t, time.Minute, "answers are counted", func() bool { return held() > 0 })
	eventually(t, time.Minute, "nothing is counted any more", func() bool { return held() == 0 })
	if seen > 2*size+1<<20 {
		t.Errorf("%d bytes waited at once, want at most %d", seen, 2*size)
	}
	// The last of the others may still be having its turn.
	eventually(t, time.Minute, "a reader that reads gets the whole", func() bool {
		code, body, _ := w.ask("GET", "/api/docs/unread", nil)
		return code == http.StatusOK && len(body) >= size
	})
}

func TestTokensAreCheckedBeforeBodiesAreRead(t *testing.T) {
	w := start(t, quick, logins, limits(func(l *Limits) { l.MessageWait = time.Hour }))
	for _, route := range []string{"POST /api/docs/d", "POST /doc/d/auth", "POST /doc/new", "POST /d/d/update", "POST /doc/d/update", "POST /api/docs/d/token",
		"POST /api/docs/d/versions", "POST /api/docs/d/restore", "POST /api/docs/d/copy", "POST /api/docs/d/import", "DELETE /api/sessions?user=ada"} {
		c := w.raw(route + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: 4096\r\n\r\nx")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s without a token, whose body stalls: got %v, want 401", route, err)
			continue
		}
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a token, whose body stalls: got %d, want 401", route, resp.StatusCode)
		}
		c.Close()
	}
}

func TestStalledBodyEndsAndReservesWhatArrived(t *testing.T) {
	const patience = 2 * time.Second
	w := start(t, limits(func(l *Limits) { l.MessageWait = patience }))
	w.srv.inbound.most = 2 << 20
	body := insert(7, 0, strings.Repeat("x", 1<<20))
	head := "POST /api/docs/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: 12000000\r\n\r\n"
	var stalled []net.Conn
	for range 4 {
		stalled = append(stalled, w.raw(head+"some"))
	}
	if code, answer, _ := w.ask("POST", "/api/docs/fast", body); code != http.StatusNoContent {
		t.Errorf("beside stalled bodies of 12 MB: got %d %s, want 204", code, answer)
	}
	// A slow one goes on as long as bytes move.
	u := insert(8, 0, "0123456789ab")
	c := w.raw(fmt.Sprintf("POST /api/docs/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", len(u)))
	for i := range u { // longer in all than a stalled body is waited for
		time.Sleep(patience * 5 / 4 / time.Duration(len(u)))
		if _, err := c.Write(u[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusNoContent {
		t.Errorf("a body of which a byte comes now and then: got %v, %v, want 204", resp, err)
	}
	for _, c := range stalled {
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a body that stalls: got %v, %v, want 400", resp, err)
		}
	}
}

func TestRequestsOfOneAddressAreCounted(t *testing.T) {
	proxied := func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		o.Limits.Requests = 2
	}
	w := start(t, proxied)
	stalled := func() net.Conn {
		return w.raw("POST /api/docs/d HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 203.0.113.7\r\nContent-Length: 9\r\n\r\nx")
	}
	one, two := stalled(), stalled()
	eventually(t, waitLong, "two requests are counted", func() bool {
		w.srv.gate.mu.Lock()
		defer w.srv.gate.mu.Unlock()
		v := w.srv.gate.byIP["203.0.113.7"]
		return v != nil && v.asked == 2
	})
	if code, body, _ := w.ask("GET", "/api/docs", nil, "X-Forwarded-For: 203.0.113.7"); code != http.StatusServiceUnavailable || !strings.Contains(body, causeAddressRequests.reason) {
		t.Errorf("a third request of the address: got %d %s, want 503", code, body)
	}
	if code, _, _ := w.ask("GET", "/api/docs", nil, "X-Forwarded-For: 203.0.113.8"); code != http.StatusOK {
		t.Errorf("a request of another address: got %d, want 200", code)
	}
	one.Close()
	two.Close()
	eventually(t, waitLong, "the address is answered again", func() bool {
		code, _, _ := w.ask("GET", "/api/docs", nil, "X-Forwarded-For: 203.0.113.7")
		return code == http.StatusOK
	})
}
