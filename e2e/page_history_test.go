package e2e

import (
	"bytes"
	"compress/gzip"
	varint "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The whole writing of a paper, 259,778 edits of one key each, lies beside some checkouts; the others make edits of their own.
const paperTrace = "../../shared/traces/automerge-paper.v1.gz"

// longWriting returns some ten thousand updates of one edit each to the text of the page's editor; in the long form those of the paper, or
// as many.
func longWriting(t testing.TB) [][]byte {
	t.Helper()
	if os.Getenv("YJET_LONG") == "" {
		return typed(12_000)
	}
	if f, err := os.Open(paperTrace); err == nil {
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		var updates [][]byte
		for len(b) > 0 {
			size, w := varint.Uvarint(b)
			u := b[w : w+int(size)]
			updates = append(updates, bytes.ReplaceAll(u, []byte("\x01\x04text"), []byte("\x01\x0acodemirror")))
			b = b[w+int(size):]
		}
		return updates
	}
	return typed(260_000)
}

// typed returns n updates of one client: letters at the end, and every eighth edit takes the letter before it away again.
func typed(n int) [][]byte {
	const client = 7
	updates := make([][]byte, 0, n)
	clock := uint64(0)
	for i := range n {
		if i%8 == 7 {
			b := []byte{0, 1, client, 1}
			updates = append(updates, append(varint.AppendUvarint(b, clock-1), 1))
			continue
		}
		b := varint.AppendUvarint([]byte{1, 1, client}, clock)
		if clock == 0 {
			b = append(b, "\x04\x01\x0acodemirror"...)
		} else {
			b = varint.AppendUvarint(append(b, 0x84, client), clock-1)
		}
		letter := byte('a' + i%26)
		if i%60 == 59 {
			letter = '\n'
		}
		updates = append(updates, append(b, 1, letter, 0))
		clock++
	}
	return updates
}

// importWriting makes a document whose log is these updates, a record each, ten seconds apart, by two users who take turns of 500.
func importWriting(s *server, doc string, updates [][]byte) {
	s.t.Helper()
	r, w := io.Pipe()
	go func() {
		enc := json.NewEncoder(w)
		begin := time.Now().Add(-time.Duration(len(updates)+60) * 10 * time.Second)
		enc.Encode(M{"yjet": "document", "v": 1, "doc": doc, "exported": time.Now().UTC().Format(time.RFC3339)})
		for i, u := range updates {
			enc.Encode(M{"seq": i + 1, "time": begin.Add(time.Duration(i) * 10 * time.Second).UTC().Format(time.RFC3339), "user": []string{"Ann", "Bob"}[i/500%2], "update": u})
		}
		enc.Encode(M{"end": true, "records": len(updates), "seq": len(updates)})
		w.Close()
	}()
	s.fetch(http.MethodPost, "/api/docs/"+doc+"/import", r)
}

// textAt asks the server for the text of the page's editor at a sequence.
func textAt(s *server, doc, seq string) string {
	s.t.Helper()
	return string(s.fetch(http.MethodGet, "/api/docs/"+doc+"?format=text&type=codemirror:text&at="+seq, nil))
}

// watchSlider makes the page count, while the slider is dragged, the frames, the moments painted, the requests for texts under way at once,
// and the frames that show a text as that of another moment; and measure how long after the release the right text is there.
const watchSlider = `(() => {
  const holder = document.querySelector('.editor.past'), slider = document.querySelector('.slider')
  const m = window.seen = { frames: 0, painted: 0, lies: 0, flying: 0, most: 0, sent: 0, took: -1 }
  let last = holder.dataset.seq
  const look = () => {
    m.frames++
    if (holder.dataset.seq !== last) { m.painted++; last = holder.dataset.seq }
    if (!holder.classList.contains('stale') && holder.dataset.seq !== slider.dataset.seq) m.lies++
    requestAnimationFrame(look)
  }
  look()
  slider.addEventListener('change', () => {
    const at = performance.now()
    const wait = () => {
      if (holder.classList.contains('stale') || holder.dataset.seq !== slider.dataset.seq) requestAnimationFrame(wait)
      else m.took = performance.now() - at
    }
    wait()
  })
  const real = window.fetch
  window.fetch = async (url, o) => {
    if (!String(url).includes('format=text')) return real(url, o)
    m.sent++
    m.most = Math.max(m.most, ++m.flying)
    try { return await real(url, o) } finally { m.flying-- }
  }
})()`

type seen struct{ Frames, Painted, Lies, Most, Sent, Took float64 }

// dragged drags the slider and answers what the page has seen by then.
func dragged(t testing.TB, b *driver, page string, from, to float64) seen {
	t.Helper()
	b.do("eval", M{"page": page, "code": watchSlider})
	b.do("drag", M{"page": page, "selector": ".slider", "from": from, "to": to, "steps": 90})
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		m := ask[seen](b, "eval", M{"page": page, "code": "window.seen"})
		if m.Took >= 0 {
			return m
		}
		if time.Now().After(until) {
			t.Fatalf("%s: the text of the moment does not come: %+v", page, m)
		}
	}
}

