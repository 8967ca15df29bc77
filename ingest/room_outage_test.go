package ingest

import (
	"context"
	"math"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// outage is a server whose patience is short, and whose documents "kept" and "open" have content.
func outage(t *testing.T) *world {
	t.Helper()
	w := start(t, limits(func(l *Limits) { l.LoadWait, l.AppendWait = time.Second, time.Second }))
	for _, doc := range []string{"kept", "open"} {
		if code, body, _ := w.ask("POST", "/api/docs/"+doc, insert(1, 0, doc)); code != 204 {
			t.Fatalf("begin %s: got %d %s", doc, code, body)
		}
	}
	return w
}

// back starts NATS again and waits until documents can be written.
func (w *world) back() {
	w.t.Helper()
	w.nats.Restart()
	eventually(w.t, waitLong, "the store is back", func() bool { return w.log.Health(context.Background()).Err == nil })
}

func TestADocumentThatCannotBeLoadedIsLoadedWhenTheStoreIsBack(t *testing.T) {
	w := outage(t)
	w.nats.Stop()
	var voices []*voice
	for _, tg := range tongues {
		if tg.hp { // its client would take a refusal for final: its document waits, as for any cause that passes
			continue
		}
		v := w.speak(tg, "kept", "")
		_ = v.ws.WriteMessage(websocket.BinaryMessage, step1(nil)) // a party's socket may be closed by now
		voices = append(voices, v)
	}
	for _, v := range voices {
		v.closedFor(1013, "storage-unavailable")
	}
	w.back()
	for _, v := range voices {
		w.enter(v.tongue, "kept", "").reads(1, 4)
	}
}

func TestRequestsDuringAnOutageAreAnsweredAndStoreNothingByHalves(t *testing.T) {
	w := outage(t)
	w.open("/open")
	w.srv.rooms.unload(time.Now().Add(time.Hour)) // of documents that nobody has open
	w.nats.Stop()
	more := insert(1, 4, "!")
	var wg sync.WaitGroup
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/api/docs/new", ""},
		{"GET", "/api/docs", ""},
		{"GET", "/api/docs/new/presence", ""},
		{"GET", "/d/new/as-update", ""},
		{"GET", "/api/docs/kept/history", ""},
		{"POST", "/api/docs/kept/versions", `{"name":"v"}`},
		{"POST", "/api/docs/kept", string(more)},
		{"POST", "/api/docs/open", string(more)},
		{"POST", "/api/docs/new", string(insert(1, 0, "x"))},
	} {
		wg.Go(func() {
			began := time.Now()
			code, body, h := w.ask(c.method, c.path, []byte(c.body))
			if reason, _ := apiError(t, c.path, body); code != 503 || reason != "storage-unavailable" || h.Get("Retry-After") == "" {
				t.Errorf("%s %s: got %d %s after %v, want 503 storage-unavailable", c.method, c.path, code, body, time.Since(began))
			}
		})
	}
	wg.Wait()
	// What the server has in memory can still be read.
	if code, body, _ := w.ask("GET", "/api/docs/open?format=text&type=t", nil); code != 200 || !strings.HasPrefix(body, "open") {
		t.Errorf("a document that is open: got %d %s, want its text", code, body)
	}
	if w.metric("append_failures_total", "storage-unavailable") == 0 {
		t.Error("no group of updates is counted as given up")
	}
	w.back()
	for _, doc := range []string{"kept", "open"} {
		eventually(t, waitLong, doc+" takes the edit", func() bool {
			code, _, _ := w.ask("POST", "/api/docs/"+doc, more)
			return code == 204
		})
		if code, body, _ := w.ask("GET", "/api/docs/"+doc+"?format=text&type=t", nil); code != 200 || body != doc+"!" {
			t.Errorf("%s: got %d %q, want the edit once", doc, code, body)
		}
	}
}

func TestARevocationDuringAnOutageHoldsHereAndSaysThatItMayBeForgotten(t *testing.T) {
	w := outage(t)
	v := w.enter(tongues[0], "open", "")
	w.nats.Stop()
	code, body, h := w.ask("DELETE", "/api/sessions?doc=open", nil)
	if reason, message := apiError(t, "revoke", body); code != 503 || reason != "storage-unavailable" || !strings.Contains(message, "ask again") {
		t.Errorf("got %d %s %v, want 503 and that it should be asked again", code, body, h)
	}
	v.closedFor(4403, "revoked")
	w.nats.Restart()
}

func TestARequestThatMemoryIsTooShortForIsRefusedAndADeletionIsNot(t *testing.T) {
	w := start(t)
	for _, doc := range []string{"one", "two"} {
		w.ask("POST", "/api/docs/"+doc, insert(1, 0, "x"))
	}
	c := w.open("/one")
	w.srv.rooms.unload(time.Now().Add(time.Hour)) // of documents that nobody has open
	debug.SetMemoryLimit(1 << 20)
	defer debug.SetMemoryLimit(math.MaxInt64)
	for _, r := range docRoutes {
		method := r.methods()[0]
		if method == "DELETE" || strings.HasSuffix(r.path, "/token") || strings.HasSuffix(r.path, "/auth") {
			continue
		}
		code, body, h := w.ask(method, r.at("two"), []byte(r.body[method]))
		if reason, _ := apiError(t, r.path, body); code != 503 || reason != "memory-limit" || h.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %d %s, want 503 memory-limit", method, r.path, code, body)
		}
	}
	if code, body, _ := w.ask("GET", "/health", nil); code != 200 || !strings.Contains(body, "memory is short") {
		t.Errorf("health: got %d %s, want a reason and no alarm", code, body)
	}
	closed := w.dial("/two")
	closed.send(step1(nil))
	if code := closed.code(); code != 1013 {
		t.Errorf("a document that is not open: got close code %d, want 1013", code)
	}
	c.send(edit(insert(1, 1, "goes on")))
	c.has(1, 8)
	if code, body, _ := w.ask("DELETE", "/api/docs/two", nil); code != 204 {
		t.Errorf("a deletion: got %d %s, want it done", code, body)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	w.open("/two")
}
