package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// kinds are the clients that people have, unmodified.
var kinds = []string{"yws31", "yws21", "yws15", "ypk", "yps", "hp4", "hp4s", "hp3", "hp2", "ysw"}

// tells are the kinds that learn whether an edit is on disk: all but the plain ones, which ask by message 102
// as any application may.
func textSafe(kind string) bool { return kind == "ypk" || strings.HasPrefix(kind, "yps") }

// noStrayText fails the test if a client that throws on a text frame got one.
func noStrayText(t testing.TB, d *driver, clients ...string) {
	t.Helper()
	for _, c := range clients {
		st := d.state(c)
		if !textSafe(st.Kind) && len(st.TextFrames) > 0 {
			t.Errorf("%s (%s) got text frames %q", c, st.Kind, st.TextFrames)
		}
		if len(st.Strange) > 0 {
			t.Errorf("%s (%s) got frames it cannot read: %q", c, st.Kind, st.Strange)
		}
	}
}

func TestEveryClientSyncsBothWaysAndSeesPresence(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t)
			room := "both/" + kind
			if kind == "ysw" {
				room = "both-ysw" // its own URL scheme has no room for a slash
			}
			d.open(s, "a", kind, room)
			d.edit("a", []any{"text", "append", "hello "}, []any{"map", "set", "k", M{"deep": []any{1, nil, true}}}, []any{"array", "insert", 0, []any{1, "two"}}, []any{"xml", "insert", 0, "p", "x"})
			d.do("saved", M{"client": "a"})
			d.open(s, "b", kind, room)
			d.converge("a", "b")
			for n := range 20 {
				d.edit([]string{"a", "b"}[n%2], []any{"text", "insert", 0.5, fmt.Sprint(n)}, []any{"text", "delete", 0.2, 1})
			}
			d.do("saved", M{"client": "a"})
			d.do("saved", M{"client": "b"})
			want := d.converge("a", "b")
			for _, c := range []string{"a", "b"} {
				d.do("hasNames", M{"client": c, "want": []string{"a", "b"}})
			}
			d.do("setUser", M{"client": "a", "user": M{"name": "renamed"}})
			d.do("hasNames", M{"client": "b", "want": []string{"b", "renamed"}, "timeout": 3000})
			d.do("leave", M{"client": "a"})
			d.do("hasNames", M{"client": "b", "want": []string{"b"}, "timeout": 4000})
			d.open(s, "c", "yws31", room)
			d.converge("b", "c")
			sameDocument(t, "a y-websocket client", ask1(d, "fingerprint", "c"), want)
			noStrayText(t, d, "a", "b", "c")
			sameDocument(t, "the rebuild from the log", rebuild(t, s.nats, room).Fingerprint, want)
		})
	}
}

func ask1(d *driver, op, client string) []byte {
	d.t.Helper()
	return ask[rawJSON](d, op, M{"client": client})
}

func TestAllDialectsShareOneDocument(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	for _, kind := range kinds {
		d.open(s, kind, kind, "babel")
	}
	for _, kind := range kinds {
		d.do("hasNames", M{"client": kind, "want": kinds, "timeout": 20000})
	}
	for round := range 5 {
		for _, kind := range kinds {
			d.edit(kind, []any{"text", "insert", 0.5, fmt.Sprintf("%s%d ", kind, round)}, []any{"map", "set", kind, round}, []any{"array", "insert", 0.3, []any{kind}})
		}
		if round == 2 {
			for _, kind := range kinds {
				d.do("drop", M{"client": kind})
			}
		}
	}
	for _, kind := range kinds {
		d.do("saved", M{"client": kind, "timeout": 30000})
	}
	want := d.converge(kinds...)
	noStrayText(t, d, kinds...)
	sameDocument(t, "the rebuild from the log", rebuild(t, s.nats, "babel").Fingerprint, want)
}