// pastIs fails the test unless the history shows the text that the server has for the moment it names.
func pastIs(t testing.TB, b *driver, s *server, page, doc string) {
	t.Helper()
	seq := ask[string](b, "attr", M{"page": page, "selector": ".editor.past", "name": "data-seq"})
	want := textAt(s, doc, seq)
	// The editor draws only the lines in sight, so the first lines are compared.
	got := strings.Split(ask[string](b, "eval", M{"page": page, "code": `(() => { const v = document.querySelector('.past .cm-scroller'); v.scrollTop = 0; return [...document.querySelectorAll('.past .cm-line')].slice(0, 8).map(l => l.textContent).join('\n') })()`}), "\n")
	lines := strings.Split(want, "\n")
	if n := min(len(got), len(lines)); n == 0 || strings.Join(got[:n], "\n") != strings.Join(lines[:n], "\n") {
		t.Errorf("%s at %s: the page shows %.200q, the server has %.200q", page, seq, got, lines[:min(8, len(lines))])
	}
}

func TestPageDragsThroughALongHistoryFromMemory(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	updates := longWriting(t)
	begun := time.Now()
	importWriting(s, "long", updates)
	t.Logf("%d edits imported in %v", len(updates), time.Since(begun).Round(time.Millisecond))
	b.do("page", M{"page": "ann"})
	b.do("go", M{"page": "ann", "url": s.url("/long")})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]", "timeout": 60000})
	begun = time.Now()
	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("wait", M{"page": "ann", "selector": fmt.Sprintf(`.history[data-folded="%d"]`, len(updates)), "timeout": 120000})
	t.Logf("the log is in the page's memory after %v", time.Since(begun).Round(time.Millisecond))

	m := dragged(t, b, "ann", 1, 0.35)
	t.Logf("drag over %d edits from memory: %.0f frames, %.0f moments painted, %.0f requests, %.1f ms from release to the right text", len(updates), m.Frames, m.Painted, m.Sent, m.Took)
	if m.Painted < 5 || m.Sent != 0 || m.Lies != 0 {
		t.Errorf("a drag painted %.0f moments with %.0f requests, and %.0f frames showed the text of another moment; want many, none, none", m.Painted, m.Sent, m.Lies)
	}
	pastIs(t, b, s, "ann", "long")
	b.do("shot", M{"page": "ann", "path": filepath.Join(shots(t), fmt.Sprintf("history-%d.png", len(updates)))})

	// A key moves by a single edit, and zooming in leaves the moment where it is.
	place := func() int {
		return ask[int](b, "eval", M{"page": "ann", "code": "Number(document.querySelector('.slider').value)"})
	}
	was := place()
	b.do("press", M{"page": "ann", "key": "ArrowLeft"})
	b.do("wait", M{"page": "ann", "selector": ".editor.past:not(.stale)"})
	if got := place(); got != was-1 {
		t.Errorf("ArrowLeft went from %d to %d, want one edit", was, got)
	}
	pastIs(t, b, s, "ann", "long")
	b.do("click", M{"page": "ann", "selector": `[aria-label="Show a shorter time on the slider"]`})
	if got := ask[int](b, "eval", M{"page": "ann", "code": "document.querySelector('.slider').max - document.querySelector('.slider').min"}); got > len(updates)/3 || place() != was-1 {
		t.Errorf("zoomed in, the slider is of %d edits at %d, want a quarter of all around %d", got, place(), was-1)
	}

	// Authors of the past come out of memory too, and are those that the server knows.
	b.do("click", M{"page": "ann", "selector": "#past-authors"})
	b.do("wait", M{"page": "ann", "selector": ".who-people .who-name"})
	if got := ask[[]string](b, "all", M{"page": "ann", "selector": ".who-name"}); len(got) != 2 || !strings.Contains(strings.Join(got, " "), "Ann") || !strings.Contains(strings.Join(got, " "), "Bob") {
		t.Errorf("the authors of the past are %q, want Ann and Bob", got)
	}
	checkPage(t, b, s, "ann")

	// While the log is not there the server is asked: one request at a time, and no text under another's date.
	b.do("page", M{"page": "bob"})
	b.do("hold", M{"page": "bob", "part": "format=packed"})
	b.do("go", M{"page": "bob", "url": s.url("/long")})
	b.do("wait", M{"page": "bob", "selector": "#saved[data-state=saved]", "timeout": 60000})
	b.do("click", M{"page": "bob", "selector": "#history"})
	b.do("wait", M{"page": "bob", "selector": ".editor.past[data-seq]:not(.stale)", "timeout": 60000})
	m = dragged(t, b, "bob", 1, 0.35)
	t.Logf("the same from the server: %.0f frames, %.0f moments painted, %.0f requests, %.1f ms from release to the right text", m.Frames, m.Painted, m.Sent, m.Took)
	if m.Most > 1 || m.Lies != 0 || m.Sent > m.Frames {
		t.Errorf("a drag sent %.0f requests, up to %.0f at once, and %.0f frames showed the text of another moment", m.Sent, m.Most, m.Lies)
	}
	pastIs(t, b, s, "bob", "long")
	was = ask[int](b, "eval", M{"page": "bob", "code": "Number(document.querySelector('.slider').value)"})
	b.do("press", M{"page": "bob", "key": "ArrowLeft"})
	b.do("wait", M{"page": "bob", "selector": fmt.Sprintf(`.slider[data-seq="%d"]`, was), "timeout": 60000}) // the place before, counted from 1
	b.do("wait", M{"page": "bob", "selector": ".editor.past:not(.stale)", "timeout": 60000})
	pastIs(t, b, s, "bob", "long")
}

