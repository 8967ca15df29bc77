package auth

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestTokenFromPlacesInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		name            string
		auth, sub, url  string
		token, protocol string
	}{
		{"nothing", "", "", "/r", "", ""},
		{"header", "Bearer h", "", "/r", "h", ""},
		{"header in small letters", "bearer  h", "", "/r", "h", ""},
		{"header of another scheme", "Basic h", "", "/r?token=q", "q", ""},
		{"header without a token", "Bearer ", "", "/r?token=q", "q", ""},
		{"subprotocol", "", "yjs, bearer.s", "/r", "s", "yjs"},
		{"subprotocol, other order", "", "bearer.s,yjs", "/r", "s", "yjs"},
		{"subprotocol, token alone", "", "bearer.s", "/r", "s", ""},
		{"subprotocol of an app", "", "my-app", "/r?token=q", "q", "my-app"},
		{"subprotocols of an app", "", "first, second", "/r", "", "first"},
		{"subprotocol of an app beside yjs", "", "my-app, yjs", "/r", "", "yjs"},
		{"header before subprotocol", "Bearer h", "yjs, bearer.s", "/r?token=q", "h", "yjs"},
		{"subprotocol before query", "", "yjs, bearer.s", "/r?token=q", "s", "yjs"},
		{"query", "", "", "/r?token=q&access_token=a&yauth=y", "q", ""},
		{"access_token", "", "", "/r?yauth=y&access_token=a", "a", ""},
		{"yauth", "", "", "/r?yauth=y", "y", ""},
		{"empty token", "", "", "/r?token=&yauth=y", "y", ""},
		{"encoded", "", "", "/r?token=a%2Eb", "a.b", ""},
	} {
		r := httptest.NewRequest("GET", c.url, nil)
		if c.auth != "" {
			r.Header.Set("Authorization", c.auth)
		}
		if c.sub != "" {
			r.Header.Set("Sec-WebSocket-Protocol", c.sub)
		}
		if token, protocol := TokenFrom(r, r.URL.Query()); token != c.token || protocol != c.protocol {
			t.Errorf("%s: got %q %q, want %q %q", c.name, token, protocol, c.token, c.protocol)
		}
	}
}

func TestClientIPTrustsOnlyConfiguredProxies(t *testing.T) {
	p := Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}
	for _, c := range []struct {
		name      string
		p         Proxies
		peer      string
		forwarded []string
		want      string
	}{
		{"nobody trusted", nil, "10.0.0.1:5", []string{"1.2.3.4"}, "10.0.0.1"},
		{"peer is no proxy", p, "192.0.2.1:5", []string{"1.2.3.4"}, "192.0.2.1"},
		{"one proxy", p, "10.0.0.1:5", []string{"1.2.3.4"}, "1.2.3.4"},
		{"two proxies", p, "10.0.0.1:5", []string{"1.2.3.4, 10.0.0.2"}, "1.2.3.4"},
		{"two headers", p, "10.0.0.1:5", []string{"6.6.6.6", "1.2.3.4"}, "1.2.3.4"},
		{"client's own word before", p, "10.0.0.1:5", []string{"6.6.6.6, 1.2.3.4"}, "1.2.3.4"},
		{"client claims a proxy's address", p, "10.0.0.1:5", []string{"10.9.9.9, 1.2.3.4"}, "1.2.3.4"},
		{"rubbish before", p, "10.0.0.1:5", []string{"unknown, 10.0.0.3"}, "10.0.0.3"},
		{"only rubbish", p, "10.0.0.1:5", []string{"<script>"}, "10.0.0.1"},
		{"no header", p, "10.0.0.1:5", nil, "10.0.0.1"},
		{"with a port", p, "10.0.0.1:5", []string{"1.2.3.4:99"}, "1.2.3.4"},
		{"IPv6", p, "[2001:db8::1]:5", []string{"[2001:db8::2]:9"}, "2001:db8::2"},
		{"mapped", p, "[::ffff:10.0.0.1]:5", []string{"1.2.3.4"}, "1.2.3.4"},
		{"a socket of this machine", p, "@", nil, ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		for _, f := range c.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		if got := c.p.ClientIP(r); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if k := ClientKey("2001:db8:1:2:3::4"); k != "2001:db8:1:2::/64" {
		t.Errorf("got %q", k)
	}
}

func TestRedactLeavesNoToken(t *testing.T) {
	jwt := hmacKey(testSecret).token("x", nil)
	for _, s := range []string{
		`Get "wss://h/r?token=` + jwt + `&x=1": EOF`,
		"/room?access_token=" + jwt, "/room?a=1&yauth=" + jwt + "#f", "/r?TOKEN=" + jwt, "/r?jwt%3D" + jwt,
		"Authorization: Bearer " + jwt, "authorization:[bearer " + jwt + "]", "Sec-WebSocket-Protocol: yjs, bearer." + jwt,
		"plain " + jwt + " in a sentence", jwt, `{"token":"` + jwt + `"}`, strings.Join(strings.Split(jwt, ".")[:2], "."),
	} {
		got := Redact(s)
		for _, part := range strings.Split(jwt, ".") {
			if strings.Contains(got, part) {
				t.Errorf("%.30q: got %q", s, got)
			}
		}
		if !strings.Contains(got, Redacted) {
			t.Errorf("%.30q: got %q", s, got)
		}
	}
	if got := Redact("key sb_secret_N7UND0UgjKTVK-Uod used"); strings.Contains(got, "N7UND") {
		t.Errorf("got %q", got)
	}
	for _, s := range []string{"/notes/token", "no token here", "the bearer", "document eyJ", "a=1&b=2", "tokens=3 refused"} {
		if got := Redact(s); got != s {
			t.Errorf("got %q, want %q as it was", got, s)
		}
	}
	var b bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{ReplaceAttr: RedactAttr}))
	r := httptest.NewRequest("GET", "/r?token="+jwt, nil)
	log.Info("said "+jwt, "url", r.URL, "uri", r.RequestURI, "err", errors.New("dial /r?token="+jwt), "n", 7)
	if strings.Contains(b.String(), "eyJ") || !strings.Contains(b.String(), `"n":7`) {
		t.Errorf("got %s", b.String())
	}
}

func TestEveryErrorHasItsWord(t *testing.T) {
	for err, want := range map[error]string{
		ErrNoToken: "token-required", refuse("sub", "x"): "token-invalid", ErrExpired: "token-expired", ErrNotYet: "token-not-valid-yet", ErrForbidden: "forbidden",
		ErrUnavailable: "unavailable", ErrRevoked: "revoked", ErrOrigin: "origin-refused", http.ErrAbortHandler: "unavailable",
	} {
		if got := Reason(err); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}
