package auth

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Mode is what a grant allows. A greater mode allows all that a lesser one does.
type Mode uint8

const (
	None Mode = iota
	Read
	ReadWrite
	ReadWriteDelete // also delete and undelete the document
)

// all is the mode of administrators, and of everybody where there is no login.
const all = ReadWriteDelete

// String is the word of the settings and of the API: none, r, rw, rwd.
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

// Grant is who somebody is and what they may do with one document.
type Grant struct {
	User    string    // sub, 1–255 bytes without controls; "" when auth is off
	Name    string    // display name, for presence only: a user may have chosen it
	Mode    Mode      // on the asked document
	Admin   bool      // may do what belongs to the server: revoke, act for others
	Issued  time.Time // iat; zero: not known
	Expires time.Time // exp, without the leeway; zero: never
	Session string    // session_id claim or a hash of the token: what a revocation names; "" when auth is off
	Recheck time.Time // zero: never; else ask again at this time (callback ttl), with Renew
	Ticket  bool      // of a ticket for one document: nothing beyond that document is its bearer's to ask for

	id *identity // what it was granted to; nil when auth is off
}

// Request is one question: may the bearer of Token use Doc?
type Request struct {
	Doc    string // document id, decoded
	Token  string // raw; never logged
	IP     string // the client's, see Proxies.ClientIP; for the callback
	Origin string // Origin header, "" if there was none; for the callback
}

// The errors of Grant. They are wrapped with a few fixed words on the cause and hold nothing of the token. Reason gives the
// word for the client.
var (
	// ErrNoToken: the client must come with a token.
	ErrNoToken = errors.New("auth: no token")
	// ErrToken: this token will never do.
	ErrToken = errors.New("auth: token invalid")
	// ErrNotYet: the token becomes valid within minutes (RetryAfter says when). The client should come back: 503, close 1013.
	ErrNotYet = errors.New("auth: token not valid yet")
	// ErrExpired: the token was good once; a fresh one will do.
	ErrExpired = errors.New("auth: token expired")
	// ErrForbidden: the user is known and has no right to this document.
	ErrForbidden = errors.New("auth: no right")
	// ErrUnavailable: a key set or the callback cannot be asked now. The client should come back: 503, close 1013.
	ErrUnavailable = errors.New("auth: cannot be asked now")
	// ErrRevoked: the user, the session or this token has been cut off.
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

// Leeway is how far the clocks of an issuer and of this server may differ, and so how long past Grant.Expires a session may
// still go on.
const Leeway = 60 * time.Second

// Auth decides. Build with New. Safe for concurrent use.
type Auth struct {
	open      bool
	log       *slog.Logger
	metrics   *metrics
	verifiers []*verifier
	tickets   *tickets  // nil: no key to sign with
	keys      []*keySet // those of the verifiers
	verified  *verifiedCache
	callback  *callback // nil: none
	rules     []rule
	claim     []string // path of the claim with a user's documents
	strict    bool     // rules were configured: nothing matched means no right
	anonymous bool     // is_anonymous users count as any other
	origins   *origins
	revoked   *revocations
	signer    *signer // nil: no secret to mint tokens with
	stop      context.CancelFunc
}

// Open reports whether anybody may do anything (--auth none).
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

// Ready answers nil when every key set has been read and holds a key to check with. A key set that is honestly empty is
// enough where a shared secret is configured beside it, as in a Supabase project that has not moved to signing keys yet.
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

// Grant verifies the token and answers the rights on r.Doc. Mode None is never returned without ErrForbidden. The error is one
// of those above, wrapped; on ErrForbidden and ErrRevoked the grant still says who asked, for the log.
func (a *Auth) Grant(ctx context.Context, r Request) (Grant, error) {
	g, err := a.grant(ctx, r)
	if err != nil {
		g.Mode = None
		a.metrics.refused(err)
	}
	return g, err
}

// Identity verifies the token and answers who its bearer is, with Mode None: the rights on a document are Grant's to tell. A ticket
// for a document names no user: ErrForbidden. The errors are Grant's.
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
		// A ticket still counts: a read-only link works before anybody has set up logins.
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

// Renew asks again for the rights of somebody who has been let in with g, on r.Doc; r.Token is not looked at. That the token
// has expired meanwhile is no reason to refuse: how long an open socket may outlive it is the caller's to say. The errors are
// Grant's.
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

// decide answers the rights of id on r.Doc.
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
	// Asked after the rights, for the callback takes its time and a revocation may have come meanwhile.
	if g.Mode = min(g.Mode, a.Limit(r.Doc, g)); g.Mode == None {
		return g, ErrRevoked
	}
	return g, nil
}

// rights asks, in the order of the package comment, until somebody answers. It may fill in more of g.
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

// identify finds whose token it is.
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

// opaque reports whether tokens are the callback's to judge.
func (a *Auth) opaque() bool { return len(a.verifiers) == 0 }
