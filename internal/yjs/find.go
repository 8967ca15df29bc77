package yjs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Searching and replacing the text of a type as a person reads it: across marks, across the pieces of one paragraph, and from
// one paragraph to the next, where the line ends. The reading is that of [Document.Text].

var (
	// ErrNoMatch: the text does not occur. Nothing was changed.
	ErrNoMatch = errors.New("yjs: no match")

	// ErrJoin: the replacement has another number of lines than the match, and the blocks that the match touches cannot be
	// joined or split: they have different parents, or one of them is empty.
	ErrJoin = errors.New("yjs: the blocks of the match cannot be joined or split")
)

// Match is a place where a text was found.
type Match struct {
	Path   []int `json:"path,omitempty"` // indexes of the children from the type that was searched to the text in which the match begins
	Index  int   `json:"index"`          // in that text, in UTF-16 units
	Length int   `json:"length"`         // in UTF-16 units; the end of a line counts one
}

// notText stands in a reading for an embed or an image, over which no match goes. It occurs in no UTF-8.
const notText = 0xff

// reading is the text of a type and where each piece of it is.
type reading struct {
	text   []byte
	pieces []readPiece
	err    error
}

// readPiece is a run of units of one text, or what ends a line.
type readPiece struct {
	at, n int      // bytes of reading.text
	t     *docType // of a run of text; nil: the end of a line, or an embed
	unit  uint64   // of the first byte, in t
	path  []int
	block *docType // the line's type: a paragraph, a heading, the text itself
	brk   *docItem // the element of a line break inside of a block, or nil
}

// line is a line of a match: what of it is text, in order.
type line []readPiece

// read appends the text of t. block is nil outside of lines.
func (r *reading) read(t *docType, path []int, block *docType, depth int) {
	if depth > maxReadDepth {
		r.err = ErrTooDeep
		return
	}
	inline := false
	for it := t.start; it != nil && !inline; it = it.right {
		if it.visible() {
			inline = it.ref == RefString || it.ref == RefType && it.typ.kind == KindXMLText && t.kind == KindXMLElement
		}
	}
	if inline && block == nil {
		block = t
	}
	first, unit := true, uint64(0)
	for it := t.start; it != nil && r.err == nil; it = it.right {
		switch {
		case !it.visible():
			continue
		case it.ref == RefString:
			r.piece(readPiece{t: t, unit: unit, path: path, block: block}, it.data)
		case it.ref == RefType && it.typ.kind != KindMap:
			switch {
			case lineBreak(it.typ):
				r.piece(readPiece{block: block, brk: it}, []byte{'\n'})
			case !inline && !first:
				r.piece(readPiece{}, []byte{'\n'})
			case inline && it.typ.length == 0 && it.typ.kind == KindXMLElement:
				r.piece(readPiece{}, []byte{notText})
			}
			first = false
			r.read(it.typ, append(slices.Clip(path), int(unit)), block, depth+1)
		case it.ref != RefType:
			r.piece(readPiece{}, []byte{notText})
		}
		unit += it.length
	}
}

// piece appends a piece, or lengthens the last one that it continues.
func (r *reading) piece(p readPiece, text []byte) {
	p.at, p.n = len(r.text), len(text)
	r.text = append(r.text, text...)
	if n := len(r.pieces); n > 0 && p.t != nil {
		if last := &r.pieces[n-1]; last.t == p.t && last.at+last.n == p.at {
			last.n += p.n
			return
		}
	}
	r.pieces = append(r.pieces, p)
}

// pieceAt returns the index of the piece with byte at.
func (r *reading) pieceAt(at int) int {
	i, found := slices.BinarySearchFunc(r.pieces, at, func(p readPiece, at int) int { return p.at - at })
	if !found {
		i--
	}
	return i
}

// lines cuts the bytes [from, to) at the ends of lines that are not text. ends are the pieces of these.
func (r *reading) lines(from, to int) (lines []line, ends []readPiece) {
	cur := line{}
	for i := r.pieceAt(from); i >= 0 && i < len(r.pieces) && r.pieces[i].at < to; i++ {
		p := r.pieces[i]
		if p.t == nil {
			lines, ends, cur = append(lines, cur), append(ends, p), line{}
			continue
		}
		skip := max(0, from-p.at)
		p.unit += wtf16Len(r.text[p.at : p.at+skip])
		p.n = min(p.at+p.n, to) - p.at - skip
		p.at += skip
		cur = append(cur, p)
	}
	return append(lines, cur), ends
}

