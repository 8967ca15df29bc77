package ingest

import (
	"strings"
	"testing"

	"yjet/internal/yjs"
)

func TestTextIsReadOutOfAnyType(t *testing.T) {
	w := start(t)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	u, err := d.Edit(7, func(tx *yjs.Tx) error {
		if err := tx.XML("default").Insert(0, yjs.NewXMLElement("paragraph", nil, yjs.NewXMLText("Hello ", nil), yjs.NewXMLText("world", map[string]any{"bold": true}))); err != nil {
			return err
		}
		if err := tx.Text("slate").InsertEmbed(0, yjs.NewXMLText("Slate paragraph", nil), nil); err != nil {
			return err
		}
		if err := tx.Array("todos").Insert(0, "one", "two"); err != nil {
			return err
		}
		return tx.Map("m").Set("k", "value")
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, body, _ := w.ask("POST", "/api/docs/texts", u); code != 204 {
		t.Fatalf("got %d %s", code, body)
	}
	for query, want := range map[string]string{
		"default:xml": "Hello world", "default:text": "Hello world", "default": "Hello world",
		"slate:text": "Slate paragraph", "slate:xmltext": "Slate paragraph", "slate": "Slate paragraph",
		"todos:array": "one\ntwo", "todos": "one\ntwo", "m:map": "value", "m": "value",
	} {
		if code, body, _ := w.ask("GET", "/api/docs/texts?format=text&type="+query, nil); code != 200 || body != want {
			t.Errorf("type=%s: got %d %q, want %q", query, code, body, want)
		}
	}
	if code, body, h := w.ask("GET", "/api/docs/texts?format=text&type=nobody", nil); code != 404 || !strings.Contains(body, "no-such-type") || h.Get("ETag") != "" {
		t.Errorf("a type that is not there: got %d %s, want 404 without an ETag", code, body)
	}
	u, err = d.Edit(7, func(tx *yjs.Tx) error { return tx.Array("todos").Delete(0, 2) })
	if err != nil {
		t.Fatal(err)
	}
	w.ask("POST", "/api/docs/texts", u)
	if _, body, _ := w.ask("GET", "/api/docs/texts?format=json", nil); strings.Contains(body, `"todos":""`) {
		t.Errorf("an emptied array became a text: %s", body)
	}
	if _, body, _ := w.ask("GET", "/api/docs/texts?format=json&type=todos:array", nil); !strings.Contains(body, `"todos":[]`) {
		t.Errorf("an emptied array: got %s", body)
	}
}

// 66 kB in a document became an answer of 197 MB: a mark is written around every piece that it holds for.
func TestAnAnswerThatIsTooLargeIsRefused(t *testing.T) {
	w := start(t)
	const n = 6000
	u := yjs.AppendUvarint([]byte{1}, n+1)
	u = append(u, 7, 0, yjs.RefFormat, 1)
	u = yjs.AppendVarString(u, "t")
	u = yjs.AppendVarString(u, strings.Repeat("k", 30_000))
	u = yjs.AppendVarString(u, "true")
	for i := range uint64(n) {
		u = append(yjs.AppendUvarint(append(u, 0x80|yjs.RefEmbed, 7), i), 1, '1')
	}
	u = append(u, 0)
	if code, body, _ := w.ask("POST", "/api/docs/marks", u); code != 204 {
		t.Fatalf("got %d %s", code, body)
	}
	if code, body, _ := w.ask("GET", "/api/docs/marks?format=json&type=t:xmltext", nil); code != 422 || !strings.Contains(body, "too-large-to-render") {
		t.Errorf("%d bytes: got %d and %d bytes, want 422", len(u), code, len(body))
	}
	if code, body, _ := w.ask("GET", "/api/docs/marks", nil); code != 200 || body != string(u) {
		t.Errorf("the update itself: got %d and %d bytes", code, len(body))
	}
}
