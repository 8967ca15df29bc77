package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"yjet/auth"
	"yjet/ingest"
	"yjet/ingest/outbound"
	"yjet/internal/natsd"
	"yjet/snapshot"
	"yjet/stream"
	"yjet/web"
)

const serveUsage = `
Usage: yjet serve [flags]

Runs the server for production. With --nats the documents are in a NATS cluster, and any number of yjet processes may run in front of it.
Without, NATS runs inside this process and keeps them in --data.

Examples:
  yjet serve --data /var/lib/yjet --supabase-url https://abc.supabase.co --origins https://app.example.com
  yjet serve --nats nats://n1:4222,nats://n2:4222 --jwks-url https://id.example.com/jwks.json --jwt-issuer https://id.example.com
  yjet serve --data ./data --auth none --addr 127.0.0.1:1999
  yjet serve --config yjet.conf --print-config
`

func runServe(ctx context.Context, p process, args []string) error {
	var c config
	s := newSettings("serve")
	configFlags(s, &c, false)
	if err := s.load(args, p.environ, p.stdout, serveUsage); err != nil {
		return err
	}
	if s.NArg() > 0 {
		return usagef("serve: unexpected %q; settings are flags, see 'yjet serve --help'", s.Arg(0))
	}
	if err := c.check(false); err != nil {
		return err
	}
	return serve(ctx, p, &c, false)
}

// serve brings everything up in order, prints the ready line, and takes everything down in reverse when ctx ends.
func serve(ctx context.Context, p process, c *config, dev bool) error {
	log, err := newLogger(p.stderr, c.logFormat, c.logLevel)
	if err != nil {
		return err
	}
	limitMemory(log)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	var down stack
	defer down.run()

	// Mistakes in the settings and busy ports are reported before a store is opened.
	authority, err := newAuth(c, dev, log, metrics)
	if err != nil {
		return err
	}
	down.add(authority.Close)
	listeners, err := listen(c, dev)
	if err != nil {
		return err
	}
	down.add(func() { closeAll(listeners) })
	failed := make(chan error, len(listeners)+1)
	if err := startAdmin(c, metrics, log, &down, failed); err != nil {
		return err
	}
	docs, store, err := openLog(ctx, c, dev, log, metrics, &down)
	if err != nil {
		return err
	}
	door, err := openDoor(c, dev, docs, authority, log, metrics, &down)
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler:           door,
		ReadHeaderTimeout: 5 * time.Second,
		MaxHeaderBytes:    64 << 10, // a site's cookies alone can be 32 KiB
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	for _, l := range listeners {
		go func() { failed <- server.Serve(door.Listener(l)) }()
	}
	down.add(func() { server.Close() })

	scheme := "http"
	if c.tlsCert != "" {
		scheme = "https"
	}
	url := scheme + "://" + readyHost(listeners[0].Addr().(*net.TCPAddr))
	log.Info("yjet is up", "version", version, "url", url, "durability", docs.Health(ctx).Durability, "auth", c.auth.mode)
	fmt.Fprintf(p.stdout, "yjet ready on %s\n", url)
	if dev {
		printDevHelp(p.stdout, url, store)
	}

	select {
	case <-ctx.Done():
		log.Info("draining; a second signal ends at once")
	case err = <-failed:
		log.Error("a listener failed", "err", err)
	}
	drain, cancel := context.WithTimeout(context.Background(), c.drainFor)
	defer cancel()
	closeAll(listeners)
	if derr := door.Drain(drain); derr != nil {
		log.Warn("not everything drained", "err", derr)
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// openLog connects to NATS, starting it inside where there is no cluster, and opens the log on it. store is nil with a cluster.
func openLog(ctx context.Context, c *config, dev bool, log *slog.Logger, metrics prometheus.Registerer, down *stack) (docs *stream.Log, store *natsd.Server, err error) {
	nc, bulk, store, err := connectNATS(c, dev, log, down)
	if err != nil {
		return nil, nil, err
	}
	docs, err = stream.Open(ctx, nc, bulk, stream.Config{
		Shards: c.shards, Replicas: c.replicas, Embedded: store != nil, Durability: durabilityInForce(c),
		OnErase: noteErased(store), Log: log, Metrics: metrics,
	})
	if err != nil {
		return nil, nil, err
	}
	down.add(func() { docs.Close() })
	if store != nil {
		watching, stopWatching := context.WithCancel(context.Background())
		var watcher sync.WaitGroup
		watcher.Go(func() {
			store.Watch(watching, func(ctx context.Context) error { return docs.Health(ctx).Err }, docs.Refuse)
		})
		down.add(func() { stopWatching(); watcher.Wait() })
	}
	return docs, store, nil
}

// openDoor opens the parts above the log: folds, and the server for clients.
func openDoor(c *config, dev bool, docs *stream.Log, authority *auth.Auth, log *slog.Logger, metrics *prometheus.Registry, down *stack) (*ingest.Server, error) {
	folds := snapshot.New(docs, snapshot.Options{History: c.history, CompactAfter: c.compactAfter, SweepEvery: 24 * time.Hour,
		MaxVersions: c.limits.Versions, Log: log, Metrics: metrics})
	down.add(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := folds.Close(ctx); err != nil {
			log.Warn("folds under way were left", "err", err)
		}
	})

	o, err := doorOptions(c, dev)
	if err != nil {
		return nil, err
	}
	o.Log, o.Snapshots, o.Auth, o.Logger, o.Metrics = docs, folds, authority, log, metrics
	if dev && c.adminAddr == "" {
		o.Admin = adminHandler(metrics, c.pprof)
	}
	return ingest.New(o)
}

// stack holds cleanup functions and runs them in reverse order.
type stack []func()

func (s *stack) add(f func()) { *s = append(*s, f) }
func (s *stack) run() {
	for i := len(*s) - 1; i >= 0; i-- {
		(*s)[i]()
	}
}

// connectNATS starts NATS inside or connects to the cluster: one connection for appends and the live feed, another for replays, so that
// megabytes of history never stand in front of a keystroke. store is nil with a cluster.
func connectNATS(c *config, dev bool, log *slog.Logger, down *stack) (nc, bulk *nats.Conn, store *natsd.Server, err error) {
	var opts []nats.Option
	if c.natsCreds != "" {
		opts = append(opts, nats.UserCredentials(c.natsCreds))
	}
	if c.natsCA != "" {
		opts = append(opts, nats.RootCAs(c.natsCA))
	}
	if c.nats == "" {
		store, err = natsd.Start(natsd.Options{Dir: c.data, Addr: c.natsAddr, AnyPort: dev, Durability: c.durability, Log: log})
		if err != nil {
			return nil, nil, nil, err
		}
		down.add(store.Stop)
		opts = append(opts, nats.InProcessServer(store))
	} else if c.durability == "disk" {
		log.Warn("yjet cannot see whether the NATS cluster writes to disk before it acknowledges, so durability is shown as unknown; " +
			"set sync_interval: always on each node, see deploy/cluster.conf")
	}
	nc, bulk, err = stream.Dial(c.natsURLs(), opts...)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("NATS at %s: %w; is it running, and reachable from here?", redactURLs(c.natsURLs()), err)
	}
	down.add(nc.Close)
	down.add(bulk.Close)
	return nc, bulk, store, nil
}

