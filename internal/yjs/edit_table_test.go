package yjs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
)

// plainClient is the client id of the documents of driver.mjs that edit.
const plainClient = 4294967291

// step is one edit, which Go does under plainClient and yjs does too: their structs must be the same, to the clock.
type step struct {
	op     string
	index  int
	length int
	text   string
	marks  map[string]any
	key    string
	value  any
}

func (s step) object() object {
	o := object{"op": s.op, "index": s.index, "length": s.length, "text": s.text, "attributes": nil, "key": s.key, "value": s.value}
	if s.marks != nil {
		o["attributes"] = s.marks
	}
	return o
}

func (s step) do(tx *Tx) error {
	t, a, m, x := tx.Text("t"), tx.Array("a"), tx.Map("m"), tx.XML("x")
	switch s.op {
	case "insert":
		return t.Insert(s.index, s.text, s.marks)
	case "delete":
		return t.Delete(s.index, s.length)
	case "format":
		return t.Format(s.index, s.length, s.marks)
	case "embed":
		return t.InsertEmbed(s.index, map[string]any{"image": s.text}, s.marks)
	case "array insert":
		return a.Insert(s.index, s.value.([]any)...)
	case "array delete":
		return a.Delete(s.index, s.length)
	case "map set":
		return m.Set(s.key, s.value)
	case "map delete":
		m.Delete(s.key)
	case "xml insert":
		return x.Insert(s.index, NewXMLElement(s.key, nil))
	case "xml text":
		return x.Insert(s.index, NewXMLText(s.text, nil))
	case "xml delete":
		return x.Delete(s.index, s.length)
	case "attribute", "no attribute":
		child, ok := x.Child(s.index)
		if !ok {
			return fmt.Errorf("no node at %d", s.index)
		}
		if s.op == "attribute" {
			return child.XML().SetAttribute(s.key, s.value)
		}
		child.XML().RemoveAttribute(s.key)
	default:
		return fmt.Errorf("unknown edit %q", s.op)
	}
	return nil
}

func bold(v any) map[string]any { return map[string]any{"bold": v} }

