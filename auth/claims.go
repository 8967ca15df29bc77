package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// claimSet is a token's claims as its JSON has them: names exactly as written (Go's decoder would take EXP for exp), each given
// once, values not decoded until somebody asks. It implements jwt.Claims.
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

// UnmarshalJSON is called with valid JSON, whole.
func (c *claimSet) UnmarshalJSON(data []byte) (err error) {
	c.raw = bytes.Clone(data)
	c.list, err = readObject(c.raw, room(c.raw))
	return err
}

// room is for the members of an object, about as many as it has.
func room(data []byte) []member { return make([]member, 0, min(bytes.Count(data, []byte{':'}), 20)) }

// get answers the value of a claim, or nil. JSON null is a value.
func (c *claimSet) get(name string) json.RawMessage {
	for _, m := range c.list {
		if string(m.name) == name {
			return m.raw
		}
	}
	return nil
}

// object reads a claim that is an object, false otherwise. It uses c's memory.
func (c *claimSet) object(name string) (o claimSet, ok bool) {
	if o.raw = c.get(name); o.raw == nil {
		return o, false
	}
	// Its members go behind those of c: only one such object is looked at at a time.
	n := len(c.list)
	list, err := readObject(o.raw, c.list[n:])
	o.list = list
	return o, err == nil
}

func (c *claimSet) has(name string) bool { return c.get(name) != nil }

// text answers a claim that is a string, "" otherwise.
func (c *claimSet) text(name string) string {
	s, _ := readText(c.get(name))
	return s
}

func readText(raw json.RawMessage) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var s string
	return s, json.Unmarshal(raw, &s) == nil
}

// lastTime is the end of the year 9999 in Unix seconds.
const lastTime = 253402300799

// date reads a time. What is there and is none is an error: a claim that cannot be read must not count as left out.
func (c *claimSet) date(name string) (*jwt.NumericDate, error) {
	raw := c.get(name)
	if raw == nil {
		return nil, nil
	}
	// As encoding/json reads a number, which is all that begins like one in checked JSON.
	sec, err := strconv.ParseFloat(string(raw), 64)
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') || err != nil || sec <= 0 || sec > lastTime {
		return nil, fmt.Errorf("%w: %s", jwt.ErrInvalidType, name)
	}
	return jwt.NewNumericDate(time.Unix(int64(sec), 0)), nil
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
func (c *claimSet) GetSubject() (string, error) { return c.text("sub"), nil }

// maxDepth is how deep the JSON of a token nests, maxMembers how many an object has: names are compared one by one.
const (
	maxDepth   = 32
	maxMembers = 256
)

// readObject appends the members of a JSON object to list. It demands valid UTF-8 and that no object within data, however
// deep, gives a name twice; it does not look into numbers and words, which the decoder of their values does.
func readObject(data []byte, list []member) ([]member, error) {
	if !utf8.Valid(data) {
		return nil, errJSON
	}
	s := scanner{data: data}
	s.space()
	if s.peek() != '{' {
		return nil, errJSON
	}
	list, err := s.object(list, true, 0)
	if err != nil {
		return nil, err
	}
	if s.space(); s.at != len(data) {
		return nil, errJSON
	}
	return list, nil
}

// scanner walks over JSON that is checked, or will be, by encoding/json: it must be exact for what that accepts, and safe for
// all else.
type scanner struct {
	data []byte
	at   int
}

func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// str walks over a string and answers it with its quotes.
func (s *scanner) str() ([]byte, error) {
	from := s.at
	if s.peek() != '"' {
		return nil, errJSON
	}
	for s.at++; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return s.data[from:s.at], nil
		}
	}
	return nil, errJSON
}

// object walks over an object. It appends the members to list if keep, and uses what is behind list to compare names otherwise.
func (s *scanner) object(list []member, keep bool, depth int) ([]member, error) {
	if depth > maxDepth {
		return nil, errJSON
	}
	mine := len(list)
	s.at++ // the brace
	for {
		if s.space(); s.peek() == '}' && len(list) == mine {
			s.at++
			return list, nil
		}
		begin := s.at
		quoted, err := s.str()
		if err != nil {
			return nil, err
		}
		name := s.data[begin+1 : s.at-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			text, ok := readText(quoted)
			if !ok {
				return nil, errJSON
			}
			name = []byte(text)
		}
		for _, m := range list[mine:] {
			if bytes.Equal(m.name, name) {
				return nil, errTwice
			}
		}
		if s.space(); s.peek() != ':' || len(list)-mine >= maxMembers {
			return nil, errJSON
		}
		s.at++
		s.space()
		from := s.at
		list = append(list, member{name: name})
		if list, err = s.value(list, depth); err != nil {
			return nil, err
		}
		list[len(list)-1].raw = s.data[from:s.at]
		s.space()
		switch s.peek() {
		case ',':
			s.at++
		case '}':
			s.at++
			if !keep {
				list = list[:mine]
			}
			return list, nil
		default:
			return nil, errJSON
		}
	}
}

// value walks over a value. It answers list as it came, maybe moved.
func (s *scanner) value(list []member, depth int) ([]member, error) {
	switch c := s.peek(); {
	case c == '"':
		_, err := s.str()
		return list, err
	case c == '{':
		return s.object(list, false, depth+1)
	case c == '[':
		if depth >= maxDepth {
			return nil, errJSON
		}
		s.at++
		for first := true; ; first = false {
			if s.space(); s.peek() == ']' && first {
				s.at++
				return list, nil
			}
			var err error
			if list, err = s.value(list, depth+1); err != nil {
				return nil, err
			}
			s.space()
			switch s.peek() {
			case ',':
				s.at++
			case ']':
				s.at++
				return list, nil
			default:
				return nil, errJSON
			}
		}
	case c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z':
		for s.at < len(s.data) {
			switch c := s.data[s.at]; {
			case c == '-', c == '+', c == '.', '0' <= c && c <= '9', 'a' <= c && c <= 'z', c == 'E':
				s.at++
				continue
			}
			break
		}
		return list, nil
	}
	return nil, errJSON
}
