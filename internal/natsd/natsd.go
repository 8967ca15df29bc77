// Package natsd runs a nats-server inside the process, on a data directory that no second process may use.
//
// The server reads and writes its files alone while it runs. Before it opens them, and only then, this package works on them: it
// overwrites erased messages (erase.go), and looks for damage that would keep the server from starting (check.go).
package natsd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"yjet"
)

// Version is the version of the nats-server that is linked in.
const Version = server.VERSION

// Options say how the server runs. The zero value of Addr, Durability and Configure is "off", "process" and no change.
type Options struct {
	Dir        string // directory of the store, made when missing
	Addr       string // loopback host:port where the nats command line tool reaches the server, or "off"
	AnyPort    bool   // take another free port when Addr is busy
	Durability string // "disk": fsync before each acknowledgement; "process": the default of NATS
	Log        *slog.Logger
	Configure  func(*server.Options) // changes the server's options, after all others; may be nil
}

// Server is a nats-server and the lock on its data directory. The nats-server itself does not lock: two processes on one directory
// acknowledge messages and lose them. The methods may be called from any goroutine, except that Watch and Stop exclude each other.
type Server struct {
	server atomic.Pointer[server.Server]
	opts   server.Options
	log    *slog.Logger
	lock   *os.File
	times  watchTimes // set before Watch runs
	notes  sync.Mutex // held while notes of erasures are written: those of two callers do not mix
}

// Start locks the directory, overwrites messages erased since the last start, and starts a server. The caller stops the server.
func Start(o Options) (*Server, error) {
	s, err := open(o)
	if err != nil {
		return nil, err
	}
	s.wipeErased(wipeTime)
	if err := s.start(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// open prepares the server and locks the directory.
func open(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{log: o.Log.With("part", "nats"), times: usualTimes}
	opts := &s.opts
	if err := opts.ProcessConfigString(yjet.NATSConf); err != nil {
		return nil, fmt.Errorf("nats.conf: %w", err)
	}
	opts.StoreDir = o.Dir
	opts.NoSigs = true
	opts.SyncAlways = o.Durability == "disk"
	if !opts.SyncAlways {
		opts.SyncInterval = 0 // the server's own default
	}
	opts.DontListen = o.Addr == "" || o.Addr == "off"
	if o.Configure != nil {
		o.Configure(opts)
	}
	var err error
	if s.lock, err = lockDir(opts.StoreDir); err != nil {
		return nil, err
	}
	if o.Addr != "" && o.Addr != "off" {
		if opts.Host, opts.Port, err = s.listenAddr(o); err != nil {
			s.lock.Close()
			return nil, err
		}
	}
	return s, nil
}

// lockDir makes the directory where it is missing, and locks it.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("the data directory %s is in use by another yjet (%w); stop that one, or choose another directory with --data", dir, err)
	}
	return lock, nil
}

var errLocked = errors.New("locked")

// start runs a server on the data directory.
func (s *Server) start() error {
	if err := s.fence(); err != nil {
		return err
	}
	opts := s.opts.Clone() // the server fills in its copy
	ns, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("embedded NATS: %w", err)
	}
	if !opts.NoLog {
		ns.SetLoggerV2(natsLogger{s.log}, false, false, false)
	}
	ns.Start()
	s.server.Store(ns)
	if !ns.ReadyForConnections(20*time.Second) || !ns.JetStreamEnabled() {
		return fmt.Errorf("embedded NATS did not start on %s; the log lines above say why", opts.StoreDir)
	}
	return nil
}

// NATS returns the present server, which Watch may replace.
func (s *Server) NATS() *server.Server { return s.server.Load() }

// InProcessConn connects to the present server, so that clients find the new one after Watch has restarted it. It makes Server a
// nats.InProcessConnProvider.
func (s *Server) InProcessConn() (net.Conn, error) {
	ns := s.server.Load()
	if ns == nil || !ns.Running() {
		return nil, errors.New("the embedded NATS is restarting")
	}
	return ns.InProcessConn()
}

// URL returns the address for the nats command line tool, "" if the server does not listen.
func (s *Server) URL() string {
	if a, ok := s.server.Load().Addr().(*net.TCPAddr); ok && a != nil {
		return "nats://" + a.String()
	}
	return ""
}

// Stop ends the server, which writes its buffers to disk, and then unlocks the directory.
func (s *Server) Stop() {
	s.shutdown()
	s.lock.Close()
}

func (s *Server) shutdown() {
	if ns := s.server.Load(); ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		s.lock.Truncate(0)
	}
}

// CheckAddr returns an error if the server may not listen on a host:port. It has no users or passwords, so it listens on loopback only.
func CheckAddr(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("the embedded NATS has no users or passwords, so it listens on loopback only; run nats-server with its own accounts and point --nats at it")
	}
	return nil
}

// listenAddr checks that the address is free, since a server that cannot listen ends the process.
func (s *Server) listenAddr(o Options) (host string, port int, err error) {
	if err := CheckAddr(o.Addr); err != nil {
		return "", 0, fmt.Errorf("--nats-addr %s: %w", o.Addr, err)
	}
	host, p, _ := net.SplitHostPort(o.Addr)
	l, err := net.Listen("tcp", o.Addr)
	if err != nil && o.AnyPort {
		busy := err
		if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
			s.log.Warn("NATS listens on another port: another program listens on the wanted one", "wanted", o.Addr, "took", l.Addr().String(), "err", busy)
		}
		p = "0"
	}
	if err != nil {
		return "", 0, fmt.Errorf("--nats-addr: %w; choose another address, or 'off'", err)
	}
	defer l.Close()
	if p == "0" {
		return host, l.Addr().(*net.TCPAddr).Port, nil
	}
	port, err = strconv.Atoi(p)
	return host, port, err
}
