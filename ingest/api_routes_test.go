package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// An apiRoute is one route of the HTTP API, with a request that a caller with enough rights gets answered.
type apiRoute struct {
	path  string // {doc} stands for the document
	allow string // the methods that the route takes, as in Allow
	need  map[string]auth.Mode
	body  map[string]string // by method; "": none
	gone  int               // the answer of its first method where there is no such document
}

func reads(m ...string) map[string]auth.Mode {
	need := map[string]auth.Mode{}
	for _, method := range m {
		need[method] = auth.Read
	}
	return need
}

// docRoutes are the routes of one document.
var docRoutes = []apiRoute{
	{"/api/docs/{doc}", "GET, HEAD, POST, PATCH, DELETE", map[string]auth.Mode{"GET": auth.Read, "HEAD": auth.Read, "POST": auth.ReadWrite, "PATCH": auth.ReadWrite, "DELETE": auth.ReadWriteDelete},
		map[string]string{"POST": string(insert(41, 0, "more")), "PATCH": appendBody}, 404},
	{"/api/docs/{doc}/presence", "GET, HEAD", reads("GET", "HEAD"), nil, 200},
	{"/api/docs/{doc}/history", "GET, HEAD", reads("GET", "HEAD"), nil, 404},
	{"/api/docs/{doc}/log", "GET, HEAD", reads("GET", "HEAD"), nil, 404},
	{"/api/docs/{doc}/authors", "GET, HEAD", reads("GET", "HEAD"), nil, 404},
	{"/api/docs/{doc}/access", "GET, HEAD", reads("GET", "HEAD"), nil, 200},
	{"/api/docs/{doc}/diff?from=0", "GET, HEAD", reads("GET", "HEAD"), nil, 404},
	{"/api/docs/{doc}/export", "GET, HEAD", reads("GET", "HEAD"), nil, 404},
	{"/api/docs/{doc}/versions", "GET, HEAD, POST", map[string]auth.Mode{"GET": auth.Read, "HEAD": auth.Read, "POST": auth.ReadWrite},
		map[string]string{"POST": `{"name":"draft"}`}, 200},
	{"/api/docs/{doc}/versions/draft", "DELETE", map[string]auth.Mode{"DELETE": auth.ReadWrite}, nil, 404},
	{"/api/docs/{doc}/restore", "POST", map[string]auth.Mode{"POST": auth.ReadWrite}, map[string]string{"POST": `{"at":"0001-01-01T00:00:00Z"}`}, 404},
	{"/api/docs/{doc}/copy", "POST", reads("POST"), map[string]string{"POST": `{"to":"users/ada/copy"}`}, 404},
	{"/api/docs/{doc}/import", "POST", map[string]auth.Mode{"POST": auth.ReadWrite}, map[string]string{"POST": export(insert(42, 0, "i"))}, 201},
	{"/api/docs/{doc}/token", "POST", reads("POST"), map[string]string{"POST": `{"access":"r"}`}, 200},
	{"/doc/{doc}/auth", "POST", reads("POST"), map[string]string{"POST": `{"authorization":"read-only"}`}, 200},
	{"/d/{doc}/auth", "POST", reads("POST"), nil, 200},
	{"/d/{doc}/as-update", "GET, HEAD", reads("GET", "HEAD"), nil, 200},
	{"/doc/{doc}/update", "POST", map[string]auth.Mode{"POST": auth.ReadWrite}, map[string]string{"POST": string(insert(43, 0, "s"))}, 204},
}

// otherRoutes are the routes that name no document in their path.
var otherRoutes = []apiRoute{
	{path: "/api/docs", allow: "GET, HEAD"},
	{path: "/api/sessions?user=nobody", allow: "DELETE"},
	{path: "/api/sessions/recheck?user=nobody", allow: "POST"},
	{path: "/check_store", allow: "GET, POST"},
	{path: "/doc/new", allow: "POST"},
	{path: "/health", allow: "GET, HEAD"},
	{path: "/healthz", allow: "GET, HEAD"},
	{path: "/readyz", allow: "GET, HEAD"},
	{path: "/metrics", allow: "GET, HEAD"},
}

