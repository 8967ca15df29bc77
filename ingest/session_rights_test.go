package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/internal/natstest"
	"yjet/internal/yjs"
	"yjet/stream"
)

const rightsSecret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0-rights"

// logins is a server that checks tokens.
func logins(o *Options, a *auth.Options, _ *stream.Config) {
	a.Mode, a.Secret = "jwt", rightsSecret
	o.Limits.RefusalHold = 50 * time.Millisecond
}

// token signs one for a user that ends in ttl.
func token(user string, ttl time.Duration, more ...any) string {
	now := time.Now()
	c := jwt.MapClaims{"sub": user, "iat": now.Unix() - 2, "exp": now.Add(ttl).Unix(), "session_id": "session-of-" + user}
	for i := 0; i < len(more); i += 2 {
		c[more[i].(string)] = more[i+1]
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(rightsSecret))
	if err != nil {
		panic(err)
	}
	return s
}

// admin is a token that may revoke.
func (w *world) admin() string {
	w.t.Helper()
	s, err := w.srv.o.Auth.AdminTicket("ops", time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// request calls the HTTP API and answers status and body.
func (w *world) request(method, path, bearer, body string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequest(method, w.http.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode, string(data)
}

// typing sends edits of an author without a pause, as a user who was cut off would, until the socket ends or stop is called,
// which answers how many were sent.
func (c *client) typing(author uint64) (stop func() uint64) {
	done, ended := make(chan struct{}), make(chan struct{})
	n := uint64(0)
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
			}
			if c.ws.WriteMessage(websocket.BinaryMessage, edit(insert(author, n, "x"))) != nil {
				return
			}
			n++
			time.Sleep(12 * time.Millisecond) // within the rate of messages
		}
	}()
	return func() uint64 { close(done); <-ended; return n }
}

// A user is revoked on one server while they type on another: within a second they are cut off, and no edit that they send after
// that is in the log. The same holds for a user whose right was changed to reading, except that they stay.
func TestRevocationOnOneServerCutsOffOnAnother(t *testing.T) {
	ns := natstest.Start(t, natstest.Process)
	a, b := join(t, ns, logins), join(t, ns, logins)
	for _, c := range []struct {
		name, query string
		user        string
		stays       bool
	}{
		{"user", "user=ada1", "ada1", false},
		{"session", "session=session-of-ada2", "ada2", false},
		{"user on the document", "user=ada3&doc=notes", "ada3", false},
		{"to reading", "user=ada4&leave=r", "ada4", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := "/notes?token=" + token(c.user, time.Hour)
			onB := b.open(path)
			other := b.open("/notes?token=" + token("other", time.Hour))
			author := uint64(1000 + len(c.name))
			stop := onB.typing(author)
			onB.has(author, 20)

			start := time.Now()
			if code, body := a.request("DELETE", "/api/sessions?"+c.query, a.admin(), ""); code != 200 {
				t.Fatalf("got %d %s", code, body)
			}
			if c.stays {
				onB.wait("a word that it may only read", func() bool { return onB.count(yjs.MsgAuth, 0) > 0 })
			} else if code := onB.code(); code != 4403 {
				t.Errorf("got close code %d, want 4403", code)
			}
			took := time.Since(start)
			if took > time.Second {
				t.Errorf("cut off after %v, want within 1 s", took)
			}
			t.Logf("cut off after %v", took)
			// Edits that were on their way to the log when it happened are stored before
			// this one.
			other.send(edit(insert(author+2, 0, "x")))
			other.has(author+2, 1)
			before := authored(b, author)
			sent := stop()
			if c.stays {
				for range 5 {
					onB.send(edit(insert(author, sent, "x")))
					sent++
				}
				onB.turn()
			}
			other.send(edit(insert(author+2, 1, "y")))
			other.has(author+2, 2)
			if after := authored(b, author); after != before {
				t.Errorf("got %d units in the log, want still %d", after, before)
			}
			if c.stays && sent <= uint64(before) {
				t.Errorf("sent %d, stored %d: nothing was sent after the change, so nothing is shown", sent, before)
			}
			for _, w := range []*world{a, b} {
				again, resp, err := websocket.DefaultDialer.Dial(w.url(path), nil)
				if err != nil {
					t.Fatalf("%v %v", err, resp)
				}
				cl := newClient(t, again)
				cl.send(step1(nil))
				if c.stays {
					cl.wait("step 2", func() bool { return cl.count(yjs.MsgSync, yjs.SyncStep2) > 0 })
					cl.send(edit(insert(author+1, 0, "again")))
					cl.wait("a word that it may only read", func() bool { return cl.count(yjs.MsgAuth, 0) > 0 })
				} else if code := cl.code(); code != 4403 {
					t.Errorf("coming back: got close code %d, want 4403", code)
				}
			}
			if n := authored(b, author+1); n != 0 {
				t.Errorf("coming back: got %d units in the log, want none", n)
			}
			// Everybody else goes on.
			other.send(edit(insert(author+2, 0, "me")))
			other.has(author+2, 2)
		})
	}
}

