package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// ask makes a request; headers are "Name: value".
func (w *world) ask(method, path string, body []byte, headers ...string) (int, string, http.Header) {
	w.t.Helper()
	req, err := http.NewRequest(method, w.http.URL+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header
}

func TestStateOverHTTP(t *testing.T) {
	w := start(t)
	if code, body, _ := w.ask("GET", "/api/docs/none", nil); code != 404 {
		t.Errorf("unknown document: got %d %s, want 404", code, body)
	}
	a := w.open("/notes/todo")
	a.send(edit(insert(1, 0, "hello")))
	a.has(1, 5)
	code, body, h := w.ask("GET", "/api/docs/notes%2Ftodo", nil)
	var u yjs.Update
	if code != 200 || u.Parse([]byte(body), yjs.Limits{}) != nil || h.Get("Etag") == "" {
		t.Fatalf("state: got %d %q %v", code, body, h)
	}
	if code, _, _ := w.ask("GET", "/api/docs/notes%2Ftodo", nil, "If-None-Match: "+h.Get("Etag")); code != 304 {
		t.Errorf("state again: got %d, want 304", code)
	}
	for query, want := range map[string]string{
		"?format=text&type=t:text": "hello",
		"?format=json&type=t:text": `{"t":"hello"}` + "\n",
		"?format=json":             `{"t":"hello"}` + "\n",
		"?format=vector":           "\x01\x01\x05",
	} {
		if code, body, _ := w.ask("GET", "/api/docs/notes%2Ftodo"+query, nil); code != 200 || body != want {
			t.Errorf("%s: got %d %q, want %q", query, code, body, want)
		}
	}
	for query, want := range map[string]int{"?format=xyz": 406, "?format=text": 400, "?type=t:odd": 400, "?at=nonsense": 400} {
		if code, body, _ := w.ask("GET", "/api/docs/notes%2Ftodo"+query, nil); code != want {
			t.Errorf("%s: got %d %s, want %d", query, code, body, want)
		}
	}
	if code, _, _ := w.ask("GET", "/api/docs/a%00b", nil); code != 400 {
		t.Errorf("bad name: got %d, want 400", code)
	}
	if code, _, h := w.ask("REPORT", "/api/docs/x", nil); code != 405 || h.Get("Allow") == "" {
		t.Errorf("REPORT: got %d, want 405 with Allow", code)
	}
}

func TestUpdateOverHTTPReachesEverybody(t *testing.T) {
	w := start(t)
	a := w.open("/post")
	code, body, h := w.ask("POST", "/api/docs/post", insert(1, 0, "by post"))
	if code != 204 || h.Get("Yjet-Seq") == "" {
		t.Fatalf("post: got %d %s %v", code, body, h)
	}
	a.has(1, 7)
	if code, _, h2 := w.ask("POST", "/api/docs/post", insert(1, 0, "by post")); code != 204 || h2.Get("Yjet-Seq") != h.Get("Yjet-Seq") {
		t.Errorf("post again: got %d at %q, want the same sequence %q", code, h2.Get("Yjet-Seq"), h.Get("Yjet-Seq"))
	}
	v2, err := yjs.ToV2(insert(1, 7, "!"))
	if err != nil {
		t.Fatal(err)
	}
	if code, body, _ := w.ask("POST", "/api/docs/post", v2, "Content-Type: application/vnd.yjs.update.v2"); code != 204 {
		t.Errorf("V2: got %d %s", code, body)
	}
	a.has(1, 8)
	_, stored, _ := w.ask("GET", "/api/docs/post", nil)
	for path, accept := range map[string]string{"/api/docs/post": "application/vnd.yjs.update.v2", "/api/docs/post?format=update-v2": "*/*"} {
		code, body, h := w.ask("GET", path, nil, "Accept: "+accept)
		if v1, err := yjs.FromV2([]byte(body), yjs.Limits{}); code != 200 || err != nil || string(v1) != stored || h.Get("Content-Type") != "application/vnd.yjs.update.v2" {
			t.Errorf("GET %s as V2: got %d %s %x %v, want V2 of %x", path, code, h.Get("Content-Type"), body, err, stored)
		}
	}
	code, body, _ = w.ask("POST", "/api/docs/post", insert(2, 5, "too early"))
	var conflict struct{ StateVector []byte }
	if json.Unmarshal([]byte(body), &conflict); code != 409 || !bytes.Equal(conflict.StateVector, []byte{1, 1, 8}) {
		t.Errorf("update that needs more: got %d %s, want 409 with our vector", code, body)
	}
	if code, _, _ := w.ask("POST", "/api/docs/post", []byte("junk")); code != 400 {
		t.Errorf("junk: got %d, want 400", code)
	}
	for depth, want := range map[int]int{256: 204, 257: 400} {
		deep := append([]byte{1, 1, 9, 0, 8, 1, 1, 't', 1}, bytes.Repeat([]byte{117, 1}, depth)...)
		if code, body, _ := w.ask("POST", "/api/docs/deep", append(deep, 126, 0)); code != want {
			t.Errorf("values nested %d deep: got %d %s, want %d", depth, code, body, want)
		}
	}
}

func TestSeedingHappensOnceAcrossServers(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	codes := make([]int, 8)
	var wg sync.WaitGroup
	for i := range codes {
		w := w1
		if i%2 == 1 {
			w = w2
		}
		wg.Go(func() {
			codes[i], _, _ = w.ask("POST", "/api/docs/seed", insert(uint64(i+1), 0, "first"), "If-None-Match: *")
		})
	}
	wg.Wait()
	won := 0
	for _, c := range codes {
		switch c {
		case 204:
			won++
		case 412:
		default:
			t.Errorf("seeding: got %d, want 204 or 412", c)
		}
	}
	if won != 1 || len(w1.records("seed")) != 1 {
		t.Errorf("won %d times with %d records, want once", won, len(w1.records("seed")))
	}
}

func TestListAndPresenceOverHTTP(t *testing.T) {
	w := start(t)
	for _, name := range []string{"a/1", "a/2", "a/3", "b"} {
		if code, _, _ := w.ask("POST", "/api/docs/"+strings.ReplaceAll(name, "/", "%2F"), insert(1, 0, "x")); code != 204 {
			t.Fatalf("post %s: %d", name, code)
		}
	}
	var page struct {
		Docs []struct {
			ID, Subject string
			Updates     int
		}
		Next string
	}
	var got []string
	after := ""
	for {
		code, body, _ := w.ask("GET", "/api/docs?prefix=a/&limit=2&after="+after, nil)
		page.Next, page.Docs = "", nil
		if json.Unmarshal([]byte(body), &page); code != 200 {
			t.Fatalf("list: %d %s", code, body)
		}
		for _, d := range page.Docs {
			got = append(got, d.ID)
			if !regexp.MustCompile(`^ydoc\.0[01]\.` + strings.ReplaceAll(d.ID, "/", `\.`) + `$`).MatchString(d.Subject) {
				t.Errorf("subject of %s: got %q, want ydoc.NN and the segments of the name", d.ID, d.Subject)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if strings.Join(got, " ") != "a/1 a/2 a/3" {
		t.Errorf("list: got %v", got)
	}
	c := w.open("/b")
	c.send(aware(7, 1, `{"user":{"name":"Ann"}}`))
	c.wait("echo", func() bool { return c.present()[7] != "" })
	if code, body, _ := w.ask("GET", "/api/docs/b/presence", nil); code != 200 || !strings.Contains(body, `"name":"Ann"`) {
		t.Errorf("presence: got %d %s", code, body)
	}
}

func TestDeletedDocumentClosesItsRoomsAndStaysGone(t *testing.T) {
	w1 := start(t, quick)
	w2 := join(t, w1.nats, quick)
	a, b := w1.open("/gone"), w2.open("/gone")
	a.send(edit(insert(1, 0, "secret")))
	b.has(1, 6)
	if code, body, _ := w1.ask("DELETE", "/api/docs/gone", nil); code != 204 {
		t.Fatalf("delete: %d %s", code, body)
	}
	for _, c := range []*client{a, b} {
		if got := c.code(); got != 4404 {
			t.Errorf("close code: got %d, want 4404", got)
		}
	}
	eventually(t, 5*time.Second, "rooms closed", func() bool { return w1.srv.rooms.count()+w2.srv.rooms.count() == 0 })
	stale := w2.open("/gone") // comes back with all it had
	stale.send(yjs.AppendSync(nil, yjs.SyncStep2, insert(1, 0, "secret")))
	if got := stale.code(); got != 4404 {
		t.Errorf("stale client: got close code %d, want 4404", got)
	}
	fresh := w1.open("/gone")
	fresh.send(edit(insert(9, 0, "new")))
	fresh.has(9, 3)
	if code, body, _ := w2.ask("GET", "/api/docs/gone?format=json", nil); code != 200 || body != "{\"t\":\"new\"}\n" {
		t.Errorf("state: got %d %q, want what is new", code, body)
	}
	if code, _, _ := w1.ask("DELETE", "/api/docs/never", nil); code != 404 {
		t.Errorf("delete of nothing: got %d, want 404", code)
	}
}

func TestHealth(t *testing.T) {
	w := start(t)
	a := w.open("/h")
	a.send(edit(insert(1, 0, "x")))
	a.has(1, 1)
	// The echo may come before the log's own acknowledgement is counted.
	eventually(t, 5*time.Second, "one update counted", func() bool {
		_, body, _ := w.ask("GET", "/health", nil)
		return strings.Contains(body, `"updatesTotal":1,`)
	})
	code, body, _ := w.ask("GET", "/health", nil)
	var h struct {
		Status, Version, Durability string
		NATS                        struct{ Connected bool }
		Metrics                     struct {
			ActiveSessions, ActiveDocuments, UpdatesTotal int
			SessionsByProtocol                            map[string]int
		}
	}
	if err := json.Unmarshal([]byte(body), &h); err != nil || code != 200 {
		t.Fatalf("health: %d %s", code, body)
	}
	if h.Status != "ok" || h.Durability != "process" || !h.NATS.Connected || h.Metrics.ActiveSessions != 1 || h.Metrics.ActiveDocuments != 1 ||
		h.Metrics.UpdatesTotal != 1 || h.Metrics.SessionsByProtocol["y-websocket"] != 1 {
		t.Errorf("health: got %s", body)
	}
	if strings.Contains(body, `"h"`) {
		t.Error("health names a document")
	}
	for _, path := range []string{"/healthz", "/readyz", "//readyz/"} {
		if code, body, _ := w.ask("GET", path, nil); code != 200 {
			t.Errorf("%s: got %d %s", path, code, body)
		}
	}
	w.nats.Stop()
	eventually(t, 10*time.Second, "degraded without NATS", func() bool {
		code, body, _ := w.ask("GET", "/health", nil)
		ready, _, _ := w.ask("GET", "/readyz", nil)
		return code == 503 && strings.Contains(body, "degraded") && ready == 503
	})
	w.nats.Restart()
	eventually(t, 10*time.Second, "ok again", func() bool { code, _, _ := w.ask("GET", "/readyz", nil); return code == 200 })
}

// No session ever leaves such a document, and so none tells that it fell quiet.
func TestDocumentsWrittenOverHTTPAloneAreFoldedAndListed(t *testing.T) {
	w := start(t)
	// Where history ends, a log of one record is folded, too.
	quick := snapshot.New(w.log, snapshot.Options{CompactAfter: 300 * time.Millisecond, History: "30d", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { quick.Close(context.Background()) })
	w.srv.o.Snapshots = quick
	must := func(want int, method, path string, body []byte, headers ...string) string {
		t.Helper()
		code, answer, _ := w.ask(method, path, body, headers...)
		if code != want {
			t.Fatalf("%s %s: got %d %s, want %d", method, path, code, answer, want)
		}
		return answer
	}
	docs := []string{"seeded", "copied", "imported"}
	for i := range 20 {
		docs = append(docs, fmt.Sprint("posted-", i))
		must(204, "POST", "/api/docs/"+docs[len(docs)-1], insert(uint64(i+1), 0, "by post"))
	}
	must(204, "POST", "/api/docs/seeded", insert(1, 0, "seed"), "If-None-Match: *")
	must(201, "POST", "/api/docs/seeded/copy", []byte(`{"to":"copied"}`))
	must(201, "POST", "/api/docs/imported/import", []byte(must(200, "GET", "/api/docs/seeded/export", nil)))

	var list struct {
		Docs []struct {
			ID    string
			Bytes int
		}
	}
	if err := json.Unmarshal([]byte(must(200, "GET", "/api/docs", nil)), &list); err != nil || len(list.Docs) != len(docs) {
		t.Fatalf("list: %v, %d documents, want %d", err, len(list.Docs), len(docs))
	}
	for _, d := range list.Docs {
		if d.Bytes < 10 {
			t.Errorf("%s is listed with %d bytes", d.ID, d.Bytes)
		}
	}
	for _, doc := range docs {
		eventually(t, 10*time.Second, doc+" is folded", func() bool {
			sum, err := quick.Summary(context.Background(), stream.Doc(doc))
			return err == nil && sum.Upto > 0
		})
	}
}

func TestConditionsAndPreferencesOfAGet(t *testing.T) {
	w := start(t)
	_, _, h := w.ask("POST", "/api/docs/cond", insert(1, 0, "text"))
	tag := `"` + h.Get("Yjet-Seq") + `"`
	for match, want := range map[string]int{tag: 304, "W/" + tag: 304, `"0", ` + tag: 304, "*": 304, `"0"`: 200, h.Get("Yjet-Seq"): 200} {
		if code, _, _ := w.ask("GET", "/api/docs/cond", nil, "If-None-Match: "+match); code != want {
			t.Errorf("If-None-Match %s: got %d, want %d", match, code, want)
		}
	}
	const update, json = "application/octet-stream", "application/json; charset=utf-8"
	for accept, want := range map[string]string{
		"": update, "*/*": update, "application/json": json, "text/html, application/json;q=0.9": json,
		"application/json;q=0.1, application/octet-stream": update, "application/octet-stream;q=0.5,application/json;q=0.6": json,
	} {
		if code, _, h := w.ask("GET", "/api/docs/cond", nil, "Accept: "+accept); code != 200 || h.Get("Content-Type") != want {
			t.Errorf("Accept %s: got %d %s, want %s", accept, code, h.Get("Content-Type"), want)
		}
	}
	for _, accept := range []string{"text/html", "application/json;q=0"} {
		if code, _, _ := w.ask("GET", "/api/docs/cond", nil, "Accept: "+accept); code != 406 {
			t.Errorf("Accept %s: got %d, want 406", accept, code)
		}
	}
	_, _, h = w.ask("GET", "/api/docs/cond", nil, "Origin: "+w.http.URL)
	if vary := strings.Join(h.Values("Vary"), ", "); !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Accept") {
		t.Errorf("Vary: got %q, want Accept and Origin in it", vary)
	}
	for _, path := range []string{"", "/history", "/log", "/authors", "/diff?from=0", "/versions", "/export", "/presence"} {
		if code, body, _ := w.ask("HEAD", "/api/docs/cond"+path, nil); code != 200 || body != "" {
			t.Errorf("HEAD %s: got %d %q, want 200 and no body", path, code, body)
		}
	}
	if _, _, h := w.ask("PUT", "/api/docs/cond/versions", nil); h.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow of versions: got %q", h.Get("Allow"))
	}
}

// A caller that was told that an update is stored finds it at every server, at once: no HTTP client is tied to one.
func TestWhatIsAcknowledgedIsThereAtEveryServer(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	w1.open("/everywhere")
	w2.open("/everywhere")
	for i := range uint64(200) {
		a, b := w1, w2
		if i%2 == 1 {
			a, b = b, a
		}
		code, body, h := a.ask("POST", "/api/docs/everywhere", insert(1, i, "x"))
		if code != 204 {
			t.Fatalf("update %d: got %d %s, want 204: what it depends on was acknowledged by the other server", i, code, body)
		}
		for _, w := range []*world{a, b} {
			if _, text, g := w.ask("GET", "/api/docs/everywhere?format=text&type=t", nil); uint64(len(text)) != i+1 || g.Get("Yjet-Seq") != h.Get("Yjet-Seq") {
				t.Fatalf("after update %d: got %d letters at %s, want %d at %s", i, len(text), g.Get("Yjet-Seq"), i+1, h.Get("Yjet-Seq"))
			}
		}
	}
}

func TestWhatWasAcknowledgedOverHTTPIsReadOverHTTP(t *testing.T) {
	w := start(t)
	w.open("/rw")
	stale := 0
	for i := range 500 {
		r, _ := http.NewRequest("POST", w.http.URL+"/api/docs/rw", strings.NewReader(string(insert(5, uint64(i), "x"))))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		seq := resp.Header.Get("Yjet-Seq")
		resp, err = http.Get(w.http.URL + "/api/docs/rw")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if got := resp.Header.Get("Yjet-Seq"); got != seq {
			stale++
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if stale > 0 {
		t.Errorf("%d of 500 reads lack what was acknowledged just before", stale)
	}
}
