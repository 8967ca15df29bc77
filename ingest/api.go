package ingest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"yjet/auth"
	"yjet/snapshot"
	"yjet/stream"
)

// An api answers the HTTP requests of the public address: all but sockets. It has
// no state of its own; its fields are the server's. Safe for concurrent use.
type api struct {
	srv     *Server
	o       *Options
	limits  *Limits
	log     *slog.Logger
	metrics *metrics
	rooms   *rooms
	memory  *memory
	gate    *gate
	inbound *inbound
	pool    *pool
	revoker *revoker
	node    string
}

func newAPI(s *Server) *api {
	return &api{srv: s, o: &s.o, limits: &s.limits, log: s.log, metrics: s.metrics, rooms: s.rooms, memory: s.memory, gate: s.gate,
		inbound: s.inbound, pool: newPool(s.limits.HeavyQueue), revoker: s.revoker, node: s.node}
}

// serveAPI answers /api; segments are those behind it, unescaped.
func (a *api) serveAPI(w http.ResponseWriter, r *http.Request, segments []string) {
	switch {
	case len(segments) > 0 && segments[0] == "sessions":
		a.serveSessions(w, r, segments[1:])
	case len(segments) == 3 && segments[0] == "docs" && segments[2] == "token":
		a.serveTicket(w, r, segments[1])
	case len(segments) > 0 && segments[0] == "docs":
		a.serveDocs(w, r, segments[1:])
	default:
		writeError(w, http.StatusNotFound, "not-found", "no such route")
	}
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	w.Write(append(b, '\n'))
}

// writeError answers an error as all of /api does.
func writeError(w http.ResponseWriter, status int, code, message string) {
	if status == 0 {
		status = http.StatusInternalServerError
	}
	writeJSON(w, status, errorBody(code, message))
}

// errorBody is the JSON of an error.
func errorBody(code, message string) map[string]any {
	return map[string]any{"error": map[string]any{"code": code, "message": message}}
}

// serve answers every request that is not a socket.
func (a *api) serve(w http.ResponseWriter, r *http.Request, segments []string) {
	first := ""
	if len(segments) > 0 {
		first = segments[0]
	}
	sweet, isSweet := sweetPath(segments)
	if len(segments) == 1 && r.Method != http.MethodGet && r.Method != http.MethodHead {
		switch first {
		case "health", "healthz", "readyz", "metrics":
			notAllowed(w, "GET, HEAD")
			return
		}
	}
	switch {
	case len(segments) == 1 && first == "health":
		a.serveHealth(w, r)
	case len(segments) == 1 && first == "healthz":
		a.serveAlive(w, r)
	case len(segments) == 1 && first == "readyz":
		a.serveReady(w, r)
	case first == "metrics" || first == "debug":
		if a.o.Admin == nil {
			http.NotFound(w, r)
			return
		}
		a.o.Admin.ServeHTTP(w, r)
	case first == "api":
		a.o.Auth.CORS(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serveAPI(w, r, segments[1:]) })).ServeHTTP(w, r)
	case isSweet:
		a.o.Auth.CORS(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serveSweetRoute(w, r, sweet) })).ServeHTTP(w, r)
	case a.o.Page != nil:
		a.o.Page.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// refuse answers a request that a socket would have been closed for, and counts the refusal. A passing cause names a time to come back
// after: 5 s, or wait.
func (m *metrics) refuse(w http.ResponseWriter, cs *cause, wait ...time.Duration) {
	if cs.http == http.StatusServiceUnavailable || cs.http == http.StatusTooManyRequests {
		after := 5 * time.Second
		for _, d := range wait {
			after = max(after, d)
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(after.Seconds())+1))
	}
	if cs.ofWrites() {
		m.rejected(cs.reason)
	} else {
		m.refused(cs.reason)
	}
	writeError(w, cs.http, cs.reason, cs.message())
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	writeError(w, http.StatusMethodNotAllowed, "method-not-allowed", "this route takes "+allow)
}

