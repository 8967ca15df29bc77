package ingest

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"yjet/auth"
	"yjet/stream"
)

// bearer answers the question of a request for rights on a document.
func (s *Server) bearer(r *http.Request, doc string) auth.Request {
	token, _ := auth.TokenFrom(r, r.URL.Query())
	return auth.Request{Doc: doc, Token: token, IP: s.clientIP(r), Origin: r.Header.Get("Origin")}
}

// mayAdminister answers who asks for something that concerns the whole server. Others than administrators may ask it for
// themselves alone, which the caller checks.
func (s *Server) mayAdminister(w http.ResponseWriter, r *http.Request) (auth.Grant, bool) {
	g, err := s.o.Auth.Identity(r.Context(), s.bearer(r, ""))
	if err != nil {
		s.denyRequest(w, err)
		return g, false
	}
	return g, true
}

// denyRequest answers a request that is refused.
func (s *Server) denyRequest(w http.ResponseWriter, err error) {
	cs := causeOf(err)
	s.metrics.refused(cs.reason)
	if cs.http == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	refuse(w, cs)
}

// serveSessions answers /api/sessions:
//
//	DELETE /api/sessions?user=&session=&doc=&leave=none|r&for=24h
//
// takes rights away from whom it names, on every server, at once: with leave=r they may go on reading. It ends the tokens
// that were issued so far (with session=, the session itself), for as long as for= says, 7 days by default.
//
//	POST /api/sessions/recheck?user=&doc=
//
// has every server ask the callback again for the rights of those it names.
//
// Administrators may do both for anybody; everybody may end his own sessions.
func (s *Server) serveSessions(w http.ResponseWriter, r *http.Request, segments []string) {
	q := r.URL.Query()
	user, session, doc := q.Get("user"), q.Get("session"), q.Get("doc")
	recheck := len(segments) == 1 && segments[0] == "recheck"
	switch {
	case len(segments) > 0 && !recheck:
		writeError(w, http.StatusNotFound, "not-found", "no such route")
		return
	case recheck && r.Method != http.MethodPost, !recheck && r.Method != http.MethodDelete:
		w.Header().Set("Allow", map[bool]string{true: "POST", false: "DELETE"}[recheck])
		writeError(w, http.StatusMethodNotAllowed, "method-not-allowed", "DELETE /api/sessions or POST /api/sessions/recheck")
		return
	}
	who, ok := s.mayAdminister(w, r)
	if !ok {
		return
	}
	if user == "" && session == "" && doc == "" {
		writeError(w, http.StatusBadRequest, "nobody-named", "name a user, a session or a doc")
		return
	}
	if !who.Admin && (recheck || user != who.User && (session == "" || session != who.Session || user != "")) {
		s.denyRequest(w, causeForbidden)
		return
	}
	if doc != "" {
		if _, err := stream.ParseDoc(doc); err != nil {
			refuse(w, causeName)
			return
		}
	}
	if recheck {
		if err := s.revoker.recheck(user, doc); err != nil {
			s.log.Error("recheck not announced", "err", err)
			refuse(w, causeStorage)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"recheck": true})
		return
	}
	rev := auth.Revocation{User: user, Session: session, Doc: doc}
	if leave := q.Get("leave"); leave != "" {
		if rev.Leave, ok = auth.ParseMode(leave); !ok || rev.Leave == auth.ReadWrite {
			writeError(w, http.StatusBadRequest, "bad-leave", "leave is none or r")
			return
		}
	}
	if last := q.Get("for"); last != "" {
		d, err := time.ParseDuration(last)
		if err != nil || d <= 0 || d > 366*24*time.Hour {
			writeError(w, http.StatusBadRequest, "bad-for", "for is a time such as 24h, a year at most")
			return
		}
		rev.At = time.Now().Truncate(time.Millisecond)
		rev.Until = rev.At.Add(d)
	}
	rev = rev.Complete()
	n, err := s.revoker.revoke(r.Context(), rev)
	switch {
	case errors.Is(err, auth.ErrRevocationsFull):
		writeError(w, http.StatusInsufficientStorage, "too-many-revocations", "nothing was revoked: too many revocations are in force")
	case err != nil:
		s.log.Error("revocation not stored", "err", err)
		writeError(w, http.StatusServiceUnavailable, "storage-unavailable", "revoked for now, but a server that starts later would not know: ask again")
	default:
		writeJSON(w, http.StatusOK, map[string]any{"user": user, "session": session, "doc": doc, "leave": rev.Leave.String(), "sessionsHere": n,
			"until": rev.Until.UnixMilli()})
	}
}

// seconds is a time in a request: a number of seconds, or a text such as "5m".
type seconds time.Duration

func (d *seconds) UnmarshalJSON(b []byte) error {
	var n float64
	if json.Unmarshal(b, &n) == nil {
		if n != n || n < 0 || n > 1e9 {
			return errors.New("out of range")
		}
		*d = seconds(n * float64(time.Second))
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	v, err := time.ParseDuration(text)
	*d = seconds(v)
	return err
}

// serveTicket answers POST /api/docs/{doc}/token {access, user?, ttl?}: a ticket for one document, for a URL. It allows what
// its owner may do at most, lasts no longer than his own token, and ends with it; an administrator may make one for anybody.
func (s *Server) serveTicket(w http.ResponseWriter, r *http.Request, doc string) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		writeError(w, http.StatusMethodNotAllowed, "method-not-allowed", "POST {access, user?, ttl?}")
		return
	}
	if _, err := docOf(doc); err != nil {
		refuse(w, causeOf(err))
		return
	}
	g, err := s.o.Auth.Grant(r.Context(), s.bearer(r, doc))
	if err != nil {
		s.denyRequest(w, err)
		return
	}
	var in struct {
		Access string  `json:"access"`
		User   string  `json:"user"`
		Name   string  `json:"name"`
		TTL    seconds `json:"ttl"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, &in)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "malformed", `want JSON such as {"access":"r","ttl":300}`)
		return
	}
	mode, ok := auth.ParseMode(cmp.Or(in.Access, g.Mode.String()))
	switch {
	case !ok || mode == auth.None:
		writeError(w, http.StatusBadRequest, "bad-access", "access is r or rw")
		return
	case mode > g.Mode, in.User != "" && in.User != g.User && !g.Admin:
		s.denyRequest(w, causeForbidden)
		return
	}
	who := g
	if g.Admin { // he makes it for others: it is not his
		who = auth.Grant{User: in.User, Name: in.Name}
	}
	who.Mode = mode
	ttl := cmp.Or(time.Duration(in.TTL), auth.TicketTTL)
	ticket, err := s.o.Auth.TicketFor(who, doc, ttl)
	switch {
	case errors.Is(err, auth.ErrNoKey):
		writeError(w, http.StatusNotImplemented, "no-ticket-secret", "this server has only public keys: set a ticket secret, the same on every server")
		return
	case err != nil:
		writeError(w, http.StatusBadRequest, "bad-ticket", "ttl is more than 0 and at most 24 h, user at most 255 bytes of text")
		return
	}
	expires := time.Now().Add(ttl)
	if !who.Expires.IsZero() && who.Expires.Before(expires) {
		expires = who.Expires
	}
	writeJSON(w, http.StatusOK, map[string]any{"token": ticket, "document": doc, "access": mode.String(), "user": who.User, "expiresAt": expires.UnixMilli()})
}
