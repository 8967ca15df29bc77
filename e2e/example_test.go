package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const exampleDir = "../examples/partykit-supabase"

var example struct {
	once sync.Once
	err  error
}

// needExample installs the example's packages as its lockfile says, one process at a time.
func needExample(t testing.TB) {
	t.Helper()
	needNode(t)
	example.once.Do(func() {
		example.err = func() error {
			lock, err := os.Open(exampleDir)
			if err != nil {
				return err
			}
			defer lock.Close()
			if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
				return err
			}
			want, err := os.ReadFile(filepath.Join(exampleDir, "package-lock.json"))
			if err != nil {
				return err
			}
			stamp := filepath.Join(exampleDir, "node_modules", ".yjet-lock")
			if got, _ := os.ReadFile(stamp); bytes.Equal(got, want) {
				return nil
			}
			cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
			cmd.Dir = exampleDir
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("npm ci: %v\n%s", err, out)
			}
			return os.WriteFile(stamp, want, 0o644)
		}()
	})
	if example.err != nil {
		t.Fatal(example.err)
	}
}

// inExample runs a command in the example's directory.
func inExample(t testing.TB, env []string, stdin string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = exampleDir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// An app is the example's page, built for one server and served from an origin of its own, as in real life.
type app struct {
	t      testing.TB
	dist   string
	origin string
}

func newApp(t testing.TB) *app {
	t.Helper()
	needExample(t)
	a := &app{t: t, dist: t.TempDir()}
	web := httptest.NewServer(http.FileServer(http.Dir(a.dist)))
	t.Cleanup(web.Close)
	a.origin = web.URL
	return a
}

// build makes the page with the example's own build, with the settings that Next.js would take from its environment.
func (a *app) build(settings ...string) {
	a.t.Helper()
	if out, err := inExample(a.t, append(settings, "OUT_DIR="+a.dist), "", "npm", "run", "build"); err != nil {
		a.t.Fatalf("npm run build: %v\n%s", err, out)
	}
}

// url is the address of a document in the app; token goes into the fragment.
func (a *app) url(doc, token string) string {
	u := a.origin + "/?doc=" + url.QueryEscape(doc)
	if token != "" {
		u += "#token=" + token
	}
	return u
}

const (
	upToDate = `[role=status]:text-matches("^connected, up to date$")`
	textarea = `textarea[aria-label="Document"]`
)

// hasValue waits until a page's editor holds text.
func hasValue(t testing.TB, b *driver, page, text string) {
	t.Helper()
	want, _ := json.Marshal(text)
	got := ask[bool](b, "eval", M{"page": page, "code": fmt.Sprintf(`new Promise(done => {
		const began = Date.now()
		const look = () => {
			if (document.querySelector('textarea')?.value === %s) done(true)
			else if (Date.now() - began > 15000) done(false)
			else setTimeout(look, 20)
		}
		look()
	})`, want)})
	if !got {
		t.Fatalf("%s's editor holds %q, want %q", page, ask[string](b, "value", M{"page": page, "selector": textarea}), text)
	}
}

// complaints are what a page logged, without what a browser says when a server is away or refuses, on purpose here.
func complaints(b *driver, page string) []string {
	return slices.DeleteFunc(ask[[]string](b, "problems", M{"page": page}), func(p string) bool {
		return strings.Contains(p, "WebSocket connection to") || strings.Contains(p, "Permission denied to access") ||
			strings.Contains(p, "404 (Not Found)")
	})
}

func TestPartyKitExampleInTwoBrowsers(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	a := newApp(t)
	rules := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(rules, []byte(`{"rules": [
		{"match": "notes/**", "access": "rw"},
		{"match": "handbook/**", "access": "r"}
	]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	natsAddr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	// The settings as a PartyKit project has them.
	s := &server{t: t, nats: "nats://" + natsAddr, env: []string{"SUPABASE_JWT_SECRET=" + jwtSecret, "CORS_ORIGINS=" + a.origin},
		args: []string{"serve", "--admin-addr", "off", "--data", filepath.Join(t.TempDir(), "data"), "--nats-addr", natsAddr, "--auth-rules", rules}}
	s.begin()
	// A slash at the end, as people write it; and React's development build, whose strict mode starts every effect twice.
	a.build("NEXT_PUBLIC_PARTYKIT_HOST=http://"+s.host+"/", "NODE_ENV=development")

	tokenOf := func(user string, more jwt.MapClaims) string {
		claims := jwt.MapClaims{"sub": user}
		for k, v := range more {
			claims[k] = v
		}
		return mint(t, claims)
	}
	open := func(page, doc, token string) {
		t.Helper()
		b.do("page", M{"page": page})
		b.do("go", M{"page": page, "url": a.url(doc, token)})
	}

	open("ann", "notes/plan 1", tokenOf("ann", nil))
	open("bob", "notes/plan 1", tokenOf("bob", nil))
	for _, p := range []string{"ann", "bob"} {
		b.do("wait", M{"page": p, "selector": upToDate})
		b.do("wait", M{"page": p, "selector": `.people li:nth-child(2)`})
	}
	if got := ask[[]string](b, "all", M{"page": "ann", "selector": ".people li"}); !slices.Contains(got, "ann (you)") || !slices.Contains(got, "bob") {
		t.Errorf("ann sees %q, want ann (you) and bob", got)
	}

	// Both type, one in the middle of what the other wrote; emoji are not cut in half.
	b.do("click", M{"page": "ann", "selector": textarea})
	b.do("type", M{"page": "ann", "text": "Plan: 😀 from ann"})
	hasValue(t, b, "bob", "Plan: 😀 from ann")
	b.do("eval", M{"page": "bob", "code": `{ const a = document.querySelector('textarea'); a.focus(); a.setSelectionRange(8, 8) }`})
	b.do("type", M{"page": "bob", "text": "😁 bob"})
	hasValue(t, b, "ann", "Plan: 😀😁 bob from ann")
	b.do("press", M{"page": "ann", "key": "End"})
	b.do("type", M{"page": "ann", "text": "!"})
	hasValue(t, b, "bob", "Plan: 😀😁 bob from ann!")
	if caret := ask[int](b, "eval", M{"page": "bob", "code": `document.querySelector('textarea').selectionStart`}); caret != 14 {
		t.Errorf("bob's caret is at %d after ann typed behind it, want 14", caret)
	}

	// A newer token of the same user is told on the open socket, and later connections use it: no reconnect now, none refused later.
	before := expiry(t, b, "ann")
	newer := tokenOf("ann", jwt.MapClaims{"exp": time.Now().Add(3 * time.Hour).Unix()})
	b.do("eval", M{"page": "ann", "code": "location.hash = 'token=" + newer + "'"})
	b.do("wait", M{"page": "ann", "selector": fmt.Sprintf(`[role=status]:not([data-expires="%d"])`, before)})
	if after := expiry(t, b, "ann"); after-before < 90*60*1000 {
		t.Errorf("after the refresh the session ends at %d, before it %d: want two hours more", after, before)
	}
	if sockets := ask[[]string](b, "sockets", M{"page": "ann"}); len(sockets) != 1 {
		t.Errorf("ann's page opened %d sockets, want the refresh on the first one", len(sockets))
	}
	s.kill()
	b.do("wait", M{"page": "ann", "selector": `[role=status]:text-matches("connecting|disconnected")`})
	b.do("type", M{"page": "ann", "text": " offline"})
	s.start()
	for _, p := range []string{"ann", "bob"} {
		b.do("wait", M{"page": p, "selector": upToDate, "timeout": 30000})
	}
	hasValue(t, b, "bob", "Plan: 😀😁 bob from ann! offline")
	sockets := ask[[]string](b, "sockets", M{"page": "ann"})
	if u, err := url.Parse(sockets[len(sockets)-1]); err != nil || u.Query().Get("token") != newer {
		t.Errorf("the automatic reconnect did not use the newer token")
	}

	// A reader is told, and cannot type; what is no document of his is refused with a sentence.
	open("cat", "handbook/rules", tokenOf("cat", nil))
	b.do("wait", M{"page": "cat", "selector": `[role=status]:text-matches("^connected, up to date, read only$")`})
	if readonly := ask[*string](b, "attr", M{"page": "cat", "selector": textarea, "name": "readonly"}); readonly == nil {
		t.Error("a reader's editor takes input")
	}
	open("dan", "secret", tokenOf("dan", nil))
	b.do("wait", M{"page": "dan", "selector": `[role=alert]:has-text("(forbidden)")`})

	// An expired token: the page says so, and comes in by itself once there is a new one.
	open("eve", "notes/plan 1", tokenOf("eve", jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}))
	b.do("wait", M{"page": "eve", "selector": `[role=alert]:has-text("(token-expired)")`})
	b.do("eval", M{"page": "eve", "code": "location.hash = 'token=" + tokenOf("eve", nil) + "'"})
	b.do("wait", M{"page": "eve", "selector": upToDate, "timeout": 30000})
	b.do("gone", M{"page": "eve", "selector": "[role=alert]"})
	hasValue(t, b, "eve", "Plan: 😀😁 bob from ann! offline")

	got := rebuild(t, s.nats, "notes/plan 1")
	if slices.Sort(got.Users); got.Snapshot == nil && !slices.Equal(got.Users, []string{"ann", "bob"}) {
		t.Errorf("the log names %q as writers, want ann and bob", got.Users)
	}
	for _, page := range []string{"ann", "bob", "cat", "dan", "eve"} {
		for _, p := range complaints(b, page) {
			t.Errorf("page %s: %s", page, p)
		}
	}
}

// expiry is when the page's session ends, Unix ms.
func expiry(t testing.TB, b *driver, page string) int64 {
	t.Helper()
	b.do("wait", M{"page": page, "selector": `[role=status]:not([data-expires=""])`})
	ms, err := strconv.ParseInt(ask[string](b, "attr", M{"page": page, "selector": "[role=status]", "name": "data-expires"}), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

// gotrue is as much of a Supabase project as signing in takes: its key set, its tokens, their renewal.
type gotrue struct {
	t   testing.TB
	url string
	key *ecdsa.PrivateKey

	mu       sync.Mutex
	lives    []time.Duration // of the tokens to come; the last one stays
	renewals int
}

func newGotrue(t testing.TB, lives ...time.Duration) *gotrue {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g := &gotrue{t: t, key: key, lives: lives}
	web := httptest.NewServer(g)
	t.Cleanup(web.Close)
	g.url = web.URL
	return g
}

func (g *gotrue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
	h.Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodOptions:
	case r.URL.Path == "/auth/v1/.well-known/jwks.json":
		x, y := make([]byte, 32), make([]byte, 32)
		g.key.X.FillBytes(x)
		g.key.Y.FillBytes(y)
		json.NewEncoder(w).Encode(M{"keys": []M{{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1", "x": b64url(x), "y": b64url(y)}}})
	case r.URL.Path == "/auth/v1/token":
		var in struct {
			Email   string
			Refresh string `json:"refresh_token"`
		}
		json.NewDecoder(r.Body).Decode(&in)
		user := strings.TrimSuffix(in.Email, "@example.com")
		if r.URL.Query().Get("grant_type") == "refresh_token" {
			user = in.Refresh
		}
		json.NewEncoder(w).Encode(g.session(user, r.URL.Query().Get("grant_type") == "refresh_token"))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (g *gotrue) session(user string, renewal bool) M {
	g.mu.Lock()
	defer g.mu.Unlock()
	life := g.lives[0]
	if len(g.lives) > 1 {
		g.lives = g.lives[1:]
	}
	if renewal {
		g.renewals++
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": g.url + "/auth/v1", "aud": "authenticated", "role": "authenticated", "sub": user, "email": user + "@example.com",
		"session_id": "s-" + user, "iat": now.Unix(), "exp": now.Add(life).Unix(),
	})
	token.Header["kid"] = "k1"
	signed, err := token.SignedString(g.key)
	if err != nil {
		g.t.Error(err)
	}
	return M{
		"access_token": signed, "token_type": "bearer", "expires_in": int(life.Seconds()), "expires_at": now.Add(life).Unix(), "refresh_token": user,
		"user": M{"id": user, "aud": "authenticated", "role": "authenticated", "email": user + "@example.com", "app_metadata": M{}, "user_metadata": M{}},
	}
}

// The whole way: sign in with supabase-js, a token signed with the project's key, its renewal on the open socket.
func TestPartyKitExampleSignsInWithSupabase(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	a := newApp(t)
	g := newGotrue(t, 63*time.Second, time.Hour) // the first ends in a minute: the server asks for the next one
	s := &server{t: t, env: []string{"SUPABASE_URL=" + g.url, "CORS_ORIGINS=" + a.origin},
		args: []string{"serve", "--admin-addr", "off", "--data", filepath.Join(t.TempDir(), "data")}}
	s.begin()
	a.build("NEXT_PUBLIC_PARTYKIT_HOST="+s.host, "NEXT_PUBLIC_SUPABASE_URL="+g.url, "NEXT_PUBLIC_SUPABASE_ANON_KEY=sb_publishable_test")

	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": a.url("notes/plan", "")})
	b.do("fill", M{"page": "ann", "selector": "input[name=email]", "text": "ann@example.com"})
	b.do("fill", M{"page": "ann", "selector": "input[name=password]", "text": "correct horse"})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("wait", M{"page": "ann", "selector": upToDate})
	b.do("click", M{"page": "ann", "selector": textarea})
	b.do("type", M{"page": "ann", "text": "signed in"})

	deadline := time.Now().Add(40 * time.Second)
	for expiry(t, b, "ann") < time.Now().Add(30*time.Minute).UnixMilli() {
		if time.Now().After(deadline) {
			t.Fatal("the page's session still ends within the hour: the newer token did not reach the server")
		}
		time.Sleep(100 * time.Millisecond)
	}
	g.mu.Lock()
	if g.renewals == 0 {
		t.Error("the token was not renewed")
	}
	g.mu.Unlock()
	if sockets := ask[[]string](b, "sockets", M{"page": "ann"}); len(sockets) != 1 {
		t.Errorf("ann's page opened %d sockets, want the renewal on the first one", len(sockets))
	}
	b.do("type", M{"page": "ann", "text": ", still here"})
	b.do("page", M{"page": "again", "like": "ann"}) // the same browser: the session is kept there
	b.do("go", M{"page": "again", "url": a.url("notes/plan", "")})
	b.do("wait", M{"page": "again", "selector": upToDate})
	hasValue(t, b, "again", "signed in, still here")
	for _, p := range complaints(b, "ann") {
		t.Errorf("page ann: %s", p)
	}
}

func b64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
