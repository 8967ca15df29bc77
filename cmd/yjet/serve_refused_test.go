package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yjet/internal/testlog"
)

// startRefused runs a command that is to be refused. A server that starts all the same stops at once.
func startRefused(args ...string) (code int, stdout, stderr string) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errs bytes.Buffer
	code = run(ctx, process{strings.NewReader(""), &out, &errs, nil}, args)
	return code, out.String(), errs.String()
}

// TestSettingsThatDoNotFitEndBeforeAnythingIsOpened: exit code 2, one line that names the setting, no secret in it, and no store.
func TestSettingsThatDoNotFitEndBeforeAnythingIsOpened(t *testing.T) {
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz"
	rules := writeFile(t, "rules.json", "{\n")
	for _, c := range []struct {
		args string
		says string
	}{
		{"--auth none --addr :0", "loopback"},
		{"--auth none --addr [::]:0", "loopback"},
		{"--auth none --addr 192.168.1.1:0", "loopback"},
		{"--auth none --addr example.com:0", "loopback"},
		{"--auth none --addr nonsense", "--addr"},
		{"--auth sometimes --addr 127.0.0.1:0", "none or jwt"},
		{"--auth jwt", "needs a key"},
		{"", "say how users are checked"},
		{"--jwt-secret short", "--jwt-secret has 5 bytes"},
		{"--jwt-secret your-secret-goes-here-and-it-is-long-enough", "placeholder"},
		{"--jwt-secret super-secret-jwt-token-with-at-least-32-characters-long", "published secret"},
		{"--jwt-secret " + secret + " --ticket-secret short", "--ticket-secret"},
		{"--auth-callback ftp://app.example.com/rights", "--auth-callback"},
		{"--auth none --auth-callback https://app.example.com/rights --addr 127.0.0.1:0", "never be called"},
		{"--jwks-url http://id.example.com/jwks.json", "only https"},
		{"--jwks-url not-a-url", "--jwks-url"},
		{"--auth-callback https://app.example.com/rights --jwt-issuer me", "--jwt-issuer"},
		{"--jwt-secret " + secret + " --auth-claim user_metadata.docs", "user_metadata"},
		{"--jwt-secret " + secret + " --auth-rules /does/not/exist", "--auth-rules"},
		{"--jwt-secret " + secret + " --auth-rules " + rules, "--auth-rules"},
		{"--jwt-secret " + secret + " --origins app.example.com", "--origins"},
		{"--jwt-secret " + secret + " --origins https://*.com", "top-level domain"},
		{"--jwt-secret " + secret + " --auth-on-expiry later", "keep or close"},
		{"--auth none --addr 127.0.0.1:0 --tls-cert cert.pem", "go together"},
		{"--auth none --addr 127.0.0.1:0 --tls-key key.pem", "go together"},
		{"--auth none --addr 127.0.0.1:0 --durability always", "disk or process"},
		{"--auth none --addr 127.0.0.1:0 --shards -1", "1 to 99"},
		{"--auth none --addr 127.0.0.1:0 --replicas 7", "--replicas 7"},
		{"--auth none --addr 127.0.0.1:0 --history forever", "all, none"},
		{"--auth none --addr 127.0.0.1:0 --unload-after -1s", "--unload-after"},
		{"--auth none --addr 127.0.0.1:0 --drain -1s", "--drain"},
		{"--auth none --addr 127.0.0.1:0 --drain soon", `--drain: invalid value "soon"`},
		{"--auth none --addr 127.0.0.1:0 --log-format xml", "text or json"},
		{"--auth none --addr 127.0.0.1:0 --log-level loud", "--log-level"},
		{"--auth none --addr 127.0.0.1:0 --nats-addr 0.0.0.0:4222", "loopback only"},
		{"--auth none --addr 127.0.0.1:0 --nats-addr 4222", "--nats-addr"},
		{"--auth none --addr 127.0.0.1:0 --nats nats://127.0.0.1:4222", "no use together"},
		{"--auth none --addr 127.0.0.1:0 --public-url app.example.com", "--public-url"},
		{"--auth none --addr 127.0.0.1:0 --public-url https://app.example.com/?x=1", "--public-url"},
		{"--auth none --addr 127.0.0.1:0 --public-url https://user:" + secret + "@app.example.com", "--public-url"},
		{"--auth none --addr 127.0.0.1:0 --trusted-proxies 10.0.0.0/99", "--trusted-proxies"},
		{"--auth none --addr 127.0.0.1:0 --trusted-proxies proxy.example.com", "--trusted-proxies"},
		{"--auth none --addr 127.0.0.1:0 --webhook ftp://hook.example.com/" + secret, "--webhook"},
		{"--auth none --addr 127.0.0.1:0 --load-url hook.example.com/" + secret, "--load-url"},
		{"--auth none --addr 127.0.0.1:0 --max-message lots", `--max-message: invalid value "lots"`},
		{"--auth none --addr 127.0.0.1:0 --pprof=perhaps", `--pprof: invalid boolean value "perhaps"`},
		{"--auth none --addr", "--addr needs a value"},
		{"--auth none --addr 127.0.0.1:0 --colour", "there is no flag --colour; see 'yjet serve --help'"},
		{"--auth none --addr 127.0.0.1:0 extra", `unexpected "extra"`},
	} {
		data := filepath.Join(t.TempDir(), "data")
		code, out, errs := startRefused(append([]string{"serve", "--data", data}, strings.Fields(c.args)...)...)
		if code != 2 || out != "" || !strings.Contains(errs, c.says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("serve %s: got code %d, %q and %q, want 2 and one line with %q", c.args, code, out, errs, c.says)
		}
		if strings.Contains(errs, secret) {
			t.Errorf("serve %s: the secret is in %q", c.args, errs)
		}
		if _, err := os.Stat(data); !os.IsNotExist(err) {
			t.Errorf("serve %s: a store was made", c.args)
		}
	}
}

