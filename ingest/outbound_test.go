package ingest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"yjet/auth"
	"yjet/ingest/outbound"
	"yjet/internal/natstest"
	"yjet/internal/yjs"
	"yjet/stream"
)

// A service stands for the program behind a webhook or a load URL.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	signed []string
	answer func(n int, w http.ResponseWriter)
}

func newService(t *testing.T, answer func(n int, w http.ResponseWriter)) *service {
	s := &service{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.bodies = append(s.bodies, b)
		s.signed = append(s.signed, r.Header.Get(auth.SignatureHeader))
		n := len(s.bodies)
		s.mu.Unlock()
		s.answer(n, w)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bodies)
}

func TestWebhookTellsOnceOfManyEdits(t *testing.T) {
	secret := strings.Repeat("s", 32)
	s := newService(t, func(int, http.ResponseWriter) {})
	w := start(t, func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.Webhook = outbound.WebhookOptions{URL: s.URL, Secret: secret, DebounceWait: 200 * time.Millisecond}
	})
	a := w.open("/hook")
	for i := range 20 {
		a.send(edit(insert(1, uint64(i), "x")))
	}
	a.has(1, 20)
	eventually(t, 10*time.Second, "a call", func() bool { return s.calls() > 0 })
	var got struct {
		Document string
		Updates  int
		State    []byte
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.Unmarshal(s.bodies[0], &got); err != nil {
		t.Fatal(err)
	}
	v, err := yjs.VectorOf(got.State)
	if got.Document != "hook" || got.Updates != 20 || err != nil || v[1] != 20 {
		t.Errorf("call: got %s", s.bodies[0])
	}
	if err := auth.CheckSignature([]byte(secret), s.signed[0], s.bodies[0], time.Minute); err != nil {
		t.Error(err)
	}
}

func TestWebhookIsCalledWhenTheLastClientLeaves(t *testing.T) {
	s := newService(t, func(int, http.ResponseWriter) {})
	w := start(t, func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.Webhook = outbound.WebhookOptions{URL: s.URL, DebounceWait: time.Hour, DebounceMaxWait: time.Hour}
	})
	a, b := w.open("/last"), w.open("/last")
	a.send(edit(insert(1, 0, "x")))
	b.has(1, 1)
	a.leave()
	r := w.srv.rooms.find("last")
	eventually(t, 5*time.Second, "one has left", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.sessions) == 1 })
	if s.calls() != 0 {
		t.Error("called while somebody is there")
	}
	b.leave()
	eventually(t, 10*time.Second, "the call", func() bool { return s.calls() == 1 })
}

func TestWebhookDoesNotWaitForQuietForEver(t *testing.T) {
	s := newService(t, func(int, http.ResponseWriter) {})
	w := start(t, func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.Webhook = outbound.WebhookOptions{URL: s.URL, DebounceWait: 10 * time.Second, DebounceMaxWait: 300 * time.Millisecond}
	})
	a := w.open("/max")
	clock := uint64(0)
	eventually(t, 20*time.Second, "a call while edits go on", func() bool {
		a.send(edit(insert(1, clock, "x")))
		clock++
		time.Sleep(20 * time.Millisecond)
		return s.calls() > 0
	})
}

func TestWebhookIsTriedAgain(t *testing.T) {
	s := newService(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	w := start(t, func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.Webhook = outbound.WebhookOptions{URL: s.URL, DebounceWait: 100 * time.Millisecond}
	})
	a := w.open("/again")
	a.send(edit(insert(1, 0, "x")))
	eventually(t, 10*time.Second, "a second try", func() bool { return s.calls() == 2 })
}

func TestDrainMakesTheCallsThatAreDue(t *testing.T) {
	s := newService(t, func(int, http.ResponseWriter) {})
	w := start(t, func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.Webhook = outbound.WebhookOptions{URL: s.URL, DebounceWait: time.Hour, DebounceMaxWait: time.Hour}
	})
	a := w.open("/drained")
	a.send(edit(insert(1, 0, "x")))
	a.has(1, 1)
	if err := w.srv.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.calls() != 1 {
		t.Errorf("calls after drain: got %d, want 1", s.calls())
	}
}