// textSteps is a table of sequences of text edits. Each begins with an empty text.
var textSteps = []struct {
	name  string
	steps []step
	want  string
}{
	{"in front, between and at the end", []step{{op: "insert", text: "bd"}, {op: "insert", text: "a"}, {op: "insert", index: 2, text: "c"}, {op: "insert", index: 4, text: "e"}}, "abcde"},
	{"an empty string", []step{{op: "insert", text: "ab"}, {op: "delete", index: 1}}, "ab"},
	{"all of it deleted", []step{{op: "insert", text: "abc"}, {op: "delete", length: 3}}, ""},
	{"the first and the last unit deleted", []step{{op: "insert", text: "abcd"}, {op: "delete", length: 1}, {op: "delete", index: 2, length: 1}}, "bc"},
	{"a delete over several items", []step{{op: "insert", text: "ad"}, {op: "insert", index: 1, text: "bc"}, {op: "delete", index: 1, length: 3}}, "a"},
	{"a delete over what is deleted", []step{{op: "insert", text: "abcdef"}, {op: "delete", index: 2, length: 2}, {op: "delete", index: 1, length: 2}}, "af"},
	{"an insert where something was deleted", []step{{op: "insert", text: "abc"}, {op: "delete", index: 1, length: 1}, {op: "insert", index: 1, text: "B"}}, "aBc"},
	{"characters of two units", []step{{op: "insert", text: "a😀b"}, {op: "insert", index: 3, text: "𝒳"}, {op: "delete", index: 1, length: 2}}, "a𝒳b"},
	{"a family of characters", []step{{op: "insert", text: "👩‍👩‍👧"}, {op: "delete", index: 2, length: 1}, {op: "insert", text: "é"}}, "é👩👩‍👧"},
	{"a zero byte and a line end", []step{{op: "insert", text: "\x00\n"}, {op: "insert", index: 1, text: "x"}}, "\x00x\n"},

	{"a mark on the middle", []step{{op: "insert", text: "abcdef"}, {op: "format", index: 2, length: 2, marks: bold(true)}}, "abcdef"},
	{"a mark on all", []step{{op: "insert", text: "abc"}, {op: "format", length: 3, marks: bold(true)}}, "abc"},
	{"a mark on the first unit", []step{{op: "insert", text: "abc"}, {op: "format", length: 1, marks: bold(true)}}, "abc"},
	{"a mark on the last unit", []step{{op: "insert", text: "abc"}, {op: "format", index: 2, length: 1, marks: bold(true)}}, "abc"},
	{"the same mark twice", []step{{op: "insert", text: "abcd"}, {op: "format", index: 1, length: 2, marks: bold(true)}, {op: "format", index: 1, length: 2, marks: bold(true)}}, "abcd"},
	{"a mark taken off again", []step{{op: "insert", text: "abcd"}, {op: "format", index: 1, length: 2, marks: bold(true)}, {op: "format", index: 1, length: 2, marks: bold(nil)}}, "abcd"},
	{"a mark taken off its middle", []step{{op: "insert", text: "abcdef"}, {op: "format", length: 6, marks: bold(true)}, {op: "format", index: 2, length: 2, marks: bold(nil)}}, "abcdef"},
	{"a mark over the begin of another", []step{{op: "insert", text: "abcdef"}, {op: "format", index: 2, length: 3, marks: bold(true)}, {op: "format", length: 4, marks: bold("very")}}, "abcdef"},
	{"a mark over the end of another", []step{{op: "insert", text: "abcdef"}, {op: "format", index: 1, length: 3, marks: bold(true)}, {op: "format", index: 2, length: 4, marks: bold("very")}}, "abcdef"},
	{"a mark within another of its key", []step{{op: "insert", text: "abcdef"}, {op: "format", length: 6, marks: bold(1)}, {op: "format", index: 2, length: 2, marks: bold(2)}}, "abcdef"},
	{"a mark that meets one like it", []step{{op: "insert", text: "abcdef"}, {op: "format", length: 2, marks: bold(true)}, {op: "format", index: 2, length: 2, marks: bold(true)}}, "abcdef"},
	{"two marks across each other", []step{{op: "insert", text: "abcdef"}, {op: "format", length: 4, marks: bold(true)}, {op: "format", index: 2, length: 4, marks: map[string]any{"italic": true}}}, "abcdef"},
	{"two marks at once", []step{{op: "insert", text: "abcdef"}, {op: "format", index: 1, length: 4, marks: map[string]any{"bold": true, "color": "#123"}}}, "abcdef"},
	{"one of two marks taken off", []step{{op: "insert", text: "abcdef", marks: map[string]any{"bold": true, "color": "#123"}}, {op: "format", index: 1, length: 4, marks: map[string]any{"color": nil}}}, "abcdef"},
	{"a mark of false and of an empty string", []step{{op: "insert", text: "abcd"}, {op: "format", length: 2, marks: bold(false)}, {op: "format", index: 1, length: 2, marks: bold("")}}, "abcd"},
	{"no mark where there was none", []step{{op: "insert", text: "abcd"}, {op: "format", index: 1, length: 2, marks: bold(nil)}}, "abcd"},
	{"a mark on characters of two units", []step{{op: "insert", text: "a😀😀b"}, {op: "format", index: 1, length: 2, marks: bold(true)}}, "a😀😀b"},

	{"typing inside of a mark", []step{{op: "insert", text: "abcd"}, {op: "format", index: 1, length: 2, marks: bold(true)}, {op: "insert", index: 2, text: "X"}}, "abXcd"},
	{"typing at the begin of a mark", []step{{op: "insert", text: "abcd"}, {op: "format", index: 1, length: 2, marks: bold(true)}, {op: "insert", index: 1, text: "X"}}, "aXbcd"},
	{"typing at the end of a mark", []step{{op: "insert", text: "abcd"}, {op: "format", index: 1, length: 2, marks: bold(true)}, {op: "insert", index: 3, text: "X"}}, "abcXd"},
	{"plain text inside of a mark", []step{{op: "insert", text: "abcd", marks: bold(true)}, {op: "insert", index: 2, text: "X", marks: map[string]any{}}}, "abXcd"},
	{"marked text in plain text", []step{{op: "insert", text: "abcd"}, {op: "insert", index: 2, text: "X", marks: bold(true)}}, "abXcd"},
	{"marked text beside text of the mark", []step{{op: "insert", text: "ab", marks: bold(true)}, {op: "insert", index: 2, text: "cd", marks: bold(true)}}, "abcd"},
	{"other marks beside text of a mark", []step{{op: "insert", text: "ab", marks: bold(true)}, {op: "insert", index: 2, text: "cd", marks: map[string]any{"italic": true}}}, "abcd"},

	{"all of a mark's text deleted", []step{{op: "insert", text: "abcd"}, {op: "format", index: 1, length: 2, marks: bold(true)}, {op: "delete", index: 1, length: 2}}, "ad"},
	{"a delete over the begin of a mark", []step{{op: "insert", text: "abcdef"}, {op: "format", index: 2, length: 3, marks: bold(true)}, {op: "delete", index: 1, length: 2}}, "adef"},
	{"a delete over the end of a mark", []step{{op: "insert", text: "abcdef"}, {op: "format", index: 2, length: 2, marks: bold(true)}, {op: "delete", index: 3, length: 2}}, "abcf"},
	{"a delete over two marks", []step{{op: "insert", text: "abcdef"}, {op: "format", index: 1, length: 2, marks: bold(true)}, {op: "format", index: 3, length: 2, marks: map[string]any{"italic": true}}, {op: "delete", index: 1, length: 4}}, "af"},
	{"typing where marked text was deleted", []step{{op: "insert", text: "abcd"}, {op: "format", index: 1, length: 2, marks: bold(true)}, {op: "delete", index: 1, length: 2}, {op: "insert", index: 1, text: "X"}}, "aXd"},

	{"an embed in an empty text", []step{{op: "embed", text: "i.png"}}, ""},
	{"an embed between characters", []step{{op: "insert", text: "ab"}, {op: "embed", index: 1, text: "i.png"}, {op: "insert", index: 2, text: "c"}}, "acb"},
	{"an embed with a mark", []step{{op: "insert", text: "ab"}, {op: "embed", index: 1, text: "i.png", marks: bold(true)}}, "ab"},
	{"an embed inside of a mark", []step{{op: "insert", text: "ab", marks: bold(true)}, {op: "embed", index: 1, text: "i.png"}}, "ab"},
	{"an embed deleted with its neighbours", []step{{op: "insert", text: "abcd"}, {op: "embed", index: 2, text: "i.png"}, {op: "delete", index: 1, length: 3}}, "ad"},
	{"a mark over an embed", []step{{op: "insert", text: "ab"}, {op: "embed", index: 1, text: "i.png"}, {op: "format", length: 3, marks: bold(true)}}, "ab"},
}

