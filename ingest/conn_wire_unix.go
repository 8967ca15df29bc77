//go:build unix

package ingest

import "syscall"

// tryWrite writes as much as the socket takes at once, and never waits.
func (w *wire) tryWrite(p []byte) (n int, err error) {
	if w.raw == nil {
		return 0, nil
	}
	cerr := w.raw.Write(func(fd uintptr) bool {
		for {
			n, err = syscall.Write(int(fd), p)
			if err != syscall.EINTR {
				return true
			}
		}
	})
	if n < 0 {
		n = 0
	}
	if err == syscall.EAGAIN {
		err = nil
	}
	if err == nil {
		err = cerr
	}
	return n, err
}
