package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// The matrix: every client family in each major version that npm has, against everything that happens at the door. A cell is a
// subtest: go test ./e2e -run 'TestMatrix/first/yws31/awareness'.

// stock are the clients of the matrix by their kind in the driver.
var stock = []struct{ kind, pkg string }{
	{"yws40", "@y/websocket 4.0.0-3 with @y/y 14.0.0-rc.7"},
	{"yws31", "y-websocket 3.1.0"},
	{"yws30", "y-websocket 3.0.0"},
	{"yws21", "y-websocket 2.1.0"},
	{"yws15", "y-websocket 1.5.4"},
	{"ypk", "y-partykit 0.0.33"},
	{"yps", "y-partyserver 2.2.0"},
	{"yps1", "y-partyserver 1.0.0"},
	{"hp4", "@hocuspocus/provider 4.8.0"},
	{"hp4s", "@hocuspocus/provider 4.8.0, sessionAwareness"},
	{"hp3", "@hocuspocus/provider 3.4.4"},
	{"hp2", "@hocuspocus/provider 2.15.3"},
	{"ysw", "@y-sweet/client 0.9.1"},
	{"ysw08", "@y-sweet/client 0.8.2"},
}

func isHocuspocus(kind string) bool { return strings.HasPrefix(kind, "hp") }
func isSweet(kind string) bool      { return strings.HasPrefix(kind, "ysw") }

// firsts are what a client may send before its step 1. body is a message without an address; the driver puts Hocuspocus' in front.
var firsts = []struct {
	name string
	body string // hex; "": nothing
	args M
	only func(kind string) bool // nil: all
}{
	{name: "plain"},
	{name: "awareness set in status", args: M{"onConnected": "field"}, only: emitsStatus},
	{name: "awareness emptied and set in status", args: M{"onConnected": "state"}, only: emitsStatus},
	{name: "awareness set again in status", args: M{"onConnected": "again"}, only: emitsStatus},
	{name: "awareness", body: "010701b90a01027b7d"},
	{name: "awareness without entries", body: "010100"},
	{name: "query awareness", body: "03"},
	{name: "auth", body: "020005746f6b656e", only: yFamily},
	{name: "message 101", body: "65", only: yFamily},
	{name: "message 101 with a body", body: "650568656c6c6f", only: yFamily},
	{name: "message 102", body: "660100", only: yFamily},
	{name: "message 42 of the app", body: "2a", only: yFamily},
	{name: "message 5 of the app", body: "0568656c6c6f", only: yFamily},
	{name: "message 9 of the app", body: "09", only: yFamily},
	{name: "message 200 of the app", body: "c8010b7b2274797065223a31327d", only: yFamily},
	{name: "a long message of the app", body: "07" + strings.Repeat("6162", 200), only: yFamily},
	{name: "stateless", body: "050568656c6c6f", only: isHocuspocus},
	{name: "step 1 late", args: M{"lateStep1": 120}},
	{name: "all in one frame", args: M{"glue": true}, only: yFamily},
	{name: "silent until spoken to", args: M{"listens": true}, only: yFamily},
}

func yFamily(kind string) bool { return !isHocuspocus(kind) }

// emitsStatus: those with an event from inside of which an app can send before step 1.
func emitsStatus(kind string) bool { return yFamily(kind) && !isSweet(kind) }

// matrix is what the cells share: servers and a driver, each started by the first cell that needs it.
type matrix struct {
	open   func() *server  // no login
	proxy  func() string   // host and path of a proxy before open
	rights func() *server  // tokens are checked
	app    func() *backend // an app's backend that sometimes fails, before open
	apps   func() *server  // asks app for rights and first states
	narrow func() *server  // messages have one MB
	broken func() *server  // some documents cannot be read
	driver func() *driver
}

