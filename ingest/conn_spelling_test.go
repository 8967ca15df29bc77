package ingest

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"yjet/internal/yjs"
	"yjet/stream"
)

// spellings are ways to write a name: of one document, or of none.
var spellings = []struct {
	name string
	ok   bool
}{
	{"notes/x.md", true}, {"/notes/x.md", true}, {"notes/x.md/", true}, {"notes//x.md", true}, {"//notes/x.md", true}, {"notes/x.md///", true},
	{"/notes//x.md/", true}, {"///notes////x.md///", true}, {"notes///x.md", true},
	{"", false}, {"/", false}, {"///", false}, {" ", false}, {"/ /", false}, {"notes/../x.md", false}, {"./notes//x.md", false},
}

// socketPaths are the paths of a room in each dialect that has it in the path.
var socketPaths = map[string]func(room string) string{
	"y-websocket":          func(room string) string { return "/" + escaped(room) },
	"y-websocket, escapes": func(room string) string { return "/" + url.PathEscape(room) },
	"JSON":                 func(room string) string { return "/" + escaped(room) + "?json" },
	"party":                func(room string) string { return "/party/" + escaped(room) + "?_pk=1" },
	"parties/main":         func(room string) string { return "/parties/main/" + escaped(room) + "?_pk=1" },
	"parties/notes": func(room string) string {
		return "/parties/notes/" + escaped(strings.Replace(room, "notes", "", 1)) + "?_pk=1"
	},
	"prefix":  func(room string) string { return "/" + escaped(room) + "?_pk=1" },
	"Y-Sweet": func(room string) string { return "/d/" + url.PathEscape(room) + "/ws/" + escaped(room) },
}

func escaped(room string) string { return (&url.URL{Path: room}).EscapedPath() }

// TestADocumentHasOneNameAtEveryDoor: however a client spells the slashes, it gets the same document, through every dialect's real
// handshake and over HTTP, and is answered under its own spelling. A name of nothing but slashes or spaces is refused everywhere.
func TestADocumentHasOneNameAtEveryDoor(t *testing.T) {
	w := start(t, quick)
	const one = "notes/x.md"
	author := uint64(0)
	var taken []string // doors that let an edit in, by author
	next := func(door, spelling string) []byte {
		author++
		taken = append(taken, fmt.Sprintf("%s %q", door, spelling))
		return insert(author, 0, "x")
	}
	for door, path := range socketPaths {
		for _, s := range spellings {
			if !s.ok {
				refusedAtSocket(t, w, door, path(s.name), s.name)
				continue
			}
			c := w.open(path(s.name))
			c.send(edit(next(door, s.name)))
			c.leave()
		}
	}
	hocus := w.dial("/")
	for _, s := range spellings {
		switch {
		case s.ok:
			hocus.send(hpAuth(s.name, ""), hpSync(s.name, yjs.SyncStep1, []byte{0}))
			hocus.hpHas("admission of "+s.name, append(hp(s.name, yjs.MsgAuth, yjs.AuthOK), "\x0aread-write"...))
			u := next("Hocuspocus", s.name)
			hocus.send(hpSync(s.name, yjs.SyncUpdate, u))
			hocus.hpHas("receipt under "+s.name, hp(s.name, yjs.MsgSyncStatus, 1))
		case s.name != "":
			hocus.send(hpAuth(s.name, ""), hpSync(s.name, yjs.SyncStep1, []byte{0}))
			hocus.hpHas("denial of "+s.name, yjs.AppendAuthDenied(yjs.AppendAddress(nil, []byte(s.name)), causeName.reason))
		}
	}
	// What another writes comes under each of the spellings that are open on the socket.
	last := next("y-websocket", "notes/x.md, to Hocuspocus")
	w.open("/" + one).send(edit(last))
	for _, s := range spellings {
		if s.ok {
			hocus.hpHas("the update under "+s.name, hpSync(s.name, yjs.SyncUpdate, last))
		}
	}
	for _, s := range spellings {
		path := "/api/docs/" + url.PathEscape(s.name)
		if !s.ok {
			if strings.Trim(s.name, "/") == s.name && s.name == "" {
				continue // the list of documents
			}
			for _, method := range []string{"GET", "POST", "DELETE"} {
				if code, body, _ := w.ask(method, path, insert(1, 0, "x")); code != 400 {
					t.Errorf("%s %s: %d %s, want 400", method, path, code, body)
				}
			}
			continue
		}
		if code, body, _ := w.ask("POST", path, next("HTTP", s.name)); code != 204 {
			t.Errorf("POST %s: %d %s, want 204", path, code, body)
		}
		if code, body, _ := w.ask("POST", path+"/token", []byte(`{"access":"r"}`)); code == 400 {
			t.Errorf("a ticket for %q: %d %s", s.name, code, body)
		}
	}
	reader := w.open("/" + one)
	reader.has(author, 1)
	reader.mu.Lock()
	for i, door := range taken {
		if reader.state().Structs().Prefix(uint64(i+1)) != 1 {
			t.Errorf("the edit through %s is not in %s", door, one)
		}
	}
	reader.mu.Unlock()
	docs, err := w.log.Docs(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if d.Doc != stream.Doc(one) {
			t.Errorf("there is a document %q, want only %s", d.Doc, one)
		}
	}
}

// refusedAtSocket connects with a name that is no document's: over HTTP where the path names a document of its dialect, else with a
// close code after the first message.
func refusedAtSocket(t *testing.T, w *world, door, path, name string) {
	t.Helper()
	if door == "Y-Sweet" && strings.Trim(name, "/") == "" || door == "parties/notes" {
		return // "/d/ws/" is a room of y-websocket, and "/parties/notes/x" is "notes/x"
	}
	ws, resp, err := websocket.DefaultDialer.Dial(w.url(path), nil)
	if err != nil {
		if resp == nil || resp.StatusCode != 400 {
			t.Errorf("%s with %q: %v (%v), want 400", door, name, err, resp)
		}
		return
	}
	c := newClient(t, ws)
	c.send(step1(nil))
	if code := c.code(); code != 4400 && code != 1008 {
		t.Errorf("%s with %q (%s) was closed with %d, want 4400 or 1008", door, name, path, code)
	}
}

func TestARoomOfYWebsocketIsNoPathOfYSweet(t *testing.T) {
	w := start(t)
	c := w.open("/doc/x/ws/x")
	c.send(edit(insert(1, 0, "x")))
	w.open("/doc%2Fx%2Fws%2Fx").has(1, 1)
	if n := len(w.records("x")); n != 0 {
		t.Errorf("the document x has %d records, want none", n)
	}
	if n := len(w.records("doc/x/ws/x")); n != 1 {
		t.Errorf("the document doc/x/ws/x has %d records, want 1", n)
	}
}
