package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/internal/patch"
)

// patch sends edits and returns the status and the answer.
func (w *world) patch(doc, body string, headers ...string) (int, map[string]any, http.Header) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPatch, w.http.URL+"/api/docs/"+url.PathEscape(doc), strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Error(err)
		return 0, nil, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	var answer map[string]any
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err != nil {
		w.t.Errorf("PATCH answered %d %q: %v", resp.StatusCode, b, err)
	}
	return resp.StatusCode, answer, resp.Header
}

// edited is patch for edits that must be taken.
func (w *world) edited(doc string, ops ...string) map[string]any {
	w.t.Helper()
	status, answer, _ := w.patch(doc, `{"ops":[`+strings.Join(ops, ",")+`]}`)
	if status != http.StatusOK {
		w.t.Fatalf("PATCH %v = %d %v", ops, status, answer)
	}
	return answer
}

// json reads a document as JSON.
func (w *world) json(doc, query string) string {
	w.t.Helper()
	resp, err := http.Get(w.http.URL + "/api/docs/" + url.PathEscape(doc) + "?format=json" + query)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

const appendLine = `{"type":"text","name":"t","op":"append","text":"a line\n"}`

const appendBody = `{"ops":[` + appendLine + `]}`

func errorOf(answer map[string]any) map[string]any {
	e, _ := answer["error"].(map[string]any)
	return e
}

func TestEditsOfOneRequestAreOneRecord(t *testing.T) {
	w := start(t)
	answer := w.edited("notes/all", `{"type":"text","name":"t","op":"insert","index":0,"text":"hello world"}`,
		`{"type":"text","name":"t","op":"format","index":0,"length":5,"attributes":{"bold":true}}`,
		`{"type":"map","name":"m","op":"set","key":"title","value":{"a":[1,null,"x"]}}`,
		`{"type":"array","name":"a","op":"push","values":[1,"two",false]}`,
		`{"type":"array","name":"a","op":"delete","index":1,"length":1}`,
		`{"type":"xml","name":"x","op":"append","markdown":"# Plan\n\n- one\n- **two**"}`,
		`{"type":"xml","name":"x","path":[0],"op":"attributes","attributes":{"level":2}}`,
		`{"type":"text","name":"t","op":"replace","find":"o w","with":"o, w"}`)
	if answer["changed"] != true {
		t.Errorf("answer %v, want changed", answer)
	}
	records := w.records("notes/all")
	if len(records) != 1 || float64(records[0].Seq) != answer["seq"] {
		t.Fatalf("%d records, answer %v; want one record with the sequence of the answer", len(records), answer)
	}
	got := w.json("notes/all", "&type=t:text,m:map,a:array,x:xml")
	for _, want := range []string{`"t":"hello, world"`, `"m":{"title":{"a":[1,null,"x"]}}`, `"a":[1,false]`, `<heading level=\"2\">Plan</heading>`, `<bulletlist><listitem><paragraph>one</paragraph></listitem>`, `<bold>two</bold>`} {
		if !strings.Contains(got, want) {
			t.Errorf("the document is %s, without %s", got, want)
		}
	}
	found := answer["found"].([]any)[0].(map[string]any)
	if match := found["matches"].([]any)[0].(map[string]any); found["op"] != 7.0 || found["count"] != 1.0 || match["index"] != 4.0 || match["length"] != 3.0 {
		t.Errorf("found %v, want one match of three units at 4 for edit 7", found)
	}
	if answer := w.edited("notes/all", `{"type":"map","name":"m","op":"unset","key":"nothing"}`); answer["changed"] != false || float64(records[0].Seq) != answer["seq"] {
		t.Errorf("an edit that changes nothing = %v, want the last sequence and no change", answer)
	}
}

func TestOpenEditorsReceiveAnEditLive(t *testing.T) {
	w := start(t)
	c := w.open("/notes/live")
	c.send(edit(insert(7, 0, "typed ")))
	c.has(7, 6)
	w.edited("notes/live", `{"type":"text","name":"t","op":"append","text":"and appended"}`)
	c.wait("the edit", func() bool {
		for client := range c.state().Structs().All() {
			if client != 7 {
				return true
			}
		}
		return false
	})
	if got := w.json("notes/live", "&type=t:text"); got != `{"t":"typed and appended"}` {
		t.Errorf("the document is %s", got)
	}
}

func TestAConditionOfAnEditHoldsAcrossServers(t *testing.T) {
	one := start(t)
	two := join(t, one.nats)
	first := one.edited("doc", appendLine)
	tag := fmt.Sprintf("%q", fmt.Sprint(first["seq"]))
	status, answer, h := two.patch("doc", appendBody, "If-Match", tag)
	if status != http.StatusOK || h.Get("ETag") != fmt.Sprintf("%q", fmt.Sprint(answer["seq"])) {
		t.Fatalf("edit of the present state = %d %v, ETag %s", status, answer, h.Get("ETag"))
	}
	if status, answer, _ := one.patch("doc", appendBody, "If-Match", tag); status != http.StatusPreconditionFailed || errorOf(answer)["code"] != "moved-on" {
		t.Errorf("edit of the state before = %d %v, want 412", status, answer)
	}
	if n := len(one.records("doc")); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

// Only one of two servers can find the text: the other has to see the first one's edit.
func TestOneOfManyReplacesOnTwoServersFindsTheText(t *testing.T) {
	one := start(t)
	servers := []*world{one, join(t, one.nats)}
	one.edited("doc", `{"type":"text","name":"t","op":"append","text":"the old word"}`)
	var mu sync.Mutex
	count := map[int]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			status, _, _ := servers[i%2].patch("doc", `{"ops":[{"type":"text","name":"t","op":"replace","find":"old","with":"new"}]}`)
			mu.Lock()
			defer mu.Unlock()
			count[status]++
		})
	}
	wg.Wait()
	if count[http.StatusOK] != 1 || count[http.StatusConflict] != 7 {
		t.Errorf("answers %v, want one 200 and seven 409", count)
	}
	if got := one.json("doc", "&type=t:text"); got != `{"t":"the new word"}` {
		t.Errorf("the document is %s", got)
	}
}

