package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// oneLetter is an update that writes "x" into the text "t".
var oneLetter = []byte("\x01\x01\x01\x00\x04\x01\x01t\x01x\x00")

// putDocs makes documents over HTTP.
func putDocs(t testing.TB, s *server, token string, names ...string) {
	t.Helper()
	for _, name := range names {
		for {
			req, _ := http.NewRequest("POST", s.url("/api/docs/"+url.PathEscape(name)), bytes.NewReader(oneLetter))
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode == http.StatusTooManyRequests {
				time.Sleep(200 * time.Millisecond)
				continue
			}
			if res.StatusCode != http.StatusNoContent {
				t.Fatalf("POST %s: %d", name, res.StatusCode)
			}
			break
		}
	}
}

// waitList waits until the list of documents names these and no others.
func waitList(t testing.TB, b *driver, page string, want ...string) {
	t.Helper()
	var got []string
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if got = ask[[]string](b, "all", M{"page": page, "selector": ".docs th[scope=row]"}); slices.Equal(got, want) {
			return
		}
	}
	t.Errorf("%s: listed are %q, want %q", page, got, want)
}

func TestPageInspectsDocuments(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	d := newDriver(t)
	_, js := connectNATS(t, s.nats)
	dir := shots(t)
	const evilDoc = "notes/" + evilName
	var many []string
	for i := range 120 {
		many = append(many, fmt.Sprintf("many/%03d", i))
	}
	putDocs(t, s, "", many...)
	d.open(s, "eve", "yws31", evilDoc, M{"user": M{"name": evilName, "color": "#0f766e"}})
	d.edit("eve", []any{"text", "append", "hello " + evilName})
	d.edit("eve", []any{"map", "set", evilName, M{"deep": []any{1, evilName}}})
	d.do("saved", M{"client": "eve"})

	// The list: by name, in pages, by prefix.
	b.do("page", M{"page": "op"})
	b.do("go", M{"page": "op", "url": s.url("/")})
	b.do("click", M{"page": "op", "selector": `a[href="/inspect"]`})
	waitList(t, b, "op", many[:100]...)
	b.do("click", M{"page": "op", "selector": "#more-docs"})
	waitList(t, b, "op", append(slices.Clone(many), evilDoc)...)
	b.do("shot", M{"page": "op", "path": filepath.Join(dir, "inspect-list.png")})
	b.do("fill", M{"page": "op", "selector": "#prefix", "text": "no/such"})
	waitList(t, b, "op")
	b.do("fill", M{"page": "op", "selector": "#prefix", "text": "notes/"})
	waitList(t, b, "op", evilDoc)
	if got := ask[string](b, "inner", M{"page": "op", "selector": ".docs tbody td:last-child"}); got != "1" {
		t.Errorf("sessions now: %q, want the one", got)
	}

	// One document, pane by pane; each says how the nats tool shows the same.
	b.do("click", M{"page": "op", "selector": ".docs a"})
	b.do("wait", M{"page": "op", "selector": ".tree"})
	command := func(pane string) string {
		t.Helper()
		b.do("wait", M{"page": "op", "selector": "#pane-" + pane + "-panel .command code"})
		return ask[string](b, "inner", M{"page": "op", "selector": "#pane-" + pane + "-panel .command code"})
	}
	tree := ask[string](b, "inner", M{"page": "op", "selector": ".tree"})
	if !strings.Contains(tree, "hello "+evilName) || !strings.Contains(tree, "1 key") || strings.Contains(tree, "2 items") {
		t.Errorf("the tree reads %q, want text and map, and what lies in them closed", tree)
	}
	b.do("eval", M{"page": "op", "code": `document.querySelector('.tree details details summary').click()`})
	b.do("wait", M{"page": "op", "selector": ".tree details details[open] summary + ul"})
	if tree = ask[string](b, "inner", M{"page": "op", "selector": ".tree"}); !strings.Contains(tree, "2 items") {
		t.Errorf("the opened tree reads %q, want the list", tree)
	}
	token := "notes.=3Cimg=20src=3Dx=20onerror=3Dalert=281=29=3E"
	if got := command("content"); !strings.Contains(got, token) {
		t.Errorf("the command is %q, want the name as NATS has it", got)
	}
	b.do("click", M{"page": "op", "selector": "#pane-vector"})
	b.do("wait", M{"page": "op", "selector": "#pane-vector-panel tbody tr"})
	b.do("click", M{"page": "op", "selector": "#pane-presence"})
	if got := command("presence"); got != "nats kv watch ypresence '"+token+".*'" {
		t.Errorf("the command is %q", got)
	}
	if got := ask[string](b, "inner", M{"page": "op", "selector": ".client"}); !strings.Contains(got, evilName) || !strings.Contains(got, "Not signed in") {
		t.Errorf("presence reads %q, want the state as JSON", got)
	}
	b.do("click", M{"page": "op", "selector": "#pane-log"})
	b.do("wait", M{"page": "op", "selector": ".log .seq"})
	says := strings.Join(ask[[]string](b, "all", M{"page": "op", "selector": ".log .says"}), "\n")
	if !strings.Contains(says, "+ t: hello "+evilName) || !strings.Contains(says, `{"deep":[1,"`+evilName+`"]}`) {
		t.Errorf("the log says %q, want the text and the map", says)
	}
	b.do("click", M{"page": "op", "selector": ".log .seq"})
	if got := ask[string](b, "inner", M{"page": "op", "selector": ".dump pre"}); !regexp.MustCompile(`^000000  [0-9a-f ]{48} `).MatchString(got) {
		t.Errorf("the bytes read %q", got)
	}
	b.do("shot", M{"page": "op", "path": filepath.Join(dir, "inspect-log.png")})

	// The command names what is really there.
	m := regexp.MustCompile(`^nats stream view (YDOC_\d\d) --subject (\S+) --translate 'yjet decode'$`).FindStringSubmatch(command("log"))
	if m == nil {
		t.Fatalf("the command is %q", command("log"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if stream, err := js.Stream(ctx, m[1]); err != nil {
		t.Error(err)
	} else if _, err := stream.GetLastMsgForSubject(ctx, m[2]); err != nil {
		t.Errorf("%s %s: %v", m[1], m[2], err)
	}

	// Following shows what comes.
	b.do("click", M{"page": "op", "selector": "#log-follow"})
	d.edit("eve", []any{"text", "append", " and more"})
	b.do("wait", M{"page": "op", "selector": `.log tr:first-child .says :text("and more")`})

	// An address leads back to the same pane, and to one that is not there.
	b.do("reload", M{"page": "op"})
	b.do("wait", M{"page": "op", "selector": ".log .seq"})
	if n := len(ask[[]string](b, "all", M{"page": "op", "selector": ".inspect main img"})); n != 0 {
		t.Errorf("a stranger's name became %d elements", n)
	}
	checkPage(t, b, s, "op")
	b.do("go", M{"page": "op", "url": s.url("/inspect#doc=not%2Fthere")})
	b.do("wait", M{"page": "op", "selector": ".problem:not([hidden])"})
}

// The page at /inspect takes nothing from the room of that name.
func TestPageInspectIsARoomForSockets(t *testing.T) {
	t.Parallel()
	needNode(t)
	s := startDev(t)
	d := newDriver(t)
	for _, kind := range []string{"yws31", "hp4"} {
		d.open(s, kind, kind, "inspect")
	}
	d.edit("yws31", []any{"text", "append", "in the room"})
	d.do("hasText", M{"client": "hp4", "part": "in the room"})
	res, err := http.Get(s.url("/inspect"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Errorf("GET /inspect: got %d %q, want the page", res.StatusCode, res.Header.Get("Content-Type"))
	}
}

// In production the page shows what its reader's token may read.
func TestPageInspectShowsNobodyMoreThanHisGrant(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startJWT(t)
	docs := func(list ...string) string {
		return mint(t, jwt.MapClaims{"app_metadata": M{"docs": list}})
	}
	putDocs(t, s, docs("doc:**:rw"), "secret/plan", "team/plan")
	b.do("page", M{"page": "out"})
	b.do("go", M{"page": "out", "url": s.url("/inspect#doc=secret%2Fplan")})
	b.do("wait", M{"page": "out", "selector": ".ask-token #token"})
	b.do("go", M{"page": "out", "url": s.url("/inspect")})
	b.do("reload", M{"page": "out"})
	b.do("wait", M{"page": "out", "selector": ".ask-token #token"})
	b.do("fill", M{"page": "out", "selector": "#token", "text": "not.a.token"})
	b.do("press", M{"page": "out", "key": "Enter"})
	b.do("wait", M{"page": "out", "selector": `.ask-token h2:text("does not accept")`})
	if text := ask[string](b, "inner", M{"page": "out", "selector": "body"}); strings.Contains(text, "plan") {
		t.Errorf("without a token the page reads %q", text)
	}
	b.do("fill", M{"page": "out", "selector": "#token", "text": docs("doc:team/**:r")})
	b.do("press", M{"page": "out", "key": "Enter"})
	waitList(t, b, "out", "team/plan")
	b.do("shot", M{"page": "out", "path": filepath.Join(shots(t), "inspect-token.png")})

	// A link with a token in it works, keeps the document, and leaves the address bar.
	b.do("page", M{"page": "in"})
	b.do("go", M{"page": "in", "url": s.url("/inspect#token=" + docs("doc:team/**:r") + "&doc=team%2Fplan&pane=log")})
	b.do("wait", M{"page": "in", "selector": ".log .seq"})
	if u := ask[string](b, "url", M{"page": "in"}); strings.Contains(u, "token") {
		t.Errorf("the address bar still holds the token: %s", u)
	}
	checkPage(t, b, s, "in")
	b.do("go", M{"page": "in", "url": s.url("/inspect#doc=secret%2Fplan&token=" + docs("doc:team/**:r"))}) // the page is there already
	b.do("wait", M{"page": "in", "selector": ".problem:not([hidden])"})
	if u := ask[string](b, "url", M{"page": "in"}); strings.Contains(u, "token") || !strings.Contains(u, "secret") {
		t.Errorf("the address bar holds %s, want the document without the token", u)
	}
	if text := ask[string](b, "inner", M{"page": "in", "selector": "main"}); !strings.Contains(text, "none that you may read") {
		t.Errorf("another's document reads %q", text)
	}
}
