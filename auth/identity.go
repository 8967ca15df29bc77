package auth

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxUser is the length of a user's name in bytes: it travels in a header of every record.
const maxUser = 255

const (
	roleAnonymous     = "anon"
	roleAuthenticated = "authenticated"
	roleService       = "service_role"
)

// identity is what a verified token says. It is shared and never changed.
type identity struct {
	Grant // User, Name, Admin, Issued, Expires, Session

	role    string
	docs    docsClaim
	hasDocs bool            // the claim was there, with or without a pattern
	claims  json.RawMessage // all of them, for the callback
	hash    tokenHash
	seen    time.Time // when this server first accepted the token

	// Of a ticket.
	ticket bool
	doc    string
	mode   Mode

	// Of a callback that judged the token itself.
	answer *answer
	token  string // to ask again with
}

func (id *identity) grant() Grant {
	g := id.Grant
	g.id = id
	return g
}

// read takes from verified claims what a grant needs.
func (a *Auth) read(claims *claimSet, hash tokenHash) (*identity, error) {
	id := &identity{hash: hash}
	if err := id.times(claims); err != nil {
		return nil, err
	}

	id.role = roleAuthenticated
	if raw := claims.get("role"); raw != nil {
		role, ok := readText(raw)
		if !ok {
			return nil, refuse("role", "not text")
		}
		id.role = cmp.Or(role, roleAuthenticated)
	}
	id.User = claims.subject()
	switch id.role {
	case roleAnonymous:
		return nil, refuse("role", "the anon key is not a user's token")
	case roleService:
		if !a.trusts(claims) {
			return nil, refuse("role", "the service_role key is not a user's token")
		}
		id.Admin = true
		if !claims.has("sub") {
			id.User = roleService
		}
	}
	if string(claims.get("is_anonymous")) == "true" && !a.anonymous {
		id.role = roleAnonymous
	}
	if !validName(id.User, maxUser) {
		return nil, refuse("sub", "names no user")
	}

	for _, name := range []string{"session_id", "sid"} {
		if s := claims.text(name); validName(s, 128) {
			id.Session = s
			break
		}
	}
	if id.Session == "" {
		id.Session = hash.session()
	}
	id.Name = displayName(claims)
	id.docs, id.hasDocs = readDocsClaim(claims, a.claim)
	if a.callback != nil {
		id.claims = bytes.Clone(claims.raw)
	}
	return id, nil
}

// times reads exp, which must be there, and iat, which must be a time if it is: a revocation goes by it.
func (id *identity) times(claims *claimSet) error {
	exp, err := claims.GetExpirationTime()
	if err != nil || exp == nil {
		return refuse("exp", "not a time")
	}
	iat, err := claims.GetIssuedAt()
	if err != nil {
		return refuse("iat", "not a time")
	}
	id.Expires = exp.Time
	if iat != nil {
		id.Issued = iat.Time
	}
	return nil
}

// trusts reports whether a service_role key makes an administrator: where the settings say so, and only the project's own.
func (a *Auth) trusts(claims *claimSet) bool {
	for _, v := range a.verifiers {
		if v.service != nil {
			return claims.text("iss") == "supabase"
		}
	}
	return false
}

// validName accepts 1 to max bytes of text without controls or white space around it: it must survive a header unchanged.
func validName(s string, max int) bool {
	return s != "" && len(s) <= max && utf8.ValidString(s) && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, unicode.IsControl)
}

// displayName finds how a user wants to be called. user_metadata is the user's own to write: it serves for nothing else.
func displayName(c *claimSet) string {
	pick := func(c *claimSet, names ...string) string {
		for _, n := range names {
			if s := cleanName(c.text(n)); s != "" {
				return s
			}
		}
		return ""
	}
	if own, ok := c.object("user_metadata"); ok {
		if s := pick(&own, "full_name", "name", "user_name", "preferred_username"); s != "" {
			return s
		}
	}
	return pick(c, "name", "preferred_username", "nickname")
}

// cleanName drops controls and keeps at most 100 characters.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 100 {
		s = string(r[:100])
	}
	return strings.TrimSpace(s)
}

// inForce reports whether a token that was good is still good now.
func (id *identity) inForce(now time.Time) bool {
	return id.Expires.IsZero() || now.Before(id.Expires.Add(Leeway))
}
