package web

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "localhost:1999"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler(nil).ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPagesCarryAStrictPolicyWithAFreshNonce(t *testing.T) {
	seen := map[string]bool{}
	for _, target := range []string{"/", "/calm-otter-42", "/notes/todo", "/caf%C3%A9", "/a.js", "/inspect"} {
		res := get(t, "GET", target)
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			t.Fatalf("GET %s: got %d %q, want the page", target, res.StatusCode, res.Header.Get("Content-Type"))
		}
		policy := res.Header.Get("Content-Security-Policy")
		m := regexp.MustCompile(`'nonce-([A-Za-z0-9+/]{24})'`).FindStringSubmatch(policy)
		if m == nil {
			t.Fatalf("GET %s: policy %q has no nonce", target, policy)
		}
		if seen[m[1]] {
			t.Errorf("GET %s: nonce %s was used before", target, m[1])
		}
		seen[m[1]] = true
		if b := body(t, res); !strings.Contains(b, `content="`+m[1]+`"`) || strings.Contains(b, "{{") {
			t.Errorf("GET %s: the page does not carry the policy's nonce: %s", target, b)
		}
		for _, bad := range []string{"unsafe-inline", "unsafe-eval", "http:", "https:", "*"} {
			if strings.Contains(policy, bad) {
				t.Errorf("GET %s: policy %q has %q", target, policy, bad)
			}
		}
		if got := res.Header.Get("Referrer-Policy"); got != "no-referrer" {
			t.Errorf("GET %s: Referrer-Policy got %q, want no-referrer", target, got)
		}
	}
}

func TestPageFindsItsRootBelowAnyPath(t *testing.T) {
	for target, want := range map[string]string{
		"/": "./", "/room": "./", "/notes/todo": "../", "/notes/todo/": "../../", "/a%2Fb": "./", "/inspect": "./", "//room": "../",
	} {
		b := body(t, get(t, "GET", target))
		if !strings.Contains(b, `<meta name="root" content="`+want+`">`) || !strings.Contains(b, `src="`+want+`assets/app.js"`) || strings.Contains(b, `"/assets`) {
			t.Errorf("GET %s: want the root at %q: %s", target, want, b)
		}
	}
}

func TestPageNamesThePublicAddress(t *testing.T) {
	public, err := url.Parse(`https://docs.example.com:8443/y"><script>`)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	Handler(public).ServeHTTP(w, httptest.NewRequest("GET", "/room", nil))
	if b := w.Body.String(); !strings.Contains(b, `<meta name="public-url" content="https://docs.example.com:8443/y`) || strings.Contains(b, "<script>") {
		t.Errorf("the page does not carry the public address as text: %s", b)
	}
	if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, " wss://docs.example.com:8443;") {
		t.Errorf("policy got %q, want sockets to the public address allowed", got)
	}
}

func TestPolicyTakesNothingFromAStrangeHost(t *testing.T) {
	r := httptest.NewRequest("GET", "/room", nil)
	r.Host = "evil; script-src *"
	w := httptest.NewRecorder()
	Handler(nil).ServeHTTP(w, r)
	if got := w.Header().Get("Content-Security-Policy"); strings.Contains(got, "evil") {
		t.Errorf("policy got %q, want nothing of the Host header", got)
	}
}

func TestReservedPathsAreNoPages(t *testing.T) {
	for _, target := range []string{"/health", "/healthz", "/readyz", "/metrics", "/api/docs", "/parties/main/x", "/party/x", "/d/a/ws/a", "/doc/a/auth", "/assets/nothing.js", "/assets/index.html", "/assets/../embed.go", "/assets/"} {
		if res := get(t, "GET", target); res.StatusCode != 404 {
			t.Errorf("GET %s: got %d, want 404", target, res.StatusCode)
		}
	}
	if res := get(t, "POST", "/room"); res.StatusCode != 405 || res.Header.Get("Allow") == "" {
		t.Errorf("POST /room: got %d, want 405 with Allow", res.StatusCode)
	}
}

