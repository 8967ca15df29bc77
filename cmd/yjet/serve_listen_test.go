package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// certificate makes a self-signed one for 127.0.0.1 and returns its two files and a pool that trusts it.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "yjet test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return writeFile(t, "cert.pem", string(certPEM)), writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))), pool
}

func TestServeSpeaksTLSWithItsOwnCertificate(t *testing.T) {
	cert, key, pool := certificate(t)
	r := start(t, "serve", "--auth", "none", "--addr", "127.0.0.1:0", "--admin-addr", "off", "--data", t.TempDir(), "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(r.url, "https://127.0.0.1:") {
		t.Fatalf("ready on %s, want https", r.url)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get(r.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.TLS.Version < tls.VersionTLS12 {
		t.Errorf("status %d over TLS version %x", resp.StatusCode, resp.TLS.Version)
	}
	old := &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is accepted")
	}
	client.CloseIdleConnections()
}

func TestCertificateThatCannotBeReadIsToldByItsFlag(t *testing.T) {
	cert, _, _ := certificate(t)
	code, _, errs := runCommand("", "serve", "--auth", "none", "--addr", "127.0.0.1:0", "--data", t.TempDir(), "--tls-cert", cert, "--tls-key", cert)
	if code != 1 || !strings.Contains(errs, "--tls-cert") {
		t.Errorf("got code %d and %q, want 1 and the flag", code, errs)
	}
}

func TestMetricsAndProfilesAreOnTheAdminAddressAlone(t *testing.T) {
	r := start(t, "serve", "--auth", "none", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data", t.TempDir(), "--log-format", "text")
	m := regexp.MustCompile(`msg=metrics url=(\S+)/metrics`).FindStringSubmatch(r.log.String())
	if m == nil {
		t.Fatalf("the log does not name the admin address: %s", r.log)
	}
	if status, text := get(t, m[1]+"/metrics"); status != 200 || !strings.Contains(text, "go_goroutines") {
		t.Errorf("metrics: status %d, %.80q", status, text)
	}
	// A stranger's page may have its own name resolve to 127.0.0.1.
	_, port, _ := strings.Cut(strings.TrimPrefix(m[1], "http://"), ":")
	for host, ok := range map[string]bool{"localhost:" + port: true, "[::1]:" + port: true, "127.0.0.1": true, "evil.example:" + port: false, "127.0.0.1.evil.example": false} {
		req, err := http.NewRequest(http.MethodGet, m[1]+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if answered := resp.StatusCode == http.StatusOK; answered != ok {
			t.Errorf("metrics under the name %s: status %d, want it answered: %v", host, resp.StatusCode, ok)
		}
	}
	for _, url := range []string{r.url + "/metrics", m[1] + "/debug/pprof/", r.url + "/debug/pprof/"} {
		if status, text := get(t, url); status == 200 && (strings.Contains(text, "go_goroutines") || strings.Contains(text, "goroutine?debug")) {
			t.Errorf("%s shows what only operators may see", url)
		}
	}
}

func TestProfilesAreServedWhereTheyAreEnabled(t *testing.T) {
	r := start(t, append(devArgs(t.TempDir()), "--pprof")...)
	if status, text := get(t, r.url+"/debug/pprof/"); status != 200 || !strings.Contains(text, "goroutine") {
		t.Errorf("/debug/pprof/: status %d, %.80q", status, text)
	}
}

func TestLogsRedactTokensAndRoundDurations(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, "", "warn")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("not this")
	log.Warn("this", "token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", "took", 1234567*time.Microsecond, "n", 1)
	if got := out.String(); strings.Contains(got, "not this") || strings.Contains(got, "eyJzdWIi") || !strings.Contains(got, `"took":"1.23s"`) || !strings.HasPrefix(got, "{") {
		t.Errorf("got %s", got)
	}
	if a := logAttr(nil, slog.Duration("took", 1500*time.Microsecond)); a.Value.String() != "1.5ms" {
		t.Errorf("got %s", a)
	}
}

func TestAddressesAreShownAndReadAsPeopleWriteThem(t *testing.T) {
	for in, want := range map[string]string{
		"nats://u:p@n1:4222,n2:4222,tls://n3": "nats://n1:4222,n2:4222,tls://n3", "": "", "nats://n1": "nats://n1",
	} {
		if got := redactURLs(in); got != want {
			t.Errorf("redactURLs(%q) = %q, want %q", in, got, want)
		}
	}
	if got := (&config{nats: " n1:4222 ,, tls://n2 "}).natsURLs(); got != "nats://n1:4222,tls://n2" {
		t.Errorf("natsURLs: %q", got)
	}
	if got := readyHost(&net.TCPAddr{IP: net.IPv6zero, Port: 80}); got != "localhost:80" {
		t.Errorf("readyHost of every address: %q", got)
	}
	if got := readyHost(&net.TCPAddr{IP: net.IPv6loopback, Port: 80}); got != "[::1]:80" {
		t.Errorf("readyHost of ::1: %q", got)
	}
	nets, err := (&config{trustedProxies: "10.1.2.3/8, 127.0.0.1,::1"}).proxies()
	if err != nil || len(nets) != 3 || nets[0].String() != "10.0.0.0/8" || nets[1].String() != "127.0.0.1/32" || nets[2].String() != "::1/128" {
		t.Errorf("proxies: %v, %v", nets, err)
	}
}
