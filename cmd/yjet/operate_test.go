package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// jsonLines decodes a JSON object a line.
func jsonLines(t *testing.T, out string) (list []map[string]any) {
	t.Helper()
	for line := range strings.Lines(out) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, object)
	}
	return list
}

// TestVerifyCountsEachDocumentOnlineAndOffline: the same counts while the server runs, through its NATS, and from the files when it is stopped.
func TestVerifyCountsEachDocumentOnlineAndOffline(t *testing.T) {
	data := t.TempDir()
	r := start(t, "dev", "--addr", "127.0.0.1:0", "--nats-addr", "127.0.0.1:0", "--data", data, "--log-format", "text")
	for _, name := range []string{"notes/a", "notes/b", "other"} {
		importDoc(t, r.url, name, 2)
	}
	listening := r.nats(t)
	for _, place := range []struct {
		name string
		args []string
	}{{"online", []string{"--nats", listening}}, {"offline", []string{"--data", data}}} {
		if place.name == "offline" {
			r.end(t)
		}
		verify := func(args ...string) []map[string]any {
			t.Helper()
			code, out, errs := called(t, "", append(append([]string{"verify", "--json"}, place.args...), args...)...)
			if code != 0 || errs != "" && place.name == "offline" {
				t.Fatalf("%s: verify %v = %d: %s%s", place.name, args, code, out, errs)
			}
			return jsonLines(t, out)
		}
		last := func(list []map[string]any) map[string]any { return list[len(list)-1]["counts"].(map[string]any) }
		if list := verify(); len(list) != 1 || list[0]["ok"] != true || list[0]["seconds"] == nil || last(list)["documents"] != 3.0 || last(list)["records"] != 6.0 {
			t.Errorf("%s: got %v, want one line of counts: 3 documents, 6 records", place.name, list)
		}
		if list := verify("--prefix", "notes/"); last(list)["documents"] != 2.0 {
			t.Errorf("%s: --prefix notes/ counts %v, want 2 documents", place.name, last(list))
		}
		list := verify("--all", "--prefix", "notes/a")
		if len(list) != 2 || list[0]["document"] != "notes/a" || list[0]["ok"] != true || list[0]["counts"].(map[string]any)["records"] != 2.0 {
			t.Errorf("%s: --all answers %v, want a line for the document and one of counts", place.name, list)
		}
		code, out, _ := called(t, "", append([]string{"verify", "--all"}, place.args...)...)
		if code != 0 || strings.Count(out, "\nok    ")+strings.Count(out[:6], "ok    ") != 3 || !strings.Contains(out, "ok: replay from zero") {
			t.Errorf("%s: --all = %d\n%s", place.name, code, out)
		}
	}
	if code, _, errs := called(t, "", "verify", "--repair", "--nats", listening); code != 2 || !strings.Contains(errs, "--data") {
		t.Errorf("--repair with --nats: %d, %s", code, errs)
	}
}

// nats is the address that the embedded server listens on, as dev prints it.
func (r *running) nats(t *testing.T) string {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		m := regexp.MustCompile(`NATS +(nats://\S+)`).FindStringSubmatch(r.printed)
		r.mu.Unlock()
		if m != nil {
			return m[1]
		}
	}
	t.Fatal("dev does not print the address of NATS")
	return ""
}

func TestCommandsForStoppedServersTakeNoGuesses(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"erase", "--data", empty}, 1, empty + " holds no store"},
		{[]string{"erase", "--data", filepath.Join(empty, "missing")}, 1, "holds no store"},
		{[]string{"erase", "now"}, 2, `unexpected "now"`},
		{[]string{"erase", "--data", empty, "--log-level", "loud"}, 1, "holds no store"},
		{[]string{"erase", "--nats", "nats://127.0.0.1:4222"}, 2, "no flag --nats"},
		{[]string{"verify", "--data", empty}, 1, "or a running server's NATS with --nats"},
		{[]string{"verify", "--data", empty, "--log-level", "loud"}, 2, "--log-level"},
		{[]string{"verify", "--data"}, 2, "--data needs a value"},
	} {
		code, out, errs := called(t, "", c.args...)
		if code != c.code || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%v: got code %d, %q and %q, want %d and %q", c.args, code, out, errs, c.code, c.says)
		}
	}
	if left, _ := os.ReadDir(empty); len(left) != 0 {
		t.Errorf("the directory holds %v, want it as empty as before", left)
	}
}