// noteErased makes the embedded server overwrite erased messages at its next start. A cluster's files belong to its operator.
func noteErased(store *natsd.Server) func(...stream.Erasing) {
	if store == nil {
		return nil
	}
	return func(list ...stream.Erasing) {
		now := time.Now()
		notes := make([]natsd.Erased, len(list))
		for i, e := range list {
			notes[i] = natsd.Erased{Stream: e.Stream, Filter: e.Filter, First: uint64(e.First), Last: uint64(e.Last), At: now}
		}
		store.NoteErased(notes...)
	}
}

// redactURLs removes user and password from NATS addresses.
func redactURLs(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		if scheme, rest, ok := strings.Cut(u, "://"); ok {
			if _, host, ok := strings.Cut(rest, "@"); ok {
				list[i] = scheme + "://" + host
			}
		}
	}
	return strings.Join(list, ",")
}

// durabilityInForce is the durability that can be promised. A cluster's own fsync setting cannot be seen from here.
func durabilityInForce(c *config) string {
	if c.nats != "" && c.durability == "disk" {
		return "unknown"
	}
	return c.durability
}

// listen opens --addr, and in dev the IPv6 loopback as well, since browsers may resolve localhost to either.
func listen(c *config, dev bool) ([]net.Listener, error) {
	l, err := net.Listen("tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("--addr: %w; choose another with --addr, port 0 takes a free one", err)
	}
	listeners := []net.Listener{l}
	if a := l.Addr().(*net.TCPAddr); dev && a.IP.Equal(net.IPv4(127, 0, 0, 1)) {
		if l6, err := net.Listen("tcp", fmt.Sprintf("[::1]:%d", a.Port)); err == nil {
			listeners = append(listeners, l6)
		}
	}
	if c.tlsCert == "" {
		return listeners, nil
	}
	cert, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
	if err != nil {
		closeAll(listeners)
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	for i, l := range listeners {
		listeners[i] = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// readyHost is the address as a person would type it.
func readyHost(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", a.Port)
	}
	return a.String()
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level: %w", err)
	}
	if format == "" {
		format = "json"
		if f, ok := w.(*os.File); ok && isTerminal(f) {
			format = "text"
		}
	}
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: logAttr}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return slog.New(slog.NewJSONHandler(w, opts)), nil
}

// logAttr redacts tokens in the log, as a last safeguard, and formats durations for people.
func logAttr(groups []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		d := a.Value.Duration()
		if d > time.Second {
			d = d.Round(10 * time.Millisecond)
		}
		return slog.String(a.Key, d.String())
	}
	return auth.RedactAttr(groups, a)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // a character device, too: the stdin of cron and of services
	return err != nil || !os.SameFile(info, null)
}

// doorOptions is the part of ingest.Options that the settings decide.
func doorOptions(c *config, dev bool) (ingest.Options, error) {
	proxies, err := c.proxies()
	if err != nil {
		return ingest.Options{}, err
	}
	public, err := c.public()
	if err != nil {
		return ingest.Options{}, err
	}
	limits := c.limits
	limits.IdleUnload = c.unloadAfter
	return ingest.Options{
		Limits: limits, Version: version, Dev: dev, Page: web.Handler(public),
		TrustedProxies: proxies, PublicURL: public, OnExpiry: c.auth.onExpiry, StampPresence: c.auth.stampPresence, LoadURL: c.loadURL,
		Webhook: outbound.WebhookOptions{
			URL: c.webhook.url, Secret: c.webhook.secret,
			DebounceWait: c.webhook.debounceWait, DebounceMaxWait: c.webhook.debounceMax, Timeout: c.webhook.timeout,
		},
	}, nil
}
