package ingest

import (
	"context"
	"errors"
	"time"

	"yjet/auth"
)

// Rights change while a session is open:
//
//   - A minute before its token ends, a client that can be told so is: a fresh token of the same user extends the session.
//     One that ends it all the same is closed at its end, or goes on until MaxSession (Options.OnExpiry).
//   - Rights that a callback gave are asked for again when it said so. While it does not answer they stay as they are, for
//     a while.
//   - A revocation, made here or on another server, takes rights away at once: updates sent after it are not stored.

// expiryNotice is how long before its token's end a client is asked for a fresh one.
const expiryNotice = time.Minute

// A term has the times at which something is due for a session's rights. Guarded by room.mu.
type term struct {
	notice  time.Time // ask for a fresh token; zero: never, or done
	until   time.Time // the session ends; zero: never
	recheck time.Time // ask for the rights again; zero: never
	unsure  time.Time // since when they could not be asked for
}

// A refresher is a dialect that can tell a client of its rights, or ask it for a fresh token.
type refresher interface {
	// granted answers frames that tell the rights of g, or, expiring, that g will end soon; nil where the client knows no such
	// thing.
	granted(s *session, g auth.Grant, expiring bool) []byte
}

// schedule begins a new term, for a fresh token. Callers hold the room's lock.
func (s *session) schedule(now time.Time) {
	s.term = term{recheck: s.grant.Recheck}
	if end := s.grant.Expires; !end.IsZero() {
		s.term.notice = end.Add(-expiryNotice)
		s.term.until = end.Add(auth.Leeway)
		if longest := now.Add(jitter(s.c.srv.limits.MaxSession)); s.c.srv.o.OnExpiry == "keep" && s.term.until.Before(longest) {
			s.term.until = longest
		}
	}
	s.plan()
}

// plan notes when the clock has to look at the session next. Callers hold the room's lock.
func (s *session) plan() {
	due := int64(0)
	for _, t := range []time.Time{s.term.notice, s.term.until, s.term.recheck} {
		if !t.IsZero() && (due == 0 || t.Unix() < due) {
			due = t.Unix()
		}
	}
	s.due.Store(due)
}

// tickRights does the due upkeep of the rights of a connection's sessions.
func (c *conn) tickRights(now time.Time) {
	var due []*session
	c.mu.Lock()
	for _, s := range c.sessions {
		if d := s.due.Load(); d != 0 && d <= now.Unix() {
			due = append(due, s)
		}
	}
	c.mu.Unlock()
	for _, s := range due {
		s.upkeep(now)
	}
}

