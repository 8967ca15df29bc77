package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// what somebody would call a thing to take a page over.
const evilName = `<img src=x onerror=alert(1)>`

// writeDrafts opens a room in the page and pastes one draft after the other, each of them stored before the next.
func writeDrafts(t testing.TB, b *driver, page, address string, drafts ...string) {
	t.Helper()
	b.do("page", M{"page": page})
	b.do("go", M{"page": page, "url": address})
	b.do("wait", M{"page": page, "selector": "#saved[data-state=saved]"})
	b.do("click", M{"page": page, "selector": ".cm-content"})
	text := ""
	for _, draft := range drafts {
		b.do("press", M{"page": page, "key": "Control+End"})
		b.do("paste", M{"page": page, "text": draft})
		text += draft
		b.do("hasText", M{"page": page, "text": text})
		b.do("wait", M{"page": page, "selector": "#saved[data-state=saved]"})
		time.Sleep(100 * time.Millisecond) // the provider sends at once; a saved mark from before the paste must not count
		b.do("wait", M{"page": page, "selector": "#saved[data-state=saved]"})
	}
}

// pastText waits until the history shows a text.
func pastText(t testing.TB, b *driver, page, want string) {
	t.Helper()
	var got string
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(25 * time.Millisecond) {
		if got = ask[string](b, "eval", M{"page": page, "code": "document.querySelector('.past .cm-content').innerText"}); got == want {
			return
		}
	}
	t.Errorf("the history shows %q, want %q", got, want)
}

