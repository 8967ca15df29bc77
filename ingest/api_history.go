package ingest

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"yjet/auth"
	"yjet/snapshot"
	"yjet/stream"
)

// serveHistory answers the routes below /api/docs/{doc}/ other than presence. It reports false where there is no such route.
//
//	GET    history?from=&to=&group=&limit=&before=   entries of the history, newest first
//	GET    log?from=&to=&format=                     records as JSON lines, packed ones included; or as api_log.go packs them
//	GET    authors?type=&at=                         runs of text with their authors
//	GET    diff?from=&to=                            changes of the text types
//	GET    versions   POST versions {name, at?}   DELETE versions/{name}
//	POST   restore {at}                              forward edit to that moment
//	POST   copy {to, at?}                            a new document that begins as that moment
//	GET    access                                    the rights of the caller: {"access": "r", "rw" or "rwd"}
//	GET    export                                    one file with the whole history
//	POST   import?merge=                             takes such a file in
//
// A moment is a sequence, an RFC 3339 time, an age, or the name of a version.
func (a *api) serveHistory(w http.ResponseWriter, r *http.Request, name string, segments []string) bool {
	type handler = func(http.ResponseWriter, *http.Request, stream.Doc, auth.Grant)
	type way struct {
		method string
		need   auth.Mode
		f      handler
	}
	var ways []way
	switch {
	case len(segments) == 2 && segments[0] == "versions":
		ways = []way{{http.MethodDelete, auth.ReadWrite, func(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
			a.deleteVersion(w, r, doc, segments[1])
		}}}
	case len(segments) != 1:
		return false
	default:
		ways = map[string][]way{
			"history":  {{http.MethodGet, auth.Read, a.getHistory}},
			"log":      {{http.MethodGet, auth.Read, a.getLog}},
			"authors":  {{http.MethodGet, auth.Read, a.getAuthors}},
			"access":   {{http.MethodGet, auth.Read, a.getAccess}},
			"diff":     {{http.MethodGet, auth.Read, a.getDiff}},
			"versions": {{http.MethodGet, auth.Read, a.getVersions}, {http.MethodPost, auth.ReadWrite, a.postVersion}},
			"restore":  {{http.MethodPost, auth.ReadWrite, a.postRestore}},
			"copy":     {{http.MethodPost, auth.Read, a.postCopy}},
			"export":   {{http.MethodGet, auth.Read, a.getExport}},
			"import":   {{http.MethodPost, auth.ReadWrite, a.postImport}},
		}[segments[0]]
	}
	if ways == nil {
		return false
	}
	var allow []string
	for _, way := range ways {
		if r.Method == way.method || r.Method == http.MethodHead && way.method == http.MethodGet {
			if way.method != http.MethodGet && a.srv.draining.Load() {
				a.metrics.refuse(w, causeDraining)
				return true
			}
			a.withDoc(w, r, name, way.need, func(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
				if err := a.srv.reachable(r.Context(), doc); err != nil {
					a.fail(w, doc, err)
					return
				}
				way.f(w, r, doc, g)
			})
			return true
		}
		if allow = append(allow, way.method); way.method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	notAllowed(w, strings.Join(allow, ", "))
	return true
}

// failHistory answers the errors that only these routes have; the others are every route's.
func (a *api) failHistory(w http.ResponseWriter, doc stream.Doc, err error) {
	switch {
	case errors.As(err, new(badMoment)):
		writeError(w, http.StatusBadRequest, "bad-moment", err.Error())
	case errors.As(err, new(futureMoment)):
		writeError(w, http.StatusBadRequest, "future-moment", err.Error())
	case errors.Is(err, snapshot.ErrExists):
		writeError(w, http.StatusConflict, "version-exists", "the document has a version of that name: delete it first, or take another")
	case errors.Is(err, snapshot.ErrVersionName):
		writeError(w, http.StatusBadRequest, "bad-version-name", "a version's name is 1 to 100 bytes of text, and no moment itself, such as 5 or 10m")
	case errors.Is(err, snapshot.ErrBusy):
		writeError(w, http.StatusServiceUnavailable, "busy", "others write to the document faster than the edit can be computed: try again")
	case errors.Is(err, snapshot.ErrErased):
		writeError(w, http.StatusConflict, "erased-content", "this was erased under that name and cannot come back there: use another name")
	case errors.Is(err, snapshot.ErrTransfer):
		writeError(w, http.StatusUnprocessableEntity, "bad-export", err.Error())
	default:
		a.fail(w, doc, err)
	}
}

func (a *api) getAccess(w http.ResponseWriter, _ *http.Request, _ stream.Doc, g auth.Grant) {
	writeJSON(w, http.StatusOK, map[string]string{"access": g.Mode.String()})
}

func (a *api) getHistory(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	q := r.URL.Query()
	var query snapshot.HistoryQuery
	var err error
	if query.Group, err = snapshot.ParseGrouping(q.Get("group")); err != nil {
		writeError(w, http.StatusBadRequest, "bad-group", err.Error())
		return
	}
	if v := q.Get("limit"); v != "" {
		if query.Limit, err = strconv.Atoi(v); err != nil || query.Limit < 1 || query.Limit > 1000 {
			writeError(w, http.StatusBadRequest, "bad-limit", "limit is 1 to 1000")
			return
		}
	}
	if v := q.Get("before"); v != "" {
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil || n == 0 {
			writeError(w, http.StatusBadRequest, "bad-before", "before is a sequence: the next of the page before")
			return
		}
		query.Before = stream.Seq(n)
	}
	if query.From, _, err = a.begin(r.Context(), doc, q.Get("from")); err == nil {
		query.To, err = a.moment(r.Context(), doc, q.Get("to"))
	}
	if err == nil {
		var page snapshot.HistoryPage
		err = a.heavily(r, g, func() (err error) {
			page, err = a.o.Snapshots.History(r.Context(), doc, query)
			return err
		})
		if err == nil {
			writeJSON(w, http.StatusOK, page)
			return
		}
	}
	a.failHistory(w, doc, err)
}

func (a *api) getAuthors(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	_, names, err := kindsOf(r.URL.Query()["type"])
	if err != nil || len(names) > 1 {
		writeError(w, http.StatusBadRequest, "bad-type", "type is the name of one text type, or is left out for all")
		return
	}
	m, err := a.moment(r.Context(), doc, r.URL.Query().Get("at"))
	if err != nil {
		a.failHistory(w, doc, err)
		return
	}
	name := ""
	if len(names) == 1 {
		name = names[0]
	}
	var st snapshot.State
	var types map[string][]snapshot.AuthorRun
	err = a.heavily(r, g, func() (err error) {
		st, types, err = a.o.Snapshots.Authors(r.Context(), doc, name, m)
		return err
	})
	switch {
	case err != nil:
		a.failHistory(w, doc, err)
	case name != "":
		writeJSON(w, http.StatusOK, map[string]any{"seq": st.Seq, "type": name, "runs": types[name]})
	default:
		writeJSON(w, http.StatusOK, map[string]any{"seq": st.Seq, "types": types})
	}
}

func (a *api) getDiff(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	q := r.URL.Query()
	if q.Get("from") == "" {
		writeError(w, http.StatusBadRequest, "bad-moment", "from is needed: a sequence, a time, an age or a version")
		return
	}
	from, err := a.moment(r.Context(), doc, q.Get("from"))
	var to snapshot.Moment
	if err == nil {
		to, err = a.moment(r.Context(), doc, q.Get("to"))
	}
	if err == nil {
		var d snapshot.Diff
		err = a.heavily(r, g, func() (err error) {
			d, err = a.o.Snapshots.Diff(r.Context(), doc, from, to)
			return err
		})
		if err == nil {
			writeJSON(w, http.StatusOK, d)
			return
		}
	}
	a.failHistory(w, doc, err)
}
