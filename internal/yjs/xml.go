package yjs

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// XML returns the markup of a root that is a fragment, an element or a text (KindXMLText), exactly as Yjs's toString does:
// attributes sorted, nothing escaped, values converted to strings as in JavaScript. It is meant for reading and comparing,
// not for a browser. The error is ErrTooDeep, or one of the budget.
func (d *Document) XML(name string, kind Kind, b *Budget) (string, error) {
	t := d.roots[name]
	if t == nil {
		t = &docType{name: name}
	}
	if kind == KindAuto {
		kind = KindXMLFragment
	}
	w := xmlWriter{budget: b}
	w.shared(t, kind)
	return string(w.dst), w.err
}

// xmlWriter appends types and values as JavaScript's toString does. The first error sticks.
type xmlWriter struct {
	dst    []byte
	depth  int
	err    error
	before int // bytes of output that stand before dst
	budget *Budget
}

// spend adds work to the budget; false stops the output.
func (w *xmlWriter) spend(work int) bool {
	if w.err == nil {
		w.err = w.budget.spend(work+1, w.before+len(w.dst))
	}
	return w.err == nil
}

const jsObject = "[object Object]"

// rootElement is the node name of an element that is a root: nothing on the wire names it.
const rootElement = "undefined"

func (w *xmlWriter) str(s string) { w.dst = append(w.dst, s...) }

func (w *xmlWriter) enter() bool {
	if w.depth >= maxReadDepth {
		w.err = ErrTooDeep
	}
	w.depth++
	return w.err == nil
}

// shared writes a shared type.
func (w *xmlWriter) shared(t *docType, kind Kind) {
	if !w.enter() {
		return
	}
	defer func() { w.depth-- }()
	switch t.asKind(kind) {
	case KindText:
		w.dst = t.text(w.dst)
	case KindXMLText:
		w.markup(t)
	case KindXMLFragment:
		if t.item == nil || !t.hasValues() {
			w.children(t)
			return
		}
		w.element(t, "") // a type without a name of Yjs 14, which may have attributes, is written as Yjs 14 writes it
	case KindXMLElement:
		name := rootElement
		if t.item != nil {
			name = lowerCase(t.name)
		}
		w.element(t, name)
	default: // arrays, maps and hooks
		w.str(jsObject)
	}
}

// element writes a type with its attributes, those sorted by name.
func (w *xmlWriter) element(t *docType, name string) {
	w.str("<" + name)
	entries := slices.Clone(t.entries)
	slices.SortFunc(entries, func(a, b *docEntry) int { return compareUTF16(a.key, b.key) })
	for _, e := range entries {
		if it := e.value(); it != nil && w.spend(len(it.data)) {
			w.str(" " + e.key + `="`)
			w.lastUnit(it)
			w.str(`"`)
		}
	}
	w.str(">")
	w.children(t)
	w.str("</" + name + ">")
}

// hasValues reports whether a key of the type has a value.
func (t *docType) hasValues() bool {
	return slices.ContainsFunc(t.entries, func(e *docEntry) bool { return e.value() != nil })
}

func (w *xmlWriter) children(t *docType) {
	for it := t.start; it != nil && w.spend(0); it = it.right {
		if !it.visible() {
			continue
		}
		switch it.ref {
		case RefString:
			w.dst = append(w.dst, it.data...)
		case RefAny:
			for p := it.data; len(p) > 0 && w.spend(0); {
				p = w.any(p, true)
			}
		case RefJSON:
			c := cursor{b: it.data}
			for c.left() > 0 {
				w.json(c.bytes(), true)
			}
		default:
			w.lastUnit(it)
		}
	}
}

// lastUnit writes the last unit of an item.
func (w *xmlWriter) lastUnit(it *docItem) {
	switch it.ref {
	case RefAny:
		w.any(it.lastData(), false)
	case RefJSON:
		c := cursor{b: it.lastData()}
		w.json(c.bytes(), false)
	case RefString:
		r, n := utf8.DecodeLastRune(it.data)
		if r > 0xffff {
			w.str(replacement)
		} else {
			w.dst = append(w.dst, it.data[len(it.data)-n:]...)
		}
	case RefBinary:
		w.bytes(it.data)
	case RefEmbed:
		w.json(it.data, false)
	case RefType:
		w.shared(it.typ, it.typ.kind)
	case RefDoc:
		w.str(jsObject)
	default:
		w.str("undefined")
	}
}

// markup writes an XML text: every mark is an element around the piece it holds for, by name, its value's properties the
// attributes.
func (w *xmlWriter) markup(t *docType) {
	t.eachInsert(func(text []byte, it *docItem, marks []docMark) bool {
		sorted := slices.Clone(marks)
		slices.SortFunc(sorted, func(a, b docMark) int { return compareUTF16(a.key, b.key) })
		for _, m := range sorted {
			if !w.spend(2*len(m.key) + len(m.value)) {
				return false
			}
			w.str("<" + m.key)
			w.markAttributes(m.value)
			w.str(">")
		}
		if it == nil {
			w.dst = append(w.dst, text...)
		} else {
			w.lastUnit(it)
		}
		if !w.spend(len(text)) {
			return false
		}
		for i := len(sorted) - 1; i >= 0; i-- {
			w.str("</" + sorted[i].key + ">")
			if !w.spend(0) {
				return false
			}
		}
		return true
	})
}

