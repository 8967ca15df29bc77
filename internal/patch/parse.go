package patch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxOps  = 10_000 // of one request
	maxPath = 256    // steps of one path
)

// Error is an edit that cannot be read or applied, and where in the request it stands.
type Error struct {
	Op      int    // index of the edit; -1: the request as a whole
	Field   string // of the edit; "": the edit as a whole
	Code    string // fixed: malformed, bad-edit, wrong-type, no-such-path, wrong-kind, out-of-range, inside-character, no-match, too-many-matches, cannot-join, cannot-insert
	Message string // a sentence
	Length  int    // of the list that the range is beyond; -1: no range is concerned
}

func (e *Error) Error() string {
	if e.Op < 0 {
		return e.Message
	}
	if e.Field == "" {
		return fmt.Sprintf("ops[%d]: %s", e.Op, e.Message)
	}
	return fmt.Sprintf("ops[%d].%s: %s", e.Op, e.Field, e.Message)
}

// Op is one checked edit.
type Op struct {
	Type, Op, Name string
	path           []any // of int and string
	index, length  int
	text, find     string
	with, key      string
	markdown       string
	all            bool
	attributes     map[string]any // nil: not given
	value          json.RawMessage
	values         []any // of json.RawMessage
}

// form is what an edit takes beside its place.
type form struct{ must, may []string }

var forms = map[string]map[string]form{
	"text": {
		"insert":  {[]string{"index", "text"}, []string{"attributes"}},
		"delete":  {[]string{"index", "length"}, nil},
		"append":  {[]string{"text"}, nil},
		"replace": {[]string{"find", "with"}, []string{"all"}},
		"format":  {[]string{"index", "length", "attributes"}, nil},
	},
	"map": {
		"set":   {[]string{"key", "value"}, nil},
		"unset": {[]string{"key"}, nil},
	},
	"array": {
		"insert": {[]string{"index", "values"}, nil},
		"delete": {[]string{"index", "length"}, nil},
		"push":   {[]string{"values"}, nil},
	},
	"xml": {
		"insert":     {[]string{"index", "markdown"}, nil},
		"append":     {[]string{"markdown"}, nil},
		"replace":    {[]string{"find", "with"}, []string{"all"}},
		"delete":     {[]string{"index", "length"}, nil},
		"attributes": {[]string{"attributes"}, nil},
	},
}

// Parse reads {"ops":[…]}. The error is an *Error.
func Parse(body []byte) ([]Op, error) {
	whole := func(format string, args ...any) error {
		return &Error{Op: -1, Code: "malformed", Message: fmt.Sprintf(format, args...), Length: -1}
	}
	if !utf8.Valid(body) {
		return nil, whole("the body is not UTF-8")
	}
	var in map[string]json.RawMessage
	if err := strictly(body, &in); err != nil {
		return nil, whole(`want JSON such as {"ops":[{"type":"text","name":"content","op":"append","text":"a line"}]}: %v`, err)
	}
	for k := range in {
		if k != "ops" {
			return nil, whole("the body has ops and nothing else, not %s", quote(k))
		}
	}
	var list []json.RawMessage
	if err := json.Unmarshal(in["ops"], &list); err != nil || len(list) == 0 {
		return nil, whole("ops is a list of edits, and not empty")
	}
	if len(list) > maxOps {
		return nil, whole("%d edits, at most %d in one request", len(list), maxOps)
	}
	ops := make([]Op, len(list))
	for i, raw := range list {
		if err := ops[i].read(raw); err != nil {
			err.Op, err.Length = i, -1
			return nil, err
		}
	}
	return ops, nil
}