var otherSteps = []struct {
	name  string
	steps []step
}{
	{"an array filled from both ends", []step{{op: "array insert", value: []any{"m"}}, {op: "array insert", value: []any{"a", 1}}, {op: "array insert", index: 3, value: []any{nil, true}}}},
	{"an array opened in a run of values", []step{{op: "array insert", value: []any{1, 2, 3, 4}}, {op: "array insert", index: 2, value: []any{"between"}}}},
	{"an array that loses its middle", []step{{op: "array insert", value: []any{1, 2, 3, 4, 5}}, {op: "array delete", index: 1, length: 3}}},
	{"an array that loses all and gets more", []step{{op: "array insert", value: []any{1, 2}}, {op: "array delete", length: 2}, {op: "array insert", value: []any{3}}}},
	{"a delete of nothing", []step{{op: "array insert", value: []any{1}}, {op: "array delete", index: 1}}},
	{"an array of structured values", []step{{op: "array insert", value: []any{map[string]any{"a": []any{1.5, "x", nil}}, []any{}, map[string]any{}}}}},
	{"numbers at the borders of their forms", []step{{op: "array insert", value: []any{0, -1, 63, 64, -64, 1<<31 - 1, 1 << 31, -(1 << 31), 1<<53 - 1, 0.1, 1e300}}}},
	{"a key set once", []step{{op: "map set", key: "k", value: "v"}}},
	{"a key set again", []step{{op: "map set", key: "k", value: "v"}, {op: "map set", key: "k", value: []any{1, 2}}}},
	{"a key set, deleted, and set", []step{{op: "map set", key: "k", value: 1}, {op: "map delete", key: "k"}, {op: "map set", key: "k", value: 2}}},
	{"a key deleted that is not there", []step{{op: "map delete", key: "k"}}},
	{"a key of no letters and one of two units", []step{{op: "map set", key: "", value: 1}, {op: "map set", key: "😀", value: 2}}},
	{"many keys in turn", []step{{op: "map set", key: "a", value: 1}, {op: "map set", key: "b", value: 2}, {op: "map set", key: "a", value: 3}, {op: "map delete", key: "b"}}},
	{"nodes in front and behind", []step{{op: "xml insert", key: "p"}, {op: "xml insert", key: "h1"}, {op: "xml text", index: 2, text: "tail 😀"}}},
	{"a node deleted between two", []step{{op: "xml insert", key: "p"}, {op: "xml insert", index: 1, key: "q"}, {op: "xml insert", index: 2, key: "r"}, {op: "xml delete", index: 1, length: 1}}},
	{"an attribute set, changed and removed", []step{{op: "xml insert", key: "p"}, {op: "attribute", key: "level", value: 1}, {op: "attribute", key: "level", value: "two"}, {op: "attribute", key: "ä", value: true}, {op: "no attribute", key: "level"}}},
}

