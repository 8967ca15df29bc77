package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"go.uber.org/goleak"

	"yjet/internal/testlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a pause between fetches of a key set that a test can wait for.
const quick = 20 * time.Millisecond

const testSecret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0-for-tests"

// newTest builds an Auth whose log is collected. Both end with t.
func newTest(t testing.TB, o Options) (*Auth, *testlog.Buffer) {
	t.Helper()
	var log testlog.Buffer
	if o.Log == nil {
		o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if o.Mode == "" {
		o.Mode = "jwt"
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, &log
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// key signs what a JWT signs, by hand: the forgeries must not depend on what a library agrees to make.
type key struct {
	kid  string
	alg  string
	sign func(input []byte) []byte
	jwk  map[string]any // public
	pub  any
}

func hmacKey(secret string) key {
	return key{alg: "HS256", sign: func(in []byte) []byte {
		m := hmac.New(sha256.New, []byte(secret))
		m.Write(in)
		return m.Sum(nil)
	}}
}

func publicJWK(t testing.TB, kid, alg string, pub any) map[string]any {
	t.Helper()
	j, err := jwkset.NewJWKFromKey(pub, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid, ALG: jwkset.ALG(alg), USE: jwkset.UseSig}})
	if err != nil {
		t.Fatal(err)
	}
	data, _ := json.Marshal(j.Marshal())
	var m map[string]any
	json.Unmarshal(data, &m)
	return m
}

func ecKey(t testing.TB, kid string) key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{kid: kid, alg: "ES256", pub: &k.PublicKey, jwk: publicJWK(t, kid, "ES256", &k.PublicKey), sign: func(in []byte) []byte {
		h := sha256.Sum256(in)
		r, s, _ := ecdsa.Sign(rand.Reader, k, h[:])
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return sig
	}}
}

var rsaOnce = sync.OnceValue(func() *rsa.PrivateKey {
	k, _ := rsa.GenerateKey(rand.Reader, 2048)
	return k
})

func rsaKey(t testing.TB, kid string) key {
	t.Helper()
	k := rsaOnce()
	return key{kid: kid, alg: "RS256", pub: &k.PublicKey, jwk: publicJWK(t, kid, "RS256", &k.PublicKey), sign: func(in []byte) []byte {
		h := sha256.Sum256(in)
		sig, _ := rsa.SignPKCS1v15(nil, k, crypto.SHA256, h[:])
		return sig
	}}
}

func edKey(t testing.TB, kid string) key {
	t.Helper()
	pub, k, _ := ed25519.GenerateKey(rand.Reader)
	return key{kid: kid, alg: "EdDSA", pub: pub, jwk: publicJWK(t, kid, "EdDSA", pub), sign: func(in []byte) []byte { return ed25519.Sign(k, in) }}
}

// raw signs exactly these bytes.
func (k key) raw(header, payload string) string {
	in := b64(header) + "." + b64(payload)
	return in + "." + base64.RawURLEncoding.EncodeToString(k.sign([]byte(in)))
}

func (k key) header() string {
	if k.kid == "" {
		return `{"alg":"` + k.alg + `","typ":"JWT"}`
	}
	return fmt.Sprintf(`{"alg":%q,"typ":"JWT","kid":%q}`, k.alg, k.kid)
}

type claims map[string]any

// token signs the claims of an ordinary Supabase user, changed by more; nil takes a claim away.
func (k key) token(issuer string, more claims) string {
	now := time.Now().Unix()
	c := claims{"iss": issuer, "aud": "authenticated", "sub": "7f1c3a52-0000-4000-8000-000000000001", "role": "authenticated", "exp": now + 3600, "iat": now,
		"aal": "aal1", "session_id": "5e551011-0000-4000-8000-00000000000a", "email": "ada@example.com", "phone": "", "is_anonymous": false,
		"app_metadata":  map[string]any{"provider": "email", "providers": []string{"email"}},
		"user_metadata": map[string]any{"full_name": "Ada Lovelace"}, "amr": []any{map[string]any{"method": "password", "timestamp": now}}}
	for name, v := range more {
		if v == nil {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return k.raw(k.header(), string(data))
}

// issuer is a Supabase-like key set server.
type issuer struct {
	*httptest.Server
	mu    sync.Mutex
	body  []byte
	code  int
	hits  int
	serve http.HandlerFunc // nil: body
}

func newIssuer(t testing.TB, keys ...key) *issuer {
	t.Helper()
	i := &issuer{code: 200}
	i.publish(keys...)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.hits++
		body, code, serve := i.body, i.code, i.serve
		i.mu.Unlock()
		if serve != nil {
			serve(w, r)
			return
		}
		if r.URL.Path != "/auth/v1/.well-known/jwks.json" {
			code = 404
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		w.Write(body)
	}))
	t.Cleanup(i.Server.Close)
	return i
}

func (i *issuer) name() string { return i.URL + "/auth/v1" }

func (i *issuer) publish(keys ...key) {
	list := []any{}
	for _, k := range keys {
		list = append(list, k.jwk)
	}
	data, _ := json.Marshal(map[string]any{"keys": list})
	i.set(200, data, nil)
}

func (i *issuer) set(code int, body []byte, serve http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.code, i.body, i.serve = code, body, serve
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hits
}