func newMatrix(t *testing.T) *matrix {
	m := &matrix{}
	m.open = sync.OnceValue(func() *server { return startDev(t) })
	m.rights = sync.OnceValue(func() *server { return startJWT(t, "--max-document", "20000") })
	m.driver = sync.OnceValue(func() *driver { return newDriver(t) })
	m.app = sync.OnceValue(func() *backend { return newBackend(t) })
	m.apps = sync.OnceValue(func() *server {
		return startDev(t, "--auth", "jwt", "--auth-callback", m.app().URL, "--load-url", m.app().URL)
	})
	m.narrow = sync.OnceValue(func() *server { return startDev(t, "--max-message", "1000064") })
	m.broken = sync.OnceValue(func() *server {
		var docs []string
		for _, s := range stock {
			docs = append(docs, "damaged-"+s.kind)
		}
		return startDamaged(t, docs...)
	})
	m.proxy = sync.OnceValue(func() string { return pathProxy(t, m.open().host, "/collab") })
	return m
}

// pathProxy serves a server below a path, as `location /collab/ { proxy_pass http://yjet/; }` of nginx does.
func pathProxy(t *testing.T, host, path string) string {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: host}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
		r.Out.Header.Set("X-Forwarded-Prefix", path)
	}}
	mux := http.NewServeMux()
	below := http.StripPrefix(path, proxy)
	mux.Handle(path, below)
	mux.Handle(path+"/", below)
	front := httptest.NewServer(mux)
	t.Cleanup(func() { front.CloseClientConnections(); front.Close() })
	return front.Listener.Addr().String() + path
}

// each runs a cell for every client.
func each(t *testing.T, cell func(t *testing.T, kind string)) {
	for _, s := range stock {
		t.Run(s.kind, func(t *testing.T) {
			t.Parallel()
			cell(t, s.kind)
		})
	}
}

// room names a document after its cell. Y-Sweet's URLs have no room for a slash.
func room(t *testing.T) string {
	return strings.NewReplacer("/", "-", " ", "-", "_", "-").Replace(strings.TrimPrefix(t.Name(), "TestMatrix/"))
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	t.Run("first", func(t *testing.T) {
		each(t, func(t *testing.T, kind string) {
			for _, f := range firsts {
				if f.only == nil || f.only(kind) {
					t.Run(f.name, func(t *testing.T) {
						t.Parallel()
						args := M{}
						for k, v := range f.args {
							args[k] = v
						}
						if f.body != "" {
							if kind == "hp4s" {
								t.Skip("its address holds an id that only the provider knows")
							}
							b, err := hex.DecodeString(f.body)
							if err != nil {
								t.Fatal(err)
							}
							args["first"] = []string{base64.StdEncoding.EncodeToString(b)}
						}
						m.meets(t, m.open().host, kind, args)
					})
				}
			}
		})
	})
	t.Run("path", func(t *testing.T) {
		each(t, func(t *testing.T, kind string) {
			m.meets(t, m.proxy(), kind, M{"auth": "server"})
		})
	})
	t.Run("documents", func(t *testing.T) { each(t, m.manyDocuments) })
	t.Run("board", func(t *testing.T) {
		for _, kind := range []string{"hp4", "hp3", "hp2"} {
			t.Run(kind, func(t *testing.T) { t.Parallel(); m.board(t, kind) })
		}
	})
	t.Run("neighbours", func(t *testing.T) {
		for _, kind := range []string{"hp4", "hp3", "hp2"} {
			for _, n := range neighbours {
				t.Run(kind+"/"+n.name, func(t *testing.T) { t.Parallel(); m.neighbour(t, kind, n) })
			}
		}
	})
	t.Run("large", func(t *testing.T) { each(t, m.large) })
	t.Run("damaged", func(t *testing.T) { each(t, m.damaged) })
	t.Run("again", func(t *testing.T) { each(t, m.handshakesAgain) })
	t.Run("reconnect", func(t *testing.T) { each(t, m.reconnects) })
	t.Run("read-only", func(t *testing.T) { each(t, m.readOnly) })
	t.Run("refused", func(t *testing.T) {
		for _, r := range refusals {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				each(t, func(t *testing.T, kind string) { m.refused(t, kind, r) })
			})
		}
	})
}

