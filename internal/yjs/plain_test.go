package yjs

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

func TestTextIsThatOfAnyType(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	if _, err := d.Edit(7, func(tx *Tx) error {
		p := func(s ...string) *NewType {
			var nodes []*NewType
			for i, s := range s {
				if i > 0 {
					nodes = append(nodes, NewXMLElement("hardBreak", nil))
				}
				nodes = append(nodes, NewXMLText(s, map[string]any{"bold": true}))
			}
			return NewXMLElement("paragraph", map[string]any{"id": "attribute"}, nodes...)
		}
		item := func(n ...*NewType) *NewType { return NewXMLElement("listItem", nil, n...) }
		if err := tx.XML("prosemirror").Insert(0, p("Hello"), p("two", "lines"), p(), NewXMLElement("bulletList", nil, item(p("a")), item(p("b"), p("c"))), p("end")); err != nil {
			return err
		}
		slate := tx.Text("slate")
		for i, s := range []string{"first", "second"} {
			if err := slate.InsertEmbed(i, NewXMLText(s, nil), nil); err != nil {
				return err
			}
		}
		// Lexical puts a map in front of each piece of text, and a type inside of a paragraph for a link.
		lexical := tx.Text("lexical")
		if err := lexical.InsertEmbed(0, NewXMLText("", nil), nil); err != nil {
			return err
		}
		root := tx.Root("lexical")
		para, _ := root.Array().At(0)
		if err := para.Text().InsertEmbed(0, NewMap(map[string]any{"__type": "text"}), nil); err != nil {
			return err
		}
		if err := para.Text().Insert(1, "see ", nil); err != nil {
			return err
		}
		if err := para.Text().InsertEmbed(5, NewXMLText("this link", nil), nil); err != nil {
			return err
		}
		if err := tx.Text("plain").Insert(0, "as it is\n", nil); err != nil {
			return err
		}
		if err := tx.Map("map").Set("b", NewText("second", nil)); err != nil {
			return err
		}
		if err := tx.Map("map").Set("a", []any{"first", 1, map[string]any{"key": "in it", "n": nil}}); err != nil {
			return err
		}
		return tx.Array("array").Insert(0, "one", 2, true, NewMap(map[string]any{"k": "three"}), NewText("", nil), NewArray("four"))
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		kind Kind
		want string
	}{
		{"prosemirror", KindXMLFragment, "Hello\ntwo\nlines\n\na\nb\nc\nend"},
		{"prosemirror", KindText, "Hello\ntwo\nlines\n\na\nb\nc\nend"},
		{"prosemirror", KindAuto, "Hello\ntwo\nlines\n\na\nb\nc\nend"},
		{"slate", KindXMLText, "first\nsecond"},
		{"slate", KindAuto, "first\nsecond"},
		{"lexical", KindXMLText, "see this link"},
		{"plain", KindText, "as it is\n"},
		{"map", KindMap, "first\nin it\nsecond"},
		{"array", KindArray, "one\nthree\nfour"},
	} {
		got, ok, err := d.Text(c.name, c.kind, nil)
		if !ok || err != nil || string(got) != c.want {
			t.Errorf("%s as %v: got %q %v %v, want %q", c.name, c.kind, got, ok, err, c.want)
		}
	}
	if _, ok, _ := d.Text("nobody", KindText, nil); ok {
		t.Error("a root that is not there has a text")
	}
}

func TestKindsDoNotChangeWithContent(t *testing.T) {
	for _, keep := range []bool{false, true} {
		d := NewDocument(DocumentOptions{KeepDeleted: keep})
		for _, f := range []func(tx *Tx) error{
			func(tx *Tx) error { return tx.Array("todos").Insert(0, "a") },
			func(tx *Tx) error { return tx.Array("todos").Delete(0, 1) },
		} {
			if _, err := d.Edit(7, f); err != nil {
				t.Fatal(err)
			}
		}
		// What is collected tells no kind: then it is not called a text, but left out, unless the kind is asked for.
		want := "{}"
		if keep {
			want = `{"todos":[]}`
		}
		if got, err := d.JSON(nil, nil); err != nil || string(got) != want {
			t.Errorf("kept %v: got %s %v, want %s", keep, got, err, want)
		}
		if got, err := d.JSON(map[string]Kind{"todos": KindArray}, nil); err != nil || string(got) != `{"todos":[]}` {
			t.Errorf("kept %v, as an array: got %s %v", keep, got, err)
		}
	}
}

// 66 kB become 197 MB: a mark is written around every piece that it holds for.
func TestReadingOutIsBounded(t *testing.T) {
	format := func(key string, n int) *Document {
		var list []Struct
		s := Struct{Client: 7, Len: 1, Info: RefFormat, Root: []byte("t"), Content: AppendVarString(AppendVarString(nil, key), "true")}
		list = append(list, s)
		for i := range uint64(n) {
			list = append(list, Struct{Client: 7, Clock: i + 1, Len: 1, Info: RefEmbed, Content: []byte("1")}.after(7, i))
		}
		d, err := OpenDocument(DocumentOptions{KeepDeleted: true}, update(list))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := format(strings.Repeat("k", 30_000), 5_000)
	empty := NewDocument(DocumentOptions{})
	ways := map[string]func(b *Budget) error{
		"json": func(b *Budget) error {
			_, err := d.JSON(map[string]Kind{"t": KindXMLText}, b)
			return err
		},
		"xml":   func(b *Budget) error { _, err := d.XML("t", KindXMLText, b); return err },
		"delta": func(b *Budget) error { _, err := d.Delta("t", b); return err },
	}
	for name, way := range ways {
		if err := way(&Budget{Bytes: 1 << 20}); !errors.Is(err, ErrOutput) {
			t.Errorf("%s, a megabyte of output: got %v, want ErrOutput", name, err)
		}
	}
	ways["text"] = func(b *Budget) error { _, _, err := d.Text("t", KindAuto, b); return err }
	ways["diff"] = func(b *Budget) error { _, err := d.TextDiff(empty, "t", b); return err }
	ways["runs"] = func(b *Budget) error { _, err := d.Runs("t", b); return err }
	for name, way := range ways {
		if err := way(&Budget{Work: 2000}); !errors.Is(err, ErrOutput) {
			t.Errorf("%s, little work: got %v, want ErrOutput", name, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		asked := 0
		if err := way(&Budget{Check: func() error {
			if asked++; asked == 1 {
				cancel()
			}
			return ctx.Err()
		}}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, given up: got %v after %d questions", name, err, asked)
		}
		cancel()
	}
	small := format("bold", 3)
	want, err := small.JSON(map[string]Kind{"t": KindXMLText}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := small.JSON(map[string]Kind{"t": KindXMLText}, &Budget{Bytes: len(want), Work: 1 << 20, Check: func() error { return nil }}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("within the budget: got %s %v, want %s", got, err, want)
	}
}
