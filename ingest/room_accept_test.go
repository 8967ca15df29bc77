package ingest

import (
	"strings"
	"testing"

	"yjet/internal/yjs"
)

// nested is n arrays, each inside the one before, from a clock on; the first of a document is a root's.
func nested(author, from uint64, n int) []byte {
	b := []byte{1}
	b = yjs.AppendUvarint(b, uint64(n))
	b = yjs.AppendUvarint(b, author)
	b = yjs.AppendUvarint(b, from)
	for i := range uint64(n) {
		if b = append(b, yjs.RefType); from+i == 0 {
			b = yjs.AppendVarString(append(b, 1), "deep")
		} else {
			b = yjs.AppendUvarint(yjs.AppendUvarint(append(b, 0), author), from+i-1)
		}
		b = append(b, yjs.TypeArray)
	}
	return append(b, 0)
}

// Four POSTs of 1,000 nested types each, and one delete of the top, silence a stock client for good.
func TestTypesNestOnlySoDeepByTurnsToo(t *testing.T) {
	w := start(t)
	if code, body, _ := w.ask("POST", "/api/docs/deep", nested(1, 0, 1000)); code != 204 {
		t.Fatalf("1,000 levels: got %d %s", code, body)
	}
	if code, body, _ := w.ask("POST", "/api/docs/deep", nested(1, 1000, 1000)); code != 413 || !strings.Contains(body, "document-too-deep") {
		t.Errorf("1,000 more: got %d %s, want 413", code, body)
	}
	a := w.open("/deep")
	a.send(edit(nested(1, 1000, 2)))
	a.wait("the denial", func() bool { return a.count(yjs.MsgAuth, 0) > 0 })
	if code, body, _ := w.ask("POST", "/api/docs/deep", nested(1, 1000, 1)); code != 204 {
		t.Errorf("one more level: got %d %s", code, body)
	}
	if code, body, _ := w.ask("POST", "/api/docs/seeded", nested(1, 0, 1002), "If-None-Match: *"); code != 413 {
		t.Errorf("seeding 1,002 levels: got %d %s, want 413", code, body)
	}
}

// The bounds of a document are not those of one update: all of these were refused for good once.
func TestLargeHonestDocumentsEnterAndComeBack(t *testing.T) {
	w := start(t)
	docs := []byte{1, 0xac, 2, 9, 0} // 300 sub-documents
	for i := range 300 {
		if i == 0 {
			docs = yjs.AppendVarString(append(docs, yjs.RefDoc, 1), "m")
		} else {
			docs = yjs.AppendUvarint(append(docs, 0x80|yjs.RefDoc, 9), uint64(i-1))
		}
		docs = append(docs, 1, 'g', 118, 0)
	}
	clients := yjs.AppendUvarint(nil, 20_000)
	for i := uint64(20_000); i > 0; i-- {
		if clients = yjs.AppendUvarint(append(clients, 1), i); i == 1 {
			clients = yjs.AppendVarString(append(clients, 0, yjs.RefString, 1), "t")
		} else {
			clients = append(yjs.AppendUvarint(append(clients, 0, 0x80|yjs.RefString), i-1), 0)
		}
		clients = yjs.AppendVarString(clients, "x")
	}
	const n = 1_040_000
	ranges := yjs.AppendVarString([]byte{1, 1, 7, 0, yjs.RefString, 1}, "t")
	ranges = yjs.AppendVarString(ranges, strings.Repeat("ab", n/2))
	ranges = yjs.AppendUvarint(append(ranges, 1, 7), n/2)
	for i := uint64(0); i < n; i += 2 {
		ranges = append(yjs.AppendUvarint(ranges, i), 1)
	}
	for name, u := range map[string][]byte{
		"300 sub-documents":     append(docs, 0),
		"20,000 clients":        append(clients, 0),
		"1,500 roots":           roots(1, 1500),
		"520,000 delete ranges": ranges,
	} {
		doc := "/api/docs/" + strings.ReplaceAll(name, " ", "-")
		if code, body, _ := w.ask("POST", doc, u); code != 204 {
			t.Errorf("%s: got %d %s", name, code, body)
			continue
		}
		code, state, _ := w.ask("GET", doc, nil)
		if code != 200 {
			t.Errorf("%s: GET: got %d", name, code)
		}
		if code, body, _ := w.ask("POST", doc+"-again", []byte(state)); code != 204 {
			t.Errorf("%s, posted to another document: got %d %s", name, code, body)
		}
		if code, body, _ := w.ask("POST", doc, []byte(state)); code != 204 {
			t.Errorf("%s, posted back: got %d %s", name, code, body)
		}
	}
}

