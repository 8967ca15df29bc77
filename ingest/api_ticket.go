package ingest

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"yjet/auth"
)

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

// serveTicket answers POST /api/docs/{doc}/token {access, user?, ttl?}: a ticket for one document, for a URL. It allows
// no more than its maker may do, lasts no longer than the maker's token, and ends with it; an administrator may make one for anybody.
// A ticket makes no tickets.
func (a *api) serveTicket(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		writeError(w, http.StatusMethodNotAllowed, "method-not-allowed", "POST {access, user?, ttl?}")
		return
	}
	d, err := docOf(name)
	if err != nil {
		a.metrics.refuse(w, causeOf(err))
		return
	}
	doc := string(d)
	g, err := a.o.Auth.Grant(r.Context(), a.bearer(r, doc))
	if err != nil {
		a.denyRequest(w, r, err)
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
	mode, ok := auth.ParseMode(cmp.Or(in.Access, min(g.Mode, auth.ReadWrite).String()))
	switch {
	case !ok || mode == auth.None:
		writeError(w, http.StatusBadRequest, "bad-access", "access is r, rw or rwd")
		return
	case g.Ticket, mode > g.Mode, in.User != "" && in.User != g.User && !g.Admin:
		a.denyRequest(w, r, causeForbidden)
		return
	}
	who := g
	if g.Admin { // made for another user: it does not end with the administrator's session
		who = auth.Grant{User: in.User, Name: in.Name}
	}
	who.Mode = mode
	ttl := cmp.Or(time.Duration(in.TTL), auth.TicketTTL)
	ticket, err := a.o.Auth.TicketFor(who, doc, ttl)
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
