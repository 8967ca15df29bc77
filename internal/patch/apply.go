package patch

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"yjet/internal/yjs"
)

const (
	maxMatches  = 10_000 // replaced by one request
	toldMatches = 100    // told of one edit
)

// Found is what a replace found. Places are those before the edit.
type Found struct {
	Op      int         `json:"op"`    // index of the edit
	Count   int         `json:"count"` // matches
	Matches []yjs.Match `json:"matches"`
}

// Apply makes the edits in one transaction in the name of a client, in order: each sees the document as the one before it
// left it. update is nil where nothing changed. After an error, an *Error or one of [yjs.Document.Edit], update tells
// whether the document was changed and must be discarded. check is called before each edit; its error ends Apply.
func Apply(d *yjs.Document, client uint64, ops []Op, check func() error) (update []byte, found []Found, err error) {
	update, err = d.Edit(client, func(tx *yjs.Tx) error {
		left := maxMatches
		for i := range ops {
			if err := check(); err != nil {
				return err
			}
			f, err := ops[i].apply(tx, left)
			if err != nil {
				err.Op = i
				return err
			}
			if f != nil {
				f.Op = i
				left -= f.Count
				found = append(found, *f)
			}
		}
		return nil
	})
	return update, found, err
}

// kinds are the kinds of shared types that an edit of a type takes.
var kinds = map[string][]yjs.Kind{
	"text":  {yjs.KindText, yjs.KindXMLText},
	"map":   {yjs.KindMap, yjs.KindXMLHook},
	"array": {yjs.KindArray},
	"xml":   {yjs.KindXMLFragment, yjs.KindXMLElement},
}

func (o *Op) apply(tx *yjs.Tx, most int) (*Found, *Error) {
	s, e := o.place(tx)
	if e != nil {
		return nil, e
	}
	if o.Op == "replace" {
		return o.replace(s, most)
	}
	var err error
	field := "index"
	switch o.Type + " " + o.Op {
	case "text insert":
		err = s.Text().Insert(o.index, o.text, o.attributes)
	case "text append":
		err = s.Text().Insert(s.Len(), o.text, nil)
	case "text delete":
		err = s.Text().Delete(o.index, o.length)
	case "text format":
		err = s.Text().Format(o.index, o.length, o.attributes)
	case "map set":
		field = "value"
		err = s.Map().Set(o.key, o.value)
	case "map unset":
		s.Map().Delete(o.key)
	case "array insert":
		err = s.Array().Insert(o.index, o.values...)
	case "array push":
		field = "values"
		err = s.Array().Insert(s.Len(), o.values...)
	case "array delete", "xml delete":
		err = s.Array().Delete(o.index, o.length)
	case "xml insert", "xml append":
		at := o.index
		if o.Op == "append" {
			at = s.Len()
		}
		return nil, o.insertMarkdown(s, at)
	case "xml attributes":
		field = "attributes"
		for _, key := range slices.Sorted(maps.Keys(o.attributes)) {
			if v := o.attributes[key]; v == nil {
				s.XML().RemoveAttribute(key)
			} else if err = s.XML().SetAttribute(key, v); err != nil {
				break
			}
		}
	}
	return nil, o.failed(s, field, err)
}

// place finds the shared type that an edit is about.
func (o *Op) place(tx *yjs.Tx) (yjs.Shared, *Error) {
	s := tx.Root(o.Name)
	for i, step := range o.path {
		field := fmt.Sprintf("path[%d]", i)
		var ok bool
		var next yjs.Shared
		switch step := step.(type) {
		case string:
			if next, ok = s.Map().Get(step); !ok {
				return s, &Error{Field: field, Code: "no-such-path", Message: "there is no shared type at this key", Length: -1}
			}
		case int:
			if next, ok = s.Array().At(step); !ok && step >= s.Len() {
				return s, &Error{Field: field, Code: "no-such-path", Message: fmt.Sprintf("the index is beyond the end, which is at %d", s.Len()), Length: s.Len()}
			} else if !ok {
				return s, &Error{Field: field, Code: "no-such-path", Message: "there is a value at this index, no shared type", Length: -1}
			}
		}
		s = next
	}
	kind, want := s.Kind(), kinds[o.Type]
	field := "type"
	if len(o.path) > 0 {
		field = "path"
	}
	switch {
	case o.Type == "xml" && o.Op == "attributes":
		if kind != yjs.KindXMLElement || len(o.path) == 0 {
			return s, &Error{Field: field, Code: "wrong-kind", Message: "attributes are an element's: name its path", Length: -1}
		}
	case o.Type == "xml" && o.Op == "replace" && (kind == yjs.KindXMLText || kind == yjs.KindText):
	case kind != yjs.KindAuto && !slices.Contains(want, kind):
		return s, &Error{Field: field, Code: "wrong-kind", Message: fmt.Sprintf("the shared type here is of kind %s, not %s", kind, o.Type), Length: -1}
	}
	return s, nil
}

func (o *Op) replace(s yjs.Shared, most int) (*Found, *Error) {
	matches, err := s.Replace(o.find, o.with, o.all, most)
	switch {
	case errors.Is(err, yjs.ErrNoMatch):
		return nil, &Error{Field: "find", Code: "no-match", Message: "the text does not occur here", Length: -1}
	case errors.Is(err, yjs.ErrJoin):
		return nil, &Error{Field: "with", Code: "cannot-join", Message: "the text found goes over blocks that cannot be joined or split: give with as many lines as find", Length: -1}
	case errors.Is(err, yjs.ErrIndex):
		return nil, &Error{Field: "all", Code: "too-many-matches", Message: fmt.Sprintf("more than %d matches in one request", maxMatches), Length: -1}
	case err != nil:
		return nil, o.failed(s, "find", err)
	}
	f := &Found{Count: len(matches), Matches: matches[:min(len(matches), toldMatches)]}
	return f, nil
}

// failed turns an error of an edit into one that names its place.
func (o *Op) failed(s yjs.Shared, field string, err error) *Error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, yjs.ErrIndex):
		if o.index <= s.Len() && o.Op != "insert" {
			field = "length"
		}
		return &Error{Field: field, Code: "out-of-range", Message: fmt.Sprintf("the range is beyond the end: the length is %d", s.Len()), Length: s.Len()}
	case errors.Is(err, yjs.ErrHalf):
		return &Error{Field: field, Code: "inside-character", Message: "the place is inside of a character of two UTF-16 units: use the index before or after", Length: -1}
	case errors.Is(err, yjs.ErrTooDeep):
		return &Error{Field: field, Code: "cannot-insert", Message: "the document nests deeper than can be searched", Length: -1}
	}
	return &Error{Field: field, Code: "cannot-insert", Message: err.Error(), Length: -1}
}
