package natsd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// watchTimes are the times of Watch.
type watchTimes struct {
	every time.Duration // between two looks
	stuck time.Duration // a store that accepts no writes for this long is restarted, whatever the reason
	pause time.Duration // between two restarts for that
}

var usualTimes = watchTimes{every: time.Second, stuck: 30 * time.Second, pause: time.Minute}

// roomAgain is the number of free bytes on a disk that was full at which a restart is tried.
const roomAgain = 16 << 20

// Watch restarts the server when its store is stuck, until ctx ends: after a full disk the server stores nothing even when there is room
// again, until it is started anew. healthy reports whether something can be stored now. A server does not notice that its
// files were removed while it runs, and goes on writing to them; no start will read those. Watch then calls refuse, once, and returns.
func (s *Server) Watch(ctx context.Context, healthy func(context.Context) error, refuse func(error)) {
	var sickSince, restarted time.Time
	files := s.files()
	wasFull := false
	tick := time.NewTicker(s.times.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := stillThere(files); err != nil {
			s.log.Error("the store's files were removed or replaced while open: the server acknowledges nothing any more. Export what is in memory, then restore the directory and restart", "err", err)
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
		free, known := freeSpace(s.opts.StoreDir)
		if known && free < roomAgain {
			wasFull = true
			continue // a restart would not help yet
		}
		if !wasFull && (now.Sub(sickSince) < s.times.stuck || now.Sub(restarted) < s.times.pause) {
			continue
		}
		s.log.Error("the store accepts no writes; restarting the embedded NATS", "since", now.Sub(sickSince), "err", err)
		s.shutdown()
		if err := s.start(); err != nil {
			s.log.Error("restart of the embedded NATS", "err", err)
		} else {
			wasFull = false
		}
		restarted = time.Now()
	}
}

// files returns the files and directories that must stay in place for a later start to find the data written now.
func (s *Server) files() map[string]os.FileInfo {
	found := map[string]os.FileInfo{}
	if s.lock != nil {
		if info, err := s.lock.Stat(); err == nil {
			found[s.lock.Name()] = info
		}
	}
	logs, _ := filepath.Glob(filepath.Join(s.opts.StoreDir, "jetstream", "*", "streams", "YDOC_*"))
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
