//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"yjet/internal/natstest"
	"yjet/internal/yjs"
)

var ourCommand = regexp.MustCompile(`^(?:[A-Z_]+=\S+ )*yjet (serve|dev|check|bench|token|verify|decode|doc|version)\b(.*)$`)

// TestEveryDocumentedFlagExists reads each documented yjet command the way the program would, without carrying it out.
func TestEveryDocumentedFlagExists(t *testing.T) {
	seen := 0
	for page, commands := range documented(t) {
		for _, line := range commands {
			m := ourCommand.FindStringSubmatch(line)
			if m == nil || m[1] == "doc" {
				continue
			}
			seen++
			args := []string{m[1], "--help"}
			_, help, _ := runCommand("", args...)
			for _, word := range strings.Fields(m[2]) {
				flag, _, _ := strings.Cut(word, "=")
				if strings.HasPrefix(flag, "--") && !strings.Contains(help, "\n  "+flag+" ") && !strings.Contains(help, "\n  "+flag+"\n") &&
					!strings.Contains(help, "also "+flag+")") {
					t.Errorf("%s: %q: yjet %s has no %s", page, line, m[1], flag)
				}
			}
		}
	}
	if seen < 3 {
		t.Errorf("saw %d commands, want the README's at least", seen)
	}
}

// TestDocCommandsOfTheReadmeRun carries them out, in order, on a room as the page makes it.
func TestDocCommandsOfTheReadmeRun(t *testing.T) {
	lines := documented(t)["../../README.md"]
	r := start(t, devArgs(t.TempDir())...)
	t.Chdir(t.TempDir())
	ws, err := dialRoom(t.Context(), r.url, "my-room", "")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.close()
	if err := ws.open(); err != nil {
		t.Fatal(err)
	}
	typing := &typist{client: 9, root: "codemirror"}
	for range 3 {
		if err := ws.send(yjs.AppendSync(nil, yjs.SyncUpdate, typing.next())); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ws.readSync(); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for _, line := range lines {
		if !strings.HasPrefix(line, "yjet doc ") {
			continue
		}
		ran++
		args := append(words(line)[1:], "--url", r.url)
		if line == "yjet doc get my-room --at 10m --format text --type codemirror:text" {
			args[4] = "0s" // ten minutes ago it was not there
		}
		if code, out, errs := runCommand("", args...); code != 0 {
			t.Errorf("%s: code %d\n%s%s", line, code, out, errs)
		}
	}
	if ran < 5 {
		t.Errorf("%d commands ran, want all of the README", ran)
	}
}

// TestFirstCommandOfTheReadmeRuns runs it as written; only the port and the data directory are set from the environment.
func TestFirstCommandOfTheReadmeRuns(t *testing.T) {
	lines := documented(t)["../../README.md"]
	if len(lines) == 0 || lines[0] != "go run ./cmd/yjet dev" {
		t.Fatalf("the first command of the README is %q", lines)
	}
	cmd := exec.Command("sh", "-c", "exec "+lines[0])
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "YJET_ADDR=127.0.0.1:0", "YJET_NATS_ADDR=off", "YJET_DATA="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run does not pass signals on
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		cmd.Wait()
	})
	guard := time.AfterFunc(3*time.Minute, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer guard.Stop()
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if url, ok := strings.CutPrefix(sc.Text(), "yjet ready on "); ok {
			if code, out, errs := runCommand("", "check", "--url", url); code != 0 {
				t.Errorf("check: code %d\n%s%s", code, out, errs)
			}
			return
		}
	}
	t.Error("no ready line")
}

// TestReadmePutsYjetOnThePath carries out its commands from "go install" on, with a GOPATH of its own.
func TestReadmePutsYjetOnThePath(t *testing.T) {
	lines := documented(t)["../../README.md"]
	first, last := slices.Index(lines, "go install ./cmd/yjet"), slices.Index(lines, "yjet version")
	if first < 0 || last < first {
		t.Fatalf("the README does not install yjet and then ask for its version: %q", lines)
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GOBIN=") || strings.HasPrefix(kv, "GOPATH=") })
	for _, name := range []string{"GOMODCACHE", "GOCACHE"} { // go itself finds them beside GOPATH
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	gopath := t.TempDir()
	cmd := exec.Command("sh", "-e", "-c", strings.Join(lines[first:last+1], "\n")+"\ncommand -v yjet")
	cmd.Dir, cmd.Env = "../..", append(env, "GOBIN=", "GOPATH="+gopath)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nats-server") {
		t.Fatalf("%q: %v\n%s", lines[first:last+1], err, out)
	}
	if _, err := os.Stat(filepath.Join(gopath, "bin", "yjet")); err != nil {
		t.Error(err)
	}
}

// TestServeCommandsOfTheReadmeStart runs each as it stands, with a data directory, ports and a NATS server of the test's own.
func TestServeCommandsOfTheReadmeStart(t *testing.T) {
	assignment := regexp.MustCompile(`^[A-Z_]+=\S*$`)
	ran := 0
	for _, line := range documented(t)["../../README.md"] {
		if m := ourCommand.FindStringSubmatch(line); m == nil || m[1] != "serve" {
			continue
		}
		ran++
		t.Run(line, func(t *testing.T) {
			var environ, args []string
			for _, word := range words(line) {
				switch {
				case len(args) == 0 && assignment.MatchString(word):
					environ = append(environ, word)
				case word == "/var/lib/yjet":
					args = append(args, t.TempDir())
				case strings.HasPrefix(word, "nats://"):
					args = append(args, "nats://"+natstest.Start(t, natstest.Listen(t)).Addr())
				default:
					args = append(args, word)
				}
			}
			args = append(args[1:], "--addr", "127.0.0.1:0", "--admin-addr", "off")
			r := startIn(t, environ, args...)
			if status, body := get(t, r.url+"/healthz"); status != 200 {
				t.Errorf("/healthz: %d %s", status, body)
			}
		})
	}
	if ran < 2 {
		t.Errorf("%d serve commands ran, want those of the README", ran)
	}
}