func TestEveryEditMakesTheStructsThatYjsMakes(t *testing.T) {
	type one struct {
		name  string
		steps []step
	}
	var all []one
	for _, c := range textSteps {
		all = append(all, one{c.name, c.steps})
	}
	for _, c := range otherSteps {
		all = append(all, one{c.name, c.steps})
	}
	j := newJudge(t)
	var asked []yjsDocument
	var docs []*Document
	for _, c := range all {
		// Once as edits of theirs, once as updates of ours, which another client wrote.
		mine, theirs := NewDocument(DocumentOptions{}), NewDocument(DocumentOptions{})
		edits, updates := []object{}, [][]byte{{0, 0}}
		for i, s := range c.steps {
			if _, err := mine.Edit(plainClient, s.do); err != nil {
				t.Fatalf("%s, edit %d: %v", c.name, i, err)
			}
			u, err := theirs.Edit(7, s.do)
			must1(t, err)
			if u != nil {
				updates = append(updates, u)
			}
			edits = append(edits, s.object())
		}
		docs = append(docs, mine, theirs)
		asked = append(asked, yjsDocument{Updates: [][]byte{{0, 0}}, Edits: edits}, yjsDocument{Updates: updates})
	}
	j.ask(object{"op": "check", "seed": 0, "documents": asked})
	var answer struct{ Views []yjsView }
	j.answer(&answer)
	for i, v := range answer.Views {
		if diff := v.differs(t, docs[i]); diff != "" {
			t.Errorf("%s, %s: %s", all[i/2].name, []string{"edited by yjs", "applied by yjs"}[i%2], diff)
		}
	}
}

