package yjs

import (
	"encoding/binary"
	"unicode/utf8"
)

// content reads the content of the item that begins at offset item, and sets Len and Content.
func (c *cursor) content(s *Struct, item int) {
	start := c.off
	switch s.Info & infoRef {
	case RefString:
		p := c.bytes()
		if c.err != nil {
			return
		}
		n, ok := utf16Len(p)
		if !ok {
			c.fail(start, reasonUTF8)
			return
		}
		s.Len, s.Content = uint64(n), p
		return
	case RefDeleted:
		s.Len = c.uint()
	case RefJSON:
		s.Len = c.count(1)
		from := c.off
		for range s.Len {
			at := c.off
			p := c.str()
			if c.err != nil {
				return
			}
			if string(p) != "undefined" {
				c.checkJSON(at, p)
			}
		}
		s.Content = c.since(from)
	case RefBinary:
		s.Len, s.Content = 1, c.bytes()
	case RefEmbed:
		s.Len, s.Content = 1, c.json()
	case RefFormat:
		s.Len = 1
		c.str()
		c.json()
		s.Content = c.since(start)
	case RefType:
		s.Len = 1
		switch t := c.uint(); {
		case t > TypeXMLText:
			c.fail(start, reasonType)
			return
		case t == TypeXMLElement || t == TypeXMLHook:
			c.str()
		}
		s.Content = c.since(start)
	case RefAny:
		s.Len = c.count(1)
		from := c.off
		c.skipAny(s.Len)
		s.Content = c.since(from)
	case RefDoc:
		s.Len = 1
		c.str()
		c.options()
		s.Content = c.since(start)
	default:
		c.fail(item, reasonRef)
	}
}

// options reads the options of a sub-document. Yjs reads properties of them and throws on null and undefined.
func (c *cursor) options() {
	if at := c.off; at < len(c.b) && (c.b[at] == anyNull || c.b[at] == anyUndefined) {
		c.fail(at, reasonOptions)
		return
	}
	c.skipAny(1)
}

// since returns the bytes read since off.
func (c *cursor) since(off int) []byte {
	if c.err != nil {
		return nil
	}
	return c.b[off:c.off:c.off]
}

func (c *cursor) json() []byte {
	start := c.off
	p := c.str()
	if c.err == nil {
		c.checkJSON(start, p)
	}
	return p
}

// checkJSON fails at off unless p is JSON. p is valid UTF-8.
func (c *cursor) checkJSON(off int, p []byte) {
	switch string(p) { // the usual values in formats
	case "null", "true", "false", "{}", `""`:
		return
	}
	depth, ok := jsonDepth(p)
	if !ok {
		c.fail(off, reasonJSON)
	}
	c.depth = max(c.depth, depth)
}

// utf16Len returns the length of UTF-8 text in UTF-16 code units, or false if p is not UTF-8.
func utf16Len(p []byte) (n int, ok bool) {
	n = len(p)
	for len(p) >= 8 {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return utf16LenSlow(p, n-len(p))
		}
		p = p[8:]
	}
	for i, x := range p {
		if x >= 0x80 {
			return utf16LenSlow(p[i:], n-len(p)+i)
		}
	}
	return n, true
}

func utf16LenSlow(p []byte, n int) (int, bool) {
	for i := 0; i < len(p); {
		if p[i] < 0x80 {
			i++
			n++
			continue
		}
		r, size := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && size == 1 {
			return 0, false
		}
		i += size
		n++
		if r > 0xffff {
			n++
		}
	}
	return n, true
}

// wtf16Len is utf16Len for text known to be UTF-8 or WTF-8.
func wtf16Len(p []byte) (n uint64) {
	for _, x := range p {
		if x < 0x80 || x >= 0xc0 {
			n++
		}
		if x >= 0xf0 {
			n++
		}
	}
	return n
}

// utf16Offset returns the byte offset of UTF-16 unit k of p. If k is inside a surrogate pair, off is the pair's first byte
// and half is true. p is valid UTF-8 or WTF-8.
func utf16Offset(p []byte, k uint64) (off int, half bool) {
	for k > 0 && off < len(p) {
		switch x := p[off]; {
		case x < 0x80:
			off++
		case x < 0xe0:
			off += 2
		case x < 0xf0:
			off += 3
		default:
			if k == 1 {
				return off, true
			}
			off += 4
			k--
		}
		k--
	}
	return min(off, len(p)), false
}

const replacement = "\xef\xbf\xbd" // U+FFFD

func dropString(p []byte, k uint64) []byte {
	off, half := utf16Offset(p, k)
	if !half {
		return p[off:]
	}
	q := make([]byte, 0, len(replacement)+len(p)-off-4)
	return append(append(q, replacement...), p[off+4:]...)
}

func keepString(p []byte, k uint64) []byte {
	off, half := utf16Offset(p, k)
	if !half {
		return p[:off:off]
	}
	q := make([]byte, 0, off+len(replacement))
	return append(append(q, p[:off]...), replacement...)
}

// replaceSurrogates turns lone surrogates (WTF-8) into U+FFFD, which has the same length.
func replaceSurrogates(p []byte) {
	for i := 0; i+2 < len(p); i++ {
		if p[i] == 0xed && p[i+1] >= 0xa0 {
			copy(p[i:], replacement)
		}
	}
}

func dropJSON(p []byte, k uint64) []byte {
	c := cursor{b: p}
	for range k {
		c.bytes()
	}
	return p[c.off:]
}

func dropAny(p []byte, k uint64) []byte {
	c := cursor{b: p}
	c.skipAny(k)
	return p[c.off:]
}
