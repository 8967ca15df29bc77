package yjs

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the real providers send, captured.
func TestMessagesOfRealClientsAreRead(t *testing.T) {
	for _, c := range []struct {
		name, frame string
		hocuspocus  bool
		want        Message
	}{
		{"y-websocket step 1", "00 00 01 00", false, Message{Type: MsgSync, Step: SyncStep1, Payload: []byte{0}}},
		{"y-websocket awareness", "01 06 01 07 00 02 7b7d", false, Message{Type: MsgAwareness, Payload: []byte("\x01\x07\x00\x02{}")}},
		{"y-websocket edit", "00 02 0c 01 01 07 00 04 01 01 74 02 68 69 00", false, Message{Type: MsgSync, Step: SyncUpdate, Payload: []byte("\x01\x01\x07\x00\x04\x01\x01t\x02hi\x00")}},
		{"y-websocket query", "03", false, Message{Type: MsgQueryAwareness}},
		{"Y-Sweet answers a query", "03 02 01 00", false, Message{Type: MsgQueryAwareness, Payload: []byte{1, 0}}},
		{"Y-Sweet saved", "66 01 00", false, Message{Type: MsgSaved, Payload: []byte{0}}},
		{"y-websocket denied", "02 00 02 6e6f", false, Message{Type: MsgAuth, Payload: []byte("no")}},
		{"unknown type", "2a 01 02", false, Message{Type: 42, Payload: []byte{1, 2}}},
		{"Hocuspocus token", "01 64 02 00 04 746f6b31", true, Message{Address: []byte("d"), Type: MsgAuth, Step: AuthToken, Payload: []byte("tok1")}},
		{"Hocuspocus 4 token", "01 64 02 00 04 746f6b31 05 342e382e30", true, Message{Address: []byte("d"), Type: MsgAuth, Step: AuthToken, Payload: []byte("tok1"), Version: []byte("4.8.0")}},
		{"Hocuspocus token wanted", "01 64 02 00", true, Message{Address: []byte("d"), Type: MsgAuth, Step: AuthToken}},
		{"Hocuspocus let in", "01 64 02 02 08 726561646f6e6c79", true, Message{Address: []byte("d"), Type: MsgAuth, Step: AuthOK, Payload: []byte("readonly")}},
		{"Hocuspocus denied", "01 64 02 01 04 6e6f7065", true, Message{Address: []byte("d"), Type: MsgAuth, Step: AuthDenied, Payload: []byte("nope")}},
		{"Hocuspocus step 1", "01 64 00 00 01 00", true, Message{Address: []byte("d"), Type: MsgSync, Step: SyncStep1, Payload: []byte{0}}},
		{"Hocuspocus reply", "01 64 04 01 02 0000", true, Message{Address: []byte("d"), Type: MsgSyncReply, Step: SyncStep2, Payload: []byte{0, 0}}},
		{"Hocuspocus stateless", "01 64 05 02 6869", true, Message{Address: []byte("d"), Type: MsgStateless, Payload: []byte("hi")}},
		{"Hocuspocus close", "01 64 07", true, Message{Address: []byte("d"), Type: MsgClose}},
		{"Hocuspocus status", "01 64 08 01", true, Message{Address: []byte("d"), Type: MsgSyncStatus, Step: 1}},
		{"Hocuspocus pong", "0a", true, Message{Type: MsgPong}},
		{"Y-Sweet asks, and nothing follows", "03", false, Message{Type: MsgQueryAwareness}},
	} {
		read := ReadMessage
		if c.hocuspocus {
			read = ReadHocuspocus
		}
		frame := unhex(t, c.frame)
		got, rest, err := read(frame)
		if rest != nil {
			t.Errorf("%s: left %x", c.name, rest)
		}
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: got %+v %v, want %+v", c.name, got, err, c.want)
		}
		for k := range frame { // no panic, and no more than is there
			if m, _, err := read(frame[:k]); err == nil && len(m.Payload) > k {
				t.Errorf("%s cut at %d: got %+v", c.name, k, m)
			}
		}
	}
}

