package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"yjet/auth"
	"yjet/ingest/outbound"
	"yjet/snapshot"
	"yjet/stream"
)

// Options are the parts and settings of a Server.
type Options struct {
	Log       *stream.Log           // required
	Snapshots *snapshot.Store       // required
	Auth      *auth.Auth            // required
	Logger    *slog.Logger          // nil: discarded
	Metrics   prometheus.Registerer // nil: not exported
	Limits    Limits
	Version   string
	Dev       bool         // a server for one developer: loopback, no login
	Page      http.Handler // the answer to a browser at every other path; nil: 404
	Admin     http.Handler // served at /metrics and /debug/ when metrics share the address; nil: 404 there

	// TrustedProxies may name the client in X-Forwarded-For; nobody else is believed.
	TrustedProxies []netip.Prefix

	// PublicURL is where browsers reach the server, with a path where a proxy serves it below one; nil: as the request says.
	PublicURL *url.URL

	// DrainPeriod is the time over which Drain closes the connections, so that not
	// all clients come back in the same moment. Default 5 s.
	DrainPeriod time.Duration

	OnExpiry string // "keep" (default) or "close": the fate of an open socket whose token ends

	// StampPresence writes the token's user into the user field of everybody's awareness.
	StampPresence bool

	Webhook outbound.WebhookOptions // URL "": no webhook
	LoadURL string                  // asked once for the first state of a document that does not exist; "": never
}

// Server is the http.Handler of the public address. Safe for concurrent use.
type Server struct {
	// Set by New, then only read.
	o       Options
	limits  Limits
	log     *slog.Logger
	metrics *metrics
	rooms   *rooms
	memory  *memory
	inbound *inbound
	unread  *unread
	lane    lane
	keeper  *presenceKeeper
	gate    *gate
	revoker *revoker
	erased  *erasures
	unhear  func()            // ends listening for damaged documents
	hook    *outbound.Webhook // nil: nobody is told of edits
	loader  *outbound.Loader  // nil: new documents are empty
	api     *api
	checks  chan struct{}   // a token per question for rights of an open session
	ctx     context.Context // ends when the server is cut off
	cancel  context.CancelFunc
	started time.Time
	node    string

	wg       sync.WaitGroup // readers, writers, folds, the clock
	clock    atomic.Int64   // seconds since the start, as of the last tick
	number   atomic.Uint64  // of the last connection
	draining atomic.Bool
	noFiles  atomic.Int64 // unix seconds at which a socket was last not accepted for want of a file; 0: never
	drain    sync.Once
	drained  error // written by drain

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New builds a Server. End it with Drain.
func New(o Options) (*Server, error) {
	if o.Log == nil || o.Snapshots == nil || o.Auth == nil {
		return nil, errors.New("ingest: Log, Snapshots and Auth are required")
	}
	switch o.OnExpiry {
	case "":
		o.OnExpiry = "keep"
	case "keep", "close":
	default:
		return nil, fmt.Errorf("ingest: OnExpiry is %q, want keep or close", o.OnExpiry)
	}
	if o.DrainPeriod == 0 {
		o.DrainPeriod = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, limits: o.Limits.withDefaults(), log: o.Logger, started: time.Now(), node: o.Log.Node(), conns: map[*conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(o.Metrics, s)
	s.memory, s.inbound, s.unread, s.lane = newMemory(), newInbound(), newUnread(), newLane()
	s.rooms = newRooms(s)
	s.gate = newGate(s.limits)
	if err := s.configureOutbound(); err != nil {
		s.cancel()
		return nil, err
	}
	s.keeper = newPresenceKeeper(s)
	s.checks = make(chan struct{}, maxChecks)
	var err error
	if s.revoker, err = newRevoker(s); err != nil {
		s.cancel()
		s.keeper.close()
		return nil, err
	}
	if s.erased, err = newErasures(s); err != nil {
		s.cancel()
		s.revoker.close()
		s.keeper.close()
		return nil, err
	}
	if s.unhear, err = o.Log.Control().On(snapshot.DamageAnnouncement, s.damaged); err != nil {
		s.log.Warn("damage found by other servers will not be heard of", "err", err)
		s.unhear = func() {}
	}
	s.api = newAPI(s)
	if s.hook != nil {
		s.hook.Start()
	}
	s.wg.Add(1)
	go s.tick()
	return s, nil
}

// configureOutbound makes the callers of other services. It starts nothing.
func (s *Server) configureOutbound() (err error) {
	o := &s.o
	failed := func(what string) func() { return func() { s.metrics.outboundFailed(what) } }
	if o.Webhook.URL != "" {
		hook := o.Webhook
		hook.AllowPrivate = hook.AllowPrivate || o.Dev
		s.hook, err = outbound.NewWebhook(hook, outbound.Host{
			State: func(ctx context.Context, doc stream.Doc) (snapshot.State, error) {
				return s.rooms.stateAt(ctx, doc, snapshot.Moment{})
			},
			Logger: s.log, Failed: failed("webhook"), Dropped: func() { s.metrics.dropped("webhook") },
		})
		if err != nil {
			return fmt.Errorf("ingest: %w", err)
		}
	}
	if o.LoadURL != "" {
		s.loader, err = outbound.NewLoader(outbound.LoaderOptions{
			URL: o.LoadURL, Secret: o.Webhook.Secret, Timeout: cmp.Or(o.Webhook.Timeout, 5*time.Second), AllowPrivate: o.Webhook.AllowPrivate || o.Dev,
			Log: o.Log, Snapshots: o.Snapshots, MaxState: s.limits.Document, Limits: s.limits.Update, Shape: s.limits.Shape,
			Logger: s.log, Failed: failed("load"),
		})
		if err != nil {
			return fmt.Errorf("ingest: %w", err)
		}
	}
	return nil
}

// seconds is the time that has passed since the start, as of the last tick. It is monotonic: setting the
// machine's clock makes no client look silent.
func (s *Server) seconds() int64 { return s.clock.Load() }

func (s *Server) secondsAt(now time.Time) int64 { return int64(now.Sub(s.started) / time.Second) }

// ServeHTTP routes sockets and requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if websocket.IsWebSocketUpgrade(r) {
		s.serveSocket(w, r)
		return
	}
	segments, err := normalise(r.URL.EscapedPath())
	if err != nil {
		s.metrics.refuse(w, causeMalformed)
		return
	}
	if r.Header.Get("Sec-WebSocket-Key") != "" || r.Header.Get("Sec-WebSocket-Version") != "" {
		s.lostUpgrade(w, r)
		return
	}
	if err := s.o.Auth.CheckHost(r); err != nil { // the page, /health and, where they share this address, /metrics tell strangers' pages as little as the API does
		s.metrics.refuse(w, causeOrigin)
		return
	}
	s.serveRequest(w, r, func(w http.ResponseWriter, r *http.Request) { s.api.serve(w, r, segments) })
}

// lostUpgrade answers a WebSocket handshake that a proxy has passed on as a plain request: proxies drop Upgrade and Connection unless
// they are told.
func (s *Server) lostUpgrade(w http.ResponseWriter, r *http.Request) {
	const cure = `a proxy dropped "Upgrade" from the WebSocket handshake: it has to pass the header on ` +
		`(nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";)`
	s.metrics.refused("upgrade-lost")
	s.log.Warn(cure, "path", clip(r.URL.Path), "peer", r.RemoteAddr)
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Connection", "Upgrade")
	writeError(w, http.StatusUpgradeRequired, "upgrade-lost", cure)
}

// forget takes a connection that has ended out of the server and logs it.
func (s *Server) forget(c *conn, d dialect) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.gate.leave(c.ip, c.user)
	s.metrics.disconnected(d.name(), causeOf(c.err).reason)
	s.wg.Done()
}