// authored is how many units of an author the log of notes has.
func authored(w *world, author uint64) uint64 {
	w.t.Helper()
	var s yjs.State
	for _, r := range w.records("notes") {
		var u yjs.Update
		if err := u.Parse(r.Update, recordLimits); err != nil {
			w.t.Fatal(err)
		}
		s.Add(&u)
	}
	return s.Structs().Prefix(author)
}

func TestServersThatStartLaterOrMissedItKnowARevocation(t *testing.T) {
	ns := natstest.Start(t, natstest.Process)
	a := join(t, ns, logins)
	if code, body := a.request("DELETE", "/api/sessions?user=ada", a.admin(), ""); code != 200 {
		t.Fatalf("got %d %s", code, body)
	}
	path := "/notes?token=" + token("ada", time.Hour, "iat", time.Now().Add(-time.Minute).Unix())
	late := join(t, ns, logins)
	cl := late.dial(path)
	cl.send(step1(nil))
	if code := cl.code(); code != 4403 {
		t.Errorf("started later: got close code %d, want 4403", code)
	}

	// One that missed the announcement reads it in the bucket.
	deaf := join(t, ns, logins)
	deaf.srv.revoker.close()
	bob := deaf.open("/notes?token=" + token("bob", time.Hour))
	if code, body := a.request("DELETE", "/api/sessions?user=bob", a.admin(), ""); code != 200 {
		t.Fatalf("got %d %s", code, body)
	}
	if err := deaf.srv.revoker.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code := bob.code(); code != 4403 {
		t.Errorf("deaf: got close code %d, want 4403", code)
	}

	// A user who signs in again afterwards is welcome, and stays so when the bucket is read again.
	again := deaf.open("/notes?token=" + token("bob", time.Hour, "iat", time.Now().Add(20*time.Second).Unix()))
	if err := deaf.srv.revoker.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	again.send(edit(insert(7, 0, "back")))
	again.has(7, 4)
}

