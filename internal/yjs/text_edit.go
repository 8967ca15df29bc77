package yjs

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
)

// Edits of texts with marks, as in Y.Text. A mark begins with a Format of its value and ends with a Format of the previous
// value, or null; so text typed between the two has the mark.

// Text is a text, a sequence of strings, embeds, types and marks.
type Text struct{ Shared }

// String returns the plain text.
func (t Text) String() string { return string(t.t.text(nil)) }

// Insert inserts text before index. If attributes is nil, the text takes the marks at index; otherwise it has exactly these.
func (t Text) Insert(index int, text string, attributes map[string]any) error {
	if err := checkString(text); err != nil {
		return err
	}
	c := newContent{ref: RefString, data: []byte(text), length: wtf16Len([]byte(text))}
	if text == "" {
		return t.within(index, 0)
	}
	return t.insert(index, c, attributes, attributes == nil)
}

// InsertEmbed puts an embed before index: a *NewType, or any value that json.Marshal takes. It counts as one unit and has
// exactly these attributes.
func (t Text) InsertEmbed(index int, value any, attributes map[string]any) error {
	var c newContent
	var err error
	if n, ok := value.(*NewType); ok {
		c, err = n.content(0)
	} else {
		c = newContent{ref: RefEmbed, length: 1}
		c.data, err = jsonOf(value)
	}
	if err != nil {
		return err
	}
	return t.insert(index, c, attributes, false)
}

func (t Text) insert(index int, c newContent, attributes map[string]any, inherit bool) error {
	if err := t.whole(index, 0); err != nil {
		return err
	}
	marks, err := marksOf(attributes)
	if err != nil {
		return err
	}
	if err := t.tx.room(uint64(size([]newContent{c}))); err != nil {
		return err
	}
	needMarks := t.t.formats || len(marks) > 0
	p := t.find(uint64(index), needMarks)
	p = t.insertText(p, c, marks, inherit)
	if !needMarks {
		t.remember(p)
	}
	return nil
}

// Delete deletes n units from index on, and marks left without text.
func (t Text) Delete(index, n int) error {
	if err := t.whole(index, n); err != nil || n == 0 {
		return err
	}
	p := t.find(uint64(index), t.t.formats)
	if !t.t.formats {
		t.remember(t.deleteList(p, uint64(n)))
		return nil
	}
	before := slices.Clone(p.marks)
	start := p.right
	p = t.deleteList(p, uint64(n))
	t.cleanGap(start, p.right, before, p.marks)
	return nil
}

// Format sets these attributes on n units from index on; a nil value ends a mark.
func (t Text) Format(index, n int, attributes map[string]any) error {
	if err := t.whole(index, n); err != nil || n == 0 {
		return err
	}
	marks, err := marksOf(attributes)
	if err != nil {
		return err
	}
	if err := t.tx.room(uint64(2 * len(marks))); err != nil {
		return err
	}
	d := t.tx.d
	p := t.find(uint64(index), true)
	t.passEqual(&p, marks)
	negated := t.begin(&p, marks)
	left := uint64(n)
loop:
	// Pass the text itself, then the invisible items behind it: a mark that ends or begins there makes our own end needless.
	for p.right != nil && (left > 0 || len(negated) > 0 && (p.right.deleted() || p.right.ref == RefFormat)) {
		it := p.right
		switch {
		case it.deleted():
		case it.ref == RefFormat:
			m := markOf(it.data)
			want := getMark(marks, m.key)
			if want == nil {
				break
			}
			if equalMarks(want, m.value) {
				negated = dropMark(negated, m.key)
			} else {
				if left == 0 {
					break loop
				}
				negated = putMark(negated, m)
			}
			d.delete(it)
		default:
			if it.length > left {
				d.startAt(it.client, it.clock+left)
			}
			left -= min(left, it.length)
		}
		p.forward()
	}
	t.end(&p, negated)
	return nil
}

// SetAttribute sets an attribute of the text itself.
func (t Text) SetAttribute(name string, value any) error { return t.Map().Set(name, value) }

// RemoveAttribute removes an attribute of the text itself.
func (t Text) RemoveAttribute(name string) { t.Map().Delete(name) }

// whole checks a range, and that it does not part a character.
func (t Text) whole(index, n int) error {
	if err := t.within(index, n); err != nil {
		return err
	}
	if t.halves(uint64(index)) || n > 0 && t.halves(uint64(index+n)) {
		return ErrHalf
	}
	return nil
}

