// Package natstest runs real nats-servers inside a test process, from the same nats.conf that users run: one node, or three
// in a cluster. Servers keep their data when they are stopped, so that a test can kill and start them again; everything ends
// with the test.
package natstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet"
	"yjet/internal/natsd"
)

// Option changes a server before it starts.
type Option func(*server.Options)

// Process gives up the sync of every message (durability mode "process").
func Process(o *server.Options) { o.SyncAlways, o.SyncInterval = false, 2*time.Minute }

// StoreDir puts the data somewhere else than a temporary directory.
func StoreDir(dir string) Option { return func(o *server.Options) { o.StoreDir = dir } }

// Listen has a single node listen on a port of loopback that is free now, for clients that come over TCP.
func Listen(t testing.TB) Option {
	port := freePorts(t, 1)[0]
	return func(o *server.Options) { o.DontListen, o.Host, o.Port = false, "127.0.0.1", port }
}

// MaxPayload sets the largest message.
func MaxPayload(n int32) Option { return func(o *server.Options) { o.MaxPayload = n } }

// Options is nats.conf as the tests run it: a temporary store, no listener, no signal handlers, no log.
func Options(t testing.TB, opts ...Option) *server.Options {
	t.Helper()
	o := &server.Options{}
	if err := o.ProcessConfigString(yjet.NATSConf); err != nil {
		t.Fatalf("nats.conf: %v", err)
	}
	o.StoreDir, o.DontListen, o.NoSigs, o.NoLog = "", true, true, true
	for _, f := range opts {
		f(o)
	}
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	return o
}

// Server is one node. Its methods may be called from any goroutine.
type Server struct {
	t    testing.TB
	opts *server.Options

	mu  sync.Mutex
	srv *natsd.Server // nil while stopped
}

// Start runs one node until the test ends.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := &Server{t: t, opts: Options(t, opts...)}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// Restart starts the node on the data it has, as the binary does; a running one is stopped first.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	srv, err := natsd.Start(natsd.Options{Configure: func(o *server.Options) { *o = *s.opts.Clone() }})
	if err != nil {
		s.t.Error(err)
		return
	}
	s.srv = srv
}

// Stop shuts the node down and keeps its data.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv != nil {
		s.srv.Stop()
		s.srv = nil
	}
}

// Dir is where the data is.
func (s *Server) Dir() string { return s.opts.StoreDir }

// Running is the server itself, nil while it is stopped.
func (s *Server) Running() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv == nil {
		return nil
	}
	return s.srv.NATS()
}

// Addr is where a node with a listener is reached; it keeps it when it is started again.
func (s *Server) Addr() string { return fmt.Sprintf("%s:%d", s.opts.Host, s.opts.Port) }

// InProcessConn makes Server an in-process provider for nats.go that follows restarts.
func (s *Server) InProcessConn() (net.Conn, error) {
	srv := s.Running()
	if srv == nil {
		return nil, errors.New("natstest: the server is stopped")
	}
	return srv.InProcessConn()
}

// Connect opens a connection that ends with the test.
func (s *Server) Connect(opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	opts = append([]nats.Option{nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}, opts...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		s.t.Fatalf("connect: %v", err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// Cluster is three nodes on loopback.
type Cluster struct {
	Nodes []*Server
}

// StartCluster runs three nodes until the test ends, and returns when they have a meta leader.
func StartCluster(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	ports := freePorts(t, 6)
	c := &Cluster{}
	var routes string
	for i := range 3 {
		if i > 0 {
			routes += ","
		}
		routes += fmt.Sprintf("nats://127.0.0.1:%d", ports[i])
	}
	for i := range 3 {
		s := &Server{t: t, opts: Options(t, opts...)}
		s.opts.ServerName = fmt.Sprintf("n%d", i)
		s.opts.DontListen = false
		s.opts.Host, s.opts.Port = "127.0.0.1", ports[3+i]
		s.opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i], PoolSize: -1}
		s.opts.RoutesStr = routes
		s.opts.Routes = server.RoutesFromStr(routes)
		c.Nodes = append(c.Nodes, s)
	}
	var wg sync.WaitGroup
	for _, s := range c.Nodes {
		wg.Go(func() { s.Restart() })
		t.Cleanup(s.Stop)
	}
	wg.Wait()
	c.WaitLeader(t)
	return c
}

// WaitLeader waits until the cluster has a meta leader that all running nodes know and are current with.
func (c *Cluster) WaitLeader(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		leader, current, running := false, 0, 0
		for _, s := range c.Nodes {
			srv := s.Running()
			if srv == nil {
				continue
			}
			running++
			leader = leader || srv.JetStreamIsLeader()
			if srv.JetStreamIsCurrent() {
				current++
			}
		}
		if leader && current == running {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the cluster has no leader after 30 s")
}

// URL names all three nodes.
func (c *Cluster) URL() string {
	var u string
	for i, s := range c.Nodes {
		if i > 0 {
			u += ","
		}
		u += fmt.Sprintf("nats://127.0.0.1:%d", s.opts.Port)
	}
	return u
}

// WaitCurrent waits until every replica of every stream has all of it.
func (c *Cluster) WaitCurrent(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for {
		behind := ""
		list := js.ListStreams(ctx)
		for info := range list.Info() {
			cl := info.Cluster
			if cl == nil || cl.Leader == "" || len(cl.Replicas) != info.Config.Replicas-1 {
				behind = info.Config.Name
				continue
			}
			for _, r := range cl.Replicas {
				if !r.Current || r.Offline || r.Lag > 0 {
					behind = info.Config.Name
				}
			}
		}
		if behind == "" && list.Err() == nil {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("replicas of %s are not current after a minute: %v", behind, list.Err())
		}
	}
}

// StreamLeader is the node that leads a stream now, nil if none does.
func (c *Cluster) StreamLeader(stream string) *Server {
	for _, s := range c.Nodes {
		if srv := s.Running(); srv != nil && srv.JetStreamIsStreamLeader("$G", stream) {
			return s
		}
	}
	return nil
}

func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all are held until the last is known, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// FilesWith names the files under a directory that hold a text, while servers write there or not.
func FilesWith(t testing.TB, dir, text string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var b []byte
		if err == nil && !d.IsDir() {
			b, err = os.ReadFile(path)
		}
		if bytes.Contains(b, []byte(text)) {
			files = append(files, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
