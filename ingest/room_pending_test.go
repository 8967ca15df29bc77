package ingest

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// pendingDoc is the state of a document that lost an update long ago: the text of client 1 at clocks 5 to 9 is nowhere, and "late"
// waits for it.
func pendingDoc(t *testing.T) []byte {
	t.Helper()
	u, err := yjs.Merge(insert(1, 0, "kept "), insert(1, 10, "late"))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWhatNobodyHasHoldsUpNoAcknowledgement(t *testing.T) {
	w := start(t)
	c := w.open("/pending")
	c.wait("our step 1", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
	c.send([]byte{yjs.MsgSaved, 1, 6})
	c.wait("an echo before anything was sent", func() bool { return c.echoes() == 1 })
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, pendingDoc(t)))
	c.send([]byte{yjs.MsgSaved, 1, 7})
	c.has(1, 5)
	c.wait("the echo after the client's whole state", func() bool { return c.echoes() == 2 })
	c.send(edit(insert(2, 0, "more")))
	c.send([]byte{yjs.MsgSaved, 1, 8})
	c.wait("the echo after a later edit", func() bool { return c.echoes() == 3 })
	if n := len(w.records("pending")); n != 2 {
		t.Errorf("%d records, want what could be stored and the later edit", n)
	}
	// A waiting edit is stored as soon as another client brings its predecessor.
	b := w.open("/pending")
	b.send(edit(insert(1, 5, "LOST ")))
	b.has(1, 14)
}

func TestAnEditThatTheClientCannotCompleteIsAcknowledgedOnceItHasAnswered(t *testing.T) {
	w := start(t)
	c := w.open("/incomplete")
	c.wait("our step 1", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, emptyUpdate))
	c.send(edit(insert(1, 10, "late")))
	c.wait("a step 1 that asks for the rest", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 2 })
	c.send([]byte{yjs.MsgSaved, 1, 7})
	c.turn()
	c.mu.Lock()
	early := c.echoes()
	c.mu.Unlock()
	if early != 0 {
		t.Error("told that all is saved before the client was heard")
	}
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, insert(1, 10, "late")))
	c.wait("the echo", func() bool { return c.echoes() == 1 })
}

func TestWhatWaitedTooLongIsAskedForWhenItsPredecessorComes(t *testing.T) {
	w := start(t)
	c := w.open("/long")
	c.wait("our step 1", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, pendingDoc(t)))
	c.has(1, 5)
	w.srv.rooms.tick(time.Now().Add(time.Hour)) // its bytes are given back, the ids stay
	b := w.open("/long")
	b.send(edit(insert(1, 5, "LOST ")))
	c.wait("a step 1 for what waited", func() bool {
		return slices.ContainsFunc(c.frames, func(f frame) bool { return string(f.data) == "\x00\x00\x03\x01\x01\x0a" }) // {1: 10}
	})
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, pendingDoc(t)))
	b.has(1, 14)
}

func TestAPostStoresWhatItCanAndSaysWhatItLeavesOut(t *testing.T) {
	w := start(t)
	for _, header := range []string{"If-None-Match: *", "X-Nothing: 1"} {
		doc := "/api/docs/post-" + strings.ToLower(header[:2])
		code, body, h := w.ask("POST", doc, pendingDoc(t), header)
		if left := h.Get("Yjet-Left-Out"); code != http.StatusNoContent || !strings.HasSuffix(left, `;missing="1:5"`) {
			t.Errorf("%s: got %d %s, Yjet-Left-Out: %s", header, code, body, left)
		}
		if _, text, _ := w.ask("GET", doc+"?format=text&type=t:text", nil); text != "kept " {
			t.Errorf("%s: stored %q", header, text)
		}
		if code, _, _ := w.ask("POST", doc, insert(1, 10, "late")); code != http.StatusConflict {
			t.Errorf("%s: nothing of it is ready: got %d, want 409", header, code)
		}
		if code, body, h := w.ask("POST", doc, insert(1, 5, "found")); code != http.StatusNoContent || h.Get("Yjet-Left-Out") != "" {
			t.Errorf("%s: a whole update: got %d %s", header, code, body)
		}
	}
}

func TestAnImportStoresWhatItCanAndSaysWhatItLeavesOut(t *testing.T) {
	w := start(t, logins)
	code, out := w.request("POST", "/api/docs/gaps/import", token("ann", time.Hour), export(insert(1, 0, "kept "), insert(1, 10, "late"), insert(2, 0, "x")))
	if code != http.StatusCreated || !strings.Contains(out, `"leftOut":1`) || !strings.Contains(out, `"records":2`) {
		t.Errorf("got %d %s, want 2 records and 1 left out", code, out)
	}
	if n := len(w.records("gaps")); n != 2 {
		t.Errorf("%d records are stored", n)
	}
}

func TestAFirstStateWithEditsThatWaitForLostOnesIsLoaded(t *testing.T) {
	first := pendingDoc(t)
	s := newService(t, func(_ int, w http.ResponseWriter) { w.Write(first) })
	w := start(t, func(o *Options, _ *auth.Options, _ *stream.Config) { o.LoadURL = s.URL })
	w.open("/loaded").has(1, 5)
	if code, text, _ := w.ask("GET", "/api/docs/loaded?format=text&type=t:text", nil); code != http.StatusOK || text != "kept " {
		t.Errorf("got %d %q", code, text)
	}
}

// A client that speaks JSON cannot be asked for missing edits: its edit is given up after HeldWait, and those after it are acknowledged.
func TestAJSONClientsEditThatCannotBeStoredHoldsUpNoOther(t *testing.T) {
	w := start(t)
	c := w.dial("/parties/main/json-pending?_pk=1")
	say := func(update []byte) {
		c.say(`{"type":"sync","payload":{"stateVector":"AA==","update":"` + base64.StdEncoding.EncodeToString(update) + `"}}`)
	}
	say(insert(1, 10, "late"))
	say(insert(2, 0, "ready"))
	w.open("/json-pending").has(2, 5)
	stored := func() (n int) {
		for _, f := range c.frames {
			if f.text && strings.Contains(string(f.data), `"seq":1,`) {
				n++
			}
		}
		return n
	}
	c.mu.Lock()
	if n := stored(); n != 0 {
		t.Errorf("%d updates are acknowledged while the first waits", n)
	}
	c.mu.Unlock()
	w.srv.rooms.tick(time.Now().Add(31 * time.Second))
	c.wait("the acknowledgement of the second", func() bool { return stored() == 1 })
}
