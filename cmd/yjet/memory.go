package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMemory sets the Go runtime's memory limit where the container or service has
// one and GOMEMLIMIT is not set. The server then refuses to open more documents
// before the kernel kills it.
func limitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	n, err := memlimit.FromCgroup()
	if err != nil || n == 0 || n >= 1<<60 { // no cgroup, or one without a limit
		return
	}
	debug.SetMemoryLimit(runtimeShare(int64(n)))
	log.Info("memory is limited", "limit", n, "by", "cgroup")
}

// runtimeShare is the part of a limit that the Go runtime may use: nine tenths, and
// less of a small limit. The rest is for memory outside the runtime, and for the few
// large messages by which the runtime is late.
func runtimeShare(n int64) int64 { return n - max(n/10, min(n/4, 96<<20)) }
