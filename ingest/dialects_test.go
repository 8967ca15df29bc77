package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
)

// hp makes a message of Hocuspocus.
func hp(address string, body ...byte) []byte {
	return append(yjs.AppendAddress(nil, []byte(address)), body...)
}

func hpAuth(address, token string) []byte {
	return yjs.AppendVarString(yjs.AppendVarString(hp(address, yjs.MsgAuth, yjs.AuthToken), token), "4.8.0")
}

func hpSync(address string, step byte, payload []byte) []byte {
	return yjs.AppendSync(yjs.AppendAddress(nil, []byte(address)), step, payload)
}

// hpHas waits for a frame.
func (c *client) hpHas(what string, want []byte) {
	c.t.Helper()
	c.wait(what, func() bool {
		for _, f := range c.frames {
			if bytes.Equal(f.data, want) {
				return true
			}
		}
		return false
	})
}

func (c *client) hpCount(want []byte) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if bytes.Equal(f.data, want) {
			n++
		}
	}
	return n
}

func TestHocuspocusIsLetInAndGetsOneReceiptForEachUpdate(t *testing.T) {
	w := start(t)
	c := w.dial("/whatever/path")
	c.send(hpAuth("d", "tok"), hpSync("d", yjs.SyncStep1, []byte{0}), hp("d", yjs.MsgAwareness, 6, 1, 7, 1, 2, '{', '}'))
	c.hpHas("admission", append(hp("d", yjs.MsgAuth, yjs.AuthOK), "\x0aread-write"...))
	c.hpHas("step 2", hpSync("d", yjs.SyncStep2, emptyUpdate))
	c.hpHas("step 1", hpSync("d", yjs.SyncStep1, []byte{0}))
	c.hpHas("own awareness", hp("d", yjs.MsgAwareness, 6, 1, 7, 1, 2, '{', '}'))
	stored := hp("d", yjs.MsgSyncStatus, 1)
	c.send(hpSync("d", yjs.SyncStep2, insert(7, 0, "a")))
	for i := range 20 {
		c.send(hpSync("d", yjs.SyncUpdate, insert(7, uint64(1+i), "b")))
	}
	c.send(hpSync("d", yjs.SyncUpdate, insert(7, 0, "a"))) // known: a receipt like any other
	eventually(t, 5*time.Second, "22 receipts", func() bool { return c.hpCount(stored) >= 22 })
	other := w.open("/d")
	other.has(7, 21)
	if n := c.hpCount(stored); n != 22 {
		t.Errorf("receipts: got %d, want 22", n)
	}
}

func TestHocuspocusSharesOneSocketAmongDocuments(t *testing.T) {
	w := start(t)
	c := w.dial("/")
	for i := range 5 {
		name := fmt.Sprintf("doc/%d", i)
		c.send(hpAuth(name, ""), hpSync(name, yjs.SyncStep1, []byte{0}))
		c.hpHas("step 2 of "+name, hpSync(name, yjs.SyncStep2, emptyUpdate))
	}
	// Two views of one document on one socket: each frame carries its session.
	c.send(hpAuth("doc/0\x00abcdefghijk", ""), hpSync("doc/0\x00abcdefghijk", yjs.SyncStep1, []byte{0}))
	c.hpHas("step 2 of the second view", hpSync("doc/0\x00abcdefghijk", yjs.SyncStep2, emptyUpdate))
	u := insert(3, 0, "x")
	w.open("/doc/0").send(edit(u))
	c.hpHas("update", hpSync("doc/0", yjs.SyncUpdate, u))
	c.hpHas("update for the second view", hpSync("doc/0\x00abcdefghijk", yjs.SyncUpdate, u))
	c.send(hp("doc/0", yjs.MsgClose))
	r := w.srv.rooms.find("doc/0")
	eventually(t, 5*time.Second, "one of three sessions left", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.sessions) == 2 })
}

func TestDocumentOfASocketThatEndsWhileItIsLetInIsLeft(t *testing.T) {
	w := start(t)
	w.open("/leak")
	r := w.srv.rooms.find("leak")
	r.hearing.Lock()
	c := w.dial("/")
	c.send(hpAuth("leak", ""), hpSync("leak", yjs.SyncStep1, []byte{0}))
	refs := func() int { w.srv.rooms.mu.Lock(); defer w.srv.rooms.mu.Unlock(); return r.refs }
	eventually(t, 5*time.Second, "the second holds the room", func() bool { return refs() == 2 })
	c.leave()
	eventually(t, 5*time.Second, "its socket has ended", func() bool {
		w.srv.mu.Lock()
		defer w.srv.mu.Unlock()
		for o := range w.srv.conns {
			if o.ctx.Err() != nil {
				return true
			}
		}
		return false
	})
	r.hearing.Unlock()
	eventually(t, 5*time.Second, "only the first holds the room", func() bool { return refs() == 1 })
}

