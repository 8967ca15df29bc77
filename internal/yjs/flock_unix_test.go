//go:build unix

package yjs

import (
	"os"
	"syscall"
)

// lockFile waits until this process alone holds f, and holds it until f is closed.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }
