package ingest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"yjet/auth"
)

// serveSessions answers /api/sessions:
//
//	DELETE /api/sessions?user=&session=&doc=&leave=none|r&for=24h
//
// takes rights away from those it names, on every server, at once: with leave=r they may go on reading. It ends the tokens
// that were issued so far (with session=, the session itself), for as long as for= says, 7 days by default.
//
//	POST /api/sessions/recheck?user=&doc=
//
// has every server ask the callback again for the rights of those it names.
//
// Administrators may do both for anybody; other users may end their own sessions. A ticket is not a user: it may do neither.
func (a *api) serveSessions(w http.ResponseWriter, r *http.Request, segments []string) {
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
	caller, ok := a.identity(w, r)
	if !ok {
		return
	}
	if user == "" && session == "" && doc == "" {
		writeError(w, http.StatusBadRequest, "nobody-named", "name a user, a session or a doc")
		return
	}
	if !caller.Admin && (recheck || user != caller.User && (session == "" || session != caller.Session || user != "")) {
		a.denyRequest(w, r, causeForbidden)
		return
	}
	if doc != "" {
		d, err := docOf(doc)
		if err != nil {
			a.metrics.refuse(w, causeName)
			return
		}
		doc = string(d)
	}
	if recheck {
		if err := a.revoker.recheck(user, doc); err != nil {
			a.log.Error("recheck not announced", "err", err)
			a.metrics.refuse(w, causeStorage)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"recheck": true})
		return
	}
	rev := auth.Revocation{User: user, Session: session, Doc: doc}
	if leave := q.Get("leave"); leave != "" {
		if rev.Leave, ok = auth.ParseMode(leave); !ok || rev.Leave > auth.Read {
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
		rev = rev.Complete()
		rev.Until = rev.At.Add(d)
	}
	rev = rev.Complete()
	ctx, cancel := context.WithTimeout(r.Context(), a.limits.AppendWait)
	defer cancel()
	n, err := a.revoker.revoke(ctx, rev)
	switch {
	case errors.Is(err, auth.ErrRevocationsFull):
		writeError(w, http.StatusInsufficientStorage, "too-many-revocations", "nothing was revoked: too many revocations are in force")
	case err != nil:
		a.log.Error("revocation not stored", "err", err)
		writeError(w, http.StatusServiceUnavailable, "storage-unavailable", "revoked for now, but a server that starts later would not know: ask again")
	default:
		writeJSON(w, http.StatusOK, map[string]any{"user": user, "session": session, "doc": doc, "leave": rev.Leave.String(), "sessionsHere": n,
			"until": rev.Until.UnixMilli()})
	}
}
