package ingest

import (
	"bytes"
	"testing"
	"time"

	"yjet/internal/yjs"
)

func TestFramesTellTheFamilyOfTheirSender(t *testing.T) {
	ada := awarenessMessage(yjs.AwarenessEntry{Client: 2_000_000_000, Clock: 1, State: []byte(`{"user":{"name":"Ada Lovelace, Countess of"}}`)})
	for _, c := range []struct {
		name  string
		frame []byte
		want  family
	}{
		{"step 1", step1(nil), yFamily},
		{"awareness", aware(1, 1, `{}`), yFamily},
		{"awareness whose length is a letter", append([]byte{yjs.MsgAwareness}, ada[1:]...), yFamily},
		{"query", []byte{yjs.MsgQueryAwareness}, yFamily},
		{"saved", []byte{yjs.MsgSaved, 1, 0}, yFamily},
		{"auth", yjs.AppendDenied(nil, "token"), yFamily},
		{"several messages", bytes.Join([][]byte{{yjs.MsgQueryAwareness}, aware(1, 1, `{}`), step1(nil)}, nil), yFamily},
		{"101", []byte{101}, yFamily},
		{"the application's 5 with a text", []byte("\x05hello"), yFamily},
		{"the application's 9", []byte{yjs.MsgPing}, yFamily},
		{"an unknown sync step", []byte{0, 9, 0}, yFamily},
		{"token", hpAuth("d", "token"), hocuspocusFamily},
		{"token of version 2", yjs.AppendVarString(hp("d", yjs.MsgAuth, yjs.AuthToken), "token"), hocuspocusFamily},
		{"token for a name that is a type", hpAuth("\u0001", "token"), yFamily}, // no document may have a control character
		{"token for the empty name", hpAuth("", "token"), hocuspocusFamily},
		{"token for a session", hpAuth("notes\x00abcdefghijk", ""), hocuspocusFamily},
		{"step 1 of Hocuspocus", hpSync("notes", yjs.SyncStep1, []byte{0}), hocuspocusFamily},
		{"awareness of Hocuspocus", append(hp("A"), aware(1, 1, `{}`)...), hocuspocusFamily},
		{"stateless", yjs.AppendStateless(hp("notes"), "hello"), eitherFamily},
		{"query of Hocuspocus", hp("notes", yjs.MsgQueryAwareness), eitherFamily},
	} {
		if got := familyOf(c.frame, true); got != c.want {
			t.Errorf("%s (%x): got family %d, want %d", c.name, c.frame, got, c.want)
		}
	}
	if got := familyOf(yjs.AppendStateless(hp("notes"), "hello"), false); got != hocuspocusFamily {
		t.Errorf("stateless on a path without a room: got family %d, want Hocuspocus", got)
	}
}

// Nothing that comes before step 1 costs a client its connection, whichever family it turns out to be of.
func TestWhatComesFirstIsNeverAnError(t *testing.T) {
	w := start(t)
	for name, first := range map[string][]byte{
		"awareness": aware(1, 1, `{}`), "101": {101}, "saved": {yjs.MsgSaved, 1, 0}, "query": {yjs.MsgQueryAwareness}, "auth": yjs.AppendDenied(nil, "t"),
		"a type of the application": []byte("\x2a\x05hello"), "what Hocuspocus could have sent": yjs.AppendStateless(hp("notes"), "hello"),
		"several in one frame": append([]byte{yjs.MsgQueryAwareness}, aware(1, 1, `{}`)...),
	} {
		c := w.dial("/first")
		c.send(first, step1(nil))
		c.wait("step 2 after "+name, func() bool { return c.count(yjs.MsgSync, yjs.SyncStep2) == 1 })
	}
	c := w.dial("/first")
	c.send(yjs.AppendStateless(hp("notes"), "hello"), hpAuth("notes", ""), hpSync("notes", yjs.SyncStep1, []byte{0}))
	c.hpHas("step 2", hpSync("notes", yjs.SyncStep2, emptyUpdate))
}

