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

// A Revocation takes rights away from those it matches: everybody whose user, session and document are the ones it names. One
// that names no session means tokens issued before At: who signs in again afterwards comes with a newer one.
type Revocation struct {
	User    string
	Session string
	Doc     string
	Leave   Mode      // what they may still do: None, or Read
	At      time.Time // when it was made; zero: now
	Until   time.Time // when it lapses, all tokens it means having expired; zero: At + RevocationTTL
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
	*r = Revocation{j.User, j.Session, j.Doc, leave, time.UnixMilli(j.At), time.UnixMilli(j.Until)}
	return nil
}

// Complete fills in the times that are left to us, so that every server keeps the same.
func (r Revocation) Complete() Revocation {
	if r.At.IsZero() {
		r.At = time.Now().Truncate(time.Millisecond) // as it travels
	}
	if r.Until.IsZero() {
		r.Until = r.At.Add(RevocationTTL)
	}
	return r
}

// Names reports whether r means the bearer of g on doc, whenever his token was issued: who is connected when r comes is cut
// off by this. One that names only a document does not mean administrators.
func (r Revocation) Names(doc string, g Grant) bool {
	return (r.User == "" || r.User == g.User) && (r.Session == "" || r.Session == g.Session) && (r.Doc == "" || r.Doc == doc) &&
		!(g.Admin && g.User != "" && r.User == "" && r.Session == "")
}

// revokeSkew is how long after a revocation a token may seem to be issued and still be an older one: iat is read off the
// issuer's clock.
const revokeSkew = 5 * time.Second

// Matches reports whether r takes rights from somebody who comes with g now. A token without iat may be any age. It does not
// look at Until.
func (r Revocation) Matches(doc string, g Grant) bool {
	return r.Names(doc, g) && (r.Session != "" || g.Issued.IsZero() || !g.Issued.After(r.At.Add(revokeSkew)))
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
	if old, ok := l.list[k]; ok {
		if old.At.After(r.At) {
			r.At = old.At
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

// Limit is the most that revocations leave g on doc: ReadWrite where none matches. Doc "" matches only those that name none.
func (a *Auth) Limit(doc string, g Grant) Mode {
	l := a.revoked
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.list) == 0 {
		return ReadWrite
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
	return ReadWrite
}

// Revoked reports whether g has been cut off from doc.
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
