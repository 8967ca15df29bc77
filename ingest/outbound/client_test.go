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

// A name of the public net may resolve to any of these, by mistake or by its owner's will.
func TestAddressesOfPrivateNetworksAreNotDialled(t *testing.T) {
	for address, private := range map[string]bool{
		"127.0.0.1:80": true, "127.8.8.8:80": true, "10.1.2.3:443": true, "172.16.0.1:80": true, "172.31.255.255:80": true, "192.168.1.1:80": true,
		"169.254.169.254:80": true, "0.0.0.0:80": true, "224.0.0.1:80": true,
		"[::1]:80": true, "[::]:80": true, "[fe80::1]:80": true, "[fd00::1]:80": true, "[ff02::1]:80": true,
		"[::ffff:127.0.0.1]:80": true, "[::ffff:10.0.0.1]:80": true,
		"93.184.216.34:80": false, "172.32.0.1:80": false, "[2606:2800:220:1::1]:443": false, "[::ffff:93.184.216.34]:80": false,
	} {
		if err := refusePrivate("tcp", address, nil); errors.Is(err, errPrivate) != private || err != nil && !private {
			t.Errorf("%s: %v, want it refused: %v", address, err, private)
		}
	}
	if err := refusePrivate("tcp", "not an address", nil); err == nil {
		t.Error("what is not an address is dialled")
	}
}

// A setting that names a private address, or a name of the local network, asks for one.
func TestSettingsMayAskForAPrivateAddress(t *testing.T) {
	s := newService(t, nil)
	for host, private := range map[string]bool{
		"127.0.0.1": true, "[::1]": true, "10.0.0.1": true, "localhost": true, "app": true, "app.localhost": true,
		"app.example.com": false, "localhost.example.com": false,
	} {
		for _, allowed := range []bool{false, true} {
			c, err := newClient("webhook", "http://"+host+"/x", "", patience, allowed)
			if err != nil {
				t.Fatal(err)
			}
			c.url = s.URL // the address of the name
			if _, _, _, err = c.post(t.Context(), nil, 10); (err == nil) != (private || allowed) {
				t.Errorf("%s, private addresses allowed: %v: got %v", host, allowed, err)
			}
			c.close()
		}
	}
}