func TestEveryClientReturnsAfterKill9(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	for _, kind := range kinds {
		d.open(s, kind, kind, "crash")
		d.do("write", M{"client": kind, "prefix": kind + ".", "every": 15})
	}
	for range 2 {
		time.Sleep(400 * time.Millisecond)
		s.kill()
		time.Sleep(100 * time.Millisecond)
		s.start()
	}
	for _, kind := range kinds {
		d.do("stop", M{"client": kind})
	}
	for _, kind := range kinds {
		d.do("saved", M{"client": kind, "timeout": 60000})
	}
	want := d.converge(kinds...)
	for _, kind := range kinds {
		d.do("hasNames", M{"client": kind, "want": kinds, "timeout": 40000})
	}
	l := ask[ledger](d, "ledger", M{"writers": kinds, "readers": []string{}})
	got := rebuild(t, s.nats, "crash")
	l.Echoed = l.Written
	if lost := l.lost(got.Plain); len(lost) > 0 {
		t.Errorf("%d of %d written pieces are not in the log, among them %s", len(lost), len(l.Written), lost[0])
	}
	sameDocument(t, "the rebuild from the log", got.Fingerprint, want)
	noStrayText(t, d, kinds...)
}

// Stock providers hang up after 30 s without a message; ping frames do not count. (y-sweet looks every 2 s.)
func TestIdleClientsStayConnected(t *testing.T) {
	t.Parallel()
	idle := 36 * time.Second
	if long() {
		idle = 75 * time.Second
	}
	s := startDev(t)
	d := newDriver(t)
	// Each is alone in its room: nobody's heartbeat is its keep-alive.
	var names []string
	for _, kind := range kinds {
		d.open(s, kind, kind, "idle-"+kind)
		d.open(s, kind+"-silent", kind, "silent-"+kind, M{"user": nil, "awareness": nil, "no102": true})
		names = append(names, kind, kind+"-silent")
	}
	time.Sleep(idle)
	for _, c := range names {
		if st := d.state(c); len(st.Connects) != 1 || !st.Synced {
			t.Errorf("%s: %d connects in %v of silence, synced %v; want 1 and synced. Closes: %+v", c, len(st.Connects), idle, st.Synced, st.Closes)
		}
	}
	noStrayText(t, d, names...)
}

func TestRefusedClientsKnockSeldom(t *testing.T) {
	t.Parallel()
	window := 25 * time.Second
	s := startJWT(t)
	d := newDriver(t)
	expired := mint(t, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()})
	for _, kind := range kinds {
		// Every client has its own token: the repeat offender's answer is per token.
		d.open(s, kind, kind, "refused", M{"wait": false, "token": expired + kind})
	}
	time.Sleep(window)
	for _, kind := range kinds {
		n := len(d.state(kind).Connects)
		t.Logf("%s: %d connects in %v", kind, n, window)
		if limit := int(window/(2500*time.Millisecond)) + 1; n > limit {
			t.Errorf("%s: %d connects in %v, want at most %d (one in 2.5 s)", kind, n, window, limit)
		}
		if d.state(kind).Synced {
			t.Errorf("%s: synced with a bad token", kind)
		}
		d.do("cut", M{"client": kind})
	}
	noStrayText(t, d, kinds...)
}

func TestLargePasteFromEveryClient(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			room := "paste-" + kind
			a, b := "a"+kind, "b"+kind
			d.open(s, a, kind, room)
			d.open(s, b, kind, room)
			paste := strings.Repeat("0123456789abcdef", 3<<20/16)
			d.edit(a, []any{"text", "append", "before "}, []any{"text", "append", paste})
			d.do("hasLength", M{"client": b, "length": 7 + 3<<20, "timeout": 30000})
			d.do("saved", M{"client": a, "timeout": 30000})
			d.edit(a, []any{"text", "append", " after"})
			d.do("hasLength", M{"client": b, "length": 13 + 3<<20})
			if st := d.state(a); len(st.Connects) != 1 {
				t.Errorf("%s: %d connects, want 1: %+v", kind, len(st.Connects), st.Closes)
			}
			noStrayText(t, d, a, b)
			d.do("destroy", M{"client": a})
			d.do("destroy", M{"client": b})
		})
	}
}

