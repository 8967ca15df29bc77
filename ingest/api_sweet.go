package ingest

import (
	"cmp"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"yjet/auth"
	"yjet/snapshot"
	"yjet/stream"
)

// A clientToken has all that Y-Sweet's client needs to connect.
type clientToken struct {
	URL           string `json:"url"` // the client appends / and the document
	BaseURL       string `json:"baseUrl"`
	DocID         string `json:"docId"`
	Token         string `json:"token,omitempty"`
	Authorization string `json:"authorization"` // full or read-only
}

// sweetAuth is the body of a request for a client token.
type sweetAuth struct {
	Authorization   string  `json:"authorization"`
	UserID          string  `json:"userId"`
	ValidForSeconds seconds `json:"validForSeconds"`
	DocID           string  `json:"docId"` // of /doc/new
}

// A sweetRoute is one of the HTTP routes of Y-Sweet's client and SDK.
type sweetRoute struct {
	action string // check_store, new, auth, as-update, update
	name   string // of the document, as asked for; "" where there is none
}

// sweetPath reads /check_store, /doc/new, and /doc/{doc}/… or /d/{doc}/…, where the SDK's base URL points to.
func sweetPath(segments []string) (sweetRoute, bool) {
	n := len(segments)
	switch {
	case n == 1 && segments[0] == "check_store":
		return sweetRoute{action: "check_store"}, true
	case n < 2 || segments[0] != "doc" && segments[0] != "d":
		return sweetRoute{}, false
	case n == 2 && segments[1] == "new":
		return sweetRoute{action: "new"}, true
	case n >= 3:
		switch action := segments[n-1]; action {
		case "auth", "as-update", "update":
			return sweetRoute{action, strings.Join(segments[1:n-1], "/")}, true
		}
	}
	return sweetRoute{}, false
}

// serveSweetRoute answers the requests of Y-Sweet's SDK.
func (a *api) serveSweetRoute(w http.ResponseWriter, r *http.Request, at sweetRoute) {
	switch at.action {
	case "check_store":
		a.checkStore(w, r)
	case "as-update":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			notAllowed(w, "GET, HEAD")
			return
		}
		a.withDoc(w, r, at.name, auth.Read, a.getSweet)
	case "update":
		if r.Method != http.MethodPost {
			notAllowed(w, "POST")
			return
		}
		a.withDoc(w, r, at.name, auth.ReadWrite, a.postDoc)
	default:
		a.serveSweet(w, r, at.name)
	}
}

// checkStore reports whether the log can be reached, to any caller whose token is valid.
func (a *api) checkStore(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		notAllowed(w, "GET, POST")
		return
	}
	if !a.o.Auth.Open() {
		if _, ok := a.identity(w, r); !ok {
			return
		}
	}
	if err := a.o.Log.Fault(); err != nil {
		writeJSON(w, http.StatusOK, map[string]any{"ok": false, "error": causeStorage.message()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ok": true})
}

// getSweet answers a document's state as one update. One that was named and not edited yet is empty.
func (a *api) getSweet(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	state, err := a.rooms.stateAt(r.Context(), doc, snapshot.Moment{})
	switch {
	case errors.Is(err, snapshot.ErrNotFound):
		state.Update = emptyUpdate
	case err != nil:
		a.fail(w, doc, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(state.Update)
}

// newSweet answers POST /doc/new: it names a document, which begins to exist with its first edit.
func (a *api) newSweet(w http.ResponseWriter, r *http.Request) {
	if !a.o.Auth.Open() {
		if _, ok := a.identity(w, r); !ok {
			return
		}
	}
	var in sweetAuth
	if !readBody(w, r, &in, `{"docId":"notes/todo"}`) {
		return
	}
	doc, err := docOf(cmp.Or(in.DocID, strings.ToLower(rand.Text())))
	if err != nil {
		a.metrics.refuse(w, causeOf(err))
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"docId": string(doc)})
}

// serveSweet answers POST /doc/{doc}/auth with a client token: a ticket for one document, limited to the rights of the caller.
func (a *api) serveSweet(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodPost {
		notAllowed(w, "POST")
		return
	}
	if name == "" {
		a.newSweet(w, r)
		return
	}
	doc, err := docOf(name)
	if err != nil {
		a.metrics.refuse(w, causeOf(err))
		return
	}
	name = string(doc)
	grant, err := a.o.Auth.Grant(r.Context(), a.bearer(r, name))
	if err != nil {
		a.denyRequest(w, r, err)
		return
	}
	if grant.Ticket {
		a.denyRequest(w, r, causeForbidden)
		return
	}
	var in sweetAuth
	if !readBody(w, r, &in, `{"authorization":"read-only"}`) {
		return
	}
	who := grant
	if grant.Admin {
		who = auth.Grant{User: in.UserID, Mode: grant.Mode}
	}
	switch in.Authorization {
	case "", "full":
		who.Mode = min(who.Mode, auth.ReadWrite)
	case "read-only":
		who.Mode = auth.Read
	default:
		writeError(w, http.StatusBadRequest, "bad-access", "authorization is full or read-only")
		return
	}
	out := clientToken{DocID: name, Authorization: "full"}
	if who.Mode < auth.ReadWrite {
		out.Authorization = "read-only"
	}
	if !a.o.Auth.Open() {
		out.Token, err = a.o.Auth.TicketFor(who, name, cmp.Or(time.Duration(in.ValidForSeconds), auth.TicketTTL))
		switch {
		case errors.Is(err, auth.ErrNoKey):
			writeError(w, http.StatusNotImplemented, "no-ticket-secret", "this server has only public keys: set a ticket secret, the same on every server")
			return
		case err != nil:
			writeError(w, http.StatusBadRequest, "bad-ticket", "validForSeconds is more than 0 and at most 24 h, userId at most 255 bytes of text")
			return
		}
	}
	base := a.o.publicBase(r)
	out.BaseURL = base + "/d/" + url.PathEscape(name)
	out.URL = "ws" + strings.TrimPrefix(base, "http") + "/d/" + url.PathEscape(name) + "/ws"
	writeJSON(w, http.StatusOK, out)
}
