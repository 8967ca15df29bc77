package ingest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// A listed document.
type listed struct {
	ID       string    `json:"id"`
	Bytes    int       `json:"bytes"`   // of its state: of its room if it is open here, else of its snapshot, else of its folded records
	Updates  uint64    `json:"updates"` // ever made, packed ones included
	LastEdit time.Time `json:"lastEdit"`
	Sessions int       `json:"sessions"` // on this server
	Seq      uint64    `json:"seq"`
	Subject  string    `json:"subject"` // of its log in NATS, where the nats tool finds it
}

// listLook is the most names that one request compares with the rights of its caller.
const listLook = 2000

// listDocs lists documents by name, those that the caller may read. A page may be shorter than its limit, or empty, and have a next all the
// same: the caller may read few of the documents, and one request looks at listLook of them.
func (a *api) listDocs(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD")
		return
	}
	who, ok := a.identity(w, r)
	if !ok {
		return
	}
	var err error
	q := r.URL.Query()
	limit := 100
	if v := q.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > 1000 {
			writeError(w, http.StatusBadRequest, "bad-limit", "limit is 1 to 1000")
			return
		}
	}
	may := func(doc stream.Doc) bool {
		if who.Admin {
			return true
		}
		_, err := a.o.Auth.Grant(r.Context(), a.bearer(r, string(doc)))
		return err == nil
	}
	var infos []stream.DocInfo
	var next string
	err = a.heavily(r, who, func() (err error) {
		ctx, cancel := context.WithTimeout(r.Context(), a.limits.LoadWait)
		defer cancel()
		infos, next, err = a.o.Log.DocsThat(ctx, q.Get("prefix"), q.Get("after"), limit, listLook, may)
		return err
	})
	switch {
	case errors.Is(err, causeHeavy), errors.Is(err, context.Canceled):
		a.fail(w, "", err)
		return
	case err != nil:
		a.fail(w, "", because(causeStorage, err))
		return
	}
	out := make([]listed, 0, len(infos))
	for _, info := range infos {
		out = append(out, a.listed(r.Context(), info))
	}
	body := map[string]any{"docs": out}
	if next != "" {
		body["next"] = next
	}
	writeJSON(w, http.StatusOK, body)
}

// listed is one line of the list, from the log, from the snapshot that replaced records of it, and from the room if it is open here.
func (a *api) listed(ctx context.Context, info stream.DocInfo) listed {
	l := listed{ID: string(info.Doc), Updates: info.Records, LastEdit: info.LastAt.UTC(), Seq: uint64(info.Last), Subject: info.Subject}
	if sum, err := a.o.Snapshots.Summary(ctx, info.Doc); err != nil {
		a.log.Warn("snapshot of a listed document not read", "doc", string(info.Doc), "err", err)
	} else if sum.Upto > 0 {
		l.Bytes = sum.Bytes
		if l.Updates = sum.Updates; info.Last > sum.Upto {
			l.Updates += info.Records - 1 // the fold left its newest record in the log
		}
	} else if st, err := a.o.Snapshots.At(ctx, info.Doc, snapshot.Moment{}); err == nil {
		l.Bytes = len(st.Update) // never folded, so its log is short
	}
	if r := a.rooms.find(info.Doc); r != nil {
		r.look(func() { l.Sessions, l.Bytes = len(r.sessions), r.size() })
	}
	return l
}
