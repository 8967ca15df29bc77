package yjs

import (
	"bytes"
	"strings"
)

// Text returns the text of a root of any kind, for reading and searching, or false if there is no such root.
//
// A text gives its strings, as Y.Text's toString does. Types inside a list are included: in a list of blocks, such as the
// paragraphs of ProseMirror, Slate and Lexical, each begins a new line; in a list with text, they continue the line. In
// arrays and maps each string, and the text of each type, is a line. Keys, attributes, other values, marks and embeds are
// left out. The error is ErrTooDeep, or one of the budget.
func (d *Document) Text(name string, kind Kind, b *Budget) (text []byte, ok bool, err error) {
	t := d.roots[name]
	if t == nil {
		return nil, false, nil
	}
	w := plainWriter{dst: make([]byte, 0, t.length), budget: b}
	w.shared(t, kind)
	return w.dst, true, w.err
}

// plainWriter appends text. The first error sticks.
type plainWriter struct {
	dst    []byte
	depth  int
	err    error
	budget *Budget
}

func (w *plainWriter) spend(work int) bool {
	if w.err == nil {
		w.err = w.budget.spend(work+1, len(w.dst))
	}
	return w.err == nil
}

func (w *plainWriter) shared(t *docType, kind Kind) {
	if w.depth >= maxReadDepth {
		w.err = ErrTooDeep
		return
	}
	w.depth++
	defer func() { w.depth-- }()
	switch t.asKind(kind) {
	case KindMap, KindXMLHook:
		w.keys(t)
	case KindArray:
		for it := t.start; it != nil && w.spend(len(it.data)); it = it.right {
			if it.visible() {
				w.values(it, it.data)
			}
		}
	default:
		w.flow(t)
	}
}

// flow writes a list that is meant to be read in one go: a text, or the nodes of a fragment or an element.
func (w *plainWriter) flow(t *docType) {
	inline := false // it holds text itself
	for it := t.start; it != nil && !inline; it = it.right {
		if it.visible() {
			inline = it.ref == RefString || it.ref == RefType && it.typ.kind == KindXMLText && t.kind == KindXMLElement
		}
	}
	first := true
	for it := t.start; it != nil && w.spend(len(it.data)); it = it.right {
		switch {
		case !it.visible():
		case it.ref == RefString:
			w.dst = append(w.dst, it.data...)
		case it.ref == RefType && it.typ.kind != KindMap:
			switch {
			case lineBreak(it.typ):
				w.dst = append(w.dst, '\n')
			case !inline && !first:
				w.dst = append(w.dst, '\n')
			}
			first = false
			w.shared(it.typ, it.typ.kind)
		case it.ref == RefAny || it.ref == RefJSON: // Yjs 14 puts values beside text and types
			w.values(it, it.data)
		}
	}
	if t.item != nil && t.kind == KindXMLFragment { // in Yjs 14 the keys of any type may hold what a map holds
		w.keys(t)
	}
}

// keys writes the strings and types that the keys of a type hold, each on a line.
func (w *plainWriter) keys(t *docType) {
	for _, e := range t.sortedEntries() {
		if it := e.value(); it != nil && w.spend(len(it.data)) {
			w.values(it, it.lastData())
		}
	}
}

// lineBreak reports whether an element is a line break in common editors.
func lineBreak(t *docType) bool {
	if t.kind != KindXMLElement {
		return false
	}
	switch strings.ToLower(t.name) {
	case "br", "hardbreak", "hard_break", "linebreak":
		return true
	}
	return false
}

// values writes the strings in the values of an item, each on a line.
func (w *plainWriter) values(it *docItem, data []byte) {
	switch it.ref {
	case RefAny:
		c := cursor{b: data}
		for c.left() > 0 && w.spend(0) {
			w.any(&c)
		}
	case RefJSON:
		c := cursor{b: data}
		for c.left() > 0 && w.spend(0) {
			if p := c.bytes(); len(p) > 0 && p[0] == '"' {
				text, _ := appendUnquoted(nil, p, 0)
				quoted := cursor{b: text}
				w.line(quoted.bytes())
			}
		}
	case RefString:
		w.line(data)
	case RefType:
		at := len(w.dst)
		w.newLine()
		from := len(w.dst)
		w.shared(it.typ, it.typ.kind)
		if end := from + len(bytes.TrimRight(w.dst[from:], "\n")); end > from {
			at = end
		}
		w.dst = w.dst[:at]
	}
}

// any writes the strings in one value.
func (w *plainWriter) any(c *cursor) {
	at := c.off
	switch c.byte() {
	case anyString:
		w.line(c.bytes())
	case anyArray, anyObject:
		object := c.b[at] == anyObject
		for n := c.uint(); n > 0 && c.err == nil; n-- {
			if object {
				c.bytes()
			}
			if w.depth++; w.depth > maxReadDepth {
				w.err = ErrTooDeep
			}
			if !w.spend(0) {
				c.fail(c.off, reasonDepth)
				return
			}
			w.any(c)
			w.depth--
		}
	default:
		c.off = at
		c.skipAny(1)
	}
}

// line appends text on a new line.
func (w *plainWriter) line(text []byte) {
	if text = bytes.TrimRight(text, "\n"); len(text) == 0 {
		return
	}
	w.newLine()
	w.dst = append(w.dst, text...)
}

func (w *plainWriter) newLine() {
	if n := len(w.dst); n > 0 && w.dst[n-1] != '\n' {
		w.dst = append(w.dst, '\n')
	}
}
