package ingest

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// turnedAway dials a path that is refused before the upgrade and checks how.
func (w *world) turnedAway(path, reason string, headers http.Header) {
	w.t.Helper()
	before := w.metric("refused_total", reason)
	ws, resp, err := websocket.DefaultDialer.Dial(w.url(path), headers)
	if err == nil {
		ws.Close()
		w.t.Fatalf("%s was let in, want %s", path, reason)
	}
	if resp == nil {
		w.t.Fatalf("%s: %v, want %s", path, err, reason)
	}
	body := make([]byte, 1024)
	n, _ := resp.Body.Read(body)
	if got, _ := apiError(w.t.(*testing.T), path, string(body[:n])); got != reason || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		w.t.Errorf("%s: got %d %s with Retry-After %q, want 503 %s", path, resp.StatusCode, got, resp.Header.Get("Retry-After"), reason)
	}
	if got := w.metric("refused_total", reason); got != before+1 {
		w.t.Errorf("the metric of %s went up by %v, want 1", reason, got-before)
	}
}

func TestSocketsAboveTheServersBoundAreRefusedUntilOneEnds(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.Connections = 2 }))
	a := w.open("/full")
	w.open("/full")
	for _, tg := range tongues {
		w.turnedAway(strings.TrimRight(tg.path("full"), "?&"), "too-many-connections", nil)
	}
	a.leave()
	eventually(t, waitLong, "there is room for one", func() bool { return w.metric("connections") == 1 })
	w.open("/full")
	w.turnedAway("/full", "too-many-connections", nil)
}

func TestSocketsOfOneAddressAreBoundedUntilTheirUserIsKnown(t *testing.T) {
	w := start(t, logins, func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		o.Limits.PerIP, o.Limits.PerUser, o.Limits.NewPerIPBurst, o.Limits.NewPerIP = 2, 3, 1000, 1000
	})
	from := func(ip string) http.Header { return http.Header{"X-Forwarded-For": {ip}} }
	dial := func(path, ip string) *client {
		t.Helper()
		ws, _, err := websocket.DefaultDialer.Dial(w.url(path), from(ip))
		if err != nil {
			t.Fatalf("%s from %s: %v", path, ip, err)
		}
		return newClient(t, ws)
	}
	const school = "203.0.113.7"
	dial("/", school) // two that have said nothing yet
	silent := dial("/", school)
	w.turnedAway("/", "too-many-connections-of-address", from(school))
	dial("/", "203.0.113.8")
	silent.leave()
	// A pupil who has signed in counts for themselves and frees the place of the address.
	var last *client
	for range 3 {
		eventually(t, waitLong, "a place of the address is free", func() bool {
			w.srv.gate.mu.Lock()
			defer w.srv.gate.mu.Unlock()
			return w.srv.gate.byIP[school].open < 2
		})
		last = dial("/notes?token="+token("ada", time.Hour), school)
		last.send(step1(nil))
		last.wait("step 2", func() bool { return last.count(yjs.MsgSync, yjs.SyncStep2) > 0 })
	}
	fourth := dial("/notes?token="+token("ada", time.Hour), school)
	fourth.send(step1(nil))
	var ce *websocket.CloseError
	if code := fourth.code(); code != 1013 || !errors.As(fourth.err, &ce) || ce.Text != "too-many-connections-of-user" {
		t.Errorf("a fourth socket of the user: got %d %v, want 1013 too-many-connections-of-user", code, fourth.err)
	}
	last.send(edit(insert(1, 0, "goes on")))
	last.has(1, 7)
}

func TestADocumentWithAsManyClientsAsItMayHaveRefusesMore(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.PerDocument = 2 }))
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		first, second := w.enter(tongues[0], doc, ""), w.enter(tg, doc, "")
		v := w.speak(tg, doc, "")
		if tg.hp {
			v.ask(nil)
			v.refusedFor("too-many-clients-in-document")
		} else {
			_ = v.ws.WriteMessage(websocket.BinaryMessage, step1(nil)) // a party's socket may be closed by now
			v.closedFor(1013, "too-many-clients-in-document")
		}
		second.write(insert(1, 0, "goes on"))
		first.reads(1, 7)
		second.leave()
		eventually(t, waitLong, "one has left", func() bool {
			n := 0
			w.srv.rooms.find(stream.Doc(doc)).look(func() { n = len(w.srv.rooms.find(stream.Doc(doc)).sessions) })
			return n == 1
		})
		w.enter(tg, doc, "").reads(1, 7)
	})
}

func TestDocumentsAboveTheServersBoundAreRefusedUntilOneIsUnused(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.Documents = 2 }))
	a := w.open("/one")
	w.open("/two")
	c := w.dial("/three")
	c.send(step1(nil))
	var ce *websocket.CloseError
	if code := c.code(); code != 1013 || !errors.As(c.err, &ce) || ce.Text != "too-many-open-documents" {
		t.Errorf("a third document: got %d %v, want 1013 too-many-open-documents", code, c.err)
	}
	code, body, h := w.ask("POST", "/api/docs/three", insert(1, 0, "x"))
	if reason, _ := apiError(t, "a third document over HTTP", body); code != 503 || reason != "too-many-open-documents" || h.Get("Retry-After") == "" {
		t.Errorf("a third document over HTTP: got %d %s, want 503", code, body)
	}
	w.open("/two") // another client of one that is open
	// Hocuspocus's client would take a refusal for final: its document waits.
	hp := w.speak(tongues[6], "three", "")
	hp.ask(nil)
	hp.write(insert(2, 0, "typed meanwhile"))
	eventually(t, waitLong, "the wait is in the log", func() bool { return strings.Contains(w.out.String(), "its client waits") })
	a.leave()
	hp.answered(1)
	hp.reads(2, 15)
	if n := w.srv.rooms.count(); n != 2 {
		t.Errorf("got %d open documents, want 2", n)
	}
}

