package auth

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Pages of every kind against servers of every kind. A browser sets Origin and Host itself: the table holds what a hostile
// page, a rebound name or a frame can make it send.
func TestHostilePagesAreTurnedAway(t *testing.T) {
	none, _ := newTest(t, Options{Mode: "none"})
	tunnel, _ := newTest(t, Options{Mode: "none", Origins: []string{"https://demo.tunnel.example"}})
	dev, _ := newTest(t, Options{Secret: testSecret, Dev: true})
	prod, _ := newTest(t, Options{Secret: testSecret})
	list, _ := newTest(t, Options{Secret: testSecret, Origins: []string{"https://app.example.com", "http://intranet:8080/", "https://*.preview.example.net", "HTTPS://UPPER.example.org:443"}})
	any, _ := newTest(t, Options{Secret: testSecret, Origins: []string{"*"}})
	apps, _ := newTest(t, Options{Secret: testSecret, Origins: []string{"capacitor://localhost", "tauri://localhost/", "file://", "app://.", "app://obsidian.md", "chrome-extension://abcdefghijklmnop"}})
	null, _ := newTest(t, Options{Secret: testSecret, Origins: []string{"null"}})

	const absent = "-"
	cases := []struct {
		name   string
		a      *Auth
		origin string
		host   string
		ok     bool
	}{
		// No login, on this machine.
		{"none: own page", none, "http://127.0.0.1:1999", "127.0.0.1:1999", true},
		{"none: own page by name", none, "http://localhost:1999", "localhost:1999", true},
		{"none: own page, IPv6", none, "http://[::1]:1999", "[::1]:1999", true},
		{"none: app on another port", none, "http://localhost:3000", "127.0.0.1:1999", true},
		{"none: app with https", none, "https://localhost:3000", "localhost:1999", true},
		{"none: no port", none, "http://localhost", "localhost", true},
		{"none: capitals", none, "http://LOCALHOST:3000", "LocalHost:1999", true},
		{"none: no browser", none, absent, "127.0.0.1:1999", true},
		{"none: foreign page", none, "https://evil.example", "127.0.0.1:1999", false},
		{"none: foreign page by name", none, "https://evil.example", "localhost:1999", false},
		{"none: foreign page, http", none, "http://evil.example:1999", "localhost:1999", false},
		{"none: sandboxed frame", none, "null", "127.0.0.1:1999", false},
		{"none: local file", none, "file://", "127.0.0.1:1999", false},
		{"none: rebound name", none, "http://evil.example:1999", "evil.example:1999", false},
		{"none: rebound name without Origin", none, absent, "evil.example:1999", false},
		{"none: rebound name with a local Origin", none, "http://localhost:1999", "evil.example:1999", false},
		{"none: rebound to look local", none, "http://localhost.evil.example:1999", "localhost.evil.example:1999", false},
		{"none: address in a name", none, "http://127.0.0.1.nip.io:1999", "127.0.0.1.nip.io:1999", false},
		{"none: name under localhost", none, "http://evil.localhost:1999", "evil.localhost:1999", false},
		{"none: name under localhost, local Host", none, "http://evil.localhost", "localhost:1999", false},
		{"none: localhost with a dot", none, "http://localhost.:1999", "localhost.:1999", false},
		{"none: beginning of localhost", none, "http://localhos", "localhost", false},
		{"none: more than localhost", none, "http://localhostx:3000", "localhost:1999", false},
		{"none: address of the network", none, "http://192.168.1.7:1999", "192.168.1.7:1999", false},
		{"none: unspecified address", none, "http://0.0.0.0:1999", "0.0.0.0:1999", false},
		{"none: other loopback address", none, "http://127.0.0.2:1999", "127.0.0.2:1999", false},
		{"none: number for an address", none, "http://2130706433", "2130706433", false},
		{"none: short address", none, "http://127.1", "127.1", false},
		{"none: octal address", none, "http://0177.0.0.1", "0177.0.0.1", false},
		{"none: mapped address", none, "http://[::ffff:127.0.0.1]:1999", "[::ffff:127.0.0.1]:1999", false},
		{"none: unspecified IPv6", none, "http://[::]:1999", "[::]:1999", false},
		{"none: IPv6 with a zone", none, "http://[::1%25eth0]:1999", "[::1%25eth0]:1999", false},
		{"none: empty Host", none, absent, "", false},
		{"none: user in Host", none, absent, "localhost@evil.example", false},
		{"none: path in Host", none, absent, "localhost/evil", false},
		{"none: fragment in Host", none, absent, "evil.example#localhost", false},
		{"none: space in Host", none, absent, "localhost evil.example", false},
		{"none: bad port in Host", none, absent, "localhost:x", false},
		{"none: NUL in Host", none, absent, "localhost\x00.evil.example", false},
		{"none: only a port", none, absent, ":1999", false},
		{"none: extension", none, "chrome-extension://abcdefghijklmnop", "localhost:1999", false},
		{"none: extension of Firefox", none, "moz-extension://0a1b", "localhost:1999", false},
		{"none: data", none, "data:text/html,x", "localhost:1999", false},
		{"none: javascript", none, "javascript://localhost", "localhost:1999", false},
		{"none: other scheme, local", none, "ftp://localhost", "localhost:1999", false},
		{"none: user in Origin", none, "http://localhost@evil.example", "localhost:1999", false},
		{"none: foreign user in Origin", none, "http://evil.example@localhost", "localhost:1999", false},
		{"none: path in Origin", none, "http://localhost/x", "localhost:1999", false},
		{"none: query in Origin", none, "http://localhost?x", "localhost:1999", false},
		{"none: fragment in Origin", none, "http://evil.example#http://localhost", "localhost:1999", false},
		{"none: backslash in Origin", none, `http://evil.example\@localhost`, "localhost:1999", false},
		{"none: two origins in one", none, "http://localhost http://evil.example", "localhost:1999", false},
		{"none: list of origins", none, "http://localhost,http://evil.example", "localhost:1999", false},
		{"none: empty Origin", none, "", "localhost:1999", false},
		{"none: only a scheme", none, "http://", "localhost:1999", false},
		{"none: without a scheme", none, "localhost:1999", "localhost:1999", false},
		{"none: star", none, "*", "localhost:1999", false},
		{"none: percent in the name", none, "http://%6cocalhost", "localhost:1999", false},
		{"none: wide letters", none, "http://ｌocalhost", "localhost:1999", false},
		{"none: tab", none, "http://local\thost", "localhost:1999", false},
		{"none: bad port", none, "http://localhost:99x", "localhost:1999", false},
		{"none: colon without a port", none, "http://localhost:", "localhost:1999", false},

		// No login, a name added by hand.
		{"tunnel: its page", tunnel, "https://demo.tunnel.example", "demo.tunnel.example", true},
		{"tunnel: local page still", tunnel, "http://localhost:3000", "localhost:1999", true},
		{"tunnel: other tunnel", tunnel, "https://evil.tunnel.example", "evil.tunnel.example", false},
		{"tunnel: foreign page", tunnel, "https://evil.example", "demo.tunnel.example", false},
		{"tunnel: its page without TLS", tunnel, "http://evil.example", "localhost", false},

		// Development with logins.
		{"dev: any local port", dev, "http://localhost:5173", "127.0.0.1:1999", true},
		{"dev: foreign page", dev, "https://evil.example", "127.0.0.1:1999", false},
		{"dev: frame", dev, "null", "localhost:1999", false},
		{"dev: name under localhost", dev, "http://a.localhost:3000", "localhost:1999", false},

		// Production: own pages alone.
		{"prod: own page", prod, "https://app.example.com", "app.example.com", true},
		{"prod: own page, port given", prod, "https://app.example.com:443", "app.example.com", true},
		{"prod: own page, port in Host", prod, "https://app.example.com", "app.example.com:443", true},
		{"prod: own page, own port", prod, "http://app.example.com:1999", "app.example.com:1999", true},
		{"prod: capitals", prod, "https://APP.example.com", "app.Example.COM", true},
		{"prod: no browser", prod, absent, "app.example.com", true},
		{"prod: other port", prod, "https://app.example.com:8443", "app.example.com", false},
		{"prod: other port of this machine", prod, "http://localhost:3000", "localhost:1999", false},
		{"prod: subdomain", prod, "https://evil.app.example.com", "app.example.com", false},
		{"prod: parent domain", prod, "https://example.com", "app.example.com", false},
		{"prod: sibling", prod, "https://evil.example.com", "app.example.com", false},
		{"prod: name as a beginning", prod, "https://app.example.com.evil.example", "app.example.com", false},
		{"prod: name as an end", prod, "https://evil-app.example.com", "app.example.com", false},
		{"prod: name as an end without a dot", prod, "https://evilapp.example.com", "app.example.com", false},
		{"prod: name with a dot after", prod, "https://app.example.com.", "app.example.com", false},
		{"prod: name as a user", prod, "https://app.example.com@evil.example", "app.example.com", false},
		{"prod: name as a path", prod, "https://evil.example/app.example.com", "app.example.com", false},
		{"prod: name as a port", prod, "https://evil.example:app.example.com", "app.example.com", false},
		{"prod: letter that looks alike", prod, "https://аpp.example.com", "app.example.com", false},
		{"prod: in punycode", prod, "https://xn--pp-6kc.example.com", "app.example.com", false},
		{"prod: frame", prod, "null", "app.example.com", false},
		{"prod: Null", prod, "Null", "app.example.com", false},
		{"prod: undefined", prod, "undefined", "app.example.com", false},
		{"prod: other scheme", prod, "ftp://app.example.com", "app.example.com", false},
		{"prod: local file", prod, "file:///home/u/x.html", "app.example.com", false},
		{"prod: empty Host", prod, "https://app.example.com", "", false},

		// A list.
		{"list: listed", list, "https://app.example.com", "sync.example.com", true},
		{"list: listed with its port", list, "https://app.example.com:443", "sync.example.com", true},
		{"list: listed with a slash", list, "http://intranet:8080", "sync.example.com", true},
		{"list: listed in capitals", list, "https://upper.example.org", "sync.example.com", true},
		{"list: own host still", list, "https://sync.example.com", "sync.example.com", true},
		{"list: under the wild one", list, "https://pr-1.preview.example.net", "sync.example.com", true},
		{"list: deep under the wild one", list, "https://a.b.preview.example.net", "sync.example.com", true},
		{"list: the wild one's root", list, "https://preview.example.net", "sync.example.com", false},
		{"list: end of the wild one without a dot", list, "https://evilpreview.example.net", "sync.example.com", false},
		{"list: wild one without TLS", list, "http://pr-1.preview.example.net", "sync.example.com", false},
		{"list: wild one at another port", list, "https://pr-1.preview.example.net:8443", "sync.example.com", false},
		{"list: wild one as a beginning", list, "https://x.preview.example.net.evil.example", "sync.example.com", false},
		{"list: listed without TLS", list, "http://app.example.com", "sync.example.com", false},
		{"list: listed at another port", list, "https://app.example.com:8443", "sync.example.com", false},
		{"list: intranet at the default port", list, "http://intranet", "sync.example.com", false},
		{"list: subdomain of a listed one", list, "https://x.app.example.com", "sync.example.com", false},
		{"list: foreign page", list, "https://evil.example", "sync.example.com", false},
		{"list: frame", list, "null", "sync.example.com", false},
		{"list: the pattern itself", list, "https://*.preview.example.net", "sync.example.com", false},
		{"list: foreign page, listed Host", list, "https://evil.example", "app.example.com", false},

		// Written out.
		{"any: foreign page", any, "https://whoever.example", "sync.example.com", true},
		{"any: frame", any, "null", "sync.example.com", true},
		{"any: file", any, "file://", "sync.example.com", true},
		{"any: app", any, "app://-", "sync.example.com", true},
		{"any: extension", any, "chrome-extension://abcdefghijklmnop", "sync.example.com", true},

		// Programs with pages of their own.
		{"apps: Capacitor", apps, "capacitor://localhost", "sync.example.com", true},
		{"apps: Tauri", apps, "tauri://localhost", "sync.example.com", true},
		{"apps: Electron's file", apps, "file://", "sync.example.com", true},
		{"apps: Electron's own scheme", apps, "app://.", "sync.example.com", true},
		{"apps: named", apps, "app://obsidian.md", "sync.example.com", true},
		{"apps: extension", apps, "chrome-extension://abcdefghijklmnop", "sync.example.com", true},
		{"apps: another extension", apps, "chrome-extension://ponmlkjihgfedcba", "sync.example.com", false},
		{"apps: another name", apps, "app://evil", "sync.example.com", false},
		{"apps: another scheme", apps, "ionic://localhost", "sync.example.com", false},
		{"apps: http of that name", apps, "http://localhost", "sync.example.com", false},
		{"apps: a path", apps, "app://obsidian.md/x", "sync.example.com", false},
		{"apps: a file by name", apps, "file:///etc/passwd", "sync.example.com", false},
		{"apps: frame", apps, "null", "sync.example.com", false},
		{"apps: Host of an app's name", apps, "https://obsidian.md", "sync.example.com", false},
		{"list: file", list, "file://", "sync.example.com", false},
		{"any: no origin at all", any, "whoever", "sync.example.com", false},
		{"null: frame", null, "null", "sync.example.com", true},
		{"null: foreign page", null, "https://evil.example", "sync.example.com", false},
	}
	hostile := 0
	for _, c := range cases {
		r := httptest.NewRequest("GET", "/room", nil)
		r.Host = c.host
		if c.origin != absent {
			r.Header["Origin"] = []string{c.origin}
		}
		err := c.a.CheckOrigin(r)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrOrigin) {
			t.Errorf("%s: Origin %q, Host %q: got %v, want ok %v", c.name, c.origin, c.host, err, c.ok)
		}
		if err != nil && len(c.origin) > 8 && strings.Contains(err.Error(), c.origin) {
			t.Errorf("%s: the error quotes the stranger: %v", c.name, err)
		}
		if !c.ok {
			hostile++
		}
	}
	t.Logf("%d cases, %d hostile", len(cases), hostile)

	two := httptest.NewRequest("GET", "/room", nil)
	two.Host, two.Header["Origin"] = "localhost:1999", []string{"http://localhost:1999", "https://evil.example"}
	if none.CheckOrigin(two) == nil {
		t.Error("two Origin headers: accepted")
	}
	secure := httptest.NewRequest("GET", "/room", nil)
	secure.Host, secure.TLS, secure.Header["Origin"] = "app.example.com", &tls.ConnectionState{}, []string{"http://app.example.com"}
	if prod.CheckOrigin(secure) == nil {
		t.Error("a page without TLS to a server with it: accepted")
	}
}