// Rust clients put several messages into one frame.
func TestAFrameMayHoldSeveralMessages(t *testing.T) {
	w := start(t)
	a := w.open("/frames")
	b := w.dial("/frames")
	b.send(append(append(step1(nil), edit(insert(1, 0, "one"))...), edit(insert(1, 3, "two"))...))
	a.has(1, 6)
	b.has(1, 6)
	b.send(append(edit(insert(1, 6, "!")), 0, 7))
	a.has(1, 7)
	if got := b.code(); got != 4400 {
		t.Errorf("closed with %d, want 4400", got)
	}
	b = w.dial("/frames")
	b.send(append(step1(nil), []byte(strings.Repeat("\x03", frameMessages))...))
	if got := b.code(); got != 4400 {
		t.Errorf("closed with %d, want 4400", got)
	}
}

// A writer uses up the clocks of a colleague who is offline. The colleague's edits are not called saved.
func TestEditsWhoseIdsAreTakenAreNotAcknowledged(t *testing.T) {
	w := start(t)
	a := w.open("/planted")
	a.send(edit(insert(7, 0, "hello")))
	a.has(7, 5)
	gc := yjs.AppendUvarint(append([]byte{1, 1, 7, 5}, yjs.RefGC), 100_000)
	a.send(edit(append(gc, 0)))
	a.has(7, 100_005)

	back := w.dial("/planted")
	back.send(step1([]byte{1, 7, 11}))
	back.wait("step 1", func() bool { return back.count(yjs.MsgSync, yjs.SyncStep1) > 0 })
	if v := asked(t, back); v[7] != 5 {
		t.Errorf("asked for what comes after %d, want 5", v[7])
	}
	back.send(yjs.AppendSync(nil, yjs.SyncStep2, insert(7, 5, " world")), yjs.AppendVarBytes([]byte{yjs.MsgSaved}, []byte{1}))
	back.wait("an answer", func() bool { return back.count(yjs.MsgAuth, 0) > 0 })
	back.send(edit(insert(8, 0, "and on")))
	a.has(8, 6)
	back.mu.Lock()
	if n := back.count(yjs.MsgSaved, 0); n > 0 {
		t.Error("what nobody will see was called saved")
	}
	back.mu.Unlock()
	if code, body, _ := w.ask("POST", "/api/docs/planted", insert(7, 5, " world")); code != 409 || !strings.Contains(body, "edits-overtaken") {
		t.Errorf("over HTTP: got %d %s, want 409", code, body)
	}
	if code, body, _ := w.ask("POST", "/api/docs/planted", append(gc, 0)); code != 204 {
		t.Errorf("the same as stored: got %d %s, want 204", code, body)
	}
}

// asked is the state vector of the last step 1 a client got.
func asked(t *testing.T, c *client) (v yjs.StateVector) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if m, _, err := yjs.ReadMessage(f.data); !f.text && err == nil && m.Type == yjs.MsgSync && m.Step == yjs.SyncStep1 {
			if v, err = yjs.DecodeStateVector(m.Payload); err != nil {
				t.Fatal(err)
			}
		}
	}
	return v
}
