package ingest

import (
	"fmt"
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

// tryFrom opens a socket as a client of another address does, behind a trusted proxy. One that is refused is nil.
func (w *world) tryFrom(ip, path string) *client {
	ws, _, err := websocket.DefaultDialer.Dial(w.url(path), http.Header{"X-Forwarded-For": {ip}})
	if err != nil {
		return nil
	}
	c := newClient(w.t, ws)
	c.send(step1(nil))
	return c
}

// presenceOf is an awareness frame in which each of the ids has the state.
func presenceOf(state string, ids ...uint64) []byte {
	var entries []yjs.AwarenessEntry
	for _, id := range ids {
		entries = append(entries, yjs.AwarenessEntry{Client: id, Clock: 1, State: []byte(state)})
	}
	return yjs.AppendVarBytes([]byte{yjs.MsgAwareness}, yjs.AppendAwareness(nil, entries))
}

// Each limit with a flag is counted under its own reason when it refuses something.
func TestEachLimitIsCountedUnderItsReason(t *testing.T) {
	proxied := func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	post := func(doc string, update []byte) func(*world) {
		return func(w *world) { w.send("POST", "/api/docs/"+doc, update) }
	}
	type settings = []setting
	for _, c := range []struct {
		flag, reason string
		with         settings
		do           func(w *world)
	}{
		{"max-message", "message-too-large", settings{limits(smallMessages)}, func(w *world) {
			go w.open("/a").ws.WriteMessage(websocket.BinaryMessage, yjs.AppendVarBytes([]byte{yjs.MsgAwareness}, make([]byte, 1<<20)))
		}},
		{"max-first-message", "first-message-too-large", settings{limits(func(l *Limits) { l.FirstMessage = 1000 })}, func(w *world) {
			w.dial("/a").send(make([]byte, 2000))
		}},
		{"max-first-wait", "authentication-timeout", settings{limits(func(l *Limits) { l.FirstWait = 20 * time.Millisecond })}, func(w *world) { w.dial("/a") }},
		{"max-document", "document-full", settings{limits(func(l *Limits) { l.Document = 1000 })}, func(w *world) {
			post("a", insert(1, 0, strings.Repeat("x", 2000)))(w)
			post("a", insert(1, 2000, "more"))(w)
		}},
		{"max-depth", "document-too-deep", settings{limits(func(l *Limits) { l.Shape.Depth = 3 })}, post("a", nested(1, 0, 10))},
		{"max-clients-ever", "too-many-clients-ever", settings{limits(func(l *Limits) { l.Shape.Clients = 3 })}, post("a", grown(9))},
		{"max-root-work", "too-many-roots", settings{limits(func(l *Limits) { l.Shape.RootWork = 3 })}, post("a", grown(9))},
		{"max-sub-documents", "too-many-sub-documents", settings{limits(func(l *Limits) { l.Shape.SubDocs = 3 })}, post("a", grown(9))},
		{"max-documents", "too-many-open-documents", settings{limits(func(l *Limits) { l.Documents = 1 })}, func(w *world) {
			w.open("/a").turn()
			w.dial("/b").send(step1(nil))
		}},
		{"max-loads", "too-many-documents-loading", settings{limits(func(l *Limits) { l.Loads, l.LoadWait = 1, 50*time.Millisecond })}, func(w *world) {
			w.srv.rooms.loads <- struct{}{}
			w.dial("/a").send(step1(nil))
		}},
		{"max-clients-per-document", "too-many-clients-in-document", settings{limits(func(l *Limits) { l.PerDocument = 1 })}, func(w *world) {
			w.open("/a").turn()
			w.dial("/a").send(step1(nil))
		}},
		{"max-connections", "too-many-connections", settings{limits(func(l *Limits) { l.Connections = 1 })}, func(w *world) {
			w.open("/a")
			w.tryFrom("203.0.113.7", "/a")
		}},
		{"max-connections-per-ip", "too-many-connections-of-address", settings{proxied, limits(func(l *Limits) { l.PerIP = 1 })}, func(w *world) {
			w.tryFrom("203.0.113.7", "/a")
			w.tryFrom("203.0.113.7", "/a")
		}},
		{"max-new-connections", "too-many-new-connections-of-address", settings{proxied, limits(func(l *Limits) { l.NewPerIP, l.NewPerIPBurst = 0.01, 1 })}, func(w *world) {
			w.tryFrom("203.0.113.7", "/a")
			w.tryFrom("203.0.113.7", "/a")
		}},
		{"max-requests-per-ip", "too-many-requests-of-address", settings{proxied, limits(func(l *Limits) { l.Requests = 1 })}, func(w *world) {
			w.srv.gate.ask("203.0.113.7", time.Now())
			req, _ := http.NewRequest("GET", w.http.URL+"/health", nil)
			req.Header.Set("X-Forwarded-For", "203.0.113.7")
			if resp, err := w.http.Client().Do(req); err == nil {
				resp.Body.Close()
			}
		}},
		{"max-connections-per-user", "too-many-connections-of-user", settings{logins, limits(func(l *Limits) { l.PerUser = 1 })}, func(w *world) {
			w.open("/a?token=" + token("ada", time.Hour)).turn()
			w.dial("/a?token=" + token("ada", time.Hour)).send(step1(nil))
		}},
		{"max-documents-per-user", "too-many-documents-of-user", settings{logins, limits(func(l *Limits) { l.UserDocuments = 1 })}, func(w *world) {
			w.open("/a?token=" + token("ada", time.Hour)).turn()
			w.dial("/b?token=" + token("ada", time.Hour)).send(step1(nil))
		}},
		{"max-new-documents", "too-many-new-documents", settings{logins, limits(func(l *Limits) { l.NewDocuments = 1 })}, func(w *world) {
			for i := range 3 {
				w.request("POST", fmt.Sprint("/api/docs/", i), token("ada", time.Hour), string(insert(1, 0, "a")))
			}
		}},
		{"max-presence", "presence-too-large", settings{limits(func(l *Limits) { l.AwarenessState = 10 })}, func(w *world) {
			w.open("/a").send(presenceOf(`{"name":"a long name"}`, 7))
		}},
		{"max-presence-ids", "too-many-presence-ids", settings{limits(func(l *Limits) { l.AwarenessOwn = 1 })}, func(w *world) {
			w.open("/a").send(presenceOf(`{}`, 7, 8, 9))
		}},
		{"max-presence-per-document", "presence-of-document-full", settings{limits(func(l *Limits) { l.AwarenessStates = 1 })}, func(w *world) {
			w.open("/a").send(presenceOf(`{}`, 7, 8, 9))
		}},
		{"max-presence-bytes", "presence-of-document-full", settings{limits(func(l *Limits) { l.AwarenessBytes = 5 })}, func(w *world) {
			w.open("/a").send(presenceOf(`{"a":1}`, 7))
		}},
	} {
		t.Run(c.flag, func(t *testing.T) {
			t.Parallel()
			w := start(t, append(c.with, quick)...)
			c.do(w)
			eventually(t, waitLong, "the reason "+c.reason+" in the metrics", func() bool {
				return w.metric("refused_total", c.reason)+w.metric("rejected_writes_total", c.reason)+w.metric("dropped_total", c.reason) > 0
			})
			if c.flag == "max-loads" {
				<-w.srv.rooms.loads
			}
		})
	}
}
