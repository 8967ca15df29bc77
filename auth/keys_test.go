package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// waitFor polls until ok, for as long as a slow machine needs.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func TestRotatedKeyIsFoundOnFirstSight(t *testing.T) {
	old, fresh := ecKey(t, "2025"), edKey(t, "2026")
	srv := newIssuer(t, old)
	a, _ := newTest(t, Options{keySetGap: quick, SupabaseURL: srv.URL})
	grant := func(k key) error {
		_, err := a.Grant(t.Context(), Request{Doc: "d", Token: k.token(srv.name(), claims{"x": time.Now().UnixNano()})})
		return err
	}
	if err := grant(old); err != nil {
		t.Fatal(err)
	}
	if err := grant(fresh); !errors.Is(err, ErrToken) {
		t.Fatalf("before it is published: got %v, want ErrToken", err)
	}
	srv.publish(old, fresh)
	if err := grant(fresh); err != nil {
		t.Fatalf("published: got %v", err)
	}
	if err := grant(old); err != nil {
		t.Fatalf("standby: got %v", err)
	}

	// Withdrawn: what was accepted under the old key is forgotten with it.
	kept := old.token(srv.name(), nil)
	if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: kept}); err != nil {
		t.Fatal(err)
	}
	srv.publish(fresh)
	grant(ecKey(t, "unknown")) // has the set fetched again
	if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: kept}); !errors.Is(err, ErrToken) {
		t.Errorf("withdrawn: got %v, want ErrToken", err)
	}
}

// What is kept of a set for the next token ends with the set, though the next one has a key of the same name.
func TestKeysAreThoseOfTheLastFetch(t *testing.T) {
	a := ecKey(t, "k")
	b := edKey(t, "k")
	c := ecKey(t, "k")
	c.jwk["alg"] = ""
	srv := newIssuer(t, a)
	au, _ := newTest(t, Options{keySetGap: quick, SupabaseURL: srv.URL})
	n := 0
	grant := func(k key, header string) error {
		n++
		_, err := au.Grant(t.Context(), Request{Doc: "d", Token: k.raw(header, payload(k.token(srv.name(), claims{"n": n})))})
		return err
	}
	unnamed := func(k key) string { return `{"alg":"` + k.alg + `"}` }
	for round, now := range []key{a, b, c, a} {
		srv.publish(now)
		grant(ecKey(t, "unknown"), `{"alg":"ES256","kid":"unknown"}`) // has the set fetched again
		for i, k := range []key{a, b, c} {
			want := i == round%3
			if err := grant(k, k.header()); (err == nil) != want || err != nil && !errors.Is(err, ErrToken) {
				t.Errorf("round %d, key %d by its name: got %v, want ok %v", round, i, err, want)
			}
			if err := grant(k, unnamed(k)); (err == nil) != want || err != nil && !errors.Is(err, ErrToken) {
				t.Errorf("round %d, key %d without a name: got %v, want ok %v", round, i, err, want)
			}
		}
	}
	srv.publish()
	grant(ecKey(t, "unknown"), `{"alg":"ES256","kid":"unknown"}`)
	if err := grant(a, a.header()); !errors.Is(err, ErrToken) {
		t.Errorf("an empty set: got %v, want ErrToken", err)
	}
}

func TestKeySetDownAtTheStartIsNotReady(t *testing.T) {
	k := rsaKey(t, "k")
	srv := newIssuer(t, k)
	srv.set(503, []byte("down"), nil)
	reg := prometheus.NewRegistry()
	a, log := newTest(t, Options{keySetGap: quick, SupabaseURL: srv.URL, Metrics: reg})
	waitFor(t, "the first attempt", func() bool { return srv.count() > 0 })
	if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "SUPABASE_URL") {
		t.Errorf("got %v, want an error that names SUPABASE_URL", err)
	}
	_, err := a.Grant(t.Context(), Request{Doc: "d", Token: k.token(srv.name(), nil)})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable: a client that hears anything else may stop for good", err)
	}
	srv.publish(k)
	waitFor(t, "ready", func() bool { return a.Ready() == nil })
	if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: k.token(srv.name(), nil)}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "key set not fetched") {
		t.Errorf("the log does not say so: %s", log)
	}
	if all, err := reg.Gather(); len(all) != 3 || err != nil {
		t.Errorf("got %d metrics, %v, want age, keys and refusals", len(all), err)
	}
}