func TestAssetsAreTypedCompressedAndRevalidated(t *testing.T) {
	for target, want := range map[string]string{
		"/assets/app.js": "text/javascript; charset=utf-8", "/assets/app.css": "text/css; charset=utf-8",
		"/assets/inspect.js": "text/javascript; charset=utf-8", "/assets/inspect.css": "text/css; charset=utf-8",
		"/assets/icon.svg": "image/svg+xml", "/assets/LEGAL.txt": "text/plain; charset=utf-8", "/favicon.ico": "image/svg+xml",
	} {
		res := get(t, "GET", target)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != want || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %s: got %d %q, want 200 %q, nosniff", target, res.StatusCode, res.Header.Get("Content-Type"), want)
		}
		again := get(t, "GET", target, "If-None-Match", res.Header.Get("ETag"))
		if again.StatusCode != 304 || body(t, again) != "" {
			t.Errorf("GET %s again: got %d, want 304 without a body", target, again.StatusCode)
		}
	}
	res := get(t, "GET", "/assets/app.css", "Accept-Encoding", "br, gzip")
	if res.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("app.css: got encoding %q, want gzip", res.Header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if want := body(t, get(t, "GET", "/assets/app.css")); err != nil || string(plain) != want {
		t.Errorf("app.css unzipped: got %d bytes, %v, want %d", len(plain), err, len(want))
	}
	if res := get(t, "GET", "/assets/app.css", "Accept-Encoding", "gzip;q=0"); res.Header.Get("Content-Encoding") != "" {
		t.Error("app.css: compressed for a client that refuses gzip")
	}
}

// The worker that folds a log lives under the policy of its own file. It loads modules of ours and asks nobody anything.
func TestWorkerMayLoadItsModulesAndNothingElse(t *testing.T) {
	if got := get(t, "GET", "/assets/past-worker.js").Header.Get("Content-Security-Policy"); got != "default-src 'none'; script-src 'self'" {
		t.Errorf("past-worker.js: policy %q", got)
	}
	if got := get(t, "GET", "/assets/room.js").Header.Get("Content-Security-Policy"); !strings.Contains(got, "sandbox") {
		t.Errorf("room.js, opened by itself: policy %q, want a sandbox", got)
	}
}

// What a browser fetches before a room can be read and written stays within 260 KB as it travels.
func TestFirstLoadOfARoomIsSmall(t *testing.T) {
	total, seen := 0, map[string]bool{}
	var load func(name string)
	load = func(name string) {
		a, ok := assets()[name]
		if seen[name] {
			return
		}
		seen[name] = true
		if !ok {
			t.Fatalf("%s is imported and was not built", name)
		}
		if total += len(a.body); a.gzip != nil {
			total += len(a.gzip) - len(a.body)
		}
		if strings.HasSuffix(name, ".js") {
			for _, m := range regexp.MustCompile(`(?:from|import)"\./([^"]+)"`).FindAllSubmatch(a.body, -1) {
				load(string(m[1]))
			}
		}
	}
	for _, name := range []string{"index.html", "app.css", "app.js", "room.js", "codemirror-lang-markdown.js"} {
		load(name)
	}
	t.Logf("the first load of a room: %d bytes in %d files", total, len(seen))
	if total > 260_000 || len(seen) < 8 {
		t.Errorf("the first load of a room is %d bytes in %d files, want at most 260,000", total, len(seen))
	}
}

// The page may load nothing from elsewhere: no address of another host stands in what a browser fetches or runs
// as one. (Names of XML namespaces and documentation links inside strings are no fetches.)
func TestPageNamesNoOtherHost(t *testing.T) {
	for _, name := range []string{"index.html", "app.css", "inspect.css"} {
		b, err := dist.ReadFile("dist/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`(https?:)?//[a-z]`).Find(b); m != nil {
			t.Errorf("%s refers to %q", name, m)
		}
	}
}

func mustWd(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return wd
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[name], err = os.ReadFile(filepath.Join(dir, name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
