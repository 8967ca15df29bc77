package auth

import (
	"cmp"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	ticketKid  = "yjet-ticket"
	ticketType = "yjet-ticket+jwt"

	// TicketTTL is the default lifetime of a ticket, MaxTicketTTL the longest for a ticket of one document.
	TicketTTL    = 5 * time.Minute
	MaxTicketTTL = 24 * time.Hour
	// maxAdminTTL is the longest lifetime of an administrator's ticket.
	maxAdminTTL = 366 * 24 * time.Hour
)

// ErrNoKey: there is no secret to sign with.
var ErrNoKey = errors.New("auth: no secret to sign tickets with: set --jwt-secret, SUPABASE_JWT_SECRET or a ticket secret, the same on every server")

// ErrTTL: the lifetime is out of range.
var ErrTTL = fmt.Errorf("auth: a ticket lasts more than 0 and at most %v", MaxTicketTTL)

// tickets signs and checks yjet's own tokens. Their key is derived from the configured secret, so that other services which trust
// that secret, such as a project's database, do not accept a ticket.
type tickets struct {
	key      []byte
	verifier *verifier
}

// newTickets returns nil where no secret is configured to derive a key from. With auth off it uses a random key.
func newTickets(o Options) (*tickets, error) {
	secret := []byte(cmp.Or(o.TicketSecret, o.Secret, o.SupabaseSecret))
	if o.TicketSecret != "" {
		if err := checkSecret("--ticket-secret", o.TicketSecret, o.Dev || o.Loopback); err != nil {
			return nil, err
		}
	}
	if len(secret) == 0 {
		if o.Mode != "none" {
			return nil, nil
		}
		secret = make([]byte, 32)
		rand.Read(secret)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "yjet ticket v1", 32)
	if err != nil {
		return nil, err
	}
	return &tickets{key: key, verifier: newVerifier("ticket", []string{"HS256"}, "", "")}, nil
}

// verify reads a ticket. The error is a *TokenError.
func (t *tickets) verify(token string) (*identity, error) {
	first, err := formOf(token)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(first)
	if err != nil {
		return nil, err
	}
	w := workspaces.Get().(*workspace)
	defer workspaces.Put(w)
	w.token = append(w.token[:0], token...)
	return t.read(w, token, h, hashToken(token))
}

// read checks a ticket whose header is h and whose bytes are in w.
func (t *tickets) read(w *workspace, token string, h header, hash tokenHash) (*identity, error) {
	if t == nil || h.kid != ticketKid || !h.ticket || h.alg != "HS256" {
		return nil, unsigned("ticket", "no ticket of this server")
	}
	if err := t.verifier.judge(w, token, h, t.key); err != nil {
		return nil, err
	}
	claims := &w.claims
	id := &identity{hash: hash, role: roleAuthenticated, ticket: true, doc: claims.text("doc")}
	id.User, id.Name, id.Session, id.Admin = claims.text("sub"), claims.text("name"), claims.text("sid"), string(claims.get("admin")) == "true"
	id.mode, _ = ParseMode(claims.text("access"))
	if err := id.times(claims); err != nil {
		return nil, err
	}
	if id.Issued.IsZero() || !validName(id.User, maxUser) || id.mode == None || id.doc == "" && !id.Admin {
		return nil, refuse("ticket", "incomplete")
	}
	id.Ticket = !id.Admin
	id.Session = cmp.Or(id.Session, hash.session())
	return id, nil
}

// Ticket mints a short token for one document, valid for ttl (0: TicketTTL). user is the recorded author of its edits; "" makes up
// a guest. Errors: ErrNoKey, ErrTTL.
func (a *Auth) Ticket(doc string, mode Mode, user string, ttl time.Duration) (string, error) {
	return a.TicketFor(Grant{User: user, Mode: mode}, doc, ttl)
}

// TicketFor mints a ticket for g's user with g's display name and session, so that a revocation of the user or the session ends the
// ticket too. It allows g.Mode and is valid for ttl (0: TicketTTL), but never longer than g.
func (a *Auth) TicketFor(g Grant, doc string, ttl time.Duration) (string, error) {
	if ttl == 0 {
		ttl = TicketTTL
	}
	if ttl < 0 || ttl > MaxTicketTTL {
		return "", ErrTTL
	}
	if doc == "" || g.Mode == None {
		return "", errors.New("auth: a ticket needs a document and a mode")
	}
	return a.tickets.mint(g, jwt.MapClaims{"doc": doc, "access": g.Mode.String()}, ttl)
}

// AdminTicket mints an administrator's token, for scripts and servers.
func (a *Auth) AdminTicket(user string, ttl time.Duration) (string, error) {
	if ttl <= 0 || ttl > maxAdminTTL {
		return "", fmt.Errorf("auth: an administrator's token lasts more than 0 and at most %v", maxAdminTTL)
	}
	return a.tickets.mint(Grant{User: cmp.Or(user, "admin")}, jwt.MapClaims{"admin": true, "access": all.String()}, ttl)
}

func (t *tickets) mint(g Grant, claims jwt.MapClaims, ttl time.Duration) (string, error) {
	if t == nil {
		return "", ErrNoKey
	}
	now := time.Now()
	exp := now.Add(ttl)
	if !g.Expires.IsZero() && g.Expires.Before(exp) {
		exp = g.Expires
	}
	var id [8]byte
	rand.Read(id[:])
	jti := hex.EncodeToString(id[:])
	if g.User == "" {
		g.User = "guest-" + jti
	}
	if !validName(g.User, maxUser) {
		return "", fmt.Errorf("auth: a user's name has 1 to %d bytes of text, without controls or white space around it", maxUser)
	}
	claims["sub"], claims["jti"], claims["iat"], claims["exp"] = g.User, jti, issued(now), exp.Unix()
	if g.Name != "" {
		claims["name"] = g.Name
	}
	if g.Session != "" {
		claims["sid"] = g.Session
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	token.Header["kid"], token.Header["typ"] = ticketKid, ticketType
	return token.SignedString(t.key)
}

// issued returns the iat of a token made now. It has a fraction, so that a revocation of the same second can be ordered with it.
func issued(now time.Time) float64 { return float64(now.UnixMilli()) / 1000 }

// signer mints ordinary tokens with the configured secret, for scripts and for testing an installation.
type signer struct {
	secret           []byte
	issuer, audience string
}

// Token mints a token as the configured issuer would: HS256, for user, valid for ttl, with the issuer and audience that this
// server requires and the claims in more. It returns ErrNoKey where only public keys are configured.
func (a *Auth) Token(user string, ttl time.Duration, more map[string]any) (string, error) {
	if a.signer == nil {
		return "", ErrNoKey
	}
	if !validName(user, maxUser) || ttl <= 0 {
		return "", errors.New("auth: a token needs a user and a time to live")
	}
	now := time.Now()
	claims := jwt.MapClaims{"role": roleAuthenticated}
	for k, v := range more {
		claims[k] = v
	}
	claims["sub"], claims["iat"], claims["exp"] = user, issued(now), now.Add(ttl).Unix()
	if a.signer.issuer != "" {
		claims["iss"] = a.signer.issuer
	}
	if a.signer.audience != "" {
		claims["aud"] = a.signer.audience
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(a.signer.secret)
}
