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
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"yjet"
	"yjet/internal/blockfile"
)

// embedded is a nats-server inside this process, with its data directory locked against a second one. The nats-server itself does not
// lock: two processes on one directory acknowledge messages and lose them.
type embedded struct {
	server atomic.Pointer[server.Server]
	opts   server.Options
	log    *slog.Logger
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
	e := &embedded{lock: lock, log: o.log.With("part", "nats")}
	opts := &e.opts
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

	if err := e.start(); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// start runs a server on the data directory, which is looked through first.
func (e *embedded) start() error {
	if err := e.lookThrough(); err != nil {
		return err
	}
	opts := e.opts // the server fills in its copy
	s, err := server.NewServer(&opts)
	if err != nil {
		return fmt.Errorf("embedded NATS: %w", err)
	}
	s.SetLoggerV2(natsLogger{e.log}, false, false, false)
	s.Start()
	e.server.Store(s)
	if !s.ReadyForConnections(20*time.Second) || !s.JetStreamEnabled() {
		return fmt.Errorf("embedded NATS did not start on %s; the log lines above say why", opts.StoreDir)
	}
	return nil
}

// InProcessConn connects to the server of the moment, so that clients find the next one when this one is restarted. It makes embedded a
// nats.InProcessConnProvider.
func (e *embedded) InProcessConn() (net.Conn, error) {
	s := e.server.Load()
	if s == nil || !s.Running() {
		return nil, errors.New("the NATS inside is restarting")
	}
	return s.InProcessConn()
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
		busy := err
		if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
			o.log.Warn("NATS listens on another port, what listens there is not ours", "wanted", o.addr, "took", l.Addr().String(), "err", busy)
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

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// url is where the nats command line tool reaches the server, "" when it does not listen.
func (e *embedded) url() string {
	if a, ok := e.server.Load().Addr().(*net.TCPAddr); ok && a != nil {
		return "nats://" + a.String()
	}
	return ""
}

// How long a start looks for broken messages in the store's files, some 500 MB a second, last written first: always, and when the
// process that had them open was killed, as it is when the server fills memory over a broken one.
const (
	lookTime      = time.Second
	lookTimeAfter = 15 * time.Second
)

// lookThrough puts flipped bits of the store right, and says what it found. The lock file holds a word while a server is running.
func (e *embedded) lookThrough() error {
	killed := false
	if info, err := e.lock.Stat(); err == nil {
		killed = info.Size() > 0
	}
	if _, err := e.lock.WriteAt([]byte("running\n"), 0); err != nil {
		e.log.Warn("mark the store as open", "err", err) // a full disk can be read all the same
	}
	look := lookTime
	if killed {
		look = lookTimeAfter
	}
	start := time.Now()
	rep, err := blockfile.Check(context.Background(), e.opts.StoreDir, start.Add(look), func(f blockfile.Finding) {
		log := e.log.With("stream", f.Stream, "file", f.File, "offset", f.At, "after", f.Seq)
		switch f.Kind {
		case blockfile.Mended:
			log.Error("a message of the store was damaged and could be put right; nothing is lost, but the disk or the memory is failing")
		case blockfile.Fenced:
			log.Error("a message of the store is damaged and was taken out; `yjet verify` tells whose it was")
		case blockfile.Broken:
			log.Error("a message of the store is damaged; `yjet verify` tells whose it is")
		case blockfile.Finished:
			log.Info("an erased message was half overwritten when the machine stopped; it is wholly now")
		case blockfile.Torn:
			log.Info("the last write of the store was cut short and is dropped; nobody was told that it is saved")
		}
	})
	if err != nil {
		return fmt.Errorf("look through the store: %w", err)
	}
	e.log.Debug("looked through the store", "killed", killed, "files", rep.Files, "left", rep.Left, "messages", rep.Records, "bytes", rep.Bytes, "took", time.Since(start))
	return nil
}

// stop ends the server, which writes what it holds, and then lets go of the directory.
func (e *embedded) stop() {
	e.shutdown()
	if e.lock != nil {
		e.lock.Close()
	}
}

func (e *embedded) shutdown() {
	if s := e.server.Load(); s != nil {
		s.Shutdown()
		s.WaitForShutdown()
		e.lock.Truncate(0)
	}
}

const (
	watchEvery   = time.Second
	stuckFor     = 30 * time.Second // a store that takes nothing for so long is restarted whatever the reason
	restartPause = time.Minute      // between two restarts for that
	roomAgain    = 16 << 20         // bytes free on a disk that was full, from which on a restart is worth it
)

// watch restarts the server when its store is stuck: after a full disk the server takes nothing any more even when there is room again, until
// it is started anew. healthy tells whether something can be stored now. Where the files were taken away under it the server notices nothing,
// and writes on into files that nobody will ever read: refuse is told, once. watch ends with ctx.
func (e *embedded) watch(ctx context.Context, healthy func(context.Context) error, refuse func(error)) {
	var sickSince, restarted time.Time
	files := e.files()
	wasFull := false
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := stillThere(files); err != nil {
			e.log.Error("the store's files were removed or replaced while they are open: nothing is acknowledged any more. What is in memory can be read and exported, then restore the directory and restart", "err", err)
			refuse(err)
			return
		}
		err := healthy(ctx)
		if err == nil || ctx.Err() != nil {
			sickSince, wasFull = time.Time{}, false
			continue
		}
		now := time.Now()
		if sickSince.IsZero() {
			sickSince = now
		}
		free, known := freeSpace(e.opts.StoreDir)
		if known && free < roomAgain {
			wasFull = true
			continue // a restart would not help yet
		}
		if !wasFull && (now.Sub(sickSince) < stuckFor || now.Sub(restarted) < restartPause) {
			continue
		}
		e.log.Error("the store takes nothing; restarting the NATS inside", "since", now.Sub(sickSince), "err", err)
		e.shutdown()
		if err := e.start(); err != nil {
			e.log.Error("restart of the NATS inside", "err", err)
		} else {
			wasFull = false
		}
		restarted = time.Now()
	}
}

// files are what must stay where it is for what is written to be found again.
func (e *embedded) files() map[string]os.FileInfo {
	found := map[string]os.FileInfo{}
	if e.lock != nil {
		if info, err := e.lock.Stat(); err == nil {
			found[e.lock.Name()] = info
		}
	}
	logs, _ := filepath.Glob(filepath.Join(e.opts.StoreDir, "jetstream", "*", "streams", "YDOC_*"))
	for _, path := range logs {
		if info, err := os.Stat(path); err == nil {
			found[path] = info
		}
	}
	return found
}

func stillThere(files map[string]os.FileInfo) error {
	for path, was := range files {
		is, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is gone", path)
		}
		if err == nil && !os.SameFile(was, is) {
			return fmt.Errorf("%s is another one", path)
		}
	}
	return nil
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
