package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// backend is an application's backend: it says who may open what, and has no first states. For documents named after a failure it fails
// until it is healed.
type backend struct {
	*httptest.Server
	mu     sync.Mutex
	healed map[string]bool
	asked  map[string]int
}

func newBackend(t *testing.T) *backend {
	a := &backend{healed: map[string]bool{}, asked: map[string]int{}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Event, Document string }
		json.NewDecoder(r.Body).Decode(&in)
		load := in.Event == "document.load"
		a.mu.Lock()
		defer a.mu.Unlock()
		fails := strings.HasSuffix(in.Document, "rights-fail") && !load || strings.HasSuffix(in.Document, "load-fails") && load
		if fails {
			a.asked[in.Document]++
		}
		switch {
		case fails && !a.healed[in.Document]:
			w.WriteHeader(http.StatusInternalServerError)
		case load:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"access":"rw","userId":"ada"}`))
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *backend) heal(doc string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.healed[doc] = true
}

func (a *backend) failed(doc string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[doc] > 0
}

// A trouble is what befalls one document of a socket that it shares with another.
type trouble struct {
	name   string
	doc    func(room string) string
	raw    string // hex: what the client sends behind the document's address, once it is in
	reason string // ""; it passes
}

var neighbours = []trouble{
	{name: "empty name", doc: func(string) string { return "" }, reason: "room-required"},
	{name: "impossible name", doc: func(string) string { return "a/../b" }, reason: "bad-document-name"},
	{name: "malformed update", doc: func(room string) string { return room + "-bad" }, raw: "000203090909", reason: "malformed"},
	{name: "malformed message", doc: func(room string) string { return room + "-cut" }, raw: "0009", reason: "malformed"},
	{name: "rights fail", doc: func(room string) string { return room }},
	{name: "load fails", doc: func(room string) string { return room }},
}

// neighbour: one document of a socket is in trouble; the other is not disturbed, before and after.
func (m *matrix) neighbour(t *testing.T, kind string, n trouble) {
	d, s := m.driver().as(t), m.apps()
	name := room(t)
	good, bad := name+" good", name+" bad"
	doc := n.doc(name)
	m.enter(t, d, s, good, kind, name+"-good", M{"socket": name, "token": "good"})
	m.enter(t, d, s, bad, kind, doc, M{"socket": name, "token": "bad", "wait": n.raw != ""})
	if n.raw != "" {
		body, err := hex.DecodeString(n.raw)
		if err != nil {
			t.Fatal(err)
		}
		frame := append([]byte{byte(len(doc))}, doc...)
		d.do("sendRaw", M{"client": good, "data": base64.StdEncoding.EncodeToString(append(frame, body...))})
	}
	if n.reason != "" {
		if got := ask[told](d, "denied", M{"client": bad}); !slices.Contains(got.Denied, n.reason) {
			t.Errorf("told %+v, want %s", got, n.reason)
		}
	} else {
		for began := time.Now(); !m.app().failed(doc); time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatal("the app was not asked")
			}
		}
	}
	d.edit(good, []any{"text", "append", "undisturbed"})
	d.do("saved", M{"client": good})
	if n.reason == "" {
		m.app().heal(doc)
		d.do("synced", M{"client": bad, "timeout": 20000})
		d.edit(bad, []any{"text", "append", "in at last"})
		d.do("saved", M{"client": bad})
	}
	m.kept(t, d, good)
}

// startDamaged starts a server of which the named documents cannot be read: their snapshots' heads are garbage, and nothing else of
// them is left to make one from.
func startDamaged(t *testing.T, docs ...string) *server {
	natsAddr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := startServe(t, "--auth", "none", "--data", filepath.Join(t.TempDir(), "data"), "--nats-addr", natsAddr)
	nc, err := nats.Connect("nats://" + natsAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		for shard := range 2 { // one of them is the document's
			if _, err := js.Publish(t.Context(), fmt.Sprintf("ysnap.%02d.head.%s", shard, doc), []byte("garbage")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// damaged: a document that cannot be read is refused in its client's dialect; another on the same socket is not disturbed.
func (m *matrix) damaged(t *testing.T, kind string) {
	d, s := m.driver().as(t), m.broken()
	name := room(t)
	good, bad := name+" good", name+" bad"
	if isHocuspocus(kind) {
		m.enter(t, d, s, good, kind, name+"-good", M{"socket": name})
		m.enter(t, d, s, bad, kind, "damaged-"+kind, M{"socket": name, "wait": false})
		if got := ask[told](d, "denied", M{"client": bad}); !slices.Contains(got.Denied, "document-damaged") {
			t.Errorf("told %+v, want document-damaged", got)
		}
		d.edit(good, []any{"text", "append", "undisturbed"})
		d.do("saved", M{"client": good})
		m.kept(t, d, good)
		return
	}
	m.enter(t, d, s, bad, kind, "damaged-"+kind, M{"wait": false})
	want := 4409
	if strings.HasPrefix(kind, "yp") {
		want = 1011
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		st := d.state(bad)
		if len(st.Closes) > 0 {
			if c := st.Closes[0]; c.Code != want || c.Reason != "document-damaged" {
				t.Errorf("closed with %d %s, want %d document-damaged", c.Code, c.Reason, want)
			}
			return
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not closed: %+v", st)
		}
	}
}
