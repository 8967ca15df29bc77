package auth

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Mode is the access that a grant allows. A greater mode includes every lesser one.
type Mode uint8

const (
	None Mode = iota
	Read
	ReadWrite
	ReadWriteDelete // also delete and undelete the document
)

// all is the mode of administrators, and of every client where auth is off.
const all = ReadWriteDelete

// String returns the word that settings and API use: none, r, rw, rwd.
func (m Mode) String() string {
	switch m {
	case Read:
		return "r"
	case ReadWrite:
		return "rw"
	case ReadWriteDelete:
		return "rwd"
	}
	return "none"
}

// ParseMode reads the word for a mode: none, r or read, rw or write, rwd.
func ParseMode(s string) (Mode, bool) {
	switch s {
	case "none":
		return None, true
	case "r", "read", "readonly", "read-only":
		return Read, true
	case "rw", "write", "full", "read-write":
		return ReadWrite, true
	case "rwd":
		return ReadWriteDelete, true
	}
	return None, false
}

// Grant is a user's identity and their rights on one document.
type Grant struct {
	User    string    // sub, 1–255 bytes without controls; "" when auth is off
	Name    string    // display name, for presence only: a user may have chosen it
	Mode    Mode      // on the asked document
	Admin   bool      // may administer the server: revoke, act for other users
	Issued  time.Time // iat; zero: not known
	Expires time.Time // exp, without the leeway; zero: never
	Session string    // session_id claim or a hash of the token, as a Revocation names it; "" when auth is off
	Recheck time.Time // zero: never; else ask again at this time (callback ttl), with Renew
	Ticket  bool      // comes from a ticket: gives no access beyond its one document

	id *identity // the verified token behind the grant; nil when auth is off
}

// Request is one question: may the bearer of Token use Doc?
type Request struct {
	Doc    string // document id, decoded
	Token  string // raw; never logged
	IP     string // the client's, see Proxies.ClientIP; for the callback
	Origin string // Origin header, "" if there was none; for the callback
}

// The errors of Grant. They are wrapped with a few fixed words on the cause and never contain any part of the token. Reason
// returns the word for the client.
var (
	// ErrNoToken: the request has no token.
	ErrNoToken = errors.New("auth: no token")
	// ErrToken: the token is invalid and stays so.
	ErrToken = errors.New("auth: token invalid")
	// ErrNotYet: the token becomes valid within minutes (see RetryAfter). The client should retry: 503, close 1013.
	ErrNotYet = errors.New("auth: token not valid yet")
	// ErrExpired: the token has expired; the client needs a fresh one.
	ErrExpired = errors.New("auth: token expired")
	// ErrForbidden: the token is valid, but its user has no right to this document.
	ErrForbidden = errors.New("auth: no right")
	// ErrUnavailable: a key set or the callback cannot be reached. The client should retry: 503, close 1013.
	ErrUnavailable = errors.New("auth: cannot be asked now")
	// ErrRevoked: a revocation matches the user, the session or the document.
	ErrRevoked = errors.New("auth: revoked")
)

// Reason is the stable word for an error of Grant, for close reasons, JSON errors and metrics.
func Reason(err error) string {
	switch {
	case errors.Is(err, ErrNoToken):
		return "token-required"
	case errors.Is(err, ErrExpired):
		return "token-expired"
	case errors.Is(err, ErrNotYet):
		return "token-not-valid-yet"
	case errors.Is(err, ErrToken):
		return "token-invalid"
	case errors.Is(err, ErrRevoked):
		return "revoked"
	case errors.Is(err, ErrForbidden):
		return "forbidden"
	case errors.Is(err, ErrOrigin):
		return "origin-refused"
	}
	return "unavailable"
}

// Leeway is the tolerated difference between the clocks of an issuer and of this server. A session may go on for that long past
// Grant.Expires.
const Leeway = 60 * time.Second

// Auth checks tokens and answers for their rights. New makes one. It is safe for concurrent use.
type Auth struct {
	open      bool
	log       *slog.Logger
	metrics   *metrics
	verifiers []*verifier
	tickets   *tickets  // nil: no key to sign with
	keys      []*keySet // the key sets that verifiers use
	verified  *verifiedCache
	callback  *callback // nil: none
	rules     []rule
	claim     []string // path of the claim with a user's documents
	strict    bool     // rules were configured: nothing matched means no right
	anonymous bool     // is_anonymous users count as authenticated
	origins   *origins
	revoked   *revocations
	signer    *signer // nil: no secret to mint tokens with
	stop      context.CancelFunc
}

// Open reports whether auth is off (--auth none): every client may do everything.
func (a *Auth) Open() bool { return a.open }

// Close ends the goroutines of the key sets and waits for them.
func (a *Auth) Close() {
	a.stop()
	for _, k := range a.keys {
		<-k.done
	}
	if a.callback != nil {
		a.callback.client.CloseIdleConnections()
	}
}

// Ready returns nil once every key set has been fetched and holds a usable key. A set that is empty is accepted where a shared
// secret is configured too, as in a Supabase project that has no signing keys yet.
func (a *Auth) Ready() error {
	secret := false
	for _, v := range a.verifiers {
		secret = secret || v.keys == nil
	}
	var errs []error
	for _, k := range a.keys {
		errs = append(errs, k.ready(secret))
	}
	return errors.Join(errs...)
}

