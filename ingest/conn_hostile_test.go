package ingest

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/yjs"
)

// quick holds refused sockets only a moment.
var quick = limits(func(l *Limits) { l.RefusalHold = 30 * time.Millisecond })

func TestHostileNamesAreRefused(t *testing.T) {
	w := start(t, quick)
	long := strings.Repeat("a", 256)
	for _, name := range []string{"%00", "%0a", "%0d%0aX:y", "%7f", "%ff%fe", ".", "..", "a/../b", "a/./b", "%2e%2e", "a%2f..%2fb", long, "a/" + long} {
		if resp := w.refused("/parties/main/" + name + "?_pk=1"); resp == nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("party name %q: got %v, want HTTP 400 before the upgrade", name, resp)
		}
		c := w.dial("/" + name)
		c.send(step1(nil))
		if got := c.code(); got != 4400 {
			t.Errorf("name %q: got close code %d, want 4400", name, got)
		}
	}
	c := w.dial("/")
	c.send(step1(nil))
	if got := c.code(); got != 4400 {
		t.Errorf("empty name: got close code %d, want 4400", got)
	}
	c = w.dial("/api/docs")
	c.send(step1(nil))
	if got := c.code(); got != 4400 {
		t.Errorf("reserved name: got close code %d, want 4400", got)
	}
	if n := w.srv.rooms.count(); n != 0 {
		t.Errorf("rooms after refusals: got %d, want 0", n)
	}
}

func (w *world) refused(path string) *http.Response {
	ws, resp, err := websocket.DefaultDialer.Dial(w.url(path), nil)
	if err == nil {
		ws.Close()
		return nil
	}
	return resp
}

func TestOddNamesAreDocumentsLikeAnyOther(t *testing.T) {
	w := start(t)
	for path, doc := range map[string]string{
		"/a%20b":                       "a b",
		"/wild*/%3E/x.y":               "wild*/>/x.y",
		"//double//slash/":             "double/slash",
		"/%F0%9F%98%80":                "😀",
		"/parties/main/r/s":            "r/s",
		"/party/r2":                    "r2",
		"//parties/other/r":            "other/r",
		"/parties/collaboration":       "parties/collaboration",
		"/d/doc1/ws/doc1":              "doc1",
		"/d/one/ws/other":              "d/one/ws/other",
		"/" + strings.Repeat("n", 255): strings.Repeat("n", 255),
	} {
		c := w.open(path)
		c.send(edit(insert(5, 0, "x")))
		c.has(5, 1)
		if got := w.records(doc); len(got) != 1 {
			t.Errorf("path %q: got %d records of %q, want 1", path, len(got), clip(doc))
		}
	}
}

func TestFramesCutAtEachByteAreRefusedAndChangeNothing(t *testing.T) {
	w := start(t, quick)
	full := edit(insert(9, 0, "hello"))
	a := w.open("/cut")
	for n := 1; n < len(full); n++ {
		c := w.open("/cut")
		c.send(full[:n])
		if got := c.code(); got != 4400 {
			t.Errorf("frame cut to %d bytes: got close code %d, want 4400", n, got)
		}
	}
	if got := w.records("cut"); len(got) != 0 {
		t.Errorf("records: got %d, want none", len(got))
	}
	a.send(full)
	a.has(9, 5)
}

func TestMalformedUpdatesAreRefused(t *testing.T) {
	w := start(t, quick)
	var corpus struct {
		Cases []struct {
			Name, Hex, Bytes, Update string
		}
	}
	b, err := os.ReadFile(filepath.Join("..", "internal", "yjs", "testdata", "malformed.json"))
	if err == nil {
		json.Unmarshal(b, &corpus)
	}
	bad := map[string][]byte{"self neighbour": unhex("0101faffffff0f0084faffffff0f00017800")}
	for _, c := range corpus.Cases {
		if u := unhex(c.Hex + c.Bytes + c.Update); len(u) > 0 && new(yjs.Update).Parse(u, yjs.Limits{}) != nil {
			bad[c.Name] = u
		}
	}
	t.Logf("%d malformed updates", len(bad))
	for name, u := range bad {
		c := w.open("/bad")
		c.send(edit(u))
		if got := c.code(); got != 4400 && got != 4413 {
			t.Errorf("%s: got close code %d, want 4400", name, got)
		}
	}
	if got := w.records("bad"); len(got) != 0 {
		t.Errorf("records: got %d, want none", len(got))
	}
}

