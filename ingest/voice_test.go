package ingest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	dto "github.com/prometheus/client_model/go"

	"yjet/internal/yjs"
)

// A tongue is one way in which clients speak: tests that hold for all dialects go over tongues.
type tongue struct {
	name    string                       // of the client
	dialect string                       // as metrics and /health call it
	path    func(doc string) string      // of its socket
	codes   func(party, yws, hp int) int // the close code that its client understands
	hp      bool                         // messages carry an address
	version string                       // that Hocuspocus's client names; "": none
	session string                       // of Hocuspocus's address
	json    bool                         // nothing but text
	text    bool                         // takes text beside binary
	greeted bool                         // with a step 1 as soon as it connects
}

func partyCode(party, _, _ int) int { return party }
func ywsCode(_, yws, _ int) int     { return yws }
func hpCode(_, _, hp int) int       { return hp }

// tongues are the clients that the server is made for.
var tongues = []tongue{
	{name: "y-websocket", dialect: "y-websocket", path: func(doc string) string { return "/" + escaped(doc) + "?" }, codes: ywsCode},
	{name: "y-partykit", dialect: "party", path: func(doc string) string {
		return "/parties/main/" + escaped(doc) + "?_pk=9b2f7c3e-55a1-4f0e-8b8a-d0f1f2a3b4c5&"
	}, codes: partyCode, text: true},
	{name: "y-partyserver", dialect: "party", path: func(doc string) string { return "/parties/main/" + escaped(doc) + "?_pk=V1StGXR8_Z&" }, codes: partyCode, text: true, greeted: true},
	{name: "y-partykit below a prefix", dialect: "party", path: func(doc string) string { return "/" + escaped(doc) + "?_pk=abc&" }, codes: ywsCode, text: true},
	{name: "partysocket with JSON", dialect: "party", path: func(doc string) string { return "/party/" + escaped(doc) + "?_pk=abc&json=1&" }, codes: partyCode, json: true, text: true},
	{name: "Hocuspocus 2", dialect: "hocuspocus", path: func(string) string { return "/?" }, codes: hpCode, hp: true},
	{name: "Hocuspocus 3", dialect: "hocuspocus", path: func(string) string { return "/any?" }, codes: hpCode, hp: true, version: "3.4.0"},
	{name: "Hocuspocus 4", dialect: "hocuspocus", path: func(string) string { return "/?" }, codes: hpCode, hp: true, version: "4.8.0", session: "\x00abcdefghijk"},
	{name: "Y-Sweet", dialect: "y-sweet", path: func(doc string) string { return "/d/" + url.PathEscape(doc) + "/ws/" + escaped(doc) + "?" }, codes: ywsCode, greeted: true},
}

// A voice is a client that speaks a tongue about one document.
type voice struct {
	*client
	tongue
	doc string
}

// speak connects. token is "" where the server asks for none.
func (w *world) speak(t tongue, doc, token string) *voice {
	w.t.Helper()
	path := t.path(doc)
	if !t.hp && token != "" {
		path += "token=" + token
	}
	v := &voice{w.dial(strings.TrimRight(path, "?&")), t, doc}
	if t.hp {
		b := yjs.AppendVarString(append(v.address(), yjs.MsgAuth, yjs.AuthToken), token)
		if t.version != "" {
			b = yjs.AppendVarString(b, t.version)
		}
		v.send(b)
	}
	return v
}

// enter connects and waits for the document.
func (w *world) enter(t tongue, doc, token string) *voice {
	w.t.Helper()
	v := w.speak(t, doc, token)
	v.ask(nil)
	v.answered(1)
	return v
}

func (v *voice) address() []byte {
	if !v.hp {
		return nil
	}
	return yjs.AppendAddress(nil, []byte(v.doc+v.session))
}