func TestAnIdempotencyKeyEditsOnceAndAnswersTheSame(t *testing.T) {
	one := start(t)
	servers := []*world{one, join(t, one.nats)}
	var mu sync.Mutex
	seqs := map[any]int{}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			status, answer, _ := servers[i%2].patch("doc", appendBody, "Idempotency-Key", "job-1")
			mu.Lock()
			defer mu.Unlock()
			if seqs[answer["seq"]]++; status != http.StatusOK {
				t.Errorf("PATCH = %d %v", status, answer)
			}
		})
	}
	wg.Wait()
	if len(seqs) != 1 || len(one.records("doc")) != 1 {
		t.Errorf("sequences %v and %d records, want one of each", seqs, len(one.records("doc")))
	}
	if _, _, h := servers[1].patch("doc", appendBody, "Idempotency-Key", "job-1"); h.Get("Yjet-Replayed") != "true" {
		t.Error("the answer does not say that it was kept")
	}
	if status, answer, _ := one.patch("doc", strings.Replace(appendBody, "line", "word", 1), "Idempotency-Key", "job-1"); status != http.StatusUnprocessableEntity || errorOf(answer)["code"] != "key-reused" {
		t.Errorf("another request under the key = %d %v, want 422", status, answer)
	}
	miss := `{"ops":[{"type":"text","name":"t","op":"replace","find":"nowhere","with":"x"}]}`
	for range 2 {
		if status, answer, _ := one.patch("doc", miss, "Idempotency-Key", "job-2"); status != http.StatusConflict || errorOf(answer)["code"] != "no-match" {
			t.Errorf("a miss under a key = %d %v, want 409 each time", status, answer)
		}
	}
}