func unhex(s string) []byte { b, _ := hex.DecodeString(s); return b }

func TestWrongFirstFrames(t *testing.T) {
	w := start(t, quick)
	for name, first := range map[string][]byte{
		"empty name of Hocuspocus": {0x01},
		"garbage":                  {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"unknown sync step":        {0, 9, 0},
	} {
		c := w.dial("/first")
		c.send(first)
		if got := c.code(); got != 4400 {
			t.Errorf("%s: got close code %d, want 4400", name, got)
		}
	}
	app := w.dial("/first") // a type that only the application knows: dropped, and the client is let in
	app.send([]byte{0xff, 0x7f, 'x'}, step1(nil))
	app.wait("step 2", func() bool { return app.count(yjs.MsgSync, yjs.SyncStep2) == 1 })
	c := w.dial("/first")
	c.send(nil)
	if got := c.code(); got != 4400 {
		t.Errorf("empty frame: got close code %d, want 4400", got)
	}
}

func TestSilenceBeforeTheFirstFrameIsClosed(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.FirstWait = 50 * time.Millisecond }))
	if got := w.dial("/quiet").code(); got != 4508 {
		t.Errorf("close code: got %d, want 4508", got)
	}
}

func TestOversizedMessages(t *testing.T) {
	w := start(t, quick, limits(func(l *Limits) { l.Message = 64 << 10 }))
	fits := edit(insert(3, 0, strings.Repeat("x", 60<<10)))
	c := w.open("/size")
	c.send(fits)
	c.has(3, 60<<10)
	c.send(make([]byte, 64<<10+1))
	if got := c.code(); got != 4413 {
		t.Errorf("y-websocket: got close code %d, want 4413", got)
	}
	c = w.open("/parties/main/size?_pk=1")
	c.send(make([]byte, 64<<10+1))
	if got := c.code(); got != 1009 {
		t.Errorf("party: got close code %d, want 1009", got)
	}
}

func TestUpdateAboveLimitsIsRefused(t *testing.T) {
	w := start(t, quick, limits(func(l *Limits) { l.Update.Structs = 3 }))
	c := w.open("/structs")
	c.send(edit(insert(1, 0, "ok")))
	c.has(1, 2)
	b := []byte{1, 4, 2, 0}
	for range 4 {
		b = append(yjs.AppendVarString(append(b, 0x04, 1), "t"), 1, 'x')
	}
	c.send(edit(append(b, 0)))
	if got := c.code(); got != 4413 {
		t.Errorf("close code: got %d, want 4413", got)
	}
}

func TestDocumentThatIsFullCanBeReadAndMadeSmallerNotLarger(t *testing.T) {
	w := start(t, quick, limits(func(l *Limits) { l.Document = 1000 }))
	c := w.open("/full")
	c.send(edit(insert(1, 0, strings.Repeat("x", 1100))))
	c.has(1, 1100)
	c.send(edit(insert(1, 1100, "more")))
	c.wait("the denial", func() bool { return c.count(yjs.MsgAuth, 0) > 0 })
	other := w.open("/full")
	other.has(1, 1100)
	other.send(edit([]byte{0, 1, 1, 1, 10, 0xb8, 8})) // deletes 1,080 of them
	c.wait("the delete", func() bool { return c.state().Deletes().Contains(1, 10, 1080) })
	w.srv.rooms.tick(time.Now())
	eventually(t, 5*time.Second, "the document to be small again", func() (small bool) {
		r := w.srv.rooms.find("full")
		r.look(func() { small = r.size() < 1000 })
		return small
	})
	c.send(edit(insert(1, 1100, "more")))
	other.has(1, 1104)
	if n := read(w.srv.metrics.rejections.WithLabelValues("document-full")); n != 1 {
		t.Errorf("updates refused: got %d, want the first alone", n)
	}
}
