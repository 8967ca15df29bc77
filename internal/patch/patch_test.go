package patch

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"yjet/internal/yjs"
)

// sample is a document with a type of each kind:
//
//	t  text "héllo 😀 world", of which "llo" is bold
//	m  map of a text, an array, a map and a value
//	a  array of a value, a text and a value
//	x  fragment of two paragraphs with marks, a list and code
func sample(t testing.TB) *yjs.Document {
	t.Helper()
	d := yjs.NewDocument(yjs.DocumentOptions{})
	_, err := d.Edit(1, func(tx *yjs.Tx) error {
		bold := map[string]any{"bold": map[string]any{}}
		return errors.Join(
			tx.Text("t").Insert(0, "héllo 😀 world", nil),
			tx.Text("t").Format(2, 3, map[string]any{"bold": true}),
			tx.Map("m").Set("text", yjs.NewText("inner", nil)),
			tx.Map("m").Set("list", yjs.NewArray(1, 2)),
			tx.Map("m").Set("map", yjs.NewMap(map[string]any{"k": "v"})),
			tx.Map("m").Set("value", "plain"),
			tx.Array("a").Insert(0, "v", yjs.NewText("in a", nil), true),
			tx.XML("x").Insert(0,
				yjs.NewXMLElement("paragraph", nil, yjs.NewXMLTextRuns(yjs.NewRun{Text: "one "}, yjs.NewRun{Text: "two", Attributes: bold}, yjs.NewRun{Text: " three"})),
				yjs.NewXMLElement("paragraph", map[string]any{"align": "left"}, yjs.NewXMLText("four ", nil), yjs.NewXMLText("five", nil), yjs.NewXMLElement("hardBreak", nil), yjs.NewXMLText("six", nil)),
				yjs.NewXMLElement("bulletList", nil, yjs.NewXMLElement("listItem", nil, yjs.NewXMLElement("paragraph", nil, yjs.NewXMLText("item", nil)))),
				yjs.NewXMLElement("codeBlock", nil, yjs.NewXMLText("a\nb", nil)),
			),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func always() error { return nil }

// look shows all of a document.
func look(t testing.TB, d *yjs.Document) string {
	t.Helper()
	b, err := d.JSON(map[string]yjs.Kind{"m": yjs.KindMap, "a": yjs.KindArray}, nil)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := d.Delta("t", nil)
	if err != nil {
		t.Fatal(err)
	}
	x, err := d.XML("x", yjs.KindXMLFragment, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + string(delta) + x
}

// run applies edits, given as the inside of a list, to a sample.
func run(t testing.TB, ops string) (d *yjs.Document, update []byte, found []Found, err error) {
	t.Helper()
	d = sample(t)
	list, err := Parse([]byte(`{"ops":[` + ops + `]}`))
	if err != nil {
		return d, nil, nil, err
	}
	update, found, err = Apply(d, 2, list, always)
	return d, update, found, err
}

func TestEditsDoWhatTheySay(t *testing.T) {
	const para1 = `<paragraph>one <bold>two</bold> three</paragraph>`
	const para2 = `<paragraph align="left">four five<hardbreak></hardbreak>six</paragraph>`
	const rest = `<bulletlist><listitem><paragraph>item</paragraph></listitem></bulletlist><codeblock>a` + "\n" + `b</codeblock>`
	for _, c := range []struct{ name, ops, want string }{
		{"text is inserted with the marks at its place", `{"type":"text","name":"t","op":"insert","index":3,"text":"L"}`, `{"insert":"lLlo","attributes":{"bold":true}}`},
		{"text is inserted with given marks", `{"type":"text","name":"t","op":"insert","index":0,"text":"X","attributes":{"italic":true}}`, `{"insert":"X","attributes":{"italic":true}}`},
		{"text is inserted without marks", `{"type":"text","name":"t","op":"insert","index":3,"text":"X","attributes":{}}`, `{"insert":"X"}`},
		{"text is deleted", `{"type":"text","name":"t","op":"delete","index":6,"length":3}`, `{"insert":" world"}`},
		{"text is appended", `{"type":"text","name":"t","op":"append","text":"!"}`, ` world!"}`},
		{"text is formatted", `{"type":"text","name":"t","op":"format","index":0,"length":1,"attributes":{"a":{"b":1}}}`, `{"insert":"h","attributes":{"a":{"b":1}}}`},
		{"a mark is removed", `{"type":"text","name":"t","op":"format","index":0,"length":9,"attributes":{"bold":null}}`, `[{"insert":"héllo 😀 world"}]`},
		{"a text is replaced across its marks", `{"type":"text","name":"t","op":"replace","find":"éllo","with":"allo"}`, `[{"insert":"ha"},{"insert":"llo","attributes":{"bold":true}}`},
		{"a marked word keeps its mark when it is replaced", `{"type":"text","name":"t","op":"replace","find":"llo","with":"nry"}`, `{"insert":"nry","attributes":{"bold":true}}`},
		{"all matches are replaced", `{"type":"text","name":"t","op":"replace","find":"o","with":"00","all":true}`, `{"insert":" 😀 w00rld"}`},
		{"a nested text by its key", `{"type":"text","name":"m","path":["text"],"op":"append","text":" text"}`, `"text":"inner text"`},
		{"a nested array by its key", `{"type":"array","name":"m","path":["list"],"op":"insert","index":1,"values":[{"x":null}]}`, `"list":[1,{"x":null},2]`},
		{"a nested map by its key", `{"type":"map","name":"m","path":["map"],"op":"set","key":"n","value":0.5}`, `"map":{"k":"v","n":0.5}`},
		{"a nested text by its index", `{"type":"text","name":"a","path":[1],"op":"insert","index":0,"text":"X"}`, `["v","Xin a",true]`},
		{"a key is set over another value", `{"type":"map","name":"m","op":"set","key":"value","value":[]}`, `"value":[]`},
		{"a key is removed", `{"type":"map","name":"m","op":"unset","key":"text"}`, `"m":{"list":[1,2],"map":{"k":"v"},"value":"plain"}`},
		{"values are pushed", `{"type":"array","name":"a","op":"push","values":[null,"z"]}`, `["v","in a",true,null,"z"]`},
		{"elements are deleted", `{"type":"array","name":"a","op":"delete","index":0,"length":2}`, `"a":[true]`},
		{"the text of a paragraph by its path", `{"type":"text","name":"x","path":[0,0],"op":"append","text":"!"}`, `<paragraph>one <bold>two</bold> three!</paragraph>`},
		{"an element's attributes", `{"type":"xml","name":"x","path":[1],"op":"attributes","attributes":{"align":null,"dir":"ltr"}}`, `<paragraph dir="ltr">four`},
		{"nodes are deleted", `{"type":"xml","name":"x","op":"delete","index":0,"length":2}`, `}]` + rest},
		{"nodes are inserted", `{"type":"xml","name":"x","op":"insert","index":1,"markdown":"*new*"}`, para1 + `<paragraph><italic>new</italic></paragraph>` + para2},
		{"nodes are put into an element", `{"type":"xml","name":"x","path":[2,0],"op":"append","markdown":"more"}`, `<listitem><paragraph>item</paragraph><paragraph>more</paragraph></listitem>`},

		{"a text of XML is replaced across its marks", `{"type":"xml","name":"x","op":"replace","find":"one two three","with":"one 2 three"}`, `<paragraph>one <bold>2</bold> three</paragraph>` + para2},
		{"a text of XML is replaced across its nodes", `{"type":"xml","name":"x","op":"replace","find":"four five","with":"45"}`, `<paragraph align="left">45<hardbreak>`},
		{"a text is replaced across a line break, which stays", `{"type":"xml","name":"x","op":"replace","find":"five\nsix","with":"5\n6"}`, `four 5<hardbreak></hardbreak>6</paragraph>`},
		{"a line break is replaced", `{"type":"xml","name":"x","op":"replace","find":"five\nsix","with":"five six"}`, `four five six</paragraph>`},
		{"a text is replaced across paragraphs, which stay", `{"type":"xml","name":"x","op":"replace","find":"three\nfour","with":"3\n4"}`, `<bold>two</bold> 3</paragraph><paragraph align="left">4 five`},
		{"two paragraphs become one", `{"type":"xml","name":"x","op":"replace","find":"three\nfour","with":"3 4"}`, `<paragraph>one <bold>two</bold> 3 4 five<hardbreak></hardbreak>six</paragraph>` + rest},
		{"one paragraph becomes three", `{"type":"xml","name":"x","op":"replace","find":"two","with":"2\nzwei\ndue"}`, `<paragraph>one <bold>2</bold></paragraph><paragraph><bold>zwei</bold></paragraph><paragraph><bold>due</bold> three</paragraph>` + para2},
		{"a paragraph is split with what stands behind its text", `{"type":"xml","name":"x","op":"replace","find":"four ","with":"four\n"}`, `<paragraph align="left">four</paragraph><paragraph align="left">five<hardbreak></hardbreak>six</paragraph>`},
		{"code keeps its lines to itself", `{"type":"xml","name":"x","op":"replace","find":"a\nb","with":"a\nx\nb"}`, "<codeblock>a\nx\nb</codeblock>"},
		{"a list item and what is around it", `{"type":"xml","name":"x","op":"replace","find":"six\nitem\na","with":"6\nthing\nA"}`, `6</paragraph><bulletlist><listitem><paragraph>thing</paragraph></listitem></bulletlist><codeblock>A` + "\nb"},
	} {
		d, update, _, err := run(t, c.ops)
		if err != nil || update == nil {
			t.Errorf("%s: update of %d bytes, %v", c.name, len(update), err)
			continue
		}
		got := look(t, d)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got\n%s\nwithout\n%s", c.name, got, c.want)
		}
		other := sample(t)
		if err := other.Apply(update); err != nil || look(t, other) != got {
			t.Errorf("%s: the update makes of another replica %s, %v", c.name, look(t, other), err)
		}
	}
}

func TestAReplaceSaysWhatItFound(t *testing.T) {
	_, _, found, err := run(t, `{"type":"text","name":"t","op":"append","text":"."},{"type":"xml","name":"x","op":"replace","find":"i","with":"I","all":true}`)
	if err != nil || len(found) != 1 || found[0].Op != 1 || found[0].Count != 3 {
		t.Fatalf("found %+v, %v; want three matches of edit 1", found, err)
	}
	var places []string
	for _, m := range found[0].Matches {
		places = append(places, fmt.Sprint(m.Path, m.Index, m.Length))
	}
	if got := strings.Join(places, "; "); got != "[1 1] 1 1; [1 3] 1 1; [2 0 0 0] 0 1" {
		t.Errorf("matches at %s", got)
	}
}

func TestAReplaceLeavesTheRestToItsAuthors(t *testing.T) {
	d, _, _, err := run(t, `{"type":"text","name":"t","op":"replace","find":"héllo 😀 world","with":"héllo 😁 world"}`)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := d.Runs("t", nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs := ""
	for _, r := range runs {
		if r.Client == 2 {
			theirs += r.Text
		}
	}
	if theirs != "😁" {
		t.Errorf("the edit wrote %q, want the one character that differs", theirs)
	}
}

func TestMarkdownBecomesTheNodesOfTiptap(t *testing.T) {
	for _, c := range []struct{ markdown, want string }{
		{"# One\n\ntext", `<heading level="1">One</heading><paragraph>text</paragraph>`},
		{"a *b* **c** ~~d~~ `e`", `<paragraph>a <italic>b</italic> <bold>c</bold> <strike>d</strike> <code>e</code></paragraph>`},
		{"***both***", `<paragraph><bold><italic>both</italic></bold></paragraph>`},
		{"[x](https://a.b/c \"t\") <https://d.e>", `<paragraph><link href="https://a.b/c" title="t">x</link> <link href="https://d.e">https://d.e</link></paragraph>`},
		{"[x](javascript:alert(1))", `<paragraph>x</paragraph>`},
		{"![alt](i.png)", `<paragraph><image alt="alt" src="i.png"></image></paragraph>`},
		{"- a\n- b\n  1. c", `<bulletlist><listitem><paragraph>a</paragraph></listitem><listitem><paragraph>b</paragraph><orderedlist><listitem><paragraph>c</paragraph></listitem></orderedlist></listitem></bulletlist>`},
		{"3. c", `<orderedlist start="3"><listitem><paragraph>c</paragraph></listitem></orderedlist>`},
		{"- [x] done\n- [ ] open", `<tasklist><taskitem checked="true"><paragraph>done</paragraph></taskitem><taskitem checked="false"><paragraph>open</paragraph></taskitem></tasklist>`},
		{"> q", `<blockquote><paragraph>q</paragraph></blockquote>`},
		{"```go\na\n\nb\n```", "<codeblock language=\"go\">a\n\nb</codeblock>"},
		{"a\\\nb", `<paragraph>a<hardbreak></hardbreak>b</paragraph>`},
		{"a\nb", `<paragraph>a b</paragraph>`},
		{"---", `<horizontalrule></horizontalrule>`},
		{"|a|b|\n|-|-|\n|1|2|", `<table><tablerow><tableheader><paragraph>a</paragraph></tableheader><tableheader><paragraph>b</paragraph></tableheader></tablerow><tablerow><tablecell><paragraph>1</paragraph></tablecell><tablecell><paragraph>2</paragraph></tablecell></tablerow></table>`},
		{"&lt;b&gt; \\*no\\*", `<paragraph><b> *no*</paragraph>`},
		{"<b>html</b>", `<paragraph><b>html</b></paragraph>`},
	} {
		d := yjs.NewDocument(yjs.DocumentOptions{})
		ops, err := Parse([]byte(fmt.Sprintf(`{"ops":[{"type":"xml","name":"x","op":"append","markdown":%q}]}`, c.markdown)))
		if err != nil {
			t.Fatalf("%q: %v", c.markdown, err)
		}
		if _, _, err := Apply(d, 1, ops, always); err != nil {
			t.Errorf("%q: %v", c.markdown, err)
		}
		if got, err := d.XML("x", yjs.KindXMLFragment, nil); err != nil || got != c.want {
			t.Errorf("%q became\n%s, want\n%s (%v)", c.markdown, got, c.want, err)
		}
	}
}

func TestMarkdownTakesTheNamesThatTheDocumentHas(t *testing.T) {
	d := yjs.NewDocument(yjs.DocumentOptions{})
	if _, err := d.Edit(1, func(tx *yjs.Tx) error { return tx.XML("x").Insert(0, yjs.NewXMLElement("bullet_list", nil)) }); err != nil {
		t.Fatal(err)
	}
	ops, err := Parse([]byte(`{"ops":[{"type":"xml","name":"x","op":"append","markdown":"- **a**"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Apply(d, 2, ops, always); err != nil {
		t.Fatal(err)
	}
	if got, _ := d.XML("x", yjs.KindXMLFragment, nil); got != `<bullet_list></bullet_list><bullet_list><list_item><paragraph><strong>a</strong></paragraph></list_item></bullet_list>` {
		t.Errorf("became %s", got)
	}
}

// Each field of each edit is given each wrong type, and left out; each index each wrong range; each path each wrong step.
func TestABadEditIsRefusedWithItsPlaceAndChangesNothing(t *testing.T) {
	good := map[string]string{"index": "0", "length": "1", "text": `"x"`, "attributes": `{"a":1}`, "find": `"l"`, "with": `"x"`, "all": "true",
		"key": `"k"`, "value": "1", "values": "[1]", "markdown": `"x"`}
	wrong := map[string][]string{
		"index": {"-1", "1.5", `"0"`, "null", "true", "[]", "{}", "1e99", "2147483648"}, "length": {"-1", "0.1", `"1"`, "null", "[]", "1e99"},
		"text": {"1", "null", "[]", "{}", "true"}, "find": {"1", "null", "[]", `""`}, "with": {"1", "null", "{}"}, "all": {"1", `"true"`, "null"},
		"attributes": {"1", `"a"`, "[]", "null", "true"}, "key": {"1", "null", "[]"}, "values": {"1", `"a"`, "{}", "null"}, "markdown": {"1", "null", "[]"},
	}
	roots := map[string]string{"text": "t", "map": "m", "array": "a", "xml": "x"}
	type bad struct{ op, field, code string }
	var list []bad
	for kind, ops := range forms {
		for op, f := range ops {
			edit := func(change map[string]string) string {
				parts := []string{fmt.Sprintf(`"type":%q,"name":%q,"op":%q`, kind, roots[kind], op)}
				if op == "attributes" && change["path"] == "" {
					parts = append(parts, `"path":[0]`)
				}
				for _, field := range f.must {
					if v, ok := change[field]; !ok {
						parts = append(parts, fmt.Sprintf("%q:%s", field, good[field]))
					} else if v != "" {
						parts = append(parts, fmt.Sprintf("%q:%s", field, v))
					}
				}
				for field, v := range change {
					if v != "" && !strings.Contains(strings.Join(f.must, " "), field) {
						parts = append(parts, fmt.Sprintf("%q:%s", field, v))
					}
				}
				return "{" + strings.Join(parts, ",") + "}"
			}
			for _, field := range append(append([]string{}, f.must...), f.may...) {
				for _, v := range wrong[field] {
					list = append(list, bad{edit(map[string]string{field: v}), field, ""})
				}
			}
			for _, field := range f.must {
				list = append(list, bad{edit(map[string]string{field: ""}), field, "bad-edit"})
				switch field {
				case "index":
					list = append(list, bad{edit(map[string]string{"index": "5000"}), "index", "out-of-range"})
				case "length":
					list = append(list, bad{edit(map[string]string{"length": "5000"}), "length", "out-of-range"})
				}
			}
			for _, path := range []string{"1", `"a"`, "null", "{}"} {
				list = append(list, bad{edit(map[string]string{"path": path}), "path", "wrong-type"})
			}
			list = append(list,
				bad{edit(map[string]string{"path": "[null]"}), "path[0]", "wrong-type"},
				bad{edit(map[string]string{"path": "[-1]"}), "path[0]", "wrong-type"},
				bad{edit(map[string]string{"path": `["nowhere"]`}), "path[0]", "no-such-path"},
				bad{edit(map[string]string{"path": `[99]`}), "path[0]", "no-such-path"},
				bad{edit(map[string]string{"path": "[" + strings.Repeat("0,", 256) + "0]"}), "path", "bad-edit"},
				bad{edit(map[string]string{"more": "1"}), "more", "bad-edit"})
			for other, name := range roots { // each kind of type where another is wanted
				if other != kind {
					e := strings.Replace(edit(nil), fmt.Sprintf(`"name":%q`, roots[kind]), fmt.Sprintf(`"name":%q`, name), 1)
					list = append(list, bad{strings.Replace(e, `"path":[0]`, `"path":[]`, 1), "type", "wrong-kind"})
				}
			}
		}
	}
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	list = append(list,
		bad{`1`, "", "wrong-type"}, bad{`null`, "", "wrong-type"}, bad{`[]`, "", "wrong-type"}, bad{`{}`, "type", "bad-edit"},
		bad{`{"type":"tree","name":"t","op":"append"}`, "type", "bad-edit"}, bad{`{"type":1,"name":"t","op":"append"}`, "type", "wrong-type"},
		bad{`{"type":"text","op":"append","text":"x"}`, "name", "bad-edit"}, bad{`{"type":"text","name":null,"op":"append","text":"x"}`, "name", "wrong-type"},
		bad{`{"type":"text","name":"t","op":"push","values":[1]}`, "op", "bad-edit"}, bad{`{"type":"text","name":"t","text":"x"}`, "op", "bad-edit"},
		bad{`{"type":"text","name":"t","op":"insert","index":7,"text":"x"}`, "index", "inside-character"},
		bad{`{"type":"text","name":"t","op":"replace","find":"nowhere","with":""}`, "find", "no-match"},
		bad{`{"type":"text","name":"t","op":"format","index":0,"length":1,"attributes":{}}`, "attributes", "bad-edit"},
		bad{`{"type":"map","name":"m","path":["value"],"op":"set","key":"k","value":1}`, "path[0]", "no-such-path"},
		bad{`{"type":"text","name":"m","path":["map"],"op":"append","text":"x"}`, "path", "wrong-kind"},
		bad{`{"type":"map","name":"m","op":"set","key":"k","value":` + deep + `}`, "value", "cannot-insert"},
		bad{`{"type":"map","name":"m","op":"set","key":"k","value":1e999}`, "value", "cannot-insert"},
		bad{`{"type":"array","name":"a","op":"push","values":[` + deep + `]}`, "values", "cannot-insert"},
		bad{`{"type":"xml","name":"x","op":"attributes","attributes":{"a":1}}`, "type", "wrong-kind"},
		bad{`{"type":"xml","name":"x","op":"replace","find":"six\nitem","with":"one"}`, "with", "cannot-join"},
	)
	before := look(t, sample(t))
	for _, c := range list {
		if c.code == "wrong-kind" && strings.Contains(c.op, `"xml"`) && strings.Contains(c.op, `"name":"t"`) && strings.Contains(c.op, `"replace"`) {
			continue // a text is read as one of XML
		}
		d, update, _, err := run(t, c.op)
		var e *Error
		if !errors.As(err, &e) || e.Op != 0 || c.code != "" && e.Code != c.code || e.Field != c.field && !(c.field == "length" && e.Field == "index") {
			t.Errorf("%.200s = %v, want %s at ops[0].%s", c.op, err, c.code, c.field)
			continue
		}
		if e.Code == "out-of-range" && e.Length < 0 {
			t.Errorf("%s: no length in %+v", c.op, e)
		}
		if update == nil && look(t, d) != before {
			t.Errorf("%.200s changed the document and does not say so", c.op)
		}
	}
	if len(list) < 250 {
		t.Errorf("%d bad edits, want hundreds", len(list))
	}
}

func TestARequestIsBoundInMatchesAndEndsWithItsTime(t *testing.T) {
	replaces := strings.Repeat(`{"type":"text","name":"t","op":"replace","find":"l","with":"l","all":true},`, maxMatches/3+1)
	_, _, _, err := run(t, strings.TrimSuffix(replaces, ","))
	var e *Error
	if !errors.As(err, &e) || e.Code != "too-many-matches" || e.Op != maxMatches/3 {
		t.Errorf("one match too many = %v, want too-many-matches of the last edit", err)
	}
	late := errors.New("late")
	ops, err := Parse([]byte(`{"ops":[{"type":"text","name":"t","op":"append","text":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if update, _, err := Apply(sample(t), 2, ops, func() error { return late }); update != nil || !errors.Is(err, late) {
		t.Errorf("after its time: update of %d bytes, %v; want none", len(update), err)
	}
}

func TestABodyThatIsNoListOfEditsIsMalformed(t *testing.T) {
	for _, body := range []string{"", "null", "1", "[]", "{}", `{"ops":1}`, `{"ops":{}}`, `{"ops":[]}`, `{"ops":null}`, `{"ops":[1]`, `{"ops":[{}]} x`, `{"ops":[{}],"more":1}`, "{\"ops\":[\"\xff\"]}",
		`{"ops":[` + strings.Repeat("1,", maxOps) + `1]}`} {
		_, err := Parse([]byte(body))
		var e *Error
		if !errors.As(err, &e) || e.Op != -1 || e.Code != "malformed" {
			t.Errorf("%.40q = %v, want malformed", body, err)
		}
	}
}

// Whatever the body, the document stays one: the update makes of another replica the same, and nothing panics.
func FuzzEdits(f *testing.F) {
	for _, op := range []string{
		`{"type":"text","name":"t","op":"insert","index":3,"text":"L","attributes":{"b":null}}`,
		`{"type":"text","name":"t","op":"replace","find":"o","with":"00","all":true}`,
		`{"type":"text","name":"x","path":[0,0],"op":"format","index":1,"length":4,"attributes":{"bold":{}}}`,
		`{"type":"map","name":"m","path":["map"],"op":"set","key":"n","value":[1,{"a":"b"}]}`,
		`{"type":"array","name":"m","path":["list"],"op":"insert","index":1,"values":[{"x":null}]}`,
		`{"type":"xml","name":"x","op":"replace","find":"three\nfour","with":"3 4"},{"type":"xml","name":"x","op":"replace","find":"3","with":"1\n2\n3","all":true}`,
		`{"type":"xml","name":"x","op":"replace","find":"five\nsix","with":"a\nb\nc"},{"type":"xml","name":"x","op":"delete","index":0,"length":1}`,
		`{"type":"xml","name":"x","op":"insert","index":1,"markdown":"# a\n\n- b\n  1. *c*\n\n|d|\n|-|\n|e|\n\n` + "```" + `\nf"}`,
		`{"type":"xml","name":"x","path":[1],"op":"attributes","attributes":{"align":null}}`,
	} {
		f.Add([]byte(`{"ops":[` + op + `]}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ops, err := Parse(body)
		if err != nil {
			return
		}
		d := sample(t)
		before := d.Encode(nil)
		update, _, err := Apply(d, 2, ops, always)
		if err != nil {
			if update == nil && !bytes.Equal(before, d.Encode(nil)) {
				t.Fatal("a refused edit changed the document and does not say so")
			}
			return
		}
		if update == nil {
			return
		}
		other := sample(t)
		if err := other.Apply(update); err != nil {
			t.Fatalf("the update %x does not apply: %v", update, err)
		}
		if got, want := look(t, other), look(t, d); got != want {
			t.Fatalf("the other replica has\n%s, this one\n%s", got, want)
		}
	})
}