// versionsOf answers the names that the server has for a document, newest moment first.
func versionsOf(t testing.TB, s *server, doc string) []string {
	t.Helper()
	res, err := http.Get(s.url("/api/docs/" + url.PathEscape(doc) + "/versions"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct{ Versions []struct{ Name string } }
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, v := range body.Versions {
		names = append(names, v.Name)
	}
	return names
}

func TestPageNamesOpensRestoresAndDeletesVersions(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	const doc = "plans/versions"
	writeDrafts(t, b, "ann", s.url("/"+doc), "one", " two", " three")
	names := func() []string {
		return ask[[]string](b, "all", M{"page": "ann", "selector": ".version-name"})
	}
	hasNames := func(want ...string) {
		t.Helper()
		var got []string
		for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(25 * time.Millisecond) {
			if got = names(); slices.Equal(got, want) {
				return
			}
		}
		t.Fatalf("the page lists %q, want %q", got, want)
	}

	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("wait", M{"page": "ann", "selector": ".history .slider:not([disabled])"})
	b.do("click", M{"page": "ann", "selector": "#tab-versions"})
	pastText(t, b, "ann", "one two three")

	// Names are given to what the slider shows.
	b.do("fill", M{"page": "ann", "selector": "#version-name", "text": evilName})
	b.do("press", M{"page": "ann", "key": "Enter"})
	hasNames(evilName)
	b.do("eval", M{"page": "ann", "code": "document.querySelector('.slider').focus()"})
	b.do("press", M{"page": "ann", "key": "ArrowLeft"})
	b.do("press", M{"page": "ann", "key": "ArrowLeft"})
	pastText(t, b, "ann", "one")
	b.do("fill", M{"page": "ann", "selector": "#version-name", "text": "the/first draft"})
	b.do("click", M{"page": "ann", "selector": "#version-add"})
	hasNames(evilName, "the/first draft")
	if got := versionsOf(t, s, doc); !slices.Equal(got, names()) {
		t.Errorf("the server has %q, the page shows %q", got, names())
	}
	if at := ask[[]string](b, "all", M{"page": "ann", "selector": ".mark", "name": "title"}); !slices.Equal(at, names()) {
		t.Errorf("the slider has marks of %q, want one for each version", at)
	}
	if n := len(ask[[]string](b, "all", M{"page": "ann", "selector": ".history img"})); n != 0 {
		t.Errorf("a version's name became %d elements", n)
	}

	// A name that is taken is refused with a sentence, one that cannot be is never sent.
	b.do("fill", M{"page": "ann", "selector": "#version-name", "text": "the/first draft"})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("wait", M{"page": "ann", "selector": ".version-form .problem:not(:empty)"})
	if got := ask[string](b, "inner", M{"page": "ann", "selector": ".version-form .problem"}); !strings.Contains(got, "already") {
		t.Errorf("a second version of a name is answered %q, want that there is one already", got)
	}
	b.do("fill", M{"page": "ann", "selector": "#version-name", "text": "a//b"})
	b.do("press", M{"page": "ann", "key": "Enter"})
	if got := ask[string](b, "inner", M{"page": "ann", "selector": ".version-form .problem"}); !strings.Contains(got, "slashes") {
		t.Errorf("the name a//b is answered %q, want why not", got)
	}
	ask[[]string](b, "problems", M{"page": "ann"}) // the browser reports the 409

	// Open one, see that the list of edits knows it, and restore the other.
	b.do("click", M{"page": "ann", "selector": `.moment-row[title="` + evilName + `"]`})
	pastText(t, b, "ann", "one two three")
	b.do("shot", M{"page": "ann", "path": filepath.Join(shots(t), "versions.png")})
	b.do("click", M{"page": "ann", "selector": "#tab-edits"})
	b.do("wait", M{"page": "ann", "selector": ".moments .named"})
	b.do("click", M{"page": "ann", "selector": "#tab-versions"})
	b.do("click", M{"page": "ann", "selector": `.moment-row[title="the/first draft"]`})
	pastText(t, b, "ann", "one")
	b.do("click", M{"page": "ann", "selector": ".history-foot .primary"})
	if got := ask[string](b, "inner", M{"page": "ann", "selector": ".confirm"}); !strings.Contains(got, "“the/first draft”") {
		t.Errorf("the question is %q, want the name of the version in it", got)
	}
	b.do("click", M{"page": "ann", "selector": ".confirm .danger"})
	b.do("hasText", M{"page": "ann", "text": "one"})

	// Deleting asks first, and says what it does; Escape leaves all as it is.
	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("click", M{"page": "ann", "selector": "#tab-versions"})
	b.do("click", M{"page": "ann", "selector": `[aria-label="Delete the version the/first draft"]`})
	if got := ask[string](b, "inner", M{"page": "ann", "selector": ".confirm"}); !strings.Contains(got, "the/first draft") || !strings.Contains(got, "stays as it is") || !strings.Contains(got, "stays in the history") {
		t.Errorf("the question is %q, want what goes and what stays", got)
	}
	b.do("press", M{"page": "ann", "key": "Escape"})
	b.do("gone", M{"page": "ann", "selector": ".confirm"})
	if got := versionsOf(t, s, doc); len(got) != 2 {
		t.Errorf("after Escape the server has %q, want both", got)
	}
	b.do("click", M{"page": "ann", "selector": `[aria-label="Delete the version the/first draft"]`})
	b.do("click", M{"page": "ann", "selector": ".confirm .danger"})
	hasNames(evilName)
	if got := versionsOf(t, s, doc); !slices.Equal(got, []string{evilName}) {
		t.Errorf("the server has %q, want the other one only", got)
	}
	checkPage(t, b, s, "ann")
}

// Where only the name keeps a moment, deleting it says so, and until then the slider leads there.
func TestPageOpensVersionsWhoseHistoryWasDropped(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t, "--history", "none", "--compact-after", "300ms")
	writeDrafts(t, b, "ann", s.url("/dropped"), "old")
	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("click", M{"page": "ann", "selector": "#tab-versions"})
	pastText(t, b, "ann", "old")
	b.do("fill", M{"page": "ann", "selector": "#version-name", "text": "kept"})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("wait", M{"page": "ann", "selector": ".version-name"})
	b.do("press", M{"page": "ann", "key": "Escape"})
	b.do("gone", M{"page": "ann", "selector": ".history"})
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	b.do("press", M{"page": "ann", "key": "Control+End"})
	b.do("paste", M{"page": "ann", "text": " and new"})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	dropped := func() bool {
		res, err := http.Get(s.url("/api/docs/dropped/history?group=none"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var page struct{ Entries []struct{ First int } }
		if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
			t.Fatal(err)
		}
		return len(page.Entries) == 0 || page.Entries[len(page.Entries)-1].First > 1
	}
	b.do("go", M{"page": "ann", "url": "about:blank"}) // a document is folded once nobody is in it
	for until := time.Now().Add(20 * time.Second); !dropped(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the history was not dropped")
		}
	}
	b.do("go", M{"page": "ann", "url": s.url("/dropped")})
	b.do("hasText", M{"page": "ann", "text": "old and new"})
	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("click", M{"page": "ann", "selector": "#tab-versions"})
	b.do("click", M{"page": "ann", "selector": `.moment-row[title="kept"]`})
	pastText(t, b, "ann", "old")
	b.do("click", M{"page": "ann", "selector": `[aria-label="Delete the version kept"]`})
	if got := ask[string](b, "inner", M{"page": "ann", "selector": ".confirm"}); !strings.Contains(got, "cannot be opened or restored again") {
		t.Errorf("the question is %q, want that the moment goes with the name", got)
	}
	checkPage(t, b, s, "ann")
}

// Who may only read opens versions, and hears in a sentence that he may not change them.
func TestPageTellsReadersWhatTheyMayNot(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startJWT(t)
	docs := func(rule string) string { return mint(t, jwt.MapClaims{"app_metadata": M{"docs": []string{rule}}}) }
	writeDrafts(t, b, "ann", s.url("/shared#token="+docs("doc:shared:rw")), "one", " two")
	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("click", M{"page": "ann", "selector": "#tab-versions"})
	pastText(t, b, "ann", "one two")
	b.do("fill", M{"page": "ann", "selector": "#version-name", "text": "kept"})
	b.do("press", M{"page": "ann", "key": "Enter"})
	b.do("wait", M{"page": "ann", "selector": ".version-name"})

	b.do("page", M{"page": "bob"})
	b.do("go", M{"page": "bob", "url": s.url("/shared#token=" + docs("doc:shared:r"))})
	b.do("hasText", M{"page": "bob", "text": "one two"})
	b.do("click", M{"page": "bob", "selector": "#history"})
	b.do("click", M{"page": "bob", "selector": "#tab-versions"})
	b.do("click", M{"page": "bob", "selector": `.moment-row[title="kept"]`})
	pastText(t, b, "bob", "one two")
	// A reader is not offered what would be refused.
	for _, selector := range []string{"#version-name", `[aria-label="Delete the version kept"]`, ".history-foot .primary:not([hidden])"} {
		b.do("gone", M{"page": "bob", "selector": selector})
	}
	b.do("eval", M{"page": "bob", "code": "document.querySelector('.slider').focus()"})
	b.do("press", M{"page": "bob", "key": "Home"})
	pastText(t, b, "bob", "one")
	// And is refused where it asks all the same.
	for _, call := range []struct{ method, path, body string }{
		{"POST", "/versions", `{"name":"mine"}`}, {"DELETE", "/versions/kept", ""}, {"POST", "/restore", `{"at":"kept"}`},
	} {
		req, err := http.NewRequest(call.method, s.url("/api/docs/shared"+call.path), strings.NewReader(call.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+docs("doc:shared:r"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s of a reader: got %d, want 403", call.method, call.path, resp.StatusCode)
		}
	}
	b.do("shot", M{"page": "bob", "path": filepath.Join(shots(t), "reader.png")})
	b.do("press", M{"page": "ann", "key": "Escape"})
	b.do("gone", M{"page": "ann", "selector": ".history"})
	b.do("hasText", M{"page": "ann", "text": "one two"})
	if got := ask[[]string](b, "all", M{"page": "bob", "selector": ".version-name"}); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("after the refusals the page lists %q, want the one version", got)
	}
}