func TestOldKeysStayWhileTheServerIsAway(t *testing.T) {
	k := ecKey(t, "k")
	srv := newIssuer(t, k)
	reg := prometheus.NewRegistry()
	a, log := newTest(t, Options{keySetGap: quick, SupabaseURL: srv.URL, Metrics: reg})
	waitFor(t, "ready", func() bool { return a.Ready() == nil })
	age := func() float64 {
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.GetName() == "yjet_jwks_age_seconds" {
				return f.Metric[0].GetGauge().GetValue()
			}
		}
		t.Fatal("no yjet_jwks_age_seconds")
		return 0
	}
	a.keys[0].mu.Lock()
	a.keys[0].since = time.Now().Add(-2 * time.Hour)
	a.keys[0].mu.Unlock()
	for i, c := range []struct {
		name string
		code int
		body string
	}{
		{"down", 503, "down"},
		{"an error page", 200, "<html>maintenance</html>"},
		{"JSON of another kind", 200, `{"error":"maintenance"}`},
		{"keys are null", 200, `{"keys":null}`},
		{"no key that can be used", 200, `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"k"}]}`},
	} {
		srv.set(c.code, []byte(c.body), nil)
		n := srv.count()
		// A token of an unknown key has the set fetched; whether the key exists cannot be told.
		_, err := a.Grant(t.Context(), Request{Doc: "d", Token: ecKey(t, fmt.Sprint("new-", i)).token(srv.name(), nil)})
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: unknown key: got %v, want ErrUnavailable", c.name, err)
		}
		if srv.count() == n {
			t.Errorf("%s: not fetched", c.name)
		}
		if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: k.token(srv.name(), claims{"n": i})}); err != nil {
			t.Errorf("%s: known key: got %v, want a grant", c.name, err)
		}
		if a.Ready() != nil {
			t.Errorf("%s: not ready any more", c.name)
		}
	}
	if got := age(); got < 7200 {
		t.Errorf("got age %.1f s, want the time since the last good set, 7200 or more", got)
	}
	if !strings.Contains(log.String(), "key set not fetched for long") {
		t.Errorf("no alarm in the log: %s", log)
	}
	srv.publish(k)
	a.Grant(t.Context(), Request{Doc: "d", Token: ecKey(t, "newer").token(srv.name(), nil)})
	if got := age(); got > 10 {
		t.Errorf("back again: got age %.1f s, want a small one", got)
	}
}

func TestEmptyKeySetIsReadyOnlyBesideASecret(t *testing.T) {
	srv := newIssuer(t)
	alone, _ := newTest(t, Options{keySetGap: quick, SupabaseURL: srv.URL})
	both, _ := newTest(t, Options{keySetGap: quick, SupabaseURL: srv.URL, SupabaseSecret: testSecret})
	waitFor(t, "a fetch", func() bool { return both.Ready() == nil })
	waitFor(t, "a fetch", func() bool {
		err := alone.Ready()
		return err != nil && strings.Contains(err.Error(), "SUPABASE_JWT_SECRET")
	})
	if _, err := both.Grant(t.Context(), Request{Doc: "d", Token: hmacKey(testSecret).token(srv.name(), nil)}); err != nil {
		t.Error(err)
	}
}

func TestHostileKeySetsChangeNothing(t *testing.T) {
	k := ecKey(t, "k")
	srv := newIssuer(t, k)
	keySet := func() *keySet {
		ks, err := newKeySet("--jwks-url", srv.URL+"/auth/v1/.well-known/jwks.json", false, newTestQuiet(t, Options{Mode: "none"}).log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ks.client.CloseIdleConnections)
		return ks
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("asked a server it was redirected to")
	}))
	defer elsewhere.Close()
	many := func(n int) string {
		list := make([]any, n)
		for i := range list {
			j := map[string]any{}
			for name, v := range k.jwk {
				j[name] = v
			}
			j["kid"] = fmt.Sprint(i)
			list[i] = j
		}
		data, _ := json.Marshal(map[string]any{"keys": list})
		return string(data)
	}
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(s)) }
	}
	for _, c := range []struct {
		name  string
		serve http.HandlerFunc
		keys  int // 0: an error
	}{
		{"redirect to another host", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, 0},
		{"redirect to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, 0},
		{"redirect without end", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) }, 0},
		{"redirect within the host", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/moved" {
				http.Redirect(w, r, "/moved", http.StatusFound)
				return
			}
			w.Write([]byte(many(2)))
		}, 2},
		{"64 keys", text(many(64)), 64},
		{"65 keys", text(many(65)), 0},
		{"at the size limit", text(many(1) + strings.Repeat(" ", maxKeySet-len(many(1)))), 1},
		{"past the size limit", text(many(1) + strings.Repeat(" ", maxKeySet-len(many(1))+1)), 0},
		{"cut off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5000")
			w.Write([]byte(many(1)))
		}, 0},
		{"not found", http.NotFound, 0},
	} {
		srv.set(200, nil, c.serve)
		ks := keySet()
		err := ks.fetch(t.Context())
		if (err == nil) != (c.keys > 0) || ks.count() != c.keys {
			t.Errorf("%s: got %d keys and %v, want %d", c.name, ks.count(), err, c.keys)
		}
	}
}

