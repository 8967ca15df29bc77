package yjs

import (
	"bytes"
	"slices"
)

// text appends the visible strings of a list.
func (t *docType) text(dst []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, t.length)
	}
	for it := t.start; it != nil; it = it.right {
		if it.ref == RefString && !it.deleted() {
			dst = append(dst, it.data...)
		}
	}
	return dst
}

// Delta returns a text root as a Quill delta, a JSON array of {"insert", "attributes"}, as Y.Text's toDelta does: every
// Format ends an insert, even if it changes nothing. An embedded type appears as its JSON.
func (d *Document) Delta(name string, b *Budget) ([]byte, error) {
	t := d.roots[name]
	if t == nil {
		return []byte("[]"), nil
	}
	w := jsonWriter{dst: []byte{'['}, budget: b}
	t.eachInsert(func(text []byte, it *docItem, marks []docMark) bool {
		w.next()
		w.insert(text, it, marks)
		return w.spend(len(text))
	})
	return append(w.dst, ']'), w.err
}

// insert writes one operation of a delta.
func (w *jsonWriter) insert(text []byte, it *docItem, marks []docMark) {
	w.dst = append(w.dst, `{"insert":`...)
	if it == nil {
		w.dst = appendJSONString(w.dst, text)
	} else {
		w.lastUnit(it)
	}
	if len(marks) > 0 {
		w.dst = append(w.dst, `,"attributes":{`...)
		for _, m := range marks {
			if !w.spend(len(m.key) + len(m.value)) {
				return
			}
			w.key(m.key)
			w.dst = append(w.dst, m.value...)
		}
		w.dst = append(w.dst, '}')
	}
	w.dst = append(w.dst, '}')
}

// docMark is an attribute of text: a key and its value as JSON.
type docMark struct {
	key   string
	value []byte
}

// markOf reads the content of a Format.
func markOf(content []byte) docMark {
	c := cursor{b: content}
	key := c.bytes()
	// Yjs reads the value and so does not see the space around it.
	return docMark{string(key), bytes.Trim(c.bytes(), " \t\r\n")}
}

// setMark applies a Format to marks: null ends a mark. It changes the slice.
func setMark(marks []docMark, m docMark) []docMark {
	i := slices.IndexFunc(marks, func(x docMark) bool { return x.key == m.key })
	switch {
	case string(m.value) == "null":
		if i >= 0 {
			return slices.Delete(marks, i, i+1)
		}
	case i >= 0:
		marks[i] = m
	default:
		return append(marks, m)
	}
	return marks
}

func getMark(marks []docMark, key string) []byte {
	for i := range marks {
		if marks[i].key == key {
			return marks[i].value
		}
	}
	return nil
}

// eachInsert calls f for each operation of the text's delta, a text, an embed or a type, with the marks on it. The slices
// are valid until f returns; false stops the iteration.
func (t *docType) eachInsert(f func(text []byte, it *docItem, marks []docMark) bool) {
	var marks []docMark
	var text []byte
	for it := t.start; it != nil; it = it.right {
		if it.deleted() {
			continue
		}
		switch it.ref {
		case RefString:
			text = append(text, it.data...)
			continue
		case RefEmbed, RefType, RefFormat:
		default:
			continue
		}
		if len(text) > 0 {
			if !f(text, nil, marks) {
				return
			}
			text = text[:0]
		}
		if it.ref == RefFormat {
			marks = setMark(marks, markOf(it.data))
		} else if !f(nil, it, marks) {
			return
		}
	}
	if len(text) > 0 {
		f(text, nil, marks)
	}
}

// TextRun is a piece of visible text and its writer: the clocks [Clock, Clock+Len) of Client, one for each UTF-16 unit.
type TextRun struct {
	Client, Clock, Len uint64
	Text               string
}

// Runs returns the visible text of a root in order, with the client and the clocks of every piece, including the text of
// nested types in lists, as in XML. Adjacent runs differ in client or are not contiguous in clock.
func (d *Document) Runs(name string, b *Budget) ([]TextRun, error) {
	t := d.roots[name]
	if t == nil {
		return nil, nil
	}
	size := 0
	var err error
	var runs []TextRun
	var text bytes.Buffer
	flush := func() {
		if n := len(runs); n > 0 && runs[n-1].Text == "" {
			runs[n-1].Text = text.String()
			text.Reset()
		}
	}
	t.eachDeep(func(it *docItem) bool {
		size += len(it.data)
		if err = b.spend(len(it.data)+1, size); err != nil || it.ref != RefString {
			return err == nil
		}
		if n := len(runs); n > 0 {
			if last := &runs[n-1]; last.Client == it.client.id && last.Clock+last.Len == it.clock {
				last.Len += it.length
				text.Write(it.data)
				return true
			}
		}
		flush()
		runs = append(runs, TextRun{Client: it.client.id, Clock: it.clock, Len: it.length})
		text.Write(it.data)
		return true
	})
	flush()
	return runs, err
}

// eachDeep calls f for each visible list item, including those of nested types, until f returns false.
func (t *docType) eachDeep(f func(it *docItem) bool) {
	var stack []*docItem
	it := t.start
	for {
		for it == nil {
			if len(stack) == 0 {
				return
			}
			it = stack[len(stack)-1].right
			stack = stack[:len(stack)-1]
		}
		if it.deleted() {
			it = it.right
			continue
		}
		if !f(it) {
			return
		}
		if it.ref == RefType {
			stack = append(stack, it)
			it = it.typ.start
		} else {
			it = it.right
		}
	}
}