// The slider has a stop for each edit, also past those that one answer of the server lists.
func TestPageGivesEachOf301EditsAStop(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := startDev(t)
	importWriting(s, "three-hundred", typed(301))
	b.do("page", M{"page": "ann", "dark": true, "phone": true, "width": 390, "height": 780})
	b.do("hold", M{"page": "ann", "part": "format=packed"})
	b.do("go", M{"page": "ann", "url": s.url("/three-hundred")})
	b.do("wait", M{"page": "ann", "selector": "#saved[data-state=saved]"})
	b.do("click", M{"page": "ann", "selector": "#history"})
	b.do("wait", M{"page": "ann", "selector": ".slider:not([disabled])"})
	if got := ask[string](b, "attr", M{"page": "ann", "selector": ".slider", "name": "max"}); got != "300" {
		t.Errorf("the slider ends at %s, want a stop for each of 301 edits", got)
	}
	b.do("eval", M{"page": "ann", "code": "document.querySelector('.slider').focus()"})
	for _, seq := range []string{"300", "299", "298"} {
		b.do("press", M{"page": "ann", "key": "ArrowLeft"})
		b.do("wait", M{"page": "ann", "selector": `.slider[data-seq="` + seq + `"]`})
	}
	b.do("wait", M{"page": "ann", "selector": ".editor.past:not(.stale)"})
	pastIs(t, b, s, "ann", "three-hundred")
	b.do("shot", M{"page": "ann", "path": filepath.Join(shots(t), "history-301-phone.png")})
}
