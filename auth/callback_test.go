package auth

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const testCallbackSecret = "callback-secret-0123456789"

// app is a service that is asked for rights.
type app struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []map[string]any
	header http.Header
	bad    error // of a signature
	serve  http.HandlerFunc
}

func newApp(t *testing.T, answer string) *app {
	s := &app{serve: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer)
	}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var q map[string]any
		json.Unmarshal(body, &q)
		s.mu.Lock()
		s.asked = append(s.asked, q)
		s.header = r.Header.Clone()
		s.bad = CheckSignature([]byte(testCallbackSecret), r.Header.Get(SignatureHeader), body, time.Minute)
		serve := s.serve
		s.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *app) set(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = f
}

func (s *app) answer(text string) {
	s.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, text)
	})
}

func (s *app) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func TestCallbackDecidesAndIsAskedWithClaimsNotTokens(t *testing.T) {
	s := newApp(t, `{"access":"r","userId":"somebody-else","name":"Ada\n L.","ttl":30}`)
	a, log := newTest(t, Options{SupabaseSecret: testSecret, Callback: s.URL, CallbackSecret: testCallbackSecret})
	token := hmacKey(testSecret).token("x", nil)
	g, err := a.Grant(t.Context(), Request{Doc: "notes/a", Token: token, IP: "192.0.2.7", Origin: "https://app.example.com"})
	if err != nil || g.Mode != Read || g.Name != "Ada L." {
		t.Fatalf("got %+v %v", g, err)
	}
	if g.User != "7f1c3a52-0000-4000-8000-000000000001" {
		t.Errorf("got user %q: a verified token says who it is, not the callback", g.User)
	}
	if d := time.Until(g.Recheck); d < 25*time.Second || d > 30*time.Second {
		t.Errorf("got a recheck in %v, want in 30 s", d)
	}
	q := s.asked[0]
	c, _ := q["claims"].(map[string]any)
	if q["document"] != "notes/a" || q["ip"] != "192.0.2.7" || q["origin"] != "https://app.example.com" || q["user"] != g.User || c["email"] != "ada@example.com" {
		t.Errorf("got question %v", q)
	}
	if _, ok := q["token"]; ok || strings.Contains(s.header.Get("Authorization"), "eyJ") {
		t.Error("the callback was sent the token")
	}
	if s.bad != nil {
		t.Errorf("signature: %v", s.bad)
	}
	if strings.Contains(log.String(), "eyJ") || strings.Contains(log.String(), testCallbackSecret) {
		t.Error("a secret is in the log")
	}
}

func TestCallbackAnswersAreKeptAndForgotten(t *testing.T) {
	s := newApp(t, `{"access":"rw","ttl":3600}`)
	a, _ := newTest(t, Options{SupabaseSecret: testSecret, Callback: s.URL, CallbackSecret: testCallbackSecret})
	token := hmacKey(testSecret).token("x", claims{"sub": "u"})
	ask := func(doc, ip string) Mode {
		g, _ := a.Grant(t.Context(), Request{Doc: doc, Token: token, IP: ip})
		return g.Mode
	}
	for _, c := range []struct {
		doc, ip string
		want    int
	}{{"a", "1", 1}, {"a", "1", 1}, {"b", "1", 2}, {"a", "2", 3}, {"a", "1", 3}} {
		if ask(c.doc, c.ip); s.count() != c.want {
			t.Errorf("%v: got %d questions so far, want %d", c, s.count(), c.want)
		}
	}
	s.answer(`{"access":"r"}`)
	if m := ask("a", "1"); m != ReadWrite {
		t.Errorf("kept: got %v, want rw", m)
	}
	a.Recheck("somebody", "")
	a.Recheck("u", "z")
	if m := ask("a", "1"); m != ReadWrite {
		t.Errorf("somebody else's forgotten: got %v, want rw", m)
	}
	a.Recheck("u", "a")
	if m := ask("a", "1"); m != Read {
		t.Errorf("forgotten: got %v, want r", m)
	}
	if m := ask("b", "1"); m != ReadWrite {
		t.Errorf("another document: got %v, want rw", m)
	}
	a.Recheck("u", "")
	if m := ask("b", "1"); m != Read {
		t.Errorf("all of a user's forgotten: got %v, want r", m)
	}
	// Too old, by the clock of the answer.
	s.answer(`{"access":"none"}`)
	a.callback.mu.Lock()
	for _, ans := range a.callback.answers.young {
		ans.asked = ans.asked.Add(-2 * callbackKeep)
	}
	a.callback.mu.Unlock()
	if _, err := a.Grant(t.Context(), Request{Doc: "a", Token: token, IP: "1"}); !errors.Is(err, ErrForbidden) {
		t.Errorf("grown old: got %v, want ErrForbidden", err)
	}
}

