package ingest

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"yjet/auth"
)

// A clientToken is what Y-Sweet's client connects with.
type clientToken struct {
	URL           string `json:"url"` // the client appends / and the document
	BaseURL       string `json:"baseUrl"`
	DocID         string `json:"docId"`
	Token         string `json:"token,omitempty"`
	Authorization string `json:"authorization"` // full or read-only
}

// sweetAuth is what a caller asks for, in Y-Sweet's words.
type sweetAuth struct {
	Authorization   string  `json:"authorization"`
	UserID          string  `json:"userId"`
	ValidForSeconds seconds `json:"validForSeconds"`
	DocID           string  `json:"docId"` // of /doc/new
}

// sweetPath reads /doc/new and /doc/{doc}/auth, which Y-Sweet's client and SDK
// post to. name is "" for /doc/new.
func sweetPath(segments []string) (name string, ok bool) {
	n := len(segments)
	switch {
	case n < 2 || segments[0] != "doc" && segments[0] != "d":
		return "", false
	case n == 2 && segments[1] == "new":
		return "", true
	case n >= 3 && segments[n-1] == "auth":
		return strings.Join(segments[1:n-1], "/"), true
	}
	return "", false
}

// serveSweet answers POST /doc/{doc}/auth with a client token: a ticket for one
// document, for who may use it. POST /doc/new names a document; it begins to exist
// with its first edit.
func (a *api) serveSweet(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodPost {
		notAllowed(w, "POST")
		return
	}
	var in sweetAuth
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, &in)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "malformed", `want JSON such as {"authorization":"read-only"}`)
		return
	}
	if name == "" {
		if name = in.DocID; name == "" {
			name = strings.ToLower(rand.Text())
		}
		doc, err := docOf(name)
		if err != nil {
			refuse(w, causeOf(err))
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"docId": string(doc)})
		return
	}
	doc, err := docOf(name)
	if err != nil {
		refuse(w, causeOf(err))
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
	scheme := "http"
	if r.TLS != nil || a.o.behindTLS(r) {
		scheme = "https"
	}
	base := scheme + "://" + r.Host
	out.BaseURL = base + "/d/" + url.PathEscape(name)
	out.URL = "ws" + strings.TrimPrefix(base, "http") + "/d/" + url.PathEscape(name) + "/ws"
	writeJSON(w, http.StatusOK, out)
}

// behindTLS reports whether a proxy, which is where a browser's https ends, says
// that it does. A client that says so itself only misleads itself.
func (o *Options) behindTLS(r *http.Request) bool {
	return r.Header.Get("X-Forwarded-Proto") == "https"
}
