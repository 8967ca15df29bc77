package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loadConfig reads settings as `yjet serve` does.
func loadConfig(t *testing.T, args []string, environ ...string) (config, string, error) {
	t.Helper()
	var c config
	var out bytes.Buffer
	s := newSettings("serve")
	configFlags(s, &c, false)
	err := s.load(args, environ, &out, serveUsage)
	return c, out.String(), err
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	file := writeFile(t, "yjet.conf", "# a comment\nhistory: 1d\ndurability: process\ndata: \"/from file\"\n")
	c, _, err := loadConfig(t, []string{"--config", file, "--history", "3d"}, "YJET_HISTORY=2d", "YJET_DURABILITY=disk")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ what, got, want string }{
		{"history, by flag", c.history, "3d"},
		{"durability, by environment", c.durability, "disk"},
		{"data, by file", c.data, "/from file"},
		{"addr, by default", c.addr, ":1999"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.what, tc.got, tc.want)
		}
	}
}

func TestNamesOfOtherProductsAreRead(t *testing.T) {
	c, _, err := loadConfig(t, nil, "SUPABASE_URL=https://abc.supabase.co", "CORS_ORIGINS=https://a.example", "SUPABASE_JWT_SECRET=s")
	if err != nil {
		t.Fatal(err)
	}
	if c.auth.supabaseURL != "https://abc.supabase.co" || c.origins != "https://a.example" || c.auth.supabaseSecret != "s" {
		t.Errorf("got %q, %q, %q", c.auth.supabaseURL, c.origins, c.auth.supabaseSecret)
	}
	if c, _, _ = loadConfig(t, nil, "CORS_ORIGINS=https://a.example", "YJET_ORIGINS=https://b.example"); c.origins != "https://b.example" {
		t.Errorf("our own name must win, got %q", c.origins)
	}
}

func TestSecretComesFromAFileOfItsOwn(t *testing.T) {
	secret := writeFile(t, "secret", "hunter2hunter2\n")
	for _, tc := range []struct {
		what    string
		args    []string
		environ []string
		want    string
	}{
		{"flag", []string{"--jwt-secret-file", secret}, nil, "hunter2hunter2"},
		{"environment", nil, []string{"YJET_JWT_SECRET_FILE=" + secret}, "hunter2hunter2"},
		{"flag wins over the file in the environment", []string{"--jwt-secret", "x"}, []string{"YJET_JWT_SECRET_FILE=" + secret}, "x"},
	} {
		c, _, err := loadConfig(t, tc.args, tc.environ...)
		if err != nil || c.auth.jwtSecret != tc.want {
			t.Errorf("%s: got %q, %v, want %q", tc.what, c.auth.jwtSecret, err, tc.want)
		}
	}
}

func TestEnvFileGivesWayToTheEnvironment(t *testing.T) {
	file := writeFile(t, ".env", "export SUPABASE_URL='https://file.supabase.co'\nCORS_ORIGINS=https://file.example\n")
	c, _, err := loadConfig(t, []string{"--env-file", file}, "CORS_ORIGINS=https://env.example")
	if err != nil {
		t.Fatal(err)
	}
	if c.auth.supabaseURL != "https://file.supabase.co" || c.origins != "https://env.example" {
		t.Errorf("got %q and %q", c.auth.supabaseURL, c.origins)
	}
}

func TestValuesInFilesMayBeQuotedAndCommented(t *testing.T) {
	for line, want := range map[string]string{
		"90d": "90d", " 90d ": "90d", " 90d # as legal says": "90d", " 90d\t# so": "90d", ` "90d" # so`: "90d", " '90d'": "90d", " # nothing": "", "": "",
		"a#b": "a#b", "#ab": "#ab", ` "a # b"`: "a # b", ` "a`: `"a`, ` "a" b`: `"a" b`, ` 'it"s'`: `it"s`, `""`: "",
	} {
		if got := value(line); got != want {
			t.Errorf("value of %q = %q, want %q", line, got, want)
		}
	}
	// What --print-config prints is a file for --config.
	_, out, err := loadConfig(t, []string{"--print-config", "--history", "9d", "--origins", "https://a.example"})
	if err != errPrinted {
		t.Fatal(err)
	}
	c, _, err := loadConfig(t, []string{"--config", writeFile(t, "printed.conf", out)})
	if err != nil || c.history != "9d" || c.origins != "https://a.example" || c.addr != ":1999" || c.auth.mode != "" {
		t.Errorf("printed and read again: %v, %+v", err, c)
	}
}

func TestTokenAndVerifyTakeTheFileOfTheServer(t *testing.T) {
	file := writeFile(t, "yjet.conf", "addr: :1999\ndata: "+t.TempDir()+"\nhistory: 90d\njwt-secret: 0123456789abcdef0123456789abcdef0123\n")
	if code, out, errs := runCommand("", "token", "--config", file, "--user", "ann"); code != 0 || strings.Count(out, ".") != 2 {
		t.Errorf("token: got code %d, %q, %q", code, out, errs)
	}
	if code, _, errs := runCommand("", "verify", "--config", file); code != 1 || !strings.Contains(errs, "holds no store") {
		t.Errorf("verify: got code %d and %q, want to hear that there is no store", code, errs)
	}
	if code, _, errs := runCommand("", "token", "--config", writeFile(t, "bad.conf", "adr: :1999\n"), "--user", "ann"); code != 2 || !strings.Contains(errs, "adr") {
		t.Errorf("a setting of nobody: got code %d and %q", code, errs)
	}
}

