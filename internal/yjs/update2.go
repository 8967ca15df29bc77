package yjs

import (
	"cmp"
	"math"
	"slices"
)

// Update V2 holds the same as V1 in columns, each as a varBytes:
//
//	update := varUint 0, keyClock, client, leftClock, rightClock, info, string, parentInfo, typeRef, len, rest
//
//	keyClock    intDiffOptRle   number of a key: of Format, or the name of an XML element or hook. A new number is followed
//	                            by its string, a known one is not; Yjs always writes a new one
//	client      uintOptRle      client of a section, then of each origin, right origin and parent
//	leftClock   intDiffOptRle   clock of origins and of parents
//	rightClock  intDiffOptRle   clock of right origins
//	info        rle             info bytes
//	string      strings         root names, keys of maps, text, JSON elements, guids, keys
//	parentInfo  rle             1: root name, 0: id
//	typeRef     uintOptRle      type numbers
//	len         uintOptRle      lengths of GC and Deleted, counts of JSON and Any
//	rest        (no length)     varUint sections; of each varUint structs and varUint clock; lengths of Skips, any values
//	                            (of Embed and Format too, which are JSON in V1), binaries; the delete set
//
// The delete set's clocks count from the end of the range before, and its lengths are less by one.
//
// Because columns are run-length coded, a few bytes can stand for as many structs as one likes. FromV2 therefore counts
// first, and stops where the result grows beyond reason or beyond Limits.Expanded: nothing that large is ever made.

const (
	v2StructsPerByte = 16 // and 64 more
	v2BytesPerByte   = 40 // and 4096 more; text typed key by key and not joined grows some 15-fold
	maxJSONDepth     = 10_000
)

