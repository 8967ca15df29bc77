// Package web is the page that yjet serves: a start page at /, a look into the server at /inspect, and an editor at every
// other path that is a room.
//
// The browser code lies in src/ and is built by `npm run build` into dist/, which is committed under stable
// names and embedded here, so that a plain `go build` gives the whole product. Nothing is fetched from
// elsewhere: no CDN, no fonts. LEGAL.txt names the packages whose code is in the bundle.
//
// The package owns what is sent for a page and its assets, headers included. It starts no goroutine and
// keeps no state but the compressed files. Which paths are rooms at all, and the WebSocket behind them,
// are its caller's business.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

//go:embed dist
var dist embed.FS

// asset is one built file, ready to be sent.
type asset struct {
	body []byte
	gzip []byte // nil where compression does not pay
	mime string
	etag string // strong, quoted
}

// assets reads and compresses dist once, at the first request.
var assets = sync.OnceValue(func() map[string]asset {
	all := map[string]asset{}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		a := asset{body: body, mime: mimeOf(name), etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
		if len(body) > 1024 {
			var b bytes.Buffer
			z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
			z.Write(body)
			z.Close()
			if b.Len() < len(body)*9/10 {
				a.gzip = b.Bytes()
			}
		}
		all[strings.TrimPrefix(name, "dist/")] = a
		return nil
	})
	if err != nil {
		panic("web: embedded files: " + err.Error()) // cannot happen: they are in the binary
	}
	return all
})

func mimeOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// Handler answers GET and HEAD: /assets/… with the built files, /favicon.ico and /robots.txt, and every other
// path with the page itself, which decides in the browser what it shows there. Paths that
// belong to the server (Reserved) are not found here.
//
// The page works below any path that a proxy strips: it refers to its root relatively. public is the address that links and
// snippets show; nil for the one in the browser's address bar.
func Handler(public *url.URL) http.Handler {
	p := page{}
	if public != nil {
		p.public, p.host = public.String(), public.Host
	}
	return p
}

// page is what the operator has set about the page.
type page struct {
	public string // address for links and snippets, or empty
	host   string // its host and port
}

// reserved are first path segments that can never be a room's page.
var reserved = map[string]bool{
	"health": true, "healthz": true, "readyz": true, "metrics": true, "api": true, "assets": true,
	"parties": true, "party": true, "d": true, "doc": true,
}

// Reserved reports whether urlPath (decoded, beginning with a slash) belongs to the server and so never
// shows the editor.
func Reserved(urlPath string) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(urlPath, "/"), "/")
	return reserved[first]
}

// ServeHTTP is described at Handler.
func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD here", http.StatusMethodNotAllowed)
		return
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/assets/"):
		a, ok := assets()[strings.TrimPrefix(r.URL.Path, "/assets/")]
		if !ok || strings.HasSuffix(r.URL.Path, ".html") {
			http.Error(w, "no such file", http.StatusNotFound)
			return
		}
		send(w, r, a)
	case r.URL.Path == "/favicon.ico":
		send(w, r, assets()["icon.svg"])
	case r.URL.Path == "/robots.txt":
		h.Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "User-agent: *\nDisallow: /\n")
	case Reserved(r.URL.Path):
		http.Error(w, "no such page", http.StatusNotFound)
	default:
		p.send(w, r)
	}
}

// send answers with a built file. Their names are stable, so a browser keeps them and asks whether they changed.
func send(w http.ResponseWriter, r *http.Request, a asset) {
	h := w.Header()
	h.Set("Content-Type", a.mime)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.etag)
	h.Set("Vary", "Accept-Encoding")
	policy := "default-src 'none'; style-src 'unsafe-inline'; sandbox"
	if r.URL.Path == "/assets/past-worker.js" {
		policy = "default-src 'none'; script-src 'self'" // a worker lives under the policy of its file: this one loads modules and no more
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if match := r.Header.Get("If-None-Match"); match != "" && strings.Contains(match, a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.body
	if a.gzip != nil && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = a.gzip
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		w.Write(body)
	}
}

func acceptsGzip(r *http.Request) bool {
	for _, part := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" {
			return strings.ReplaceAll(q, " ", "") != "q=0"
		}
	}
	return false
}

// hostPattern is what may stand in the policy's connect-src: a host name or address, and a port.
var hostPattern = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z.-]+)(:[0-9]{1,5})?$`)

// send answers with the page under a policy that lets it run our files only. The nonce, new each time, is
// for the style elements that CodeMirror makes; scripts need none.
func (p page) send(w http.ResponseWriter, r *http.Request) {
	var random [18]byte
	rand.Read(random[:])
	nonce := base64.RawStdEncoding.EncodeToString(random[:])
	// 'self' covers WebSockets in today's browsers, not in all that are still about.
	connect := "'self'"
	for _, host := range []string{r.Host, p.host} { // a proxy may have put its own name into the request
		if host != "" && hostPattern.MatchString(host) {
			connect += " ws://" + host + " wss://" + host
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+nonce+"'; img-src 'self'; "+
		"connect-src "+connect+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()")
	body := []byte(strings.NewReplacer("{{nonce}}", nonce, "{{root}}", rootOf(r.URL), "{{public}}", html.EscapeString(p.public)).Replace(string(assets()["index.html"].body)))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		w.Write(body)
	}
}

// rootOf is the way from an address to the root of the page, as a relative reference: "./" from /room, "../" from /notes/room.
// Escaped slashes are none, in a browser neither.
func rootOf(u *url.URL) string {
	up := strings.Count(u.EscapedPath(), "/") - 1
	if up <= 0 {
		return "./"
	}
	return strings.Repeat("../", up)
}
