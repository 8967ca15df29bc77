package ingest

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// filesNews is how long /health tells that the process has run out of files, and how often the log does.
const filesNews = time.Minute

// Listener wraps a listener of the server: that the process or the machine has no file left for a connection is told in the log,
// once a minute, and in /health. net/http tries again by itself.
func (s *Server) Listener(l net.Listener) net.Listener { return &tellingListener{l, s} }

type tellingListener struct {
	net.Listener
	s *Server
}

func (l *tellingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		now := time.Now()
		if last := l.s.noFiles.Load(); now.Unix()-last >= int64(filesNews/time.Second) && l.s.noFiles.CompareAndSwap(last, now.Unix()) {
			l.s.log.Error("out of files: connections are not accepted; raise LimitNOFILE or ulimit -n", "err", err)
		}
	}
	return c, err
}
