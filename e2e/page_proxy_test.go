package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// below starts a proxy that serves s below a path, which it strips and tells nobody about. What is asked for outside of that path
// is a test failure: nothing of yjet's is there.
func below(t testing.TB, s *server, path string) string {
	t.Helper()
	target, err := url.Parse("http://" + s.host)
	if err != nil {
		t.Fatal(err)
	}
	strip := http.StripPrefix(path, httputil.NewSingleHostReverseProxy(target))
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path && !strings.HasPrefix(r.URL.Path, path+"/") {
			t.Errorf("%s %s was asked for, want nothing outside of %s", r.Method, r.URL.Path, path)
			http.NotFound(w, r)
			return
		}
		strip.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})
	return proxy.URL + path
}

func TestPageWorksBelowAPathThatAProxyStrips(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	base := below(t, s, "/tools/yjet")
	dir := shots(t)

	// From the start page into a room whose name has a slash and an accent, and a word into it.
	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": base + "/"})
	b.do("wait", M{"page": "ann", "selector": "#create"})
	b.do("fill", M{"page": "ann", "selector": "#room", "text": "notes/café"})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	if got, want := ask[string](b, "url", M{"page": "ann"}), base+"/notes/caf%C3%A9"; got != want {
		t.Errorf("the room is at %s, want %s", got, want)
	}
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	b.do("type", M{"page": "ann", "text": "# Plan"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	b.do("go", M{"page": "ann", "url": base + "/notes/caf%C3%A9/"})
	b.do("hasText", M{"page": "ann", "text": "# Plan"})
	b.do("shot", M{"page": "ann", "path": filepath.Join(dir, "below-a-path.png")})

	// The link and the snippets name the address in front of the proxy, and run as they stand.
	if got, want := ask[string](b, "value", M{"page": "ann", "selector": "#share-panel input"}), base+"/notes/caf%C3%A9"; got != want {
		t.Errorf("the link to share is %s, want %s", got, want)
	}
	b.do("click", M{"page": "ann", "selector": "#share"})
	b.do("click", M{"page": "ann", "selector": "#from-code"})
	for n := range 5 {
		b.do("click", M{"page": "ann", "selector": fmt.Sprintf("#snippet-%d", n)})
		code := ask[string](b, "inner", M{"page": "ann", "selector": "#snippet-panel pre:not(.install)"})
		if !strings.Contains(code, strings.TrimPrefix(base, "http://")) {
			t.Errorf("snippet %d does not name %s:\n%s", n, base, code)
		}
		if n == 4 {
			continue // y-sweet's token names the address, which takes X-Forwarded-Prefix or --public-url
		}
		if got := runSnippet(t, code); got != "# Plan" {
			t.Errorf("snippet %d reads %q, want %q:\n%s", n, got, "# Plan", code)
		}
	}
	b.do("shot", M{"page": "ann", "path": filepath.Join(dir, "below-a-path-snippets.png")})
	b.do("press", M{"page": "ann", "key": "Escape"})

	// History, the inspector, and the way back.
	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("wait", M{"page": "ann", "selector": ".history .slider:not([disabled])"})
	b.do("go", M{"page": "ann", "url": base + "/inspect"})
	b.do("click", M{"page": "ann", "selector": ".docs tbody a"})
	b.do("wait", M{"page": "ann", "selector": ".tree"})
	b.do("shot", M{"page": "ann", "path": filepath.Join(dir, "below-a-path-inspect.png")})
	b.do("click", M{"page": "ann", "selector": ".trail a"})
	b.do("wait", M{"page": "ann", "selector": ".docs tbody a"})
	b.do("click", M{"page": "ann", "selector": ".brand"})
	b.do("wait", M{"page": "ann", "selector": `.recent a[href="/tools/yjet/notes/caf%C3%A9"]`})
	for _, p := range ask[[]string](b, "problems", M{"page": "ann"}) {
		t.Errorf("page: %s", p)
	}
}

func TestPageShowsThePublicAddress(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t, "--public-url", "https://docs.example.com/y/")
	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": s.url("/plan")})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	if got, want := ask[string](b, "value", M{"page": "ann", "selector": "#share-panel input"}), "https://docs.example.com/y/plan"; got != want {
		t.Errorf("the link to share is %s, want %s", got, want)
	}
	b.do("click", M{"page": "ann", "selector": "#share"})
	b.do("click", M{"page": "ann", "selector": "#from-code"})
	for n, want := range []string{"'wss://docs.example.com/y'", "'docs.example.com/y'", "'docs.example.com/y'", "'wss://docs.example.com/y'", "'https://docs.example.com/y/doc/plan/auth'"} {
		b.do("click", M{"page": "ann", "selector": fmt.Sprintf("#snippet-%d", n)})
		if code := ask[string](b, "inner", M{"page": "ann", "selector": "#snippet-panel pre:not(.install)"}); !strings.Contains(code, want) {
			t.Errorf("snippet %d is %q, want %s in it", n, code, want)
		}
	}
	checkPage(t, b, s, "ann")
}
