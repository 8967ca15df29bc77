package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"yjet/auth"
	"yjet/snapshot"
	"yjet/stream"
)

// Options are what a Server is made of.
type Options struct {
	Log       *stream.Log           // required
	Snapshots *snapshot.Store       // required
	Auth      *auth.Auth            // required
	Logger    *slog.Logger          // nil: discarded
	Metrics   prometheus.Registerer // nil: not exported
	Limits    Limits
	Version   string
	Dev       bool         // a server for one developer: loopback, no login
	Page      http.Handler // what a browser gets at every path that is nothing else; nil: 404
	Admin     http.Handler // served at /metrics and /debug/ when metrics share the address; nil: 404 there

	// TrustedProxies may name the client in X-Forwarded-For; nobody else is believed.
	TrustedProxies []netip.Prefix

	// DrainPeriod is how long Drain takes to send everybody away, so that they
	// do not all come back in the same moment. Default 5 s.
	DrainPeriod time.Duration

	OnExpiry string // "keep" (default) or "close": what becomes of an open socket whose token ends
	Webhook  WebhookOptions
	LoadURL  string // asked once for the first state of a document that does not exist; "": never
}

// WebhookOptions say where the state of a document goes after somebody edited
// it. The names of the times are PartyKit's.
type WebhookOptions struct {
	URL             string        // "": no webhook
	Secret          string        // signs time and body; "": unsigned
	DebounceWait    time.Duration // quiet time before a call, default 2 s
	DebounceMaxWait time.Duration // at most this long after the first edit, default 10 s
	Timeout         time.Duration // of one call, default 5 s
	AllowPrivate    bool          // also addresses of private networks
}

// Server is the http.Handler of the public address. Safe for concurrent use.
type Server struct{}

// New builds a Server. End it with Drain.
func New(o Options) (*Server, error) {
	if o.Log == nil || o.Snapshots == nil || o.Auth == nil {
		return nil, errors.New("ingest: Log, Snapshots and Auth are required")
	}
	return nil, errors.New("ingest: not built yet")
}

// ServeHTTP routes sockets and requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {}

// Drain stops taking connections, lets commits under way end and their
// acknowledgements go out, then closes all connections over the drain period in
// random order, and waits for them. When ctx ends first, what is left is cut off.
func (s *Server) Drain(ctx context.Context) error { return nil }
