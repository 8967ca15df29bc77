package ingest

import (
	"mime"
	"net/http"
	"strings"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

func (a *api) getExport(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	paused, err := a.heavyAnswer(w, r, g)
	if err != nil {
		a.fail(w, doc, err)
		return
	}
	defer paused.done()
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": strings.ReplaceAll(string(doc), "/", "-") + ".yjet.jsonl"}))
	out := &begun{ResponseWriter: paused}
	if err := a.o.Snapshots.Export(r.Context(), doc, out); err != nil {
		if !out.yes {
			for _, k := range []string{"Content-Disposition", "Content-Type"} {
				h.Del(k)
			}
			a.failHistory(w, doc, err)
			return
		}
		// Without its last line the file tells by itself that it is not whole; cut the connection so that the reader hears it too.
		a.log.Error("export not finished", "doc", string(doc), "err", err)
		panic(http.ErrAbortHandler)
	}
}

// begun notes whether anything of an answer is on its way.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}

func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (a *api) postImport(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	o := snapshot.ImportOptions{User: g.User, Conn: a.node + ".http", KeepUsers: g.Admin || a.o.Auth.Open(), Merge: isTrue(r.URL.Query().Get("merge"))}
	if !o.KeepUsers { // without the right to write for others the caller is the author of all imported records, and they pass the checks of live edits
		o.Check = func(u *yjs.Update, have *yjs.State) ([]byte, error) { return a.srv.checkImport(doc, g, u, have) }
		o.Size = func(bytes int) error {
			if bytes > a.limits.Document {
				return causeFull
			}
			return nil
		}
	}
	if err := a.countImport(r, doc, g); err != nil {
		a.failHistory(w, doc, err)
		return
	}
	done, err := a.o.Snapshots.Import(r.Context(), doc, r.Body, o)
	if err != nil {
		a.failHistory(w, doc, err)
		return
	}
	a.hintClosed(doc, done.Last, done.Records)
	a.log.Info("document imported", "doc", string(doc), "user", g.User, "records", done.Records, "leftOut", done.LeftOut)
	writeJSON(w, http.StatusCreated, map[string]any{"doc": doc, "records": done.Records, "versions": done.Versions, "leftOut": done.LeftOut, "seq": done.Last})
}

// countImport counts a document that an import begins.
func (a *api) countImport(r *http.Request, doc stream.Doc, g auth.Grant) error {
	if head, err := a.o.Log.Head(r.Context(), doc); err != nil || head > 0 {
		return err
	}
	return a.countNew(r, g)
}
