//go:build unix

package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/stream"
)

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// connects opens and closes a socket of w for each query, doing more in between, and answers the CPU time of it all, client and
// server together. It ends when the server has forgotten the last of them, so that nothing is left over for whoever is measured
// next.
func (w *world) connects(b *testing.B, queries []string, more func()) time.Duration {
	count := func() int {
		w.srv.mu.Lock()
		defer w.srv.mu.Unlock()
		return len(w.srv.conns)
	}
	idle := count()
	before := cpu(b)
	for _, q := range queries {
		ws, _, err := websocket.DefaultDialer.Dial(w.url("/notes"+q), nil)
		if err != nil {
			b.Fatal(err)
		}
		more()
		ws.WriteMessage(websocket.BinaryMessage, step1(nil))
		if _, _, err := ws.ReadMessage(); err != nil {
			b.Fatal(err)
		}
		ws.Close()
	}
	for count() > idle {
		time.Sleep(50 * time.Microsecond)
	}
	return cpu(b) - before
}

// The cost of a token to a client that opens a document that is open already: one that was never seen before, and one that is known.
//
// token-us/op is the row's figure: the CPU time of a connect with the token to a server that checks it (cpu-us/op), less that of
// a connect without one to a server without logins (open-us/op). The two take turns within a round, in blocks of 256 connects,
// who is first changing with each, and the figures are the medians of the rounds: on a machine with other work, rows measured
// one after the other differ by more than the token does. Ask for -benchtime 5s or more. Counted are
//
//   - client and server together, since one process is both: the client's share of a longer URL is in the figure. The row
//     "url" has nothing but that: the same token in a parameter that nobody reads, on a server without logins.
//   - the server's work after the client has left.
//   - the garbage collector, by turns of a length in which it comes round: whoever leaves more to collect calls it more often.
//     Were it a turn for each connect, both would pay alike for what only the token leaves behind.
//
// Signing the tokens is not counted. Its garbage comes before a round, and falls on both alike.
//
// What cannot be saved shows twice. bare-us/op is what crypto/ecdsa takes to verify one signature, over and over, in turns with
// the others: the speed of the machine. The row "bare" has one such verification and no token in each connect: there it comes
// to a cold cache, and leaves one to the rest of the connect. No ES256 token costs less than this row and the row "url" together.
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
	digest := sha256.Sum256([]byte("digest"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	verify := func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("not verified")
		}
	}
	nothing := func() {}
	known := es256()
	for _, c := range []struct {
		name  string
		with  []setting
		query func() string
		more  func()
	}{
		{"url", nil, func() string { return "?nobody=" + es256() }, nothing},
		{"bare", nil, func() string { return "" }, verify},
		{"HS256/new", []setting{logins}, func() string { return "?token=" + token("ada", time.Hour, "session_id", fmt.Sprint(n.Add(1))) }, nothing},
		{"ES256/new", []setting{keySet}, func() string { return "?token=" + es256() }, nothing},
		{"ES256/known", []setting{keySet}, func() string { return "?token=" + known }, nothing},
	} {
		b.Run(c.name, func(b *testing.B) {
			open, checks := start(b), start(b, c.with...)
			for w, query := range map[*world]string{open: "", checks: c.query()} {
				first := w.open("/notes" + query) // keeps the document open
				first.send(edit(insert(1, 0, "hello")))
				first.has(1, 5)
			}
			var without, with, bare time.Duration // of this round
			var all [4][]time.Duration            // of each, and of the difference, in every round
			none, queries := make([]string, 256), make([]string, 256)
			turns := []func(){
				func() { without = open.connects(b, none, nothing) },
				func() {
					before := cpu(b)
					for range queries {
						verify()
					}
					bare = cpu(b) - before
				},
				func() { with = checks.connects(b, queries, c.more) },
			}
			for b.Loop() {
				for i := range queries {
					queries[i] = c.query()
				}
				for _, turn := range turns {
					turn()
				}
				slices.Reverse(turns)
				for i, d := range []time.Duration{without, with, with - without, bare} {
					all[i] = append(all[i], d)
				}
			}
			b.ReportMetric(0, "ns/op") // of a round: says nothing
			for i, unit := range []string{"open-us/op", "cpu-us/op", "token-us/op", "bare-us/op"} {
				slices.Sort(all[i])
				b.ReportMetric(float64(all[i][len(all[i])/2].Nanoseconds())/1000/float64(len(queries)), unit)
			}
		})
	}
}