// A directory is not the operator's to write, a file is in its place, or a port is taken: the sentence names what to change.
func TestWhatTheMachineDoesNotGiveIsTold(t *testing.T) {
	file := writeFile(t, "file", "not a directory")
	readOnly := filepath.Join(t.TempDir(), "read-only")
	if err := os.Mkdir(readOnly, 0o500); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().String()
	for _, c := range []struct {
		name string
		args []string
		says []string
		root bool // root is not refused
	}{
		{"a file where the directory should be", []string{"--data", file}, []string{"data directory", file}, true},
		{"a directory below a file", []string{"--data", filepath.Join(file, "data")}, []string{"data directory", file}, true},
		{"a directory below one that may not be written", []string{"--data", filepath.Join(readOnly, "data")}, []string{"data directory", "permission denied"}, false},
		{"a directory that may not be written", []string{"--data", readOnly}, []string{"data directory", "permission denied"}, false},
		{"a port that is taken", []string{"--data", t.TempDir(), "--addr", busy}, []string{"--addr", busy, "port 0"}, true},
		{"an admin port that is taken", []string{"--data", t.TempDir(), "--admin-addr", busy}, []string{"--admin-addr", busy, "'off'"}, true},
		{"a NATS port that is taken", []string{"--data", t.TempDir(), "--nats-addr", busy}, []string{"--nats-addr", busy, "'off'"}, true},
		{"an address of another machine", []string{"--data", t.TempDir(), "--auth", "jwt", "--jwt-secret", strings.Repeat("k7", 20), "--addr", "192.0.2.1:0"}, []string{"--addr", "192.0.2.1"}, true},
		{"a certificate that is not there", []string{"--data", t.TempDir(), "--tls-cert", "/does/not/exist", "--tls-key", "/does/not/exist"}, []string{"--tls-cert", "no such file"}, true},
		{"a cluster that is not there", []string{"--nats", "nats://me:hidden@127.0.0.1:1"}, []string{"nats://127.0.0.1:1", "is it running"}, true},
		{"credentials that are not there", []string{"--nats", "nats://127.0.0.1:1", "--nats-creds", "/does/not/exist"}, []string{"/does/not/exist"}, true},
	} {
		if !c.root && os.Getuid() == 0 {
			continue
		}
		args := append([]string{"serve", "--auth", "none", "--addr", "127.0.0.1:0", "--admin-addr", "off", "--log-level", "error"}, c.args...)
		code, out, errs := startRefused(args...)
		last := errs[strings.LastIndex(strings.TrimSuffix(errs, "\n"), "\n")+1:]
		if code != 1 || out != "" {
			t.Errorf("%s: got code %d, %q and %q, want 1", c.name, code, out, errs)
		}
		for _, want := range c.says {
			if !strings.Contains(last, want) {
				t.Errorf("%s: got %q, want %q in it", c.name, last, want)
			}
		}
		if strings.Contains(errs, "hidden") {
			t.Errorf("%s: the password is in %q", c.name, errs)
		}
	}
}

// A server that cannot start lets go of what it took: the same directory serves the next one.
func TestAFailedStartLetsGoOfTheStore(t *testing.T) {
	data := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	args := []string{"serve", "--auth", "none", "--addr", "127.0.0.1:0", "--data", data, "--admin-addr"}
	if code, _, errs := runCommand("", append(args, l.Addr().String())...); code != 1 || !strings.Contains(errs, "--admin-addr") {
		t.Fatalf("got code %d and %q", code, errs)
	}
	r := start(t, append(args, "off")...)
	if code := r.end(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// --print-config answers for every setting, and asks for nothing that a start needs.
func TestPrintConfigShowsEverySettingOnceAndNoSecret(t *testing.T) {
	const hidden = "do-not-show-me-anywhere-0123456789"
	for _, command := range []string{"dev", "serve"} {
		var args, environ []string
		s := newSettings(command)
		configFlags(s, &config{}, command == "dev")
		for name := range s.secret {
			environ = append(environ, envName(name)+"="+hidden)
		}
		for _, flag := range []string{"webhook", "load-url", "auth-callback", "jwks-url", "public-url"} {
			args = append(args, "--"+flag, "https://user:"+hidden+"@example.com/path?token="+hidden+"&x=1")
		}
		var out, errs testlog.Buffer
		code := run(t.Context(), process{strings.NewReader(""), &out, &errs, environ}, append([]string{command, "--print-config"}, args...))
		if code != 0 || errs.String() != "" {
			t.Fatalf("%s --print-config = %d: %s", command, code, errs.String())
		}
		if strings.Contains(out.String(), hidden) {
			t.Errorf("%s --print-config shows a secret:\n%s", command, out.String())
		}
		seen := map[string]int{}
		for line := range strings.Lines(out.String()) {
			name, rest, _ := strings.Cut(line, ": ")
			seen[name]++
			if !strings.Contains(rest, "# ") {
				t.Errorf("%q does not name its source", line)
			}
			if s.Lookup(name) == nil {
				t.Errorf("%q is no setting", name)
			}
		}
		for _, name := range []string{"addr", "data", "jwt-secret", "webhook-secret", "max-message", "drain", "history", "origins"} {
			if seen[name] != 1 {
				t.Errorf("%s --print-config shows %s %d times", command, name, seen[name])
			}
		}
		if seen["jwt-secret-file"] != 0 {
			t.Error("the file of a secret is listed beside the secret")
		}
	}
}