func TestEveryMessageOfAFrameIsRead(t *testing.T) {
	w := start(t)
	a, b := w.dial("/several"), w.open("/several")
	a.send(bytes.Join([][]byte{step1(nil), edit(insert(7, 0, "hi")), aware(7, 1, `{"n":1}`), {yjs.MsgSaved, 1, 5}}, nil))
	b.has(7, 2)
	b.wait("presence", func() bool { return b.present()[7] != "" })
	a.wait("the answer to the last", func() bool { return a.count(yjs.MsgSaved, 0) == 1 })
	a.send(append(edit(insert(7, 2, "!")), 0, 9, 9))
	if got := a.code(); got != 4400 {
		t.Errorf("an unreadable rest: got close code %d, want 4400", got)
	}
}

// Clients that wait for the server's first message: at once where the path tells the dialect, after a moment elsewhere.
func TestServerSpeaksToClientsThatWait(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.SilentWait = 200 * time.Millisecond }))
	for path, atOnce := range map[string]bool{
		"/parties/main/r": true, "/parties/main/r?_pk=V1StGXR8_Z": true, "/d/r/ws/r": true,
		"/r": false, "/parties/main/r?_pk=9b2f7c3e-55a1-4f0e-8b8a-d0f1f2a3b4c5": false, "/x/r?_pk=abc": false,
	} {
		began := time.Now()
		c := w.dial(path)
		c.wait("our step 1 on "+path, func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
		if took := time.Since(began); !atOnce && took < 200*time.Millisecond {
			t.Errorf("%s: spoken to after %v, want only after the client was silent for 200 ms", path, took)
		}
		c.send(step1(nil))
		c.wait("step 2", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep2) == 1 })
	}
	// A Hocuspocus client that takes its time over the token is greeted, and then understood.
	c := w.dial("/r")
	c.wait("our step 1", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
	c.send(hpAuth("d", ""), hpSync("d", yjs.SyncStep1, []byte{0}))
	c.hpHas("step 2", hpSync("d", yjs.SyncStep2, emptyUpdate))
	// One that begins with JSON after the greeting gets no more binary.
	j := w.dial("/x/r?_pk=abc")
	j.wait("our step 1", func() bool { return j.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
	j.say(`{"type":"sync","payload":{"stateVector":"AA=="}}`)
	j.wait("the answer", func() bool { return len(j.jsonFrames("sync")) == 1 })
	o := w.open("/x/r")
	o.send(edit(insert(5, 0, "x")))
	j.wait("an update", func() bool { return len(j.jsonFrames("sync")) == 2 })
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := j.count(yjs.MsgSync, yjs.SyncUpdate) + j.count(yjs.MsgSync, yjs.SyncStep2); n > 0 {
		t.Errorf("a client that speaks JSON got %d binary sync messages", n)
	}
}

// A second step 1 is answered as the first: by ours, then by step 2.
func TestEveryStep1IsAnsweredByOursAndStep2(t *testing.T) {
	w := start(t)
	c := w.open("/again")
	for n := 2; n <= 10; n++ {
		c.send(step1(nil))
		c.wait("another pair", func() bool {
			return c.count(yjs.MsgSync, yjs.SyncStep1) == n && c.count(yjs.MsgSync, yjs.SyncStep2) == n
		})
	}
}

func TestCustomMessagesReachListeners(t *testing.T) {
	w := start(t)
	a, silent, sender := w.dial("/parties/main/j?_pk=V1StGXR8_1"), w.dial("/parties/main/j?_pk=V1StGXR8_2"), w.dial("/parties/main/j?_pk=abc")
	text := w.dial("/parties/main/j?_pk=9b2f7c3e-55a1-4f0e-8b8a-d0f1f2a3b4c5") // may be plain partysocket: no binary comes, but this does
	// A client that has only been let in gets nothing that tells that it hears the others from now on.
	eventually(t, 10*time.Second, "all four in the room", func() (ok bool) {
		if r := w.srv.rooms.find("j"); r != nil {
			r.look(func() { ok = len(r.sessions)+len(r.listeners) == 4 })
		}
		return ok
	})
	sender.say("__YPS:me")
	for _, c := range []*client{text, a, silent} {
		c.wait("the first message", func() bool { return bytes.HasSuffix(joined(c), []byte("__YPS:me")) })
	}
	a.say("__YPS:hi")
	for _, c := range []*client{silent, sender} {
		c.wait("the second message", func() bool { return bytes.HasSuffix(joined(c), []byte("__YPS:hi")) })
	}
}