// A page that mounts, unmounts and mounts again before the first visit was let in: the second is a visit of its own.
func TestHocuspocusDocumentIsLeftAndOpenedAgainBeforeItIsLetIn(t *testing.T) {
	w := start(t)
	c := w.dial("/")
	open := [][]byte{hpAuth("twice", ""), hpSync("twice", yjs.SyncStep1, []byte{0})}
	first, second := insert(3, 0, "x"), insert(4, 0, "y")
	c.send(open...)
	c.send(hpSync("twice", yjs.SyncUpdate, first), hp("twice", yjs.MsgClose))
	c.send(open...)
	c.send(hpSync("twice", yjs.SyncUpdate, second))
	o := w.open("/twice")
	o.has(3, 1)
	o.has(4, 1)
	r := w.srv.rooms.find("twice")
	eventually(t, 5*time.Second, "the second visit and the other", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.sessions) == 2 })
	u := insert(5, 0, "z")
	o.send(edit(u))
	c.hpHas("an update of the other", hpSync("twice", yjs.SyncUpdate, u))
	c.send(hp("twice", yjs.MsgClose))
	eventually(t, 5*time.Second, "nobody but the other", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.sessions) == 1 })
}

// A provider sends the user's edits while it still fetches the token, and version 2 its presence after it has left: neither
// is told that a token is missing before there was time for one.
func TestHocuspocusMayTypeBeforeItsTokenComes(t *testing.T) {
	w := start(t, logins, limits(func(l *Limits) { l.RefusalHold = 400 * time.Millisecond }))
	c := w.dial("/")
	u := insert(3, 0, "x")
	c.send(append(yjs.AppendAddress(nil, []byte("early")), aware(7, 1, `{}`)...), hpSync("early", yjs.SyncUpdate, u))
	c.send([]byte{yjs.MsgPing}) // is answered after all that came before it
	if f := c.next(); !bytes.Equal(f.data, []byte{yjs.MsgPong}) {
		t.Errorf("got %x before the token came, want nothing but the pong", f.data)
	}
	c.send(hpAuth("early", token("ada", time.Hour)), hpSync("early", yjs.SyncStep1, []byte{0}))
	address := yjs.AppendAddress(nil, []byte("early"))
	if f := c.next(); !bytes.Equal(f.data, append(bytes.Clone(address), yjs.AppendAuthOK(nil, false)...)) {
		t.Errorf("got %x first, want the rights", f.data)
	}
	c.hpHas("receipt of what came early", append(bytes.Clone(address), yjs.AppendSyncStatus(nil, true)...))

	c.send(hpSync("never", yjs.SyncStep1, []byte{0}))
	c.hpHas("denial of who never sends one", yjs.AppendAuthDenied(yjs.AppendAddress(nil, []byte("never")), "token-required"))
}

func TestHocuspocusBadNamesAreDeniedOneByOne(t *testing.T) {
	w := start(t)
	c := w.dial("/")
	c.send(hpAuth("a/../b", ""), hpSync("a/../b", yjs.SyncStep1, []byte{0}))
	c.hpHas("denial", yjs.AppendAuthDenied(yjs.AppendAddress(nil, []byte("a/../b")), "bad-document-name"))
	c.send(hpAuth("fine", ""), hpSync("fine", yjs.SyncStep1, []byte{0}))
	c.hpHas("the other document", hpSync("fine", yjs.SyncStep2, emptyUpdate))
	c.send(hp("fine", yjs.MsgBroadcastStateless, 1, 'x'))
	c.hpHas("refusal of what goes from server to server", yjs.AppendAuthDenied(yjs.AppendAddress(nil, []byte("fine")), "malformed"))
	c.send(hpAuth("", ""))
	c.hpHas("refusal of the empty name", yjs.AppendAuthDenied(yjs.AppendAddress(nil, nil), "room-required"))
	c.send(hpAuth("last", ""), hpSync("last", yjs.SyncStep1, []byte{0}))
	c.hpHas("another document after all that", hpSync("last", yjs.SyncStep2, emptyUpdate))
}