func (r *apiRoute) at(doc string) string     { return strings.ReplaceAll(r.path, "{doc}", doc) }
func (r *apiRoute) methods() []string        { return strings.Split(r.allow, ", ") }
func (r *apiRoute) takes(method string) bool { return slices.Contains(r.methods(), method) }

// ruled is a server with logins whose rules give each user a folder, and all users a handbook to read.
func ruled(t *testing.T) *world {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(rules, []byte(`[{"match":"users/{sub}/**","access":"rw"},{"match":"handbook","access":"r"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, logins, func(_ *Options, a *auth.Options, _ *stream.Config) { a.RulesFile = rules })
}

// apiError reads the error of a JSON answer.
func apiError(t *testing.T, about, body string) (code, message string) {
	t.Helper()
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Errorf("%s: %v in the error %q, want JSON", about, err, body)
	}
	return e.Error.Code, e.Error.Message
}

// stored lists the records of all documents that a test writes to.
func (w *world) stored() int {
	w.t.Helper()
	docs, err := w.log.Docs(w.t.Context(), "", "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, d := range docs {
		n += len(w.records(string(d.Doc)))
	}
	return n
}

func TestEveryRouteNamesTheMethodsItTakes(t *testing.T) {
	w := start(t)
	w.ask("POST", "/api/docs/there", insert(1, 0, "x"))
	for _, r := range append(slices.Clone(docRoutes), otherRoutes...) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"} {
			if r.takes(method) {
				continue
			}
			about := method + " " + r.at("there")
			code, body, h := w.ask(method, r.at("there"), insert(2, 0, "y"))
			if code != 405 || h.Get("Allow") != r.allow {
				t.Errorf("%s: got %d with Allow %q, want 405 with %q", about, code, h.Get("Allow"), r.allow)
			}
			if method == "HEAD" {
				continue // an answer to HEAD has no body
			}
			if reason, message := apiError(t, about, body); reason != "method-not-allowed" || message == "" {
				t.Errorf("%s: got %s, want the reason method-not-allowed and a message", about, body)
			}
		}
	}
	if n := w.stored(); n != 1 {
		t.Errorf("got %d records, want the first one alone", n)
	}
}

func TestEveryRouteTurnsStrangersAwayAndStoresNothingOfThem(t *testing.T) {
	w := ruled(t)
	ada, eve := token("ada", time.Hour), token("eve", time.Hour)
	const doc = "users%2Fada%2Fx"
	if code, body := w.request("POST", "/api/docs/"+doc, ada, string(insert(1, 0, "x"))); code != 204 {
		t.Fatalf("begin: got %d %s", code, body)
	}
	if code, body := w.request("POST", "/api/docs/handbook", w.admin(), string(insert(1, 0, "x"))); code != 204 {
		t.Fatalf("begin the handbook: got %d %s", code, body)
	}
	ticket, err := w.srv.o.Auth.TicketFor(auth.Grant{User: "ada", Mode: auth.ReadWrite}, "users/ada/other", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range docRoutes {
		for _, method := range r.methods() {
			for _, c := range []struct {
				name, doc, bearer string
				status            int
				reason            string
			}{
				{"no token", doc, "", 401, "token-required"},
				{"no JWT", doc, "rubbish", 401, "token-invalid"},
				{"a token that has ended", doc, token("ada", -time.Hour), 401, "token-expired"},
				{"a token that begins soon", doc, token("ada", time.Hour, "nbf", time.Now().Add(5*time.Minute).Unix()), 503, "token-not-valid-yet"},
				{"another user", doc, eve, 403, "forbidden"},
				{"a ticket of another document", doc, ticket, 403, "forbidden"},
				{"a name with dots", "users%2Fada%2F..%2Fx", ada, 400, "bad-document-name"},
				{"a name with a control character", "a%00b", ada, 400, "bad-document-name"},
				{"a name that is too long", strings.Repeat("a", 256), ada, 400, "bad-document-name"},
				{"a name that is no UTF-8", "a%FF", ada, 400, "bad-document-name"},
				{"a reader", "handbook", ada, 403, "read-only"},
			} {
				if c.reason == "read-only" {
					switch need := r.need[method]; {
					case need < auth.ReadWrite:
						continue
					case need == auth.ReadWriteDelete:
						c.reason = "may-not-delete"
					}
				}
				about := c.name + ": " + method + " " + r.path
				req, _ := http.NewRequest(method, w.http.URL+r.at(c.doc), strings.NewReader(r.body[method]))
				if c.bearer != "" {
					req.Header.Set("Authorization", "Bearer "+c.bearer)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatalf("%s: %v", about, err)
				}
				var body bytes.Buffer
				body.ReadFrom(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != c.status {
					t.Errorf("%s: got %d %s, want %d", about, resp.StatusCode, &body, c.status)
					continue
				}
				if asks := resp.Header.Get("WWW-Authenticate"); (asks == "Bearer") != (c.status == 401) {
					t.Errorf("%s: got WWW-Authenticate %q", about, asks)
				}
				if again := resp.Header.Get("Retry-After"); (again != "") != (c.status == 503) {
					t.Errorf("%s: got Retry-After %q", about, again)
				}
				if method == "HEAD" {
					continue
				}
				if reason, message := apiError(t, about, body.String()); reason != c.reason || message == "" || strings.Contains(body.String(), "eyJ") {
					t.Errorf("%s: got %s, want the reason %s and a message", about, &body, c.reason)
				}
			}
		}
	}
	if n := w.stored(); n != 2 {
		t.Errorf("got %d records, want those of the two that may write", n)
	}
	if strings.Contains(w.out.String(), "eyJ") {
		t.Error("a token is in the log")
	}
}

func TestEveryRouteAnswersACallerWithEnoughRights(t *testing.T) {
	w := ruled(t)
	n := uint64(0)
	for _, r := range docRoutes {
		for _, method := range r.methods() {
			n++
			doc := fmt.Sprint("users%2Fada%2F", n)
			w.request("POST", "/api/docs/"+doc, token("ada", time.Hour), string(insert(n, 0, "x")))
			bearer := token("ada", time.Hour)
			if r.need[method] == auth.ReadWriteDelete {
				bearer = w.admin()
			}
			if strings.Contains(r.path, "/versions/") {
				w.request("POST", "/api/docs/"+doc+"/versions", bearer, `{"name":"draft"}`)
			}
			path := r.at(doc)
			if strings.HasSuffix(path, "/import") {
				path += "?merge=1"
			}
			code, body := w.request(method, path, bearer, r.body[method])
			if code < 200 || code > 299 {
				t.Errorf("%s %s: got %d %s, want it done", method, path, code, body)
			}
			if method == "HEAD" && body != "" {
				t.Errorf("HEAD %s: got the body %q", path, body)
			}
		}
	}
}

func TestADocumentThatIsMissingOrDeletedIsAnsweredAlikeAtEveryRoute(t *testing.T) {
	w := start(t)
	w.ask("POST", "/api/docs/deleted", insert(1, 0, "secret"))
	w.ask("POST", "/api/docs/deleted/versions", []byte(`{"name":"draft"}`))
	if code, body, h := w.ask("DELETE", "/api/docs/deleted", nil); code != 204 || h.Get("Yjet-Erased") != erasedNote {
		t.Fatalf("delete: got %d %s %v", code, body, h)
	}
	for _, r := range docRoutes {
		if r.gone == 201 || r.gone == 204 {
			continue // begins a document
		}
		for _, doc := range []string{"missing", "deleted"} {
			method := r.methods()[0]
			about := method + " " + r.at(doc)
			code, body, _ := w.ask(method, r.at(doc), []byte(r.body[method]))
			if code != r.gone {
				t.Errorf("%s: got %d %s, want %d", about, code, body, r.gone)
			}
			if strings.Contains(body, "secret") {
				t.Errorf("%s: got %q, which was deleted", about, body)
			}
			if code >= 400 {
				apiError(t, about, body)
			}
			if head, empty, _ := w.ask("HEAD", r.at(doc), nil); r.takes("HEAD") && (head != r.gone || empty != "") {
				t.Errorf("HEAD %s: got %d %q, want %d", r.at(doc), head, empty, r.gone)
			}
		}
	}
	for path, want := range map[string]string{"/presence": `{"presence":[]}`, "/versions": `{"versions":[]}`, "/access": `{"access":"rwd"}`} {
		if _, body, _ := w.ask("GET", "/api/docs/missing"+path, nil); strings.TrimSpace(body) != want {
			t.Errorf("GET %s of no document: got %s, want %s", path, body, want)
		}
	}
	if code, _, _ := w.ask("DELETE", "/api/docs/deleted", nil); code != 404 {
		t.Errorf("delete again: got %d, want 404", code)
	}
	if n := w.stored(); n != 0 {
		t.Errorf("got %d records, want none", n)
	}
}

func TestContentThatWasDeletedComesBackThroughNoRoute(t *testing.T) {
	w := start(t)
	secret := insert(1, 0, "secret")
	w.ask("POST", "/api/docs/shredded", secret)
	w.ask("POST", "/api/docs/shredded/copy", []byte(`{"to":"elsewhere"}`))
	_, file, _ := w.ask("GET", "/api/docs/shredded/export", nil)
	if code, body, _ := w.ask("DELETE", "/api/docs/shredded", nil); code != 204 {
		t.Fatalf("delete: got %d %s", code, body)
	}
	for _, c := range []struct {
		name, path string
		body       []byte
		header     string
	}{
		{"a post", "/api/docs/shredded", secret, "X: y"},
		{"a seed", "/api/docs/shredded", secret, "If-None-Match: *"},
		{"an import", "/api/docs/shredded/import", []byte(file), "X: y"},
		{"a copy", "/api/docs/elsewhere/copy", []byte(`{"to":"shredded"}`), "X: y"},
		{"Y-Sweet's update", "/d/shredded/update", secret, "X: y"},
	} {
		code, body, _ := w.ask("POST", c.path, c.body, c.header)
		if code != 404 && code != 409 {
			t.Errorf("%s: got %d %s, want a refusal", c.name, code, body)
		}
		apiError(t, c.name, body)
	}
	if n := len(w.records("shredded")); n != 0 {
		t.Errorf("got %d records under the name, want none", n)
	}
	if code, body, _ := w.ask("POST", "/api/docs/shredded", insert(2, 0, "new")); code != 204 {
		t.Errorf("new content under the name: got %d %s, want 204", code, body)
	}
}

func TestADrainingServerStoresNothingAndStillAnswersReaders(t *testing.T) {
	w := start(t)
	w.ask("POST", "/api/docs/kept", insert(1, 0, "x"))
	if err := w.srv.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range docRoutes {
		for _, method := range r.methods() {
			if method == "DELETE" && r.gone == 404 && r.allow != "DELETE" {
				continue // below
			}
			about := method + " " + r.path
			code, body, h := w.ask(method, r.at("kept"), []byte(r.body[method]))
			writes := r.need[method] >= auth.ReadWrite || strings.HasSuffix(r.path, "/copy")
			switch {
			case writes && (code != 503 || h.Get("Retry-After") == ""):
				t.Errorf("%s: got %d %s, want 503 with Retry-After", about, code, body)
			case writes && method != "HEAD":
				if reason, _ := apiError(t, about, body); reason != "draining" {
					t.Errorf("%s: got %s, want the reason draining", about, body)
				}
			case !writes && code != 200:
				t.Errorf("%s: got %d %s, want 200", about, code, body)
			}
		}
	}
	if n := w.stored(); n != 1 {
		t.Errorf("got %d records, want the one from before", n)
	}
	for path, want := range map[string]int{"/health": 503, "/readyz": 503, "/healthz": 200} {
		code, body, _ := w.ask("GET", path, nil)
		if code != want || want == 503 && !strings.Contains(body, "draining") {
			t.Errorf("%s: got %d %s, want %d", path, code, body, want)
		}
	}
}

func TestBadQueriesAndBodiesAreRefusedWithTheirReason(t *testing.T) {
	w := start(t)
	w.ask("POST", "/api/docs/q", insert(1, 0, "text"))
	w.ask("POST", "/api/docs/q/versions", []byte(`{"name":"draft"}`))
	long := strings.Repeat("n", 101)
	for _, c := range []struct {
		method, path, body string
		status             int
		reason             string
	}{
		{"GET", "/api/docs?limit=0", "", 400, "bad-limit"},
		{"GET", "/api/docs?limit=1001", "", 400, "bad-limit"},
		{"GET", "/api/docs?limit=x", "", 400, "bad-limit"},
		{"GET", "/api/docs/q?format=", "", 200, ""},
		{"GET", "/api/docs/q?format=JSON", "", 406, "bad-format"},
		{"GET", "/api/docs/q?format=text", "", 400, "bad-type"},
		{"GET", "/api/docs/q?format=text&type=a&type=b", "", 400, "bad-type"},
		{"GET", "/api/docs/q?format=text&type=other", "", 404, "no-such-type"},
		{"GET", "/api/docs/q?type=t:number", "", 400, "bad-type"},
		{"GET", "/api/docs/q?at=-1", "", 400, "bad-moment"},
		{"GET", "/api/docs/q?at=yesterday", "", 400, "bad-moment"},
		{"GET", "/api/docs/q?at=9999-01-01T00:00:00Z", "", 400, "future-moment"},
		{"GET", "/api/docs/q/history?group=hour", "", 400, "bad-group"},
		{"GET", "/api/docs/q/history?limit=1001", "", 400, "bad-limit"},
		{"GET", "/api/docs/q/history?before=0", "", 400, "bad-before"},
		{"GET", "/api/docs/q/history?before=x", "", 400, "bad-before"},
		{"GET", "/api/docs/q/history?to=x", "", 400, "bad-moment"},
		{"GET", "/api/docs/q/log?to=x", "", 400, "bad-moment"},
		{"GET", "/api/docs/q/authors?type=a&type=b", "", 400, "bad-type"},
		{"GET", "/api/docs/q/authors?type=t:number", "", 400, "bad-type"},
		{"GET", "/api/docs/q/diff", "", 400, "bad-moment"},
		{"GET", "/api/docs/q/diff?from=0&to=x", "", 400, "bad-moment"},
		{"POST", "/api/docs/q/versions", `{"name":"` + long + `"}`, 400, "bad-version-name"},
		{"POST", "/api/docs/q/versions", `{"name":"a\u0000b"}`, 400, "bad-version-name"},
		{"POST", "/api/docs/q/versions", `{"name":"draft"}`, 409, "version-exists"},
		{"POST", "/api/docs/q/versions", `{"name":5}`, 400, "malformed"},
		{"POST", "/api/docs/q/versions", `{"name":"late","at":"9999-01-01T00:00:00Z"}`, 400, "future-moment"},
		{"POST", "/api/docs/q/versions", `{"name":"` + strings.Repeat("n", 20_000) + `"}`, 400, "malformed"},
		{"DELETE", "/api/docs/q/versions/none", "", 404, "no-version"},
		{"POST", "/api/docs/q/restore", ``, 400, "bad-moment"},
		{"POST", "/api/docs/q/restore", `{"at":""}`, 400, "bad-moment"},
		{"POST", "/api/docs/q/restore", `{"at":[1]}`, 400, "malformed"},
		{"POST", "/api/docs/q/restore", `{"at":-1}`, 400, "malformed"},
		{"POST", "/api/docs/q/restore", `{"at":"nothing"}`, 400, "bad-moment"},
		{"POST", "/api/docs/q/copy", ``, 400, "room-required"},
		{"POST", "/api/docs/q/copy", `{"to":"a/../b"}`, 400, "bad-document-name"},
		{"POST", "/api/docs/q/copy", `{"to":"q"}`, 412, "exists"},
		{"POST", "/api/docs/q/copy", `{"to":"new","at":"nothing"}`, 400, "bad-moment"},
		{"POST", "/api/docs/q/copy", "{\"to\":\"\xff\"}", 400, "malformed"},
		{"POST", "/api/docs/q/import", export(insert(1, 0, "text")), 412, "exists"},
		{"POST", "/api/docs/new/import", ``, 422, "bad-export"},
		{"POST", "/api/docs/new/import", `{"yjet":"document","v":2}` + "\n", 422, "bad-export"},
		{"POST", "/api/docs/q", "", 400, "malformed"},
		{"POST", "/api/docs/q", "junk", 400, "malformed"},
		{"POST", "/api/docs/q/token", `{"access":"admin"}`, 400, "bad-access"},
		{"POST", "/api/docs/q/token", `[]`, 400, "malformed"},
		{"POST", "/doc/q/auth", `{"authorization":"admin"}`, 400, "bad-access"},
		{"POST", "/doc/q/auth", `[]`, 400, "malformed"},
		{"POST", "/doc/new", `{"docId":"a/../b"}`, 400, "bad-document-name"},
		{"POST", "/doc/new", `[]`, 400, "malformed"},
		{"DELETE", "/api/sessions", "", 400, "nobody-named"},
		{"DELETE", "/api/sessions?doc=..", "", 400, "bad-document-name"},
		{"DELETE", "/api/sessions?doc=q&leave=rw", "", 400, "bad-leave"},
		{"DELETE", "/api/sessions?doc=q&for=9000h", "", 400, "bad-for"},
		{"POST", "/api/sessions/recheck", "", 400, "nobody-named"},
		{"GET", "/api", "", 404, "not-found"},
		{"GET", "/api/documents", "", 404, "not-found"},
		{"GET", "/api/docs/q/nothing", "", 404, "not-found"},
		{"GET", "/api/docs/a/b/c", "", 404, "not-found"},
		{"POST", "/api/sessions/q/r", "", 404, "not-found"},
	} {
		about := c.method + " " + clip(c.path+" "+c.body)
		code, body, h := w.ask(c.method, c.path, []byte(c.body))
		if code != c.status {
			t.Errorf("%s: got %d %s, want %d", about, code, body, c.status)
			continue
		}
		if c.reason == "" {
			continue
		}
		reason, message := apiError(t, about, body)
		if reason != c.reason || len(message) < 10 || h.Get("Content-Type") != "application/json; charset=utf-8" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %s %v, want the reason %s, a message, and JSON that nobody keeps", about, body, h, c.reason)
		}
	}
	if n := w.stored(); n != 1 {
		t.Errorf("got %d records, want the first one alone", n)
	}
	if _, body, _ := w.ask("GET", "/api/docs/q/versions", nil); strings.Count(body, `"name"`) != 1 {
		t.Errorf("versions: got %s, want the first one alone", body)
	}
}

func TestAPostIsTakenByItsTypeAndItsSize(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.Message, l.Document = 1<<19, 1<<19 }))
	for _, c := range []struct {
		name   string
		doc    string
		body   []byte
		header string
		status int
		reason string
	}{
		{"as curl sends it", "curl", insert(1, 0, "x"), "Content-Type: application/x-www-form-urlencoded", 204, ""},
		{"with its type", "typed", insert(1, 0, "x"), "Content-Type: application/vnd.yjs.update", 204, ""},
		{"as JSON", "json", []byte(`{"t":"x"}`), "Content-Type: application/json", 415, "bad-type"},
		{"V1 named as V2", "v2", insert(1, 0, "x"), "Content-Type: application/vnd.yjs.update.v2", 400, "malformed"},
		{"on a condition nobody knows", "tagged", insert(1, 0, "x"), `If-None-Match: "5"`, 400, "bad-condition"},
		{"as large as it may be", "large", insert(1, 0, strings.Repeat("x", 1<<20-20)), "X: y", 204, ""},
		{"larger", "larger", insert(1, 0, strings.Repeat("x", 1<<20)), "X: y", 413, "message-too-large"},
		{"a seed of nothing", "empty", emptyUpdate, "If-None-Match: *", 204, ""},
		{"nothing", "nothing", emptyUpdate, "X: y", 204, ""},
		{"a seed that waits for others", "waits", insert(1, 5, "x"), "If-None-Match: *", 409, "missing-dependencies"},
		{"a seed that is junk", "junk", []byte("junk"), "If-None-Match: *", 400, "malformed"},
	} {
		code, body, h := w.ask("POST", "/api/docs/"+c.doc, c.body, c.header)
		if code != c.status || (h.Get("Yjet-Seq") != "") != (c.status == 204) {
			t.Errorf("%s: got %d %s with Yjet-Seq %q, want %d", c.name, code, body, h.Get("Yjet-Seq"), c.status)
		}
		if c.reason != "" {
			if reason, _ := apiError(t, c.name, body); reason != c.reason {
				t.Errorf("%s: got %s, want the reason %s", c.name, body, c.reason)
			}
		}
		want := 1
		if c.status != 204 || c.doc == "nothing" {
			want = 0
		}
		if n := len(w.records(c.doc)); n < want || want == 0 && n > 0 {
			t.Errorf("%s: got %d records, want %d", c.name, n, want)
		}
	}
	var conflict struct{ StateVector []byte }
	if _, body, _ := w.ask("POST", "/api/docs/waits", insert(1, 5, "x"), "If-None-Match: *"); json.Unmarshal([]byte(body), &conflict) != nil || !bytes.Equal(conflict.StateVector, []byte{0}) {
		t.Errorf("a seed that waits for others: got %s, want the vector of an empty document", body)
	}
	if code, body, _ := w.ask("GET", "/api/docs/empty?format=json", nil); code != 200 || strings.TrimSpace(body) != "{}" {
		t.Errorf("a document that began with nothing: got %d %s, want 200 {}", code, body)
	}
	if code, body, _ := w.ask("GET", "/api/docs/empty", nil); code != 200 || !bytes.Equal([]byte(body), emptyUpdate) {
		t.Errorf("its state: got %d %x, want an empty update", code, body)
	}
}

func TestCrossOriginPagesGetTheHeadersTheyNeed(t *testing.T) {
	w := start(t, logins, func(_ *Options, a *auth.Options, _ *stream.Config) {
		a.Origins, a.Dev = []string{"https://app.example.com"}, false
	})
	ada := "Authorization: Bearer " + token("ada", time.Hour)
	if code, body, _ := w.ask("POST", "/api/docs/cors", insert(1, 0, "x"), ada); code != 204 {
		t.Fatalf("begin: got %d %s", code, body)
	}
	const friend = "https://app.example.com"
	for _, path := range []string{"/api/docs", "/api/docs/cors", "/api/docs/cors/token", "/api/docs/cors/versions", "/doc/cors/auth", "/d/cors/as-update", "/check_store"} {
		code, body, h := w.ask("OPTIONS", path, nil, "Origin: "+friend, "Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: authorization, if-none-match")
		allowed := strings.ToLower(h.Get("Access-Control-Allow-Headers"))
		if code != 204 || body != "" || h.Get("Access-Control-Allow-Origin") != friend || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "DELETE") ||
			!strings.Contains(allowed, "authorization") || !strings.Contains(allowed, "if-none-match") || h.Get("Access-Control-Max-Age") == "" {
			t.Errorf("preflight of %s: got %d %v", path, code, h)
		}
		code, body, h = w.ask("OPTIONS", path, nil, "Origin: https://evil.example", "Access-Control-Request-Method: GET")
		if reason, _ := apiError(t, path, body); code != 403 || reason != "origin-refused" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %s from elsewhere: got %d %s %v", path, code, body, h)
		}
	}
	_, _, h := w.ask("GET", "/api/docs/cors", nil, "Origin: "+friend, ada)
	exposed := strings.ToLower(h.Get("Access-Control-Expose-Headers"))
	for _, name := range []string{"etag", "yjet-seq", "yjet-left-out", "yjet-warning", "retry-after"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("a page may not read the header %s: only %s", name, exposed)
		}
	}
	if h.Get("Access-Control-Allow-Origin") != friend || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
		t.Errorf("an answer for a page: got %v", h)
	}
	// A refusal can be read by the page as well.
	code, body, h := w.ask("GET", "/api/docs/cors", nil, "Origin: "+friend)
	if reason, _ := apiError(t, "no token", body); code != 401 || reason != "token-required" || h.Get("Access-Control-Allow-Origin") != friend {
		t.Errorf("a refusal for a page: got %d %s %v", code, body, h)
	}
	// The answer of a document is no page, whatever it holds.
	_, _, h = w.ask("GET", "/api/docs/cors", nil, ada)
	if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("a state: got %v", h)
	}
}

func TestAStateIsReadInTheFormThatIsAskedFor(t *testing.T) {
	w := start(t)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	seq := w.writes("forms", d, 7, func(t yjs.Text) error { return t.Insert(0, "<b>&", nil) })
	for _, c := range []struct{ query, accept, kind, body string }{
		{"?format=json", "", "application/json; charset=utf-8", "{\"t\":\"<b>&\"}\n"},
		{"", "application/json", "application/json; charset=utf-8", "{\"t\":\"<b>&\"}\n"},
		{"?type=t", "text/plain", "text/plain; charset=utf-8", "<b>&"},
		{"?type=t", "text/*;q=0.9, application/json;q=0.1", "text/plain; charset=utf-8", "<b>&"},
		{"?format=text&type=t", "application/json", "text/plain; charset=utf-8", "<b>&"}, // format goes before Accept
		{"?format=json&type=t:text", "", "application/json; charset=utf-8", "{\"t\":\"<b>&\"}\n"},
		{"?format=json&type=absent:map", "", "application/json; charset=utf-8", "{\"absent\":{},\"t\":\"<b>&\"}\n"},
		{"?format=vector", "", "application/octet-stream", "\x01\x07\x04"},
		{"", "nonsense//, application/json", "application/json; charset=utf-8", "{\"t\":\"<b>&\"}\n"},
		{"", "application/json;q=x, application/octet-stream;q=0.1", "application/octet-stream", ""},
	} {
		code, body, h := w.ask("GET", "/api/docs/forms"+c.query, nil, "Accept: "+c.accept)
		if code != 200 || h.Get("Content-Type") != c.kind || c.body != "" && body != c.body {
			t.Errorf("%s, Accept %q: got %d %s %q, want %s %q", c.query, c.accept, code, h.Get("Content-Type"), body, c.kind, c.body)
		}
		if h.Get("ETag") != `"`+h.Get("Yjet-Seq")+`"` || h.Get("Yjet-Seq") == "" || h.Get("Last-Modified") == "" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s, Accept %q: got %v, want ETag, Yjet-Seq and Last-Modified", c.query, c.accept, h)
		}
		if code, empty, same := w.ask("HEAD", "/api/docs/forms"+c.query, nil, "Accept: "+c.accept); code != 200 || empty != "" || same.Get("Content-Length") != h.Get("Content-Length") {
			t.Errorf("HEAD %s: got %d %q of length %s, want the length %s", c.query, code, empty, same.Get("Content-Length"), h.Get("Content-Length"))
		}
	}
	// A moment of the past keeps its tag when the document goes on.
	path := "/api/docs/forms?at=" + fmt.Sprint(seq)
	_, _, h := w.ask("GET", path, nil)
	tag := h.Get("ETag")
	w.writes("forms", d, 7, func(t yjs.Text) error { return t.Insert(4, "!", nil) })
	if code, body, _ := w.ask("GET", path, nil, "If-None-Match: "+tag); code != 304 || body != "" {
		t.Errorf("a moment again: got %d %q, want 304", code, body)
	}
	if code, _, _ := w.ask("GET", "/api/docs/forms", nil, "If-None-Match: "+tag); code != 200 {
		t.Errorf("the present after an edit: got %d, want 200", code)
	}
}
