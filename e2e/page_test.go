package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// newBrowser starts headless Chromium.
func newBrowser(t testing.TB) *driver {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		missing(t, "no chromium on PATH")
	}
	b := newScript(t, "browser.mjs")
	b.do("start", M{"executable": path})
	t.Cleanup(func() { b.call("stop", nil, nil) })
	return b
}

// shots is where screenshots go: YJET_SHOTS or a directory that ends with the test.
func shots(t testing.TB) string {
	if dir := os.Getenv("YJET_SHOTS"); dir != "" {
		os.MkdirAll(dir, 0o755)
		return dir
	}
	return t.TempDir()
}

// checkPage fails the test where a page logged an error or asked anybody but the server for anything.
func checkPage(t testing.TB, b *driver, s *server, page string) {
	t.Helper()
	for _, p := range ask[[]string](b, "problems", M{"page": page}) {
		t.Errorf("page %s: %s", page, p)
	}
	for _, r := range ask[[]string](b, "requests", M{"page": page}) {
		if u, err := url.Parse(r); err != nil || (u.Host != s.host && u.Scheme != "data" && u.Scheme != "blob") {
			t.Errorf("page %s asked for %s, want nothing but the server", page, r)
		}
	}
}

func TestPageInTwoBrowsers(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	dir := shots(t)
	shot := func(page, name string) { b.do("shot", M{"page": page, "path": filepath.Join(dir, name+".png")}) }

	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": s.url("/")})
	b.do("wait", M{"page": "ann", "selector": "#create"})
	shot("ann", "home")
	b.do("click", M{"page": "ann", "selector": "#create"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	room := ask[string](b, "url", M{"page": "ann"})
	if u, _ := url.Parse(room); !regexp.MustCompile(`^/[a-z]+-[a-z]+-[0-9]+$`).MatchString(u.Path) {
		t.Errorf("a new room is %s, want two words and a number", room)
	}

	b.do("page", M{"page": "bob", "dark": true, "phone": true, "width": 390, "height": 780})
	b.do("go", M{"page": "bob", "url": room})
	b.do("wait", M{"page": "bob", "selector": "#saved[data-state=saved]"})

	// Names: each is seen by the other, changes included.
	b.do("click", M{"page": "ann", "selector": ".avatar.me"})
	b.do("fill", M{"page": "ann", "selector": "#me-name", "text": "Ann <b>Other</b>"})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("wait", M{"page": "bob", "selector": `.avatar[data-name="Ann <b>Other</b>"]`})
	b.do("wait", M{"page": "ann", "selector": `.people[data-count="2"]`})

	// Both type; both end equal, and both are told that it is on disk.
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	b.do("type", M{"page": "ann", "text": "# Plan\nfrom ann"})
	b.do("hasText", M{"page": "bob", "text": "# Plan\nfrom ann"})
	b.do("click", M{"page": "bob", "selector": ".cm-line:last-child"})
	b.do("press", M{"page": "bob", "key": "End"})
	b.do("type", M{"page": "bob", "text": " and bob"})
	b.do("hasText", M{"page": "ann", "text": "# Plan\nfrom ann and bob"})
	b.do("wait", M{"page": "ann", "selector": `.caret .caret-label`})
	b.do("wait", M{"page": "bob", "selector": `.caret .caret-label`})
	if labels := ask[[]string](b, "all", M{"page": "bob", "selector": ".caret-label"}); !slices.Contains(labels, "Ann <b>Other</b>") {
		t.Errorf("bob sees carets of %q, want Ann's name as text", labels)
	}
	for _, p := range []string{"ann", "bob"} {
		b.do("wait", M{"page": p, "selector": "#saved[data-state=saved]"})
	}
	shot("ann", "room")
	shot("bob", "phone-dark")

	// Undo takes back one's own words only.
	b.do("press", M{"page": "ann", "key": "Control+z"})
	b.do("eval", M{"page": "ann", "code": "1"})
	if text := ask[string](b, "text", M{"page": "ann"}); !strings.Contains(text, "bob") {
		t.Errorf("ann's undo left %q, want bob's words kept", text)
	}
	b.do("press", M{"page": "ann", "key": "Control+y"})
	b.do("hasText", M{"page": "bob", "text": "# Plan\nfrom ann and bob"})

	// The language is part of the document.
	b.do("choose", M{"page": "ann", "selector": "select", "value": "javascript"})
	b.do("wait", M{"page": "bob", "selector": ".cm-editor.code .cm-lineNumbers"})
	shot("ann", "code")
	b.do("choose", M{"page": "ann", "selector": "select", "value": "markdown"})
	b.do("wait", M{"page": "bob", "selector": ".cm-editor.prose"})

	// The snippets name this room and this server.
	b.do("click", M{"page": "ann", "selector": "#share"})
	shot("ann", "share")
	b.do("click", M{"page": "ann", "selector": "#from-code"})
	u, _ := url.Parse(room)
	for n, name := range []string{"WebsocketProvider", "YPartyKitProvider", "YProvider", "HocuspocusProvider", "createYjsProvider"} {
		b.do("click", M{"page": "ann", "selector": fmt.Sprintf("#snippet-%d", n)})
		code := ask[string](b, "inner", M{"page": "ann", "selector": "#snippet-panel"})
		if !strings.Contains(code, name) || !strings.Contains(code, s.host) || !strings.Contains(code, strings.Trim(u.Path, "/")) {
			t.Errorf("snippet %d is %q, want %s of this server and room", n, code, name)
		}
		code = ask[string](b, "inner", M{"page": "ann", "selector": "#snippet-panel pre:not(.install)"})
		if got, want := runSnippet(t, code), "# Plan\nfrom ann and bob"; got != want {
			t.Errorf("the snippet for %s reads %q, want %q:\n%s", name, got, want, code)
		}
	}
	shot("ann", "snippets")
	b.do("press", M{"page": "ann", "key": "Escape"})

	// The log holds what the page shows.
	var f struct{ Page string }
	unmarshal(t, rebuild(t, s.nats, strings.Trim(u.Path, "/")).Fingerprint, &f)
	if want := "# Plan\nfrom ann and bob"; f.Page != want {
		t.Errorf("the log holds %q, want %q", f.Page, want)
	}

	// Recent rooms on the start page; the other one is alone again.
	b.do("go", M{"page": "ann", "url": s.url("/")})
	b.do("wait", M{"page": "ann", "selector": fmt.Sprintf(`.recent a[href="%s"]`, u.Path)})
	b.do("wait", M{"page": "bob", "selector": `.people[data-count="1"]`, "timeout": 5000})
	b.do("gone", M{"page": "bob", "selector": ".caret", "timeout": 5000})
	shot("ann", "home-recent")
	for _, p := range []string{"ann", "bob"} {
		checkPage(t, b, s, p)
	}
}

// runSnippet runs the lines that the page shows, as they are, and answers what `text` holds once it is there.
func runSnippet(t testing.TB, code string) string {
	t.Helper()
	f, err := os.CreateTemp("node_modules", "snippet-*.mjs") // where the packages are found
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	fmt.Fprintf(f, "%s\nfor (let i = 0; i < 500 && text.length === 0; i++) await new Promise(resolve => setTimeout(resolve, 20))\nprocess.stdout.write(text.toString(), () => process.exit(0))\n", code)
	f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", "--import", "./globals.mjs", f.Name()).Output()
	if err != nil {
		t.Errorf("the snippet does not run: %v\n%s", err, code)
	}
	// The y-sweet client greets with a link to its debugger.
	text := string(out)
	if i := strings.LastIndex(text, "# Plan"); i >= 0 {
		text = text[i:]
	}
	return text
}

func TestPageTellsTheTruthAboutSaving(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	dir := shots(t)
	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": s.url("/notes/caf%C3%A9")})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	b.do("type", M{"page": "ann", "text": "one"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})

	s.kill()
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=connecting]"})
	b.do("type", M{"page": "ann", "text": " two"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=offline]"})
	b.do("wait", M{"page": "ann", "selector": ".banner[data-state=retrying]:not([hidden])"})
	if text := ask[string](b, "inner", M{"page": "ann", "selector": ".banner"}); !strings.Contains(text, "keeps trying") || !strings.Contains(text, "remembers") {
		t.Errorf("with the server gone the page says %q, want that it tries again and what is shown", text)
	}
	b.do("shot", M{"page": "ann", "path": filepath.Join(dir, "offline.png")})
	time.Sleep(500 * time.Millisecond)
	if state := ask[string](b, "attr", M{"page": "ann", "selector": "#saved", "name": "data-state"}); state != "offline" {
		t.Errorf("with the server gone the mark is %q, want offline", state)
	}
	s.start()
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]", "timeout": 30000})
	var f struct{ Page string }
	unmarshal(t, rebuild(t, s.nats, "notes/café").Fingerprint, &f)
	if f.Page != "one two" {
		t.Errorf("the mark said saved and the log holds %q, want %q", f.Page, "one two")
	}
	for _, p := range ask[[]string](b, "problems", M{"page": "ann"}) {
		if !strings.Contains(p, "ERR_CONNECTION_REFUSED") && !strings.Contains(p, "WebSocket") {
			t.Errorf("page: %s", p)
		}
	}
}

// What strangers put into the document and into awareness reaches the page as text or not at all.
func TestPageShowsStrangersAsText(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	d := newDriver(t)
	evil := `<img src=x onerror="document.title='owned'">`
	d.open(s, "eve", "yws31", "strangers", M{"user": M{"name": evil, "color": "red;background-image:url(https://evil.example/x)"}})
	d.open(s, "odd", "yws31", "strangers", M{"user": M{"name": "\u202egnihton", "color": 7}})
	d.do("setAwareness", M{"client": "odd", "field": "cursor", "value": M{"anchor": M{"type": "nonsense"}, "head": 3}})
	d.open(s, "nul", "yws31", "strangers", M{"user": M{"name": M{"toString": 1}}})
	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": s.url("/strangers")})
	b.do("wait", M{"page": "ann", "selector": `.people[data-count="4"]`})
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	b.do("type", M{"page": "ann", "text": "fine " + evil})
	b.do("hasText", M{"page": "ann", "text": "fine " + evil})
	if title := ask[string](b, "title", M{"page": "ann"}); title != "strangers · yjet" {
		t.Errorf("title is %q", title)
	}
	if n := len(ask[[]string](b, "all", M{"page": "ann", "selector": ".people img, .caret img"})); n != 0 {
		t.Errorf("a stranger's name became %d elements", n)
	}
	for _, style := range ask[[]string](b, "all", M{"page": "ann", "selector": ".avatar", "name": "style"}) {
		if !regexp.MustCompile(`^--who: #[0-9a-f]{6};$`).MatchString(style) {
			t.Errorf("an avatar's style is %q, want a colour of six digits", style)
		}
	}
	checkPage(t, b, s, "ann")
}

// The answer to the page's question for its rights comes after the document was deleted, and opens nothing.
func TestPageStaysLockedOnceItIsRefused(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": s.url("/gone")})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	b.do("type", M{"page": "ann", "text": "here"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	b.do("eval", M{"page": "ann", "code": `(() => {
  const real = window.fetch
  window.fetch = async (url, o) => {
    const answer = await real(url, o)
    if (!String(url).endsWith('/access') || !answer.ok) return answer
    document.body.dataset.held = 'yes'
    await new Promise(resolve => { window.letGo = resolve })
    const json = answer.json.bind(answer)
    answer.json = async () => {
      const read = await json()
      setTimeout(() => { document.body.dataset.answered = 'yes' }) // when the page has taken it
      return read
    }
    return answer
  }
})()`})
	s.kill()
	s.start()
	b.do("wait", M{"page": "ann", "selector": "body[data-held=yes]", "timeout": 60000})
	s.fetch(http.MethodDelete, "/api/docs/gone", nil)
	b.do("wait", M{"page": "ann", "selector": ".banner[data-state=refused]:not([hidden])", "timeout": 60000})
	b.do("eval", M{"page": "ann", "code": "window.letGo()"})
	b.do("wait", M{"page": "ann", "selector": "body[data-answered=yes]"})
	if locked := ask[[]string](b, "all", M{"page": "ann", "selector": "#editor [aria-readonly=true]"}); len(locked) != 1 {
		t.Error("the editor takes keys after the refusal")
	}
	if state := ask[string](b, "attr", M{"page": "ann", "selector": "#saved", "name": "data-state"}); state != "closed" {
		t.Errorf("the mark is %q after the refusal, want closed", state)
	}
}

func TestPageSaysWhyItIsRefused(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startJWT(t)
	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": s.url("/private#token=" + mint(t, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))})
	b.do("wait", M{"page": "ann", "selector": ".gate:not([hidden])"})
	if text := ask[string](b, "inner", M{"page": "ann", "selector": ".gate"}); !strings.Contains(text, "expired") {
		t.Errorf("the page says %q, want that the token has expired", text)
	}
	if seen := ask[bool](b, "eval", M{"page": "ann", "code": "document.querySelector('#editor').checkVisibility()"}); seen {
		t.Error("a refused page shows an editor")
	}
	b.do("shot", M{"page": "ann", "path": filepath.Join(shots(t), "refused.png")})
	// A wrong token is told of again; a good one opens the room, for reading where it allows no more.
	b.do("fill", M{"page": "ann", "selector": "#token", "text": "nonsense"})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("wait", M{"page": "ann", "selector": ".gate:not([hidden]) #token"})
	b.do("fill", M{"page": "ann", "selector": "#token", "text": mint(t, map[string]any{"app_metadata": M{"docs": []string{"doc:private:r"}}})})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=readonly]"})
	b.do("wait", M{"page": "ann", "selector": "#editor [aria-readonly=true]"})
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	b.do("type", M{"page": "ann", "text": "not mine"})
	b.do("shot", M{"page": "ann", "path": filepath.Join(shots(t), "read-only.png")})
	b.do("hasText", M{"page": "ann", "text": ""})
	if state := ask[string](b, "attr", M{"page": "ann", "selector": "#saved", "name": "data-state"}); state != "readonly" {
		t.Errorf("after keys of a reader the mark is %q, want readonly", state)
	}
	b.do("page", M{"page": "bob"})
	b.do("go", M{"page": "bob", "url": s.url("/private?token=" + mint(t, nil))})
	b.do("wait", M{"page": "bob", "selector": "#saved[data-state=saved]"})
	if u := ask[string](b, "url", M{"page": "bob"}); strings.Contains(u, "token") {
		t.Errorf("the address bar still holds the token: %s", u)
	}
	b.do("reload", M{"page": "bob"})
	b.do("wait", M{"page": "bob", "selector": "#saved[data-state=saved]"})
}

func TestPageShowsAndRestoresThePast(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	dir := shots(t)
	for _, p := range []string{"ann", "bob"} {
		b.do("page", M{"page": p})
		b.do("go", M{"page": p, "url": s.url("/past")})
		b.do("wait", M{"page": p, "selector": "#saved[data-state=saved]"})
	}
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	drafts := []string{"first draft", "first draft, longer", "first draft, longer, and longer"}
	typed := ""
	for _, draft := range drafts {
		b.do("paste", M{"page": "ann", "text": strings.TrimPrefix(draft, typed)})
		typed = draft
		b.do("hasText", M{"page": "bob", "text": draft})
		b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	}
	b.do("press", M{"page": "ann", "key": "Control+a"})
	b.do("paste", M{"page": "ann", "text": "all gone"})
	b.do("hasText", M{"page": "bob", "text": "all gone"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})

	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("wait", M{"page": "ann", "selector": ".history .slider:not([disabled])"})
	shown := func() string {
		return ask[string](b, "eval", M{"page": "ann", "code": "document.querySelector('.past .cm-content').innerText"})
	}
	seen := map[string]bool{}
	b.do("eval", M{"page": "ann", "code": "document.querySelector('.slider').focus()"})
	b.do("press", M{"page": "ann", "key": "Home"})
	for range 12 {
		time.Sleep(250 * time.Millisecond)
		seen[shown()] = true
		if len(seen) == 3 {
			shotPath := filepath.Join(dir, "history.png")
			b.do("shot", M{"page": "ann", "path": shotPath})
		}
		if shown() == "all gone" {
			break
		}
		b.do("press", M{"page": "ann", "key": "ArrowRight"})
	}
	for _, draft := range append(drafts, "all gone") {
		if !seen[draft] {
			t.Errorf("the slider showed %v, not %q", seen, draft)
		}
	}
	for shown() != drafts[1] {
		b.do("press", M{"page": "ann", "key": "ArrowLeft"})
		time.Sleep(250 * time.Millisecond)
		if ask[string](b, "value", M{"page": "ann", "selector": ".slider"}) == "0" {
			t.Fatalf("the slider does not find %q again", drafts[1])
		}
	}
	b.do("click", M{"page": "ann", "selector": "#compare"})
	b.do("wait", M{"page": "ann", "selector": ".past .cm-deletedChunk"})
	b.do("shot", M{"page": "ann", "path": filepath.Join(dir, "history-compare.png")})
	// Restoring asks first: Enter on the question leaves all as it is.
	b.do("click", M{"page": "ann", "selector": ".history-foot .primary"})
	b.do("wait", M{"page": "ann", "selector": ".confirm"})
	b.do("shot", M{"page": "ann", "path": filepath.Join(dir, "history-restore.png")})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("gone", M{"page": "ann", "selector": ".confirm"})
	b.do("hasText", M{"page": "bob", "text": "all gone"})
	b.do("click", M{"page": "ann", "selector": ".history-foot .primary"})
	b.do("click", M{"page": "ann", "selector": ".confirm .danger"})
	for _, p := range []string{"ann", "bob"} {
		b.do("hasText", M{"page": p, "text": drafts[1]})
	}
	b.do("wait", M{"page": "ann", "selector": ".toast.show .toast-action"})
	b.do("shot", M{"page": "ann", "path": filepath.Join(dir, "restored.png")})
	var f struct{ Page string }
	unmarshal(t, rebuild(t, s.nats, "past").Fingerprint, &f)
	if f.Page != drafts[1] {
		t.Errorf("after restoring the log holds %q, want %q", f.Page, drafts[1])
	}
	b.do("click", M{"page": "ann", "selector": ".toast-action"})
	for _, p := range []string{"ann", "bob"} {
		b.do("hasText", M{"page": p, "text": "all gone"})
	}
	for _, p := range []string{"ann", "bob"} {
		checkPage(t, b, s, p)
	}
}

// Two tabs of one browser also talk to each other without any server; what they agree on reaches the log once
// there is one again, and neither calls its own words saved before.
func TestPageInTwoTabsOfOneBrowser(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	b.do("page", M{"page": "one"})
	b.do("page", M{"page": "two", "like": "one"})
	for _, p := range []string{"one", "two"} {
		b.do("go", M{"page": p, "url": s.url("/tabs")})
		b.do("wait", M{"page": p, "selector": "#saved[data-state=saved]"})
	}
	s.kill()
	b.do("wait", M{"page": "one", "selector": "#saved[data-state=connecting]"})
	b.do("click", M{"page": "one", "selector": ".cm-content"})
	b.do("type", M{"page": "one", "text": "between tabs"})
	b.do("hasText", M{"page": "two", "text": "between tabs"})
	b.do("wait", M{"page": "one", "selector": "#saved[data-state=offline]"})
	s.start()
	for _, p := range []string{"one", "two"} {
		b.do("wait", M{"page": p, "selector": "#saved[data-state=saved]", "timeout": 30000})
	}
	var f struct{ Page string }
	unmarshal(t, rebuild(t, s.nats, "tabs").Fingerprint, &f)
	if f.Page != "between tabs" {
		t.Errorf("the log holds %q, want %q", f.Page, "between tabs")
	}
	b.do("click", M{"page": "two", "selector": ".cm-content"})
	b.do("press", M{"page": "two", "key": "Control+End"})
	b.do("type", M{"page": "two", "text": " and on"})
	b.do("hasText", M{"page": "one", "text": "between tabs and on"})
	b.do("wait", M{"page": "two", "selector": "#saved[data-state=saved]"})
}