func TestCORSAnswersAcceptedPagesAndStopsOthersBeforeTheyAct(t *testing.T) {
	a, _ := newTest(t, Options{Secret: testSecret, Origins: []string{"https://app.example.com"}})
	acted := 0
	h := a.CORS(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { acted++; w.Write([]byte("ok")) }))
	do := func(method, origin string, more ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://sync.example.com/api/docs", nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		for i := 0; i < len(more); i += 2 {
			r.Header.Set(more[i], more[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := do("GET", "https://app.example.com")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "https://app.example.com" || w.Header().Get("Vary") != "Origin" || acted != 1 {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	w = do("OPTIONS", "https://app.example.com", "Access-Control-Request-Method", "DELETE")
	if w.Code != 204 || !strings.Contains(w.Header().Get("Access-Control-Allow-Methods"), "DELETE") || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Authorization") || acted != 1 {
		t.Errorf("preflight: got %d %v", w.Code, w.Header())
	}
	if h := w.Header().Get("Access-Control-Allow-Credentials"); h != "" {
		t.Errorf("got credentials %q, want none: there are no cookies", h)
	}
	for _, method := range []string{"DELETE", "POST", "OPTIONS"} {
		w = do(method, "https://evil.example", "Access-Control-Request-Method", "DELETE")
		if w.Code != 403 || w.Header().Get("Access-Control-Allow-Origin") != "" || acted != 1 {
			t.Errorf("%s from elsewhere: got %d %v, acted %d", method, w.Code, w.Header(), acted)
		}
	}
	if w = do("DELETE", ""); w.Code != 200 || acted != 2 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("no browser: got %d", w.Code)
	}
}
