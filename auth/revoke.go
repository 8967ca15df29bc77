package auth

import (
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// RevocationTTL is the default lifetime of a revocation: the longest lifetime that Supabase allows for a token.
const RevocationTTL = 7 * 24 * time.Hour

// maxRevocations bounds the list. Only an administrator can fill it.
const maxRevocations = 200_000

// A Revocation takes rights from every grant with the user, session and document that it names. Without a session it applies to
// tokens issued before At: a user who signs in again has a newer one.
type Revocation struct {
	User    string
	Session string
	Doc     string
	Leave   Mode      // the remaining rights: None or Read
	At      time.Time // time of creation; zero: now
	Until   time.Time // end; the tokens it applies to have expired by then; zero: At + RevocationTTL

	known time.Time // time of arrival on this server, by its own clock; zero: not in force here
}

// ErrRevocation: the revocation is invalid. One that names nothing would apply to every grant.
var ErrRevocation = errors.New("auth: a revocation names a user, a session or a document, and leaves nothing or reading")

// ErrRevocationsFull: the list is full and the revocation is not in force. The caller must report that.
var ErrRevocationsFull = errors.New("auth: too many revocations in force")

// revocationJSON is the form of a Revocation between servers and in the ymeta bucket. Times are Unix ms.
type revocationJSON struct {
	User    string `json:"user,omitempty"`
	Session string `json:"session,omitempty"`
	Doc     string `json:"doc,omitempty"`
	Leave   string `json:"leave"`
	At      int64  `json:"at"`
	Until   int64  `json:"until"`
}

func (r Revocation) MarshalJSON() ([]byte, error) {
	return json.Marshal(revocationJSON{r.User, r.Session, r.Doc, r.Leave.String(), r.At.UnixMilli(), r.Until.UnixMilli()})
}

func (r *Revocation) UnmarshalJSON(data []byte) error {
	var j revocationJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	leave, ok := ParseMode(j.Leave)
	if !ok {
		return ErrRevocation
	}
	*r = Revocation{User: j.User, Session: j.Session, Doc: j.Doc, Leave: leave, At: time.UnixMilli(j.At), Until: time.UnixMilli(j.Until)}
	return nil
}

// Complete sets the times that are zero, so that every server stores the same values.
func (r Revocation) Complete() Revocation {
	if r.At.IsZero() {
		r.At = time.Now().Truncate(time.Millisecond).Add(time.Millisecond) // in whole ms, as sent to other servers; rounded up, so that tokens issued in this ms come before it
	}
	if r.Until.IsZero() {
		r.Until = r.At.Add(RevocationTTL)
	}
	return r
}

// Names reports whether r names g's user, session and doc, regardless of the token's age: r ends the sessions that are open when it
// arrives. A revocation that names only a document does not apply to administrators.
func (r Revocation) Names(doc string, g Grant) bool {
	return (r.User == "" || r.User == g.User) && (r.Session == "" || r.Session == g.Session) && (r.Doc == "" || r.Doc == doc) &&
		!(g.Admin && g.User != "" && r.User == "" && r.Session == "")
}

// Matches reports whether r applies to a grant g that is requested now. It ignores Until.
//
// Without a session in r, the token must be older than r. It is older if this server accepted it before r.At and before r arrived,
// whatever its iat; or if iat lies before At. Where iat has whole seconds, as most issuers write it, At is compared to the second: a
// token issued in the same second as r works at once, unless it was already in use. A token without iat counts as older.
//
// iat comes from the issuer's clock. If that clock is ahead, tokens pass that were issued shortly before r and never used here; if
// it is behind, a new sign-in is refused for as long as it is behind.
func (r Revocation) Matches(doc string, g Grant) bool {
	if !r.Names(doc, g) {
		return false
	}
	if r.Session != "" || g.Issued.IsZero() || g.id != nil && g.id.seen.Before(r.At) && g.id.seen.Before(r.known) {
		return true
	}
	at := r.At
	if g.Issued.Nanosecond() == 0 {
		at = at.Truncate(time.Second)
	}
	return g.Issued.Before(at)
}

type revocationKey struct {
	user, session, doc string
	leave              Mode
}

// revocations is the list of revocations in force.
type revocations struct {
	mu   sync.RWMutex // guards list: an addition and its merge with an older entry are one step
	list map[revocationKey]Revocation
}

func newRevocations() *revocations {
	return &revocations{list: make(map[revocationKey]Revocation)}
}

// Revoke puts r into force on this server; the caller sends it to the others. It is idempotent. Errors: ErrRevocation,
// ErrRevocationsFull.
func (a *Auth) Revoke(r Revocation) error {
	r = r.Complete()
	if r.User == "" && r.Session == "" && r.Doc == "" || r.Leave > Read {
		return ErrRevocation
	}
	now := time.Now()
	if !r.Until.After(now) {
		return nil
	}
	l := a.revoked
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) >= maxRevocations {
		for k, old := range l.list {
			if !old.Until.After(now) {
				delete(l.list, k)
			}
		}
		if len(l.list) >= maxRevocations {
			return ErrRevocationsFull
		}
	}
	k := revocationKey{r.User, r.Session, r.Doc, r.Leave}
	r.known = now
	if old, ok := l.list[k]; ok {
		if !old.At.Before(r.At) {
			r.At, r.known = old.At, old.known
		}
		if old.Until.After(r.Until) {
			r.Until = old.Until
		}
	}
	l.list[k] = r
	return nil
}

// InForce reports whether r, or a later revocation with the same names, is in force.
func (a *Auth) InForce(r Revocation) bool {
	a.revoked.mu.RLock()
	defer a.revoked.mu.RUnlock()
	old, ok := a.revoked.list[revocationKey{r.User, r.Session, r.Doc, r.Leave}]
	return ok && !old.At.Before(r.At) && !old.Until.Before(r.Until)
}

// Standing returns the revocation in force with r's names. Where r was made more than once, it has the latest At and the latest
// Until. It returns r where none is in force.
func (a *Auth) Standing(r Revocation) Revocation {
	a.revoked.mu.RLock()
	defer a.revoked.mu.RUnlock()
	if old, ok := a.revoked.list[revocationKey{r.User, r.Session, r.Doc, r.Leave}]; ok {
		return old
	}
	return r
}

// Limit returns the greatest mode that revocations leave g on doc: ReadWriteDelete where none matches. Doc "" is matched only by
// revocations without a document.
func (a *Auth) Limit(doc string, g Grant) Mode {
	l := a.revoked
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.list) == 0 {
		return all
	}
	now := time.Now()
	for leave := None; leave <= Read; leave++ {
		for i := 1; i < 8; i++ {
			k := revocationKey{leave: leave}
			if i&1 != 0 {
				k.user = g.User
			}
			if i&2 != 0 {
				k.session = g.Session
			}
			if i&4 != 0 {
				k.doc = doc
			}
			if r, ok := l.list[k]; ok && r.Until.After(now) && r.Matches(doc, g) {
				return leave
			}
		}
	}
	return all
}

// Revoked reports whether revocations leave g no rights on doc.
func (a *Auth) Revoked(doc string, g Grant) bool { return a.Limit(doc, g) == None }

// Revocations lists the revocations in force, in no order.
func (a *Auth) Revocations() []Revocation {
	l := a.revoked
	l.mu.RLock()
	defer l.mu.RUnlock()
	now := time.Now()
	list := make([]Revocation, 0, len(l.list))
	for _, r := range l.list {
		if r.Until.After(now) {
			list = append(list, r)
		}
	}
	return list
}
