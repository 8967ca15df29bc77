package auth

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The operator reads which check failed and what the token says of itself; never the token.
func TestRefusedTokenNamesItsCause(t *testing.T) {
	ec := ecKey(t, "key-1")
	srv := newIssuer(t, ec)
	reg := prometheus.NewRegistry()
	a, _ := newTest(t, Options{keySetGap: quick, KeysURL: srv.URL + "/auth/v1/.well-known/jwks.json", Issuer: "https://id.example", Audience: "collab", Metrics: reg})
	now := time.Now().Unix()
	with := func(more claims) string {
		c := claims{"aud": "collab"}
		for k, v := range more {
			c[k] = v
		}
		return ec.token("https://id.example", c)
	}
	unknown := ecKey(t, "key-2")
	cases := []struct {
		name, token, check string
		says               []string // in the log line
	}{
		{"audience", with(claims{"aud": []string{"other", "more"}}), "aud", []string{"aud=\"other more\"", "iss=https://id.example", "kid=key-1", "alg=ES256"}},
		{"no audience", with(claims{"aud": nil}), "aud", nil},
		{"issuer", ec.token("https://evil.example", claims{"aud": "collab"}), "iss", []string{"iss=https://evil.example"}},
		{"signature", ecKey(t, "key-1").token("https://id.example", claims{"aud": "collab"}), "signature", []string{"unsigned=true", "kid=key-1"}},
		{"key", unknown.token("https://id.example", nil), "kid", []string{"kid=key-2", "unsigned=true"}},
		{"algorithm", hmacKey(testSecret).token("https://id.example", nil), "alg", []string{"alg=HS256"}},
		{"algorithm of the key", ec.raw(`{"alg":"RS256","kid":"key-1"}`, payload(with(nil))), "alg", []string{"alg=RS256"}},
		{"expired", with(claims{"exp": now - 3600}), "exp", []string{"off=1h0m"}},
		{"not valid yet", with(claims{"nbf": now + 300}), "nbf", []string{"off="}},
		{"user", with(claims{"sub": nil}), "sub", nil},
		{"role", with(claims{"role": "anon"}), "role", nil},
		{"issued", with(claims{"iat": "x"}), "iat", nil},
		{"form", "not.a.token!", "form", nil},
		{"header", ec.raw(`{"alg":"ES256","kid":"key-1","crit":["x"]}`, "{}"), "header", nil},
		{"claims", ec.raw(ec.header(), `{"sub":"a","sub":"b"}`), "claims", nil},
		{"hostile words", ec.raw(`{"alg":"ES256","kid":"\u001b[31m`+with(nil)+`"}`, payload(with(nil))), "kid", []string{"REDACTED"}},
	}
	for _, c := range cases {
		_, err := a.Grant(t.Context(), Request{Doc: "d", Token: c.token})
		var e *TokenError
		if !errors.As(err, &e) || e.Check != c.check {
			t.Errorf("%s: got %v, want a refusal by %s", c.name, err, c.check)
			continue
		}
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("refused", LogAttrs(err)...)
		for _, want := range append(c.says, "check="+c.check, "why=") {
			if !strings.Contains(strings.ReplaceAll(b.String(), "token.", ""), want) {
				t.Errorf("%s: the log says %q, want %q in it", c.name, b.String(), want)
			}
		}
		for _, part := range strings.Split(c.token, ".") {
			if len(part) >= 16 && (strings.Contains(b.String(), part) || strings.Contains(err.Error(), part)) {
				t.Errorf("%s: a part of the token is in the log or the error", c.name)
			}
		}
		if strings.ContainsAny(b.String(), "\x1b") {
			t.Errorf("%s: a control is in the log", c.name)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "yjet_auth_refused_total" {
			continue
		}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "check" {
					counted[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	for _, c := range cases {
		if counted[c.check] == 0 {
			t.Errorf("check %q is not in the metrics: %v", c.check, counted)
		}
	}
}

// A server whose clock differs from the issuer's. A client that is told to come back comes back; one that is told that its token
// will never do stops for good.
func TestClocksThatDiffer(t *testing.T) {
	for _, c := range []struct {
		name  string
		clock time.Duration // the issuer's, from the server's
		nbf   bool          // the issuer writes nbf, as Auth0 and Azure do
		life  time.Duration
		want  error
		later time.Duration // the same token works then; 0: not asked
	}{
		{"the same clock", 0, true, time.Hour, nil, 0},
		{"issuer 50 s ahead", 50 * time.Second, true, time.Hour, nil, 0},
		{"issuer 5 min ahead", 5 * time.Minute, true, time.Hour, ErrNotYet, 5 * time.Minute},
		{"issuer 5 min ahead, no nbf", 5 * time.Minute, false, time.Hour, nil, 0},
		{"issuer 1 h ahead, no nbf", time.Hour, false, time.Hour, nil, 0},
		{"issuer 1 h ahead", time.Hour, true, time.Hour, ErrToken, time.Hour},
		{"issuer 50 s behind", -50 * time.Second, true, time.Hour, nil, 0},
		{"issuer 1 h behind", -time.Hour, true, 10 * time.Minute, ErrExpired, 0},
		{"issuer 1 h behind, long tokens", -time.Hour, true, 2 * time.Hour, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, err := New(Options{Mode: "jwt", Secret: testSecret})
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				theirs := time.Now().Add(c.clock)
				more := claims{"iat": theirs.Unix(), "exp": theirs.Add(c.life).Unix()}
				if c.nbf {
					more["nbf"] = theirs.Unix()
				}
				token := hmacKey(testSecret).token("x", more)
				_, err = a.Grant(t.Context(), Request{Doc: "d", Token: token})
				if !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				if wait := RetryAfter(err); (wait > 0) != (c.want == ErrNotYet) {
					t.Errorf("got %v to wait", wait)
				}
				if c.later > 0 {
					time.Sleep(c.later)
					if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: token}); err != nil {
						t.Errorf("%v later: got %v, want a grant", c.later, err)
					}
				}
			})
		})
	}
}

func TestNumberedUsersAreTakenByTheirDigits(t *testing.T) {
	a, _ := newTest(t, Options{Secret: testSecret})
	hs := hmacKey(testSecret)
	for sub, want := range map[string]string{
		`42`: "42", `0`: "0", `-7`: "-7", `9007199254740993`: "9007199254740993", `123456789012345678901234567890`: "123456789012345678901234567890",
		`42.0`: "42", `1e3`: "1000", `1e+21`: "1000000000000000000000", `"42"`: "42", `1.5`: "", `1e-3`: "", `1e999999999`: "", `1e300`: "", `true`: "", `null`: "", `[1]`: "", `{}`: "",
	} {
		token := hs.raw(hs.header(), strings.Replace(payload(hs.token("x", nil)), `"7f1c3a52-0000-4000-8000-000000000001"`, sub, 1))
		g, err := a.Grant(t.Context(), Request{Doc: "d", Token: token})
		if (err == nil) != (want != "") || g.User != want {
			t.Errorf("sub %s: got %q %v, want %q", sub, g.User, err, want)
		}
	}
}