func TestOnlyUsefulKeysAreTaken(t *testing.T) {
	ec, rs, ed := ecKey(t, "ec"), rsaKey(t, "rsa"), edKey(t, "ed")
	with := func(k key, more map[string]any) json.RawMessage {
		m := map[string]any{}
		for name, v := range k.jwk {
			m[name] = v
		}
		for name, v := range more {
			m[name] = v
		}
		data, _ := json.Marshal(m)
		return data
	}
	for _, c := range []struct {
		name string
		raw  json.RawMessage
		ok   bool
	}{
		{"EC", with(ec, nil), true},
		{"RSA", with(rs, nil), true},
		{"Ed25519", with(ed, nil), true},
		{"without an algorithm or use", with(ec, map[string]any{"alg": "", "use": ""}), true},
		{"to verify", with(ec, map[string]any{"key_ops": []string{"verify"}}), true},
		{"with certificates of whatever kind", with(ec, map[string]any{"x5c": []string{"AAAA"}, "x5u": "http://evil.example/"}), true},
		{"to encrypt", with(rs, map[string]any{"use": "enc"}), false},
		{"to sign only", with(ec, map[string]any{"key_ops": []string{"sign"}}), false},
		{"for another algorithm", with(rs, map[string]any{"alg": "RSA-OAEP"}), false},
		{"for HS256", with(rs, map[string]any{"alg": "HS256"}), false},
		{"a shared secret", json.RawMessage(`{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0","kid":"x","alg":"HS256"}`), false},
		{"a private key", with(ec, map[string]any{"d": "AAAA"}), false},
		{"a short RSA key", json.RawMessage(`{"kty":"RSA","kid":"x","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDpre","e":"AQAB"}`), false},
		{"a point that is not on the curve", with(ec, map[string]any{"x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}), false},
		{"P-384", json.RawMessage(`{"kty":"EC","crv":"P-384","kid":"x","x":"AAAA","y":"AAAA"}`), false},
		{"no key", json.RawMessage(`{}`), false},
		{"null", json.RawMessage(`null`), false},
		{"text", json.RawMessage(`"x"`), false},
	} {
		if _, err := readKey(c.raw); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want ok %v", c.name, err, c.ok)
		}
	}
}

func TestKeysOverHTTPComeFromPrivateAddressesAlone(t *testing.T) {
	for address, ok := range map[string]bool{
		"10.1.2.3:80": true, "172.20.0.2:8000": true, "192.168.1.9:80": true, "127.0.0.1:80": true, "[fd00::1]:80": true, "[::1]:80": true, "100.64.1.1:80": true,
		"8.8.8.8:80": false, "172.32.0.1:80": false, "[2001:db8::1]:80": false, "[::ffff:8.8.8.8]:80": false, "[::ffff:10.0.0.1]:80": true, "rubbish": false,
	} {
		if err := dialPrivate("tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s: got %v, want ok %v", address, err, ok)
		}
	}
}

// The key and its alg say how a token may be signed; the token's header only picks among that.
func TestAlgorithmsAreThoseOfTheKey(t *testing.T) {
	curve := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p256, p384, p521 := curve(elliptic.P256()), curve(elliptic.P384()), curve(elliptic.P521())
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rs := rsaOnce()
	kinds := []struct {
		kid, alg        string // alg of the key, "" for none
		private, public any
		accepted        string // algorithms, with spaces between
	}{
		{"p256", "", p256, &p256.PublicKey, "ES256"},
		{"p384", "", p384, &p384.PublicKey, "ES384"},
		{"p521", "ES512", p521, &p521.PublicKey, "ES512"},
		{"rsa", "", rs, &rs.PublicKey, "RS256 RS384 RS512 PS256 PS384 PS512"},
		{"rsa-rs256", "RS256", rs, &rs.PublicKey, "RS256"},
		{"rsa-ps384", "PS384", rs, &rs.PublicKey, "PS384"},
		{"ed", "", ed, ed.Public(), "EdDSA"},
	}
	var list []key
	for _, k := range kinds {
		jwk := publicJWK(t, k.kid, k.alg, k.public)
		if k.alg == "" {
			delete(jwk, "alg")
		}
		list = append(list, key{jwk: jwk})
	}
	srv := newIssuer(t, list...)
	a, _ := newTest(t, Options{SupabaseURL: srv.URL, keySetGap: quick})
	waitFor(t, "ready", func() bool { return a.Ready() == nil })
	accepted := 0
	for _, k := range kinds {
		for _, alg := range append(append([]string{"none", "ES256K"}, hmacMethods...), keySetMethods...) {
			in := b64(fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, k.kid)) + "." + b64(payload(hmacKey("x").token(srv.name(), nil)))
			sig := []byte(strings.Repeat("x", 64))
			if m := jwt.GetSigningMethod(alg); m != nil {
				if made, err := m.Sign(in, k.private); err == nil {
					sig = made
				} else if ec, ok := k.private.(*ecdsa.PrivateKey); ok && strings.HasPrefix(alg, "ES") {
					// The library will not sign with a curve that is not the algorithm's. An attacker without the key cannot
					// either, but a holder of the key must not choose a weaker hash.
					sig = signECDSA(t, ec, alg, in)
				}
			}
			token := in + "." + base64.RawURLEncoding.EncodeToString(sig)
			_, err := a.Grant(t.Context(), Request{Doc: "d", Token: token})
			want := slices.Contains(strings.Fields(k.accepted), alg)
			if want != (err == nil) || err != nil && !errors.Is(err, ErrToken) {
				t.Errorf("key %s (alg %q), token %s: got %v, want ok %v", k.kid, k.alg, alg, err, want)
			}
			if err == nil {
				accepted++
			}
		}
	}
	if accepted != 12 {
		t.Errorf("got %d accepted, want 12", accepted)
	}

	secret, _ := newTest(t, Options{Secret: testSecret})
	for _, m := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
		token := jwtSigned(t, m, []byte(testSecret), payload(hmacKey(testSecret).token("x", nil)))
		if _, err := secret.Grant(t.Context(), Request{Doc: "d", Token: token}); err != nil {
			t.Errorf("%s: got %v", m.Alg(), err)
		}
	}
}