func TestTextEditsShowWhatTheTableSays(t *testing.T) {
	for _, keep := range []bool{false, true} {
		for _, c := range textSteps {
			d, follower := NewDocument(DocumentOptions{KeepDeleted: keep}), NewDocument(DocumentOptions{KeepDeleted: keep})
			for _, s := range c.steps {
				u, err := d.Edit(7, s.do)
				must1(t, err)
				if u != nil {
					must1(t, validate(u, Limits{}))
					apply(t, follower, u)
				}
				must1(t, d.check())
			}
			if got := textOf(d, "t"); got != c.want {
				t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			}
			ours, err := d.Delta("t", nil)
			must1(t, err)
			theirs, err := follower.Delta("t", nil)
			must1(t, err)
			if string(ours) != string(theirs) {
				t.Errorf("%s: the follower has %s, want %s", c.name, theirs, ours)
			}
		}
	}
}

// The same steps in one transaction show the same as in one each.
func TestStepsOfOneTransactionShowTheSameAsStepsOfMany(t *testing.T) {
	for _, c := range textSteps {
		one, many := NewDocument(DocumentOptions{}), NewDocument(DocumentOptions{})
		edit(t, one, 7, func(tx *Tx) {
			for _, s := range c.steps {
				must1(t, s.do(tx))
			}
		})
		for _, s := range c.steps {
			edit(t, many, 7, func(tx *Tx) { must1(t, s.do(tx)) })
		}
		a, err := one.Delta("t", nil)
		must1(t, err)
		b, err := many.Delta("t", nil)
		must1(t, err)
		if string(a) != string(b) {
			t.Errorf("%s: at once %s, one by one %s", c.name, a, b)
		}
		must1(t, one.check())
	}
}

func TestEveryEditOutOfRangeIsRefusedAndChangesNothing(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	edit(t, d, 1, func(tx *Tx) {
		must1(t, tx.Text("t").Insert(0, "a😀b", bold(true)))
		must1(t, tx.Array("a").Insert(0, 1, 2, 3))
		must1(t, tx.XML("x").Insert(0, NewXMLElement("p", nil), NewXMLText("text", nil)))
	})
	before := string(d.Encode(nil))
	type refusal struct {
		step
		want error
	}
	var cases []refusal
	for _, i := range []int{-1, 5, math.MaxInt, math.MinInt} {
		for _, op := range []string{"insert", "embed", "array insert", "xml insert"} {
			cases = append(cases, refusal{step{op: op, index: i, text: "x", key: "p", value: []any{1}}, ErrIndex})
		}
		for _, op := range []string{"delete", "format", "array delete", "xml delete"} {
			for _, n := range []int{1, math.MaxInt} {
				cases = append(cases, refusal{step{op: op, index: i, length: n, marks: bold(nil)}, ErrIndex})
			}
		}
	}
	for _, op := range []string{"delete", "format", "array delete", "xml delete"} {
		for _, r := range [][2]int{{0, 5}, {0, -1}, {4, 1}, {1, math.MaxInt}, {3, 2}, {2, math.MinInt}} {
			cases = append(cases, refusal{step{op: op, index: r[0], length: r[1], marks: bold(nil)}, ErrIndex})
		}
	}
	for _, s := range []step{
		{op: "insert", index: 2, text: "x"},
		{op: "insert", index: 2, text: "x", marks: bold(nil)},
		{op: "embed", index: 2, text: "x"},
		{op: "delete", index: 2, length: 1},
		{op: "delete", index: 1, length: 1},
		{op: "delete", index: 0, length: 2},
		{op: "format", index: 2, length: 2, marks: bold(nil)},
		{op: "format", index: 0, length: 2, marks: bold(nil)},
	} {
		cases = append(cases, refusal{s, ErrHalf})
	}
	for _, bad := range []string{"\xff", "a\xed\xa0\x80", "\xf0\x9f\x98"} {
		cases = append(cases,
			refusal{step{op: "insert", text: bad}, ErrKind},
			refusal{step{op: "insert", text: "x", marks: map[string]any{bad: true}}, ErrKind},
			refusal{step{op: "format", length: 1, marks: map[string]any{bad: true}}, ErrKind},
			refusal{step{op: "map set", key: bad, value: 1}, ErrKind},
			refusal{step{op: "map set", key: "k", value: bad}, ErrKind},
			refusal{step{op: "array insert", value: []any{1, bad}}, ErrKind},
			refusal{step{op: "xml insert", key: bad}, ErrKind},
			refusal{step{op: "xml text", text: bad}, ErrKind},
			refusal{step{op: "attribute", key: bad, value: 1}, ErrKind},
		)
	}
	for _, v := range []any{make(chan int), func() {}, complex(1, 2), json.RawMessage("{"), (*NewType)(nil)} {
		cases = append(cases,
			refusal{step{op: "map set", key: "k", value: v}, ErrKind},
			refusal{step{op: "array insert", value: []any{"first", v}}, ErrKind},
			refusal{step{op: "attribute", key: "k", value: v}, ErrKind},
		)
	}
	for _, c := range cases {
		u, err := d.Edit(2, c.do)
		if !errors.Is(err, c.want) || u != nil {
			t.Errorf("%+v: got %x, %v, want %v", c.step, u, err, c.want)
		}
		if string(d.Encode(nil)) != before {
			t.Fatalf("%+v: a refused edit changed the document", c.step)
		}
	}
	if _, ok := d.Vector()[2]; ok {
		t.Error("a client whose edits were all refused is in the vector")
	}
	must1(t, d.check())
}