func TestHocuspocusCutFramesAreRefused(t *testing.T) {
	w := start(t)
	full := hpSync("d", yjs.SyncUpdate, insert(9, 0, "hello"))
	for n := 1; n < len(full); n++ {
		c := w.dial("/")
		c.send(hpAuth("d", ""), hpSync("d", yjs.SyncStep1, []byte{0}))
		c.hpHas("step 2", hpSync("d", yjs.SyncStep2, emptyUpdate))
		c.send(full[:n])
		if n < len(hp("d")) { // of no document
			if got := c.code(); got != 4400 {
				t.Errorf("frame cut to %d bytes: got close code %d, want 4400", n, got)
			}
			continue
		}
		c.hpHas("refusal of the document", yjs.AppendAuthDenied(yjs.AppendAddress(nil, []byte("d")), "malformed"))
		c.send(hpAuth("e", ""), hpSync("e", yjs.SyncStep1, []byte{0}))
		c.hpHas("another document", hpSync("e", yjs.SyncStep2, emptyUpdate))
	}
	if got := w.records("d"); len(got) != 0 {
		t.Errorf("records: got %d, want none", len(got))
	}
}

// One socket holds so many documents and no more: those above are refused alone.
func TestHocuspocusRefusesTheDocumentAboveTheLimit(t *testing.T) {
	w := start(t)
	c := w.dial("/")
	for i := range hpDocuments + 1 {
		c.send(hpAuth(fmt.Sprintf("d%d", i), ""))
	}
	above := yjs.AppendAddress(nil, []byte(fmt.Sprintf("d%d", hpDocuments)))
	c.waitFor(30*time.Second, "refusal of the last", func() bool {
		return slices.ContainsFunc(c.frames, func(f frame) bool {
			return bytes.Equal(f.data, yjs.AppendAuthDenied(above, "too-many-documents-of-user"))
		})
	})
	c.send(hpSync("d0", yjs.SyncStep1, []byte{0}))
	c.hpHas("the first", hpSync("d0", yjs.SyncStep2, emptyUpdate))
}

// What is sent before a document is let in is bounded over all documents of a socket; the document that goes above is refused.
func TestHocuspocusQueueIsBounded(t *testing.T) {
	w := start(t)
	w.open("/slow")
	r := w.srv.rooms.find("slow")
	r.hearing.Lock()
	c := w.dial("/")
	c.send(hpAuth("slow", ""), hpSync("slow", yjs.SyncStep1, []byte{0}))
	for range 6 {
		c.send(hpSync("slow", yjs.SyncUpdate, make([]byte, 1<<20)))
	}
	c.hpHas("refusal", yjs.AppendAuthDenied(yjs.AppendAddress(nil, []byte("slow")), "too-much-before-authentication"))
	r.hearing.Unlock()
	c.send(hpAuth("other", ""), hpSync("other", yjs.SyncStep1, []byte{0}))
	c.hpHas("the other document", hpSync("other", yjs.SyncStep2, emptyUpdate))
}

func TestPartyChunksAreOneMessage(t *testing.T) {
	w := start(t)
	c, other := w.open("/parties/main/big?_pk=1"), w.open("/big")
	text := strings.Repeat("x", 2_500_000)
	message := edit(insert(1, 0, text))
	marker := func(kind string, count int) string {
		return fmt.Sprintf(`y-pk-batch#{"id":"","type":"%s","size":%d,"count":%d}`, kind, len(message), count)
	}
	c.say(marker("start", 3))
	c.send(message[:1_000_000], message[1_000_000:2_000_000], message[2_000_000:])
	c.say(marker("end", 3))
	other.has(1, uint64(len(text)))
	// What does not fit together is dropped, and asked for again.
	asked := func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.count(yjs.MsgSync, yjs.SyncStep1) }
	before := asked()
	c.say(marker("start", 3))
	c.send(message[:1_000_000])
	c.say(marker("end", 3))
	eventually(t, 5*time.Second, "a step 1", func() bool { return asked() > before })
	// Pieces are never read as messages, not those of a batch that was given up either.
	piece := []byte{yjs.MsgSync, 9}
	for _, start := range []string{`"size":3,"count":4`, `"size":8,"count":2`, `"size":-8,"count":4`} {
		before = asked()
		c.say(`y-pk-batch#{"id":"","type":"start",` + start + `}`)
		c.send(piece, piece, piece, piece)
		c.say(`y-pk-batch#{"id":"","type":"end",` + start + `}`)
		eventually(t, 5*time.Second, "a step 1", func() bool { return asked() > before })
	}
	c.send(edit(insert(1, uint64(len(text)), "y")))
	other.has(1, uint64(len(text))+1)
	c.say(`y-pk-batch#{"id":"","type":"start","size":99999999,"count":3}`)
	if got := c.code(); got != 1009 {
		t.Errorf("batch above the limit: got close code %d, want 1009", got)
	}
}

