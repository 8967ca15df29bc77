package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// maxToken is the size of a token in bytes above which it is not looked at.
const maxToken = 8 << 10

// maxUser is the length of a user's name in bytes: it travels in a header of every record.
const maxUser = 255

const (
	roleAnonymous     = "anon"
	roleAuthenticated = "authenticated"
	roleService       = "service_role"
)

var (
	hmacMethods   = []string{"HS256"}
	keySetMethods = []string{"ES256", "RS256", "EdDSA"}
)

// identity is what a verified token says. It is shared and never changed.
type identity struct {
	Grant // User, Name, Admin, Issued, Expires, Session

	role    string
	docs    docsClaim
	hasDocs bool            // the claim was there, with or without a pattern
	claims  json.RawMessage // all of them, for the callback
	hash    tokenHash

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

// tokenHash names a token without being one.
type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// session is the name of a token's session where the token names none.
func (h tokenHash) session() string { return "t-" + hex.EncodeToString(h[:12]) }

// refuse is ErrToken with a few fixed words on the cause. Nothing of a token may be among them.
func refuse(why string) error { return fmt.Errorf("%w: %s", ErrToken, why) }

// A verifier checks the tokens of one issuer with one kind of key.
type verifier struct {
	name    string
	methods []string
	rules   *jwt.Validator
	service *jwt.Validator // nil, or the rules for a service_role key, which has no audience

	// One of the two.
	secret []byte
	keys   *keySet
}

func newVerifier(name string, methods []string, issuer, audience string) *verifier {
	return &verifier{name: name, methods: methods, rules: jwt.NewValidator(parserOptions(methods, issuer, audience)...)}
}

// parserOptions are the rules for a token, as the library's validator and its parser take them.
func parserOptions(methods []string, issuer, audience string) []jwt.ParserOption {
	opts := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithStrictDecoding()}
	if issuer != "" {
		opts = append(opts, jwt.WithIssuer(issuer))
	}
	if audience != "" {
		opts = append(opts, jwt.WithAudience(audience))
	}
	return opts
}

// acceptServiceRole lets the project's own service key in. Its issuer is "supabase" whatever the project.
func (v *verifier) acceptServiceRole() {
	v.service = jwt.NewValidator(parserOptions(v.methods, "supabase", "")...)
}

// base64url is that of a token's parts: no padding, and nothing in the bits that are left over.
var base64url = base64.RawURLEncoding.Strict()

// header is what is read of a token's header. Unknown members are ignored, jku, jwk, x5u and x5c among them.
type header struct {
	alg, kid string
	hasKid   bool
}

// workspace is the memory that looking at one token takes. What is read of the token lies in it; an identity has copies.
type workspace struct {
	token, signature []byte
	claims           claimSet
}

var workspaces = sync.Pool{New: func() any { return &workspace{claims: claimSet{list: make([]member, 0, 32)}} }}

// verify checks a token and reads its claims. The error is ErrToken, ErrExpired or ErrUnavailable.
func (a *Auth) verify(ctx context.Context, token string) (*identity, error) {
	w := workspaces.Get().(*workspace)
	defer workspaces.Put(w)
	w.token = append(w.token[:0], token...)
	hash := tokenHash(sha256.Sum256(w.token))
	if id := a.verified.get(hash); id != nil {
		return id, nil
	}
	generation := a.verified.generation()
	first, err := formOf(token)
	if err != nil {
		return nil, err
	}
	h, seen := a.verified.header(first)
	if !seen {
		if h, err = readHeader(first); err != nil {
			return nil, err
		}
	}
	var id *identity
	if h.kid == ticketKid {
		if id, err = a.tickets.verify(token); err != nil {
			return nil, err
		}
	} else {
		claims, err := a.check(ctx, w, token, h)
		if err != nil {
			return nil, err
		}
		if id, err = a.read(claims, hash); err != nil {
			return nil, err
		}
	}
	a.verified.put(hash, id, generation)
	if !seen {
		a.verified.putHeader(first, h)
	}
	return id, nil
}

// check tries the verifiers that know the token's algorithm: one, or two where two issuers sign alike. The best error wins.
func (a *Auth) check(ctx context.Context, w *workspace, token string, h header) (*claimSet, error) {
	var best error
	for _, v := range a.verifiers {
		if !slices.Contains(v.methods, h.alg) {
			continue
		}
		claims, err := v.check(ctx, w, token, h)
		if err == nil {
			return claims, nil
		}
		if best == nil || errors.Is(err, ErrExpired) || errors.Is(err, ErrUnavailable) && !errors.Is(best, ErrExpired) {
			best = err
		}
	}
	if best == nil {
		return nil, refuse("not signed the way this server accepts")
	}
	return nil, best
}

func (v *verifier) check(ctx context.Context, w *workspace, token string, h header) (*claimSet, error) {
	var key any = v.secret
	if v.keys != nil {
		var err error
		if key, err = v.keys.find(ctx, h); err != nil {
			return nil, err
		}
	}
	return v.judge(w, token, h, key)
}