func signECDSA(t *testing.T, k *ecdsa.PrivateKey, alg, in string) []byte {
	t.Helper()
	h, size := map[string]crypto.Hash{"ES256": crypto.SHA256, "ES384": crypto.SHA384, "ES512": crypto.SHA512}[alg], map[string]int{"ES256": 32, "ES384": 48, "ES512": 66}[alg]
	sum := h.New()
	sum.Write([]byte(in))
	r, s, err := ecdsa.Sign(rand.Reader, k, sum.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	if n := (k.Curve.Params().BitSize + 7) / 8; n > size {
		size = n
	}
	sig := make([]byte, 2*size)
	r.FillBytes(sig[:size])
	s.FillBytes(sig[size:])
	return sig
}

// However many tokens name keys that do not exist, the issuer is asked once a second, and one request at a time.
func TestUnknownKeysDoNotFloodTheIssuer(t *testing.T) {
	srv := newIssuer(t, ecKey(t, "k"))
	a, _ := newTest(t, Options{SupabaseURL: srv.URL})
	waitFor(t, "ready", func() bool { return a.Ready() == nil })
	before, start := srv.count(), time.Now()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			a.Grant(t.Context(), Request{Doc: "d", Token: hmacToES256(fmt.Sprint("forged-", i), srv.name())})
		})
	}
	wg.Wait()
	if n, took := srv.count()-before, time.Since(start); float64(n) > took.Seconds()+1.5 {
		t.Errorf("got %d requests in %v, want one a second", n, took)
	}
}

func hmacToES256(kid, issuer string) string {
	k := hmacKey("whatever")
	k.alg, k.kid = "ES256", kid
	return k.token(issuer, nil)
}
