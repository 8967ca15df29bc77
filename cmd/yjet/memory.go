package main

import (
	"log/slog"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory sets the Go runtime's memory limit where the container or service has one and GOMEMLIMIT is not set: nine tenths of it, and less
// of a small one, since not all memory of a process is the runtime's, and the runtime is late by a few large messages. The server then
// refuses to open more documents before the kernel kills it.
func limitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return // not Linux
	}
	read := func(name string) string {
		b, err := os.ReadFile(path.Join("/sys/fs/cgroup", name))
		if err != nil {
			return ""
		}
		return string(b)
	}
	if n, ok := cgroupLimit(string(groups), read); ok {
		debug.SetMemoryLimit(n - max(n/10, min(n/4, 96<<20)))
		log.Info("memory is limited", "limit", n, "by", "cgroup")
	}
}

// cgroupLimit is the smallest memory limit of a process's control groups, in bytes. groups is /proc/self/cgroup; read returns a file below
// the mount point of the groups, "" if there is none.
func cgroupLimit(groups string, read func(name string) string) (least int64, ok bool) {
	note := func(s string) {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64) // "max" is none
		if err == nil && n > 0 && n < 1<<60 && (!ok || n < least) {
			least, ok = n, true
		}
	}
	for line := range strings.Lines(groups) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) != 3:
		case f[1] == "": // version 2
			for dir := path.Clean("/" + f[2]); ; dir = path.Dir(dir) {
				note(read(path.Join(dir, "memory.max")))
				if dir == "/" {
					break
				}
			}
		case strings.Contains(","+f[1]+",", ",memory,"):
			note(read(path.Join("memory", f[2], "memory.limit_in_bytes")))
			note(read("memory/memory.limit_in_bytes")) // as a container sees its own
		}
	}
	return least, ok
}