// meets opens a client and a current y-websocket in one document: each sees what the other writes and who it is, over the first
// socket of each.
func (m *matrix) meets(t *testing.T, host, kind string, args M) {
	d, s := m.driver().as(t), m.open()
	name := room(t)
	a, b := name+" a", name+" b"
	args["host"] = host
	m.enter(t, d, s, a, kind, name, args)
	m.enter(t, d, s, b, "yws31", name)
	d.edit(a, []any{"text", "append", "from a "}, []any{"map", "set", "k", M{"deep": []any{1, true}}})
	d.edit(b, []any{"text", "append", "from b "})
	d.do("saved", M{"client": a})
	d.converge(a, b)
	d.do("hasNames", M{"client": a, "want": []string{a, b}})
	d.do("hasNames", M{"client": b, "want": []string{a, b}})
	m.kept(t, d, a, b)
}

// enter opens a client for the length of a cell.
func (m *matrix) enter(t *testing.T, d *driver, s *server, client, kind, room string, args ...M) {
	t.Helper()
	t.Cleanup(func() { d.do("destroy", M{"client": client}) })
	d.open(s, client, kind, room, append([]M{{"timeout": 8000}}, args...)...)
}

// kept holds clients to the socket they began with.
func (m *matrix) kept(t *testing.T, d *driver, clients ...string) {
	t.Helper()
	for _, c := range clients {
		if st := d.state(c); len(st.Connects) != 1 || len(st.Closes) > 0 {
			t.Errorf("%s: %d connects, closed %+v; want the first socket kept", c, len(st.Connects), st.Closes)
		}
	}
	noStrayText(t, d, clients...)
}

// manyDocuments: one page with eight documents, over one socket where the provider has such a thing.
func (m *matrix) manyDocuments(t *testing.T, kind string) {
	d, s := m.driver().as(t), m.open()
	args := M{"wait": false}
	if isHocuspocus(kind) {
		args["socket"] = room(t)
	}
	var clients []string
	for n := range 8 {
		c := fmt.Sprintf("%s-%d", room(t), n)
		m.enter(t, d, s, c, kind, c, args)
		clients = append(clients, c)
	}
	for n, c := range clients {
		d.do("synced", M{"client": c})
		d.edit(c, []any{"text", "append", fmt.Sprint("document ", n)})
	}
	for n, c := range clients {
		d.do("saved", M{"client": c})
		if text := ask[string](d, "text", M{"client": c}); text != fmt.Sprint("document ", n) {
			t.Errorf("%s holds %q", c, text)
		}
	}
	if isHocuspocus(kind) {
		clients = clients[:1] // whose socket it is
	}
	m.kept(t, d, clients...)
}

// large: a client brings more than --max-message in one update, which none can cut for the server, and the server stores it.
func (m *matrix) large(t *testing.T, kind string) {
	d, s := m.driver().as(t), m.narrow()
	name := room(t)
	a, b := name+" a", name+" b"
	m.enter(t, d, s, a, kind, name)
	d.edit(a, []any{"text", "append", strings.Repeat("0123456789", 110_000)})
	d.do("saved", M{"client": a, "timeout": 60000})
	m.enter(t, d, s, b, kind, name)
	d.converge(a, b)
	m.kept(t, d, a, b)
}

// board: 250 documents over one socket at once.
func (m *matrix) board(t *testing.T, kind string) {
	d, s := m.driver().as(t), m.open()
	var clients []string
	for n := range 250 {
		c := fmt.Sprintf("%s-%d", room(t), n)
		m.enter(t, d, s, c, kind, c, M{"socket": room(t), "wait": false})
		clients = append(clients, c)
	}
	for _, c := range clients {
		d.do("synced", M{"client": c})
	}
	d.edit(clients[0], []any{"text", "append", "kept"})
	for _, c := range clients {
		d.do("saved", M{"client": c})
	}
	m.kept(t, d, clients[0])
}

// handshakesAgain: a second and a tenth step 1 on an open socket are answered as the first was.
func (m *matrix) handshakesAgain(t *testing.T, kind string) {
	d, s := m.driver().as(t), m.open()
	a, b := room(t)+" a", room(t)+" b"
	m.enter(t, d, s, a, kind, room(t))
	m.enter(t, d, s, b, "yws31", room(t))
	for n := range 10 {
		steps := ask[[]int](d, "handshake", M{"client": a})
		if i, j := slices.Index(steps, 0), slices.Index(steps, 1); i > j {
			t.Errorf("handshake %d is answered by %v, want the question before the answer", n+2, steps)
		}
		d.do("saved", M{"client": a})
		d.edit(a, []any{"text", "append", fmt.Sprint(n)})
		d.do("saved", M{"client": a})
	}
	d.converge(a, b)
	m.kept(t, d, a, b)
}