func passed(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// upkeep announces, rechecks or ends a session's rights, as its term says.
func (s *session) upkeep(now time.Time) {
	expired, recheck := false, false
	s.room.do(func() {
		t := &s.term
		if s.left {
			return
		}
		if expired = passed(t.until, now); expired {
			return
		}
		if passed(t.notice, now) {
			t.notice = time.Time{}
			s.tell(true)
		}
		if passed(t.recheck, now) {
			select {
			case s.c.srv.checks <- struct{}{}:
				recheck, t.recheck = true, time.Time{}
			default: // too many questions are under way
				t.recheck = now.Add(time.Second)
			}
		}
		s.plan()
	})
	if expired {
		s.end(causeExpired)
	}
	if recheck {
		s.c.srv.wg.Add(1)
		go s.recheck()
	}
}

// tell lets the client know of its rights where it can understand. Callers hold the room's lock.
func (s *session) tell(expiring bool) {
	if d, ok := s.d.(refresher); ok {
		s.room.out.put(s, d.granted(s, s.grant, expiring))
	}
}

// maxChecks is how many questions for rights of open sessions are under way at once.
const maxChecks = 64

// Rights that cannot be asked for are asked for again after recheckPause, and given up after recheckPatience.
const (
	recheckPause    = 5 * time.Second
	recheckPatience = 10 * time.Minute
)

// recheck asks for the rights of a session again. The caller has taken a place among checks and counted it in the server.
func (s *session) recheck() {
	srv := s.c.srv
	defer srv.wg.Done()
	defer func() { <-srv.checks }()
	var old auth.Grant
	s.room.look(func() { old = s.grant })
	ctx, cancel := context.WithTimeout(s.c.ctx, 10*time.Second)
	defer cancel()
	g, err := srv.o.Auth.Renew(ctx, old, auth.Request{Doc: string(s.room.doc), IP: s.c.ip, Origin: s.c.origin})
	s.room.do(func() {
		if s.left || s.c.ctx.Err() != nil {
			err = nil
			return
		}
		err = s.renewed(old, g, err, time.Now())
	})
	if err != nil {
		s.end(err)
	}
}

// renewed takes the answer to a question for the rights that were old, and returns
// why the session ends. Callers hold the room's lock.
func (s *session) renewed(old, g auth.Grant, err error, now time.Time) error {
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		if s.term.unsure.IsZero() {
			s.term.unsure = now
		}
		s.term.recheck = now.Add(recheckPause)
		if now.Sub(s.term.unsure) < recheckPatience {
			err = nil
		}
	case err == nil:
		s.term.unsure, s.term.recheck = time.Time{}, g.Recheck
		// A fresh token, or a revocation, may have come meanwhile: neither is undone.
		if s.grant.Session == old.Session && s.grant.Expires.Equal(old.Expires) {
			g.Mode = min(g.Mode, s.c.srv.o.Auth.Limit(string(s.room.doc), g))
			if changed := g.Mode != s.grant.Mode; g.Mode != auth.None {
				s.hand(g)
				if changed {
					s.tell(false)
				}
			}
		}
	}
	s.plan()
	return err
}

// hand gives a session other rights. Callers hold the room's lock.
func (s *session) hand(g auth.Grant) {
	was := s.grant.Mode
	s.grant = g
	switch {
	case was >= writeMode && g.Mode < writeMode:
		s.disarm()
	case was < writeMode && g.Mode >= writeMode:
		s.refusals = 0
		s.ask(false) // for the edits that it could not write so far
	}
}

// disarm drops the held updates of a session that may no longer write: only updates already on their way to the log will be
// stored. Callers hold the room's lock.
func (s *session) disarm() {
	if len(s.held) > 0 {
		s.room.holders--
		s.held, s.heldSize, s.dropped = nil, 0, true
	}
	for i := range s.acks {
		if s.acks[i].turn.hold != 0 {
			s.acks[i].turn, s.acks[i].bad = turn{}, true
		}
	}
	s.refusals = 0 // it is told anew at its next write
	s.settle()
}

// regrant gives a session a fresh token's rights and tells it so.
func (s *session) regrant(g auth.Grant) {
	s.room.do(func() {
		if s.left {
			return
		}
		s.hand(g)
		s.schedule(time.Now())
		s.tell(false)
	})
}

// refreshed takes a fresh token of the client on an open session: it must be the same user's. A bad one ends the session; one
// that cannot be judged now changes nothing.
func (s *session) refreshed(token string) {
	_, grant, err := s.c.authorize(string(s.room.doc), token)
	switch {
	case err == nil && grant.User != s.user:
		s.end(causeForbidden)
	case errors.Is(err, auth.ErrUnavailable):
	case err != nil:
		s.end(err)
	default:
		s.regrant(grant)
		s.admitted() // a revocation may have come between the question and the answer
	}
}

// admitted compares a session with the revocations in force, after it can be found by those that come later. It reports
// whether the session may go on.
func (s *session) admitted() bool {
	limit := auth.None
	s.room.do(func() {
		if s.left {
			return
		}
		if limit = auth.ReadWriteDelete; !s.c.srv.o.Auth.Open() {
			limit = s.c.srv.o.Auth.Limit(string(s.room.doc), s.grant)
		}
		if limit < s.grant.Mode {
			g := s.grant
			g.Mode = limit
			s.hand(g)
		}
	})
	return limit != auth.None
}
