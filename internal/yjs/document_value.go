package yjs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Undefined is JavaScript's undefined as a value.
type Undefined struct{}

// SubDoc is a sub-document as a value: a separate document with its own GUID.
type SubDoc struct {
	GUID     string
	AutoLoad bool
	Meta     any // nil: none
}

// NewType is a shared type to insert into a document. Each insertion creates a separate type.
type NewType struct {
	kind     Kind
	name     string
	text     string
	marks    map[string]any
	runs     []NewRun // behind text
	children []any
	entries  map[string]any
}

// NewText returns a text. attributes are the marks on all of it, or nil.
func NewText(text string, attributes map[string]any) *NewType {
	return &NewType{kind: KindText, text: text, marks: attributes}
}

// NewArray returns an array. See [Array.Insert] for the types of values.
func NewArray(values ...any) *NewType { return &NewType{kind: KindArray, children: values} }

// NewMap returns a map.
func NewMap(entries map[string]any) *NewType { return &NewType{kind: KindMap, entries: entries} }

// NewXMLElement returns an element with attributes, which may be nil, and child nodes.
func NewXMLElement(name string, attributes map[string]any, nodes ...*NewType) *NewType {
	n := &NewType{kind: KindXMLElement, name: name, entries: attributes}
	for _, c := range nodes {
		n.children = append(n.children, c)
	}
	return n
}

// NewXMLText returns a text node. attributes are the marks on all of it, or nil.
func NewXMLText(text string, attributes map[string]any) *NewType {
	return &NewType{kind: KindXMLText, text: text, marks: attributes}
}

// NewRun is a piece of text with its marks, which may be nil.
type NewRun struct {
	Text       string
	Attributes map[string]any
}

// NewXMLTextRuns returns a text node with marks of its pieces.
func NewXMLTextRuns(runs ...NewRun) *NewType { return &NewType{kind: KindXMLText, runs: runs} }

// NewXMLHook returns a hook: a named map among XML nodes.
func NewXMLHook(name string, entries map[string]any) *NewType {
	return &NewType{kind: KindXMLHook, name: name, entries: entries}
}

// newContent is encoded content, ready to be inserted.
type newContent struct {
	ref    byte
	data   []byte
	length uint64
	shared *newFill
}

// newFill is the checked content of a NewType.
type newFill struct {
	kind     Kind
	text     string
	marks    []docMark
	runs     []newRun // behind text
	children []newContent
	entries  []newEntry
}

type newRun struct {
	text  string
	marks []docMark
}

type newEntry struct {
	key   string
	value newContent
}

// maxNewDepth bounds the nesting of written values, so that every reader can read them.
const maxNewDepth = 256

// contents encodes values; adjacent plain values share one content.
func contents(values []any) ([]newContent, error) { return contentsAt(values, 0) }

func contentsAt(values []any, depth int) ([]newContent, error) {
	if depth > maxNewDepth {
		return nil, fmt.Errorf("%w: values nest deeper than %d", ErrKind, maxNewDepth)
	}
	var list []newContent
	for _, v := range values {
		switch v := v.(type) {
		case []byte:
			list = append(list, newContent{ref: RefBinary, data: slices.Clone(v), length: 1})
		case SubDoc:
			if err := checkString(v.GUID); err != nil {
				return nil, err
			}
			opts := map[string]any{}
			if v.AutoLoad {
				opts["autoLoad"] = true
			}
			if v.Meta != nil {
				opts["meta"] = v.Meta
			}
			data, err := appendAny(AppendVarString(nil, v.GUID), opts, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, newContent{ref: RefDoc, data: data, length: 1})
		case *NewType:
			c, err := v.content(depth)
			if err != nil {
				return nil, err
			}
			list = append(list, c)
		default:
			if n := len(list); n == 0 || list[n-1].ref != RefAny {
				list = append(list, newContent{ref: RefAny})
			}
			last := &list[len(list)-1]
			var err error
			if last.data, err = appendAny(last.data, v, depth+1); err != nil {
				return nil, err
			}
			last.length++
		}
	}
	return list, nil
}

// content checks and encodes a type with everything inside it.
func (n *NewType) content(depth int) (newContent, error) {
	if n == nil {
		return newContent{}, fmt.Errorf("%w: no type", ErrKind)
	}
	f := &newFill{kind: n.kind, text: n.text}
	for _, s := range []string{n.name, n.text} {
		if err := checkString(s); err != nil {
			return newContent{}, err
		}
	}
	var err error
	if f.marks, err = marksOf(n.marks); err != nil {
		return newContent{}, err
	}
	for _, r := range n.runs {
		if err := checkString(r.Text); err != nil {
			return newContent{}, err
		}
		marks, err := marksOf(r.Attributes)
		if err != nil {
			return newContent{}, err
		}
		if r.Text != "" {
			f.runs = append(f.runs, newRun{r.Text, marks})
		}
	}
	if f.children, err = contentsAt(n.children, depth+1); err != nil {
		return newContent{}, err
	}
	for _, key := range slices.Sorted(maps.Keys(n.entries)) {
		if err := checkString(key); err != nil {
			return newContent{}, err
		}
		list, err := contentsAt([]any{n.entries[key]}, depth+1)
		if err != nil {
			return newContent{}, err
		}
		f.entries = append(f.entries, newEntry{key, list[0]})
	}
	data := AppendUvarint(nil, n.kind.wire())
	if n.kind == KindXMLElement || n.kind == KindXMLHook {
		data = AppendVarString(data, n.name)
	}
	return newContent{ref: RefType, data: data, length: 1, shared: f}, nil
}