func TestBenchCleansUpAfterItselfAndSaysSo(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "bench-earlier", 1)
	importDoc(t, r.url, "kept", 1)
	code, out, errs := runCommand("", "bench", "--url", r.url, "--for", "50ms", "--clients", "2", "connect")
	if code != 0 || !strings.Contains(errs, "are kept") {
		t.Errorf("without --clean: %d, %s", code, errs)
	}
	line, table, _ := strings.Cut(out, "\n")
	var result map[string]any
	if err := json.Unmarshal([]byte(line), &result); err != nil || result["scenario"] != "connect" || result["server"] != "yjet" || result["clients"] != 2.0 {
		t.Errorf("the first line is %q, %v", line, err)
	}
	for _, key := range []string{"per_second", "p50_ms", "p95_ms", "p99_ms", "max_ms", "missing"} {
		if _, ok := result[key]; !ok {
			t.Errorf("the result has no %s: %s", key, line)
		}
	}
	if !strings.Contains(table, "scenario") || !strings.Contains(table, "connect") {
		t.Errorf("the table is %s", table)
	}
	code, _, errs = runCommand("", "bench", "--url", r.url, "--for", "50ms", "--clients", "1", "--clean", "connect")
	if code != 0 || !regexp.MustCompile(`\d documents deleted`).MatchString(errs) || strings.Contains(errs, "are kept") {
		t.Errorf("with --clean: %d, %s", code, errs)
	}
	if _, list, _ := called(t, "", "doc", "ls", "--url", r.url); strings.Contains(list, "bench-") || !strings.Contains(list, "kept") {
		t.Errorf("left after --clean:\n%s", list)
	}
}

