package yjs

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// lib0's primitives.
//
//	varUint    7 bits a byte, low group first, 0x80 = more; at most 2^53-1
//	varBytes   varUint length, bytes
//	varString  varBytes holding UTF-8
//	varInt     first byte: 0x80 more, 0x40 sign, 6 bits; then 7 bits a byte. Minus zero exists.

// MaxSafe is the largest client id, clock or length: 2^53-1, where JavaScript numbers stop being exact.
const MaxSafe = 1<<53 - 1

// maxClock bounds clocks while decoding, far above MaxSafe and far below an overflow of uint64 sums.
const maxClock = 1 << 60

// AppendUvarint appends n in its shortest form. n must be at most MaxSafe for Yjs to read it back.
func AppendUvarint(dst []byte, n uint64) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// uvarintLen is the number of bytes AppendUvarint appends.
func uvarintLen(n uint64) int {
	return (bits.Len64(n|1) + 6) / 7
}

// ReadUvarint reads a number of at most MaxSafe. Longer forms than needed are read, as Yjs does.
func ReadUvarint(b []byte) (n uint64, rest []byte, err error) {
	c := cursor{b: b}
	n = c.uint()
	if c.err == nil && n > MaxSafe {
		c.fail(0, reasonOverflow)
	}
	if c.err != nil {
		return 0, nil, c.err
	}
	return n, b[c.off:], nil
}

// AppendVarBytes appends p with its length in front.
func AppendVarBytes(dst, p []byte) []byte {
	return append(AppendUvarint(dst, uint64(len(p))), p...)
}

// ReadVarBytes reads a length and as many bytes. p aliases b.
func ReadVarBytes(b []byte) (p, rest []byte, err error) {
	c := cursor{b: b}
	p = c.bytes()
	if c.err != nil {
		return nil, nil, c.err
	}
	return p, b[c.off:], nil
}

// AppendVarString appends s with its length in front. s must be valid UTF-8, or Yjs will not read it.
func AppendVarString(dst []byte, s string) []byte {
	return append(AppendUvarint(dst, uint64(len(s))), s...)
}

// ReadVarString reads a string as ReadVarBytes does and checks that it is UTF-8. p aliases b.
func ReadVarString(b []byte) (p, rest []byte, err error) {
	c := cursor{b: b}
	p = c.str()
	if c.err != nil {
		return nil, nil, c.err
	}
	return p, b[c.off:], nil
}

// appendVarint appends a signed number; neg with mag 0 is minus zero.
func appendVarint(dst []byte, mag uint64, neg bool) []byte {
	first := byte(mag & 0x3f)
	if neg {
		first |= 0x40
	}
	mag >>= 6
	if mag > 0 {
		first |= 0x80
	}
	dst = append(dst, first)
	if mag > 0 {
		dst = AppendUvarint(dst, mag)
	}
	return dst
}

// cursor reads primitives from b. The first error sticks, and after it every read gives zero values; so callers may
// check once per struct. Loops over a count must check, or be bounded by the bytes left.
type cursor struct {
	b   []byte
	off int
	err error

	overlong bool // a varUint longer than needed was read since this was cleared
	depth    int  // deepest nesting of any values and JSON read
}

func (c *cursor) fail(off int, reason string) {
	if c.err == nil {
		c.err = &Error{Offset: off, Reason: reason}
	}
	c.off = len(c.b)
}

func (c *cursor) failLimit(off int, reason string) {
	if c.err == nil {
		c.err = &Error{Offset: off, Reason: reason, Limit: true}
	}
	c.off = len(c.b)
}

func (c *cursor) left() int { return len(c.b) - c.off }

func (c *cursor) byte() byte {
	if c.off >= len(c.b) {
		c.fail(c.off, reasonTruncated)
		return 0
	}
	x := c.b[c.off]
	c.off++
	return x
}