func TestCallbackThatFailsIsUnavailableNotForbidden(t *testing.T) {
	s := newApp(t, "")
	a, log := newTest(t, Options{SupabaseSecret: testSecret, Callback: s.URL + "/?key=callback-key-in-query", CallbackSecret: testCallbackSecret})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("followed a redirect") }))
	defer elsewhere.Close()
	text := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			io.WriteString(w, body)
		}
	}
	const j = "application/json"
	release := make(chan struct{})
	defer close(release)
	for name, f := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
		"401": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) },
		"403": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) },
		"404": http.NotFound,
		"204": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"empty":             text(j, ""),
		"not JSON":          text(j, "access granted"),
		"another kind":      text("text/html", `{"access":"rw"}`),
		"no access":         text(j, `{}`),
		"null":              text(j, `null`),
		"a list":            text(j, `["rw"]`),
		"another word":      text(j, `{"access":"admin"}`),
		"access is true":    text(j, `{"access":true}`),
		"negative ttl":      text(j, `{"access":"rw","ttl":-1}`),
		"ttl is text":       text(j, `{"access":"rw","ttl":"60"}`),
		"ttl beyond reason": text(j, `{"access":"rw","ttl":1e300}`),
		"too much":          text(j, `{"access":"rw","x":"`+strings.Repeat("x", callbackAnswer)+`"}`),
		"something after":   text(j, `{"access":"rw"}{"access":"none"}`),
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", j)
			w.Header().Set("Content-Length", "500")
			io.WriteString(w, `{"access":"rw"}`)
		},
		"closed": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"silent": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		},
	} {
		s.set(f)
		start := time.Now()
		g, err := a.Grant(t.Context(), Request{Doc: name, Token: hmacKey(testSecret).token("x", nil)})
		if !errors.Is(err, ErrUnavailable) || g.Mode != None {
			t.Errorf("%s: got %v %v, want ErrUnavailable", name, g.Mode, err)
		}
		if took := time.Since(start); took > 3*callbackTimeout {
			t.Errorf("%s: took %v", name, took)
		}
	}
	if strings.Contains(log.String(), "callback-key-in-query") {
		t.Error("the callback's query is in the log")
	}
	s.answer(`{"access":"none"}`)
	if _, err := a.Grant(t.Context(), Request{Doc: "x", Token: hmacKey(testSecret).token("x", nil)}); !errors.Is(err, ErrForbidden) {
		t.Errorf("a clear no: got %v, want ErrForbidden", err)
	}
	if _, err := a.Grant(t.Context(), Request{Doc: "x", Token: hmacKey("forged").token("x", nil)}); !errors.Is(err, ErrToken) {
		t.Errorf("a forged token: got %v, want ErrToken", err)
	}
}

