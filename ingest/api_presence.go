package ingest

import (
	"context"
	"net/http"
	"slices"

	"yjet/auth"
	"yjet/stream"
)

// getPresence lists the users of a document, on all servers.
func (a *api) getPresence(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	var list []stream.Presence
	if room := a.rooms.find(doc); room != nil {
		room.look(func() { list = room.aware.list(a.node) })
	} else {
		ctx, cancel := context.WithTimeout(r.Context(), a.limits.LoadWait)
		defer cancel()
		var err error
		if list, err = a.o.Log.Presence().List(ctx, doc); err != nil {
			a.fail(w, doc, because(causeStorage, err))
			return
		}
	}
	slices.SortFunc(list, func(a, b stream.Presence) int { return a.Since.Compare(b.Since) })
	if list == nil {
		list = []stream.Presence{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"presence": list})
}
