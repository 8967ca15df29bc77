package yjs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
)

// edit makes edits in the name of a client and fails the test if that fails.
func edit(t testing.TB, d *Document, client uint64, f func(*Tx)) []byte {
	t.Helper()
	u, err := d.Edit(client, func(tx *Tx) error { f(tx); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func apply(t testing.TB, d *Document, updates ...[]byte) {
	t.Helper()
	for _, u := range updates {
		if err := d.Apply(u); err != nil {
			t.Fatal(err)
		}
	}
}

func must1(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestServerEditsNeverPartACharacter(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	edit(t, d, 1, func(tx *Tx) { must1(t, tx.Text("t").Insert(0, "a😀b", nil)) })
	before := d.Encode(nil)
	for name, f := range map[string]func(Text) error{
		"insert":       func(x Text) error { return x.Insert(2, "x", nil) },
		"embed":        func(x Text) error { return x.InsertEmbed(2, 1, nil) },
		"delete from":  func(x Text) error { return x.Delete(2, 1) },
		"delete up to": func(x Text) error { return x.Delete(0, 2) },
		"format":       func(x Text) error { return x.Format(0, 2, map[string]any{"b": true}) },
	} {
		u, err := d.Edit(2, func(tx *Tx) error { return f(tx.Text("t")) })
		if !errors.Is(err, ErrHalf) || u != nil {
			t.Errorf("%s inside of a character: got %x, %v, want ErrHalf", name, u, err)
		}
		if got := d.Encode(nil); !bytes.Equal(got, before) {
			t.Errorf("%s inside of a character changed the document", name)
		}
	}
	edit(t, d, 2, func(tx *Tx) { must1(t, tx.Text("t").Delete(1, 2)) })
	if got := textOf(d, "t"); got != "ab" {
		t.Errorf("text: got %q, want %q", got, "ab")
	}
}

// Yjs lets a client type between the halves of a character, and shows both as U+FFFD from then on. We follow, or the text
// would differ from what everybody else sees.
func TestClientsThatPartCharactersLeaveReplacements(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	edit(t, d, 1, func(tx *Tx) { must1(t, tx.Text("t").Insert(0, "a😀b", nil)) })
	// Client 2 types x between clocks 1 and 2 of client 1.
	x := Struct{Client: 2, Len: 1, Info: RefString | infoOrigin | infoRight, Origin: ID{1, 1}, Right: ID{1, 2}, Content: []byte("x")}
	u := append(x.Append([]byte{1, 1, 2, 0}), 0)
	apply(t, d, u)
	if got, want := textOf(d, "t"), "a\ufffdx\ufffdb"; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
	// Who deletes the x gets no character back either: the halves are what they are.
	apply(t, d, []byte{0, 1, 2, 1, 0, 1})
	if got, want := textOf(d, "t"), "a\ufffd\ufffdb"; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
}

func TestRestoreMakesPartedCharactersWhole(t *testing.T) {
	for _, text := range []string{"a😀b", "😀", "😀😀", "ab😀"} {
		for at := uint64(0); at < wtf16Len([]byte(text)); at++ {
			d := NewDocument(DocumentOptions{})
			first := edit(t, d, 1, func(tx *Tx) { must1(t, tx.Text("t").Insert(0, text, nil)) })
			then, err := OpenDocument(DocumentOptions{}, first)
			must1(t, err)
			x := Struct{Client: 2, Len: 1, Info: RefString | infoOrigin, Origin: ID{1, at}, Content: []byte("x")}
			apply(t, d, append(x.Append([]byte{1, 1, 2, 0}), 0))
			if at%2 == 0 {
				apply(t, d, []byte{0, 1, 1, 1, byte(at), 1})
			}
			if _, err := d.Restore(then, 3); err != nil {
				t.Fatal(err)
			}
			if got := textOf(d, "t"); got != text {
				t.Errorf("%q parted after unit %d and restored: got %q", text, at, got)
			}
			must1(t, d.check())
		}
	}
}

func TestEditsBeyondTheEndAreRefused(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	edit(t, d, 1, func(tx *Tx) {
		must1(t, tx.Text("t").Insert(0, "abc", nil))
		must1(t, tx.Array("a").Insert(0, 1, 2))
	})
	before := d.Encode(nil)
	for name, f := range map[string]func(*Tx) error{
		"text insert":  func(tx *Tx) error { return tx.Text("t").Insert(4, "x", nil) },
		"text delete":  func(tx *Tx) error { return tx.Text("t").Delete(2, 2) },
		"negative":     func(tx *Tx) error { return tx.Text("t").Delete(-1, 2) },
		"overflow":     func(tx *Tx) error { return tx.Text("t").Delete(1, math.MaxInt) },
		"array insert": func(tx *Tx) error { return tx.Array("a").Insert(3, 1) },
		"array delete": func(tx *Tx) error { return tx.Array("a").Delete(0, 3) },
	} {
		if u, err := d.Edit(2, f); !errors.Is(err, ErrIndex) || u != nil {
			t.Errorf("%s: got %x, %v, want ErrIndex", name, u, err)
		}
	}
	loop := map[string]any{}
	loop["loop"] = loop
	for name, v := range map[string]any{"loop": loop, "channel": make(chan int), "bad text": "\xff", "bad key": map[string]any{"\xff": 1}, "no type": (*NewType)(nil), "bad JSON": json.RawMessage(`{`)} {
		if u, err := d.Edit(2, func(tx *Tx) error { return tx.Map("m").Set("k", v) }); !errors.Is(err, ErrKind) || u != nil {
			t.Errorf("value %s: got %x, %v, want ErrKind", name, u, err)
		}
	}
	if got := d.Encode(nil); !bytes.Equal(got, before) {
		t.Error("refused edits changed the document")
	}
}

func TestEditsUnderPendingClientsAreRefused(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	s := Struct{Client: 9, Clock: 5, Len: 1, Info: RefString | infoOrigin, Origin: ID{9, 4}, Content: []byte("x")}
	apply(t, d, append(s.Append([]byte{1, 1, 9, 5}), 0))
	if _, err := d.Edit(9, func(tx *Tx) error { return tx.Text("t").Insert(0, "x", nil) }); !errors.Is(err, ErrBusyClient) {
		t.Errorf("got %v, want ErrBusyClient", err)
	}
}

func TestRefusedUpdatesChangeNothing(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	whole := edit(t, d, 1, func(tx *Tx) {
		must1(t, tx.Text("t").Insert(0, "abc", nil))
		must1(t, tx.Map("m").Set("k", []any{1, "x"}))
		must1(t, tx.Text("t").Delete(0, 1))
	})
	for n := range whole {
		e := NewDocument(DocumentOptions{})
		if err := e.Apply(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes: got no error", n, len(whole))
		}
		if got := e.Encode(nil); !bytes.Equal(got, []byte{0, 0}) {
			t.Errorf("%d of %d bytes: got a state of %x", n, len(whole), got)
		}
	}
	self := Struct{Client: 1, Clock: 9, Len: 1, Info: RefString | infoOrigin, Origin: ID{1, 9}, Content: []byte("x")}
	if err := d.Apply(append(self.Append([]byte{1, 1, 1, 9}), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("an item that refers to itself: got %v, want ErrMalformed", err)
	}
}

func TestTheSamePendingStructsAreKeptOnce(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	text := strings.Repeat("x", 1000)
	s := Struct{Client: 9, Clock: 5, Len: 1000, Info: RefString | infoOrigin, Origin: ID{9, 4}, Content: []byte(text)}
	u := append(s.Append([]byte{1, 1, 9, 5}), 1, 7, 1, 3, 1)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20_000 {
		apply(t, d, u)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	p := d.Pending()
	if p.Structs != 1 || len(p.Missing) != 1 || p.Missing[0] != (ID{9, 0}) || !p.Deletes.Contains(7, 3, 1) {
		t.Errorf("pending: got %+v, want one struct that waits for the first of client 9", p)
	}
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 2<<20 {
		t.Errorf("20,000 times the same pending struct hold %d bytes", held)
	}
	again, err := OpenDocument(DocumentOptions{}, d.Encode(nil))
	must1(t, err)
	if got, want := again.Encode(nil), d.Encode(nil); !bytes.Equal(got, want) {
		t.Errorf("pending structs and deletes in a state: got %x, want %x", got, want)
	}
	// The first five, and what they wait for: nothing.
	s = Struct{Client: 9, Len: 5, Info: RefString, Root: []byte("t"), Content: []byte("begin")}
	apply(t, d, append(s.Append([]byte{1, 1, 9, 0}), 0))
	if got := textOf(d, "t"); got != "begin"+text {
		t.Errorf("text: got %.20q", got)
	}
}

// Two clients that answer each other come in backwards: each struct waits for one of the other.
func TestPendingStructsFollowEachOther(t *testing.T) {
	a, b := NewDocument(DocumentOptions{}), NewDocument(DocumentOptions{})
	var log [][]byte
	for i := range 400 {
		u := edit(t, a, 1, func(tx *Tx) { must1(t, tx.Text("t").Insert(i, "a", nil)) })
		apply(t, b, u)
		log = append(log, u)
		a, b = b, a
		if i%2 == 0 {
			u = edit(t, a, 2, func(tx *Tx) { must1(t, tx.Text("t").Delete(i, 1)); must1(t, tx.Text("t").Insert(i, "b", nil)) })
			apply(t, b, u)
			log = append(log, u)
		}
	}
	d := NewDocument(DocumentOptions{})
	for i := len(log) - 1; i >= 0; i-- {
		apply(t, d, log[i])
	}
	if p := d.Pending(); p.Structs > 0 || !p.Deletes.Empty() {
		t.Errorf("pending: got %+v, want nothing", p)
	}
	if got, want := textOf(d, "t"), textOf(a, "t"); got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
	must1(t, d.check())
}

func TestDeepTypesAreDeletedButNotReadOut(t *testing.T) {
	const depth = 200_000
	// Each array is the first element of the one before.
	u := AppendUvarint([]byte{1}, depth)
	u = append(u, 1, 0)
	for i := range uint64(depth) {
		s := Struct{Client: 1, Clock: i, Len: 1, Info: RefType, Content: []byte{TypeArray}}
		if i == 0 {
			s.Root = []byte("a")
		} else {
			s.Parent = ID{1, i - 1}
		}
		u = s.Append(u)
	}
	u = append(u, 0)
	for _, keep := range []bool{false, true} {
		d := NewDocument(DocumentOptions{KeepDeleted: keep})
		apply(t, d, u)
		if _, err := d.JSON(nil, nil); !errors.Is(err, ErrTooDeep) {
			t.Errorf("JSON: got %v, want ErrTooDeep", err)
		}
		if _, err := d.XML("a", KindXMLFragment, nil); err != nil {
			t.Errorf("markup: got %v; an array is no node", err)
		}
		empty := NewDocument(DocumentOptions{})
		diffOf(d, empty, "a")
		runsOf(d, "a")
		full, err := OpenDocument(DocumentOptions{}, u)
		must1(t, err)
		if _, err := d.Restore(empty, 2); err != nil {
			t.Fatal(err)
		}
		if got, err := d.JSON(map[string]Kind{"a": KindArray}, nil); err != nil || string(got) != `{"a":[]}` {
			t.Errorf("restored to nothing: got %.40s, %v", got, err)
		}
		if _, err := d.Restore(full, 2); err != nil {
			t.Fatal(err)
		}
		if n := len(d.Encode(nil)); n < depth {
			t.Errorf("restored to everything: got %d bytes", n)
		}
	}
}

func TestLongArraysAreCutAndStayWhole(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	values := make([]any, 10_000)
	for i := range values {
		values[i] = i
	}
	u := edit(t, d, 1, func(tx *Tx) {
		must1(t, tx.Array("a").Insert(0, values...))
		must1(t, tx.Array("a").Insert(5000, "middle"))
		must1(t, tx.Array("a").Delete(5001, 4999))
	})
	e, err := OpenDocument(DocumentOptions{}, u)
	must1(t, err)
	for _, d := range []*Document{d, e} {
		must1(t, d.check())
		var got map[string][]any
		p, err := d.JSON(nil, nil)
		must1(t, err)
		must1(t, json.Unmarshal(p, &got))
		if a := got["a"]; len(a) != 5002 || a[4999] != 4999.0 || a[5000] != "middle" || a[5001] != 9999.0 {
			t.Errorf("array: got %d elements", len(a))
		}
	}
	if got, want := len(d.Encode(nil)), 3*5000+100; got > want { // three bytes a value
		t.Errorf("size: got %d, want at most %d", got, want)
	}
}

func TestNumbersAreWrittenAsJavaScriptDoes(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", math.Copysign(0, -1): "0", 1: "1", -1.5: "-1.5", 0.1: "0.1", 1e21: "1e+21", 1e20: "100000000000000000000",
		1e-6: "0.000001", 1e-7: "1e-7", 1.5e-10: "1.5e-10", 123456789012345680000: "123456789012345680000", 5e-324: "5e-324",
		1.7976931348623157e308: "1.7976931348623157e+308", 4294967296.25: "4294967296.25",
	} {
		if got := jsNumber(f); got != want {
			t.Errorf("%g: got %s, want %s", f, got, want)
		}
	}
}

func TestSameUpdatesGiveTheSameBytes(t *testing.T) {
	cases := readDocCases(t, "fuzz.json")
	for _, c := range cases {
		var first, firstJSON []byte
		for range 3 {
			d := NewDocument(DocumentOptions{})
			apply(t, d, c.Updates...)
			p, err := d.JSON(nil, nil)
			must1(t, err)
			u := d.Encode(nil)
			if first == nil {
				first, firstJSON = u, p
			}
			if !bytes.Equal(u, first) || !bytes.Equal(p, firstJSON) {
				t.Fatalf("fuzz %d: two documents of the same updates differ", c.I)
			}
		}
	}
}

func TestAKeyHasOneValueThoughTheyAreTexts(t *testing.T) {
	first, second := text(5, 0, "ab"), text(5, 2, "cd").after(5, 1)
	first.Info, first.Sub = RefString|infoSub, []byte("k")
	d := NewDocument(DocumentOptions{})
	apply(t, d, update([]Struct{first, second}))
	if del := d.Deletes(); !del.Contains(5, 0, 2) || del.Contains(5, 2, 1) {
		t.Errorf("got deletes %x, want those of the first value", del.Append(nil))
	}
}

func TestMarksWithSpaceAround(t *testing.T) {
	mark := func(clock uint64, value string) Struct {
		s := Struct{Client: 5, Clock: clock, Len: 1, Info: RefFormat, Content: AppendVarString(AppendVarString(nil, "b"), value)}
		if clock == 0 {
			s.Root = []byte("t")
			return s
		}
		return s.after(5, clock-1)
	}
	d := NewDocument(DocumentOptions{})
	apply(t, d, update([]Struct{mark(0, " true\n"), text(5, 1, "x").after(5, 0), mark(2, " null "), text(5, 3, "y").after(5, 2)}))
	got, err := d.Delta("t", nil)
	if want := `[{"insert":"x","attributes":{"b":true}},{"insert":"y"}]`; err != nil || string(got) != want {
		t.Errorf("got %s %v, want %s", got, err, want)
	}
}

func TestRootKindsAreGuessed(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	edit(t, d, 1, func(tx *Tx) {
		must1(t, tx.Text("text").Insert(0, "x", nil))
		must1(t, tx.Map("map").Set("k", 1))
		must1(t, tx.Array("array").Insert(0, 1))
		must1(t, tx.XML("xml").Insert(0, NewXMLElement("p", nil)))
		must1(t, tx.XML("element").Insert(0, NewXMLText("x", nil)))
		must1(t, tx.XML("element").SetAttribute("a", "1"))
		must1(t, tx.Text("gone").Insert(0, "x", nil))
		must1(t, tx.Text("gone").Delete(0, 1))
		must1(t, tx.Map("gone map").Set("k", 1))
		tx.Map("gone map").Delete("k")
		tx.Root("never")
	})
	want := map[string]Kind{"text": KindText, "map": KindMap, "array": KindArray, "xml": KindXMLFragment, "element": KindXMLElement, "gone": KindAuto, "gone map": KindMap, "never": KindAuto}
	for _, r := range d.Roots() {
		if r.Kind != want[r.Name] {
			t.Errorf("%s: got %v, want %v", r.Name, r.Kind, want[r.Name])
		}
		delete(want, r.Name)
	}
	if len(want) > 0 {
		t.Errorf("roots missing: %v", want)
	}
	p, err := d.JSON(map[string]Kind{"text": KindArray, "extra": KindMap}, nil)
	must1(t, err)
	if got, want := string(p), `{"array":[1],"element":"<undefined a=\"1\">x</undefined>","extra":{},"gone map":{},"map":{"k":1},"text":["x"],"xml":"<p></p>"}`; got != want {
		t.Errorf("JSON: got %s, want %s", got, want)
	}
}

func ExampleDocument_Edit() {
	d := NewDocument(DocumentOptions{})
	update, err := d.Edit(4711, func(tx *Tx) error {
		if err := tx.Text("note").Insert(0, "Hello", map[string]any{"bold": true}); err != nil {
			return err
		}
		return tx.Map("meta").Set("tags", NewArray("a", 1.5, nil))
	})
	if err != nil {
		panic(err)
	}
	other, err := OpenDocument(DocumentOptions{}, update)
	if err != nil {
		panic(err)
	}
	p, _ := other.JSON(nil, nil)
	delta, _ := other.Delta("note", nil)
	fmt.Println(string(p))
	fmt.Println(string(delta))
	// Output:
	// {"meta":{"tags":["a",1.5,null]},"note":"Hello"}
	// [{"insert":"Hello","attributes":{"bold":true}}]
}

// textOf is the text of a root that is a text; what a root that is not there has is none.
func textOf(d *Document, name string) string {
	text, _, err := d.Text(name, KindText, nil)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(text)
}

func diffOf(d, old *Document, name string) []TextChange {
	list, err := d.TextDiff(old, name, nil)
	if err != nil {
		panic(err)
	}
	return list
}

func runsOf(d *Document, name string) []TextRun {
	list, err := d.Runs(name, nil)
	if err != nil {
		panic(err)
	}
	return list
}
