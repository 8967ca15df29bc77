package yjs

// The columns of update V2 are run-length codes of lib0. A decoder here fails at the end of its column; lib0 returns zeros
// instead. Only the last run of rle has no end on the wire.
//
//	uintOptRle    a value once: varInt(v). k >= 2 times: varInt(-v), varUint(k-2); of zeros minus zero
//	intDiffOptRle against the value before, from 0: varInt(2·diff + (1 if a run)), and varUint(k-2) if a run
//	rle           bytes: value, varUint(k-1) if another follows
//	strings       varString of all together, then uintOptRle of their lengths in UTF-16 units

type uintOptRleReader struct {
	c     cursor
	value uint64
	count uint64
}

func (r *uintOptRleReader) read() (uint64, bool) {
	if r.count == 0 {
		v, run := r.c.int()
		r.value, r.count = v, 1
		if run {
			r.count = r.c.uint() + 2
		}
		if r.c.err != nil {
			r.count = 0
			return 0, false
		}
	}
	r.count--
	return r.value, true
}

type uintOptRleWriter struct {
	b     []byte
	value uint64
	count uint64
}

func (w *uintOptRleWriter) write(v uint64) {
	if w.value == v {
		w.count++
		return
	}
	w.flush()
	w.value, w.count = v, 1
}

func (w *uintOptRleWriter) flush() {
	if w.count == 0 {
		return
	}
	w.b = appendVarint(w.b, w.value, w.count > 1)
	if w.count > 1 {
		w.b = AppendUvarint(w.b, w.count-2)
	}
	w.count = 0
}

type intDiffOptRleReader struct {
	c     cursor
	value int64
	diff  int64
	count uint64
}

func (r *intDiffOptRleReader) read() (uint64, bool) {
	if r.count == 0 {
		mag, neg := r.c.int()
		d := int64(mag)
		if neg {
			d = -d
		}
		r.diff, r.count = d>>1, 1 // rounds down, as Math.floor does
		if d&1 != 0 {
			r.count = r.c.uint() + 2
		}
		if r.c.err != nil {
			r.count = 0
			return 0, false
		}
	}
	r.count--
	r.value += r.diff
	if r.value < 0 || r.value > maxClock {
		return 0, false
	}
	return uint64(r.value), true
}

type intDiffOptRleWriter struct {
	b     []byte
	value int64
	diff  int64
	count uint64
}

func (w *intDiffOptRleWriter) write(v uint64) {
	d := int64(v) - w.value
	w.value = int64(v)
	if w.diff == d {
		w.count++
		return
	}
	w.flush()
	w.diff, w.count = d, 1
}

func (w *intDiffOptRleWriter) flush() {
	if w.count == 0 {
		return
	}
	d := w.diff * 2
	if w.count > 1 {
		d++
	}
	if d < 0 {
		w.b = appendVarint(w.b, uint64(-d), true)
	} else {
		w.b = appendVarint(w.b, uint64(d), false)
	}
	if w.count > 1 {
		w.b = AppendUvarint(w.b, w.count-2)
	}
	w.count = 0
}

type rleReader struct {
	c     cursor
	value byte
	count uint64
	last  bool
}

func (r *rleReader) read() (byte, bool) {
	if r.last {
		return r.value, true
	}
	if r.count == 0 {
		r.value = r.c.byte()
		if r.c.err != nil {
			return 0, false
		}
		if r.c.left() == 0 {
			r.last = true
			return r.value, true
		}
		r.count = r.c.uint() + 1
		if r.c.err != nil {
			r.count = 0
			return 0, false
		}
	}
	r.count--
	return r.value, true
}

type rleWriter struct {
	b     []byte
	value byte
	count uint64
}

func (w *rleWriter) write(v byte) {
	if w.count > 0 && w.value == v {
		w.count++
		return
	}
	if w.count > 0 {
		w.b = AppendUvarint(w.b, w.count-1)
	}
	w.b = append(w.b, v)
	w.value, w.count = v, 1
}

type stringsReader struct {
	text    []byte
	half    bool // the first unit of the pair at the start of text has been read
	lengths uintOptRleReader
}

func newStringsReader(column []byte) (r stringsReader, ok bool) {
	c := cursor{b: column}
	r.text = c.str()
	r.lengths.c = cursor{b: column[c.off:]}
	return r, c.err == nil
}

// read returns the next string. A string that begins or ends inside a surrogate pair is returned as a WTF-8 copy.
func (r *stringsReader) read() ([]byte, bool) {
	n, ok := r.lengths.read()
	if !ok {
		return nil, false
	}
	if n == 0 {
		return r.text[:0:0], true
	}
	begin, start := r.half, 0
	if begin {
		n--
		start = 4
	}
	off, end := 0, false
	if n > 0 {
		if n > uint64(len(r.text)-start) {
			return nil, false
		}
		off, end = utf16Offset(r.text[start:], n)
		if !end && off == len(r.text)-start && wtf16Len(r.text[start:]) < n {
			return nil, false
		}
	}
	p := r.text[start : start+off : start+off]
	if begin || end {
		q := make([]byte, 0, off+6)
		if begin {
			q = appendSurrogate(q, r.text, true)
		}
		q = append(q, p...)
		if end {
			q = appendSurrogate(q, r.text[start+off:], false)
		}
		p = q
	}
	r.text, r.half = r.text[start+off:], end
	return p, true
}

// appendSurrogate appends the first or second half of the pair that p begins with, as WTF-8.
func appendSurrogate(dst, p []byte, second bool) []byte {
	r := rune(p[0]&7)<<18 | rune(p[1]&0x3f)<<12 | rune(p[2]&0x3f)<<6 | rune(p[3]&0x3f)
	u := 0xd800 + (r-0x10000)>>10
	if second {
		u = 0xdc00 + (r-0x10000)&0x3ff
	}
	return append(dst, 0xe0|byte(u>>12), 0x80|byte(u>>6&0x3f), 0x80|byte(u&0x3f))
}

type stringsWriter struct {
	text    []byte
	lengths uintOptRleWriter
}

func (w *stringsWriter) write(p []byte, units uint64) {
	w.text = append(w.text, p...)
	w.lengths.write(units)
}