// ToV2 converts a V1 update. Deletes are sorted and joined, since V2 can't tell them otherwise.
func ToV2(update []byte) ([]byte, error) {
	r := NewReader(update)
	var w writerV2
	var s Struct
	var order sectionOrder
	w.rest = AppendUvarint(w.rest, r.sections)
	section := 0
	for r.Next(&s) {
		if section != r.section {
			section = r.section
			if order.repeats(s.Client) {
				canonical, err := Canonical(update)
				if err != nil {
					return nil, err
				}
				return ToV2(canonical)
			}
			w.rest = AppendUvarint(w.rest, r.structs+1)
			w.client.write(s.Client)
			w.rest = AppendUvarint(w.rest, s.Clock)
		}
		if r.c.depth > maxJSONDepth {
			r.c.failLimit(r.start, reasonDepth)
			break
		}
		w.add(&s)
	}
	var dels IDSet
	var d Run
	for r.NextDelete(&d) {
		dels.Add(d.Client, d.Clock, d.Len)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return w.finish(&dels), nil
}

type writerV2 struct {
	keyClock   intDiffOptRleWriter
	keys       uint64
	client     uintOptRleWriter
	leftClock  intDiffOptRleWriter
	rightClock intDiffOptRleWriter
	info       rleWriter
	strings    stringsWriter
	parentInfo rleWriter
	typeRef    uintOptRleWriter
	len        uintOptRleWriter
	rest       []byte
}

func (w *writerV2) string(p []byte) { w.strings.write(p, wtf16Len(p)) }

func (w *writerV2) key(p []byte) {
	w.keyClock.write(w.keys)
	w.keys++
	w.string(p)
}

func (w *writerV2) add(s *Struct) {
	w.info.write(s.Info)
	switch s.Ref() {
	case RefGC:
		w.len.write(s.Len)
		return
	case RefSkip:
		w.rest = AppendUvarint(w.rest, s.Len)
		return
	}
	if s.HasOrigin() {
		w.client.write(s.Origin.Client)
		w.leftClock.write(s.Origin.Clock)
	}
	if s.HasRight() {
		w.client.write(s.Right.Client)
		w.rightClock.write(s.Right.Clock)
	}
	if s.HasParent() {
		if s.Root != nil {
			w.parentInfo.write(1)
			w.string(s.Root)
		} else {
			w.parentInfo.write(0)
			w.client.write(s.Parent.Client)
			w.leftClock.write(s.Parent.Clock)
		}
		if s.HasSub() {
			w.string(s.Sub)
		}
	}
	c := cursor{b: s.Content}
	switch s.Ref() {
	case RefDeleted:
		w.len.write(s.Len)
	case RefJSON:
		w.len.write(s.Len)
		for range s.Len {
			w.string(c.bytes())
		}
	case RefBinary:
		w.rest = AppendVarBytes(w.rest, s.Content)
	case RefString:
		w.strings.write(s.Content, s.Len)
	case RefEmbed:
		w.rest = appendAnyOfJSON(w.rest, s.Content)
	case RefFormat:
		w.key(c.bytes())
		w.rest = appendAnyOfJSON(w.rest, c.bytes())
	case RefType:
		t := c.uint()
		w.typeRef.write(t)
		if t == TypeXMLElement || t == TypeXMLHook {
			w.key(c.bytes())
		}
	case RefAny:
		w.len.write(s.Len)
		w.rest = append(w.rest, s.Content...)
	case RefDoc:
		w.string(c.bytes())
		w.rest = append(w.rest, c.b[c.off:]...)
	}
}

func (w *writerV2) finish(dels *IDSet) []byte {
	n := 0
	for range dels.All() {
		n++
	}
	w.rest = AppendUvarint(w.rest, uint64(n))
	for client, ranges := range dels.All() {
		w.rest = AppendUvarint(w.rest, client)
		w.rest = AppendUvarint(w.rest, uint64(len(ranges)))
		at := uint64(0)
		for _, r := range ranges {
			w.rest = AppendUvarint(w.rest, r.Clock-at)
			w.rest = AppendUvarint(w.rest, r.Len-1)
			at = r.End()
		}
	}
	w.keyClock.flush()
	w.client.flush()
	w.leftClock.flush()
	w.rightClock.flush()
	w.strings.lengths.flush()
	w.typeRef.flush()
	w.len.flush()
	text := AppendVarBytes(make([]byte, 0, len(w.strings.text)+len(w.strings.lengths.b)+8), w.strings.text)
	text = append(text, w.strings.lengths.b...)
	columns := [][]byte{w.keyClock.b, w.client.b, w.leftClock.b, w.rightClock.b, w.info.b, text, w.parentInfo.b, w.typeRef.b, w.len.b}
	size := 1 + len(w.rest)
	for _, c := range columns {
		size += len(c) + 5
	}
	out := append(make([]byte, 0, size), 0)
	for _, c := range columns {
		out = AppendVarBytes(out, c)
	}
	return append(out, w.rest...)
}

// FromV2 converts a V2 update to V1. Lone halves of surrogate pairs, which V1 can't hold, become U+FFFD, as in Yjs. The
// result is well formed; whether it may enter a log is for [Update.Parse] to say. Too many structs for lim or for the size
// of the update, or more bytes than lim.Expanded, are ErrLimit.
func FromV2(update []byte, lim Limits) ([]byte, error) {
	if len(update) > math.MaxUint32 {
		return nil, ErrTooLarge
	}
	count := v1Writer{counting: true}
	if err := count.convert(update, &lim); err != nil {
		return nil, err
	}
	w := v1Writer{out: make([]byte, 0, count.size), keys: count.keys}
	if err := w.convert(update, &lim); err != nil {
		return nil, err
	}
	return w.out, nil
}

// v1Writer converts twice: the first time only the size is counted, so that the second allocates once.
type v1Writer struct {
	counting bool
	size     int
	most     int    // bytes that the update may become
	out      []byte // when counting, bytes not counted yet
	keys     []keySpan
	json     []byte // scratch
}

// tick counts the bytes in out, and reports whether the total is within most.
func (w *v1Writer) tick() bool {
	if w.counting {
		w.size += len(w.out)
		w.out = w.out[:0]
		return w.size <= w.most
	}
	return true
}

// readerV2 holds the columns. A read past the end of one is noted as the offset of that column.
type readerV2 struct {
	rest       cursor
	keyClock   intDiffOptRleReader
	client     uintOptRleReader
	leftClock  intDiffOptRleReader
	rightClock intDiffOptRleReader
	info       rleReader
	strings    stringsReader
	parentInfo rleReader
	typeRef    uintOptRleReader
	len        uintOptRleReader
	at         [9]int // where the columns begin

	text []byte // all of the string column
	keys []keySpan
}

const (
	colKeyClock = iota
	colClient
	colLeftClock
	colRightClock
	colInfo
	colString
	colParentInfo
	colTypeRef
	colLen
)

func (r *readerV2) open(update []byte) {
	c := &r.rest
	c.b = update
	if c.uint() != 0 {
		c.fail(0, reasonV2Feature)
	}
	var columns [9][]byte
	for i := range columns {
		r.at[i] = c.off
		columns[i] = c.bytes()
	}
	if c.err != nil {
		return
	}
	r.keyClock.c.b = columns[colKeyClock]
	r.client.c.b = columns[colClient]
	r.leftClock.c.b = columns[colLeftClock]
	r.rightClock.c.b = columns[colRightClock]
	r.info.c.b = columns[colInfo]
	r.parentInfo.c.b = columns[colParentInfo]
	r.typeRef.c.b = columns[colTypeRef]
	r.len.c.b = columns[colLen]
	var ok bool
	if r.strings, ok = newStringsReader(columns[colString]); !ok {
		c.fail(r.at[colString], reasonUTF8)
	}
	r.text = r.strings.text
}

// check returns v, or fails for the column that has ended.
func check[T any](r *readerV2, column int) func(v T, ok bool) T {
	return func(v T, ok bool) T {
		if !ok {
			r.rest.fail(r.at[column], reasonV2Column)
		}
		return v
	}
}

func (r *readerV2) str() []byte { return check[[]byte](r, colString)(r.strings.read()) }

// name reads a string for the head of a struct, with U+FFFD for lone halves. Those are only in strings that are copies.
func (r *readerV2) name() []byte {
	p := r.str()
	replaceSurrogates(p)
	if p == nil {
		p = []byte{}
	}
	return p
}

// keySpan is the position of a key in the string column. Slices would take more memory: runs of empty keys cost only a few
// bytes of input.
type keySpan struct{ off, n uint32 }

func (r *readerV2) key() []byte {
	n := check[uint64](r, colKeyClock)(r.keyClock.read())
	if n < uint64(len(r.keys)) {
		k := r.keys[n]
		return r.text[k.off : k.off+k.n]
	}
	off := len(r.text) - len(r.strings.text)
	whole := !r.strings.half
	k := r.str()
	if !whole || r.strings.half {
		r.rest.fail(r.at[colKeyClock], reasonUTF8) // a key that ends inside a pair
	}
	if len(r.keys) > 64+len(r.rest.b) {
		r.rest.failLimit(r.at[colKeyClock], reasonV2Size)
	}
	if r.rest.err == nil {
		r.keys = append(r.keys, keySpan{uint32(off), uint32(len(k))})
	}
	return k
}

// leftID reads an id whose clock is in the left column.
func (r *readerV2) leftID() ID {
	return ID{check[uint64](r, colClient)(r.client.read()), check[uint64](r, colLeftClock)(r.leftClock.read())}
}

func (w *v1Writer) convert(update []byte, lim *Limits) error {
	r := readerV2{keys: w.keys[:0]}
	defer func() { w.keys = r.keys }()
	r.open(update)
	c := &r.rest
	w.most = min(4096+v2BytesPerByte*len(update), limit(lim.Expanded, 64<<20))
	maxStructs := uint64(64 + v2StructsPerByte*len(update))
	maxStructs = min(maxStructs, uint64(limit(lim.Structs, 5_000_000)))
	structs := uint64(0)
	sections := c.count(2)
	w.out = AppendUvarint(w.out, sections)
	for range sections {
		at := c.off
		n, client, clock := c.uint(), check[uint64](&r, colClient)(r.client.read()), c.uint()
		if structs += n; structs > maxStructs {
			c.failLimit(at, reasonStructs)
		}
		if c.err != nil {
			return c.err
		}
		w.out = AppendUvarint(w.out, n)
		w.out = AppendUvarint(w.out, client)
		w.out = AppendUvarint(w.out, clock)
		for range n {
			at := c.off
			s := Struct{Client: client, Clock: clock}
			w.structV2(&r, &s)
			if clock += s.Len; clock > maxClock {
				c.fail(at, reasonOverflow)
			}
			if c.err == nil && !w.tick() {
				c.failLimit(at, reasonV2Size)
			}
			if c.err != nil {
				return c.err
			}
		}
	}
	runs := r.deletes()
	if c.err != nil {
		return c.err
	}
	w.out = appendDeletes(w.out, runs)
	if !w.tick() {
		c.failLimit(c.off, reasonV2Size)
	}
	return c.err
}

// structV2 reads one struct, sets its length, and writes it. It is longer than 80 lines because it is one table: a case for each
// content number, in the order in which V2 has its columns.
func (w *v1Writer) structV2(r *readerV2, s *Struct) {
	c := &r.rest
	s.Info = check[byte](r, colInfo)(r.info.read())
	if c.err != nil {
		return
	}
	switch s.Ref() {
	case RefGC:
		s.Info = RefGC
		s.Len = check[uint64](r, colLen)(r.len.read())
		w.out = s.Append(w.out)
		return
	case RefSkip:
		if s.Info != RefSkip {
			c.fail(r.at[colInfo], reasonSkipFlags)
		}
		s.Len = c.uint()
		w.out = s.Append(w.out)
		return
	}
	if s.Info&(infoOrigin|infoRight) != 0 {
		s.Info &^= infoSub
	}
	if s.HasOrigin() {
		s.Origin = r.leftID()
	}
	if s.HasRight() {
		s.Right = ID{check[uint64](r, colClient)(r.client.read()), check[uint64](r, colRightClock)(r.rightClock.read())}
	}
	if s.HasParent() {
		if check[byte](r, colParentInfo)(r.parentInfo.read()) == 1 {
			s.Root = r.name()
		} else {
			s.Parent = r.leftID()
		}
		if s.HasSub() {
			s.Sub = r.name()
		}
	}
	s.Len = 1
	switch s.Ref() {
	case RefDeleted:
		s.Len = check[uint64](r, colLen)(r.len.read())
		w.out = s.Append(w.out)
	case RefJSON:
		s.Len = check[uint64](r, colLen)(r.len.read())
		w.out = AppendUvarint(s.appendHead(w.out), s.Len)
		for range s.Len {
			p := r.str()
			if c.err != nil {
				return
			}
			if string(p) != "undefined" {
				c.checkJSON(r.at[colString], p)
			}
			w.text(p)
			if !w.tick() {
				c.failLimit(r.at[colLen], reasonV2Size)
				return
			}
		}
	case RefBinary:
		s.Content = c.bytes()
		w.out = s.Append(w.out)
	case RefString:
		s.Content = r.str()
		s.Len = wtf16Len(s.Content)
		w.out = s.Append(w.out)
	case RefEmbed:
		w.out = s.appendHead(w.out)
		w.jsonOfAny(c)
	case RefFormat:
		w.out = s.appendHead(w.out)
		w.text(r.key())
		w.jsonOfAny(c)
	case RefType:
		t := check[uint64](r, colTypeRef)(r.typeRef.read())
		if t > TypeXMLText {
			c.fail(r.at[colTypeRef], reasonType)
			return
		}
		w.out = AppendUvarint(s.appendHead(w.out), t)
		if t == TypeXMLElement || t == TypeXMLHook {
			w.text(r.key())
		}
	case RefAny:
		s.Len = check[uint64](r, colLen)(r.len.read())
		if s.Len > uint64(c.left()) {
			c.fail(r.at[colLen], reasonCount)
			return
		}
		from := c.off
		c.skipAny(s.Len)
		s.Content = c.since(from)
		w.out = s.Append(w.out)
	case RefDoc:
		w.out = s.appendHead(w.out)
		w.text(r.str())
		from := c.off
		c.options()
		w.out = append(w.out, c.since(from)...)
	default:
		c.fail(r.at[colInfo], reasonRef)
	}
}

// text writes a varString, with U+FFFD for lone halves.
func (w *v1Writer) text(p []byte) {
	w.out = AppendUvarint(w.out, uint64(len(p)))
	at := len(w.out)
	w.out = append(w.out, p...)
	replaceSurrogates(w.out[at:])
}

// jsonOfAny reads one value and writes it as a varString of JSON.
func (w *v1Writer) jsonOfAny(c *cursor) {
	from, depth := c.off, c.depth
	c.depth = 0
	c.skipAny(1)
	if c.depth > maxJSONDepth {
		c.failLimit(from, reasonDepth)
	}
	c.depth = max(depth, c.depth)
	if c.err != nil {
		return
	}
	v := cursor{b: c.b[:c.off], off: from}
	text, ok := appendJSONOfAny(w.json[:0], &v, w.most-w.size)
	w.json = text
	if v.err != nil {
		c.failLimit(from, reasonV2Size)
		return
	}
	if !ok {
		c.fail(from, reasonBigint)
		return
	}
	w.out = AppendVarBytes(w.out, text)
}

// deletes reads the delete set, by descending client.
func (r *readerV2) deletes() []Run {
	c := &r.rest
	var runs []Run
	sorted := true
	for range c.count(2) {
		client := c.uint()
		end := uint64(0)
		for range c.count(2) {
			at := c.off
			clock := end + c.uint()
			n := c.uint() + 1
			end = clock + n
			if end > maxClock {
				c.fail(at, reasonOverflow)
			}
			if c.err != nil {
				return nil
			}
			sorted = sorted && (len(runs) == 0 || runs[len(runs)-1].Client >= client)
			runs = append(runs, Run{client, clock, n})
		}
	}
	if !sorted {
		slices.SortStableFunc(runs, func(a, b Run) int { return cmp.Compare(b.Client, a.Client) })
	}
	return runs
}
