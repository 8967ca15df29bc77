package auth

import (
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// A TokenError says why a token was refused. Error is made of fixed words, fit for the client; the rest is for the operator.
type TokenError struct {
	// Check is the one that failed, of a fixed list of words: form, header, alg, kid, signature, claims, exp, nbf, iss, aud,
	// role, sub, ticket.
	Check string
	// Off is how long ago a token expired, or how far ahead it becomes valid; 0 where the check is not of a time.
	Off time.Duration
	// What the token says of itself, which nobody vouches for: printable, at most 100 bytes each, "" where it does not say.
	Alg, Kid, Issuer, Audience string
	// Unsigned is set where no signature was verified before the check: the token may be anybody's.
	Unsigned bool

	why string // fixed words
	is  error  // ErrToken, ErrExpired or ErrNotYet
}

func (e *TokenError) Error() string { return e.is.Error() + ": " + e.why }

func (e *TokenError) Unwrap() error { return e.is }

// LogAttrs answers the cause of a refused token for a log line, one group; none where err is not of a token.
func LogAttrs(err error) []any {
	var e *TokenError
	if !errors.As(err, &e) {
		return nil
	}
	list := []any{slog.String("check", e.Check), slog.String("why", e.why)}
	for _, f := range []struct{ name, value string }{{"alg", e.Alg}, {"kid", e.Kid}, {"iss", e.Issuer}, {"aud", e.Audience}} {
		if f.value != "" {
			list = append(list, slog.String(f.name, f.value))
		}
	}
	if e.Off != 0 {
		list = append(list, slog.String("off", e.Off.Round(time.Second).String()))
	}
	if e.Unsigned {
		list = append(list, slog.Bool("unsigned", true))
	}
	return []any{slog.Group("token", list...)}
}

// checkOf is the label of a refusal in the metrics: one of TokenError's fixed words, or "".
func checkOf(err error) string {
	var e *TokenError
	if errors.As(err, &e) {
		return e.Check
	}
	return ""
}

// RetryAfter answers when a client that was refused with err may come again: the time until its token is valid, or 0.
func RetryAfter(err error) time.Duration {
	var e *TokenError
	if errors.Is(err, ErrNotYet) && errors.As(err, &e) {
		return e.Off
	}
	return 0
}

// refuse is ErrToken with the check that failed and a few fixed words on the cause. Nothing of a token may be among them.
func refuse(check, why string) error { return &TokenError{Check: check, why: why, is: ErrToken} }

// unsigned is refuse for a check before that of the signature.
func unsigned(check, why string) error {
	return &TokenError{Check: check, why: why, is: ErrToken, Unsigned: true}
}

// describe adds what token says of itself to an error that refuses it.
func describe(err error, token string) error {
	var e *TokenError
	if !errors.As(err, &e) {
		return err
	}
	h, claims := peek(token)
	e.Alg, e.Kid, e.Issuer = printable(h.alg), printable(h.kid), printable(claims.text("iss"))
	if aud, err := claims.GetAudience(); err == nil {
		e.Audience = printable(strings.Join(aud, " "))
	}
	return err
}

// peek reads what can be read of a token that was refused: its header and its claims, either of which may be empty.
func peek(token string) (h header, claims claimSet) {
	first, rest, _ := strings.Cut(token, ".")
	second, _, _ := strings.Cut(rest, ".")
	if len(token) > maxToken {
		return h, claims
	}
	if raw, err := base64url.DecodeString(first); err == nil {
		list, _ := readObject(raw, nil)
		fields := claimSet{raw, list}
		h.alg, h.kid, h.hasKid = fields.text("alg"), fields.text("kid"), fields.has("kid")
	}
	if raw, err := base64url.DecodeString(second); err == nil {
		list, _ := readObject(raw, nil)
		claims = claimSet{raw, list}
	}
	return h, claims
}

// printable makes what a stranger wrote fit for a log line: no controls, no token, at most 100 bytes.
func printable(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return Redact(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s))
}

// soon is how far ahead the beginning of a token's validity may lie for the client to be told to come back, rather than that the
// token will not do: further than clocks drift unnoticed, and short enough to wait for.
const soon = 10 * time.Minute

// explain turns an error of the jwt library about verified claims into ours. The library's words can quote a token, so they end
// here.
func explain(err error, claims *claimSet, now time.Time) error {
	for _, c := range []struct {
		is         error
		check, why string
	}{
		{jwt.ErrTokenInvalidIssuer, "iss", "not the issuer that this server accepts"},
		{jwt.ErrTokenInvalidAudience, "aud", "not for the audience that this server accepts"},
		{jwt.ErrTokenRequiredClaimMissing, "", "a claim is missing"},
	} {
		if !errors.Is(err, c.is) {
			continue
		}
		if c.check == "" {
			c.check = missing(claims)
		}
		return refuse(c.check, c.why)
	}
	early, late := errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenExpired)
	switch {
	case early:
		e := &TokenError{Check: "nbf", why: "not valid yet", is: ErrToken}
		if nbf, err := claims.GetNotBefore(); err == nil && nbf != nil {
			e.Off = nbf.Sub(now)
		}
		if !late && e.Off > 0 && e.Off <= soon {
			e.is = ErrNotYet
		}
		return e
	case late:
		e := &TokenError{Check: "exp", why: "expired", is: ErrExpired}
		if exp, err := claims.GetExpirationTime(); err == nil && exp != nil {
			e.Off = now.Sub(exp.Time)
		}
		return e
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		if _, err := claims.date(name); err != nil {
			return refuse(name, "not a time")
		}
	}
	if _, err := claims.GetAudience(); err != nil {
		return refuse("aud", "neither text nor a list of texts")
	}
	return refuse("claims", "cannot be read")
}

// missing names the first claim that a token must have and has not.
func missing(claims *claimSet) string {
	for _, name := range []string{"exp", "iss", "aud"} {
		if !claims.has(name) {
			return name
		}
	}
	return "claims"
}
