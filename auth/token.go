package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxToken is the maximum size of a token in bytes. A larger one is refused unread.
const maxToken = 8 << 10

// hmacMethods are the algorithms of a shared secret.
var hmacMethods = []string{"HS256", "HS384", "HS512"}

// tokenHash identifies a token without revealing it.
type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// session returns the session name of a token without a session_id.
func (h tokenHash) session() string { return "t-" + hex.EncodeToString(h[:12]) }

// A verifier checks the tokens of one issuer with one kind of key.
type verifier struct {
	name             string // for messages
	methods          []string
	issuer, audience string // "" for any; for messages only: rules does the check
	rules            *jwt.Validator
	service          *jwt.Validator // nil, or the rules for a service_role key, which has no audience

	// Exactly one of the two is set.
	secret []byte
	keys   *keySet
}

func newVerifier(name string, methods []string, issuer, audience string) *verifier {
	return &verifier{name: name, methods: methods, issuer: issuer, audience: audience, rules: jwt.NewValidator(parserOptions(methods, issuer, audience)...)}
}

// parserOptions returns the options of the library's validator and parser. An iat in the future is accepted: it shows that two
// clocks differ, not that the token is forged.
func parserOptions(methods []string, issuer, audience string) []jwt.ParserOption {
	opts := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithExpirationRequired(), jwt.WithLeeway(Leeway), jwt.WithStrictDecoding()}
	if issuer != "" {
		opts = append(opts, jwt.WithIssuer(issuer))
	}
	if audience != "" {
		opts = append(opts, jwt.WithAudience(audience))
	}
	return opts
}

// acceptServiceRole accepts the project's own service key. Its issuer is "supabase" in every project.
func (v *verifier) acceptServiceRole() {
	v.service = jwt.NewValidator(parserOptions(v.methods, "supabase", "")...)
}

// base64url is the encoding of a token's parts: no padding, and unused bits must be zero.
var base64url = base64.RawURLEncoding.Strict()

// header holds the parts of a token's header that are used. Other members are ignored, jku, jwk, x5u and x5c among them.
type header struct {
	alg, kid string
	hasKid   bool
	ticket   bool // typ is that of yjet's own tickets
}

// workspace holds the buffers for checking one token. The claims point into it; an identity has copies.
type workspace struct {
	token, signature []byte
	claims           claimSet
}

var workspaces = sync.Pool{New: func() any { return &workspace{claims: claimSet{list: make([]member, 0, 32)}} }}

// verify checks a token and reads its claims. The error is a *TokenError, or ErrUnavailable.
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
			return nil, describe(err, token)
		}
	}
	var id *identity
	if h.kid == ticketKid {
		id, err = a.tickets.read(w, token, h, hash)
	} else if err = a.check(ctx, w, token, h); err == nil {
		id, err = a.read(&w.claims, hash)
	}
	if err != nil {
		return nil, describe(err, token)
	}
	id.seen = time.Now()
	a.verified.put(hash, id, generation)
	if !seen {
		a.verified.putHeader(first, h)
	}
	return id, nil
}

// check tries the verifiers that accept the token's algorithm: one, or two where two issuers use the same. It returns the most
// specific error. The claims are left in w.
func (a *Auth) check(ctx context.Context, w *workspace, token string, h header) error {
	var best error
	for _, v := range a.verifiers {
		if !slices.Contains(v.methods, h.alg) {
			continue
		}
		err := v.check(ctx, w, token, h)
		if err == nil {
			return nil
		}
		if best == nil || weight(err) > weight(best) {
			best = err
		}
	}
	if best == nil {
		return unsigned("alg", "not signed the way this server accepts")
	}
	return best
}

// weight ranks the errors of several verifiers: one whose key signed the token is more specific than one whose key did not.
func weight(err error) int {
	var e *TokenError
	switch {
	case errors.Is(err, ErrExpired), errors.Is(err, ErrNotYet):
		return 3
	case errors.Is(err, ErrUnavailable):
		return 2
	case errors.As(err, &e) && !e.Unsigned:
		return 1
	}
	return 0
}

func (v *verifier) check(ctx context.Context, w *workspace, token string, h header) error {
	var key any = v.secret
	if v.keys != nil {
		var err error
		if key, err = v.keys.find(ctx, h); err != nil {
			return err
		}
	}
	return v.judge(w, token, h, key)
}

// judge verifies the signature and the claims of a token with the key that it names. The form, the header and the algorithm have
// been checked. The library checks signature and claims; its parser is not used, since it would read the header a second time and
// decode the claims by reflection. The claims are left in w, which has the bytes of the token.
func (v *verifier) judge(w *workspace, token string, h header, key any) (err error) {
	head, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
	claims := &w.claims
	claims.raw, err = base64url.AppendDecode(claims.raw[:0], w.token[head+1:last])
	if err != nil {
		return unsigned("form", "malformed")
	}
	list, err := readObject(claims.raw, claims.list[:0])
	if err != nil {
		return unsigned("claims", err.Error())
	}
	claims.list = list
	if w.signature, err = base64url.AppendDecode(w.signature[:0], w.token[last+1:]); err != nil {
		return unsigned("form", "malformed")
	}
	if err := jwt.GetSigningMethod(h.alg).Verify(token[:last], w.signature, key); err != nil {
		return unsigned("signature", "not made with the key of this server's settings")
	}
	err = v.rules.Validate(claims)
	if err != nil && v.service != nil && claims.text("role") == roleService {
		err = v.service.Validate(claims)
	}
	if err != nil {
		return explain(err, claims, time.Now())
	}
	return nil
}

// tokenByte is the weight of each byte in formOf's sum: 1 for a dot, 0 for base64url, and for any other byte more than a token has
// dots.
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

// formOf checks the form of a token and returns its first part. A token is three parts of base64url, none empty, without padding
// or line breaks (which Go's decoder would skip).
func formOf(token string) (first string, err error) {
	dots := 0
	for i := range len(token) {
		dots += int(tokenByte[token[i]])
	}
	first, rest, _ := strings.Cut(token, ".")
	second, third, _ := strings.Cut(rest, ".")
	if dots != 2 || first == "" || second == "" || third == "" {
		return "", unsigned("form", "not three parts of base64url")
	}
	return first, nil
}

// readHeader reads the first part of a token: a JSON object that gives no name twice and demands no extension.
func readHeader(first string) (header, error) {
	raw, err := base64url.DecodeString(first)
	if err != nil {
		return header{}, unsigned("form", "malformed")
	}
	list, err := readObject(raw, make([]member, 0, 8))
	if err != nil {
		return header{}, unsigned("header", err.Error())
	}
	fields := claimSet{raw, list}
	if fields.has("crit") {
		return header{}, unsigned("header", "demands an extension")
	}
	h := header{alg: fields.text("alg")}
	// RFC 8725 §3.11: typ names the purpose of a token; refuse those made for another.
	if fields.has("typ") {
		s := strings.TrimPrefix(strings.ToLower(fields.text("typ")), "application/")
		h.ticket = s == ticketType
		if s != "jwt" && s != "at+jwt" && !h.ticket {
			return header{}, unsigned("header", "made for another purpose")
		}
	}
	if fields.has("kid") {
		if h.kid, h.hasKid = readText(fields.get("kid")); !h.hasKid {
			return header{}, unsigned("kid", "not text")
		}
	}
	return h, nil
}