// match describes the match [from, to).
func (r *reading) match(from, to int) Match {
	m := Match{Length: int(wtf16Len(r.text[from:to]))}
	for i := r.pieceAt(from); i < len(r.pieces); i++ {
		if p := r.pieces[i]; p.t != nil {
			m.Path, m.Index = p.path, int(p.unit)
			if from > p.at {
				m.Index += int(wtf16Len(r.text[p.at:from]))
			}
			break
		}
	}
	return m
}

// Replace replaces the first match of find, or all, and returns the matches: where they were. A match may go over marks and over
// the ends of lines. Only what differs is replaced, so that marks, cursors and authors of the rest stay. Where the
// replacement has as many lines as the match, each line stays in its block; otherwise blocks are joined or split (ErrJoin:
// not possible, and the document is of no use any more). ErrNoMatch: there is none. Matches beyond most are an error of kind
// ErrIndex.
func (s Shared) Replace(find, with string, all bool, most int) ([]Match, error) {
	if err := errors.Join(checkString(find), checkString(with)); err != nil {
		return nil, err
	}
	if find == "" {
		return nil, fmt.Errorf("%w: nothing to find", ErrKind)
	}
	var r reading
	r.read(s.t, nil, nil, 0)
	if r.err != nil {
		return nil, r.err
	}
	var found []int
	for at := 0; all || len(found) == 0; {
		i := bytes.Index(r.text[at:], []byte(find))
		if i < 0 {
			break
		}
		if len(found) == most {
			return nil, fmt.Errorf("%w: more than %d matches", ErrIndex, most)
		}
		found = append(found, at+i)
		at += i + len(find)
	}
	if len(found) == 0 {
		return nil, ErrNoMatch
	}
	if err := s.tx.room(uint64(len(found)) * uint64(len(with)+1)); err != nil {
		return nil, err
	}
	matches := make([]Match, len(found))
	for i, at := range found {
		matches[i] = r.match(at, at+len(find))
	}
	var joins []blockJoin
	for _, at := range slices.Backward(found) { // from behind, so that what stands before keeps its place
		join, err := s.tx.replace(&r, at, at+len(find), with)
		if err != nil {
			return nil, err
		}
		if join != (blockJoin{}) {
			joins = append(joins, join)
		}
	}
	s.tx.joinBlocks(joins)
	return matches, nil
}

// replace replaces one match, and returns the blocks that are still to be joined.
func (tx *Tx) replace(r *reading, from, to int, with string) (join blockJoin, err error) {
	lines, ends := r.lines(from, to)
	if len(ends) == 0 && !splits(lines[0]) {
		return join, tx.replaceLine(r, lines[0], from, with)
	}
	// The text of a line may have line ends of its own, in code: these are no ends of blocks.
	var wants []string
	for i, l := range lines {
		n := 1
		for _, p := range l {
			n += bytes.Count(r.text[p.at:p.at+p.n], []byte{'\n'})
		}
		parts := strings.SplitN(with, "\n", n+1)
		wants = append(wants, strings.Join(parts[:min(n, len(parts))], "\n"))
		if len(parts) <= n {
			break
		}
		if with = parts[n]; i == len(lines)-1 {
			wants = append(wants, strings.Split(with, "\n")...)
		}
	}
	starts := make([]int, len(lines)) // of each line, for one without text
	starts[0] = from
	for i, e := range ends {
		starts[i+1] = e.at + e.n
	}
	last := len(lines) - 1
	switch {
	case len(wants) < len(lines):
		return tx.joinLines(r, lines, ends, starts, wants)
	case len(wants) > len(lines):
		if !splits(lines[last]) {
			wants = append(wants[:last:last], strings.Join(wants[last:], "\n"))
		} else if err := tx.splitLine(r, lines[last], wants[last:]); err != nil {
			return join, err
		} else {
			wants, lines = wants[:last], lines[:last]
		}
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if err := tx.replaceLine(r, lines[i], starts[i], wants[i]); err != nil {
			return join, err
		}
	}
	return join, nil
}

// splits reports whether a line's block can become two: it is an element such as a paragraph, and not one of code.
func splits(l line) bool {
	if len(l) == 0 {
		return false
	}
	p := l[len(l)-1]
	b := p.block
	return b != nil && b != p.t && b.kind == KindXMLElement && b.item != nil && b.item.entry == nil && p.t.item.parent == b && !strings.Contains(strings.ToLower(b.name), "code")
}