func TestJSONClientGetsNoBinary(t *testing.T) {
	w := start(t)
	c := w.dial("/parties/main/json?_pk=1")
	if f := c.next(); !f.text || !strings.Contains(string(f.data), `"permissions":["read","write"]`) {
		t.Fatalf("first frame: got %q, want what it may do", f.data)
	}
	u := insert(1, 0, "from json")
	c.say(`{"type":"sync","payload":{"stateVector":"AA==","update":"` + base64.StdEncoding.EncodeToString(u) + `"}}`)
	c.say(`{"type":"awareness","payload":{"clientId":5,"clock":1,"state":{"user":{"name":"J"}}}}`)
	other := w.open("/json")
	other.has(1, 9)
	other.wait("presence", func() bool { return other.present()[5] != "" })
	other.send(edit(insert(2, 0, "from yjs")), aware(6, 1, `{"n":1}`))
	var stored, received, present bool
	c.wait("answers", func() bool {
		for _, f := range c.frames {
			if !f.text {
				t.Fatalf("binary frame %x", f.data)
			}
			var m struct {
				Type    string
				Payload struct {
					Seq    uint64
					Update []byte
					States []struct{ ClientID uint64 }
				}
			}
			if err := json.Unmarshal(f.data, &m); err != nil {
				t.Fatalf("frame %q: %v", f.data, err)
			}
			stored = stored || m.Type == "sync" && m.Payload.Seq > 0
			received = received || bytes.Equal(m.Payload.Update, insert(2, 0, "from yjs"))
			for _, s := range m.Payload.States {
				present = present || s.ClientID == 6
			}
		}
		return stored && received && present
	})
	c.say("nonsense")
	c.wait("one error", func() bool { return strings.Contains(string(joined(c)), `"code":"malformed"`) })
	c.say("ping")
	c.wait("pong", func() bool { return strings.HasSuffix(string(joined(c)), "pong") })
}

