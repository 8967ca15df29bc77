package name

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// A path encodes a document's name as tokens of a subject or key, one for each segment, joined by dots. In a token
//
//	A-Z a-z 0-9 - _   stay
//	any other byte    becomes =XX, upper-case hex
//
// A path above 200 bytes or 12 tokens is hashed: its leading tokens that fit in 120 bytes, then a token of == and 32 characters of
// base32(SHA-256(name)). Elsewhere = is always followed by hex, so the two forms never collide.
const (
	maxPath   = 200 // bytes
	maxTokens = 12
	cutPath   = 120 // bytes
	hashChars = 32
	upperHex  = "0123456789ABCDEF"
)

// Path returns the document's name as the tail of a subject. It escapes bytes that a Doc cannot have, too: no name can end a subject
// or widen a filter.
func (d Doc) Path() string {
	if len(d) <= maxPath && plain(string(d)) {
		return string(d)
	}
	b, tokens, cut := encode(string(d))
	if len(b) <= maxPath && tokens <= maxTokens {
		return string(b)
	}
	sum := sha256.Sum256([]byte(d))
	if b = b[:cut]; cut > 0 {
		b = append(b, '.')
	}
	b = append(b, "=="...)
	return string(b) + base32.StdEncoding.EncodeToString(sum[:])[:hashChars]
}

// plain reports whether a name is one segment that needs no escape.
func plain(s string) bool {
	for i := range len(s) {
		if !stays(s[i]) {
			return false
		}
	}
	return true
}

// encode encodes a name's segments as tokens and skips empty segments. cut is the length of the leading tokens that fit in cutPath
// bytes.
func encode(s string) (b []byte, tokens, cut int) {
	b = make([]byte, 0, len(s)+16)
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "" {
			continue
		}
		if tokens++; tokens > 1 {
			b = append(b, '.')
		}
		b = escape(b, seg)
		if len(b) <= cutPath {
			cut = len(b)
		}
	}
	return b, tokens, cut
}

func escape(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; stays(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

func stays(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// Token encodes any text as one token, by the rules of a path. Above 200 bytes it is hashed: at most its first 120 bytes, not cut
// inside an escape, then the hash.
func Token(s string) string {
	b := escape(make([]byte, 0, len(s)+16), s)
	if len(b) <= maxPath {
		return string(b)
	}
	cut := cutPath
	if i := strings.LastIndexByte(string(b[:cut]), '='); i > cut-3 {
		cut = i
	}
	sum := sha256.Sum256([]byte(s))
	return string(b[:cut]) + "==" + base32.StdEncoding.EncodeToString(sum[:])[:hashChars]
}

// Hashed reports whether a path is hashed. The document's name is then in the header Yjet-Doc.
func Hashed(path string) bool {
	i := len(path) - hashChars - 2
	return i >= 0 && path[i:i+2] == "=="
}

// FromPath reverses Path for paths that are not hashed. It refuses a path that Path would not return.
func FromPath(path string) (Doc, bool) {
	if Hashed(path) || path == "" {
		return "", false
	}
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		switch c := path[i]; c {
		case '.':
			b = append(b, '/')
		case '=':
			if i+2 >= len(path) {
				return "", false
			}
			hi, lo := strings.IndexByte(upperHex, path[i+1]), strings.IndexByte(upperHex, path[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		default:
			b = append(b, c)
		}
	}
	d, err := Parse(string(b))
	return d, err == nil && d.Path() == path
}

// Folder returns a filter that matches the paths of all documents whose name begins with prefix, and of some others. It is the whole
// segments of the prefix that are in every such path, hashed or not, then ">".
func Folder(prefix string) string {
	i := strings.LastIndexByte(prefix, '/')
	if i < 0 {
		return ">"
	}
	b, _, cut := encode(prefix[:i])
	if cut == 0 {
		return ">"
	}
	return string(b[:cut]) + ".>"
}
