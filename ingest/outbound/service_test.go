package outbound

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// patience is the time that a test waits for something that must happen.
const patience = 30 * time.Second

// received is one request as a service saw it.
type received struct {
	header http.Header
	method string
	body   []byte
}

// service answers at an operator's URL. answer gets the number of the call, from 1; it may be nil.
type service struct {
	*httptest.Server
	calls chan received
	n     atomic.Int64
}

func newService(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *service {
	t.Helper()
	s := &service{calls: make(chan received, 10_000)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		n := int(s.n.Add(1))
		s.calls <- received{r.Header.Clone(), r.Method, b}
		if answer != nil {
			answer(n, w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// next waits for the next call.
func (s *service) next(t *testing.T) received {
	t.Helper()
	select {
	case r := <-s.calls:
		return r
	case <-time.After(patience):
		t.Fatal("the service is not called")
		return received{}
	}
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
