package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// marked answers the text that carries an author's mark, by the mark's colour.
func marked(b *driver, page string) map[string]string {
	list := ask[[]string](b, "eval", M{"page": page, "code": `[...document.querySelectorAll('.who')].flatMap(e => [e.className, e.textContent])`})
	all := map[string]string{}
	for i := 0; i < len(list); i += 2 {
		all[list[i]] += list[i+1]
	}
	return all
}

// waitMarked waits until as many colours as pieces are seen, one on each piece of text.
func waitMarked(t testing.TB, b *driver, page string, pieces ...string) {
	t.Helper()
	var got []string
	slices.Sort(pieces)
	for until := time.Now().Add(15 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		got = got[:0]
		for _, text := range marked(b, page) {
			got = append(got, text)
		}
		if slices.Sort(got); slices.Equal(got, pieces) {
			return
		}
	}
	t.Errorf("%s: marked by author: %q, want %q", page, got, pieces)
}

func TestPageTellsWhoWroteWhatByTheLog(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startJWT(t)
	open := func(page, user string) {
		b.do("page", M{"page": page})
		b.do("go", M{"page": page, "url": s.url("/who#token=" + mint(t, jwt.MapClaims{"sub": user}))})
		b.do("wait", M{"page": page, "selector": "#saved[data-state=saved]"})
	}
	write := func(page, text, whole string) {
		b.do("click", M{"page": page, "selector": ".cm-content"})
		b.do("press", M{"page": page, "key": "Control+End"})
		b.do("paste", M{"page": page, "text": text})
		for _, p := range []string{"ann", "eve"} {
			b.do("hasText", M{"page": p, "text": whole})
		}
	}
	open("ann", "user-ann")
	open("eve", evilName)
	// What somebody calls himself in awareness is no authorship.
	b.do("click", M{"page": "eve", "selector": ".avatar.me"})
	b.do("fill", M{"page": "eve", "selector": "#me-name", "text": "user-ann"})
	b.do("press", M{"page": "eve", "key": "Enter"})
	write("ann", "ann's words", "ann's words")
	write("eve", " and eve's", "ann's words and eve's")

	b.do("click", M{"page": "ann", "selector": "#authors"})
	waitMarked(t, b, "ann", "ann's words", " and eve's")
	if got := ask[[]string](b, "all", M{"page": "ann", "selector": ".who-name"}); !slices.Equal(got, []string{"user-ann", evilName}) {
		t.Errorf("the legend names %q, want the users of the tokens", got)
	}
	if n := len(ask[[]string](b, "all", M{"page": "ann", "selector": ".legend img"})); n != 0 {
		t.Errorf("a user's name became %d elements", n)
	}
	b.do("eval", M{"page": "ann", "code": "document.querySelector('.cm-content').focus()"})
	b.do("press", M{"page": "ann", "key": "Control+End"})
	b.do("wait", M{"page": "ann", "selector": ".who-here:not(:empty)"})
	if got := ask[string](b, "inner", M{"page": "ann", "selector": ".who-here"}); !strings.Contains(got, evilName) {
		t.Errorf("at the cursor: %q, want who wrote that", got)
	}
	b.do("hover", M{"page": "ann", "selector": ".who"})
	b.do("wait", M{"page": "ann", "selector": ".who-tip"})
	if got := ask[string](b, "inner", M{"page": "ann", "selector": ".who-tip"}); !strings.Contains(got, "user-ann") {
		t.Errorf("the tooltip says %q, want the author", got)
	}
	b.do("shot", M{"page": "ann", "path": filepath.Join(shots(t), "authors.png")})

	// What is new has no author until the log has been asked, and then the right one.
	b.do("click", M{"page": "ann", "selector": ".cm-content"})
	b.do("press", M{"page": "ann", "key": "Control+Home"})
	for range 5 {
		b.do("press", M{"page": "ann", "key": "ArrowRight"})
	}
	write("eve", " too", "ann's words and eve's too")
	waitMarked(t, b, "ann", "ann's words", " and eve's too")
	b.do("click", M{"page": "ann", "selector": "#authors"})
	b.do("gone", M{"page": "ann", "selector": ".who"})

	// The past has authors as well.
	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("wait", M{"page": "ann", "selector": ".history .slider:not([disabled])"})
	b.do("click", M{"page": "ann", "selector": "#past-authors"})
	waitMarked(t, b, "ann", "ann's words", " and eve's too")
	b.do("eval", M{"page": "ann", "code": "document.querySelector('.slider').focus()"})
	b.do("press", M{"page": "ann", "key": "Home"})
	waitMarked(t, b, "ann", "ann's words")
	checkPage(t, b, s, "ann")
}

// Without login the log knows connections only, and the page says no more than that.
func TestPageTellsConnectionsApartWhereNobodyIsSignedIn(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	whole := ""
	for _, p := range []string{"ann", "bob"} {
		b.do("page", M{"page": p})
		b.do("go", M{"page": p, "url": s.url("/anybody")})
		b.do("wait", M{"page": p, "selector": "#saved[data-state=saved]"})
		b.do("hasText", M{"page": p, "text": whole})
		b.do("click", M{"page": p, "selector": ".cm-content"})
		b.do("press", M{"page": p, "key": "Control+End"})
		b.do("paste", M{"page": p, "text": "by " + p + "."})
		whole += "by " + p + "."
		b.do("hasText", M{"page": "ann", "text": whole})
	}
	b.do("click", M{"page": "bob", "selector": "#authors"})
	waitMarked(t, b, "bob", "by ann.", "by bob.")
	for _, name := range ask[[]string](b, "all", M{"page": "bob", "selector": ".who-name"}) {
		if !strings.HasPrefix(name, "Somebody (connection ") {
			t.Errorf("the legend names %q, want a connection", name)
		}
	}
	checkPage(t, b, s, "bob")
}
