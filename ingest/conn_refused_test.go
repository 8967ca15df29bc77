package ingest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// Each dialect hears of a refusal in the way its client understands, none lets anything in, and no token reaches the log.
func TestEveryDialectIsRefusedInItsOwnWay(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(rules, []byte(`[{"match":"users/{sub}/**","access":"rw"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	down := httptest.NewServer(http.NotFoundHandler())
	defer down.Close()
	ruled := func(o *Options, a *auth.Options, _ *stream.Config) {
		a.RulesFile = rules
		o.Limits.RefusalHold = 5 * time.Millisecond
	}
	withRules := start(t, logins, ruled)
	withDown := start(t, logins, ruled, func(_ *Options, a *auth.Options, _ *stream.Config) { a.Callback = down.URL })

	signed := func(method jwt.SigningMethod, key any, c jwt.MapClaims) string {
		s, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := jwt.MapClaims{"sub": "ada", "exp": time.Now().Add(time.Hour).Unix()}
	const room = "users/ada/x"
	for _, c := range []struct {
		name   string
		w      *world
		token  string
		reason string
		http   int
		yws    int
		party  int
	}{
		{"no token", withRules, "", "token-required", 401, 4401, 1008},
		{"no JWT", withRules, "let-me-in-please", "token-invalid", 401, 4401, 1008},
		{"unsigned", withRules, signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good), "token-invalid", 401, 4401, 1008},
		{"another secret", withRules, signed(jwt.SigningMethodHS256, []byte("another secret of another server"), good), "token-invalid", 401, 4401, 1008},
		{"another secret, HS512", withRules, signed(jwt.SigningMethodHS512, []byte("another secret of another server"), good), "token-invalid", 401, 4401, 1008},
		{"no expiry", withRules, signed(jwt.SigningMethodHS256, []byte(rightsSecret), jwt.MapClaims{"sub": "ada"}), "token-invalid", 401, 4401, 1008},
		{"no user", withRules, signed(jwt.SigningMethodHS256, []byte(rightsSecret), jwt.MapClaims{"exp": good["exp"]}), "token-invalid", 401, 4401, 1008},
		{"not yet", withRules, token("ada", time.Hour, "nbf", time.Now().Add(time.Hour).Unix()), "token-invalid", 401, 4401, 1008},
		{"valid soon", withRules, token("ada", time.Hour, "nbf", time.Now().Add(5*time.Minute).Unix()), "token-not-valid-yet", 503, 1013, 1013},
		{"expired", withRules, token("ada", -time.Hour), "token-expired", 401, 4401, 1008},
		{"anon key", withRules, token("ada", time.Hour, "role", "anon"), "token-invalid", 401, 4401, 1008},
		{"service key", withRules, token("ada", time.Hour, "role", "service_role"), "token-invalid", 401, 4401, 1008},
		{"somebody else", withRules, token("eve", time.Hour), "forbidden", 403, 4403, 1008},
		{"callback down", withDown, token("ada", time.Hour), "auth-unavailable", 503, 1013, 1013},
	} {
		w := c.w
		closed := func(path string, want int) *client {
			t.Helper()
			cl := w.dial(path)
			cl.ws.WriteMessage(2, step1(nil)) // a party client is refused before it speaks
			if code := cl.code(); code != want {
				t.Errorf("%s, %.30s: got close code %d, want %d", c.name, path, code, want)
			}
			for _, f := range cl.frames {
				if m, _, err := yjs.ReadMessage(f.data); !f.text && err == nil && m.Type == yjs.MsgSync {
					t.Errorf("%s, %.30s: got a sync message", c.name, path)
				}
			}
			return cl
		}
		cl := closed("/"+room+"?token="+c.token, c.yws)
		if want := deniedFrame(causeNamed(c.reason)); len(cl.frames) != 1 || !bytes.HasSuffix(want, cl.frames[0].data) {
			t.Errorf("%s: y-websocket got %d frames, want the reason", c.name, len(cl.frames))
		}
		if sweet := "/d/users%2Fada%2Fx/ws/users%2Fada%2Fx?token="; c.token != "" {
			closed(sweet+c.token, c.yws)
		} else if _, res, err := websocket.DefaultDialer.Dial(w.url(sweet), nil); err == nil || res == nil || res.StatusCode != 401 {
			t.Errorf("%s: Y-Sweet got %v %v, want 401 before the upgrade", c.name, res, err)
		}
		if c.token != "" { // without one it may still send one
			cl = closed("/parties/main/"+room+"?_pk=1&token="+c.token, c.party)
			if l := cl.jsonFrames("error"); len(l) == 0 || l[len(l)-1]["code"] != c.reason || l[len(l)-1]["fatal"] != true {
				t.Errorf("%s: party got %v, want the reason", c.name, l)
			}
		}

		hp := w.dial("/")
		address := yjs.AppendAddress(nil, []byte(room))
		hp.send(append(bytes.Clone(address), yjs.AppendVarString([]byte{yjs.MsgAuth, yjs.AuthToken}, c.token)...))
		hp.ws.WriteMessage(2, append(bytes.Clone(address), step1(nil)...)) // the socket may be closed by then
		want := append(bytes.Clone(address), yjs.AppendAuthDenied(nil, c.reason)...)
		if c.http == 503 {
			hp.send([]byte{yjs.MsgPing}) // the document waits, the socket stays
			if f := hp.next(); !bytes.Equal(f.data, []byte{yjs.MsgPong}) {
				t.Errorf("%s: Hocuspocus got %x, want nothing but a pong", c.name, f.data)
			}
		} else if f := hp.next(); !bytes.Equal(f.data, want) {
			t.Errorf("%s: Hocuspocus got %x, want %x", c.name, f.data, want)
		} else {
			hp.send(append(bytes.Clone(address), edit(insert(3, 0, "x"))...), append(bytes.Clone(address), yjs.AppendVarString([]byte{yjs.MsgAuth, yjs.AuthToken}, token("ada", time.Hour))...))
			ok := append(bytes.Clone(address), yjs.AppendAuthOK(nil, false)...)
			if f := hp.next(); !bytes.Equal(f.data, ok) {
				t.Errorf("%s: Hocuspocus got %x for a good token after a bad one, want %x", c.name, f.data, ok)
			}
		}
		code, body := w.request("POST", "/api/docs/users%2Fada%2Fx/token", c.token, "")
		var e struct {
			Error struct{ Code, Message string }
		}
		if json.Unmarshal([]byte(body), &e); code != c.http || e.Error.Code != c.reason || e.Error.Message == "" {
			t.Errorf("%s: HTTP got %d %s, want %d %s", c.name, code, body, c.http, c.reason)
		}
		for _, part := range strings.Split(c.token, ".") {
			if len(part) > 20 && strings.Contains(withRules.out.String()+withDown.out.String(), part) {
				t.Errorf("%s: the token is in the log", c.name)
			}
		}
	}
	if n := len(withRules.records(room)); n != 0 {
		t.Errorf("got %d records, want none", n)
	}
}

// causeNamed is the cause of a reason.
func causeNamed(reason string) *cause {
	for cs := range sentences {
		if cs.reason == reason {
			return cs
		}
	}
	return causeInternal
}