// replaceLine replaces the text of a line by what differs. start is where the line is, if it has no text.
func (tx *Tx) replaceLine(r *reading, l line, start int, with string) error {
	if len(l) == 0 {
		return tx.fillLine(r, start, with)
	}
	var old []byte
	for _, p := range l {
		old = append(old, r.text[p.at:p.at+p.n]...)
	}
	head, tail := common(string(old), with)
	with = with[head : len(with)-tail]
	cut, end := head, len(old)-tail // bytes of old that go
	// From behind, so that the units before stay in place. The new text stands behind the first of the old, whose marks it takes.
	placed := false
	at := len(old)
	for i := len(l) - 1; i >= 0; i-- {
		p := &l[i]
		at -= p.n
		a, b := max(cut, at), min(end, at+p.n)
		if a > b || (a == b && cut != end) || (cut == end && placed) {
			continue
		}
		t := Text{Shared{tx, p.t}}
		first := p.unit + wtf16Len(old[at:a])
		n := wtf16Len(old[a:b])
		placed = true
		if with != "" && a == cut {
			if err := t.Insert(int(first+n), with, nil); err != nil {
				return err
			}
		}
		if err := t.Delete(int(first), int(n)); err != nil {
			return err
		}
	}
	return nil
}

// fillLine puts text into a line of which the match has nothing: at the end of the text before it, or in front of the text
// behind it.
func (tx *Tx) fillLine(r *reading, at int, with string) error {
	if with == "" {
		return nil
	}
	if at > 0 {
		if p := r.pieces[r.pieceAt(at-1)]; p.t != nil {
			return Text{Shared{tx, p.t}}.Insert(int(p.unit+wtf16Len(r.text[p.at:at])), with, nil)
		}
	}
	if at < len(r.text) {
		if p := r.pieces[r.pieceAt(at)]; p.t != nil {
			return Text{Shared{tx, p.t}}.Insert(int(p.unit), with, nil)
		}
	}
	return fmt.Errorf("%w: an empty block has no text to put it into", ErrJoin)
}

// common returns the bytes of the longest common beginning and end, whole characters.
func common(a, b string) (head, tail int) {
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	for head > 0 && (head < len(a) && !startsRune(a[head]) || head < len(b) && !startsRune(b[head])) {
		head--
	}
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	for tail > 0 && !startsRune(a[len(a)-tail]) {
		tail--
	}
	return head, tail
}

func startsRune(b byte) bool { return b&0xc0 != 0x80 }

// blockJoin is a block that takes the children of a later one. The later block goes, and the blocks between the two.
type blockJoin struct{ a, b *docType }

// joinLines replaces lines by fewer. It returns the blocks of the last line that stays and of the last line, if they are two:
// joinBlocks is to join them.
func (tx *Tx) joinLines(r *reading, lines []line, ends []readPiece, starts []int, wants []string) (join blockJoin, err error) {
	keep := len(wants) - 1
	blockOf := func(l line, at int) *docType {
		if len(l) > 0 {
			return l[0].block
		}
		for _, x := range []int{at - 1, at} {
			if x >= 0 && x < len(r.text) {
				if p := r.pieces[r.pieceAt(x)]; p.t != nil {
					return p.block
				}
			}
		}
		return nil
	}
	a, b := blockOf(lines[keep], starts[keep]), blockOf(lines[len(lines)-1], starts[len(lines)-1])
	if a != b && (a == nil || b == nil || a.item == nil || b.item == nil || a.item.parent != b.item.parent || a.item.entry != nil || a.kind != b.kind) || a == nil {
		return join, ErrJoin
	}
	for i := len(lines) - 1; i >= 0; i-- {
		want := ""
		if i <= keep {
			want = wants[i]
		}
		if err := tx.replaceLine(r, lines[i], starts[i], want); err != nil {
			return join, err
		}
		if i > keep {
			if e := ends[i-1]; e.brk != nil && !e.brk.deleted() {
				tx.d.delete(e.brk)
			}
		}
	}
	if a != b {
		join = blockJoin{a, b}
	}
	return join, nil
}

