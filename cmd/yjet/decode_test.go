package main

import (
	"strings"
	"testing"

	"yjet/internal/yjs"
)

func TestDecodeReadsWhatItIsGiven(t *testing.T) {
	typist := &typist{client: 7, root: "text"}
	first, second := typist.next(), typist.next()
	firstV2, err := yjs.ToV2(first)
	if err != nil {
		t.Fatal(err)
	}
	awareness := yjs.AppendAwareness(nil, []yjs.AwarenessEntry{{Client: 7, Clock: 3, State: []byte(`{"name":"Ann\u001b[2J"}`)}, {Client: 8, Clock: 1}})
	for _, tc := range []struct {
		what, in string
		says     []string
	}{
		{"first letter", string(first), []string{"update", "client 7", `text "a" in root "text"`}},
		{"second letter", string(second), []string{`1  text "b" after 7:0`}},
		{"first letter in V2", string(firstV2), []string{"update V2", `text "a" in root "text"`}},
		{"vector", "\x01\x07\x02", []string{"state vector, 1 clients", "client 7 next clock 2"}},
		{"frame", string(yjs.AppendSync(nil, yjs.SyncUpdate, first)), []string{"sync update", `"a"`}},
		{"awareness", string(awareness), []string{"2 clients", "client 7 clock 3", "gone"}},
		{"nothing, as of a deleted key", "", []string{"empty"}},
		{"presence value", `{"client":7,"node":"n"}`, []string{`"client": 7`}},
	} {
		code, out, errs := runCommand(tc.in, "decode")
		if code != 0 {
			t.Errorf("%s: %s", tc.what, errs)
		}
		for _, want := range tc.says {
			if !strings.Contains(out, want) {
				t.Errorf("%s: got %q, want %q in it", tc.what, out, want)
			}
		}
		if strings.ContainsRune(out, '\x1b') {
			t.Errorf("%s: an escape character from a document reaches the terminal", tc.what)
		}
	}
	if code, _, errs := runCommand("\xff\xff\xff", "decode"); code != 1 || !strings.Contains(errs, "3 bytes") {
		t.Errorf("rubbish: got code %d and %q", code, errs)
	}
	if code, out, _ := runCommand(string(second[:len(second)-3]), "decode"); code != 1 {
		t.Errorf("an update without its end: got code %d and %q, want 1", code, out)
	}
}
