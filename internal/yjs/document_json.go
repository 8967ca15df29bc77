package yjs

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// ErrTooDeep: types or values nest deeper than 2,000 levels. JavaScript fails a little beyond that.
var ErrTooDeep = errors.New("yjs: nested too deep to be read out")

const maxReadDepth = 2000

// JSON returns the document as one object with its roots by name, each in the form of Yjs's toJSON: a text as its string
// without marks and embeds, XML as its markup. kinds gives the kinds of roots; others are guessed (see [Document.Roots]). A
// root in kinds is included even if it is empty.
//
// Keys are in ascending order; plain objects keep their order. Values that JSON lacks: bytes become {"$bin": base64}, a
// sub-document {"$subdoc": guid}, a bigint its digits in a string, NaN and infinities null; undefined is left out of objects
// and is null in arrays. A root whose kind cannot be guessed is left out. The error is ErrTooDeep, or one of the budget.
func (d *Document) JSON(kinds map[string]Kind, b *Budget) ([]byte, error) {
	names := make([]string, 0, len(d.roots)+len(kinds))
	for name := range d.roots {
		names = append(names, name)
	}
	for name := range kinds {
		if d.roots[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	w := jsonWriter{dst: []byte{'{'}, budget: b}
	for _, name := range names {
		kind := kinds[name]
		t := d.roots[name]
		if t == nil {
			t = &docType{name: name}
		}
		if kind == KindAuto {
			if kind = t.guess(); kind == KindAuto {
				continue
			}
		}
		w.key(name)
		w.shared(t, kind)
	}
	return append(w.dst, '}'), w.err
}

// jsonWriter appends JSON. The first error sticks; the output is then unusable.
type jsonWriter struct {
	dst    []byte
	depth  int
	err    error
	budget *Budget
}

// spend adds work to the budget; false stops the output.
func (w *jsonWriter) spend(work int) bool {
	if w.err == nil {
		w.err = w.budget.spend(work+1, len(w.dst))
	}
	return w.err == nil
}

// enter goes one level deeper; false if the limit is reached.
func (w *jsonWriter) enter() bool {
	if w.depth >= maxReadDepth {
		w.err = ErrTooDeep
	}
	w.depth++
	return w.err == nil
}

func (w *jsonWriter) leave() { w.depth-- }

// next writes a comma unless the next value is the first.
func (w *jsonWriter) next() {
	if n := len(w.dst); n > 0 && w.dst[n-1] != '{' && w.dst[n-1] != '[' {
		w.dst = append(w.dst, ',')
	}
}

func (w *jsonWriter) key(k string) {
	w.next()
	w.dst = appendJSONString(w.dst, []byte(k))
	w.dst = append(w.dst, ':')
}

// shared writes a shared type.
func (w *jsonWriter) shared(t *docType, kind Kind) {
	if !w.enter() {
		return
	}
	defer w.leave()
	switch t.asKind(kind) {
	case KindText:
		w.dst = appendJSONString(w.dst, t.text(nil))
	case KindArray:
		w.dst = append(w.dst, '[')
		for it := t.start; it != nil && w.spend(0); it = it.right {
			if it.visible() {
				w.items(it)
			}
		}
		w.dst = append(w.dst, ']')
	case KindMap, KindXMLHook:
		w.dst = append(w.dst, '{')
		for _, e := range t.sortedEntries() {
			if it := e.value(); it != nil && !it.undefined() && w.spend(len(it.data)) {
				w.key(e.key)
				w.lastUnit(it)
			}
		}
		w.dst = append(w.dst, '}')
	case KindXMLElement, KindXMLFragment, KindXMLText:
		x := xmlWriter{depth: w.depth, before: len(w.dst), budget: w.budget}
		x.shared(t, kind)
		if x.err != nil {
			w.err = x.err
		}
		w.dst = appendJSONString(w.dst, x.dst)
	default:
		w.dst = append(w.dst, "null"...)
	}
}

// sortedEntries returns the entries by ascending key.
func (t *docType) sortedEntries() []*docEntry {
	list := slices.Clone(t.entries)
	slices.SortFunc(list, func(a, b *docEntry) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	return list
}

// value returns the item that holds the value, or nil if there is none.
func (e *docEntry) value() *docItem {
	if e == nil || e.last == nil || e.last.deleted() {
		return nil
	}
	return e.last
}

// lastData returns the content of the last unit of an item, which is a key's value.
func (it *docItem) lastData() []byte {
	if it.length > 1 {
		switch it.ref {
		case RefAny:
			return dropAny(it.data, it.length-1)
		case RefJSON:
			return dropJSON(it.data, it.length-1)
		}
	}
	return it.data
}

// undefined reports whether JSON leaves out a key with this value.
func (it *docItem) undefined() bool {
	switch it.ref {
	case RefAny:
		p := it.lastData()
		return len(p) == 0 || p[0] == anyUndefined
	case RefJSON:
		c := cursor{b: it.lastData()}
		return string(c.bytes()) == "undefined"
	}
	return !it.countable()
}

// items writes the elements of a list item.
func (w *jsonWriter) items(it *docItem) {
	switch it.ref {
	case RefAny:
		for p := it.data; len(p) > 0 && w.spend(0); {
			w.next()
			p = w.any(p)
		}
	case RefJSON:
		c := cursor{b: it.data}
		for c.left() > 0 {
			w.next()
			w.json(c.bytes())
		}
	case RefString:
		// Each character of a text inside an array is one element, as with JavaScript's split.
		for p := it.data; len(p) > 0 && w.spend(0); {
			r, n := utf8.DecodeRune(p)
			if r > 0xffff {
				w.next()
				w.dst = appendHalf(w.dst, r, false)
				w.next()
				w.dst = appendHalf(w.dst, r, true)
			} else {
				w.next()
				w.dst = appendJSONString(w.dst, p[:n])
			}
			p = p[n:]
		}
	default:
		w.next()
		w.lastUnit(it)
	}
}

// lastUnit writes the last unit of an item.
func (w *jsonWriter) lastUnit(it *docItem) {
	switch it.ref {
	case RefAny:
		w.any(it.lastData())
	case RefJSON:
		c := cursor{b: it.lastData()}
		w.json(c.bytes())
	case RefString:
		r, n := utf8.DecodeLastRune(it.data)
		if r > 0xffff {
			w.dst = appendHalf(w.dst, r, true)
		} else {
			w.dst = appendJSONString(w.dst, it.data[len(it.data)-n:])
		}
	case RefBinary:
		w.binary(it.data)
	case RefEmbed:
		w.json(it.data)
	case RefType:
		w.shared(it.typ, it.typ.kind)
	case RefDoc:
		c := cursor{b: it.data}
		w.dst = append(w.dst, `{"$subdoc":`...)
		w.dst = appendJSONString(w.dst, c.bytes())
		w.dst = append(w.dst, '}')
	default:
		w.dst = append(w.dst, "null"...)
	}
}

func (w *jsonWriter) binary(p []byte) {
	w.dst = append(w.dst, `{"$bin":"`...)
	w.dst = base64.StdEncoding.AppendEncode(w.dst, p)
	w.dst = append(w.dst, `"}`...)
}

// json writes a legacy value: its JSON as stored; undefined becomes null.
func (w *jsonWriter) json(p []byte) {
	if string(p) == "undefined" {
		p = []byte("null")
	}
	w.dst = append(w.dst, p...)
}

// any writes one value and returns the bytes after it.
func (w *jsonWriter) any(p []byte) (rest []byte) {
	c := cursor{b: p}
	w.anyAt(&c)
	return p[c.off:]
}

func (w *jsonWriter) anyAt(c *cursor) {
	switch tag := c.byte(); tag {
	case anyInteger, anyFloat32, anyFloat64:
		f := c.number(tag)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			w.dst = append(w.dst, "null"...)
		} else {
			w.dst = appendJSNumber(w.dst, f)
		}
	case anyBigint:
		w.dst = append(w.dst, '"')
		w.dst = strconv.AppendInt(w.dst, c.bigint(), 10)
		w.dst = append(w.dst, '"')
	case anyFalse:
		w.dst = append(w.dst, "false"...)
	case anyTrue:
		w.dst = append(w.dst, "true"...)
	case anyString:
		w.dst = appendJSONString(w.dst, c.bytes())
	case anyBytes:
		w.binary(c.bytes())
	case anyArray:
		if !w.enter() {
			c.fail(c.off, reasonDepth)
			return
		}
		w.dst = append(w.dst, '[')
		for n := c.uint(); n > 0 && c.err == nil && w.spend(0); n-- {
			w.next()
			w.anyAt(c)
		}
		w.dst = append(w.dst, ']')
		w.leave()
	case anyObject:
		if !w.enter() {
			c.fail(c.off, reasonDepth)
			return
		}
		w.dst = append(w.dst, '{')
		for n := c.uint(); n > 0 && c.err == nil && w.spend(0); n-- {
			key := c.bytes()
			if c.left() > 0 && c.b[c.off] == anyUndefined {
				c.off++
				continue
			}
			w.next()
			w.dst = appendJSONString(w.dst, key)
			w.dst = append(w.dst, ':')
			w.anyAt(c)
		}
		w.dst = append(w.dst, '}')
		w.leave()
	default: // null, undefined
		w.dst = append(w.dst, "null"...)
	}
}

// number reads a number after its tag.
func (c *cursor) number(tag byte) float64 {
	switch tag {
	case anyFloat32:
		if p := c.take(4); p != nil {
			return float64(math.Float32frombits(binary.BigEndian.Uint32(p)))
		}
	case anyFloat64:
		if p := c.take(8); p != nil {
			return math.Float64frombits(binary.BigEndian.Uint64(p))
		}
	case anyInteger:
		mag, neg := c.int()
		f := float64(mag)
		if neg {
			f = math.Copysign(f, -1)
		}
		return f
	}
	return 0
}

func (c *cursor) bigint() int64 {
	if p := c.take(8); p != nil {
		return int64(binary.BigEndian.Uint64(p))
	}
	return 0
}

// appendJSNumber appends a finite number as JavaScript prints it.
func appendJSNumber(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // minus zero too
	}
	if a := math.Abs(f); a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); n-at > 4 && dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') { // e-07 -> e-7
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendJSONString appends text as JSON.stringify does. p is UTF-8; a lone surrogate (WTF-8) is escaped.
func appendJSONString(dst, p []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(p); i++ {
		x := p[i]
		if x >= 0x20 && x != '"' && x != '\\' && (x != 0xed || i+2 >= len(p) || p[i+1] < 0xa0) {
			continue
		}
		dst = append(dst, p[from:i]...)
		from = i + 1
		switch x {
		case '"', '\\':
			dst = append(dst, '\\', x)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case 0xed:
			u := uint16(0xd000) | uint16(p[i+1]&0x3f)<<6 | uint16(p[i+2]&0x3f)
			dst = appendUnit(dst, u)
			i += 2
			from = i + 1
		default:
			dst = appendUnit(dst, uint16(x))
		}
	}
	dst = append(dst, p[from:]...)
	return append(dst, '"')
}

func appendUnit(dst []byte, u uint16) []byte {
	return append(dst, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}

// appendHalf appends one half of a surrogate pair as a JSON string.
func appendHalf(dst []byte, r rune, second bool) []byte {
	u := uint16(0xd800 + (r-0x10000)>>10)
	if second {
		u = uint16(0xdc00 + (r-0x10000)&0x3ff)
	}
	return append(appendUnit(append(dst, '"'), u), '"')
}