// uint reads a varUint below 2^56, a little more than MaxSafe, as lib0 does. Update.Parse checks MaxSafe.
func (c *cursor) uint() uint64 {
	if c.off < len(c.b) {
		if x := c.b[c.off]; x < 0x80 {
			c.off++
			return uint64(x)
		}
	}
	return c.uintSlow()
}

func (c *cursor) uintSlow() uint64 {
	if len(c.b)-c.off >= 8 {
		w := binary.LittleEndian.Uint64(c.b[c.off:])
		if last := ^w & 0x8080808080808080; last != 0 {
			n := bits.TrailingZeros64(last) + 1 // bits up to the end of the last byte
			c.off += n / 8
			if c.b[c.off-1] == 0 {
				c.overlong = true
			}
			// Seven bits of each byte, pushed together.
			w &= 0x7f7f7f7f7f7f7f7f >> (64 - n)
			w = w&0x007f007f007f007f | w&0x7f007f007f007f00>>1
			w = w&0x00003fff00003fff | w&0x3fff00003fff0000>>2
			return w&0x000000000fffffff | w&0x0fffffff00000000>>4
		}
	}
	return c.uintBytes()
}

// uintBytes is uint byte by byte: near the end of the input, and for forms of more than eight bytes.
func (c *cursor) uintBytes() uint64 {
	var n uint64
	for i, x := range c.b[c.off:] {
		if i < 8 {
			n |= uint64(x&0x7f) << (7 * i)
		} else if x&0x7f != 0 {
			c.fail(c.off, reasonOverflow)
			return 0
		}
		if x < 0x80 {
			if x == 0 && i > 0 {
				c.overlong = true
			}
			c.off += i + 1
			return n
		}
	}
	c.fail(c.off, reasonTruncated)
	return 0
}

// skipID passes two varUints.
func (c *cursor) skipID() {
	const high = 0x8080808080808080
	if len(c.b)-c.off >= 8 {
		w := binary.LittleEndian.Uint64(c.b[c.off:])
		last := ^w & high
		last &= last - 1 // the second byte that ends a number
		if last != 0 {
			n := bits.TrailingZeros64(last) + 1
			c.off += n / 8
			// A number ends in a zero byte after others: longer than needed.
			zero := ^((w&^high + ^uint64(high)) | w) & high
			if zero&(w<<8)&(high>>(64-n)) != 0 {
				c.overlong = true
			}
			return
		}
	}
	c.uint()
	c.uint()
}

// int reads a varInt as magnitude and sign.
func (c *cursor) int() (mag uint64, neg bool) {
	start := c.off
	x := c.byte()
	mag, neg = uint64(x&0x3f), x&0x40 != 0
	if x >= 0x80 {
		hi := c.uint()
		if hi > 1<<49 { // twice MaxSafe, as differences are written, and some
			c.fail(start, reasonOverflow)
			return 0, false
		}
		mag |= hi << 6
	}
	return mag, neg
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b)-c.off {
		c.fail(c.off, reasonTruncated)
		return nil
	}
	p := c.b[c.off : c.off+n : c.off+n]
	c.off += n
	return p
}

// bytes reads a varBytes; the result aliases the input.
func (c *cursor) bytes() []byte {
	start := c.off
	n := c.uint()
	if n > uint64(len(c.b)-c.off) {
		c.fail(start, reasonTruncated)
		return nil
	}
	p := c.b[c.off : c.off+int(n) : c.off+int(n)]
	c.off += int(n)
	return p
}

// str reads a varString and checks its UTF-8.
func (c *cursor) str() []byte {
	start := c.off
	p := c.bytes()
	if c.err == nil && !utf8.Valid(p) {
		c.fail(start, reasonUTF8)
		return nil
	}
	return p
}

// count reads the number of things that follow, each at least size bytes long.
func (c *cursor) count(size int) uint64 {
	start := c.off
	n := c.uint()
	if n > uint64(len(c.b)-c.off)/uint64(size) {
		if c.err == nil {
			c.fail(start, reasonCount)
		}
		return 0
	}
	return n
}
