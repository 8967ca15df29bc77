package ingest

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"yjet/auth"
	"yjet/snapshot"
	"yjet/stream"
)

// getDoc answers a document's state in one of its forms.
func (s *Server) getDoc(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	q := r.URL.Query()
	form, err := formOf(r)
	if err != nil {
		writeError(w, http.StatusNotAcceptable, "bad-format", err.Error())
		return
	}
	moment, err := s.moment(r.Context(), doc, q.Get("at"))
	if err != nil {
		s.failHistory(w, doc, err)
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
	state, err := s.stateAt(r.Context(), doc, moment)
	if err != nil {
		s.fail(w, doc, err)
		return
	}
	etag := `"` + strconv.FormatUint(uint64(state.Seq), 10) + `"`
	h := w.Header()
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
	body, kind, err := render(state.Update, form, kinds, names)
	if err != nil {
		s.fail(w, doc, because(causeInternal, err))
		return
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// stateAt reads a document: the present from its room where it is open.
func (s *Server) stateAt(ctx context.Context, doc stream.Doc, m snapshot.Moment) (snapshot.State, error) {
	if m.Now() {
		if r := s.rooms.find(doc); r != nil {
			ok, err := r.catchUp(ctx)
			if errors.Is(err, snapshot.ErrNotFound) {
				return snapshot.State{}, err
			}
			if ok || err != nil { // the log cannot be asked: what is here can still be read
				if f, err := r.current(ctx); err == nil && f.seq > 0 {
					r.mu.Lock()
					defer r.mu.Unlock()
					st := snapshot.State{Seq: f.seq, Update: f.update}
					if f.seq == r.seq {
						st.Time = r.at
					}
					return st, nil
				}
			}
		}
	}
	st, err := s.o.Snapshots.At(ctx, doc, m)
	if err == nil && m.Now() && st.Seq == 0 {
		err = snapshot.ErrNotFound
	}
	if errors.Is(err, snapshot.ErrNotFound) && m.Now() && s.loader != nil {
		// It may exist where first states come from, as whoever opened it would see.
		if lerr := s.loader.load(ctx, doc); lerr != nil {
			return st, lerr
		}
		st, err = s.o.Snapshots.At(ctx, doc, m)
	}
	return st, err
}