// reconnects: what was written offline arrives, the second time and the third.
func (m *matrix) reconnects(t *testing.T, kind string) {
	d, s := m.driver().as(t), m.open()
	a, b := room(t)+" a", room(t)+" b"
	m.enter(t, d, s, a, kind, room(t), M{"socketOptions": M{"delay": 50, "minDelay": 50, "maxDelay": 200, "jitter": false}})
	m.enter(t, d, s, b, "yws31", room(t))
	for n := range 2 {
		d.do("cut", M{"client": a})
		d.edit(a, []any{"text", "append", fmt.Sprintf("offline %d ", n)})
		d.edit(b, []any{"text", "append", fmt.Sprintf("meanwhile %d ", n)})
		d.do("mend", M{"client": a})
		d.do("opened", M{"client": a, "count": n + 2, "timeout": 20000})
		d.do("synced", M{"client": a})
		d.do("saved", M{"client": a})
		d.converge(a, b)
		d.do("hasNames", M{"client": b, "want": []string{a, b}, "timeout": 20000})
	}
	noStrayText(t, d, a, b)
}

// readOnly: a reader sees every edit, cannot make one, and is told.
func (m *matrix) readOnly(t *testing.T, kind string) {
	d, s := m.driver().as(t), m.rights()
	name := room(t)
	reader, writer := name+" reader", name+" writer"
	m.enter(t, d, s, writer, "yws31", name, M{"token": mint(t, jwt.MapClaims{"sub": "writer", "app_metadata": M{"docs": []string{"doc:" + name + ":rw"}}})})
	d.edit(writer, []any{"text", "append", "public "})
	m.enter(t, d, s, reader, kind, name, M{"token": mint(t, jwt.MapClaims{"sub": "reader", "app_metadata": M{"docs": []string{"doc:" + name + ":r"}}})})
	d.do("hasText", M{"client": reader, "part": "public"})
	d.edit(reader, []any{"text", "append", "SMUGGLED"})
	d.edit(writer, []any{"text", "append", "more"})
	d.do("hasText", M{"client": reader, "part": "more"})
	switch st := d.state(reader); {
	case isHocuspocus(kind):
		if st.Scope == nil && kind != "hp2" || st.Scope != nil && *st.Scope != "readonly" || !slices.Contains(st.SyncStatus, 0) {
			t.Errorf("scope %v and status %v, want readonly and a 0", st.Scope, st.SyncStatus)
		}
	case isSweet(kind):
	case !slices.Contains(st.Denied, "read-only"):
		t.Errorf("told %q, want read-only", st.Denied)
	}
	if d.state(reader).Saved {
		t.Error("the reader believes that its edit is saved")
	}
	if text := ask[string](d, "text", M{"client": writer}); strings.Contains(text, "SMUGGLED") {
		t.Errorf("a read-only edit reached the document: %q", text)
	}
	m.kept(t, d, reader, writer)
}

// A refusal is why somebody is not let in, or is sent away, and what is said.
type refusal struct {
	name   string
	reason string
	code   int // of y-websocket and Y-Sweet
	party  int
	token  M                              // claims; nil: a good token
	back   bool                           // the client brings back what was deleted
	then   func(d *driver, client string) // what the client does once it is in; nil: it is not let in
}

var refusals = []refusal{
	{name: "expired", reason: "token-expired", code: 4401, party: 1008, token: M{"exp": 1_000_000_000}},
	{name: "no right", reason: "forbidden", code: 4403, party: 1008, token: M{"app_metadata": M{"docs": []string{"doc:other:rw"}}}},
	{name: "deleted", reason: "document-deleted", code: 4404, party: 1008,
		then: func(d *driver, c string) {
			d.edit(c, []any{"text", "append", "to be deleted"})
			d.do("saved", M{"client": c})
		}},
	{name: "brought back", reason: "document-deleted", code: 4404, party: 1008, back: true},
	{name: "too large", reason: "document-full", code: 4413, party: 1009,
		then: func(d *driver, c string) {
			d.edit(c, []any{"text", "append", strings.Repeat("0123456789", 2_500)})
			d.do("saved", M{"client": c})
			d.edit(c, []any{"text", "append", "one too many"})
		}},
}

