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

func (a *api) getVersions(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	list, err := a.o.Snapshots.Versions(r.Context(), doc)
	if err != nil {
		a.failHistory(w, doc, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"versions": list})
}

func (a *api) postVersion(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	var in struct {
		Name string `json:"name"`
		At   moment `json:"at"`
	}
	if !readBody(w, r, &in, `{"name":"first draft"}`) {
		return
	}
	if _, err := snapshot.ParseMoment(in.Name, time.Now()); err == nil { // nobody could ever ask for it by that name
		a.failHistory(w, doc, snapshot.ErrVersionName)
		return
	}
	m, err := a.moment(r.Context(), doc, string(in.At))
	if err == nil {
		var v snapshot.Version
		err = a.heavily(r, g, func() (err error) {
			v, err = a.o.Snapshots.PutVersion(r.Context(), doc, in.Name, m, g.User)
			return err
		})
		if err == nil {
			writeJSON(w, http.StatusCreated, v)
			return
		}
	}
	a.failHistory(w, doc, err)
}

func (a *api) deleteVersion(w http.ResponseWriter, r *http.Request, doc stream.Doc, name string) {
	err := a.o.Snapshots.DeleteVersion(r.Context(), doc, name)
	switch {
	case errors.Is(err, snapshot.ErrNotFound):
		writeError(w, http.StatusNotFound, "no-version", "the document has no version of that name")
	case err != nil:
		a.failHistory(w, doc, err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (a *api) postRestore(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
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
	m, err := a.moment(r.Context(), doc, string(in.At))
	if err != nil {
		a.failHistory(w, doc, err)
		return
	}
	var seq stream.Seq
	err = a.heavily(r, g, func() (err error) {
		ctx, cancel := context.WithTimeout(r.Context(), a.limits.AppendWait)
		defer cancel()
		seq, err = a.o.Snapshots.Restore(ctx, doc, m, g.User, a.node+".http")
		return err
	})
	switch {
	case errors.Is(err, snapshot.ErrNoChange):
		head, err := a.o.Log.Head(r.Context(), doc)
		if err != nil {
			a.failHistory(w, doc, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"seq": head, "changed": false})
	case err != nil:
		a.failHistory(w, doc, err)
	default:
		a.hintClosed(doc, seq, 1)
		a.log.Info("document restored", "doc", string(doc), "user", g.User, "at", string(in.At), "seq", seq)
		writeJSON(w, http.StatusOK, map[string]any{"seq": seq, "changed": true})
	}
}

func (a *api) postCopy(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	var in struct {
		To string `json:"to"`
		At moment `json:"at"`
	}
	if !readBody(w, r, &in, `{"to":"notes/copy"}`) {
		return
	}
	m, err := a.moment(r.Context(), doc, string(in.At))
	if err != nil {
		a.failHistory(w, doc, err)
		return
	}
	// The rights on the new name are asked for like those on any other.
	a.withDoc(w, r, in.To, auth.ReadWrite, func(w http.ResponseWriter, r *http.Request, to stream.Doc, g auth.Grant) {
		if err := a.countNew(r, g); err != nil {
			a.failHistory(w, to, err)
			return
		}
		var seq stream.Seq
		err := a.heavily(r, g, func() (err error) {
			ctx, cancel := context.WithTimeout(r.Context(), a.limits.AppendWait)
			defer cancel()
			seq, err = a.o.Snapshots.Copy(ctx, doc, m, to, g.User, a.node+".http")
			return err
		})
		if err != nil {
			a.failHistory(w, to, err)
			return
		}
		a.hintClosed(to, seq, 1)
		writeJSON(w, http.StatusCreated, map[string]any{"doc": to, "seq": seq})
	})
}
