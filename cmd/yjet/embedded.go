package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"yjet"
)

// embedded is a nats-server inside this process, with its data directory locked against a second one. The nats-server itself does not
// lock: two processes on one directory acknowledge messages and lose them.
type embedded struct {
	server *server.Server
	lock   *os.File
}

// embedOptions say how to run it.
type embedOptions struct {
	data       string // directory of the store, made when missing
	addr       string // where the nats command line tool reaches it, loopback only; "off": nowhere
	anyPort    bool   // when addr is busy, take another free port
	durability string // "disk": fsync before each acknowledgement; "process": the NATS default
	log        *slog.Logger
}

func startEmbedded(o embedOptions) (*embedded, error) {
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(o.data, "lock"))
	if err != nil {
		return nil, fmt.Errorf("the data directory %s is in use by another yjet (%w); stop that one, or choose another directory with --data", o.data, err)
	}
	e := &embedded{lock: lock}

	var opts server.Options
	if err := opts.ProcessConfigString(yjet.NATSConf); err != nil {
		e.stop()
		return nil, fmt.Errorf("nats.conf: %w", err)
	}
	opts.StoreDir = o.data
	opts.NoSigs = true
	opts.SyncAlways = o.durability == "disk"
	if !opts.SyncAlways {
		opts.SyncInterval = 0 // the server's own default
	}
	if opts.DontListen = o.addr == "off"; !opts.DontListen {
		if opts.Host, opts.Port, err = natsListen(o); err != nil {
			e.stop()
			return nil, err
		}
	}

	e.server, err = server.NewServer(&opts)
	if err != nil {
		e.stop()
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	e.server.SetLoggerV2(natsLogger{o.log.With("part", "nats")}, false, false, false)
	e.server.Start()
	if !e.server.ReadyForConnections(20*time.Second) || !e.server.JetStreamEnabled() {
		e.stop()
		return nil, fmt.Errorf("embedded NATS did not start on %s; the log lines above say why", o.data)
	}
	return e, nil
}

// natsListen checks the address before the server takes it: the server would end the process.
func natsListen(o embedOptions) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(o.addr)
	if err != nil {
		return "", 0, usagef("--nats-addr: %w", err)
	}
	if !loopback(host) {
		return "", 0, usagef("--nats-addr %s: the NATS inside has no users or passwords, so it listens on loopback only; run nats-server with its own accounts and point --nats at it", o.addr)
	}
	l, err := net.Listen("tcp", o.addr)
	if err != nil && o.anyPort {
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
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

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// url is where the nats command line tool reaches the server, "" when it does not listen.
func (e *embedded) url() string {
	if a, ok := e.server.Addr().(*net.TCPAddr); ok && a != nil {
		return "nats://" + a.String()
	}
	return ""
}

// stop ends the server, which writes what it holds, and then lets go of the directory.
func (e *embedded) stop() {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	if e.lock != nil {
		e.lock.Close()
	}
}

var errLocked = errors.New("locked")

// natsLogger brings the server's log into ours. Its notices are debug lines here: a start prints a page of them.
type natsLogger struct{ log *slog.Logger }

func (l natsLogger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLogger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLogger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLogger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLogger) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }

func (l natsLogger) Warnf(format string, v ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(format, "Maximum payloads over") {
		level = slog.LevelDebug // chosen on purpose: a message of 16 MiB is one record
	}
	l.log.Log(context.Background(), level, fmt.Sprintf(format, v...))
}