func TestReadOnlyClientsReadAndCannotWrite(t *testing.T) {
	t.Parallel()
	s := startJWT(t)
	d := newDriver(t)
	rw := mint(t, jwt.MapClaims{"sub": "writer", "app_metadata": M{"docs": []string{"doc:ro:rw"}}})
	ro := mint(t, jwt.MapClaims{"sub": "reader", "app_metadata": M{"docs": []string{"doc:ro:r"}}})
	d.open(s, "writer", "yws31", "ro", M{"token": rw})
	d.edit("writer", []any{"text", "append", "public "}, []any{"text", "append", "deleted"}, []any{"text", "delete", 0.9, 3})
	d.do("saved", M{"client": "writer"})
	for _, kind := range kinds {
		d.open(s, kind, kind, "ro", M{"token": ro})
		d.do("hasText", M{"client": kind, "part": "public"})
	}
	for _, kind := range kinds {
		d.edit(kind, []any{"text", "append", "SMUGGLED-" + kind}, []any{"map", "set", kind, 1})
	}
	d.edit("writer", []any{"text", "append", " more"})
	d.do("saved", M{"client": "writer"})
	for _, kind := range kinds {
		d.do("hasText", M{"client": kind, "part": "more"})
	}
	for _, kind := range kinds {
		st := d.state(kind)
		switch {
		case strings.HasPrefix(kind, "hp"):
			if st.Scope == nil && kind != "hp2" || st.Scope != nil && *st.Scope != "readonly" {
				t.Errorf("%s: scope %v, want readonly", kind, st.Scope)
			}
			if !slices.Contains(st.SyncStatus, 0) {
				t.Errorf("%s: sync status %v, want a 0 for what was not taken", kind, st.SyncStatus)
			}
			if st.Saved {
				t.Errorf("%s believes that its edit is saved", kind)
			}
		case kind == "ysw":
			if st.Saved {
				t.Errorf("%s believes that its edit is saved", kind)
			}
		default:
			if !slices.Contains(st.Denied, "read-only") {
				t.Errorf("%s: told %q, want read-only", kind, st.Denied)
			}
			if st.Saved {
				t.Errorf("%s: a 102 says that its edit is saved", kind)
			}
		}
	}
	d.open(s, "fresh", "yws31", "ro", M{"token": rw})
	if text := ask[string](d, "text", M{"client": "fresh"}); strings.Contains(text, "SMUGGLED") {
		t.Errorf("a read-only edit reached the document: %q", text)
	}
	// A read-only client that has no news of its own is told that all is well.
	d.open(s, "quiet", "hp4", "ro", M{"token": ro})
	d.do("saved", M{"client": "quiet"})
	noStrayText(t, d, append(kinds, "writer", "fresh", "quiet")...)
}

func TestTokensAreRefreshedOnAnOpenSocket(t *testing.T) {
	t.Parallel()
	s := startJWT(t, "--auth-on-expiry", "close")
	d := newDriver(t)
	soon := func() string { return mint(t, jwt.MapClaims{"exp": time.Now().Add(3 * time.Second).Unix()}) }
	// hp3 and hp4 are asked for a token in time and stay; yps fetches a new one when it is closed.
	d.open(s, "hp4", "hp4", "refresh", M{"token": soon()})
	d.open(s, "hp3", "hp3", "refresh", M{"token": soon()})
	d.open(s, "yps", "yps", "refresh", M{"token": soon()})
	d.open(s, "partysocket", "ypk", "refresh", M{"token": soon()})
	later := mint(t, nil)
	for _, c := range []string{"hp4", "hp3", "yps"} {
		d.do("token", M{"client": c, "token": later})
	}
	d.do("sendText", M{"client": "partysocket", "text": `{"type":"auth","payload":{"token":"` + later + `"}}`})
	time.Sleep(36 * time.Second) // the tokens and the leeway of 30 s are over
	for _, c := range []string{"hp4", "hp3", "yps", "partysocket"} {
		d.do("synced", M{"client": c, "timeout": 10000})
		d.edit(c, []any{"text", "append", c + " "})
		d.do("saved", M{"client": c})
		if n := len(d.state(c).Connects); c != "yps" && n != 1 {
			t.Errorf("%s: %d connects, want the first socket kept", c, n)
		}
	}
	if n := d.state("hp4").TokenAsked; n < 2 {
		t.Errorf("hp4 was asked for its token %d times, want again before it expired", n)
	}
}