// size returns an upper bound of the clocks that contents take.
func size(list []newContent) (n int) {
	for _, c := range list {
		n += int(c.length)
		if f := c.shared; f != nil {
			n += len(f.text) + 2*len(f.marks) + size(f.children)
			for _, r := range f.runs {
				n += len(r.text) + 4*len(r.marks)
			}
			for _, e := range f.entries {
				n += size([]newContent{e.value})
			}
		}
	}
	return n
}

// fill inserts the content of a new type into it.
func (tx *Tx) fill(it *docItem, f *newFill) {
	if f == nil || it.typ == nil {
		return
	}
	s := Shared{tx, it.typ}
	p := docPlace{}
	if f.text != "" {
		p = s.insertText(p, newContent{ref: RefString, data: []byte(f.text), length: wtf16Len([]byte(f.text))}, f.marks, false)
	}
	for _, r := range f.runs {
		p = s.insertText(p, newContent{ref: RefString, data: []byte(r.text), length: wtf16Len([]byte(r.text))}, slices.Clone(r.marks), false)
	}
	var left *docItem
	for _, c := range f.children {
		left = tx.insert(s.t, nil, left, nil, c.ref, c.data, c.length)
		for left.end() < tx.c.next {
			left = left.right
		}
		tx.fill(left, c.shared)
	}
	for _, e := range f.entries {
		v := tx.insert(s.t, s.t.entry([]byte(e.key), true), nil, nil, e.value.ref, e.value.data, 1)
		tx.fill(v, e.value.shared)
	}
}

func checkString(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: text is not UTF-8", ErrKind)
	}
	return nil
}

// marksOf converts attributes to marks, sorted by key. A nil value ends a mark.
func marksOf(attributes map[string]any) ([]docMark, error) {
	var marks []docMark
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		if err := checkString(key); err != nil {
			return nil, err
		}
		value, err := jsonOf(attributes[key])
		if err != nil {
			return nil, err
		}
		marks = append(marks, docMark{key, value})
	}
	return marks, nil
}

// jsonOf encodes a value as JSON, for embeds and formats.
func jsonOf(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKind, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// appendAny appends a value as lib0's writeAny does. Object keys are in ascending order. It is longer than 80 lines because
// it is one table: a case for each Go type.
func appendAny(dst []byte, v any, depth int) ([]byte, error) {
	if depth > maxNewDepth {
		return nil, fmt.Errorf("%w: values nest deeper than %d", ErrKind, maxNewDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(dst, anyNull), nil
	case Undefined:
		return append(dst, anyUndefined), nil
	case bool:
		if v {
			return append(dst, anyTrue), nil
		}
		return append(dst, anyFalse), nil
	case string:
		if err := checkString(v); err != nil {
			return nil, err
		}
		return AppendVarString(append(dst, anyString), v), nil
	case []byte:
		return AppendVarBytes(append(dst, anyBytes), v), nil
	case int:
		return appendInt(dst, int64(v)), nil
	case int8:
		return appendInt(dst, int64(v)), nil
	case int16:
		return appendInt(dst, int64(v)), nil
	case int32:
		return appendInt(dst, int64(v)), nil
	case int64:
		return appendInt(dst, v), nil
	case uint8:
		return appendInt(dst, int64(v)), nil
	case uint16:
		return appendInt(dst, int64(v)), nil
	case uint32:
		return appendInt(dst, int64(v)), nil
	case uint:
		return appendUint(dst, uint64(v)), nil
	case uint64:
		return appendUint(dst, v), nil
	case float32:
		return appendNumber(dst, float64(v)), nil
	case float64:
		return appendNumber(dst, v), nil
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrKind, err)
		}
		return appendNumber(dst, f), nil
	case json.RawMessage:
		d := json.NewDecoder(bytes.NewReader(v))
		d.UseNumber()
		var x any
		if err := d.Decode(&x); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrKind, err)
		}
		if d.More() {
			return nil, fmt.Errorf("%w: more than one JSON value", ErrKind)
		}
		return appendAny(dst, x, depth)
	case []any:
		dst = AppendUvarint(append(dst, anyArray), uint64(len(v)))
		var err error
		for _, x := range v {
			if dst, err = appendAny(dst, x, depth+1); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case map[string]any:
		dst = AppendUvarint(append(dst, anyObject), uint64(len(v)))
		var err error
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err = checkString(key); err != nil {
				return nil, err
			}
			dst = AppendVarString(dst, key)
			if dst, err = appendAny(dst, v[key], depth+1); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	return nil, fmt.Errorf("%w: a value of Go type %s", ErrKind, strings.TrimPrefix(fmt.Sprintf("%T", v), "*"))
}

// appendInt appends an integer: as a number where JavaScript holds it exactly, else as a bigint.
func appendInt(dst []byte, n int64) []byte {
	if n > MaxSafe || n < -MaxSafe {
		return binary.BigEndian.AppendUint64(append(dst, anyBigint), uint64(n))
	}
	return appendNumber(dst, float64(n))
}

func appendUint(dst []byte, n uint64) []byte {
	if n > math.MaxInt64 {
		return appendNumber(dst, float64(n))
	}
	return appendInt(dst, int64(n))
}

// appendNumber appends a JavaScript number in the shortest of lib0's forms.
func appendNumber(dst []byte, f float64) []byte {
	switch {
	case f == math.Trunc(f) && math.Abs(f) <= math.MaxInt32:
		return appendVarint(append(dst, anyInteger), uint64(math.Abs(f)), math.Signbit(f))
	case float64(float32(f)) == f:
		return binary.BigEndian.AppendUint32(append(dst, anyFloat32), math.Float32bits(float32(f)))
	}
	return binary.BigEndian.AppendUint64(append(dst, anyFloat64), math.Float64bits(f))
}
