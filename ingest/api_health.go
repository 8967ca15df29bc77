package ingest

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// health is the answer of /health. It names documents to administrators, and to all where anybody may list them.
type health struct {
	Status     string        `json:"status"` // ok, degraded, draining
	Version    string        `json:"version"`
	Uptime     int64         `json:"uptimeSeconds"`
	Durability string        `json:"durability"`
	Reason     string        `json:"reason,omitempty"` // why it is not ok
	NATS       natsHealth    `json:"nats"`
	Metrics    healthMetrics `json:"metrics"`
	NearBound  []nearDoc     `json:"nearBound,omitempty"` // the ten fullest documents, where the caller may know their names
}

type natsHealth struct {
	Connected bool    `json:"connected"`
	Durable   bool    `json:"durable"`
	RTT       float64 `json:"rttMs"`
}

type healthMetrics struct {
	Sessions   int            `json:"activeSessions"`
	Documents  int            `json:"activeDocuments"`
	ByProtocol map[string]int `json:"sessionsByProtocol"`
	Updates    uint64         `json:"updatesTotal"`
	Bytes      uint64         `json:"bytesTotal"`
	AppendP99  float64        `json:"appendP99Ms"`                  // since the start, from the histogram of commits
	Damaged    int            `json:"damagedDocuments"`             // found damaged in storage since the start, and not yet mended
	NearBound  map[string]int `json:"documentsNearBound,omitempty"` // open documents that have used 80 % of a bound, by bound
}

// serveHealth answers 200 when all is well, else 503, with the same body.
func (a *api) serveHealth(w http.ResponseWriter, r *http.Request) {
	h, ok := a.health(r.Context())
	if list, _ := a.rooms.near.fullest(10); len(list) > 0 && a.mayList(r) {
		h.NearBound = list
	}
	code := http.StatusOK
	if !ok {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, h)
}

func (a *api) health(ctx context.Context) (health, bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	l := a.o.Log.Health(ctx)
	h := health{
		Status: "ok", Version: a.o.Version, Uptime: int64(time.Since(a.srv.started).Seconds()), Durability: l.Durability,
		NATS:    natsHealth{l.Connected, l.Durability == "disk", float64(l.RTT.Microseconds()) / 1000},
		Metrics: healthMetrics{ByProtocol: map[string]int{}, Updates: read(a.metrics.updates), Bytes: read(a.metrics.updateBytes)},
	}
	a.srv.mu.Lock()
	for c := range a.srv.conns {
		c.mu.Lock()
		n := len(c.sessions)
		if n > 0 {
			h.Metrics.Sessions += n
			h.Metrics.ByProtocol[c.speaks.name()] += n
		}
		c.mu.Unlock()
	}
	a.srv.mu.Unlock()
	h.Metrics.Documents = a.rooms.count()
	if h.Metrics.Damaged = len(a.o.Snapshots.AllDamaged()); h.Metrics.Damaged > 0 {
		h.Reason = "documents are damaged in storage: see the log, and run yjet verify"
	}
	_, h.Metrics.NearBound = a.rooms.near.fullest(0)
	if len(l.LostEnds) > 0 {
		h.Reason = "records are missing at the end of the log: " + strings.Join(l.LostEnds, "; ")
	}
	if a.memory.tight() {
		h.Reason = "memory is short: documents that are not open are refused"
	}
	if at := a.srv.noFiles.Load(); at != 0 && time.Since(time.Unix(at, 0)) < filesNews {
		h.Reason = "the process has run out of files: connections are not accepted; raise LimitNOFILE or ulimit -n"
	}
	h.Metrics.AppendP99 = 1000 * quantile(a.metrics.appendTime, .99)
	switch fault := a.o.Log.Fault(); {
	case a.srv.draining.Load():
		h.Status = "draining"
	case fault != nil:
		h.Status, h.Reason = "degraded", "store fault: "+fault.Error()
	case l.Err != nil:
		h.Status, h.Reason = "degraded", "store: "+l.Err.Error()
	case !l.Connected:
		h.Status, h.Reason = "degraded", "not connected to NATS"
	}
	return h, h.Status == "ok"
}

// mayList says whether a caller may know the names of all documents.
func (a *api) mayList(r *http.Request) bool {
	if a.o.Auth.Open() {
		return true
	}
	q := a.bearer(r, "")
	if q.Token == "" {
		return false
	}
	g, err := a.o.Auth.Identity(r.Context(), q)
	return err == nil && g.Admin
}

// serveAlive answers that the process runs.
func (a *api) serveAlive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n"))
}

// serveReady answers 200 when new clients may be sent here.
func (a *api) serveReady(w http.ResponseWriter, r *http.Request) {
	reason := ""
	if h, ok := a.health(r.Context()); !ok {
		reason = h.Status + ": " + h.Reason
	} else if err := a.o.Auth.Ready(); err != nil {
		reason = "auth: " + err.Error()
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if reason != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(reason + "\n"))
		return
	}
	w.Write([]byte("ready\n"))
}