// joinBlocks joins blocks, which are given from the last to the first. It begins with the first, so that the children of a block that
// is one of many are copied once.
func (tx *Tx) joinBlocks(joins []blockJoin) {
	tx.d.cursor = docCursor{}
	into := map[*docType]*docType{} // by a block that is gone: the one that has its children
	for _, j := range slices.Backward(joins) {
		to := j.a
		if first := into[to]; first != nil {
			to = first
		}
		into[j.b] = to
		left := j.b.start
		for left != nil && !left.visible() {
			left = left.right
		}
		if end := lastVisible(to); end != nil && end.ref == RefType && end.typ.kind == KindXMLText && left != nil && left.ref == RefType && left.typ.kind == KindXMLText {
			tx.appendRaw(end.typ, copies(left.typ.start))
			left = left.right
		}
		tx.appendRaw(to, copies(left))
		for it := j.a.item.right; it != nil; it = it.right {
			if it.visible() {
				tx.d.delete(it)
			}
			if it == j.b.item {
				break
			}
		}
	}
}

// splitLine replaces the last line of a match by several. Each further line becomes a block like the first one's, and the last
// of them takes what stood behind the match.
func (tx *Tx) splitLine(r *reading, l line, wants []string) error {
	end := l[len(l)-1]
	block, t := end.block, Shared{tx, end.t}
	behind := end.t.length - (end.unit + wtf16Len(r.text[end.at:end.at+end.n]))
	if err := tx.replaceLine(r, l, end.at, wants[0]); err != nil {
		return err
	}
	p := t.find(end.t.length-behind, true)
	marks := slices.Clone(p.marks)
	tail, more := copies(p.right), copies(end.t.item.right)
	for _, from := range []*docItem{p.right, end.t.item.right} {
		for it := from; it != nil; it = it.right {
			if !it.deleted() {
				tx.d.delete(it)
			}
		}
	}
	tx.d.cursor = docCursor{}
	left := block.item
	for i, want := range wants[1:] {
		var text []newContent
		for _, m := range marks {
			text = append(text, newContent{ref: RefFormat, data: AppendVarBytes(AppendVarString(nil, m.key), m.value), length: 1})
		}
		if want != "" {
			text = append(text, newContent{ref: RefString, data: []byte(want), length: wtf16Len([]byte(want))})
		}
		var children []newContent
		if i == len(wants)-2 {
			text, children = append(text, tail...), more
		}
		node := newContent{ref: RefType, data: AppendUvarint(nil, KindXMLText.wire()), length: 1, shared: &newFill{kind: KindXMLText, children: text}}
		c := newContent{ref: RefType, data: typeContent(block), length: 1, shared: &newFill{kind: block.kind, children: append([]newContent{node}, children...), entries: copiesOfEntries(block)}}
		it := tx.insert(block.item.parent, nil, left, left.right, c.ref, c.data, c.length)
		tx.fill(it, c.shared)
		left = it
	}
	return nil
}

func lastVisible(t *docType) (last *docItem) {
	for it := t.start; it != nil; it = it.right {
		if it.visible() {
			last = it
		}
	}
	return last
}

// appendRaw appends contents to a list.
func (tx *Tx) appendRaw(t *docType, list []newContent) {
	var left *docItem
	for it := t.start; it != nil; it = it.right {
		left = it
	}
	for _, c := range list {
		left = tx.insert(t, nil, left, nil, c.ref, c.data, c.length)
		for left.end() < tx.c.next {
			left = left.right
		}
		tx.fill(left, c.shared)
	}
}

// copies returns the contents of the items from it on, ready to be inserted elsewhere.
func copies(it *docItem) (list []newContent) {
	for ; it != nil; it = it.right {
		if !it.deleted() {
			list = append(list, copyOf(it))
		}
	}
	return list
}

func copyOf(it *docItem) newContent {
	c := newContent{ref: it.ref, data: slices.Clone(it.data), length: it.length}
	if t := it.typ; it.ref == RefType && t != nil {
		c.data = typeContent(t)
		c.shared = &newFill{kind: t.kind, children: copies(t.start), entries: copiesOfEntries(t)}
	}
	return c
}

func copiesOfEntries(t *docType) (list []newEntry) {
	for _, e := range t.sortedEntries() {
		if it := e.value(); it != nil {
			c := copyOf(it)
			if it.ref != RefType {
				c.data, c.length = slices.Clone(it.lastData()), 1
			}
			list = append(list, newEntry{e.key, c})
		}
	}
	return list
}

// typeContent is the content that announces a type like t.
func typeContent(t *docType) []byte {
	data := AppendUvarint(nil, t.kind.wire())
	if t.kind == KindXMLElement || t.kind == KindXMLHook {
		data = AppendVarString(data, t.name)
	}
	return data
}