func TestCallbackJudgesTokensWhereNoKeyIsConfigured(t *testing.T) {
	s := newApp(t, `{"access":"rw","userId":"u-1","name":"U"}`)
	a, _ := newTest(t, Options{Callback: s.URL, CallbackSecret: testCallbackSecret})
	g, err := a.Grant(t.Context(), Request{Doc: "d", Token: "opaque-session-id"})
	if err != nil || g.User != "u-1" || g.Name != "U" || g.Mode != ReadWrite || !strings.HasPrefix(g.Session, "t-") || g.Recheck.IsZero() {
		t.Errorf("got %+v %v", g, err)
	}
	if s.asked[0]["token"] != "opaque-session-id" || len(s.asked) != 1 {
		t.Errorf("got %v, want one question with the token", s.asked)
	}
	for answer, want := range map[string]error{
		`{"access":"none"}`:                 ErrForbidden,
		`{"access":"rw"}`:                   ErrUnavailable,
		`{"access":"rw","userId":"a\r\nb"}`: ErrUnavailable,
		`{"access":"rw","userId":"` + strings.Repeat("u", 300) + `"}`: ErrUnavailable,
	} {
		s.answer(answer)
		if _, err := a.Grant(t.Context(), Request{Doc: answer, Token: "t"}); !errors.Is(err, want) {
			t.Errorf("%.40s: got %v, want %v", answer, err, want)
		}
	}
	for _, token := range []string{"a b", "a\x00", "é", strings.Repeat("t", maxToken+1)} {
		n := s.count()
		if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: token}); !errors.Is(err, ErrToken) || s.count() != n {
			t.Errorf("%.10q: got %v, want ErrToken without a question", token, err)
		}
	}
}

func TestRenewAsksAgainThoughTheTokenHasExpired(t *testing.T) {
	s := newApp(t, `{"access":"rw","userId":"u","ttl":1}`)
	for name, o := range map[string]Options{
		"verified": {SupabaseSecret: testSecret, Callback: s.URL, CallbackSecret: testCallbackSecret},
		"opaque":   {Callback: s.URL, CallbackSecret: testCallbackSecret},
	} {
		s.answer(`{"access":"rw","userId":"u","ttl":1}`)
		a, _ := newTest(t, o)
		token := hmacKey(testSecret).token("x", claims{"sub": "u", "exp": time.Now().Unix() - 29})
		g, err := a.Grant(t.Context(), Request{Doc: "d", Token: token})
		if err != nil || g.Mode != ReadWrite {
			t.Fatalf("%s: got %+v %v", name, g, err)
		}
		waitFor(t, "the token's end", func() bool { return time.Now().After(g.Recheck) })
		s.answer(`{"access":"r","userId":"u"}`)
		g, err = a.Renew(t.Context(), g, Request{Doc: "d"})
		if err != nil || g.Mode != Read || g.User != "u" {
			t.Errorf("%s: got %+v %v, want r", name, g, err)
		}
		s.answer(`{"access":"none"}`)
		a.Recheck("u", "d")
		if g, err := a.Renew(t.Context(), g, Request{Doc: "d"}); !errors.Is(err, ErrForbidden) || g.Mode != None {
			t.Errorf("%s: got %+v %v, want ErrForbidden", name, g, err)
		}
		a.Revoke(Revocation{Session: g.Session})
		if _, err := a.Renew(t.Context(), g, Request{Doc: "d"}); !errors.Is(err, ErrRevoked) && name == "verified" {
			t.Errorf("%s: got %v, want ErrRevoked", name, err)
		}
	}
}

func TestSignatureBindsTimeAndBody(t *testing.T) {
	now := time.Now()
	secret, body := []byte("0123456789abcdef"), []byte(`{"a":1}`)
	h := Sign(secret, now, body)
	if err := CheckSignature(secret, h, body, time.Minute); err != nil {
		t.Error(err)
	}
	later := strings.Replace(h, "t=", "t=1", 1)
	for name, err := range map[string]error{
		"another body":   CheckSignature(secret, h, []byte(`{"a":2}`), time.Minute),
		"another secret": CheckSignature([]byte("x"), h, body, time.Minute),
		"another time":   CheckSignature(secret, later, body, time.Minute),
		"too old":        CheckSignature(secret, Sign(secret, now.Add(-time.Hour), body), body, time.Minute),
		"too new":        CheckSignature(secret, Sign(secret, now.Add(time.Hour), body), body, time.Minute),
		"empty":          CheckSignature(secret, "", body, time.Minute),
		"not hex":        CheckSignature(secret, "t=1,v1=zz", body, time.Minute),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
