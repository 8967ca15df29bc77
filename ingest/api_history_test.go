package ingest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// call makes a request and decodes a JSON answer into into, which may be nil.
func (w *world) call(method, path, body string, want int, into any) http.Header {
	w.t.Helper()
	req, err := http.NewRequest(method, w.http.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != want {
		w.t.Fatalf("%s %s = %d %s, want %d", method, path, resp.StatusCode, b, want)
	}
	switch p := into.(type) {
	case nil:
	case *string:
		*p = string(b)
	default:
		if err := json.Unmarshal(b, into); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, b)
		}
	}
	return resp.Header
}

// writes appends an edit of the text "t" to a document over HTTP and returns its sequence.
func (w *world) writes(doc string, d *yjs.Document, client uint64, f func(t yjs.Text) error) (seq stream.Seq) {
	w.t.Helper()
	u, err := d.Edit(client, func(tx *yjs.Tx) error { return f(tx.Text("t")) })
	if err != nil {
		w.t.Fatal(err)
	}
	h := w.call("POST", "/api/docs/"+url.PathEscape(doc), string(u), http.StatusNoContent, nil)
	fmt.Sscan(h.Get("Yjet-Seq"), &seq)
	return seq
}

// unpackLog reads the packed form of a log, and fails the test where it is cut.
func unpackLog(t *testing.T, b []byte) (all []logLine) {
	t.Helper()
	uint := func() uint64 {
		n, w := binary.Uvarint(b)
		if w <= 0 {
			t.Fatal("the packed log is cut")
		}
		b = b[w:]
		return n
	}
	piece := func() []byte {
		n := uint()
		p := b[:n]
		b = b[n:]
		return p
	}
	name := func(known *[]string) string {
		n := uint()
		if n == 0 {
			return ""
		}
		if n == uint64(len(*known)+1) {
			*known = append(*known, string(piece()))
		}
		return (*known)[n-1]
	}
	var users, conns []string
	var seq stream.Seq
	var ms int64
	for step := uint(); step > 0; step = uint() {
		seq += stream.Seq(step)
		d, w := binary.Varint(b)
		b = b[w:]
		ms += d
		line := logLine{Seq: seq, Time: time.UnixMilli(ms).UTC(), User: name(&users), Conn: name(&conns), Merged: int(uint())}
		line.Update = piece()
		all = append(all, line)
	}
	if len(b) > 0 {
		t.Errorf("%d bytes after the end of the packed log", len(b))
	}
	return all
}