// ask sends a step 1. vector is nil for a client without content.
func (v *voice) ask(vector []byte) {
	v.t.Helper()
	if vector == nil {
		vector = []byte{0}
	}
	if v.json {
		v.say(fmt.Sprintf(`{"type":"sync","payload":{"stateVector":%q}}`, base64.StdEncoding.EncodeToString(vector)))
		return
	}
	v.send(yjs.AppendSync(v.address(), yjs.SyncStep1, vector))
}

// write sends an edit.
func (v *voice) write(u []byte) {
	v.t.Helper()
	if err := v.tryWrite(u); err != nil {
		v.t.Fatalf("%s writes: %v", v.name, err)
	}
}

// tryWrite sends an edit on a socket that may be closed meanwhile.
func (v *voice) tryWrite(u []byte) error {
	if v.json {
		return v.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"sync","payload":{"update":%q}}`, base64.StdEncoding.EncodeToString(u)))
	}
	return v.ws.WriteMessage(websocket.BinaryMessage, yjs.AppendSync(v.address(), yjs.SyncUpdate, u))
}

// appear sends a presence.
func (v *voice) appear(id, clock uint64, state string) {
	v.t.Helper()
	if v.json {
		v.say(fmt.Sprintf(`{"type":"awareness","payload":{"clientId":%d,"clock":%d,"state":%s}}`, id, clock, state))
		return
	}
	v.send(append(v.address(), aware(id, clock, state)...))
}

// A word is one thing that a voice heard, whatever bytes it came in.
type word struct {
	kind    string // asked, answer, update, presence, refused, receipt, lost, saved, left
	payload []byte
	reason  string
	present map[uint64]string
}

// words are all words that the voice heard so far. Callers hold the lock.
func (v *voice) words() (list []word) {
	for _, f := range v.frames {
		if f.text {
			list = append(list, v.textWords(f.data)...)
			continue
		}
		read := yjs.ReadMessage
		if v.hp {
			read = yjs.ReadHocuspocus
		}
		for b := f.data; len(b) > 0; {
			m, rest, err := read(b)
			if err != nil {
				v.t.Errorf("%s got %x: %v", v.name, f.data, err)
				break
			}
			if v.hp && m.Address != nil && string(m.Address) != v.doc+v.session {
				v.t.Errorf("%s got a message for %q", v.name, m.Address)
			}
			list = append(list, v.wordOf(m))
			b = rest
		}
	}
	return list
}

func (v *voice) wordOf(m yjs.Message) word {
	switch m.Type {
	case yjs.MsgSync:
		return word{kind: [...]string{"asked", "answer", "update"}[m.Step], payload: m.Payload}
	case yjs.MsgAwareness:
		entries, err := yjs.ReadAwareness(nil, m.Payload)
		if err != nil {
			v.t.Errorf("%s got a presence %x: %v", v.name, m.Payload, err)
		}
		p := map[uint64]string{}
		for _, e := range entries {
			p[e.Client] = string(e.State)
		}
		return word{kind: "presence", present: p}
	case yjs.MsgAuth:
		if !v.hp || m.Step == yjs.AuthDenied {
			return word{kind: "refused", reason: string(m.Payload)}
		}
	case yjs.MsgSyncStatus:
		return word{kind: map[bool]string{true: "receipt", false: "lost"}[m.Step == 1]}
	case yjs.MsgSaved:
		return word{kind: "saved", payload: m.Payload}
	case yjs.MsgClose:
		return word{kind: "left", reason: string(m.Payload)}
	}
	return word{}
}

func (v *voice) textWords(b []byte) (list []word) {
	var m struct {
		Type    string
		Payload struct {
			Code   string
			Seq    *uint64
			Update []byte
			States []struct {
				ClientID uint64
				State    json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(b, &m); err != nil {
		v.t.Errorf("%s got the text %q: %v", v.name, b, err)
	}
	switch m.Type {
	case "sync":
		kind := "update"
		if m.Payload.Seq != nil {
			kind = "answer"
		}
		list = append(list, word{kind: kind, payload: m.Payload.Update})
	case "awareness":
		p := map[uint64]string{}
		for _, s := range m.Payload.States {
			p[s.ClientID] = strings.TrimPrefix(string(s.State), "null")
		}
		list = append(list, word{kind: "presence", present: p})
	case "error":
		list = append(list, word{kind: "refused", reason: m.Payload.Code})
	}
	return list
}

// heard counts words of a kind. Callers hold the lock.
func (v *voice) heard(kind string) (n int) {
	for _, w := range v.words() {
		if w.kind == kind {
			n++
		}
	}
	return n
}

// total is heard for callers without the lock.
func (v *voice) total(kind string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.heard(kind)
}

// answered waits for the n-th answer to a step 1.
func (v *voice) answered(n int) {
	v.t.Helper()
	v.waitFor(waitLong, fmt.Sprintf("answer %d of %s", n, v.name), func() bool { return v.heard("answer") >= n })
}

// reads waits until the voice has so many units of an author's content.
func (v *voice) reads(author, n uint64) {
	v.t.Helper()
	v.waitFor(waitLong, "content for "+v.name, func() bool {
		var s yjs.State
		for _, w := range v.words() {
			var u yjs.Update
			if w.kind != "answer" && w.kind != "update" {
				continue
			}
			if err := u.Parse(w.payload, recordLimits); err != nil {
				v.t.Fatalf("%s got the update %x: %v", v.name, w.payload, err)
			}
			s.Add(&u)
		}
		return s.Structs().Prefix(author) >= n
	})
}

// sees waits for the state of a client id: "" is gone, or never there.
func (v *voice) sees(id uint64, state string) {
	v.t.Helper()
	v.waitFor(waitLong, fmt.Sprintf("presence %d with %q for %s", id, state, v.name), func() bool {
		got := ""
		for _, w := range v.words() {
			if s, ok := w.present[id]; ok {
				got = s
			}
		}
		return got == state
	})
}

// refusedFor waits until the voice was told of a refusal in its own words.
func (v *voice) refusedFor(reason string) {
	v.t.Helper()
	v.waitFor(waitLong, "the refusal "+reason+" for "+v.name, func() bool {
		return slices.ContainsFunc(v.words(), func(w word) bool { return w.kind == "refused" && w.reason == reason })
	})
}

// closedFor waits for the end of the socket, with its code and reason.
func (v *voice) closedFor(code int, reason string) {
	v.t.Helper()
	v.waitFor(waitLong, "close", func() bool { return v.closed })
	var ce *websocket.CloseError
	if !errors.As(v.err, &ce) || ce.Code != code || ce.Text != reason {
		v.t.Errorf("%s: the socket ended with %v, want %d %s", v.name, v.err, code, reason)
	}
}

// endedFor waits until the document is closed for a reason that ends the document: Hocuspocus is told in its own words and its
// socket stays; the others are closed with the code.
func (v *voice) endedFor(party, yws int, reason string) {
	v.t.Helper()
	if !v.hp {
		v.closedFor(v.codes(party, yws, 0), reason)
		return
	}
	v.refusedFor(reason)
	v.send([]byte{yjs.MsgPing})
	v.waitFor(waitLong, "a pong for "+v.name, func() bool {
		return slices.ContainsFunc(v.frames, func(f frame) bool { return len(f.data) == 1 && f.data[0] == yjs.MsgPong })
	})
}

// metric is the value of a counter of the door with these label values.
func (w *world) metric(name string, labels ...string) (sum float64) {
	w.t.Helper()
	all, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != "yjet_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if slices.ContainsFunc(labels, func(l string) bool {
				return !slices.ContainsFunc(m.GetLabel(), func(p *dto.LabelPair) bool { return p.GetValue() == l })
			}) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// each runs a test for all tongues, each with a document of its own.
func each(t *testing.T, f func(t *testing.T, tg tongue, doc string)) {
	for i, tg := range tongues {
		t.Run(tg.name, func(t *testing.T) { f(t, tg, fmt.Sprint("notes/of ", i)) })
	}
}