// strictly decodes one JSON value and nothing behind it.
func strictly(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

func (o *Op) read(raw json.RawMessage) *Error {
	var in map[string]json.RawMessage
	if json.Unmarshal(raw, &in) != nil || in == nil {
		return &Error{Code: "wrong-type", Message: "an edit is an object"}
	}
	for _, word := range []struct {
		name string
		into *string
	}{{"type", &o.Type}, {"op", &o.Op}, {"name", &o.Name}} {
		v, ok := in[word.name]
		if !ok {
			return &Error{Field: word.name, Code: "bad-edit", Message: "every edit has type, op and name: the kind of the shared type, what to do, and the name of the root"}
		}
		if !isString(v, word.into) {
			return &Error{Field: word.name, Code: "wrong-type", Message: "want a string"}
		}
		delete(in, word.name)
	}
	kinds, ok := forms[o.Type]
	if !ok {
		return &Error{Field: "type", Code: "bad-edit", Message: "type is text, map, array or xml"}
	}
	f, ok := kinds[o.Op]
	if !ok {
		return &Error{Field: "op", Code: "bad-edit", Message: fmt.Sprintf("%s of type %s: want %s", quote(o.Op), o.Type, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))}
	}
	if v, ok := in["path"]; ok {
		if err := o.readPath(v); err != nil {
			return err
		}
		delete(in, "path")
	}
	for _, field := range f.must {
		if _, ok := in[field]; !ok {
			return &Error{Field: field, Code: "bad-edit", Message: fmt.Sprintf("%s of type %s needs %s", o.Op, o.Type, strings.Join(f.must, " and "))}
		}
	}
	for _, field := range slices.Sorted(maps.Keys(in)) {
		if !slices.Contains(f.must, field) && !slices.Contains(f.may, field) {
			return &Error{Field: clip(field), Code: "bad-edit", Message: fmt.Sprintf("%s of type %s takes %s", o.Op, o.Type, strings.Join(slices.Concat(f.must, f.may, []string{"path"}), ", "))}
		}
		if message := o.readField(field, in[field]); message != "" {
			return &Error{Field: field, Code: "wrong-type", Message: message}
		}
	}
	switch {
	case o.Op == "replace" && o.find == "":
		return &Error{Field: "find", Code: "bad-edit", Message: "find is empty"}
	case (o.Op == "format" || o.Op == "attributes") && len(o.attributes) == 0:
		return &Error{Field: "attributes", Code: "bad-edit", Message: "attributes is empty"}
	}
	return nil
}

// readField reads one field, and returns what was wanted where the value is of another type.
func (o *Op) readField(field string, v json.RawMessage) string {
	texts := map[string]*string{"text": &o.text, "find": &o.find, "with": &o.with, "key": &o.key, "markdown": &o.markdown}
	switch field {
	case "index", "length":
		n, ok := whole(v)
		if !ok {
			return "want a whole number from 0 on"
		}
		if field == "index" {
			o.index = n
		} else {
			o.length = n
		}
	case "all":
		if string(v) != "true" && string(v) != "false" {
			return "want true or false"
		}
		o.all = string(v) == "true"
	case "attributes":
		d := json.NewDecoder(bytes.NewReader(v))
		d.UseNumber()
		if v[0] != '{' || d.Decode(&o.attributes) != nil {
			return "want an object"
		}
	case "value":
		o.value = v
	case "values":
		var list []json.RawMessage
		if v[0] != '[' || json.Unmarshal(v, &list) != nil {
			return "want a list"
		}
		for _, x := range list {
			o.values = append(o.values, x)
		}
	default:
		if !isString(v, texts[field]) {
			return "want a string"
		}
	}
	return ""
}

func (o *Op) readPath(v json.RawMessage) *Error {
	var list []json.RawMessage
	if v[0] != '[' || json.Unmarshal(v, &list) != nil {
		return &Error{Field: "path", Code: "wrong-type", Message: "want a list of keys and indexes"}
	}
	if len(list) > maxPath {
		return &Error{Field: "path", Code: "bad-edit", Message: fmt.Sprintf("more than %d steps", maxPath)}
	}
	for i, x := range list {
		var key string
		if isString(x, &key) {
			o.path = append(o.path, key)
		} else if n, ok := whole(x); ok {
			o.path = append(o.path, n)
		} else {
			return &Error{Field: fmt.Sprintf("path[%d]", i), Code: "wrong-type", Message: "want a key, which is a string, or an index, a whole number from 0 on"}
		}
	}
	return nil
}

func isString(v json.RawMessage, into *string) bool {
	return len(v) > 0 && v[0] == '"' && json.Unmarshal(v, into) == nil
}

// whole reads a whole number of at most 32 bits: more units than a document can have.
func whole(v json.RawMessage) (int, bool) {
	var f float64
	if len(v) == 0 || v[0] == 'n' || json.Unmarshal(v, &f) != nil || f != math.Trunc(f) || f < 0 || f > math.MaxInt32 {
		return 0, false
	}
	return int(f), true
}

// quote and clip make a stranger's text fit for a message.
func quote(s string) string { return fmt.Sprintf("%q", clip(s)) }

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}