// Drain stops taking connections, lets commits under way end and their
// acknowledgements go out, then closes all connections over the drain period in
// random order, and waits for them. When ctx ends first, the rest is cut off.
// A second call waits for the first.
func (s *Server) Drain(ctx context.Context) error {
	s.drain.Do(func() { s.drained = s.drainAll(ctx) })
	return s.drained
}

func (s *Server) drainAll(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	period := s.o.DrainPeriod
	if deadline, ok := ctx.Deadline(); ok {
		period = min(period, time.Until(deadline)/2)
	}
	s.log.Info("draining", "connections", len(conns), "period", period)
	start := time.Now()
	for i, c := range conns {
		due := start.Add(period * time.Duration(i) / time.Duration(len(conns)))
		if wait := time.Until(due); wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
		}
		c.drainSessions(ctx, time.Now().Add(250*time.Millisecond))
		c.close(causeDraining)
	}
	s.rooms.settle(ctx, time.Now().Add(2*time.Second))
	if s.hook != nil {
		s.hook.Close(ctx)
	}
	s.cancel()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.mu.Lock()
		conns = conns[:0]
		for c := range s.conns {
			conns = append(conns, c)
		}
		s.mu.Unlock()
		for _, c := range conns {
			c.fail(causeDraining)
		}
		<-done
	}
	s.unhear()
	s.erased.stop()
	s.revoker.close()
	s.keeper.close()
	s.rooms.close()
	if s.loader != nil {
		s.loader.Close()
	}
	return err
}