func TestFirstStateIsLoadedOnce(t *testing.T) {
	first := insert(1, 0, "from elsewhere")
	s := newService(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable) // tried again
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(first)
	})
	load := func(o *Options, _ *auth.Options, _ *stream.Config) { o.LoadURL = s.URL }
	w1 := start(t, load)
	w2 := join(t, w1.nats, load)
	var wg sync.WaitGroup
	clients := make([]*client, 6)
	for i := range clients {
		wg.Go(func() { clients[i] = []*world{w1, w2}[i%2].open("/loaded") })
	}
	wg.Wait()
	for _, c := range clients {
		c.has(1, 14)
		c.mu.Lock()
		if n := c.count(yjs.MsgSync, yjs.SyncStep2); n != 1 {
			t.Errorf("step 2s: got %d, want 1 that has it all", n)
		}
		c.mu.Unlock()
	}
	if got := w1.records("loaded"); len(got) != 1 {
		t.Errorf("records: got %d, want 1", len(got))
	}
	calls := s.calls()
	clients[0].leave()
	w1.open("/loaded").has(1, 14)
	if s.calls() != calls {
		t.Errorf("asked again for a document that exists")
	}
}

// A cluster takes records of 1 MiB unless it is told otherwise.
func TestAFirstStateLargerThanARecordIsCut(t *testing.T) {
	first := insert(1, 0, strings.Repeat("from elsewhere ", 20_000))
	s := newService(t, func(_ int, w http.ResponseWriter) { w.Write(first) })
	w := join(t, natstest.Start(t, natstest.Process, natstest.MaxPayload(64<<10)), func(o *Options, _ *auth.Options, _ *stream.Config) { o.LoadURL = s.URL })
	w.open("/loaded").has(1, 300_000)
	if code, body, _ := w.ask("GET", "/api/docs/asked?format=text&type=t", nil); code != 200 || len(body) != 300_000 {
		t.Errorf("a document that nobody had opened: got %d with %d bytes, want 300000", code, len(body))
	}
	if code, body, _ := w.ask("POST", "/api/docs/seeded", first, "If-None-Match: *"); code != 204 {
		t.Fatalf("seed: got %d %s, want 204", code, body)
	}
	if code, _, _ := w.ask("POST", "/api/docs/seeded", first, "If-None-Match: *"); code != 412 {
		t.Errorf("seed again: got %d, want 412", code)
	}
	if code, body, _ := w.ask("GET", "/api/docs/seeded?format=text&type=t", nil); code != 200 || len(body) != 300_000 {
		t.Errorf("seeded: got %d with %d bytes, want 300000", code, len(body))
	}
}

func TestNobodyBeginsADocumentThatCouldNotBeLoaded(t *testing.T) {
	s := newService(t, func(_ int, w http.ResponseWriter) { w.Write([]byte("<html>")) })
	w := start(t, func(o *Options, _ *auth.Options, _ *stream.Config) { o.LoadURL = s.URL })
	c := w.dial("/unloaded")
	c.send(step1(nil))
	if got := c.code(); got != 1013 {
		t.Errorf("close code: got %d, want 1013", got)
	}
	if got := w.records("unloaded"); len(got) != 0 {
		t.Errorf("records: got %d, want none", len(got))
	}
}

// A caller is told when the service is down. It does not wait for as long as its own request lasts.
func TestGetEndsWhereTheLoadURLIsDown(t *testing.T) {
	s := newService(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) })
	w := start(t, func(o *Options, _ *auth.Options, _ *stream.Config) { o.LoadURL = s.URL }, limits(func(l *Limits) { l.LoadWait = 700 * time.Millisecond }))
	code, body, _ := w.ask("GET", "/api/docs/away", nil)
	if code != http.StatusServiceUnavailable || !strings.Contains(string(body), "load-unavailable") {
		t.Errorf("got %d %s, want 503 load-unavailable", code, body)
	}
}