// A server that is killed after it stored the edit has not kept the answer: the record tells the next one.
func TestARecordTellsUnderWhichKeyItWasMade(t *testing.T) {
	w := start(t)
	w.edited("doc", appendLine)
	w.patch("doc", appendBody, "Idempotency-Key", "job")
	edits := w.log.Edits()
	key := edits.Key("doc", "", "job")
	a, err := edits.Get(t.Context(), key)
	if err != nil || a.Status != http.StatusOK {
		t.Fatalf("kept answer %+v, %v", a, err)
	}
	seq, err := w.srv.api.recordOf(t.Context(), "doc", a.After, (&editClaim{key: key}).mark())
	if records := w.records("doc"); err != nil || len(records) != 2 || seq != records[1].Seq {
		t.Errorf("record of the key: %d, %v; the log has %d records", seq, err, len(records))
	}
	if seq, err := w.srv.api.recordOf(t.Context(), "doc", a.After, "kOTHER"); err != nil || seq != 0 {
		t.Errorf("record of a key that made none: %d, %v", seq, err)
	}
}

func TestOnlyAWriterEditsAndTheRecordNamesThem(t *testing.T) {
	w := start(t, logins)
	bearer := func(mode auth.Mode) string {
		s, err := w.srv.o.Auth.Ticket("doc", mode, "mira", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + s
	}
	if status, answer, _ := w.patch("doc", appendBody, "Authorization", bearer(auth.Read)); status != http.StatusForbidden || errorOf(answer)["code"] != "read-only" {
		t.Errorf("a reader's edit = %d %v, want 403", status, answer)
	}
	if status, answer, _ := w.patch("doc", appendBody); status != http.StatusUnauthorized {
		t.Errorf("an edit without a token = %d %v, want 401", status, answer)
	}
	if status, answer, _ := w.patch("other", appendBody, "Authorization", bearer(auth.ReadWrite)); status != http.StatusForbidden {
		t.Errorf("an edit of another document = %d %v, want 403", status, answer)
	}
	if n := len(w.records("doc")) + len(w.records("other")); n != 0 {
		t.Errorf("%d records, want none", n)
	}
	if status, answer, _ := w.patch("doc", appendBody, "Authorization", bearer(auth.ReadWrite)); status != http.StatusOK {
		t.Fatalf("a writer's edit = %d %v", status, answer)
	}
	if records := w.records("doc"); len(records) != 1 || records[0].User != "mira" {
		t.Errorf("records %+v, want one of mira", records)
	}
}

func TestADocumentThatIsFullTakesNoEditThatGrowsIt(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.Document = 100 }))
	w.edited("doc", `{"type":"text","name":"t","op":"append","text":"`+strings.Repeat("x", 200)+`"}`)
	if status, answer, _ := w.patch("doc", appendBody); status != http.StatusRequestEntityTooLarge {
		t.Errorf("an edit that grows it = %d %v, want 413", status, answer)
	}
	w.edited("doc", `{"type":"text","name":"t","op":"delete","index":0,"length":150}`)
	if got := w.json("doc", "&type=t:text"); got != `{"t":"`+strings.Repeat("x", 50)+`"}` {
		t.Errorf("the document is %s: the refused edit is part of it", got)
	}
}

// What fails in the middle of a request leaves nothing behind, not in the log and not for the next edit.
func TestOneBadEditStoresNothingOfItsRequest(t *testing.T) {
	w := start(t)
	w.edited("doc", `{"type":"text","name":"t","op":"append","text":"a"}`)
	status, answer, _ := w.patch("doc", `{"ops":[{"type":"text","name":"t","op":"append","text":"b"},{"type":"text","name":"t","op":"insert","index":9,"text":"c"}]}`)
	e := errorOf(answer)
	if status != http.StatusUnprocessableEntity || e["code"] != "out-of-range" || e["op"] != 1.0 || e["field"] != "index" || e["length"] != 2.0 {
		t.Errorf("an index beyond the end = %d %v, want 422 that names ops[1].index and the length 2", status, answer)
	}
	if n := len(w.records("doc")); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	w.edited("doc", `{"type":"text","name":"t","op":"append","text":"d"}`)
	if got := w.json("doc", "&type=t:text"); got != `{"t":"ad"}` {
		t.Errorf("the document is %s, want ad", got)
	}
}

