package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestCallbackAloneMeansThatTokensAreChecked(t *testing.T) {
	for _, c := range []struct {
		args []string
		dev  bool
		mode string // "": refused
	}{
		{[]string{"--auth-callback", "https://app.example/x"}, true, "jwt"},
		{[]string{"--auth-callback", "https://app.example/x"}, false, "jwt"},
		{[]string{"--auth-callback", "https://app.example/x", "--auth", "none", "--addr", "127.0.0.1:0"}, true, ""},
		{[]string{"--auth-callback", "https://app.example/x", "--auth", "none", "--addr", "127.0.0.1:0"}, false, ""},
		{nil, true, "none"},
		{[]string{"--jwt-secret", strings.Repeat("s3", 20)}, true, "none"},
		{[]string{"--jwt-secret", strings.Repeat("s3", 20)}, false, "jwt"},
	} {
		var got config
		s := newSettings("serve")
		configFlags(s, &got, c.dev)
		if err := s.load(append(c.args, "--data", "x"), nil, nil, ""); err != nil {
			t.Fatal(err)
		}
		err := got.check(c.dev)
		if (err == nil) != (c.mode != "") || err == nil && got.auth.mode != c.mode || err != nil && !strings.Contains(err.Error(), "--auth-callback") {
			t.Errorf("%v, dev %v: got %q %v, want %q", c.args, c.dev, got.auth.mode, err, c.mode)
		}
	}
}

func TestLargeCookiesAreNoReasonToRefuse(t *testing.T) {
	r := start(t, "serve", "--admin-addr", "", "--data", filepath.Join(t.TempDir(), "data"), "--auth", "none", "--addr", "127.0.0.1:0")
	req, _ := http.NewRequest("GET", r.url+"/api/docs", nil)
	req.Header.Set("Cookie", "session="+strings.Repeat("c", 32<<10))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("32 KiB of cookies: got %d, want 200", resp.StatusCode)
	}
}

func TestExplainTellsWhichCheckFailedAndWhatToDo(t *testing.T) {
	secret := "0123456789abcdef0123456789abcdef0123"
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"keys":[]}`)) }))
	defer keys.Close()
	mint := func(args ...string) string {
		code, out, errs := runCommand("", append([]string{"token", "--jwt-secret", secret}, args...)...)
		if code != 0 {
			t.Fatalf("%v: %s", args, errs)
		}
		return strings.TrimSpace(out)
	}
	file := writeFile(t, "yjet.conf", "addr: :1999\njwt-secret: "+secret+"\njwt-audience: collab\n")
	good := mint("--user", "ann", "--jwt-audience", "collab")
	for _, c := range []struct {
		name  string
		token string
		args  []string
		code  int
		says  []string
	}{
		{"good", good, []string{"--config", file}, 0, []string{"ok      signature", "accepted: user ann"}},
		{"audience", mint("--user", "ann", "--jwt-audience", "other"), []string{"--config", file}, 1, []string{"FAILED  aud", `"other"`, `"collab"`, "refused: aud", "--jwt-audience"}},
		{"secret", good, []string{"--jwt-secret", strings.Repeat("k7", 20), "--jwt-audience", "collab"}, 1, []string{"FAILED  signature", "--jwt-secret"}},
		{"algorithm", good, []string{"--jwks-url", keys.URL}, 1, []string{"FAILED  alg", "HS256"}},
		{"form", "not-a-token", []string{"--config", file}, 1, []string{"FAILED  form"}},
		{"ticket", mint("--doc", "notes/a", "--access", "rwd"), []string{"--config", file}, 0, []string{"ticket", "notes/a", "rwd"}},
	} {
		code, out, errs := runCommand("", append([]string{"token", "--explain", c.token}, c.args...)...)
		if code != c.code {
			t.Errorf("%s: got code %d, want %d\n%s%s", c.name, code, c.code, out, errs)
		}
		for _, want := range c.says {
			if !strings.Contains(out, want) {
				t.Errorf("%s: want %q in\n%s%s", c.name, want, out, errs)
			}
		}
		for _, part := range strings.Split(c.token, ".") {
			if len(part) > 15 && strings.Contains(out+errs, part) {
				t.Errorf("%s: a part of the token is printed", c.name)
			}
		}
	}
	if code, out, _ := runCommand(good+"\n", "token", "--explain", "-", "--config", file); code != 0 || !strings.Contains(out, "accepted") {
		t.Errorf("from standard input: got code %d\n%s", code, out)
	}
}
