package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// helps maps the words that ask for a help text to it.
func helps(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	for _, c := range docCommands() {
		names = append(names, "doc "+c.name)
	}
	for _, name := range names {
		code, out, errs := runCommand("", append(strings.Fields(name), "--help")...)
		if code != 0 || errs != "" {
			t.Errorf("yjet %s --help: code %d, %q", name, code, errs)
		}
		all[name] = out
	}
	return all
}

func TestEveryHelpHasUsageExamplesAndItsOwnFlags(t *testing.T) {
	texts := helps(t)
	for name, text := range texts {
		if !strings.Contains(text, "Usage: yjet "+name) {
			t.Errorf("the help of %s does not begin with its usage:\n%s", name, text)
		}
		if name != "version" && !strings.Contains(text, "Examples:\n  ") {
			t.Errorf("the help of %s has no example", name)
		}
		for _, line := range regexp.MustCompile(`(?m)^        .*`).FindAllString(text, -1) {
			if strings.TrimSpace(line) == "" {
				t.Errorf("the help of %s has a flag without a word about it", name)
			}
		}
	}
	if strings.Contains(texts["doc ls"], "--merge") || !strings.Contains(texts["doc import"], "--merge") {
		t.Error("--merge is for import alone")
	}
}

// TestEveryExampleIsAccepted holds each example to the flags of its command.
func TestEveryExampleIsAccepted(t *testing.T) {
	texts := helps(t)
	example := regexp.MustCompile(`(?m)^  (?:[A-Z_]+=\S+ )*yjet ((?:doc )?[a-z]+)(.*)$`)
	seen := 0
	for name, text := range texts {
		for _, m := range example.FindAllStringSubmatch(text, -1) {
			seen++
			help, ok := texts[m[1]]
			if !ok {
				t.Errorf("the help of %s names yjet %s, which there is not", name, m[1])
				continue
			}
			for _, word := range strings.Fields(m[2]) {
				flag, _, _ := strings.Cut(word, "=")
				if strings.HasPrefix(flag, "--") && !regexp.MustCompile(`(?m)^  `+flag+`( |$)|also `+flag+`\)`).MatchString(help) {
					t.Errorf("the help of %s: %q: yjet %s has no %s", name, m[0], m[1], flag)
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("saw %d examples, want those of all commands", seen)
	}
}

func TestExitCodesTellFailureFromMisuse(t *testing.T) {
	nowhere := "http://127.0.0.1:1"
	for _, c := range []struct {
		args []string
		code int
		says string // on stderr
	}{
		{[]string{"help"}, 0, ""},
		{[]string{"--version"}, 0, ""},
		{[]string{"version"}, 0, ""},
		{[]string{"version", "now"}, 2, `unexpected "now"`},
		{[]string{"check", "--url", nowhere}, 1, "health"},
		{[]string{"doc", "ls", "--url", nowhere}, 1, "is the server running?"},
		{[]string{"doc", "ls", "--url", "127.0.0.1:1999"}, 2, "want an address"},
		{[]string{"doc", "ls", "--merge"}, 2, "doc --help"},
		{[]string{"doc", "rm", "a", "b", "--yes"}, 2, `unexpected "b"`},
		{[]string{"doc", "copy", "a"}, 2, "want DOC TO"},
		{[]string{"doc", "restore", "a", "--url", nowhere}, 2, "name the moment"},
		{[]string{"doc", "versions", "a", "--add", "x", "--remove", "y"}, 2, "not both"},
		{[]string{"doc", "import", "a", "/does/not/exist"}, 1, "no such file"},
		{[]string{"bench", "--clients", "0"}, 2, "above zero"},
		{[]string{"bench", "swim"}, 2, `no scenario "swim"`},
		{[]string{"bench", "keystroke", "--url", nowhere, "--for", "1ms"}, 1, "keystroke"},
		{[]string{"token", "--user", "ann"}, 2, "no key"},
		{[]string{"token"}, 2, "name the user"},
		{[]string{"token", "--user", "ann", "--access", "rwx"}, 2, "want r, rw or rwd"},
		{[]string{"token", "--user", "ann", "--ttl", "0s"}, 2, "above zero"},
		{[]string{"token", "--admin", "--doc", "a"}, 2, "--admin is for all documents"},
		{[]string{"verify", "all"}, 2, `unexpected "all"`},
		{[]string{"verify", "--data", "/does/not/exist"}, 1, "holds no store"},
		{[]string{"verify", "--nats", "nats://127.0.0.1:1"}, 1, "is it running"},
		{[]string{"decode", "--as", "poem"}, 2, "poem"},
		{[]string{"serve", "now"}, 2, `unexpected "now"`},
		{[]string{"dev", "--trusted-proxies", "10.0.0.0/99", "--addr", "127.0.0.1:0", "--nats-addr", "off", "--data", t.TempDir()}, 2, "--trusted-proxies"},
		{[]string{"dev", "--log-level", "loud", "--addr", "127.0.0.1:0"}, 2, "--log-level"},
		{[]string{"dev", "--tls-cert", "x"}, 2, "go together"},
		{[]string{"dev", "--shards", "100"}, 2, "1 to 99"},
		{[]string{"dev", "--auth-on-expiry", "shrug"}, 2, "keep or close"},
		{[]string{"dev", "--addr", "nonsense"}, 2, "--addr"},
	} {
		code, _, errs := runCommand("", c.args...)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("yjet %q: got code %d and %q, want %d and something with %q", c.args, code, errs, c.code, c.says)
		}
		if doubled := "yjet " + c.args[0] + ": " + c.args[0] + ":"; strings.HasPrefix(errs, doubled) {
			t.Errorf("yjet %q: the command is named twice: %q", c.args, errs)
		}
		if code != 0 && strings.Count(strings.TrimSpace(errs), "\n") > 0 && !slices.Contains([]string{"bench"}, c.args[0]) {
			t.Errorf("yjet %q: an error is one line, got %q", c.args, errs)
		}
	}
}
