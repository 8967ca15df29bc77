package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A glob is a pattern for document names: literal text, * for any run of bytes without a slash, ** for any run, and, in rules
// only, {sub} for the user's name.
type glob []piece

type piece struct {
	kind pieceKind
	text string // a literal's text
}

type pieceKind uint8

const (
	literal  pieceKind = iota
	star               // within a segment
	twoStars           // anything
	subject            // the user's name
)

// maxGlob is the maximum length of a pattern in bytes. With the 255 bytes of a name it bounds the cost of a match.
const maxGlob = 1024

// parseGlob reads a pattern. Where withSubject is false, braces are ordinary characters.
//
// {sub} must be unambiguous, or one user's name could match another's documents: it may stand only once, at the end of a segment
// without stars.
func parseGlob(pattern string, withSubject bool) (glob, error) {
	if pattern == "" || len(pattern) > maxGlob {
		return nil, fmt.Errorf("a pattern has 1 to %d bytes", maxGlob)
	}
	var g glob
	text := ""
	flush := func() {
		if text != "" {
			g = append(g, piece{literal, text})
			text = ""
		}
	}
	for i := 0; i < len(pattern); {
		rest := pattern[i:]
		switch {
		case rest[0] == '*':
			n := len(rest) - len(strings.TrimLeft(rest, "*"))
			if n > 2 {
				return nil, errors.New("more than two * in a row")
			}
			flush()
			g = append(g, piece{kind: star + pieceKind(n-1)})
			i += n
		case withSubject && strings.HasPrefix(rest, "{sub}"):
			flush()
			g = append(g, piece{kind: subject})
			i += len("{sub}")
		case withSubject && (rest[0] == '{' || rest[0] == '}'):
			return nil, errors.New("the only thing in braces can be {sub}")
		default:
			text += rest[:1]
			i++
		}
	}
	flush()
	for _, segment := range strings.Split(pattern, "/") {
		if !withSubject || !strings.Contains(segment, "{sub}") {
			continue
		}
		if strings.Contains(segment, "*") || strings.Count(segment, "{sub}") > 1 || !strings.HasSuffix(segment, "{sub}") {
			return nil, errors.New("{sub} must end its segment, in a segment without *: users/{sub}/** or notes-{sub}")
		}
	}
	return g, nil
}

// match reports whether g matches name. sub replaces {sub} byte for byte; a sub that is empty or contains a slash matches nothing.
//
// It walks the pattern once and keeps, for every prefix of name, whether the pattern so far matches it.
func (g glob) match(name, sub string) bool {
	var buf [2][256]bool
	if len(name) >= len(buf[0]) {
		return false // longer than any document name
	}
	cur, next := buf[0][:len(name)+1], buf[1][:len(name)+1]
	cur[0] = true
	for _, p := range g {
		text := p.text
		if p.kind == subject {
			if sub == "" || strings.Contains(sub, "/") {
				return false
			}
			text = sub
		}
		any := false
		switch p.kind {
		case literal, subject:
			clear(next)
			for i, ok := range cur {
				if ok && strings.HasPrefix(name[i:], text) {
					next[i+len(text)] = true
					any = true
				}
			}
		case star, twoStars:
			reach := false
			for i, ok := range cur {
				reach = reach || ok
				next[i] = reach
				any = any || reach
				if i < len(name) && name[i] == '/' && p.kind == star {
					reach = false
				}
			}
		}
		if !any {
			return false
		}
		cur, next = next, cur
	}
	return cur[len(name)]
}

// A rule grants access to the documents that match it, to users of a role.
type rule struct {
	match  glob
	role   string
	access Mode
}

// parseRules reads a rules file: a JSON list of rules, or an object with such a list under "rules". Any mistake is an error that
// names the rule.
func parseRules(data []byte) ([]rule, error) {
	type line struct {
		Match  string `json:"match"`
		Role   string `json:"role"`
		Access string `json:"access"`
		Note   string `json:"note"` // for people
	}
	var file struct {
		Rules *[]line `json:"rules"`
	}
	var into any = &file
	if t := bytes.TrimSpace(data); len(t) > 0 && t[0] == '[' {
		into = &file.Rules
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return nil, fmt.Errorf("not a list of rules: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the rules")
	}
	if file.Rules == nil {
		return nil, errors.New(`want {"rules": [{"match": "users/{sub}/**", "access": "rw"}]}`)
	}
	rules := make([]rule, 0, len(*file.Rules))
	for i, l := range *file.Rules {
		g, err := parseGlob(l.Match, true)
		if err != nil {
			return nil, fmt.Errorf("rule %d, match %q: %w", i+1, l.Match, err)
		}
		mode, ok := ParseMode(l.Access)
		if !ok || mode == None {
			return nil, fmt.Errorf("rule %d, access %q: want r, rw or rwd (a document that no rule matches is nobody's; no rule takes a right away)", i+1, l.Access)
		}
		if l.Role == "" {
			l.Role = roleAuthenticated
		}
		rules = append(rules, rule{match: g, role: l.Role, access: mode})
	}
	return rules, nil
}

// matchRules returns the greatest mode that a rule gives id on doc.
func matchRules(rules []rule, id *identity, doc string) Mode {
	best := None
	for _, r := range rules {
		if r.access > best && r.holds(id.role) && r.match.match(doc, id.User) {
			best = r.access
		}
	}
	return best
}

func (r rule) holds(role string) bool {
	switch r.role {
	case "*", role:
		return true
	case roleAuthenticated:
		return role != roleAnonymous
	}
	return false
}

// docsClaim is a token's own list of documents.
type docsClaim []rule

// maxDocsClaim bounds the entries read of a token's list; later ones are ignored.
const maxDocsClaim = 1000

// readDocsClaim finds the claim at path and reads its strings, "doc:<glob>:r", ":rw" or ":rwd". Any other entry grants nothing.
// there is false where the token has no such claim. path has at least one name.
func readDocsClaim(claims *claimSet, path []string) (docs docsClaim, there bool) {
	for ; len(path) > 1; path = path[1:] {
		inner, ok := claims.object(path[0])
		if !ok {
			return nil, false
		}
		claims = &inner
	}
	raw := claims.get(path[0])
	if raw == nil {
		return nil, false
	}
	var list []any
	if s, ok := readText(raw); ok {
		list = []any{s}
	} else {
		json.Unmarshal(raw, &list) // anything but a list grants nothing
	}
	for _, e := range list[:min(len(list), maxDocsClaim)] {
		s, _ := e.(string)
		pattern, ok := strings.CutPrefix(s, "doc:")
		i := strings.LastIndexByte(pattern, ':')
		if !ok || i < 0 {
			continue
		}
		var access Mode
		switch word := pattern[i+1:]; word {
		case "r", "rw", "rwd":
			access, _ = ParseMode(word)
		default:
			continue
		}
		if g, err := parseGlob(pattern[:i], false); err == nil {
			docs = append(docs, rule{match: g, access: access})
		}
	}
	return docs, true
}

// mode returns the greatest mode that the list gives on doc.
func (d docsClaim) mode(doc string) Mode {
	best := None
	for _, r := range d {
		if r.access > best && r.match.match(doc, "") {
			best = r.access
		}
	}
	return best
}