// withDoc checks a document's name and the caller's rights before f.
func (a *api) withDoc(w http.ResponseWriter, r *http.Request, name string, need auth.Mode, f func(http.ResponseWriter, *http.Request, stream.Doc, auth.Grant)) {
	doc, err := docOf(name)
	if err != nil {
		a.metrics.refuse(w, causeOf(err))
		return
	}
	grant, err := a.o.Auth.Grant(r.Context(), a.bearer(r, string(doc)))
	if err != nil {
		a.denyRequest(w, r, err)
		return
	}
	if grant.Mode < need {
		if need == auth.ReadWriteDelete {
			a.denyRequest(w, r, causeNoDelete)
		} else {
			a.metrics.refuse(w, causeReadOnly)
		}
		return
	}
	if r.Method != http.MethodDelete && a.memory.tight() { // an answer holds a document or two in memory
		a.metrics.refuse(w, causeNoMemory)
		return
	}
	f(w, r, doc, grant)
}

// fail answers an error of the rooms below.
func (a *api) fail(w http.ResponseWriter, doc stream.Doc, err error) {
	var gone *snapshot.GoneError
	var more *needsMore
	switch {
	case errors.As(err, &more):
		writeJSON(w, http.StatusConflict, map[string]any{
			"error":       map[string]string{"code": "missing-dependencies", "message": "the update depends on edits that the document does not have: send everything after stateVector"},
			"stateVector": base64.StdEncoding.EncodeToString(more.vector),
		})
	case errors.As(err, &gone):
		writeJSON(w, http.StatusGone, map[string]any{
			"error":  map[string]string{"code": "history-dropped", "message": gone.Error()},
			"oldest": map[string]any{"seq": gone.Oldest, "time": gone.OldestTime.UTC().Format(time.RFC3339)},
		})
	case errors.Is(err, snapshot.ErrNotFound), errors.Is(err, stream.ErrErased):
		writeError(w, http.StatusNotFound, "not-found", "there is no such document")
	case errors.Is(err, stream.ErrConflict), errors.Is(err, snapshot.ErrNotNew):
		writeError(w, http.StatusPreconditionFailed, "exists", "the document is not new")
	case errors.Is(err, context.Canceled):
		writeError(w, 499, "canceled", "the request was given up")
	case errors.Is(err, context.DeadlineExceeded):
		a.metrics.refuse(w, causeStorage)
	default:
		cs := causeOf(err)
		if cs.http >= 500 {
			a.log.Error("request failed", "doc", string(doc), "err", err)
		}
		a.metrics.refuse(w, cs)
	}
}

// bearer builds the question for the rights of a request on a document.
func (a *api) bearer(r *http.Request, doc string) auth.Request {
	token, _ := auth.TokenFrom(r, r.URL.Query())
	return auth.Request{Doc: doc, Token: token, IP: a.srv.clientIP(r), Origin: r.Header.Get("Origin")}
}

// identity answers the user behind a request that concerns no single document. Users other than administrators may ask for themselves
// alone, which the handler checks; a ticket for a document is refused here.
func (a *api) identity(w http.ResponseWriter, r *http.Request) (auth.Grant, bool) {
	g, err := a.o.Auth.Identity(r.Context(), a.bearer(r, ""))
	if err != nil {
		a.denyRequest(w, r, err)
		return g, false
	}
	return g, true
}

// denyRequest answers a request that is refused for its caller.
func (a *api) denyRequest(w http.ResponseWriter, r *http.Request, err error) {
	cs := causeOf(err)
	if why := auth.LogAttrs(err); why != nil {
		a.log.Info("refused", append([]any{"path", clip(r.URL.Path), "reason", cs.reason, "ip", a.srv.clientIP(r)}, why...)...)
	}
	if cs.http == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	a.metrics.refuse(w, cs, auth.RetryAfter(err))
}

func isTrue(v string) bool { return v == "1" || v == "true" || v == "yes" }

// readBody reads a small JSON body; false: it was answered.
func readBody(w http.ResponseWriter, r *http.Request, into any, example string) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
	if err == nil && !utf8.Valid(body) { // encoding/json would put U+FFFD into the name
		err = errors.New("not UTF-8")
	}
	if err == nil && len(strings.TrimSpace(string(body))) > 0 {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "malformed", "want JSON such as "+example)
		return false
	}
	return true
}