// A revocation that comes between the question for rights and the session finds no session to end: the session finds it.
func TestRevocationBeforeTheSessionStandsIsSeenByIt(t *testing.T) {
	w := start(t, logins)
	w.open("/notes?token=" + token("bob", time.Hour))
	g, err := w.srv.o.Auth.Grant(t.Context(), auth.Request{Doc: "notes", Token: token("ada", time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	w.srv.mu.Lock()
	var c *conn
	for c = range w.srv.conns {
	}
	w.srv.mu.Unlock()
	for _, leave := range []auth.Mode{auth.Read, auth.None} {
		if err := w.srv.o.Auth.Revoke(auth.Revocation{User: "ada", Leave: leave}); err != nil {
			t.Fatal(err)
		}
		r, err := w.srv.rooms.open(t.Context(), "notes")
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSession(c, r, newYWS(c), plain, g)
		switch {
		case leave == auth.None && causeOf(err) != causeRevoked:
			t.Errorf("got %v, want revoked", err)
		case leave == auth.Read && (err != nil || s.grant.Mode != auth.Read):
			t.Errorf("got %v %v, want a session that may only read", s.grant.Mode, err)
		case leave == auth.Read:
			s.leaveFor(causeLeft, true)
		}
	}
}

func TestLapsedRevocationsAreClearedAway(t *testing.T) {
	w := start(t, logins)
	if code, body := w.request("DELETE", "/api/sessions?user=ada&for=1ms", w.admin(), ""); code != 200 {
		t.Fatalf("got %d %s", code, body)
	}
	eventually(t, 10*time.Second, "the bucket is empty", func() bool {
		if err := w.srv.revoker.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := w.log.Meta().List(t.Context(), revokedPrefix+">")
		return err == nil && len(list) == 0
	})
}

func TestOnlyAdministratorsRevokeOthers(t *testing.T) {
	w := start(t, logins)
	ada, eve := token("ada", time.Hour), token("eve", time.Hour)
	for _, c := range []struct {
		method, path, bearer string
		code                 int
	}{
		{"DELETE", "/api/sessions?user=ada", "", 401},
		{"DELETE", "/api/sessions?user=ada", "rubbish", 401},
		{"DELETE", "/api/sessions?user=ada", token("eve", -time.Hour), 401},
		{"DELETE", "/api/sessions?user=ada", eve, 403},
		{"DELETE", "/api/sessions?doc=notes", eve, 403},
		{"DELETE", "/api/sessions?session=session-of-ada", eve, 403},
		{"DELETE", "/api/sessions?user=ada&session=session-of-eve", eve, 403},
		{"POST", "/api/sessions/recheck?user=eve", eve, 403},
		{"DELETE", "/api/sessions", w.admin(), 400},
		{"DELETE", "/api/sessions?user=ada&leave=rw", w.admin(), 400},
		{"DELETE", "/api/sessions?user=ada&leave=all", w.admin(), 400},
		{"DELETE", "/api/sessions?user=ada&for=-1h", w.admin(), 400},
		{"DELETE", "/api/sessions?user=ada&for=forever", w.admin(), 400},
		{"DELETE", "/api/sessions?doc=../x", w.admin(), 400},
		{"GET", "/api/sessions?user=ada", w.admin(), 405},
		{"DELETE", "/api/sessions/recheck?user=ada", w.admin(), 405},
		{"POST", "/api/sessions/other", w.admin(), 404},
		{"POST", "/api/sessions/recheck?user=ada", w.admin(), 200},
		{"DELETE", "/api/sessions?user=eve", eve, 200}, // one's own
	} {
		code, body := w.request(c.method, c.path, c.bearer, "")
		if code != c.code {
			t.Errorf("%s %s: got %d %s, want %d", c.method, c.path, code, body, c.code)
		}
		if code >= 400 && !strings.Contains(body, `"error"`) {
			t.Errorf("%s %s: got body %s, want a JSON error", c.method, c.path, body)
		}
	}
	if code, _ := w.request("DELETE", "/api/sessions?user=eve", eve, ""); code != 401 && code != 403 {
		t.Errorf("after revoking oneself: got %d, want a refusal", code)
	}
	w.open("/notes?token=" + ada)
	if strings.Contains(w.out.String(), "eyJ") {
		t.Error("a token is in the log")
	}
}

func TestWithoutLoginsSessionsOfADocumentCanBeEnded(t *testing.T) {
	w := start(t)
	one, two := w.open("/notes"), w.open("/other")
	if code, body := w.request("DELETE", "/api/sessions?doc=notes", "", ""); code != 200 || !strings.Contains(body, `"sessionsHere":1`) {
		t.Fatalf("got %d %s", code, body)
	}
	if code := one.code(); code != 4403 {
		t.Errorf("got close code %d, want 4403", code)
	}
	two.send(edit(insert(7, 0, "on")))
	two.has(7, 2)
	w.open("/notes") // nobody can be told apart, so nobody is kept out
}

func TestTicketOpensWhatItsOwnerMayShare(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.json")
	os.WriteFile(rules, []byte(`[{"match":"users/{sub}/**","access":"rw"},{"match":"handbook","access":"r"}]`), 0o600)
	w := start(t, logins, func(_ *Options, a *auth.Options, _ *stream.Config) { a.RulesFile = rules })
	ada := token("ada", time.Hour)
	for _, c := range []struct {
		path, bearer, body string
		code               int
	}{
		{"users%2Fada%2Fx/token", ada, `{"access":"rw","ttl":60}`, 200},
		{"users%2Fada%2Fx/token", ada, `{"access":"r","ttl":"5m"}`, 200},
		{"users%2Fada%2Fx/token", ada, ``, 200},
		{"users%2Fada%2Fx/token", ada, `{"user":"ada"}`, 200},
		{"users%2Fada%2Fx/token", ada, `{"user":"eve"}`, 403},
		{"users%2Fada%2Fx/token", w.admin(), `{"user":"eve","access":"r"}`, 200},
		{"users%2Fada%2Fx/token", ada, `{"access":"none"}`, 400},
		{"users%2Fada%2Fx/token", ada, `{"access":"owner"}`, 400},
		{"users%2Fada%2Fx/token", ada, `{"ttl":864000}`, 400},
		{"users%2Fada%2Fx/token", ada, `{"ttl":-1}`, 400},
		{"users%2Fada%2Fx/token", ada, `{"ttl":"soon"}`, 400},
		{"users%2Fada%2Fx/token", ada, `{`, 400},
		{"users%2Fada%2Fx/token", ada, `{"access":"` + strings.Repeat("r", 20000) + `"}`, 400},
		{"users%2Feve%2Fx/token", ada, ``, 403},
		{"handbook/token", ada, `{"access":"rw"}`, 403},
		{"handbook/token", ada, `{"access":"r"}`, 200},
		{"handbook/token", "", ``, 401},
		{"handbook/token", "rubbish", ``, 401},
		{"%2E%2E/token", ada, ``, 400},
	} {
		code, body := w.request("POST", "/api/docs/"+c.path, c.bearer, c.body)
		if code != c.code {
			t.Errorf("%s %.40s: got %d %s, want %d", c.path, c.body, code, body, c.code)
		}
	}
	_, body := w.request("POST", "/api/docs/users%2Fada%2Fx/token", ada, `{"access":"r"}`)
	var out struct{ Token, Document, Access, User string }
	if err := json.Unmarshal([]byte(body), &out); err != nil || out.User != "ada" || out.Access != "r" || out.Document != "users/ada/x" {
		t.Fatalf("got %s %v", body, err)
	}
	reader := w.open("/users/ada/x?token=" + out.Token)
	reader.send(edit(insert(9, 0, "no")))
	reader.wait("a word that it may only read", func() bool { return reader.count(yjs.MsgAuth, 0) > 0 })
	if n := len(w.records("users/ada/x")); n != 0 {
		t.Errorf("got %d records, want none", n)
	}
	other := w.dial("/users/ada/y?token=" + out.Token)
	other.send(step1(nil))
	if code := other.code(); code != 4403 {
		t.Errorf("another document: got close code %d, want 4403", code)
	}
}

// jsonFrames are the text frames of a type.
func (c *client) jsonFrames(kind string) (list []map[string]any) {
	for _, f := range c.frames {
		var m struct {
			Type    string         `json:"type"`
			Payload map[string]any `json:"payload"`
		}
		if f.text && json.Unmarshal(f.data, &m) == nil && m.Type == kind {
			list = append(list, m.Payload)
		}
	}
	return list
}

func TestExpiringTokenIsAnnouncedAndRefreshedInPlace(t *testing.T) {
	w := start(t, logins, func(o *Options, _ *auth.Options, _ *stream.Config) { o.OnExpiry = "close" })
	// 3 s of leeway and life are left, and notice is overdue.
	brief := func(user string) string { return token(user, 3*time.Second-auth.Leeway) }
	party, silent, hp := w.dial("/parties/main/notes?_pk=1&token="+brief("ada")), w.open("/notes?token="+brief("ada")), w.dial("/")
	address := yjs.AppendAddress(nil, []byte("notes"))
	hp.send(append(append([]byte(nil), address...), yjs.AppendVarString([]byte{yjs.MsgAuth, yjs.AuthToken}, brief("ada"))...))
	party.wait("expiring", func() bool {
		l := party.jsonFrames("auth")
		return len(l) >= 2 && l[0]["expiring"] == nil && l[1]["expiring"] == true
	})
	asked := append(append([]byte(nil), address...), yjs.MsgAuth, yjs.AuthToken)
	hp.wait("a question for a token", func() bool {
		for _, f := range hp.frames {
			if bytes.Equal(f.data, asked) {
				return true
			}
		}
		return false
	})
	// A fresh one of the same user extends; the silent one is closed.
	party.say(`{"type":"auth","payload":{"token":"` + token("ada", time.Hour) + `"}}`)
	hp.send(append(append([]byte(nil), address...), yjs.AppendVarString([]byte{yjs.MsgAuth, yjs.AuthToken}, token("ada", time.Hour))...))
	party.wait("a new end", func() bool {
		l := party.jsonFrames("auth")
		end, _ := l[len(l)-1]["expiresAt"].(float64)
		return end > float64(time.Now().Add(30*time.Minute).UnixMilli())
	})
	if code := silent.code(); code != 4401 {
		t.Errorf("got close code %d, want 4401", code)
	}
	silent.mu.Lock()
	for _, f := range silent.frames {
		if f.text {
			t.Errorf("a y-websocket client was sent text: %s", f.data)
		}
	}
	silent.mu.Unlock()
	party.send(step1(nil), edit(insert(5, 0, "still")))
	party.has(5, 5)

	// Somebody else's is none.
	party.say(`{"type":"auth","payload":{"token":"` + token("eve", time.Hour) + `"}}`)
	if code := party.code(); code != 1008 {
		t.Errorf("somebody else's token: got close code %d, want 1008", code)
	}
}

func TestExpiredTokenKeepsItsSocketUntilTheLongestSession(t *testing.T) {
	w := start(t, logins, limits(func(l *Limits) { l.MaxSession = time.Hour }))
	c := w.open("/notes?token=" + token("ada", time.Second-auth.Leeway))
	clock := func(after time.Duration) {
		w.srv.mu.Lock()
		conns := slices.Collect(maps.Keys(w.srv.conns))
		w.srv.mu.Unlock()
		for _, o := range conns {
			o.tickRights(time.Now().Add(after))
		}
	}
	clock(30 * time.Minute) // the token and its leeway are over
	c.send(edit(insert(5, 0, "kept")))
	c.has(5, 4)
	clock(2 * time.Hour)
	if code := c.code(); code != 4401 {
		t.Errorf("got close code %d, want 4401", code)
	}
	again := w.dial("/notes?token=" + token("ada", -time.Second-auth.Leeway))
	again.send(step1(nil))
	if code := again.code(); code != 4401 {
		t.Errorf("a new connection: got close code %d, want 4401", code)
	}
}

// rightsApp is a callback whose answer can be changed.
type rightsApp struct {
	mu     sync.Mutex
	answer string
	asked  int
}

func (a *rightsApp) set(s string) { a.mu.Lock(); a.answer = s; a.mu.Unlock() }

func (a *rightsApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if a.answer == "" {
		w.WriteHeader(500)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, a.answer)
}

func TestRightsOfACallbackAreAskedAgainWhileConnected(t *testing.T) {
	app := &rightsApp{answer: `{"access":"rw","ttl":1}`}
	srv := httptest.NewServer(app)
	defer srv.Close()
	callback := func(_ *Options, a *auth.Options, _ *stream.Config) { a.Callback = srv.URL }
	ns := natstest.Start(t, natstest.Process)
	a, b := join(t, ns, logins, callback), join(t, ns, logins, callback)

	c := b.open("/notes?token=" + token("ada", time.Hour))
	c.send(edit(insert(5, 0, "x")))
	c.has(5, 1)
	app.set("") // down: nothing changes
	n := func() int { app.mu.Lock(); defer app.mu.Unlock(); return app.asked }
	before := n()
	eventually(t, 10*time.Second, "asked while it is down", func() bool { return n() > before })
	c.send(edit(insert(5, 1, "y")))
	c.has(5, 2)
	app.set(`{"access":"r","ttl":3600}`)
	stop := c.typing(6) // that one may only read is told at a write
	c.waitFor(15*time.Second, "a word that it may only read", func() bool { return c.count(yjs.MsgAuth, 0) > 0 })
	stop()

	// Asked again at once by another server's word, though the ttl is long.
	app.set(`{"access":"rw","ttl":3600}`)
	if code, body := a.request("POST", "/api/sessions/recheck?user=ada", a.admin(), ""); code != 200 {
		t.Fatalf("got %d %s", code, body)
	}
	asks := func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.count(yjs.MsgSync, yjs.SyncStep1) }
	eventually(t, 5*time.Second, "asked for what it could not write", func() bool { return asks() >= 2 })
	c.send(edit(insert(5, 2, "w")))
	c.has(5, 3)
	app.set(`{"access":"none"}`)
	start := time.Now()
	a.request("POST", "/api/sessions/recheck?doc=notes", a.admin(), "")
	if code := c.code(); code != 4403 || time.Since(start) > 2*time.Second {
		t.Errorf("got close code %d after %v, want 4403 within a second", code, time.Since(start))
	}
	app.set("")
	d := b.dial("/notes?token=" + token("bob", time.Hour))
	d.send(step1(nil))
	if code := d.code(); code != 1013 {
		t.Errorf("callback down: got close code %d, want 1013", code)
	}
}

func TestRepeatedRefusalsAreToldBeforeTheUpgrade(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.json")
	os.WriteFile(rules, []byte(`[{"match":"users/{sub}/**","access":"rw"}]`), 0o600)
	w := start(t, logins, func(o *Options, a *auth.Options, _ *stream.Config) {
		a.RulesFile = rules
		o.Limits.RefusalHold = 10 * time.Millisecond
	})
	for _, c := range []struct {
		token string
		code  int
		http  int
	}{
		{token("ada", -time.Hour), 4401, 401},
		{"rubbish", 4401, 401},
		{"", 4401, 401},
		{token("eve", time.Hour), 4403, 403},
	} {
		for i := range 6 {
			ws, resp, err := websocket.DefaultDialer.Dial(w.url("/users/ada/x?token="+c.token), nil)
			if i >= 3 {
				if err == nil || resp == nil || resp.StatusCode != c.http {
					t.Errorf("%.10s, attempt %d: got %v %v, want HTTP %d", c.token, i+1, resp, err, c.http)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%.10s, attempt %d: %v", c.token, i+1, err)
			}
			cl := newClient(t, ws)
			cl.send(step1(nil))
			if code := cl.code(); code != c.code {
				t.Errorf("%.10s, attempt %d: got close code %d, want %d", c.token, i+1, code, c.code)
			}
		}
	}
	// The same token where it is welcome, and a good one in the same place, come in.
	w.open("/users/eve/x?token=" + token("eve", time.Hour))
	w.open("/users/ada/x?token=" + token("ada", time.Hour))
	hp := w.dial("/") // a client that brings its token in a message is not counted with those that have none
	address := yjs.AppendAddress(nil, []byte("users/ada/x"))
	hp.send(append(append([]byte(nil), address...), yjs.AppendVarString([]byte{yjs.MsgAuth, yjs.AuthToken}, token("ada", time.Hour))...))
	if f := hp.next(); !bytes.Equal(f.data, append(append([]byte(nil), address...), yjs.AppendAuthOK(nil, false)...)) {
		t.Errorf("Hocuspocus: got %x, want its rights", f.data)
	}
}

// A token that came in a message and was refused says nothing about the next connection that begins without one.
func TestStaleTokensInMessagesDoNotLockTheDoor(t *testing.T) {
	w := start(t, logins, limits(func(l *Limits) { l.RefusalHold = 10 * time.Millisecond }))
	auth := func(token string) string { return `{"type":"auth","payload":{"token":"` + token + `"}}` }
	for range 5 {
		c := w.dial("/parties/main/door?_pk=1")
		c.say(auth(token("ada", -time.Hour)))
		if code := c.code(); code != 1008 {
			t.Fatalf("a stale token: got close code %d, want 1008", code)
		}
	}
	c := w.dial("/parties/main/door?_pk=1")
	c.say(auth(token("ada", time.Hour)))
	c.wait("rights", func() bool {
		return slices.ContainsFunc(c.frames, func(f frame) bool { return f.text && bytes.Contains(f.data, []byte(`"ok":true`)) })
	})
}

func TestOneUserHasABoundedNumberOfDocumentsOpen(t *testing.T) {
	w := start(t, logins, limits(func(l *Limits) { l.UserDocuments = 3 }))
	ada := token("ada", time.Hour)
	var open []*client
	for i := range 3 {
		open = append(open, w.open(fmt.Sprintf("/d%d?token=%s", i, ada)))
	}
	w.open("/d1?token=" + ada) // another tab of one that is open
	fourth := w.dial("/d3?token=" + ada)
	fourth.send(step1(nil))
	if code := fourth.code(); code != 1013 {
		t.Errorf("got close code %d, want 1013", code)
	}
	w.open("/d3?token=" + token("bob", time.Hour))
	for i := range 5 {
		w.open(fmt.Sprintf("/d%d?token=%s", i, w.admin())) // scripts of the server's owner are not counted
	}
	open[0].leave()
	eventually(t, 10*time.Second, "there is room again", func() bool {
		ws, _, err := websocket.DefaultDialer.Dial(w.url("/d3?token="+ada), nil)
		if err != nil {
			return false
		}
		c := newClient(t, ws)
		c.send(step1(nil))
		deadline := time.Now().Add(2 * time.Second)
		for time.Now().Before(deadline) {
			c.mu.Lock()
			in, closed := c.count(yjs.MsgSync, yjs.SyncStep2) > 0, c.closed
			c.mu.Unlock()
			if in || closed {
				return in
			}
			time.Sleep(time.Millisecond)
		}
		return false
	})
}

// A request whose body takes its time is no way past a revocation.
func TestUpdateUnderWayOverHTTPIsNotStoredAfterARevocation(t *testing.T) {
	w := start(t, logins)
	for _, seed := range []bool{false, true} {
		user, doc := fmt.Sprint("slow-", seed), fmt.Sprint("doc-", seed)
		body, slow := io.Pipe()
		r, _ := http.NewRequest("POST", w.http.URL+"/api/docs/"+doc, body)
		r.Header.Set("Authorization", "Bearer "+token(user, time.Hour))
		r.Header.Set("Content-Type", "application/octet-stream")
		if seed {
			r.Header.Set("If-None-Match", "*")
		}
		status := make(chan int, 1)
		go func() {
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				status <- 0
				return
			}
			resp.Body.Close()
			status <- resp.StatusCode
		}()
		u := insert(7, 0, "late")
		slow.Write(u[:4]) // the request has been let in, or will be refused at the door
		time.Sleep(100 * time.Millisecond)
		if code, out := w.request("DELETE", "/api/sessions?user="+user, w.admin(), ""); code != 200 {
			t.Fatalf("got %d %s", code, out)
		}
		slow.Write(u[4:])
		slow.Close()
		if code := <-status; code != 403 {
			t.Errorf("seed %v: got %d, want 403", seed, code)
		}
		if n := len(w.records(doc)); n != 0 {
			t.Errorf("seed %v: got %d records, want none", seed, n)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestPagesOfOtherOriginsGetNothing(t *testing.T) {
	w := start(t, logins, func(_ *Options, a *auth.Options, _ *stream.Config) {
		a.Origins, a.Dev = []string{"https://app.example.com"}, false
	})
	dial := func(origin string) error {
		ws, resp, err := websocket.DefaultDialer.Dial(w.url("/notes?token="+token("ada", time.Hour)), http.Header{"Origin": {origin}})
		if err == nil {
			ws.Close()
		} else if resp == nil || resp.StatusCode != 403 {
			t.Errorf("%s: got %v, want 403", origin, resp)
		}
		return err
	}
	if dial("https://app.example.com") != nil || dial("https://evil.example") == nil || dial("null") == nil || dial("http://localhost:3000") == nil {
		t.Error("an origin was judged wrong")
	}
	r, _ := http.NewRequest("OPTIONS", w.http.URL+"/api/docs/notes/token", nil)
	r.Header.Set("Origin", "https://app.example.com")
	r.Header.Set("Access-Control-Request-Method", "POST")
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
		t.Errorf("preflight: got %v %v", resp, err)
	}
	resp.Body.Close()
	r.Header.Set("Origin", "https://evil.example")
	resp, err = http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != 403 {
		t.Errorf("preflight from elsewhere: got %v %v", resp, err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

func TestPresenceIsStampedWithTheTokensUser(t *testing.T) {
	w := start(t, logins, func(o *Options, _ *auth.Options, _ *stream.Config) { o.StampPresence = true })
	c := w.open("/notes?token=" + token("ada", time.Hour, "name", "Ada"))
	watcher := w.open("/notes?token=" + token("bob", time.Hour))
	c.send(aware(7, 1, `{"user":{"name":"the boss","color":"#f00","id":"root"},"cursor":{"a":1}}`))
	watcher.wait("presence", func() bool { return watcher.present()[7] != "" })
	watcher.mu.Lock()
	got := watcher.present()[7]
	watcher.mu.Unlock()
	var state struct {
		User   struct{ ID, Name, Color string }
		Cursor map[string]int
	}
	if err := json.Unmarshal([]byte(got), &state); err != nil || state.User.ID != "ada" || state.User.Name != "Ada" || state.User.Color != "#f00" || state.Cursor["a"] != 1 {
		t.Errorf("got %s %v", got, err)
	}
	for in, want := range map[string]string{
		`{}`: `{"user":{"id":"u"}}`, `{"user":null}`: `{"user":{"id":"u"}}`, `{"user":"root"}`: `{"user":{"id":"u"}}`, `[1]`: `[1]`, `"x"`: `"x"`, `7`: `7`,
	} {
		if got := string(stamp([]byte(in), auth.Grant{User: "u"})); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// The callback fails for one document of a Hocuspocus socket: that document waits, with the edits of the client, and the one beside it
// does not notice.
func TestCallbackThatFailsForOneDocumentHoldsUpThatDocumentAlone(t *testing.T) {
	var up atomic.Bool
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"document":"bad"`) && !up.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access":"rw"}`)
	}))
	defer app.Close()
	w := start(t, logins, limits(func(l *Limits) { l.RefusalHold = 50 * time.Millisecond }),
		func(_ *Options, a *auth.Options, _ *stream.Config) { a.Callback = app.URL })
	hp := w.dial("/")
	message := func(doc string, b []byte) []byte { return append(yjs.AppendAddress(nil, []byte(doc)), b...) }
	for _, doc := range []string{"good", "bad"} {
		hp.send(message(doc, yjs.AppendVarString([]byte{yjs.MsgAuth, yjs.AuthToken}, token("ada", time.Hour))))
		hp.send(message(doc, step1(nil)), message(doc, edit(insert(9, 0, doc))))
	}
	granted := func(doc string) bool {
		for _, f := range hp.frames {
			if bytes.Equal(f.data, message(doc, yjs.AppendAuthOK(nil, false))) {
				return true
			}
		}
		return false
	}
	hp.wait("the document beside it", func() bool { return granted("good") })
	eventually(t, 10*time.Second, "a word in the log", func() bool { return strings.Contains(w.out.String(), "cannot be opened") })
	if n := len(w.records("bad")); n != 0 {
		t.Errorf("got %d records before there were rights, want none", n)
	}
	up.Store(true)
	hp.wait("the document that waited", func() bool { return granted("bad") })
	eventually(t, 10*time.Second, "what was typed meanwhile", func() bool { return len(w.records("bad")) == 1 && len(w.records("good")) == 1 })
}
