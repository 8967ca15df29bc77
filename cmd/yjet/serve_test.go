package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"yjet/internal/testlog"
)

// running is a server started as a user would, in this process.
type running struct {
	url  string
	stop context.CancelFunc
	code chan int
	log  *testlog.Buffer

	mu      sync.Mutex
	printed string // on stdout; guarded by mu
}

// start runs "yjet args" until the ready line.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	return startIn(t, nil, args...)
}

// startIn is start with an environment.
func startIn(t *testing.T, environ []string, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, in := io.Pipe()
	r := &running{stop: stop, code: make(chan int, 1), log: &testlog.Buffer{}}
	go func() {
		code := run(ctx, process{strings.NewReader(""), in, r.log, environ}, args)
		in.Close()
		r.code <- code
	}()
	t.Cleanup(func() { stop(); r.end(t) })
	ready := make(chan string, 1)
	go func() {
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			r.mu.Lock()
			r.printed += sc.Text() + "\n"
			r.mu.Unlock()
			if url, ok := strings.CutPrefix(sc.Text(), "yjet ready on "); ok {
				ready <- url
			}
		}
	}()
	select {
	case r.url = <-ready:
	case code := <-r.code:
		r.code <- code
		t.Fatalf("yjet %q ended with %d: %s", args, code, r.log)
	case <-time.After(30 * time.Second):
		t.Fatalf("yjet %q: no ready line: %s", args, r.log)
	}
	return r
}

// end stops the server and answers its exit code.
func (r *running) end(t *testing.T) int {
	t.Helper()
	r.stop()
	select {
	case code := <-r.code:
		r.code <- code
		return code
	case <-time.After(30 * time.Second):
		t.Fatalf("the server does not stop: %s", r.log)
		return -1
	}
}

func devArgs(data string) []string {
	return []string{"dev", "--addr", "127.0.0.1:0", "--nats-addr", "off", "--data", data}
}

// command runs a command to its end.
func runCommand(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), process{strings.NewReader(stdin), &out, &errs, nil}, args)
	return code, out.String(), errs.String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestDevServesThePageAndPassesItsOwnCheck(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	if code, out, errs := runCommand("", "check", "--url", r.url); code != 0 || strings.Count(out, "ok ") != 5 {
		t.Errorf("check: code %d\n%s%s", code, out, errs)
	}
	if status, page := get(t, r.url+"/"); status != 200 || !strings.Contains(page, "<html") {
		t.Errorf("page: status %d, %.80q", status, page)
	}
	if status, text := get(t, r.url+"/metrics"); status != 200 || !strings.Contains(text, "yjet_") {
		t.Errorf("metrics: status %d, %.80q", status, text)
	}
	if code := r.end(t); code != 0 {
		t.Errorf("exit code %d after a clean stop, want 0: %s", code, r.log)
	}
}

func TestSecondProcessOnTheSameDataIsRefused(t *testing.T) {
	data := t.TempDir()
	start(t, devArgs(data)...)
	code, _, errs := runCommand("", devArgs(data)...)
	if code != 1 || !strings.Contains(errs, "in use by another yjet") {
		t.Errorf("got code %d and %q, want 1 and who holds the directory", code, errs)
	}
}

func TestDocumentsOutliveTheProcess(t *testing.T) {
	data := t.TempDir()
	c := &checker{room: "kept", typist: newTypist()}
	r := start(t, devArgs(data)...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.base = r.url
	if err := c.connect(ctx); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := c.echo(ctx); err != nil {
			t.Fatal(err)
		}
	}
	r.end(t)
	c.base = start(t, devArgs(data)...).url
	if err := c.reconnect(ctx); err != nil {
		t.Error(err)
	}
	c.first.close()
}

// Files that are removed while they are open take writes for ever, and nobody will read them again.
func TestDataThatIsRemovedWhileOpenIsTold(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	c := &checker{room: "removed", typist: newTypist()}
	r := start(t, devArgs(data)...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.base = r.url
	if err := c.connect(ctx); err != nil {
		t.Fatal(err)
	}
	defer c.first.close()
	if err := c.echo(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(data, data+".away"); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		resp, err := http.Get(r.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), "is gone") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("/readyz: %d %s", resp.StatusCode, body)
		}
		time.Sleep(50 * time.Millisecond)
	}
	soon, cancelSoon := context.WithTimeout(ctx, 3*time.Second)
	defer cancelSoon()
	if err := c.echo(soon); err == nil {
		t.Error("an edit was acknowledged")
	}
}

func TestBusyAddressIsToldBeforeTheStoreIsOpened(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	addr := strings.TrimPrefix(r.url, "http://")
	code, _, errs := runCommand("", "dev", "--addr", addr, "--nats-addr", "off", "--data", t.TempDir())
	if code != 1 || !strings.Contains(errs, "--addr") {
		t.Errorf("got code %d and %q, want 1 and the flag to change", code, errs)
	}
}

func TestBusyNATSPortIsSaidAloudInDevAndRefusedInServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := []string{"--addr", "127.0.0.1:0", "--admin-addr", "", "--nats-addr", l.Addr().String(), "--data"}
	r := start(t, append(append([]string{"dev"}, busy...), t.TempDir())...)
	if log := r.log.String(); !strings.Contains(log, "another port") || !strings.Contains(log, l.Addr().String()) {
		t.Errorf("dev does not say that %s is busy: %s", l.Addr(), log)
	}
	code, _, errs := runCommand("", append(append([]string{"serve", "--auth", "none"}, busy...), t.TempDir())...)
	if code != 1 || !strings.Contains(errs, "--nats-addr") {
		t.Errorf("serve: got code %d and %q, want 1 and the flag to change", code, errs)
	}
}

func TestServeAsksForTokensThatTheTokenCommandMints(t *testing.T) {
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz"
	r := start(t, "serve", "--addr", "127.0.0.1:0", "--admin-addr", "off", "--data", t.TempDir(), "--jwt-secret", secret)
	if code, out, _ := runCommand("", "check", "--url", r.url); code != 1 || !strings.Contains(out, "FAIL") {
		t.Errorf("check without a token: code %d\n%s", code, out)
	}
	code, token, errs := runCommand("", "token", "--jwt-secret", secret, "--user", "alice")
	if code != 0 {
		t.Fatalf("token: %s", errs)
	}
	if code, out, errs := runCommand("", "check", "--url", r.url, "--token", strings.TrimSpace(token)); code != 0 {
		t.Errorf("check with a token: code %d\n%s%s", code, out, errs)
	}
	if strings.Contains(r.log.String(), strings.TrimSpace(token)) {
		t.Error("the token is in the log")
	}
}

func TestBenchDeliversEverything(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	code, out, errs := runCommand("", "bench", "--url", r.url, "--bare", "--for", "300ms", "--clients", "5", "--rooms", "3", "--records", "30", "--updates", "3000")
	if code != 0 {
		t.Fatalf("code %d: %s", code, errs)
	}
	lines := regexp.MustCompile(`(?m)^\{.*\}$`).FindAllString(out, -1)
	if len(lines) != 13 { // seven scenarios, six of them against the plain broadcast as well
		t.Errorf("%d result lines, want 13:\n%s", len(lines), out)
	}
	for _, l := range lines {
		if !strings.Contains(l, `"missing":0`) && !strings.Contains(l, `"awareness","server":"yjet"`) {
			t.Errorf("something did not arrive: %s", l)
		}
	}
}
