package yjs

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Embeds and formats hold JSON in V1 and an any value in V2. These functions convert between the two as JSON.parse and
// JSON.stringify do. Object keys keep their order.

// appendJSONOfAny appends the any value at v as JSON. v must have been checked. It returns false for a bigint, which JSON
// cannot hold, and when dst grows beyond most bytes; v then has the error.
func appendJSONOfAny(dst []byte, v *cursor, most int) ([]byte, bool) {
	ok := true
	if len(dst) > most {
		v.failLimit(v.off, reasonV2Size)
		return dst, false
	}
	switch tag := v.byte(); tag {
	case anyInteger, anyFloat32, anyFloat64:
		f := v.number(tag)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return append(dst, "null"...), true
		}
		return appendJSNumber(dst, f), true
	case anyFalse:
		return append(dst, "false"...), true
	case anyTrue:
		return append(dst, "true"...), true
	case anyString:
		return appendJSONString(dst, v.bytes()), true
	case anyBigint:
		return dst, false
	case anyBytes: // JSON.stringify treats a Uint8Array as an object
		dst = append(dst, '{')
		for i, x := range v.bytes() {
			if len(dst) > most {
				v.failLimit(v.off, reasonV2Size)
				return dst, false
			}
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(strconv.AppendInt(append(dst, '"'), int64(i), 10), `":`...)
			dst = strconv.AppendInt(dst, int64(x), 10)
		}
		return append(dst, '}'), true
	case anyArray:
		dst = append(dst, '[')
		for i := range v.uint() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, ok = appendJSONOfAny(dst, v, most); !ok {
				return dst, false
			}
		}
		return append(dst, ']'), true
	case anyObject:
		dst = append(dst, '{')
		first := true
		for range v.uint() {
			key := v.bytes()
			if v.off < len(v.b) && v.b[v.off] == anyUndefined {
				v.off++
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendJSONString(dst, key), ':')
			if dst, ok = appendJSONOfAny(dst, v, most); !ok {
				return dst, false
			}
		}
		return append(dst, '}'), true
	}
	return append(dst, "null"...), true // null and undefined
}

// appendAnyOfJSON appends checked JSON as an any value.
func appendAnyOfJSON(dst, p []byte) []byte {
	dst, _ = anyOfJSON(dst, p, jsonSpace(p, 0))
	return dst
}

// anyOfJSON appends the value that begins at i and returns where it ends.
func anyOfJSON(dst, p []byte, i int) ([]byte, int) {
	switch p[i] {
	case 'n':
		return append(dst, anyNull), i + 4
	case 't':
		return append(dst, anyTrue), i + 4
	case 'f':
		return append(dst, anyFalse), i + 5
	case '"':
		return appendUnquoted(append(dst, anyString), p, i)
	case '[', '{':
		open := p[i]
		if open == '[' {
			dst = append(dst, anyArray)
		} else {
			dst = append(dst, anyObject)
		}
		at := len(dst)
		n := uint64(0)
		i = jsonSpace(p, i+1)
		for p[i] != open+2 {
			if p[i] == ',' {
				i = jsonSpace(p, i+1)
			}
			if open == '{' {
				dst, i = appendUnquoted(dst, p, i)
				i = jsonSpace(p, jsonSpace(p, i)+1) // the colon
			}
			dst, i = anyOfJSON(dst, p, i)
			i = jsonSpace(p, i)
			n++
		}
		// Insert the count before the elements.
		var count [10]byte
		size := uvarintLen(n)
		dst = append(dst, count[:size]...)
		copy(dst[at+size:], dst[at:len(dst)-size])
		AppendUvarint(dst[:at], n)
		return dst, i + 1
	}
	end, _ := jsonNumber(p, i)
	f, _ := strconv.ParseFloat(string(p[i:end]), 64) // out of range: an infinity, as in JavaScript
	return appendAnyNumber(dst, f), end
}

// appendAnyNumber appends f in the form that lib0 chooses: integer, float32 or float64.
func appendAnyNumber(dst []byte, f float64) []byte {
	switch {
	case f == math.Trunc(f) && math.Abs(f) <= math.MaxInt32:
		return appendVarint(append(dst, anyInteger), uint64(math.Abs(f)), math.Signbit(f))
	case float64(float32(f)) == f:
		return binary.BigEndian.AppendUint32(append(dst, anyFloat32), math.Float32bits(float32(f)))
	}
	return binary.BigEndian.AppendUint64(append(dst, anyFloat64), math.Float64bits(f))
}

// appendUnquoted appends the JSON string that begins at i as a varString and returns its end. A lone surrogate, which only
// an escape can produce, becomes U+FFFD.
func appendUnquoted(dst, p []byte, i int) ([]byte, int) {
	end, _ := jsonString(p, i)
	raw := p[i+1 : end-1]
	text := make([]byte, 0, len(raw))
	for j := 0; j < len(raw); j++ {
		if raw[j] != '\\' {
			text = append(text, raw[j])
			continue
		}
		j++
		switch raw[j] {
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		case 'u':
			r := hexUnit(raw[j+1:])
			j += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if j+6 < len(raw) && raw[j+1] == '\\' && raw[j+2] == 'u' {
					pair = utf16.DecodeRune(r, hexUnit(raw[j+3:]))
				}
				if pair != utf8.RuneError {
					j += 6
				}
				r = pair
			}
			text = utf8.AppendRune(text, r)
		default:
			text = append(text, raw[j])
		}
	}
	return AppendVarBytes(dst, text), end
}

func hexUnit(p []byte) rune {
	n, _ := strconv.ParseUint(string(p[:4]), 16, 16)
	return rune(n)
}
