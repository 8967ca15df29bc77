package ingest

import (
	"context"
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

// listDocs lists documents by name, those that the caller may read.
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
	after, more := q.Get("after"), true
	out := []listed{}
	for more && len(out) < limit {
		ctx, cancel := context.WithTimeout(r.Context(), a.limits.LoadWait)
		infos, err := a.o.Log.Docs(ctx, q.Get("prefix"), after, limit+1)
		cancel()
		if err != nil {
			a.fail(w, "", because(causeStorage, err))
			return
		}
		more = len(infos) > limit
		for i, info := range infos {
			if len(out) == limit {
				more = more || i < len(infos)
				break
			}
			after = string(info.Doc)
			if !who.Admin {
				if _, err := a.o.Auth.Grant(r.Context(), a.bearer(r, after)); err != nil {
					continue
				}
			}
			out = append(out, a.listed(r.Context(), info))
		}
	}
	next := ""
	if more {
		next = after
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
