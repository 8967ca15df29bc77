//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/testlog"
	"yjet/internal/yjs"
)

// asProgram in the environment makes the test binary the program.
const asProgram = "YJET_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// child is the program in a process of its own, until its ready line.
type child struct {
	*exec.Cmd
	url  string
	logs testlog.Buffer
	out  chan string // the rest of stdout, when the process has ended
}

func startChild(t *testing.T, environ []string, args ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: exec.Command(exe, args...), out: make(chan string, 1)}
	c.Env = append(append(os.Environ(), asProgram+"=1"), environ...)
	c.Stderr = &c.logs
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	r := bufio.NewReader(stdout)
	line, err := r.ReadString('\n')
	var ok bool
	if c.url, ok = strings.CutPrefix(strings.TrimSpace(line), "yjet ready on "); !ok {
		t.Fatalf("no ready line but %q, %v: %s", line, err, c.logs.String())
	}
	go func() { b, _ := io.ReadAll(r); c.out <- string(b) }()
	return c
}

// ended waits for the end of the process and returns its exit code, -1 for a signal.
func (c *child) ended(t *testing.T) int {
	t.Helper()
	stuck := time.AfterFunc(time.Minute, func() { c.Process.Signal(syscall.SIGQUIT) })
	defer stuck.Stop()
	<-c.out
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode()
}

// TestTermSavesWhatIsUnderWayAndEndsWithZero: edits that were sent before the signal are stored or refused, the clients hear 1012, which makes
// them come back, and the exit code is 0. The next start has every edit whose echo came.
func TestTermSavesWhatIsUnderWayAndEndsWithZero(t *testing.T) {
	data := t.TempDir()
	p := startChild(t, nil, devArgs(data)...)
	c := &checker{base: p.url, room: "edited", typist: newTypist()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.connect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.echo(ctx); err != nil {
		t.Fatal(err)
	}
	const sent = 200
	for range sent {
		if err := c.first.send(yjs.AppendSync(nil, yjs.SyncUpdate, c.typist.next())); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	stored := uint64(1)
	var closed error
	for closed == nil {
		var step byte
		var payload []byte
		if step, payload, closed = c.first.readSync(); closed == nil && step == yjs.SyncUpdate {
			v, err := yjs.VectorOf(payload)
			if err != nil {
				t.Fatal(err)
			}
			stored = max(stored, v[c.typist.client])
		}
	}
	if !websocket.IsCloseError(closed, 1012) {
		t.Errorf("the client hears %v, want close code 1012", closed)
	}
	if code := p.ended(t); code != 0 {
		t.Errorf("exit code %d, want 0: %s", code, p.logs.String())
	}
	if log := p.logs.String(); !strings.Contains(log, "draining") || strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the log says %s", log)
	}
	again := start(t, devArgs(data)...)
	ws, err := dialRoom(ctx, again.url, "edited", "")
	if err != nil {
		t.Fatal(err)
	}
	state, err := ws.sync()
	ws.close()
	if err != nil {
		t.Fatal(err)
	}
	v, err := yjs.VectorOf(state)
	if err != nil || v[c.typist.client] < stored {
		t.Errorf("the next start has %d edits, %v; want the %d that were echoed", v[c.typist.client], err, stored)
	}
}

// TestASecondSignalEndsAtOnce: an operator who presses the keys again does not wait for the drain.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	p := startChild(t, nil, append(devArgs(t.TempDir()), "--drain", "10m")...)
	var open []*wsClient
	for range 3 { // the drain closes them one after the other
		ws, err := dialRoom(t.Context(), p.url, "open", "")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, ws)
		if _, err := ws.sync(); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, ws := range open {
			ws.close()
		}
	}()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(p.logs.String(), "a second signal ends at once"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no word of the drain: %s", p.logs.String())
		}
	}
	over := make(chan struct{})
	defer close(over)
	go func() {
		for { // the handler of the first signal is taken down at about the time of its log line
			p.Process.Signal(syscall.SIGTERM)
			select {
			case <-over:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	if code := p.ended(t); code != -1 || p.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the process ended with %v, want by the second signal", p.ProcessState)
	}
}

// TestSecondDevOnTheSameDataIsToldWhatToDo in a process of its own, as a developer with two terminals sees it.
func TestSecondDevOnTheSameDataIsToldWhatToDo(t *testing.T) {
	data := t.TempDir()
	first := startChild(t, nil, devArgs(data)...)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	second := exec.Command(exe, devArgs(data)...)
	second.Env = append(os.Environ(), asProgram+"=1")
	var out, errs bytes.Buffer
	second.Stdout, second.Stderr = &out, &errs
	second.Run()
	if second.ProcessState.ExitCode() != 1 || out.Len() != 0 {
		t.Errorf("exit code %d, stdout %q; want 1 and nothing", second.ProcessState.ExitCode(), out.String())
	}
	for _, want := range []string{data, "in use by another yjet", "stop that one", "--data"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("got %q, want %q in it", errs.String(), want)
		}
	}
	if code, body := get(t, first.url+"/readyz"); code != 200 {
		t.Errorf("the first one is not ready any more: %d %s", code, body)
	}
	// Even kill -9 leaves no lock that somebody must remove.
	first.Process.Kill()
	first.ended(t)
	start(t, devArgs(data)...).end(t)
}

// TestTheEnvironmentOfTheProcessIsRead: what a container sets.
func TestTheEnvironmentOfTheProcessIsRead(t *testing.T) {
	p := startChild(t, []string{"YJET_DATA=" + t.TempDir(), "YJET_ADDR=127.0.0.1:0", "YJET_NATS_ADDR=off", "YJET_LOG_FORMAT=text", "YJET_LOG_LEVEL=debug"}, "dev", "--log-level", "info")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.ended(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := p.logs.String(); !strings.Contains(log, "msg=\"yjet is up\"") || strings.Contains(log, "level=DEBUG") {
		t.Errorf("the log is %s, want text from the environment and the level of the flag", log)
	}
}

// The stdin of cron and of services is /dev/null, which can be asked nothing.
func TestDeletingWithoutATerminalIsToldOfTheFlag(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var out, errs bytes.Buffer
	code := run(t.Context(), process{null, &out, &errs, nil}, []string{"doc", "rm", "notes/todo"})
	if code != 2 || out.Len() != 0 || !strings.Contains(errs.String(), "--yes") || strings.Contains(errs.String(), "Type its name") {
		t.Errorf("got code %d, %q and %q, want 2 and the flag named", code, out.String(), errs.String())
	}
}
