package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const jwtSecret = "a-secret-of-the-tests-that-is-long-enough-1234"

// mint signs claims as Supabase's legacy projects do.
func mint(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"sub": "user-1", "aud": "authenticated", "role": "authenticated", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range claims {
		if v == nil {
			delete(all, k)
		} else {
			all[k] = v
		}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(jwtSecret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// startJWT starts `yjet serve` as a Supabase project's settings make it.
func startJWT(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, env: []string{"SUPABASE_JWT_SECRET=" + jwtSecret},
		args: append([]string{"serve", "--admin-addr", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"), "--auth", "jwt"}, args...)}
	s.begin()
	return s
}

func TestTokensOpenAndRefuse(t *testing.T) {
	t.Parallel()
	s := startJWT(t)
	d := newDriver(t)
	good := mint(t, nil)
	expired := mint(t, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()})
	forged := good[:len(good)-6] + "AAAAAA"

	for _, kind := range []string{"yws31", "yws21", "ypk", "yps", "hp4", "hp3", "hp2", "ysw"} {
		t.Run(kind+" with a good token", func(t *testing.T) {
			d.open(s, "good-"+kind, kind, "private", M{"token": good})
			d.edit("good-"+kind, []any{"text", "append", kind + " "})
			d.do("saved", M{"client": "good-" + kind})
		})
	}
	for _, c := range []struct {
		name, kind, token, reason string
		code                      int
	}{
		{"none", "yws31", "", "token-required", 4401},
		{"expired", "yws31", expired, "token-expired", 4401},
		{"forged", "yws31", forged, "token-invalid", 4401},
		{"forged21", "yws21", forged + "x", "token-invalid", 4401},
		{"expired-ypk", "ypk", expired, "token-expired", 1008},
		{"forged-yps", "yps", forged, "token-invalid", 1008},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			more := M{"wait": false, "token": c.token}
			if c.token == "" {
				more["token"] = nil
			}
			d.open(s, c.name, c.kind, "private", more)
			d.do("closed", M{"client": c.name, "timeout": 15000})
			st := d.state(c.name)
			if st.Closes[0].Code != c.code || st.Closes[0].Reason != c.reason {
				t.Errorf("%s: closed %d %q, want %d %q", c.name, st.Closes[0].Code, st.Closes[0].Reason, c.code, c.reason)
			}
			if st.Synced || st.Length > 0 {
				t.Errorf("%s: synced %v with %d characters, want nothing", c.name, st.Synced, st.Length)
			}
			if c.kind == "yws31" && len(st.Terminal) == 0 {
				t.Errorf("%s: y-websocket 3.1 did not stop", c.name)
			}
			if len(st.Denied) == 0 {
				t.Errorf("%s: no permission-denied message before the close", c.name)
			}
			d.do("cut", M{"client": c.name})
		})
	}
	for _, kind := range []string{"hp4", "hp3", "hp2"} {
		t.Run(kind+" expired", func(t *testing.T) {
			t.Parallel()
			d.open(s, "bad-"+kind, kind, "private", M{"wait": false, "token": expired})
			deadline := time.Now().Add(10 * time.Second)
			for len(d.state("bad-"+kind).Denied) == 0 {
				if time.Now().After(deadline) {
					t.Fatalf("%s: not told that its token is bad: %+v", kind, d.state("bad-"+kind))
				}
				time.Sleep(20 * time.Millisecond)
			}
			if st := d.state("bad-" + kind); st.Denied[0] != "token-expired" || st.Synced {
				t.Errorf("%s: denied %q, synced %v, want token-expired and not", kind, st.Denied, st.Synced)
			}
			d.do("cut", M{"client": "bad-" + kind})
		})
	}
	t.Cleanup(func() {
		for what, token := range map[string]string{"good": good, "expired": expired, "forged": forged, "secret": jwtSecret} {
			for _, part := range strings.Split(token, ".") {
				if len(part) > 30 && strings.Contains(s.out.text(), part) {
					t.Errorf("the log holds a part of the %s token", what)
				}
			}
		}
	})
}

func TestRefreshedTokenReopensTheDoor(t *testing.T) {
	t.Parallel()
	s := startJWT(t)
	d := newDriver(t)
	expired := mint(t, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()})
	good := mint(t, nil)
	for _, kind := range []string{"yws21", "yps", "ysw", "hp4", "hp3"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d.open(s, kind, kind, "refresh", M{"wait": false, "token": expired})
			if strings.HasPrefix(kind, "hp") {
				deadline := time.Now().Add(10 * time.Second)
				for len(d.state(kind).Denied) == 0 && time.Now().Before(deadline) {
					time.Sleep(20 * time.Millisecond)
				}
				d.do("token", M{"client": kind, "token": good})
				d.do("drop", M{"client": kind})
			} else {
				d.do("closed", M{"client": kind, "timeout": 15000})
				d.do("token", M{"client": kind, "token": good})
			}
			d.do("synced", M{"client": kind, "timeout": 40000})
			d.edit(kind, []any{"text", "append", kind})
			d.do("saved", M{"client": kind})
		})
	}
}

func TestForeignOriginIsRefused(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	d.open(s, "near", "yws31", "origins", M{"headers": M{"Origin": "http://localhost:3000"}})
	d.open(s, "far", "yws31", "origins", M{"wait": false, "headers": M{"Origin": "https://evil.example"}})
	deadline := time.Now().Add(10 * time.Second)
	for len(d.state("far").Errors) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("a foreign Origin: got %+v, want a refusal", d.state("far"))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if st := d.state("far"); !strings.Contains(st.Errors[0], "403") || len(st.Opens) > 0 {
		t.Errorf("a foreign Origin: errors %q, opens %v, want HTTP 403", st.Errors, st.Opens)
	}
	d.do("cut", M{"client": "far"})
}

func TestHealthTellsDurabilityAndSessions(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	d.open(s, "a", "yws31", "vitals")
	d.open(s, "b", "yws21", "vitals")
	var h struct {
		Status     string
		Durability string
		Metrics    struct{ ActiveSessions, ActiveDocuments int }
	}
	s.getJSON("/health", &h)
	if h.Status != "ok" || h.Durability != "disk" || h.Metrics.ActiveSessions != 2 || h.Metrics.ActiveDocuments != 1 {
		t.Errorf("/health: got %+v, want ok, disk, 2 sessions, 1 document", h)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		res, err := http.Get(s.url(path))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("%s: got %d, want 200", path, res.StatusCode)
		}
	}
}
