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

// maxUser is the maximum length of a user's name in bytes: a header of every record carries it.
const maxUser = 255

const (
	roleAnonymous     = "anon"
	roleAuthenticated = "authenticated"
	roleService       = "service_role"
)

// identity holds the contents of a verified token. It is shared and immutable.
type identity struct {
	Grant // User, Name, Admin, Issued, Expires, Session

	role    string
	docs    docsClaim
	hasDocs bool            // the token has the claim, even if it lists no documents
	claims  json.RawMessage // all claims, for the callback
	hash    tokenHash
	seen    time.Time // when this server first accepted the token

	// Set for a ticket.
	ticket bool
	doc    string
	mode   Mode

	// Set where the callback judged the token itself.
	answer *answer
	token  string // for later calls
}

func (id *identity) grant() Grant {
	g := id.Grant
	g.id = id
	return g
}

// read builds an identity from verified claims.
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

// times reads exp, which is required, and iat, which may be absent but must be a time if present: revocations compare it.
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

// trusts reports whether a service_role key makes an administrator: the settings allow it and the key is the project's own.
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

// displayName returns the user's display name. Users can write user_metadata themselves, so nothing else is read from it.
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

// inForce reports whether the token, once verified, has not expired by now, with leeway.
func (id *identity) inForce(now time.Time) bool {
	return id.Expires.IsZero() || now.Before(id.Expires.Add(Leeway))
}