// markAttributes writes the properties of a mark's value, as JavaScript's for-in finds them: of objects and arrays, and of
// strings their characters.
func (w *xmlWriter) markAttributes(value []byte) {
	if len(value) == 0 || value[0] != '{' && value[0] != '[' && value[0] != '"' {
		return
	}
	var v any
	if json.Unmarshal(value, &v) != nil {
		return
	}
	type attribute struct{ key, value string }
	var list []attribute
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			list = append(list, attribute{k, jsString(x)})
		}
	case []any:
		for i, x := range v {
			list = append(list, attribute{strconv.Itoa(i), jsString(x)})
		}
	case string:
		i := 0
		for _, r := range v {
			s := string(r)
			if r > 0xffff {
				list = append(list, attribute{strconv.Itoa(i), replacement})
				i++
				s = replacement
			}
			list = append(list, attribute{strconv.Itoa(i), s})
			i++
		}
	}
	slices.SortFunc(list, func(a, b attribute) int { return compareUTF16(a.key, b.key) })
	for _, a := range list {
		w.str(" " + a.key + `="` + a.value + `"`)
	}
}

// json writes a value given as JSON, or the bare word undefined. As a child, null and undefined are nothing.
func (w *xmlWriter) json(p []byte, child bool) {
	var v any
	if string(p) == "undefined" {
		if !child {
			w.str("undefined")
		}
		return
	}
	if json.Unmarshal(p, &v) != nil || child && v == nil {
		return
	}
	w.str(jsString(v))
}

// jsString returns String(v) for a value read from JSON.
func jsString(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return jsNumber(v)
	case string:
		return v
	case []any:
		var b strings.Builder
		for i, x := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if x != nil {
				b.WriteString(jsString(x))
			}
		}
		return b.String()
	}
	return jsObject
}

// jsNumber returns String(f).
func jsNumber(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return string(appendJSNumber(nil, f))
}

// any writes String of the first value of p and returns the bytes after it. null and undefined are empty inside an array and
// as a child.
func (w *xmlWriter) any(p []byte, inner bool) (rest []byte) {
	c := cursor{b: p}
	w.anyAt(&c, inner)
	return p[c.off:]
}

func (w *xmlWriter) anyAt(c *cursor, inner bool) {
	at := c.off
	switch tag := c.byte(); tag {
	case anyUndefined, anyNull:
		if !inner && tag == anyNull {
			w.str("null")
		} else if !inner {
			w.str("undefined")
		}
	case anyInteger, anyFloat32, anyFloat64:
		w.str(jsNumber(c.number(tag)))
	case anyBigint:
		w.dst = strconv.AppendInt(w.dst, c.bigint(), 10)
	case anyFalse:
		w.str("false")
	case anyTrue:
		w.str("true")
	case anyString:
		w.dst = append(w.dst, c.bytes()...)
	case anyBytes:
		w.bytes(c.bytes())
	case anyArray:
		if !w.enter() {
			c.fail(c.off, reasonDepth)
			return
		}
		n := c.uint()
		for i := uint64(0); i < n && c.err == nil && w.spend(0); i++ {
			if i > 0 {
				w.str(",")
			}
			w.anyAt(c, true)
		}
		w.depth--
	case anyObject:
		c.off = at
		c.skipAny(1)
		w.str(jsObject)
	}
}

// bytes writes a Uint8Array.
func (w *xmlWriter) bytes(p []byte) {
	for i, x := range p {
		if i > 0 {
			w.str(",")
		}
		w.dst = strconv.AppendUint(w.dst, uint64(x), 10)
	}
}

// compareUTF16 orders strings by UTF-16 code units, as JavaScript does.
func compareUTF16(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && (n < len(a) && !utf8.RuneStart(a[n]) || n < len(b) && !utf8.RuneStart(b[n])) {
		n--
	}
	if n == len(a) || n == len(b) {
		return len(a) - len(b)
	}
	x, _ := utf8.DecodeRuneInString(a[n:])
	y, _ := utf8.DecodeRuneInString(b[n:])
	return int(firstUnit(x)) - int(firstUnit(y)) + boolInt(firstUnit(x) == firstUnit(y))*(int(x)-int(y))
}

func firstUnit(r rune) rune {
	if r > 0xffff {
		return 0xd800 + (r-0x10000)>>10
	}
	return r
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lowerCase is JavaScript's toLowerCase, which differs from Go's in two letters.
func lowerCase(s string) string {
	if !strings.ContainsAny(s, "İΣ") {
		return strings.ToLower(s)
	}
	var b strings.Builder
	rs := []rune(s)
	for i, r := range rs {
		switch {
		case r == 'İ':
			b.WriteString("i\u0307")
		case r == 'Σ' && i > 0 && unicode.IsLetter(rs[i-1]) && (i+1 == len(rs) || !unicode.IsLetter(rs[i+1])):
			b.WriteRune('ς')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}