func TestHocuspocusMultiplexesDocuments(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	for _, kind := range []string{"hp4", "hp3", "hp2"} {
		for n := range 3 {
			d.open(s, fmt.Sprintf("%s-%d", kind, n), kind, fmt.Sprintf("multi-%d", n), M{"socket": kind})
		}
	}
	for n := range 3 {
		d.edit(fmt.Sprintf("hp4-%d", n), []any{"text", "append", fmt.Sprintf("document %d", n)})
		d.converge(fmt.Sprintf("hp4-%d", n), fmt.Sprintf("hp3-%d", n), fmt.Sprintf("hp2-%d", n))
	}
	// One document leaves the socket, the others stay.
	d.do("detach", M{"client": "hp4-1"})
	d.edit("hp3-1", []any{"text", "append", " more"})
	d.edit("hp4-2", []any{"text", "append", " more"})
	d.do("hasText", M{"client": "hp3-2", "part": "more"})
	d.do("hasNames", M{"client": "hp3-1", "want": []string{"hp2-1", "hp3-1"}, "timeout": 5000})
	// Two sessions of one document on one socket, kept apart by session awareness.
	d.open(s, "s1", "hp4s", "sessions", M{"socket": "shared"})
	d.open(s, "s2", "hp4s", "sessions", M{"socket": "shared"})
	d.edit("s1", []any{"text", "append", "from one"})
	d.converge("s1", "s2")
	d.do("hasNames", M{"client": "s1", "want": []string{"s1", "s2"}})
}

func TestCustomMessagesReachTheOthers(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	d.open(s, "yps1", "yps", "custom")
	d.open(s, "yps2", "yps", "custom")
	d.open(s, "hp4", "hp4", "custom")
	d.open(s, "yws", "yws31", "custom")
	d.do("custom", M{"client": "yps1", "message": `{"hello":"there"}`})
	if got := ask[[]string](d, "customs", M{"client": "yps2"}); got[0] != `{"hello":"there"}` {
		t.Errorf("yps2 got %q", got)
	}
	d.do("custom", M{"client": "hp4", "message": "from hocuspocus"})
	time.Sleep(300 * time.Millisecond)
	if got := d.state("yps1").Custom; slices.Contains(got, `{"hello":"there"}`) {
		t.Errorf("the sender got its own message: %q", got)
	}
	noStrayText(t, d, "hp4", "yws")
}

func TestYSweetAsksForItsTokenHere(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	dev := startDev(t)
	d.open(dev, "open", "ysw", "sweet", M{"auth": "server"})
	d.edit("open", []any{"text", "append", "sweet"})
	d.do("saved", M{"client": "open"})

	s := startJWT(t)
	d.open(s, "member", "ysw", "sweet", M{"auth": "server", "token": mint(t, nil)})
	d.edit("member", []any{"text", "append", "sweet"})
	d.do("saved", M{"client": "member"})
	d.open(s, "stranger", "ysw", "sweet", M{"auth": "server", "wait": false})
	time.Sleep(time.Second)
	if st := d.state("stranger"); st.Synced || len(st.Opens) > 0 {
		t.Errorf("without a token: synced %v after %d opens, want no ticket at all", st.Synced, len(st.Opens))
	}
	d.do("destroy", M{"client": "stranger"})
}