func TestHistoryOverHTTP(t *testing.T) {
	w := start(t)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	const doc, base = "notes/todo", "/api/docs/notes%2Ftodo"
	one := w.writes(doc, d, 7, func(t yjs.Text) error { return t.Insert(0, "Hello world", nil) })
	w.writes(doc, d, 7, func(t yjs.Text) error { return t.Delete(5, 6) })
	last := w.writes(doc, d, 8, func(t yjs.Text) error { return t.Insert(5, " there", nil) })

	var text string
	at := func(moment, want string) {
		t.Helper()
		w.call("GET", base+"?format=text&type=t:text&at="+url.QueryEscape(moment), "", http.StatusOK, &text)
		if text != want {
			t.Errorf("at %q: %q, want %q", moment, text, want)
		}
	}
	both := func() {
		t.Helper()
		at(fmt.Sprint(one), "Hello world")
		at("", "Hello there")
		at(time.Now().Add(clockSlack/2).UTC().Format(time.RFC3339), "Hello there") // a client's clock may be ahead a little
		var refused struct{ Error struct{ Code string } }
		if w.call("GET", base+"?at=2100-01-01T00:00:00Z", "", http.StatusBadRequest, &refused); refused.Error.Code != "future-moment" {
			t.Errorf("a moment that has not come: got %q, want future-moment", refused.Error.Code)
		}
		at("1h", "")
		var page struct {
			Entries []struct{ First, Last, Records, Bytes int }
		}
		w.call("GET", base+"/history", "", http.StatusOK, &page)
		if len(page.Entries) != 1 || page.Entries[0].Records != 3 || page.Entries[0].Last != int(last) {
			t.Errorf("history = %+v, want one entry of three records", page)
		}
		w.call("GET", base+"/history?group=none&limit=2", "", http.StatusOK, &page)
		if len(page.Entries) != 2 {
			t.Errorf("history, ungrouped and limited = %+v, want two entries", page)
		}
		w.call("GET", base+fmt.Sprintf("/log?from=%d", one+1), "", http.StatusOK, &text)
		lines := strings.Split(strings.TrimSpace(text), "\n")
		var rec struct {
			Seq    stream.Seq
			Bytes  int
			Update []byte
			Conn   string
			Time   time.Time
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &rec); err != nil || len(lines) != 2 || rec.Seq != last || rec.Bytes != len(rec.Update) {
			t.Errorf("log = %q, %v; want the last two records", text, err)
		}
		w.call("GET", base+"/log?format=packed", "", http.StatusOK, &text)
		if got := unpackLog(t, []byte(text)); len(got) != 3 || got[0].Seq != one || got[2].Seq != last || !bytes.Equal(got[2].Update, rec.Update) || !got[2].Time.Equal(rec.Time) || got[2].Conn != rec.Conn {
			t.Errorf("the packed log = %+v, want three records, the last one %+v", got, rec)
		}
		w.call("GET", base+"/history?group=even&limit=2", "", http.StatusOK, &page)
		if len(page.Entries) != 2 || page.Entries[0].Last != int(last) || page.Entries[1].First != int(one) {
			t.Errorf("history, spread evenly = %+v, want two entries of all records", page)
		}
		var authors struct{ Runs []struct{ Text, User string } }
		w.call("GET", base+"/authors?type=t:text", "", http.StatusOK, &authors)
		if len(authors.Runs) != 1 || authors.Runs[0].Text != "Hello there" {
			t.Errorf("authors = %+v, want one run, all being anonymous", authors)
		}
		var diff struct {
			Types map[string][]struct{ Op, Text string }
		}
		w.call("GET", base+fmt.Sprintf("/diff?from=%d", one), "", http.StatusOK, &diff)
		var shape strings.Builder
		for _, c := range diff.Types["t"] {
			fmt.Fprintf(&shape, "%s %q ", c.Op, c.Text)
		}
		if got := shape.String(); !strings.Contains(got, `keep "Hello"`) || !strings.Contains(got, `insert " there"`) || !strings.Contains(got, `delete " world"`) {
			t.Errorf("diff = %s", got)
		}
	}
	both()
	if _, err := w.snap.Fold(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	both()

	w.call("POST", base+"/versions", fmt.Sprintf(`{"name":"first","at":%d}`, one), http.StatusCreated, nil)
	w.call("POST", base+"/versions", `{"name":"first"}`, http.StatusConflict, nil)
	w.call("POST", base+"/versions", `{"name":""}`, http.StatusBadRequest, nil)
	var versions struct {
		Versions []struct {
			Name string
			Seq  stream.Seq
		}
	}
	w.call("GET", base+"/versions", "", http.StatusOK, &versions)
	if len(versions.Versions) != 1 || versions.Versions[0].Seq != one {
		t.Errorf("versions = %+v", versions)
	}

	// An open editor takes the restore in once.
	c := w.open("/" + doc)
	before := c.count(yjs.MsgSync, yjs.SyncUpdate)
	var done struct {
		Seq     stream.Seq
		Changed bool
	}
	w.call("POST", base+"/restore", `{"at":"first"}`, http.StatusOK, &done)
	if !done.Changed || done.Seq <= last {
		t.Errorf("restore = %+v, want a new sequence after %d", done, last)
	}
	at("", "Hello world")
	c.wait("the restore", func() bool { return c.count(yjs.MsgSync, yjs.SyncUpdate) > before })
	w.call("POST", base+"/restore", `{"at":"first"}`, http.StatusOK, &done)
	if done.Changed {
		t.Error("the same restore again changed something")
	}
	w.writes(doc, yjs.NewDocument(yjs.DocumentOptions{}), 9, func(t yjs.Text) error { return t.Insert(0, ">", nil) })
	c.has(9, 1)
	c.mu.Lock()
	if got := c.count(yjs.MsgSync, yjs.SyncUpdate) - before; got != 2 {
		t.Errorf("the editor got %d updates, want the restore and the edit after it", got)
	}
	c.mu.Unlock()

	var now string
	w.call("GET", base+"?format=text&type=t:text", "", http.StatusOK, &now)
	w.call("POST", base+"/copy", `{"to":"copy"}`, http.StatusCreated, nil)
	w.call("POST", base+"/copy", `{"to":"copy"}`, http.StatusPreconditionFailed, nil)
	w.call("POST", base+"/copy", `{"to":"a/../b"}`, http.StatusBadRequest, nil)
	w.call("POST", base+"/copy", "{\"to\":\"\xff\"}", http.StatusBadRequest, nil)
	w.call("GET", "/api/docs/copy?format=text&type=t:text", "", http.StatusOK, &text)
	if text != now {
		t.Errorf("the copy has %q, want %q", text, now)
	}

	var file string
	w.call("GET", base+"/export", "", http.StatusOK, &file)
	w.call("POST", "/api/docs/moved/import", file, http.StatusCreated, nil)
	w.call("POST", "/api/docs/moved/import", file, http.StatusPreconditionFailed, nil)
	w.call("POST", "/api/docs/moved/import?merge=true", file, http.StatusCreated, nil)
	w.call("POST", "/api/docs/cut/import", file[:len(file)/2], http.StatusUnprocessableEntity, nil)
	w.call("GET", "/api/docs/moved?format=text&type=t:text", "", http.StatusOK, &text)
	if text != now {
		t.Errorf("moved it has %q, want %q", text, now)
	}

	w.call("DELETE", base+"/versions/first", "", http.StatusNoContent, nil)
	w.call("DELETE", base+"/versions/first", "", http.StatusNotFound, nil)
	for path, want := range map[string]int{
		"/api/docs/nowhere/history": 404, "/api/docs/nowhere/log": 404, "/api/docs/nowhere/authors": 404, "/api/docs/nowhere/diff?from=1": 404,
		"/api/docs/nowhere/export": 404, "/api/docs/nowhere/versions": 200,
		base + "/history?group=often": 400, base + "/history?limit=0": 400, base + "/history?from=nonsense": 400, base + "/log?from=nonsense": 400, base + "/log?format=xml": 400,
		base + "/diff": 400, base + "/diff?from=x": 400, base + "/authors?at=x": 400, base + "?at=x": 400, base + "/restore": 405, base + "/nothing": 404,
	} {
		w.call("GET", path, "", want, nil)
	}
	for path, want := range map[string]int{"/restore": 400, "/copy": 400, "/versions": 400, "/history": 405} {
		w.call("POST", base+path, `{"at":true}`, want, nil)
	}
}

func TestHistoryThatWasDroppedIsGone(t *testing.T) {
	w := start(t)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	one := w.writes("short", d, 7, func(t yjs.Text) error { return t.Insert(0, "one", nil) })
	w.writes("short", d, 7, func(t yjs.Text) error { return t.Insert(3, "two", nil) })
	forgetful := w.forgetful()
	if _, err := forgetful.Fold(t.Context(), "short"); err != nil {
		t.Fatal(err)
	}
	var gone struct {
		Error  struct{ Code string }
		Oldest struct{ Seq stream.Seq }
	}
	w.call("GET", fmt.Sprintf("/api/docs/short?at=%d", one), "", http.StatusGone, &gone)
	if gone.Oldest.Seq != one+1 || gone.Error.Code != "history-dropped" {
		t.Errorf("gone = %+v, want the oldest there is, %d", gone, one+1)
	}
	w.call("POST", "/api/docs/short/restore", fmt.Sprintf(`{"at":%d}`, one), http.StatusGone, nil)
}

// TestDamagedDocumentIsHealedByWhoHasIt: the log loses a record while the document is open.
func TestDamagedDocumentIsHealedByWhoHasIt(t *testing.T) {
	ns := start(t)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	ns.writes("hurt", d, 7, func(t yjs.Text) error { return t.Insert(0, "one", nil) })
	two := ns.writes("hurt", d, 7, func(t yjs.Text) error { return t.Insert(3, "two", nil) })
	ns.writes("hurt", d, 7, func(t yjs.Text) error { return t.Insert(6, "three", nil) })
	c := ns.open("/hurt")
	ns.writes("hurt", d, 7, func(t yjs.Text) error { return t.Insert(11, "four", nil) })
	c.has(7, 15)
	if err := ns.log.EraseRecords(t.Context(), "hurt", two); err != nil {
		t.Fatal(err)
	}
	folds := ns.srv.rooms.folds // with all of them taken the room cannot store its document again yet
	for range cap(folds) {
		folds <- struct{}{}
	}
	// Another server opens it, finds the hole and tells; the first one has it all.
	other := join(t, ns.nats)
	o := other.dial("/hurt")
	o.send(step1(nil))
	var health struct {
		Metrics struct{ DamagedDocuments int }
	}
	damaged := func() int {
		other.call("GET", "/health", "", http.StatusOK, &health)
		return health.Metrics.DamagedDocuments
	}
	eventually(t, 10*time.Second, "one damaged document in the health of the server that found it", func() bool { return damaged() == 1 })
	for range cap(folds) {
		<-folds
	}
	o.has(7, 15)
	eventually(t, 10*time.Second, "no damaged document any more", func() bool { return damaged() == 0 })
}

// forgetful is a store that keeps no history, beside the world's own.
func (w *world) forgetful() *snapshot.Store {
	s := snapshot.New(w.log, snapshot.Options{History: "none", Log: slog.New(slog.DiscardHandler)})
	w.t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func TestMomentsByTheirName(t *testing.T) {
	w := start(t)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	first := w.writes("named", d, 1, func(t yjs.Text) error { return t.Insert(0, "one", nil) })
	w.writes("named", d, 1, func(t yjs.Text) error { return t.Insert(3, " two", nil) })
	w.call("POST", "/api/docs/named/versions", fmt.Sprintf(`{"name":"first draft","at":%d}`, first), http.StatusCreated, nil)
	var text string
	if w.call("GET", "/api/docs/named?format=text&type=t&at=first%20draft", "", http.StatusOK, &text); text != "one" {
		t.Errorf("at the version = %q, want %q", text, "one")
	}
	w.call("GET", "/api/docs/named?at=second%20draft", "", http.StatusBadRequest, &text)
	if !strings.Contains(text, `moment \"second draft\"`) || !strings.Contains(text, "name of a version") || strings.Contains(text, `\n`) {
		t.Errorf("an unknown version is refused with %s", text)
	}
	// What reads as a moment is one, wherever it stands; a version of that name could not be had.
	for _, name := range []string{"2", "10m", "now", "2026-01-01T00:00:00Z"} {
		w.call("POST", "/api/docs/named/versions", `{"name":"`+name+`"}`, http.StatusBadRequest, nil)
	}
	if w.call("GET", "/api/docs/named?format=text&type=t&at=0001-01-01T00:00:00Z", "", http.StatusOK, &text); text != "" {
		t.Errorf("in the year 1 = %q, want nothing", text)
	}
}

// roots is an update that brings n root names.
func roots(author uint64, n int) []byte {
	b := []byte{1}
	b = yjs.AppendUvarint(b, uint64(n))
	b = yjs.AppendUvarint(b, author)
	b = append(b, 0)
	for i := range n {
		b = append(b, 0x04, 1)
		b = yjs.AppendVarString(b, fmt.Sprint("root ", author, " ", i))
		b = yjs.AppendVarString(b, "x")
	}
	return append(b, 0)
}

// export is a file that a document with these records would be exported to.
func export(updates ...[]byte) string {
	var b strings.Builder
	b.WriteString(`{"yjet":"document","v":1}` + "\n")
	for i, u := range updates {
		fmt.Fprintf(&b, `{"seq":%d,"update":"%s"}`+"\n", i+1, base64.StdEncoding.EncodeToString(u))
	}
	fmt.Fprintf(&b, `{"end":true,"records":%d}`+"\n", len(updates))
	return b.String()
}

func TestImportIsNoWayPastTheDoor(t *testing.T) {
	w := start(t, logins)
	ann := token("ann", time.Hour)
	if code, _ := w.request("POST", "/api/docs/door", ann, string(roots(1, 21_000))); code != 413 {
		t.Fatalf("door: %d", code)
	}
	for _, c := range []struct {
		name    string
		updates [][]byte
		want    int
	}{
		{"root names", [][]byte{roots(1, 21_000)}, 413},
		{"root names by and by", [][]byte{roots(1, 9000), roots(2, 9000), roots(3, 9000)}, 413},
		{"types nested by and by", [][]byte{nested(1, 0, 600), nested(1, 600, 402)}, 413},
		{"a gap", [][]byte{insert(1, 10, "later")}, 422},
		{"a gap after a record", [][]byte{insert(1, 0, "a"), insert(2, 3, "later")}, 201},
		{"nothing wrong", [][]byte{insert(1, 0, "a"), insert(1, 1, "b")}, 201},
	} {
		doc := "door-" + strings.ReplaceAll(c.name, " ", "-")
		code, out := w.request("POST", "/api/docs/"+doc+"/import", ann, export(c.updates...))
		if code != c.want {
			t.Errorf("%s: got %d %s, want %d", c.name, code, out, c.want)
		}
		if n := len(w.records(doc)); n > 0 != (c.want == 201) {
			t.Errorf("%s: %d records are stored", c.name, n)
		}
	}
	if code, out := w.request("POST", "/api/docs/door-nothing-wrong/import?merge=1", ann, export(insert(1, 2, "c"))); code != 201 {
		t.Errorf("what goes on from what the document has: got %d %s, want 201", code, out)
	}
}

func TestImportUnderWayStopsAtARevocation(t *testing.T) {
	w := start(t, logins)
	body, slow := io.Pipe()
	r, _ := http.NewRequest("POST", w.http.URL+"/api/docs/slow/import", body)
	r.Header.Set("Authorization", "Bearer "+token("bob", time.Hour))
	status := make(chan int, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	lines := strings.SplitAfter(export(insert(1, 0, "a"), insert(1, 1, "b")), "\n")
	io.WriteString(slow, lines[0])
	time.Sleep(100 * time.Millisecond)
	if code, out := w.request("DELETE", "/api/sessions?user=bob", w.admin(), ""); code != 200 {
		t.Fatalf("got %d %s", code, out)
	}
	io.WriteString(slow, strings.Join(lines[1:], ""))
	slow.Close()
	if code := <-status; code != 403 {
		t.Errorf("got %d, want 403", code)
	}
	if n := len(w.records("slow")); n != 0 {
		t.Errorf("got %d records, want none", n)
	}
	http.DefaultClient.CloseIdleConnections()
}

// A reader of a document that is half imported must not go on with records that are taken away again.
func TestHalfAnImportIsTakenAwayFromThoseWhoSeeIt(t *testing.T) {
	w := start(t)
	body, slow := io.Pipe()
	r, _ := http.NewRequest("POST", w.http.URL+"/api/docs/half/import", body)
	status := make(chan int, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	file := export(insert(1, 0, "half"), insert(1, 4, " and the rest"))
	lines := strings.SplitAfter(file, "\n")
	io.WriteString(slow, lines[0]+lines[1])
	a := w.open("/half")
	eventually(t, 5*time.Second, "the first half is stored", func() bool { return len(w.records("half")) == 1 })
	a.has(1, 4)
	slow.Close()
	if code := <-status; code != 422 {
		t.Errorf("got %d, want 422", code)
	}
	if got := a.code(); got != 4404 {
		t.Errorf("close code: got %d, want 4404", got)
	}
	if n := len(w.records("half")); n != 0 {
		t.Errorf("got %d records, want none", n)
	}
	http.DefaultClient.CloseIdleConnections()
}
