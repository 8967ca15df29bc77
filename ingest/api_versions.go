package ingest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"yjet/auth"
	"yjet/snapshot"
	"yjet/stream"
)

func (s *Server) getVersions(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	list, err := s.o.Snapshots.Versions(r.Context(), doc)
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"versions": list})
}

func (s *Server) postVersion(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	var in struct {
		Name string `json:"name"`
		At   moment `json:"at"`
	}
	if !readBody(w, r, &in, `{"name":"first draft"}`) {
		return
	}
	if _, err := snapshot.ParseMoment(in.Name, time.Now()); err == nil { // nobody could ever ask for it by that name
		s.failHistory(w, doc, snapshot.ErrVersionName)
		return
	}
	m, err := s.moment(r.Context(), doc, string(in.At))
	if err == nil {
		var v snapshot.Version
		if v, err = s.o.Snapshots.PutVersion(r.Context(), doc, in.Name, m, g.User); err == nil {
			writeJSON(w, http.StatusCreated, v)
			return
		}
	}
	s.failHistory(w, doc, err)
}

func (s *Server) deleteVersion(w http.ResponseWriter, r *http.Request, doc stream.Doc, name string) {
	err := s.o.Snapshots.DeleteVersion(r.Context(), doc, name)
	switch {
	case errors.Is(err, snapshot.ErrNotFound):
		writeError(w, http.StatusNotFound, "no-version", "the document has no version of that name")
	case err != nil:
		s.failHistory(w, doc, err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) postRestore(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	var in struct {
		At moment `json:"at"`
	}
	if !readBody(w, r, &in, `{"at":812}`) {
		return
	}
	if in.At == "" {
		writeError(w, http.StatusBadRequest, "bad-moment", "at is needed: a sequence, a time, an age or a version")
		return
	}
	m, err := s.moment(r.Context(), doc, string(in.At))
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.limits.AppendWait)
	defer cancel()
	seq, err := s.o.Snapshots.Restore(ctx, doc, m, g.User, s.node+".http")
	switch {
	case errors.Is(err, snapshot.ErrNoChange):
		head, err := s.o.Log.Head(r.Context(), doc)
		if err != nil {
			s.failHistory(w, doc, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"seq": head, "changed": false})
	case err != nil:
		s.failHistory(w, doc, err)
	default:
		s.hintClosed(doc, seq, 1)
		s.log.Info("document restored", "doc", string(doc), "user", g.User, "at", string(in.At), "seq", seq)
		writeJSON(w, http.StatusOK, map[string]any{"seq": seq, "changed": true})
	}
}

func (s *Server) postCopy(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	var in struct {
		To string `json:"to"`
		At moment `json:"at"`
	}
	if !readBody(w, r, &in, `{"to":"notes/copy"}`) {
		return
	}
	m, err := s.moment(r.Context(), doc, string(in.At))
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	// The rights on the new name are asked for like those on any other.
	s.withDoc(w, r, in.To, auth.ReadWrite, func(w http.ResponseWriter, r *http.Request, to stream.Doc, g auth.Grant) {
		ctx, cancel := context.WithTimeout(r.Context(), s.limits.AppendWait)
		defer cancel()
		seq, err := s.o.Snapshots.Copy(ctx, doc, m, to, g.User, s.node+".http")
		if err != nil {
			s.failHistory(w, to, err)
			return
		}
		s.hintClosed(to, seq, 1)
		writeJSON(w, http.StatusCreated, map[string]any{"doc": to, "seq": seq})
	})
}