// TestCheckNamesTheStepThatFails: an operator learns from the one line how far a client comes.
func TestCheckNamesTheStepThatFails(t *testing.T) {
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(`{"status":"full"}`))
	}))
	defer sick.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>")) }))
	defer page.Close()
	noSockets := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"status":"ok"}`)) }))
	defer noSockets.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	for _, c := range []struct {
		name, url, step, says string
		timeout               string
	}{
		{"a sick server", sick.URL, "health", `503, "full"`, "1m"}, {"another server", page.URL, "health", "", "1m"},
		{"a proxy that passes no sockets", noSockets.URL, "connect", "200 OK", "1m"}, {"nobody", "http://127.0.0.1:1", "health", "refused", "1m"},
		{"a server that hangs", silent.URL, "health", "deadline", "200ms"},
	} {
		code, out, errs := runCommand("", "check", "--url", c.url, "--timeout", c.timeout)
		if code != 1 || !strings.Contains(out, "FAIL  "+c.step) || !strings.Contains(errs, "yjet check: "+c.step) || !strings.Contains(errs, c.says) {
			t.Errorf("%s: got code %d, %q and %q, want the step %s and %q", c.name, code, out, errs, c.step, c.says)
		}
	}
	r := start(t, devArgs(t.TempDir())...)
	if code, out, errs := runCommand("", "check", "--url", r.url+"/"); code != 0 || errs != "" || strings.Count(out, "\n") != 5 {
		t.Errorf("a slash at the end of the URL: %d, %s%s", code, out, errs)
	}
	if _, list, _ := called(t, "", "doc", "ls", "--url", r.url); list != "" {
		t.Errorf("check left\n%s", list)
	}
}

// TestATokenSaysWhatItWasAskedToSay: one line on stdout, with the claims that the flags name.
func TestATokenSaysWhatItWasAskedToSay(t *testing.T) {
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz"
	file := writeFile(t, "secret", secret+"\n")
	for _, c := range []struct {
		args     []string
		claims   map[string]any
		life     time.Duration
		accepted bool // where an issuer and an audience are asked for
	}{
		{[]string{"--user", "ann"}, map[string]any{"sub": "ann"}, time.Hour, false},
		{[]string{"--user", "ann", "--ttl", "5m", "--jwt-issuer", "me", "--jwt-audience", "collab"}, map[string]any{"sub": "ann", "iss": "me", "aud": "collab"}, 5 * time.Minute, true},
		{[]string{"--user", "bob", "--doc", "notes/todo", "--access", "r", "--ttl", "30s"}, map[string]any{"sub": "bob"}, 30 * time.Second, true},
		{[]string{"--admin", "--ttl", "720h"}, nil, 720 * time.Hour, true},
	} {
		code, out, errs := runCommand("", append([]string{"token", "--jwt-secret-file", file}, c.args...)...)
		parts := strings.Split(strings.TrimSuffix(out, "\n"), ".")
		if code != 0 || errs != "" || len(parts) != 3 || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: got code %d, %q, %q", c.args, code, out, errs)
			continue
		}
		body, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(body, &claims); err != nil {
			t.Fatal(err)
		}
		for k, v := range c.claims {
			if claims[k] != v {
				t.Errorf("%v: %s is %v, want %v", c.args, k, claims[k], v)
			}
		}
		if left := time.Until(time.Unix(int64(claims["exp"].(float64)), 0)); left > c.life+time.Minute || left < c.life-time.Minute {
			t.Errorf("%v: valid for %v, want %v", c.args, left, c.life)
		}
		code, out, errs = runCommand("Bearer "+out, "token", "--jwt-secret-file", file, "--jwt-issuer", "me", "--jwt-audience", "collab", "--explain", "-")
		if (code == 0) != c.accepted {
			t.Errorf("%v: explained with code %d, want it accepted: %v\n%s%s", c.args, code, c.accepted, out, errs)
		}
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--user", "ann", "--doc", "a/../b"}, "--doc"}, {[]string{"--user", "ann", "--jwt-secret", "short"}, "--jwt-secret has 5 bytes"},
		{[]string{"--user", "ann", "--access", ""}, "--access"}, {[]string{"--user", "ann", "--ttl", "-1h"}, "--ttl"}, {[]string{"--user"}, "--user needs a value"},
	} {
		code, out, errs := runCommand("", append([]string{"token", "--jwt-secret-file", file}, c.args...)...)
		if code != 2 || out != "" || !strings.Contains(errs, c.says) || strings.Contains(errs, secret) {
			t.Errorf("%v: got code %d, %q and %q, want 2 and %q", c.args, code, out, errs, c.says)
		}
	}
}

func TestVersionNamesWhatABugReportNeeds(t *testing.T) {
	code, out, errs := runCommand("", "version")
	if code != 0 || errs != "" || !regexp.MustCompile(`^yjet \S+ commit \S+ go1\.\S+ nats-server \d+\.\d+\.\d+\S*\n$`).MatchString(out) {
		t.Errorf("got code %d, %q, %q", code, out, errs)
	}
	for _, same := range [][]string{{"--version"}, {"-v"}} {
		if _, again, _ := runCommand("", same...); again != out {
			t.Errorf("yjet %v prints %q, yjet version %q", same, again, out)
		}
	}
}

// TestDevPrintsWhatToPasteNext: each provider's line has the address that it is reached at.
func TestDevPrintsWhatToPasteNext(t *testing.T) {
	r := start(t, "dev", "--addr", "127.0.0.1:0", "--nats-addr", "127.0.0.1:0", "--data", t.TempDir())
	nats := r.nats(t)
	host := strings.TrimPrefix(r.url, "http://")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		out := r.printed
		r.mu.Unlock()
		missing := ""
		for _, want := range []string{r.url + "/\n", r.url + "/inspect\n", nats, `new WebsocketProvider("ws://` + host + `"`, `new YPartyKitProvider("` + host + `"`,
			`new YProvider("` + host + `"`, `new HocuspocusProvider({ url: "ws://` + host + `"`} {
			if !strings.Contains(out, want) {
				missing = want
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %q in\n%s", missing, out)
		}
	}
}