// halves reports whether index is inside a surrogate pair.
func (s Shared) halves(index uint64) bool {
	it, at := s.t.start, uint64(0)
	if c := s.tx.d.cursor; c.t == s.t && c.item != nil && c.index <= index {
		it, at = c.item, c.index
	}
	for ; it != nil && at < index; it = it.right {
		if !it.visible() {
			continue
		}
		if k := index - at; k < it.length {
			if it.ref != RefString || uint64(len(it.data)) == it.length {
				return false
			}
			_, half := utf16Offset(it.data, k)
			return half
		}
		at += it.length
	}
	return false
}

// insertText inserts content at p with exactly these marks, or with the marks at p, and returns the place after it.
func (s Shared) insertText(p docPlace, c newContent, marks []docMark, inherit bool) docPlace {
	if inherit {
		marks = slices.Clone(p.marks)
	} else {
		for _, m := range p.marks {
			if getMark(marks, m.key) == nil {
				marks = append(marks, docMark{m.key, jsonNull})
			}
		}
	}
	var negated []docMark
	if len(marks) > 0 || s.t.formats {
		s.passEqual(&p, marks)
		negated = s.begin(&p, marks)
	}
	it := s.tx.insert(s.t, nil, p.left, p.right, c.ref, c.data, c.length)
	s.tx.fill(it, c.shared)
	p.right = it
	p.forward()
	s.end(&p, negated)
	return p
}

var jsonNull = []byte("null")

// passEqual passes deleted items and formats that already have the wanted value.
func (s Shared) passEqual(p *docPlace, marks []docMark) {
	for p.right != nil {
		if it := p.right; !it.deleted() {
			if it.ref != RefFormat {
				return
			}
			m := markOf(it.data)
			want := getMark(marks, m.key)
			if want == nil {
				want = jsonNull
			}
			if !equalMarks(want, m.value) {
				return
			}
		}
		p.forward()
	}
}

// begin inserts the formats that set these marks. It returns the formats that restore the previous marks.
func (s Shared) begin(p *docPlace, marks []docMark) (negated []docMark) {
	for _, m := range marks {
		now := getMark(p.marks, m.key)
		if now == nil {
			now = jsonNull
		}
		if equalMarks(now, m.value) {
			continue
		}
		negated = putMark(negated, docMark{m.key, now})
		s.putFormat(p, m)
	}
	return negated
}

// end inserts formats that restore these marks, unless existing formats do.
func (s Shared) end(p *docPlace, negated []docMark) {
	for p.right != nil && len(negated) > 0 {
		if it := p.right; !it.deleted() {
			if it.ref != RefFormat {
				break
			}
			m := markOf(it.data)
			want := getMark(negated, m.key)
			if want == nil || !equalMarks(want, m.value) {
				break
			}
			negated = dropMark(negated, m.key)
		}
		p.forward()
	}
	for _, m := range negated {
		s.putFormat(p, m)
	}
}

func (s Shared) putFormat(p *docPlace, m docMark) {
	data := AppendVarBytes(AppendVarString(nil, m.key), m.value)
	p.right = s.tx.insert(s.t, nil, p.left, p.right, RefFormat, data, 1)
	p.forward()
}

// cleanGap deletes the needless formats between start and the next visible item: those that a later format overrides before
// any content, and those that repeat the mark already set. before are the marks at start; now are those at curr.
func (s Shared) cleanGap(start, curr *docItem, before, now []docMark) {
	end := start
	last := map[string]*docItem{} // by key, the format that wins
	for end != nil && !end.visible() {
		if !end.deleted() && end.ref == RefFormat {
			last[markOf(end.data).key] = end
		}
		end = end.right
	}
	for it := start; it != end; it = it.right {
		if it.deleted() || it.ref != RefFormat {
			continue
		}
		m := markOf(it.data)
		held := getMark(before, m.key)
		if held == nil {
			held = jsonNull
		}
		if last[m.key] != it || equalMarks(held, m.value) {
			s.tx.d.delete(it)
		}
	}
}

func putMark(marks []docMark, m docMark) []docMark {
	if i := slices.IndexFunc(marks, func(x docMark) bool { return x.key == m.key }); i >= 0 {
		marks[i] = m
		return marks
	}
	return append(marks, m)
}

func dropMark(marks []docMark, key string) []docMark {
	return slices.DeleteFunc(marks, func(m docMark) bool { return m.key == key })
}

// equalMarks compares values of marks, which are JSON. Where they are objects, Yjs goes by whether they are the same one in
// memory, and so may leave a format standing that changes nothing.
func equalMarks(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if (a[0] != '{' && a[0] != '[') || a[0] != b[0] {
		return false
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
