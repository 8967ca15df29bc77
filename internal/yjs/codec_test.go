package yjs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

type codecVectors struct {
	VarUint []struct {
		Value uint64
		Bytes []byte
	}
	VarInt []struct {
		Value json.RawMessage
		Bytes []byte
	}
	VarString []struct {
		UTF16 []uint16
		Bytes []byte
	}
	Any []struct {
		Value json.RawMessage
		Bytes []byte
	}
	UintOptRle []struct {
		Values []uint64
		Bytes  []byte
	}
	IntDiffOptRle []struct {
		Values []uint64
		Bytes  []byte
	}
	RleUint8 []struct {
		Values []uint64
		Bytes  []byte
	}
	StringEncoder []struct {
		UTF16 [][]uint16
		Bytes []byte
	}
	StateVectors []struct {
		Entries [][2]uint64
		Bytes   []byte
	}
	StateVectorDecode []struct {
		Bytes  []byte
		Result json.RawMessage
	}
}

func codecCases(t *testing.T) (v codecVectors) {
	vectors(t, "codec.json", &v)
	if len(v.VarUint) == 0 || len(v.Any) == 0 || len(v.StringEncoder) == 0 {
		t.Fatal("vectors are missing")
	}
	return v
}

// wtf8 is UTF-16 as WTF-8: pairs as one character, lone halves as three bytes.
func wtf8(units []uint16) (out []byte) {
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if i+1 < len(units) {
			if pair := utf16.DecodeRune(r, rune(units[i+1])); pair != utf8.RuneError {
				out = utf8.AppendRune(out, pair)
				i++
				continue
			}
		}
		if utf16.IsSurrogate(r) {
			out = append(out, 0xe0|byte(r>>12), 0x80|byte(r>>6&0x3f), 0x80|byte(r&0x3f))
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

func TestNumbersAndStringsEqualLib0(t *testing.T) {
	v := codecCases(t)
	for _, c := range v.VarUint {
		if got := AppendUvarint(nil, c.Value); !bytes.Equal(got, c.Bytes) {
			t.Errorf("uvarint %d: got %x, want %x", c.Value, got, c.Bytes)
		}
		if n, rest, err := ReadUvarint(c.Bytes); n != c.Value || len(rest) != 0 || err != nil {
			t.Errorf("uvarint %x: got %d %x %v, want %d", c.Bytes, n, rest, err, c.Value)
		}
		if got := uvarintLen(c.Value); got != len(c.Bytes) {
			t.Errorf("length of %d: got %d, want %d", c.Value, got, len(c.Bytes))
		}
	}
	for _, c := range v.VarInt {
		cur := cursor{b: c.Bytes}
		mag, neg := cur.int()
		got := strconv.FormatUint(mag, 10)
		if neg {
			got = "-" + got
		}
		want := string(c.Value)
		if want == `{"$num":"-0"}` {
			want = "-0"
		}
		if got != want || cur.err != nil || cur.left() != 0 {
			t.Errorf("varint %x: got %s %v, want %s", c.Bytes, got, cur.err, want)
		}
		if b := appendVarint(nil, mag, neg); !bytes.Equal(b, c.Bytes) {
			t.Errorf("varint %s: got %x, want %x", want, b, c.Bytes)
		}
	}
	for _, c := range v.VarString {
		p := wtf8(c.UTF16)
		replaceSurrogates(p)
		if got := AppendVarString(nil, string(p)); !bytes.Equal(got, c.Bytes) {
			t.Errorf("string %v: got %x, want %x", c.UTF16, got, c.Bytes)
		}
		got, rest, err := ReadVarString(c.Bytes)
		if !bytes.Equal(got, p) || len(rest) != 0 || err != nil {
			t.Errorf("string %x: got %q %v", c.Bytes, got, err)
		}
		if n, ok := utf16Len(got); n != len(c.UTF16) || !ok {
			t.Errorf("length of %q: got %d %v, want %d", got, n, ok, len(c.UTF16))
		}
	}
}

func TestStringsThatAreNotUTF8AreRefused(t *testing.T) {
	for _, p := range []string{"\xff", "a\xc3", "\xed\xa0\xbd", "\xed\xb8\x80", "\xf4\x90\x80\x80", "\xc0\x80", "12345678\x80", "\xe2\x82"} {
		if _, _, err := ReadVarString(AppendVarString(nil, p)); err == nil {
			t.Errorf("%q: got no error", p)
		}
		if _, ok := utf16Len([]byte(p)); ok {
			t.Errorf("%q: got a length", p)
		}
	}
}

func TestAnyValuesEqualLib0(t *testing.T) {
	for _, c := range codecCases(t).Any {
		cur := cursor{b: append(slices.Clone(c.Bytes), 0xaa)}
		cur.skipAny(1)
		if cur.err != nil || cur.off != len(c.Bytes) {
			t.Errorf("%s: got end %d %v, want %d", c.Value, cur.off, cur.err, len(c.Bytes))
		}
		for k := range c.Bytes {
			cut := cursor{b: c.Bytes[:k]}
			if cut.skipAny(1); cut.err == nil {
				t.Errorf("%s cut at %d: got no error", c.Value, k)
			}
		}
		if bytes.Contains(c.Value, []byte(`"$`)) { // what JSON has not
			continue
		}
		if got := appendAnyOfJSON(nil, c.Value); !bytes.Equal(got, c.Bytes) && string(c.Value) != `{"a":{"c":[]},"b":1}` { // the vector's keys are sorted
			t.Errorf("%s: got %x, want %x", c.Value, got, c.Bytes)
		}
	}
}

func TestJSONBecomesAnyAndJSONAgain(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`null`, ``}, {`true`, ``}, {` false `, `false`}, {`"x"`, ``}, {`""`, ``}, {`[]`, ``}, {`{}`, ``},
		{`0`, ``}, {`-0`, `0`}, {`2147483647`, ``}, {`-2147483647`, ``}, {`2147483648`, ``}, {`1e3`, `1000`}, {`1.50`, `1.5`},
		{`0.1`, ``}, {`1e21`, `1e+21`}, {`1e-7`, ``}, {`123456789012345680000`, ``}, {`1e400`, `null`}, {`5e-324`, ``},
		{`[1,[2,[3,{"a":[null]}]]]`, ``}, {"{\"a\" :\t[ 1 , 2 ],\n\"b\":{}}", `{"a":[1,2],"b":{}}`},
		{`"\u00e9\ud83d\ude00\n\"\\\/"`, `"é😀\n\"\\/"`}, {`"\ud83d"`, `"�"`}, {`"\ude00\ud83dx"`, `"��x"`}, {`{"\u0061":"\u0001\u007f"}`, "{\"a\":\"\\u0001\u007f\"}"},
		{`{"__proto__":1}`, ``}, {"\"\u2028\"", ``},
	} {
		if c.want == "" {
			c.want = c.in
		}
		if _, ok := jsonDepth([]byte(c.in)); !ok {
			t.Errorf("%s: got invalid", c.in)
			continue
		}
		v := cursor{b: appendAnyOfJSON(nil, []byte(c.in))}
		got, ok := appendJSONOfAny(nil, &v, 1<<30)
		if string(got) != c.want || !ok || v.left() != 0 {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
	}
	// More than 127 members: the count takes two bytes.
	long := "[" + string(bytes.Repeat([]byte("7,"), 299)) + "7]"
	v := cursor{b: appendAnyOfJSON(nil, []byte(long))}
	if got, _ := appendJSONOfAny(nil, &v, 1<<30); string(got) != long {
		t.Errorf("long array: got %s", got)
	}
}

func TestJSONIsJudgedAsByTheStandardLibrary(t *testing.T) {
	cases := []string{``, ` `, `nul`, `nulll`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `+1`, `--1`, `"`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\n\"", `[`, `[1`, `[1,`, `[,]`, `[1,]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{1:1}`, `[1}`, `{"a":1]`, `1 2`, `[] []`, `undefined`, `NaN`, `Infinity`, `'a'`, `/**/1`, `[[[[]]]]`, `{"a":{"b":[{},{"c":null}]}}`, "\ufeff1", `[1 2]`, `{"a":1 "b":2}`, "\u00a01", `"\u0000"`}
	for _, c := range cases {
		_, got := jsonDepth([]byte(c))
		if want := json.Valid([]byte(c)); got != want {
			t.Errorf("%q: got %v, want %v", c, got, want)
		}
	}
	if depth, _ := jsonDepth([]byte(`[[{"a":[1]}],2]`)); depth != 4 {
		t.Errorf("depth: got %d, want 4", depth)
	}
}

func TestColumnsEqualLib0(t *testing.T) {
	v := codecCases(t)
	for _, c := range v.UintOptRle {
		var w uintOptRleWriter
		for _, x := range c.Values {
			w.write(x)
		}
		w.flush()
		if !bytes.Equal(w.b, c.Bytes) {
			t.Errorf("uintOptRle %v: got %x, want %x", c.Values, w.b, c.Bytes)
		}
		r := uintOptRleReader{c: cursor{b: c.Bytes}}
		readAll(t, c.Values, r.read)
	}
	for _, c := range v.IntDiffOptRle {
		var w intDiffOptRleWriter
		for _, x := range c.Values {
			w.write(x)
		}
		w.flush()
		if !bytes.Equal(w.b, c.Bytes) {
			t.Errorf("intDiffOptRle %v: got %x, want %x", c.Values, w.b, c.Bytes)
		}
		r := intDiffOptRleReader{c: cursor{b: c.Bytes}}
		readAll(t, c.Values, r.read)
	}
	for _, c := range v.RleUint8 {
		var w rleWriter
		for _, x := range c.Values {
			w.write(byte(x))
		}
		if !bytes.Equal(w.b, c.Bytes) {
			t.Errorf("rle %v: got %x, want %x", c.Values, w.b, c.Bytes)
		}
		r := rleReader{c: cursor{b: c.Bytes}}
		for i, want := range c.Values {
			if got, ok := r.read(); uint64(got) != want || !ok {
				t.Errorf("rle %x at %d: got %d %v, want %d", c.Bytes, i, got, ok, want)
			}
		}
	}
	for _, c := range v.StringEncoder {
		var w stringsWriter
		for _, units := range c.UTF16 {
			w.write(wtf8(units), uint64(len(units)))
		}
		w.lengths.flush()
		// Halves that meet in the column are a pair; those that stay alone are lost, as in lib0.
		var all []uint16
		for _, units := range c.UTF16 {
			all = append(all, units...)
		}
		text := wtf8(all)
		replaceSurrogates(text)
		if got := append(AppendVarBytes(nil, text), w.lengths.b...); !bytes.Equal(got, c.Bytes) {
			t.Errorf("strings %v: got %x, want %x", c.UTF16, got, c.Bytes)
		}
		r, ok := newStringsReader(c.Bytes)
		if !ok {
			t.Errorf("strings %x: not readable", c.Bytes)
		}
		all = utf16.Encode([]rune(string(text)))
		for i, units := range c.UTF16 {
			want := wtf8(all[:len(units)])
			all = all[len(units):]
			if got, ok := r.read(); !bytes.Equal(got, want) || !ok {
				t.Errorf("strings %x at %d: got %x %v, want %x", c.Bytes, i, got, ok, want)
			}
		}
		if got, ok := r.read(); ok {
			t.Errorf("strings %x past the end: got %q", c.Bytes, got)
		}
	}
}

func readAll(t *testing.T, values []uint64, read func() (uint64, bool)) {
	t.Helper()
	for i, want := range values {
		if got, ok := read(); got != want || !ok {
			t.Errorf("%v at %d: got %d %v", values, i, got, ok)
		}
	}
	if got, ok := read(); ok {
		t.Errorf("%v past the end: got %d, want none", values, got)
	}
}

func TestStateVectorsEqualYjs(t *testing.T) {
	v := codecCases(t)
	for _, c := range v.StateVectors {
		sv := StateVector{}
		for _, e := range c.Entries {
			sv[e[0]] = e[1]
		}
		if got := sv.Append(nil); !bytes.Equal(got, c.Bytes) {
			t.Errorf("%v: got %x, want %x", sv, got, c.Bytes)
		}
	}
	for _, c := range v.StateVectorDecode {
		got, err := DecodeStateVector(c.Bytes)
		if len(c.Bytes) == 0 { // yjs throws; clients that send nothing mean nothing
			if err != nil || len(got) != 0 {
				t.Errorf("no bytes: got %v %v, want the empty vector", got, err)
			}
			continue
		}
		var want [][2]uint64
		if json.Unmarshal(c.Result, &want) != nil {
			if err == nil {
				t.Errorf("%x: got %v, want an error", c.Bytes, got)
			}
			continue
		}
		sv := StateVector{}
		for _, e := range want {
			sv[e[0]] = e[1]
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(sv) {
			t.Errorf("%x: got %v %v, want %v", c.Bytes, got, err, sv)
		}
	}
}

func TestBadStateVectorsAreRefused(t *testing.T) {
	var m struct {
		Meta struct {
			StateVectors []struct {
				Bytes  []byte
				Decode json.RawMessage
			}
		}
	}
	vectors(t, "malformed-v2.json", &m)
	for _, c := range m.Meta.StateVectors {
		_, err := DecodeStateVector(c.Bytes)
		if want := c.Decode[0] == '{' && len(c.Bytes) > 0; (err != nil) != want {
			t.Errorf("%x: got %v, want an error: %v", c.Bytes, err, want)
		}
	}
}

func TestNumbersBeyondTheRangeAreRefused(t *testing.T) {
	for _, n := range []uint64{MaxSafe + 1, 1 << 60, math.MaxUint64} {
		if got, _, err := ReadUvarint(AppendUvarint(nil, n)); err == nil {
			t.Errorf("%d: got %d", n, got)
		}
	}
	if n, _, err := ReadUvarint([]byte{0x81, 0x80, 0x00}); n != 1 || err != nil {
		t.Errorf("longer form than needed: got %d %v, want 1", n, err)
	}
}

// Numbers are read in words where eight bytes are left, and byte by byte elsewhere: both must agree, on longer forms than needed
// too.
func TestNumbersAreReadAlikeInWordsAndBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 5))
	for range 200_000 {
		var b []byte
		for range 2 {
			b = AppendUvarint(b, rnd.Uint64()>>(8+rnd.IntN(56)))
			if rnd.IntN(4) == 0 { // pad
				b[len(b)-1] |= 0x80
				b = append(b, 0)
			}
		}
		n := len(b)
		b = append(b, make([]byte, rnd.IntN(9))...)
		if len(b) > n && rnd.IntN(2) == 0 {
			b[n] = byte(rnd.Uint32())
		}
		one := cursor{b: b}
		x, y := one.uint(), one.uint()
		two := cursor{b: b}
		p, q := two.uintBytes(), two.uintBytes()
		three := cursor{b: b}
		three.skipID()
		if x != p || y != q || one.off != two.off || one.overlong != two.overlong || three.off != two.off || three.overlong != two.overlong || two.off != n {
			t.Fatalf("%x: got %d %d to %d %v, %d %v, want %d %d to %d %v", b, x, y, one.off, one.overlong, three.off, three.overlong, p, q, two.off, two.overlong)
		}
	}
}
