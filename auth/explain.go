package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Explanation shows an operator the result of every check on one token.
type Explanation struct {
	Checks []Check
	// Grant holds the token's user and, where a document was given, the rights on it.
	Grant Grant
	// Err is nil or the error that a server would return: one of Grant's.
	Err error
	// Advice is the remedy for Err; "" where none is known.
	Advice string
}

// A Check is one line of an Explanation. Detail may quote claims of the token, never the token itself.
type Check struct {
	Name   string // as TokenError.Check
	OK     bool
	Known  bool // false: not reached, since an earlier check failed
	Detail string
}

// Explain judges r.Token as Grant does for r.Doc, or as Identity does where r.Doc is "", and reports every check.
func (a *Auth) Explain(ctx context.Context, r Request) Explanation {
	var x Explanation
	if r.Doc != "" {
		x.Grant, x.Err = a.Grant(ctx, r)
	} else if x.Grant, x.Err = a.Identity(ctx, r); x.Grant.Ticket {
		x.Err = nil // good for its document
	}
	failed := checkOf(x.Err)
	h, claims := peek(r.Token)
	details := a.details(h, &claims, time.Now())
	for _, name := range []string{"form", "header", "alg", "kid", "claims", "signature", "iss", "aud", "exp", "nbf", "iat", "role", "sub", "ticket"} {
		detail, there := details[name]
		c := Check{Name: name, Known: true, OK: name != failed, Detail: detail}
		if name == failed {
			var e *TokenError
			errors.As(x.Err, &e)
			c.Detail = strings.TrimPrefix(detail+": "+e.why, ": ")
		} else if !there {
			continue
		}
		if failed != "" && slices.ContainsFunc(x.Checks, func(c Check) bool { return !c.OK }) {
			c.Known = false
		}
		x.Checks = append(x.Checks, c)
	}
	x.Advice = a.advice(x.Err, h)
	return x
}

// details describes, for each check, the values in the token and the values that the settings accept.
func (a *Auth) details(h header, claims *claimSet, now time.Time) map[string]string {
	d := map[string]string{"form": "three parts of base64url", "header": "one JSON object", "claims": fmt.Sprintf("one JSON object, %d names", len(claims.list))}
	var issuers, audiences, methods []string
	for _, v := range a.verifiers {
		methods = append(methods, v.methods...)
		issuers, audiences = append(issuers, v.issuer), append(audiences, v.audience)
		if v.keys != nil && h.hasKid {
			d["kid"] = fmt.Sprintf("%q; the key set of %s has %q", printable(h.kid), v.keys.setting, v.keys.names())
		}
	}
	d["alg"] = fmt.Sprintf("%q; accepted are %s", printable(h.alg), strings.Join(methods, " "))
	d["signature"] = "by the key of the settings"
	if h.kid == ticketKid {
		d["alg"] = fmt.Sprintf("%q; tickets have HS256", printable(h.alg))
		d["ticket"] = fmt.Sprintf("for document %q, access %q", printable(claims.text("doc")), printable(claims.text("access")))
		issuers, audiences = nil, nil
	}
	if want := anyOf(issuers); want != "" {
		d["iss"] = fmt.Sprintf("%q; accepted is %s", printable(claims.text("iss")), want)
	}
	if want := anyOf(audiences); want != "" {
		aud, _ := claims.GetAudience()
		d["aud"] = fmt.Sprintf("%q; accepted is %s", printable(strings.Join(aud, " ")), want)
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		if t, err := claims.date(name); err == nil && t != nil {
			d[name] = fmt.Sprintf("%s, %s", t.UTC().Format(time.RFC3339), distance(t.Sub(now)))
		}
	}
	d["sub"] = strconv.Quote(printable(claims.subject()))
	if role := claims.text("role"); role != "" {
		d["role"] = strconv.Quote(printable(role))
	}
	return d
}

// anyOf formats a list of accepted values; it returns "" where one verifier accepts any value.
func anyOf(list []string) string {
	if len(list) == 0 || slices.Contains(list, "") {
		return ""
	}
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return strings.Join(slices.Compact(quoted), " or ")
}

func distance(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " ago"
	}
	return "in " + d.Round(time.Second).String()
}

// advice returns the operator's remedy for a refusal.
func (a *Auth) advice(err error, h header) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrUnavailable):
		return "the key set or the callback cannot be asked: clients are told to come back; look at the address in --jwks-url, SUPABASE_URL or --auth-callback"
	case errors.Is(err, ErrForbidden):
		return "the token is good and has no right to the document: look at --auth-rules, --auth-callback or the claim of the token"
	case errors.Is(err, ErrRevoked):
		return "the user, the session or the document was revoked: signing in again makes a token that works"
	case errors.Is(err, ErrExpired):
		return "get a fresh token; if this one is fresh, set the clocks of issuer and server (NTP): 60 s apart are accepted"
	case errors.Is(err, ErrNotYet):
		return "clients are told to come back; set the clocks of issuer and server (NTP): 60 s apart are accepted"
	}
	switch checkOf(err) {
	case "form", "header", "claims":
		return "this is no JSON Web Token that any server should accept: look at what the client sends as its token"
	case "alg":
		if strings.HasPrefix(h.alg, "HS") {
			return "the token is signed with a shared secret: set --jwt-secret (or SUPABASE_JWT_SECRET), or have the issuer sign with its key"
		}
		return "the token is signed with a key: set --jwks-url (or SUPABASE_URL) to the key set that has it, with that alg or none"
	case "kid":
		return "set --jwks-url to the key set of this token's issuer; a key that the issuer has just made is found at once"
	case "signature":
		if strings.HasPrefix(h.alg, "HS") {
			return "the secret of the issuer is another one than --jwt-secret here (or SUPABASE_JWT_SECRET): compare them, white space and base64 included"
		}
		return "the issuer has another key under this kid, or the token was changed on its way"
	case "iss":
		return "set --jwt-issuer to what the token says, to the letter, if that is your issuer"
	case "aud":
		return "set --jwt-audience to what the token says, if it is meant for this server, or have the issuer add the one accepted here"
	case "exp":
		return "a token needs a time at which it ends: have the issuer write exp, in seconds"
	case "nbf", "iat":
		return "set the clocks of issuer and server (NTP); times are in seconds, not milliseconds"
	case "role":
		return "send the access token of a signed-in user, not one of the project's own keys"
	case "sub":
		return "have the issuer write sub: the user's id, 1 to 255 bytes of text or a whole number"
	}
	return "make a new ticket: this one was made with another secret, or for another version"
}
