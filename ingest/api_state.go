package ingest

import (
	"errors"
	"net/http"
	"strconv"

	"yjet/auth"
	"yjet/snapshot"
	"yjet/stream"
)

// getDoc answers a document's state in one of its forms.
func (a *api) getDoc(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	q := r.URL.Query()
	form, err := formOf(r)
	if err != nil {
		writeError(w, http.StatusNotAcceptable, "bad-format", err.Error())
		return
	}
	moment, err := a.moment(r.Context(), doc, q.Get("at"))
	if err != nil {
		a.failHistory(w, doc, err)
		return
	}
	kinds, names, err := kindsOf(q["type"])
	if err == nil && form == "text" && len(names) != 1 {
		err = errors.New("format text needs one type, such as ?type=name:text")
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "bad-type", err.Error())
		return
	}
	var state snapshot.State
	load := func() (err error) {
		state, err = a.rooms.stateAt(r.Context(), doc, moment)
		return err
	}
	if moment.Now() {
		err = load()
	} else {
		err = a.heavily(r, g, load)
	}
	if err != nil {
		a.fail(w, doc, err)
		return
	}
	etag := `"` + strconv.FormatUint(uint64(state.Seq), 10) + `"`
	h := w.Header()
	if moment.Now() {
		a.warnNear(doc, h)
	}
	h.Set("ETag", etag)
	h.Set("Yjet-Seq", strconv.FormatUint(uint64(state.Seq), 10))
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept, Authorization") // to the Origin that is there
	h.Set("X-Content-Type-Options", "nosniff")
	if !state.Time.IsZero() {
		h.Set("Last-Modified", state.Time.UTC().Format(http.TimeFormat))
	}
	if matches(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	var body []byte
	var kind string
	write := func() (err error) {
		body, kind, err = render(r.Context(), state.Update, form, kinds, names)
		return err
	}
	if form == "update" || len(state.Update) < heavyState {
		err = write()
	} else {
		err = a.heavily(r, g, write)
	}
	if err != nil {
		for _, name := range []string{"ETag", "Last-Modified", "Yjet-Seq"} {
			h.Del(name)
		}
		a.fail(w, doc, err)
		return
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}
