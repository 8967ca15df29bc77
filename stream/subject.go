package stream

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"hash/fnv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Doc names a document: 1 to 255 bytes of UTF-8 without control characters and without a "." or ".." segment between
// slashes. ParseDoc makes one from what a stranger sent.
type Doc string

const maxDocName = 255

// ParseDoc checks a name. ErrName says what is wrong with it.
func ParseDoc(name string) (Doc, error) {
	switch {
	case name == "":
		return "", fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > maxDocName:
		return "", fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrName, len(name), maxDocName)
	case !utf8.ValidString(name):
		return "", fmt.Errorf("%w: it is not UTF-8", ErrName)
	}
	for i, r := range name {
		if unicode.IsControl(r) {
			return "", fmt.Errorf("%w: control character %U at byte %d", ErrName, r, i)
		}
	}
	for seg := range strings.SplitSeq(name, "/") {
		if seg == "." || seg == ".." {
			return "", fmt.Errorf("%w: a segment is %q", ErrName, seg)
		}
	}
	return Doc(name), nil
}

// A token is the document's name as one token of a subject, or of a key:
//
//	A-Z a-z 0-9 - _ /   stay
//	any other byte      =XX, upper-case hex
//
// A token above 200 bytes is cut to its first 120 (never inside an escape) and gets == and 32 characters of
// base32(SHA-256(name)). In the short form = is always followed by hex, so the forms never meet.
const (
	maxToken  = 200
	cutToken  = 120
	hashToken = 32
	upperHex  = "0123456789ABCDEF"
)

// Token is the document's name as one subject token.
func (d Doc) Token() string {
	plain := true
	for i := range len(d) {
		if !staysInToken(d[i]) {
			plain = false
			break
		}
	}
	if plain && len(d) <= maxToken {
		return string(d)
	}
	b := make([]byte, 0, 3*len(d))
	cut := 0 // the longest prefix of at most cutToken bytes that ends between two characters of the token
	for i := range len(d) {
		if c := d[i]; staysInToken(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', upperHex[c>>4], upperHex[c&15])
		}
		if len(b) <= cutToken {
			cut = len(b)
		}
	}
	if len(b) <= maxToken {
		return string(b)
	}
	sum := sha256.Sum256([]byte(d))
	b = append(b[:cut], "=="...)
	return string(b) + base32.StdEncoding.EncodeToString(sum[:])[:hashToken]
}

func staysInToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '/'
}

// hashed tells whether a token is of the cut form, whose document is named by a header only.
func hashed(token string) bool {
	i := len(token) - hashToken - 2
	return i >= 0 && token[i:i+2] == "=="
}

// docOfToken is the reverse of Token for tokens that are not hashed. It refuses what Token would not have written.
func docOfToken(token string) (Doc, bool) {
	if hashed(token) || token == "" {
		return "", false
	}
	b := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c != '=' {
			b = append(b, c)
			continue
		}
		if i+2 >= len(token) {
			return "", false
		}
		hi, lo := strings.IndexByte(upperHex, token[i+1]), strings.IndexByte(upperHex, token[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	d, err := ParseDoc(string(b))
	return d, err == nil && d.Token() == token
}

// shardOf spreads tokens over the shards.
func shardOf(token string, shards int) int {
	h := fnv.New32a()
	h.Write([]byte(token))
	return int(h.Sum32() % uint32(shards))
}