// judge verifies a token that inspect has passed, whose algorithm is one of ours, with the key it names. Signature and claims
// are the library's to judge. Taking the token apart is not: its parser would read the header a second time and the claims by
// way of reflection. The claims lie in w, which has the token's bytes.
func (v *verifier) judge(w *workspace, token string, h header, key any) (_ *claimSet, err error) {
	head, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
	claims := &w.claims
	claims.raw, err = base64url.AppendDecode(claims.raw[:0], w.token[head+1:last])
	if err != nil || !json.Valid(claims.raw) {
		return nil, refuse("malformed")
	}
	list, err := readObject(claims.raw, claims.list[:0])
	if err == errTwice {
		return nil, explain(err)
	} else if err != nil {
		return nil, refuse("malformed")
	}
	claims.list = list
	if w.signature, err = base64url.AppendDecode(w.signature[:0], w.token[last+1:]); err != nil {
		return nil, refuse("malformed")
	}
	if err := jwt.GetSigningMethod(h.alg).Verify(token[:last], w.signature, key); err != nil {
		return nil, refuse("signature")
	}
	err = v.rules.Validate(claims)
	if err != nil && v.service != nil && claims.text("role") == roleService {
		err = v.service.Validate(claims)
	}
	if err != nil {
		return nil, explain(err)
	}
	return claims, nil
}

// explain turns an error of the jwt library into ours. The library's words can quote a token, so they end here.
func explain(err error) error {
	expired := errors.Is(err, jwt.ErrTokenExpired)
	if errors.Is(err, errTwice) {
		return refuse(errTwice.Error())
	}
	for _, c := range []struct {
		is  error
		why string
	}{
		{jwt.ErrTokenMalformed, "malformed"},
		{jwt.ErrTokenSignatureInvalid, "signature"},
		{jwt.ErrTokenUnverifiable, "no key for it"},
		{jwt.ErrTokenInvalidIssuer, "issuer"},
		{jwt.ErrTokenInvalidAudience, "audience"},
		{jwt.ErrTokenNotValidYet, "not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "issued in the future"},
		{jwt.ErrTokenRequiredClaimMissing, "a claim is missing"},
	} {
		if errors.Is(err, c.is) {
			return refuse(c.why)
		}
	}
	if expired {
		return ErrExpired
	}
	return refuse("claims")
}

// inspect checks the form of a token before anything else looks at it, and reads its header: three non-empty parts of
// base64url without padding or line breaks (which Go's decoder would skip), the first a JSON object without a name given twice
// and without crit.
func inspect(token string) (header, error) {
	first, err := formOf(token)
	if err != nil {
		return header{}, err
	}
	return readHeader(first)
}

// tokenByte counts the bytes of a token: a dot is one, base64url nothing, and anything else more dots than a token has.
var tokenByte = func() (t [256]uint16) {
	for c := range t {
		t[c] = 3
	}
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		t[c] = 0
	}
	t['.'] = 1
	return t
}()

// formOf answers the first part of a token that has the form.
func formOf(token string) (first string, err error) {
	dots := 0
	for i := range len(token) {
		dots += int(tokenByte[token[i]])
	}
	first, rest, _ := strings.Cut(token, ".")
	second, third, _ := strings.Cut(rest, ".")
	if dots != 2 || first == "" || second == "" || third == "" {
		return "", refuse("malformed")
	}
	return first, nil
}

func readHeader(first string) (header, error) {
	raw, err := base64url.DecodeString(first)
	if err != nil || !json.Valid(raw) {
		return header{}, refuse("malformed")
	}
	list, err := readObject(raw, room(raw))
	if err != nil {
		return header{}, explain(err)
	}
	fields := claimSet{raw, list}
	if fields.has("crit") {
		return header{}, refuse("demands an extension")
	}
	// RFC 8725 §3.11: a token made for something else says so in typ.
	if fields.has("typ") {
		s := strings.TrimPrefix(strings.ToLower(fields.text("typ")), "application/")
		if s != "jwt" && s != "at+jwt" && s != ticketType {
			return header{}, refuse("made for another purpose")
		}
	}
	h := header{alg: fields.text("alg")}
	if fields.has("kid") {
		if h.kid, h.hasKid = readText(fields.get("kid")); !h.hasKid {
			return header{}, refuse("malformed")
		}
	}
	return h, nil
}

// read takes from verified claims what a grant needs.
func (a *Auth) read(claims *claimSet, hash tokenHash) (*identity, error) {
	id := &identity{hash: hash}
	exp, err := claims.GetExpirationTime()
	if err != nil || exp == nil {
		return nil, refuse("claims")
	}
	id.Expires = exp.Time
	if iat, err := claims.GetIssuedAt(); err == nil && iat != nil {
		id.Issued = iat.Time
	}

	id.role = roleAuthenticated
	if raw := claims.get("role"); raw != nil {
		role, ok := readText(raw)
		if !ok {
			return nil, refuse("role")
		}
		id.role = cmp.Or(role, roleAuthenticated)
	}
	id.User = claims.text("sub")
	switch id.role {
	case roleAnonymous:
		return nil, refuse("the anon key is not a user's token")
	case roleService:
		if !a.trusts(claims) {
			return nil, refuse("the service_role key is not a user's token")
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
		return nil, refuse("sub")
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