// failingContext panics when it is asked for its error a second time: between the first and the second edit of a request.
type failingContext struct {
	context.Context
	asked int
}

func (c *failingContext) Err() error {
	if c.asked++; c.asked == 2 {
		panic("in the middle of a request")
	}
	return c.Context.Err()
}

func TestAPanicWithinARequestLeavesNothingForTheNextEdit(t *testing.T) {
	w := start(t)
	w.edited("doc", `{"type":"text","name":"t","op":"append","text":"a"}`)
	r, err := w.srv.rooms.open(t.Context(), "doc")
	if err != nil {
		t.Fatal(err)
	}
	defer w.srv.rooms.release(r)
	ops, err := patch.Parse([]byte(`{"ops":[{"type":"text","name":"t","op":"append","text":"b"},{"type":"text","name":"t","op":"append","text":"c"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.edit(&failingContext{Context: t.Context()}, editing{grant: auth.Grant{Mode: auth.ReadWrite}, ops: ops}); causeOf(err) != causeInternal {
		t.Fatalf("an edit that panics: got %v, want an internal error", err)
	}
	w.edited("doc", `{"type":"text","name":"t","op":"append","text":"d"}`)
	if got := w.json("doc", "&type=t:text"); got != `{"t":"ad"}` {
		t.Errorf("the document is %s, want ad", got)
	}
}

func TestWhatIsNoEditIsAnsweredWithItsReason(t *testing.T) {
	w := start(t)
	for _, c := range []struct {
		body    string
		headers []string
		status  int
		code    string
	}{
		{``, nil, 400, "malformed"},
		{`{"ops":[]}`, nil, 400, "malformed"},
		{"{\"ops\":[\xff]}", nil, 400, "malformed"},
		{`{"ops":[{}]}`, nil, 422, "bad-edit"},
		{appendBody, []string{"If-Match", "*"}, 400, "bad-condition"},
		{appendBody, []string{"If-None-Match", "*"}, 400, "bad-condition"},
		{appendBody, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "bad-condition"},
		{appendBody, []string{"Content-Type", "text/plain"}, 415, "bad-type"},
		{appendBody, []string{"If-Match", `"7"`}, 412, "moved-on"},
	} {
		status, answer, _ := w.patch("none", c.body, c.headers...)
		if e := errorOf(answer); status != c.status || e["code"] != c.code {
			t.Errorf("PATCH %q with %q = %d %v, want %d %s", c.body, c.headers, status, answer, c.status, c.code)
		}
	}
	if n := len(w.records("none")); n != 0 {
		t.Errorf("%d records, want none", n)
	}
}

// Edits of programs and what people type at the same time come together: both servers end with all of it.
func TestEditsAmongTypistsLoseNothing(t *testing.T) {
	one := start(t)
	servers := []*world{one, join(t, one.nats)}
	const each = 40
	var wg sync.WaitGroup
	var clients []*client
	for i, w := range servers {
		c := w.open("/doc")
		clients = append(clients, c)
		wg.Go(func() {
			for n := range uint64(each) {
				if err := c.ws.WriteMessage(websocket.BinaryMessage, edit(insert(uint64(100+i), n, "y"))); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range each {
				if status, answer, _ := w.patch("doc", `{"ops":[{"type":"text","name":"t","op":"append","text":"P"}]}`); status != http.StatusOK {
					t.Errorf("PATCH = %d %v", status, answer)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range clients {
		c.has(100, each)
		c.has(101, each)
	}
	got := one.json("doc", "&type=t:text")
	if strings.Count(got, "P") != 2*each || strings.Count(got, "y") != 2*each {
		t.Errorf("the document is %s, want %d P and as many y", got, 2*each)
	}
	if other := servers[1].json("doc", "&type=t:text"); other != got {
		t.Errorf("the other server has %s", other)
	}
}