func TestTextFramesForPartyClients(t *testing.T) {
	t.Parallel()
	s := startJWT(t)
	d := newDriver(t)
	token := mint(t, jwt.MapClaims{"sub": "json-user"})
	d.open(s, "raw", "ypk", "json", M{"token": token})
	if f := ask[string](d, "textFrame", M{"client": "raw", "part": `"auth"`}); !strings.Contains(f, `"json-user"`) || !strings.Contains(f, `"write"`) {
		t.Errorf("the auth message is %s, want the user and its permissions", f)
	}
	d.open(s, "other", "yws31", "json", M{"token": token})
	d.edit("other", []any{"text", "append", "said over binary"})
	d.do("hasText", M{"client": "raw", "part": "binary"})
	d.do("sendText", M{"client": "raw", "text": "ping"})
	d.do("textFrame", M{"client": "raw", "part": "pong"})
	d.do("sendText", M{"client": "raw", "text": "not json"})
	d.do("textFrame", M{"client": "raw", "part": `"error"`})
	if st := d.state("raw"); len(st.Closes) != 0 {
		t.Errorf("text alone closed the socket: %+v", st.Closes)
	}
	noStrayText(t, d, "other")
}

// An app on partysocket alone, without a Yjs provider: it speaks JSON first, and gets JSON only.
func TestRawPartysocketSpeaksJSON(t *testing.T) {
	t.Parallel()
	s := startJWT(t)
	d := newDriver(t)
	token := mint(t, jwt.MapClaims{"sub": "json-user"})
	d.open(s, "raw", "ps", "json", M{"token": token})
	d.open(s, "other", "yws31", "json", M{"token": token})
	d.edit("other", []any{"text", "append", "before "})
	d.do("saved", M{"client": "other"})
	send := func(v any) { d.do("sendText", M{"client": "raw", "text": string(encode(t, v))}) }
	send(M{"type": "sync", "payload": M{"stateVector": base64.StdEncoding.EncodeToString([]byte{0})}})
	d.do("hasText", M{"client": "raw", "part": "before"})

	// Its own edit: applied, stored, acknowledged with the sequence, seen by others.
	d.edit("raw", []any{"text", "append", "from json "})
	send(M{"type": "sync", "payload": M{"update": ask[string](d, "update", M{"client": "raw"})}})
	d.do("hasText", M{"client": "other", "part": "from json"})
	if f := ask[string](d, "textFrame", M{"client": "raw", "part": `"seq"`}); !strings.Contains(f, `"sync"`) {
		t.Errorf("the acknowledgement is %s, want a sync message with seq", f)
	}
	d.edit("other", []any{"text", "append", "after"})
	d.do("hasText", M{"client": "raw", "part": "after"})
	sameDocument(t, "the JSON client", ask1(d, "fingerprint", "raw"), ask1(d, "fingerprint", "other"))

	// Presence both ways.
	send(M{"type": "awareness", "payload": M{"clientId": 4711, "clock": 1, "state": M{"user": M{"name": "json person"}}}})
	d.do("hasNames", M{"client": "other", "want": []string{"json person", "other"}})
	if got := ask[[]string](d, "customs", M{"client": "raw"}); !strings.Contains(strings.Join(got, ""), `"states"`) || !strings.Contains(strings.Join(got, ""), "other") {
		t.Errorf("presence came as %q, want the states of the others", got)
	}
	send(M{"type": "sync", "payload": M{"update": "AQH6////DwCE+v///w8AAXgA"}}) // breaks every new client, if it is stored
	d.do("closed", M{"client": "raw"})
	st := d.state("raw")
	if st.Closes[0].Code != 1008 || !strings.Contains(strings.Join(st.TextFrames, ""), `"malformed"`) {
		t.Errorf("a malformed update: closed %+v with frames %q, want 1008 after a JSON error", st.Closes[0], st.TextFrames)
	}
	if st.BinaryFrames > 0 {
		t.Errorf("a client that speaks JSON got %d binary frames", st.BinaryFrames)
	}
	d.do("destroy", M{"client": "raw"})
	d.do("hasNames", M{"client": "other", "want": []string{"other"}, "timeout": 5000})
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
