package auth

import (
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// RevocationTTL is how long a revocation stands unless somebody says otherwise: the longest life that Supabase lets a token have.
const RevocationTTL = 7 * 24 * time.Hour

// maxRevocations bounds the list. It takes an administrator to fill it.
const maxRevocations = 200_000

// A Revocation takes rights away from every grant whose user, session and document are the ones it names. One that names no
// session means tokens issued before At: a user who signs in again afterwards comes with a newer one.
type Revocation struct {
	User    string
	Session string
	Doc     string
	Leave   Mode      // what is left to them: None, or Read
	At      time.Time // when it was made; zero: now
	Until   time.Time // when it lapses, the tokens it means having expired; zero: At + RevocationTTL

	known time.Time // when this server heard of it, by its own clock; zero: not in force here
}

// ErrRevocation: a revocation that names nothing would end everything, and is no revocation.
var ErrRevocation = errors.New("auth: a revocation names a user, a session or a document, and leaves nothing or reading")

// ErrRevocationsFull: no more can be kept. The caller must say so: it was not done.
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

// Complete fills in the times that are zero, so that every server keeps the same.
func (r Revocation) Complete() Revocation {
	if r.At.IsZero() {
		r.At = time.Now().Truncate(time.Millisecond).Add(time.Millisecond) // as it travels; what was issued in this millisecond came before
	}
	if r.Until.IsZero() {
		r.Until = r.At.Add(RevocationTTL)
	}
	return r
}

// Names reports whether r means the bearer of g on doc, whenever the token was issued: sessions that are open when r comes are
// ended by it. A revocation that names only a document does not mean administrators.
func (r Revocation) Names(doc string, g Grant) bool {
	return (r.User == "" || r.User == g.User) && (r.Session == "" || r.Session == g.Session) && (r.Doc == "" || r.Doc == doc) &&
		!(g.Admin && g.User != "" && r.User == "" && r.Session == "")
}

// Matches reports whether r takes rights from a grant g that is asked for now. It does not look at Until.
//
// The token is an older one if this server accepted it before r was made and before it heard of r, whatever the token says of itself;
// or if it says so: iat lies before At, compared to the second where iat has whole seconds, as most issuers write it. A token issued in the very second
// of r therefore works at once, unless it was in use already. A token without iat may be of any age.
//
// iat is read off the issuer's clock. One that is ahead lets tokens pass that were issued shortly before r and never used here;
// one that is behind keeps a new sign-in waiting for as long as it is behind.
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

// revocations is the list in force.
type revocations struct {
	mu   sync.RWMutex
	list map[revocationKey]Revocation
}

func newRevocations() *revocations {
	return &revocations{list: make(map[revocationKey]Revocation)}
}

// Revoke puts r into force on this server; the caller carries it to the others. Doing it again changes nothing. Errors:
// ErrRevocation, ErrRevocationsFull.
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

// InForce reports whether r, or the same made later, is in force.
func (a *Auth) InForce(r Revocation) bool {
	a.revoked.mu.RLock()
	defer a.revoked.mu.RUnlock()
	old, ok := a.revoked.list[revocationKey{r.User, r.Session, r.Doc, r.Leave}]
	return ok && !old.At.Before(r.At) && !old.Until.Before(r.Until)
}

// Standing is what is in force of r: where it was made before, the later time and the later end of both. It is r itself where
// nothing of it is in force.
func (a *Auth) Standing(r Revocation) Revocation {
	a.revoked.mu.RLock()
	defer a.revoked.mu.RUnlock()
	if old, ok := a.revoked.list[revocationKey{r.User, r.Session, r.Doc, r.Leave}]; ok {
		return old
	}
	return r
}

// Limit is the most that revocations leave g on doc: ReadWriteDelete where none matches. Doc "" matches only those that name none.
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

// Revoked reports whether nothing is left to g on doc.
func (a *Auth) Revoked(doc string, g Grant) bool { return a.Limit(doc, g) == None }

// Revocations lists what is in force, in no order.
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
