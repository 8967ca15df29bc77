package ingest

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// fullListener fails as accept(2) does in a process that has no file left.
type fullListener struct{ net.Listener }

func (fullListener) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

func TestRunningOutOfFilesIsTold(t *testing.T) {
	w := start(t)
	if _, body, _ := w.ask("GET", "/health", nil); strings.Contains(body, "out of files") {
		t.Fatalf("before: got %s", body)
	}
	l := w.srv.Listener(fullListener{})
	for range 100 {
		if _, err := l.Accept(); err == nil {
			t.Fatal("got no error, want the listener's")
		}
	}
	if _, body, _ := w.ask("GET", "/health", nil); !strings.Contains(body, "out of files") {
		t.Errorf("/health: got %s, want it to say that the process has run out of files", body)
	}
	if n := strings.Count(w.out.String(), "out of files"); n != 1 {
		t.Errorf("after 100 failures: got %d log lines, want one", n)
	}
}