// PartyKit's clients with their option prefix come on any path, and cut their messages there, too.
func TestPartyClientsWithAPrefixAreUnderstood(t *testing.T) {
	w := start(t)
	c, yps, other := w.open("/custom/room?_pk=1"), w.open("/custom/room?_pk=2"), w.open("/custom/room")
	message := edit(insert(1, 0, strings.Repeat("x", 2000)))
	c.say(fmt.Sprintf(`y-pk-batch#{"id":"","type":"start","size":%d,"count":2}`, len(message)))
	c.send(message[:1000], message[1000:])
	c.say(fmt.Sprintf(`y-pk-batch#{"id":"","type":"end","size":%d,"count":2}`, len(message)))
	other.has(1, 2000)
	c.say("__YPS:hello")
	yps.wait("custom message", func() bool {
		return slices.ContainsFunc(yps.frames, func(f frame) bool { return f.text && string(f.data) == "__YPS:hello" })
	})
	c.send([]byte{yjs.MsgSync, 9})
	if got := c.code(); got != 4400 { // the path is y-websocket's
		t.Errorf("malformed: got close code %d, want 4400", got)
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	if slices.ContainsFunc(other.frames, func(f frame) bool { return f.text }) {
		t.Error("y-websocket got text")
	}
}

// A client that says that it takes text, or begins with JSON, is told its rights on any path.
func TestRightsAreToldToWhoTakesText(t *testing.T) {
	w := start(t)
	rights := func(c *client) {
		t.Helper()
		if f := c.next(); !f.text || !strings.Contains(string(f.data), `"permissions":["read","write"]`) {
			t.Errorf("first frame: got %q, want the rights", f.data)
		}
	}
	asks := w.dial("/told?json=1")
	asks.send(step1(nil))
	rights(asks)
	begins := w.dial("/told")
	begins.say(`{"type":"sync","payload":{"stateVector":"AA=="}}`)
	rights(begins)
	begins.wait("state", func() bool { return len(begins.jsonFrames("sync")) == 1 })
	if n := len(begins.jsonFrames("auth")); n != 1 {
		t.Errorf("got %d auth frames, want one", n)
	}
}

func TestTextIsNeverSentToWhoCannotTakeIt(t *testing.T) {
	w := start(t, quick)
	for _, path := range []string{"/plain", "/d/plain/ws/plain", "/parties/main/plain"} {
		c := w.open(path)
		c.say("nonsense")
		c.say(`{"type":"nonsense"}`)
		c.send([]byte{0, 9})
		if got, want := c.code(), 4400; got != want && got != 1008 {
			t.Errorf("%s: got close code %d, want %d", path, got, want)
		}
		for _, f := range c.frames {
			if f.text {
				t.Errorf("%s: got text %q", path, f.data)
			}
		}
	}
}

func TestCustomMessagesReachTheOthersOfEveryServer(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	a, b, far := w1.open("/party/msg?_pk=1"), w1.open("/party/msg?_pk=2"), w2.open("/party/msg?_pk=3")
	plain := w1.open("/msg")
	h := w2.dial("/")
	h.send(hpAuth("msg", ""), hpSync("msg", yjs.SyncStep1, []byte{0}))
	h.hpHas("step 2", hpSync("msg", yjs.SyncStep2, emptyUpdate))
	a.say(`__YPS:{"hello":1}`)
	for _, c := range []*client{b, far} {
		c.wait("the message", func() bool { return strings.HasSuffix(string(joined(c)), `__YPS:{"hello":1}`) })
	}
	h.hpHas("stateless", yjs.AppendStateless(yjs.AppendAddress(nil, []byte("msg")), `{"hello":1}`))
	h.send(yjs.AppendStateless(yjs.AppendAddress(nil, []byte("msg")), "back"))
	a.wait("the answer", func() bool { return strings.HasSuffix(string(joined(a)), `__YPS:back`) })
	plain.mu.Lock()
	defer plain.mu.Unlock()
	for _, f := range plain.frames {
		if f.text {
			t.Errorf("a plain client got %q", f.data)
		}
	}
}

func TestSweetNamesStandTwiceInItsPath(t *testing.T) {
	for path, want := range map[string]string{
		"/d/a/ws/a": "a", "/d/a%2Fb/ws/a/b": "a/b", "/d/a/b/ws/a/b": "a/b", "/doc/x/ws/x": "doc/x/ws/x", "/d//a//b/ws/a/b/": "a/b", "/d/ws/ws/ws": "ws",
		"/d/a/ws/b": "d/a/ws/b", "/d/a/ws": "d/a/ws",
	} {
		r, err := routeOf(path, nil)
		if err != nil || r.room != want {
			t.Errorf("%s: got %q %v, want %q", path, r.room, err, want)
		}
	}
	w := start(t)
	code, body, _ := w.ask("POST", "/doc/a%2Fb/auth", nil)
	var token clientToken
	if json.Unmarshal([]byte(body), &token); code != 200 || token.DocID != "a/b" || token.Authorization != "full" {
		t.Fatalf("client token: got %d %s", code, body)
	}
	c := w.open(strings.TrimPrefix(token.URL, w.url("")) + "/" + token.DocID)
	c.send(edit(insert(1, 0, "x")))
	c.has(1, 1)
	if len(w.records("a/b")) != 1 {
		t.Error("the edit is not in the document")
	}
}

// TestJSONQuestionOfABinaryClientIsAnsweredInJSON: a client that asks in a JSON frame reads the answer there, whatever else it speaks.
func TestJSONQuestionOfABinaryClientIsAnsweredInJSON(t *testing.T) {
	w := start(t)
	writer := w.open("/asked")
	writer.send(edit(insert(1, 0, "hello")))
	writer.has(1, 5)
	c := w.open("/parties/main/asked?_pk=1")
	c.has(1, 5)
	c.say(`{"type":"sync","payload":{"stateVector":"AA=="}}`)
	c.wait("an answer in JSON", func() bool {
		for _, f := range c.frames {
			var m struct {
				Type    string
				Payload struct {
					Seq    uint64
					Update []byte
				}
			}
			if f.text && json.Unmarshal(f.data, &m) == nil && m.Type == "sync" {
				v, err := yjs.VectorOf(m.Payload.Update)
				return err == nil && v[1] == 5 && m.Payload.Seq > 0
			}
		}
		return false
	})
}