// Grant verifies the token and returns the rights on r.Doc. Mode None always comes with an error. The error wraps one of those
// above; with ErrForbidden and ErrRevoked the grant still names the user, for the log.
func (a *Auth) Grant(ctx context.Context, r Request) (Grant, error) {
	g, err := a.grant(ctx, r)
	if err != nil {
		g.Mode = None
		a.metrics.refused(err)
	}
	return g, err
}

// Identity verifies the token and returns its user, with Mode None and without looking up rights. A ticket for a document is
// refused with ErrForbidden. The errors are Grant's.
func (a *Auth) Identity(ctx context.Context, r Request) (Grant, error) {
	if a.open {
		if t, err := a.tickets.verify(r.Token); err == nil && !t.Admin {
			a.metrics.refused(ErrForbidden)
			return Grant{}, ErrForbidden
		}
		return Grant{Admin: true}, nil
	}
	id, err := a.identify(ctx, r)
	if err != nil {
		a.metrics.refused(err)
		return Grant{}, err
	}
	g := id.grant()
	if g.Ticket {
		a.metrics.refused(ErrForbidden)
		return g, ErrForbidden
	}
	if a.Revoked("", g) {
		a.metrics.refused(ErrRevoked)
		return g, ErrRevoked
	}
	return g, nil
}

func (a *Auth) grant(ctx context.Context, r Request) (Grant, error) {
	if a.open {
		// A ticket still limits its bearer: read-only links work with auth off.
		if r.Token == "" {
			return Grant{Mode: all, Admin: true}, nil
		}
		if t, err := a.tickets.verify(r.Token); err == nil && !t.Admin {
			if t.doc != r.Doc {
				return Grant{}, ErrForbidden
			}
			return Grant{Mode: t.mode, Expires: t.Expires, Ticket: true}, nil
		}
		return Grant{Mode: all, Admin: true}, nil
	}
	id, err := a.identify(ctx, r)
	if err != nil {
		return Grant{}, err
	}
	return a.decide(ctx, r, id)
}

// Renew returns the current rights of a connected client on r.Doc. g is the grant it was admitted with; r.Token is ignored. An
// expired token is not refused: the caller decides how long an open socket may outlive it. The errors are Grant's.
func (a *Auth) Renew(ctx context.Context, g Grant, r Request) (Grant, error) {
	id := g.id
	if a.open || id == nil {
		return g, nil
	}
	var err error
	if id.answer != nil {
		r.Token = id.token
		if id, err = a.callback.identify(ctx, r); err == nil && id.User != g.User {
			err = ErrForbidden
		}
	}
	if err == nil {
		g, err = a.decide(ctx, r, id)
	}
	if err != nil {
		g.Mode = None
		a.metrics.refused(err)
	}
	return g, err
}

// decide returns the rights of id on r.Doc, reduced by revocations.
func (a *Auth) decide(ctx context.Context, r Request, id *identity) (g Grant, err error) {
	g = id.grant()
	if a.Revoked(r.Doc, g) {
		return g, ErrRevoked
	}
	if g.Mode, err = a.rights(ctx, r, id, &g); err != nil {
		return g, err
	}
	if g.Mode == None {
		return g, ErrForbidden
	}
	// Checked after the rights: a revocation may have arrived while the callback was answering.
	if g.Mode = min(g.Mode, a.Limit(r.Doc, g)); g.Mode == None {
		return g, ErrRevoked
	}
	return g, nil
}

// rights consults the sources of rights in the order of the package comment; the first that answers decides. It may set other
// fields of g.
func (a *Auth) rights(ctx context.Context, r Request, id *identity, g *Grant) (Mode, error) {
	if id.Admin {
		return all, nil
	}
	if id.ticket {
		if id.doc != r.Doc {
			return None, ErrForbidden
		}
		return id.mode, nil
	}
	if a.callback != nil {
		ans, err := a.callback.ask(ctx, r, id)
		if err != nil {
			return None, err
		}
		if ans.Name != "" {
			g.Name = ans.Name
		}
		g.Recheck = ans.recheck
		return ans.mode, nil
	}
	if m := id.docs.mode(r.Doc); m != None {
		return m, nil
	}
	if a.strict {
		return matchRules(a.rules, id, r.Doc), nil
	}
	if id.hasDocs || id.role == roleAnonymous {
		return None, nil
	}
	return ReadWrite, nil
}

// identify verifies the token and returns its identity.
func (a *Auth) identify(ctx context.Context, r Request) (*identity, error) {
	if r.Token == "" {
		return nil, ErrNoToken
	}
	if len(r.Token) > maxToken {
		return nil, unsigned("form", "too long")
	}
	if a.opaque() {
		if t, err := a.tickets.verify(r.Token); err == nil {
			return t, nil
		}
		return a.callback.identify(ctx, r)
	}
	return a.verify(ctx, r.Token)
}

// opaque reports whether the callback judges tokens, since no key is configured.
func (a *Auth) opaque() bool { return len(a.verifiers) == 0 }
