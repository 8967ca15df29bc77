package outbound

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestNamesOfPrivateAddressesAreRefused(t *testing.T) {
	for _, raw := range []string{"", "ftp://x", "//x", "http://"} {
		if _, err := newClient("webhook", raw, "", time.Second, false); err == nil {
			t.Errorf("%q: got no error", raw)
		}
	}
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	o, err := newClient("webhook", s.URL, "", time.Second, false) // an address: asked for
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	if status, _, _, err := o.post(t.Context(), []byte("{}"), 100); err != nil || status != 200 {
		t.Errorf("an address that was configured: got %d %v", status, err)
	}
	named, err := newClient("webhook", "http://hook.example.com", "", time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	named.url = s.URL // as if the name stood for this address
	if _, _, _, err := named.post(t.Context(), []byte("{}"), 100); !errors.Is(err, errPrivate) {
		t.Errorf("a name that stands for a private address: got %v, want %v", err, errPrivate)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	reached := false
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer target.Close()
	s := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	c, err := newClient("webhook", s.URL, "", time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	status, _, _, err := c.post(t.Context(), []byte("{}"), 100)
	if err != nil || status != http.StatusTemporaryRedirect || reached {
		t.Errorf("got %d %v, target reached %v; want the redirect itself", status, err, reached)
	}
}

func TestErrorsDoNotNameTheURL(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	c, err := newClient("webhook", s.URL+"/secret-path", "", time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // nothing listens there any more
	if _, _, _, err := c.post(t.Context(), []byte("{}"), 100); err == nil || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("got %v, want an error without the path", err)
	}
}

func TestAnswersAboveTheBoundAreErrors(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 101)) }))
	defer s.Close()
	c, err := newClient("load-url", s.URL, "", time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, _, answer, err := c.post(t.Context(), []byte("{}"), 100); err == nil {
		t.Errorf("got %d bytes, want an error", len(answer))
	}
}