// refused: the client is told the reason in its own words; another document of the same Hocuspocus socket does not notice.
func (m *matrix) refused(t *testing.T, kind string, r refusal) {
	d, s := m.driver().as(t), m.rights()
	name := room(t)
	good := mint(t, jwt.MapClaims{"sub": name})
	token := good
	if r.token != nil {
		claims := jwt.MapClaims{"sub": name} // a token of its own: repeat offenders are counted by it
		for k, v := range r.token {
			claims[k] = v
		}
		token = mint(t, claims)
	}
	args := M{"token": token, "wait": r.then != nil}
	neighbour := name + " neighbour"
	if isHocuspocus(kind) {
		args["socket"] = name
		m.enter(t, d, s, neighbour, kind, name+"-neighbour", M{"token": good, "socket": name})
	}
	if r.back {
		writer := name + " writer"
		m.enter(t, d, s, writer, "yws31", name, M{"token": good})
		d.edit(writer, []any{"text", "append", "deleted meanwhile"})
		d.do("saved", M{"client": writer})
		args["content"] = ask[string](d, "update", M{"client": writer})
		d.do("destroy", M{"client": writer})
		deleteDocument(t, s, name)
	}
	m.enter(t, d, s, name, kind, name, args)
	if r.then != nil {
		r.then(d, name)
	}
	if r.name == "deleted" {
		deleteDocument(t, s, name)
	}
	if isHocuspocus(kind) {
		if r.reason != "document-full" {
			if told := ask[told](d, "denied", M{"client": name}); !slices.Contains(told.Denied, r.reason) {
				t.Errorf("told %+v, want %s", told, r.reason)
			}
		} else if st := d.state(name); st.Saved {
			t.Error("the client believes that what was refused is saved")
		}
		d.edit(neighbour, []any{"text", "append", "undisturbed"})
		d.do("saved", M{"client": neighbour})
		if st := d.state(neighbour); len(st.Connects) != 1 {
			t.Errorf("%d sockets, closed %+v; want the one, for the other document's sake", len(st.Connects), st.Closes)
		}
		return
	}
	if r.reason == "document-full" { // its growth is refused, not its reader
		if !strings.HasPrefix(kind, "ysw") {
			if told := ask[told](d, "denied", M{"client": name}); !slices.Contains(told.Denied, r.reason) {
				t.Errorf("told %+v, want %s", told, r.reason)
			}
		} else if d.state(name).Saved {
			t.Error("the client believes that what was refused is saved")
		}
		if textSafe(kind) {
			d.do("textFrame", M{"client": name, "part": `"` + r.reason + `"`})
		}
		if st := d.state(name); len(st.Closes) != 0 {
			t.Errorf("closed %+v, want the socket to stay", st.Closes)
		}
		return
	}
	d.do("closed", M{"client": name})
	want := r.code
	if textSafe(kind) {
		want = r.party
	}
	st := d.state(name)
	if c := st.Closes[0]; c.Code != want || c.Reason != r.reason {
		t.Errorf("closed %d %q, want %d %q", c.Code, c.Reason, want, r.reason)
	}
	if textSafe(kind) && !strings.Contains(strings.Join(st.TextFrames, ""), `"`+r.reason+`"`) {
		t.Errorf("told %q, want the reason %s", st.TextFrames, r.reason)
	}
}

// told is what a client was told of a refusal.
type told struct {
	Denied     []string
	TextFrames []string
}

func deleteDocument(t *testing.T, s *server, name string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodDelete, s.url("/api/docs/"+url.PathEscape(name)), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+mint(t, jwt.MapClaims{"app_metadata": M{"docs": []string{"doc:**:rwd"}}}))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode/100 != 2 {
		t.Fatalf("DELETE %s: got %d", name, res.StatusCode)
	}
}
