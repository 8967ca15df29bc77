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

// TestDecodeNamesEveryKindOfContent: an operator who looks at a stream sees what a record does.
func TestDecodeNamesEveryKindOfContent(t *testing.T) {
	d := yjs.NewDocument(yjs.DocumentOptions{})
	var log strings.Builder
	edit := func(client uint64, change func(tx *yjs.Tx) error) {
		t.Helper()
		u, err := d.Edit(client, change)
		if err != nil {
			t.Fatal(err)
		}
		code, out, errs := runCommand(string(u), "decode", "--as", "update")
		if code != 0 {
			t.Fatal(errs)
		}
		log.WriteString(out)
	}
	edit(1, func(tx *yjs.Tx) error { return tx.Text("t").Insert(0, "plain", nil) })
	edit(1, func(tx *yjs.Tx) error { return tx.Text("t").Insert(2, "bold", map[string]any{"bold": true}) })
	edit(1, func(tx *yjs.Tx) error { return tx.Text("t").InsertEmbed(0, map[string]any{"image": "\x1b[2J"}, nil) })
	edit(1, func(tx *yjs.Tx) error { return tx.Map("m").Set("key", 7) })
	edit(2, func(tx *yjs.Tx) error { return tx.Map("m").Set("key", "again") })
	edit(2, func(tx *yjs.Tx) error { return tx.Array("a").Insert(0, true, nil, "x") })
	edit(2, func(tx *yjs.Tx) error { return tx.Map("m").Set("bytes", []byte{1, 2, 3}) })
	edit(2, func(tx *yjs.Tx) error {
		return tx.Array("a").Insert(0, yjs.NewMap(map[string]any{"k": 1}), yjs.NewArray())
	})
	edit(2, func(tx *yjs.Tx) error {
		return tx.XML("x").Insert(0, yjs.NewXMLElement("p", nil, yjs.NewXMLText("words", nil)))
	})
	edit(2, func(tx *yjs.Tx) error { return tx.Text("t").Delete(0, 1) })
	edit(2, func(tx *yjs.Tx) error { return tx.Text("t").Insert(0, strings.Repeat("long ", 100), nil) })
	for _, want := range []string{
		`text "plain" in root "t"`, `text "bold"`, `format "bold" = "true"`, `between 1:`, `embed "{\"image\":`, `key "key"`, `1 values`, `3 values`, `binary of 3 bytes`,
		"new map", "new array", `new XML element "p"`, "new XML text", ` in 2:`,
		`… (500 bytes)`, "1 deletes", `before 1:`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
	if strings.ContainsRune(log.String(), '\x1b') {
		t.Error("an escape character from a document reaches the terminal")
	}
	whole := string(d.Encode(nil))
	if code, out, errs := runCommand(whole, "decode"); code != 0 || !strings.Contains(out, "deleted") && !strings.Contains(out, "collected") {
		t.Errorf("the whole document: %d, %s%s; want the deleted part named", code, out, errs)
	}
}

func TestDecodeOfTheWrongKindSaysWhy(t *testing.T) {
	update := string((&typist{client: 7, root: "text"}).next())
	for _, c := range []struct{ as, in, says string }{
		{"update", "\xff\xff", "update"}, {"update2", update, "V2"}, {"awareness", "\xff", "awareness"}, {"vector", update, "after its end"},
		{"json", "{", "json"}, {"frame", update, "not a y-websocket frame"}, {"poem", update, "poem"},
	} {
		code, out, errs := runCommand(c.in, "decode", "--as", c.as)
		if code == 0 || out != "" || !strings.Contains(strings.ToLower(errs), strings.ToLower(c.says)) || strings.Count(errs, "\n") != 1 {
			t.Errorf("--as %s: got code %d, %q and %q, want a failure with %q", c.as, code, out, errs, c.says)
		}
	}
}