// pinged is a client that counts pings, and answers them or not.
func (w *world) pinged(path string, answers bool) (c *client, pings *atomic.Int32) {
	w.t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(w.url(path), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	pings = new(atomic.Int32)
	answer := ws.PingHandler()
	ws.SetPingHandler(func(data string) error {
		pings.Add(1)
		if answers {
			return answer(data)
		}
		return nil
	})
	c = newClient(w.t, ws)
	c.send(step1(nil))
	c.wait("step 2", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep2) > 0 })
	return c, pings
}

func TestAClientThatAnswersNothingIsGivenUpAndOneThatSpeaksIsNot(t *testing.T) {
	w := start(t)
	dead, _ := w.pinged("/dead", false)
	live, pings := w.pinged("/live", true)
	now := time.Now()
	conns := map[string]*conn{}
	w.srv.mu.Lock()
	for c := range w.srv.conns {
		conns[c.route.room] = c
	}
	w.srv.mu.Unlock()
	eventually(t, waitLong, "the live one was heard of in the 20th second", func() bool {
		w.srv.tickAt(now.Add(20 * time.Second))
		live.send(step1(nil))
		return conns["live"].lastIn.Load() >= 20 && pings.Load() > 0
	})
	eventually(t, waitLong, "the readers read", func() bool { return conns["dead"].waiting.Load() == 0 && conns["live"].waiting.Load() == 0 })
	w.srv.tickAt(now.Add(47 * time.Second))
	if code := dead.code(); code != 0 && code != websocket.CloseAbnormalClosure {
		t.Errorf("the one that answered nothing: got close code %d, want no close frame", code)
	}
	eventually(t, waitLong, "its end is counted", func() bool { return w.metric("connections_ended_total", "no-answer") == 1 })
	live.send(edit(insert(1, 0, "still here")))
	live.has(1, 10)
}

func TestEveryDialectHearsSomethingBeforeItsWatchdogBites(t *testing.T) {
	w := start(t)
	var voices []*voice
	for i, tg := range tongues {
		v := w.enter(tg, fmt.Sprint("notes/of ", i), "")
		v.ask(nil)
		v.answered(2)
		voices = append(voices, v)
	}
	w.srv.tickAt(time.Now().Add(20 * time.Second))
	for _, v := range voices {
		if v.json { // its client has no watchdog, and knows no empty message
			v.ask(nil)
			v.answered(3)
			if n := v.total("presence"); n != 0 {
				t.Errorf("%s got %d presences, want none", v.name, n)
			}
			continue
		}
		v.waitFor(waitLong, "a sign of life for "+v.name, func() bool { return v.heard("presence") > 0 })
		v.mu.Lock()
		for _, word := range v.words() {
			if word.kind == "presence" && len(word.present) > 0 {
				t.Errorf("a sign of life for %s shows %v, want nobody", v.name, word.present)
			}
		}
		v.mu.Unlock()
	}
}

func TestAServerIsNotMadeOfSettingsThatContradict(t *testing.T) {
	w := start(t)
	for name, change := range map[string]func(*Options){
		"no log":                 func(o *Options) { o.Log = nil },
		"no snapshots":           func(o *Options) { o.Snapshots = nil },
		"no auth":                func(o *Options) { o.Auth = nil },
		"an unknown expiry":      func(o *Options) { o.OnExpiry = "later" },
		"a webhook without host": func(o *Options) { o.Webhook.URL = "http:///x" },
		"a load URL of a file":   func(o *Options) { o.LoadURL = "file:///etc/passwd" },
	} {
		o := Options{Log: w.log, Snapshots: w.snap, Auth: w.srv.o.Auth}
		change(&o)
		s, err := New(o)
		if err == nil {
			_ = s.Drain(t.Context())
			t.Errorf("%s: a server was made, want an error", name)
		} else if !strings.HasPrefix(err.Error(), "ingest: ") || len(err.Error()) < 20 {
			t.Errorf("%s: got %q, want a sentence that says what is wrong", name, err)
		}
	}
}

func TestAnAnswerOfAnotherProgramThatIsNoTextEndsNobody(t *testing.T) {
	w := start(t)
	v := w.enter(tongues[2], "text", "")
	hp := w.enter(tongues[7], "text", "")
	other := join(t, w.nats)
	for _, payload := range [][]byte{{0xff, 0xfe}, []byte("well")} {
		if err := other.log.PublishMessage("text", payload, map[string]string{"Yjet-Kind": "text"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.log.PublishAware("text", []byte{9, 9, 9}); err != nil {
		t.Fatal(err)
	}
	v.waitFor(waitLong, "the text", func() bool { return strings.Contains(string(joined(v.client)), "__YPS:well") })
	hp.hpHas("the text", yjs.AppendStateless(hp.address(), "well"))
	eventually(t, waitLong, "what was dropped is counted", func() bool {
		return w.metric("dropped_total", "message-not-text") == 1 && w.metric("dropped_total", "awareness-malformed") == 1
	})
	if strings.Contains(fmt.Sprintf("%x", joined(v.client)), "fffe") {
		t.Error("a client got bytes that are no text")
	}
	v.write(insert(1, 0, "on"))
	hp.reads(1, 2)
}
