package ingest

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestPublicBaseIsWhereTheBrowserIs(t *testing.T) {
	public, err := url.Parse("https://docs.example.com/collab/")
	if err != nil {
		t.Fatal(err)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		name, peer string
		header     map[string]string
		public     *url.URL
		want       string
	}{
		{name: "nothing said", want: "http://yjet.internal:1234"},
		{name: "one proxy", header: map[string]string{"X-Forwarded-Proto": "https"}, want: "https://yjet.internal:1234"},
		{name: "two proxies", header: map[string]string{"X-Forwarded-Proto": "https, http"}, want: "https://yjet.internal:1234"},
		{name: "capitals", header: map[string]string{"X-Forwarded-Proto": "HTTPS"}, want: "https://yjet.internal:1234"},
		{name: "host and path", peer: "10.1.2.3:4", header: map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example, b.example", "X-Forwarded-Prefix": "/collab/"}, want: "https://a.example/collab"},
		{name: "RFC 7239", peer: "127.0.0.1:4", header: map[string]string{"Forwarded": `for=203.0.113.9;proto=https;host="a.example:8443", for=10.0.0.1;host=b.example`}, want: "https://a.example:8443"},
		{name: "a stranger's host and path", header: map[string]string{"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "Forwarded": "host=evil.example"}, want: "http://yjet.internal:1234"},
		{name: "no host", peer: "10.1.2.3:4", header: map[string]string{"X-Forwarded-Host": "a.example/x?y", "X-Forwarded-Prefix": "//evil.example"}, want: "http://yjet.internal:1234"},
		{name: "said by the operator", peer: "10.1.2.3:4", header: map[string]string{"X-Forwarded-Host": "a.example"}, public: public, want: "https://docs.example.com/collab"},
	} {
		r := httptest.NewRequest("POST", "http://yjet.internal:1234/doc/x/auth", nil)
		r.RemoteAddr = "203.0.113.7:5"
		if c.peer != "" {
			r.RemoteAddr = c.peer
		}
		for name, value := range c.header {
			r.Header.Set(name, value)
		}
		o := &Options{TrustedProxies: trusted, PublicURL: c.public}
		if got := o.publicBase(r); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// A proxy that does not know WebSockets passes the handshake on without its Upgrade: the operator reads which lines to set.
func TestHandshakeThatLostItsUpgradeIsToldTheCure(t *testing.T) {
	w := start(t)
	for _, path := range []string{"/room", "/parties/main/room?_pk=1", "/d/room/ws/room", "/"} {
		req, err := http.NewRequest("GET", w.http.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		req.Header.Set("Sec-WebSocket-Version", "13")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("%s: got %d, want 426", path, res.StatusCode)
		}
	}
	if !strings.Contains(w.out.String(), "proxy_set_header Upgrade") {
		t.Error("the log does not tell what to set in the proxy")
	}
}
