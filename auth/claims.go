package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// claimSet is the claims of a token as its JSON has them: names exactly as written (encoding/json would take EXP for exp), each
// given once, values not decoded until a caller asks. It implements jwt.Claims.
type claimSet struct {
	raw  []byte
	list []member
}

type member struct {
	name []byte // decoded
	raw  []byte // a JSON value
}

var (
	errTwice = errors.New("a name is given twice")
	errJSON  = errors.New("not a JSON object")
)

// get returns the value of a claim, or nil where the claim is absent. JSON null is a value.
func (c *claimSet) get(name string) json.RawMessage {
	for _, m := range c.list {
		if string(m.name) == name {
			return m.raw
		}
	}
	return nil
}

// object reads a claim that is an object, false otherwise.
func (c *claimSet) object(name string) (o claimSet, ok bool) {
	if o.raw = c.get(name); o.raw == nil {
		return o, false
	}
	// Its members are appended behind those of c: only one such object is read at a time.
	n := len(c.list)
	list, err := readObject(o.raw, c.list[n:])
	o.list = list
	return o, err == nil
}

func (c *claimSet) has(name string) bool { return c.get(name) != nil }

// text returns a claim that is a string, "" otherwise.
func (c *claimSet) text(name string) string {
	s, _ := readText(c.get(name))
	return s
}

func readText(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var s string
	return s, json.Unmarshal(raw, &s) == nil
}

// subject returns sub: its text, or the decimal digits of a whole number. Some issuers number their users.
func (c *claimSet) subject() string {
	raw := c.get("sub")
	if s, ok := readText(raw); ok {
		return s
	}
	digits := string(raw)
	switch {
	case digits == "" || digits[0] != '-' && (digits[0] < '0' || digits[0] > '9'):
		return ""
	case !strings.ContainsAny(digits, ".eE-"):
		return digits
	}
	// Some languages write whole numbers as 42.0 or 1e+21. The exponent is bounded, since all digits are written out.
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		if e, err := strconv.Atoi(digits[i+1:]); err != nil || e < -maxUser || e > maxUser {
			return ""
		}
	}
	n, ok := new(big.Rat).SetString(digits)
	if !ok || !n.IsInt() {
		return ""
	}
	return n.Num().String()
}

// lastTime is the end of the year 9999 in Unix seconds.
const lastTime = 253402300799

// date reads a time, to the millisecond. A claim that is present but unreadable is an error: it must not count as absent.
func (c *claimSet) date(name string) (*jwt.NumericDate, error) {
	raw := c.get(name)
	if raw == nil {
		return nil, nil
	}
	// As encoding/json does. The JSON has been checked: a value that begins like a number is one.
	sec, err := strconv.ParseFloat(string(raw), 64)
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') || err != nil || sec <= 0 || sec > lastTime {
		return nil, fmt.Errorf("%w: %s", jwt.ErrInvalidType, name)
	}
	return &jwt.NumericDate{Time: time.UnixMilli(int64(sec * 1000))}, nil
}

func (c *claimSet) GetExpirationTime() (*jwt.NumericDate, error) { return c.date("exp") }
func (c *claimSet) GetNotBefore() (*jwt.NumericDate, error)      { return c.date("nbf") }
func (c *claimSet) GetIssuedAt() (*jwt.NumericDate, error)       { return c.date("iat") }

func (c *claimSet) GetAudience() (jwt.ClaimStrings, error) {
	raw := c.get("aud")
	if raw == nil {
		return nil, nil
	}
	if s, ok := readText(raw); ok {
		return jwt.ClaimStrings{s}, nil
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return nil, fmt.Errorf("%w: aud", jwt.ErrInvalidType)
	}
	return list, nil
}

func (c *claimSet) GetIssuer() (string, error)  { return c.text("iss"), nil }
func (c *claimSet) GetSubject() (string, error) { return c.subject(), nil }

// maxDepth is the maximum nesting of a token's JSON: real tokens nest three or four levels.
const maxDepth = 32

// jsonReader is a reusable decoder with the bytes it reads.
type jsonReader struct {
	dec  jsontext.Decoder
	buf  bytes.Buffer
	data []byte
}

// jsonOptions keep the refusal of duplicate names but accept an escaped half of a surrogate pair: a display name that JavaScript
// has cut short ends with one.
var jsonOptions = []jsontext.Options{jsontext.AllowInvalidUTF8(true)}

var jsonReaders = sync.Pool{New: func() any { return new(jsonReader) }}

// value reads the next value and returns its bytes. Its nesting, counted from the outermost object, is at most maxDepth.
func (r *jsonReader) value() ([]byte, error) {
	if k := r.dec.PeekKind(); k != '{' && k != '[' {
		v, err := r.dec.ReadValue()
		end := int(r.dec.InputOffset())
		return r.data[end-len(v) : end : end], err
	}
	outside := r.dec.StackDepth()
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	begin := int(r.dec.InputOffset()) - 1
	for depth := outside + 1; depth > outside; depth = r.dec.StackDepth() {
		if depth > maxDepth {
			return nil, errJSON
		}
		if _, err := r.dec.ReadToken(); err != nil {
			return nil, err
		}
	}
	end := int(r.dec.InputOffset())
	return r.data[begin:end:end], nil
}

// readObject appends the members of a JSON object to list. data must be one object and nothing else, valid UTF-8, nested at most
// maxDepth deep, and no object in it may give a name twice: two parsers could read two different values.
func readObject(data []byte, list []member) ([]member, error) {
	if !utf8.Valid(data) {
		return nil, errJSON
	}
	r := jsonReaders.Get().(*jsonReader)
	defer jsonReaders.Put(r)
	r.data, r.buf = data, *bytes.NewBuffer(data)
	r.dec.Reset(&r.buf, jsonOptions...)
	if t, err := r.dec.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, errJSON
	}
	for r.dec.PeekKind() != '}' {
		name, err := r.value()
		if err != nil {
			return nil, jsonError(err)
		}
		if bytes.IndexByte(name, '\\') >= 0 {
			text, _ := readText(name)
			name = []byte(text)
		} else {
			name = name[1 : len(name)-1]
		}
		value, err := r.value()
		if err != nil {
			return nil, jsonError(err)
		}
		list = append(list, member{name, value})
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, jsonError(err)
	}
	if _, err := r.dec.ReadToken(); err != io.EOF {
		return nil, errJSON
	}
	return list, nil
}

// jsonError drops the decoder's words, which can quote a token.
func jsonError(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return errTwice
	}
	return errJSON
}
