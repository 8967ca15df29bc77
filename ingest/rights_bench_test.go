package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/stream"
)

// cpu is what this process has computed so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What it costs to open a document that is open already: without logins, and with a token that was never seen before, or is
// known. cpu-us/op counts client and server together; the difference between the rows is the token's.
func BenchmarkConnect(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	n := atomic.Uint64{}
	es256 := func() string {
		t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "ada", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
			"aud": "authenticated", "role": "authenticated", "email": "ada@example.com", "session_id": fmt.Sprint("session-", n.Add(1))})
		t.Header["kid"] = "k"
		s, err := t.SignedString(key)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		b.Fatal(err)
	}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"k","x":%q,"y":%q}]}`,
			base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:]))
	}))
	defer keys.Close()
	keySet := func(o *Options, a *auth.Options, s *stream.Config) {
		logins(o, a, s)
		a.KeysURL = keys.URL + "/jwks"
	}
	known := es256()
	for _, c := range []struct {
		name  string
		with  []setting
		token func() string
	}{
		{"open", nil, func() string { return "" }},
		{"HS256/new", []setting{logins}, func() string { return token("ada", time.Hour, "session_id", fmt.Sprint(n.Add(1))) }},
		{"ES256/new", []setting{keySet}, es256},
		{"ES256/known", []setting{keySet}, func() string { return known }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := start(b, c.with...)
			first := w.open("/notes?token=" + c.token()) // keeps the document open
			first.send(edit(insert(1, 0, "hello")))
			first.has(1, 5)
			tokens := make([]string, 256) // signing them is not what is measured
			var spent time.Duration
			i := 0
			for b.Loop() {
				if i%len(tokens) == 0 {
					b.StopTimer()
					for j := range tokens {
						tokens[j] = c.token()
					}
					b.StartTimer()
				}
				before := cpu(b)
				ws, _, err := websocket.DefaultDialer.Dial(w.url("/notes?token="+tokens[i%len(tokens)]), nil)
				if err != nil {
					b.Fatal(err)
				}
				ws.WriteMessage(websocket.BinaryMessage, step1(nil))
				if _, _, err := ws.ReadMessage(); err != nil {
					b.Fatal(err)
				}
				spent += cpu(b) - before
				ws.Close()
				i++
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(i), "cpu-us/op")
		})
	}
}