// Rust clients put several messages into one frame. What is left over and no message is malformed.
func TestAFrameMayHoldSeveralMessages(t *testing.T) {
	const step1, aware, query, saved = "00 00 01 00", "01 06 01 07 00 02 7b7d", "03", "66 01 00"
	for _, c := range []struct {
		frame string
		hocus bool
		types []uint64
		bad   bool
	}{
		{step1 + aware, false, []uint64{MsgSync, MsgAwareness}, false},
		{query + step1 + aware + saved, false, []uint64{MsgQueryAwareness, MsgSync, MsgAwareness, MsgSaved}, false},
		{aware + query, false, []uint64{MsgAwareness, MsgQueryAwareness}, false},
		{query + query + step1, false, []uint64{MsgQueryAwareness, MsgQueryAwareness, MsgSync}, false},
		{step1 + "00 03 00", false, []uint64{MsgSync}, true},
		{step1 + "01 ff", false, []uint64{MsgSync}, true},
		{step1 + "ff", false, []uint64{MsgSync}, true},
		{"01 64" + step1 + "01 64" + aware + "01 65" + step1, true, []uint64{MsgSync, MsgAwareness, MsgSync}, false},
		{"01 64" + step1 + "05 64", true, []uint64{MsgSync}, true},
	} {
		read := ReadMessage
		if c.hocus {
			read = ReadHocuspocus
		}
		var types []uint64
		rest := unhex(t, c.frame)
		var err error
		for rest != nil && err == nil {
			var m Message
			if m, rest, err = read(rest); err == nil {
				types = append(types, m.Type)
			}
		}
		if !slices.Equal(types, c.types) || (err != nil) != c.bad {
			t.Errorf("%s: got %v %v, want %v, malformed %v", c.frame, types, err, c.types, c.bad)
		}
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	for _, s := range []string{"", "00", "00 03 00", "00 00", "00 00 05 01", "00 01 ff", "01 05 00", "66", "02 00 02 ff fe", "02"} {
		if m, _, err := ReadMessage(unhex(t, s)); err == nil {
			t.Errorf("%s: got %+v", s, m)
		}
	}
	for _, s := range []string{"", "01 64", "01 ff 00 00 01 00", "05 64", "01 64 00 03 00", "01 64 02", "01 64 05 03 00", "01 64 08"} {
		if m, _, err := ReadHocuspocus(unhex(t, s)); err == nil {
			t.Errorf("hocuspocus %s: got %+v", s, m)
		}
	}
}

func TestMessagesWrittenAreThoseOfRealServers(t *testing.T) {
	d := AppendAddress(nil, []byte("d"))
	with := func(b []byte) []byte { return append(slices.Clone(d), b...) }
	for _, c := range []struct {
		got  []byte
		want string
	}{
		{AppendSync(nil, SyncStep1, []byte{0}), "00 00 01 00"},
		{AppendSync(nil, SyncStep2, []byte{0, 0}), "00 01 02 00 00"},
		{AppendDenied(nil, "no"), "02 00 02 6e 6f"},
		{AppendSaved(nil, []byte{1}), "66 01 01"},
		{with(AppendAuthRequest(nil)), "01 64 02 00"},
		{with(AppendAuthDenied(nil, "nope")), "01 64 02 01 04 6e6f7065"},
		{with(AppendAuthOK(nil, false)), "01 64 02 02 0a 726561642d7772697465"},
		{with(AppendAuthOK(nil, true)), "01 64 02 02 08 726561646f6e6c79"},
		{with(AppendStateless(nil, "hi")), "01 64 05 02 6869"},
		{with(AppendClose(nil, "x")), "01 64 07 01 78"},
		{with(AppendSyncStatus(nil, true)), "01 64 08 01"},
		{with(AppendSyncStatus(nil, false)), "01 64 08 00"},
	} {
		if want := unhex(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("got %x, want %x", c.got, want)
		}
	}
}

func TestAddressesHoldNameAndSession(t *testing.T) {
	for _, c := range []struct{ in, name, session string }{{"d", "d", ""}, {"notes/todo\x00abc", "notes/todo", "abc"}} {
		name, session := SplitAddress([]byte(c.in))
		if string(name) != c.name || string(session) != c.session || (session == nil) != (c.session == "") {
			t.Errorf("%q: got %q %q, want %q %q", c.in, name, session, c.name, c.session)
		}
	}
}

func TestSyncMessagesEqualYjs(t *testing.T) {
	var v struct {
		Cases []struct {
			Name             string
			Doc, SV, Message []byte
			Yjs              struct {
				Error  string
				Caught *string
			}
		}
	}
	vectors(t, "sync.json", &v)
	for _, c := range v.Cases {
		m, _, err := ReadMessage(append([]byte{MsgSync}, c.Message...))
		switch {
		case c.Name == "step1-of-A":
			sv, e := VectorOf(c.Doc)
			if e != nil {
				t.Fatal(e)
			}
			if want := AppendSync(nil, SyncStep1, sv.Append(nil)); !bytes.Equal(want[1:], c.Message) {
				t.Errorf("%s: got %x, want %x", c.Name, want[1:], c.Message)
			}
		case c.SV != nil:
			sv, e := DecodeStateVector(c.SV)
			if e != nil {
				t.Fatal(e)
			}
			d, e := Diff(c.Doc, sv)
			if e != nil {
				t.Fatal(e)
			}
			if want := AppendSync(nil, SyncStep2, d); !bytes.Equal(want[1:], c.Message) {
				t.Errorf("%s: got %x, want %x", c.Name, want[1:], c.Message)
			}
		case c.Name == "bad-step1-empty-sv":
			if _, e := DecodeStateVector(m.Payload); err != nil || e != nil {
				t.Errorf("%s: got %v %v, want the empty vector", c.Name, err, e)
			}
		case c.Yjs.Error != "":
			if err == nil {
				t.Errorf("%s: got %+v, want an error", c.Name, m)
			}
		case c.Yjs.Caught != nil:
			if e := validate(m.Payload, Limits{}); err != nil || e == nil {
				t.Errorf("%s: got %v %v, want a readable message with a bad update", c.Name, err, e)
			}
		case err != nil:
			t.Errorf("%s: got %v", c.Name, err)
		}
	}
}

// The bytes of every awareness update that y-protocols made in these cases are read, and written back the same.
func TestAwarenessUpdatesEqualYProtocols(t *testing.T) {
	var v struct {
		Cases []struct {
			Name  string
			Steps []struct {
				Apply []byte
				Error string
			}
		}
	}
	vectors(t, "awareness.json", &v)
	if len(v.Cases) < 7 {
		t.Fatal("vectors are missing")
	}
	for _, c := range v.Cases {
		for i, s := range c.Steps {
			if s.Apply == nil {
				continue // what a client does with its own state
			}
			entries, err := ReadAwareness(nil, s.Apply)
			if (err != nil) != (s.Error != "") {
				t.Errorf("%s %d: got %v, want %q", c.Name, i, err, s.Error)
			}
			if err != nil {
				continue
			}
			if got := AppendAwareness(nil, entries); !bytes.Equal(got, s.Apply) {
				t.Errorf("%s %d: got %x, want %x", c.Name, i, got, s.Apply)
			}
		}
	}
}
