package auth

import (
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// A TokenError is the cause of a token's refusal. Error returns fixed words that may be sent to the client; the fields are for the
// operator.
type TokenError struct {
	// Check is the check that failed: form, header, alg, kid, signature, claims, exp, nbf, iss, aud, role, sub or ticket.
	Check string
	// Off is the time since the token expired, or until it becomes valid; 0 for checks other than exp and nbf.
	Off time.Duration
	// Alg, Kid, Issuer and Audience are as the token gives them, possibly unverified: printable, at most 100 bytes each, "" where
	// absent.
	Alg, Kid, Issuer, Audience string
	// Unsigned is set where the check came before the signature was verified: the token may be forged.
	Unsigned bool

	why string // fixed words
	is  error  // ErrToken, ErrExpired or ErrNotYet
}

func (e *TokenError) Error() string { return e.is.Error() + ": " + e.why }

func (e *TokenError) Unwrap() error { return e.is }

// LogAttrs returns the cause of a refused token as one group for a log line, or nothing where err is not a TokenError.
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

// checkOf returns TokenError.Check for the metrics, or "" for another error.
func checkOf(err error) string {
	var e *TokenError
	if errors.As(err, &e) {
		return e.Check
	}
	return ""
}

// RetryAfter returns the time until the token refused with err becomes valid, or 0 for another error.
func RetryAfter(err error) time.Duration {
	var e *TokenError
	if errors.Is(err, ErrNotYet) && errors.As(err, &e) {
		return e.Off
	}
	return 0
}

// refuse returns ErrToken with the check that failed and its cause in fixed words. why must not contain any part of a token.
func refuse(check, why string) error { return &TokenError{Check: check, why: why, is: ErrToken} }

// unsigned is refuse for a check made before that of the signature.
func unsigned(check, why string) error {
	return &TokenError{Check: check, why: why, is: ErrToken, Unsigned: true}
}

// describe adds the algorithm, key, issuer and audience of token to an error that refuses it.
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

// peek reads as much as possible of a refused token's header and claims; either may come back empty.
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

// printable makes text from a client fit for a log line: no controls, no token, at most 100 bytes.
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

// soon bounds ErrNotYet: a token that becomes valid later than this is ErrToken. It is longer than clocks drift unnoticed and short
// enough to wait for.
const soon = 10 * time.Minute

// explain converts the jwt library's error about verified claims into a TokenError. The library's text can quote a token, so it is
// dropped.
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

// missing names the first required claim that is absent.
func missing(claims *claimSet) string {
	for _, name := range []string{"exp", "iss", "aud"} {
		if !claims.has(name) {
			return name
		}
	}
	return "claims"
}