func TestEditsBeforeARefusalAreInTheUpdateThatEditReturns(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	u, err := d.Edit(7, func(tx *Tx) error {
		must1(t, tx.Text("t").Insert(0, "kept", nil))
		return tx.Text("t").Insert(9, "refused", nil)
	})
	if !errors.Is(err, ErrIndex) || u == nil {
		t.Fatalf("got %x, %v, want an update and ErrIndex", u, err)
	}
	other := NewDocument(DocumentOptions{})
	apply(t, other, u)
	if got := textOf(other, "t"); got != "kept" {
		t.Errorf("the update shows %q, want what was done before the refusal", got)
	}
}

func TestNoEditIsMadeUnderAClientOfWhichJavaScriptHasNoNumber(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	insert := func(tx *Tx) error { return tx.Text("t").Insert(0, "x", nil) }
	if u, err := d.Edit(MaxSafe+1, insert); !errors.Is(err, ErrMalformed) || u != nil {
		t.Errorf("client 2^53: got %x, %v", u, err)
	}
	u, err := d.Edit(MaxSafe, insert)
	if err != nil || validate(u, Limits{}) != nil {
		t.Errorf("client 2^53-1: got %x, %v", u, err)
	}
}

func TestAClientWhoseClocksAreUsedUpCanDeleteButNotInsert(t *testing.T) {
	s := text(7, 0, "a")
	d, err := OpenDocument(DocumentOptions{}, update([]Struct{text(8, 0, "abc"), s}))
	must1(t, err)
	// One run of collected clocks takes it to the end of its numbers.
	apply(t, d, update([]Struct{{Client: 7, Clock: 1, Len: MaxSafe - 10, Info: RefGC}}))
	for _, c := range []step{
		{op: "insert", text: "x"}, {op: "embed", text: "x"}, {op: "format", length: 1, marks: bold(true)},
		{op: "map set", key: "k", value: 1}, {op: "array insert", value: []any{1}}, {op: "xml insert", key: "p"},
	} {
		if u, err := d.Edit(7, c.do); !errors.Is(err, ErrKind) || u != nil {
			t.Errorf("%s: got %x, %v, want ErrKind", c.op, u, err)
		}
	}
	if u, err := d.Edit(7, step{op: "delete", length: 1}.do); err != nil || u == nil {
		t.Errorf("a delete takes no clock: got %x, %v", u, err)
	}
}