func TestPrintConfigMasksSecretsAndTellsSources(t *testing.T) {
	_, out, err := loadConfig(t, []string{"--print-config", "--history", "9d"}, "YJET_JWT_SECRET=do-not-show-me")
	if !errors.Is(err, errPrinted) {
		t.Fatalf("got %v, want errPrinted", err)
	}
	if strings.Contains(out, "do-not-show-me") {
		t.Error("a secret is shown")
	}
	for _, want := range []string{"history: 9d  # flag", "jwt-secret: ***  # YJET_JWT_SECRET", "durability: disk  # default"} {
		if !strings.Contains(out, want) {
			t.Errorf("no line %q in:\n%s", want, out)
		}
	}
}

func TestPrintConfigMasksCredentialsInURLs(t *testing.T) {
	for url, want := range map[string]string{
		"https://hook.example/a?b=c":                           "https://hook.example/a?b=c",
		"https://user:pass@hook.example/a":                     "https://***@hook.example/a",
		"https://token@hook.example":                           "https://***@hook.example",
		"https://hook.example/a?api_key=abc&x=1#f":             "https://hook.example/a?api_key=***&x=1#f",
		"https://hook.example/a?x=1&Access-Token=abc":          "https://hook.example/a?x=1&Access-Token=***",
		"nats://u:p@n1:4222,nats://n2:4222,nats://u:p@n3:4222": "nats://***@n1:4222,nats://n2:4222,nats://***@n3:4222",
		"/a/path@home?token=x":                                 "/a/path@home?token=x",
	} {
		if got := maskURLs(url); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
	_, out, err := loadConfig(t, []string{"--print-config", "--webhook", "https://me:s3cret@hook.example"})
	if !errors.Is(err, errPrinted) || strings.Contains(out, "s3cret") {
		t.Errorf("got %v and\n%s", err, out)
	}
}

func TestMistakesEndWithCode2AndSayWhatToDo(t *testing.T) {
	badKey := writeFile(t, "bad.conf", "adr: :1999\n")
	for _, tc := range []struct {
		args []string
		says string
	}{
		{nil, "yjet dev"},
		{[]string{"sreve"}, "no command"},
		{[]string{"serve"}, "--data"},
		{[]string{"serve", "--data", t.TempDir()}, "say how users are checked"},
		{[]string{"serve", "--data", t.TempDir(), "--auth", "jwt"}, "needs a key"},
		{[]string{"serve", "--data", t.TempDir(), "--auth", "none"}, "loopback"},
		{[]string{"serve", "--data", t.TempDir(), "--auth", "none", "--addr", "0.0.0.0:0"}, "loopback"},
		{[]string{"serve", "--nats", "nats://127.0.0.1:1", "--data", "x", "--auth", "none", "--addr", "127.0.0.1:0"}, "no use together"},
		{[]string{"dev", "--durability", "maybe"}, "want disk or process"},
		{[]string{"dev", "--history", "90x"}, "want all, none, or a duration"},
		{[]string{"dev", "--history", "-5d"}, "want all, none, or a duration"},
		{[]string{"dev", "--history", "NaNd"}, "want all, none, or a duration"},
		{[]string{"dev", "--compact-after", "-1s"}, "want a duration"},
		{[]string{"dev", "--nats-addr", "0.0.0.0:4222", "--addr", "127.0.0.1:0", "--data", t.TempDir()}, "loopback only"},
		{[]string{"dev", "--colour"}, "--help"},
		{[]string{"serve", "--config", badKey}, "no setting is called \"adr\""},
	} {
		var out, errs bytes.Buffer
		code := run(context.Background(), process{strings.NewReader(""), &out, &errs, nil}, tc.args)
		if code != 2 || !strings.Contains(errs.String(), tc.says) {
			t.Errorf("yjet %q: got code %d and %q, want 2 and something with %q", tc.args, code, errs.String(), tc.says)
		}
	}
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	for _, c := range commands() {
		var out, errs bytes.Buffer
		code := run(context.Background(), process{strings.NewReader(""), &out, &errs, nil}, []string{c.name, "--help"})
		if code != 0 || !strings.Contains(out.String(), "Usage: yjet "+c.name) {
			t.Errorf("yjet %s --help: code %d, %q %q", c.name, code, out.String(), errs.String())
		}
		if code, help, _ := runCommand("", "help", c.name); code != 0 || help != out.String() {
			t.Errorf("yjet help %s: code %d, %q", c.name, code, help)
		}
		if c.name != "version" && !strings.Contains(out.String(), "Examples:") {
			t.Errorf("yjet %s --help shows no example", c.name)
		}
	}
}
