package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// long reports whether the long forms were asked for.
func long() bool { return os.Getenv("YJET_LONG") == "1" }

// M is the arguments of one operation of the driver.
type M map[string]any

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests mostly wait: for idle time to pass, for refusals, for processes to start.
	if runtime.GOMAXPROCS(0) < 4 {
		flag.Set("test.parallel", "4")
	}
	code := m.Run()
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// missing skips the test because the machine lacks something, and fails it under CI=true.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI=true demands it", what)
	}
	t.Skipf("SKIPPED LOUDLY: %s, so %s was not checked", what, t.Name())
}

var binary struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// yjetBinary builds cmd/yjet once for the whole package.
func yjetBinary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if path := os.Getenv("YJET_BINARY"); path != "" {
			binary.path = path
			return
		}
		if binary.err = lookAtSources(); binary.err != nil {
			return
		}
		if binary.dir, binary.err = os.MkdirTemp("", "yjet-e2e-"); binary.err != nil {
			return
		}
		binary.path = filepath.Join(binary.dir, "yjet")
		args := []string{"build", "-o", binary.path}
		if raceEnabled {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, "yjet/cmd/yjet")...).CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("go build yjet/cmd/yjet: %v\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

// lookAtSources has go test know what the binary is made of, and what drives it: else a result from before a change would be answered
// from its cache, since this package imports none of it.
func lookAtSources() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return fs.SkipDir
		case d.Type().IsRegular() && slices.Contains([]string{".go", ".mod", ".conf", ".mjs", ".js", ".css", ".html", ".json"}, filepath.Ext(path)):
			_, err = os.Stat(path)
		}
		return err
	})
}

var node struct {
	once sync.Once
	why  string // what is missing
	err  error
}

// needNode makes sure that Node is here and the packages are those of package-lock.json.
func needNode(t testing.TB) {
	t.Helper()
	node.once.Do(func() {
		for _, tool := range []string{"node", "npm"} {
			if _, err := exec.LookPath(tool); err != nil {
				node.why = "no " + tool + " on PATH"
				return
			}
		}
		node.err = installPackages()
	})
	if node.why != "" {
		missing(t, node.why)
	}
	if node.err != nil {
		t.Fatal(node.err)
	}
}

// installPackages runs npm ci, one process at a time, and only where node_modules is of another lockfile.
func installPackages() error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	h := fnv.New64a()
	io.WriteString(h, here)
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("yjet-e2e-%x.lock", h.Sum64())), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	want, err := os.ReadFile("package-lock.json")
	if err != nil {
		return err
	}
	stamp := filepath.Join("node_modules", ".yjet-lock")
	if got, _ := os.ReadFile(stamp); bytes.Equal(got, want) {
		return nil
	}
	if out, err := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %v\n%s", err, out)
	}
	return os.WriteFile(stamp, want, 0o644)
}

// server is one yjet process, its data, and what it printed.
type server struct {
	t    testing.TB
	args []string // without --addr
	env  []string

	host string // host:port, the same after a restart
	nats string // URL of the embedded server, "" where it is off
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error // of Wait, after done
}

// output keeps what a process printed and wakes those who wait for a line.
type output struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func (o *output) read(r io.Reader, wg *sync.WaitGroup) {
	defer wg.Done()
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		o.mu.Lock()
		o.lines = append(o.lines, scan.Text())
		close(o.more)
		o.more = make(chan struct{})
		o.mu.Unlock()
	}
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}

// freePort answers a TCP port of loopback that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startDev starts `yjet dev` on free ports with its data in a directory of the test's.
func startDev(t testing.TB, args ...string) *server {
	t.Helper()
	natsAddr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := &server{t: t, nats: "nats://" + natsAddr,
		args: append([]string{"dev", "--data", filepath.Join(t.TempDir(), "data"), "--nats-addr", natsAddr}, args...)}
	s.begin()
	t.Cleanup(s.verify)
	return s
}

// verify holds every document of a running server against the law: replay from zero = snapshot + history + tail.
// Every test that starts a server ends with it.
func (s *server) verify() {
	if s.t.Failed() {
		return
	}
	select {
	case <-s.done:
		return
	default:
	}
	if out, err := exec.Command(yjetBinary(s.t), "verify", "--nats", s.nats).CombinedOutput(); err != nil {
		s.t.Errorf("yjet verify: %v\n%s", err, out)
	}
}

// startServe starts `yjet serve` with the arguments given, on a free port.
func startServe(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, args: append([]string{"serve", "--admin-addr", "127.0.0.1:0"}, args...)}
	s.begin()
	return s
}

func (s *server) begin() {
	s.t.Helper()
	s.t.Cleanup(func() {
		s.kill()
		if s.t.Failed() {
			s.t.Logf("server %s printed:\n%s", s.host, tailOf(s.out.text(), 12000))
		}
	})
	s.start()
}

func tailOf(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

var readyLine = regexp.MustCompile(`^yjet ready on https?://(\S+)`)

// start runs the process and waits for its ready line. After the first time it takes the same port again.
func (s *server) start() {
	s.t.Helper()
	if err := s.tryStart(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) tryStart() error {
	addr := s.host
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	args := append([]string{s.args[0], "--addr", addr}, s.args[1:]...)
	cmd := exec.Command(yjetBinary(s.t), args...)
	cmd.Env = append(cleanEnv(), s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	out := &output{more: make(chan struct{})}
	if s.out != nil {
		out.lines = s.out.lines // what it printed before is kept for the report
	}
	began := len(out.lines)
	s.cmd, s.out = cmd, out
	if err := cmd.Start(); err != nil {
		return err
	}
	var readers sync.WaitGroup
	readers.Add(2)
	go out.read(stdout, &readers)
	go out.read(stderr, &readers)
	done := make(chan struct{})
	s.done = done
	go func() {
		readers.Wait()
		s.err = cmd.Wait()
		close(done)
	}()

	deadline := time.After(30 * time.Second)
	seen := began
	for {
		out.mu.Lock()
		lines, more := out.lines[seen:], out.more
		out.mu.Unlock()
		seen += len(lines)
		for _, line := range lines {
			if m := readyLine.FindStringSubmatch(line); m != nil {
				s.host = m[1]
				return nil
			}
		}
		select {
		case <-more:
		case <-done:
			return fmt.Errorf("yjet %s ended before it was ready: %v\n%s", strings.Join(args, " "), s.err, out.text())
		case <-deadline:
			return fmt.Errorf("yjet %s is not ready after 30 s\n%s", strings.Join(args, " "), out.text())
		}
	}
}

// cleanEnv is the environment without settings that would reach the server.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "YJET_") || strings.HasPrefix(name, "SUPABASE_") || name == "CORS_ORIGINS" {
			continue
		}
		env = append(env, kv)
	}
	return env
}

// kill ends the process as a crash does.
func (s *server) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		<-s.done
	}
}

// terminate asks the process to drain and answers how long that took.
func (s *server) terminate() time.Duration {
	s.t.Helper()
	began := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		s.t.Fatal("yjet has not ended 20 s after SIGTERM")
	}
	var exit *exec.ExitError
	if errors.As(s.err, &exit) {
		s.t.Fatalf("yjet after SIGTERM: %v", s.err)
	}
	return time.Since(began)
}

func (s *server) url(path string) string { return "http://" + s.host + path }

// getJSON reads path into v.
func (s *server) getJSON(path string, v any) {
	s.t.Helper()
	body := s.fetch(http.MethodGet, path, nil)
	if err := json.Unmarshal(body, v); err != nil {
		s.t.Fatalf("GET %s: %v in %s", path, err, body)
	}
}

// request returns the status and the body of an answer.
func (s *server) request(method, path string, body io.Reader) (int, []byte) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url(path), body)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, answer
}

// fetch returns the body of the answer to a request that must succeed.
func (s *server) fetch(method, path string, body io.Reader) []byte {
	s.t.Helper()
	status, answer := s.request(method, path, body)
	if status >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, status, tailOf(string(answer), 300))
	}
	return answer
}

// driver is one Node process with any number of real clients in it, and the test that its failures belong to.
type driver struct {
	t testing.TB
	*script
}

// as is the same process with the failures of another test.
func (d *driver) as(t testing.TB) *driver { return &driver{t, d.script} }

// script is a Node process that does one operation a line.
type script struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	mu    sync.Mutex
	next  int
	calls map[int]chan answer
	dead  chan struct{}
	err   bytes.Buffer
}

type answer struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
}

func newDriver(t testing.TB) *driver { t.Helper(); return newScript(t, "driver.mjs") }

func newScript(t testing.TB, file string) *driver {
	t.Helper()
	needNode(t)
	d := &driver{t, &script{calls: map[int]chan answer{}, dead: make(chan struct{})}}
	d.cmd = exec.Command("node", "--max-old-space-size=2048", file)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.cmd.Stderr = &d.err
	in, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.in = in
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.dead)
		r := bufio.NewReaderSize(out, 1<<20)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			var a answer
			if json.Unmarshal(line, &a) != nil {
				continue
			}
			d.mu.Lock()
			c := d.calls[a.ID]
			delete(d.calls, a.ID)
			d.mu.Unlock()
			if c != nil {
				c <- a
			}
		}
	}()
	t.Cleanup(func() {
		if file == "driver.mjs" {
			d.checkCrashes()
		}
		in.Close()
		select {
		case <-d.dead:
		case <-time.After(3 * time.Second):
		}
		d.cmd.Process.Kill()
		d.cmd.Wait()
		if s := d.err.String(); s != "" && t.Failed() {
			t.Logf("%s said:\n%s", file, tailOf(s, 4000))
		}
	})
	return d
}

// checkCrashes fails the test if a provider threw: a server must never make one.
func (d *driver) checkCrashes() {
	var crashes []string
	if err := d.call("crashes", nil, &crashes); err != nil {
		d.t.Errorf("driver: %v", err)
		return
	}
	for _, c := range crashes {
		d.t.Errorf("a provider threw: %s", c)
	}
}

// call does one operation. out may be nil.
func (d *driver) call(op string, args M, out any) error {
	d.mu.Lock()
	d.next++
	id := d.next
	c := make(chan answer, 1)
	d.calls[id] = c
	message := M{"id": id, "op": op}
	for k, v := range args {
		message[k] = v
	}
	line, err := json.Marshal(message)
	if err == nil {
		_, err = d.in.Write(append(line, '\n'))
	}
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w (%s)", op, err, d.err.String())
	}
	select {
	case a := <-c:
		if a.Error != "" {
			return fmt.Errorf("%s %v: %s", op, brief(args), a.Error)
		}
		if out != nil {
			return json.Unmarshal(a.Result, out)
		}
		return nil
	case <-d.dead:
		return fmt.Errorf("%s: the driver ended: %s", op, d.err.String())
	case <-time.After(5 * time.Minute):
		return fmt.Errorf("%s: no answer in 5 minutes", op)
	}
}

func brief(args M) string {
	b, _ := json.Marshal(args)
	if len(b) > 200 {
		b = append(b[:200], "…"...)
	}
	return string(b)
}

// do is call for operations that must succeed.
func (d *driver) do(op string, args M) {
	d.t.Helper()
	if err := d.call(op, args, nil); err != nil {
		d.t.Fatal(err)
	}
}

// ask is call for operations that must succeed and answer a T.
func ask[T any](d *driver, op string, args M) T {
	d.t.Helper()
	var v T
	if err := d.call(op, args, &v); err != nil {
		d.t.Fatal(err)
	}
	return v
}

// clientState is what the driver tells about a client.
type clientState struct {
	Kind     string
	ClientID uint64
	Synced   bool
	Saved    bool
	Connects []int64 // Unix ms
	Opens    []int64
	Closes   []struct {
		Code   int
		Reason string
		At     int64
	}
	Terminal []struct {
		Code   int
		Reason string
	}
	TextFrames   []string
	BinaryFrames int
	Denied       []string
	SyncStatus   []int
	Strange      []string
	Errors       []string
	Custom       []string
	Echoed       uint64
	Clock        uint64
	Unsynced     *int
	Scope        *string
	TokenAsked   int
	Names        []string
	Length       int
	Steps1       int
	Steps        []int
	SpokenTo     []int64 // Unix ms at which the server's first message came, for a client that waits for it
}

func (d *driver) state(client string) clientState {
	d.t.Helper()
	return ask[clientState](d, "state", M{"client": client})
}

// open makes a client and, unless told otherwise, waits until it is synced.
func (d *driver) open(s *server, client, kind, room string, more ...M) {
	d.t.Helper()
	args := M{"client": client, "kind": kind, "host": s.host, "room": room, "user": M{"name": client, "color": "#0f766e"}}
	wait, timeout := true, 20000
	for _, m := range more {
		for k, v := range m {
			switch k {
			case "wait":
				wait = v.(bool)
			case "timeout":
				timeout = v.(int)
			default:
				args[k] = v
			}
		}
	}
	d.do("open", args)
	if wait {
		d.do("synced", M{"client": client, "timeout": timeout})
	}
}

func (d *driver) edit(client string, edits ...[]any) {
	d.t.Helper()
	d.do("edit", M{"client": client, "edits": edits})
}

// converge waits until the clients hold one document.
func (d *driver) converge(clients ...string) json.RawMessage {
	d.t.Helper()
	return ask[json.RawMessage](d, "converge", M{"clients": clients, "timeout": 30000})
}

// rebuilt is what rebuild.mjs reads out of the log.
type rebuilt struct {
	Records  int
	Outside  int
	First    uint64
	Last     uint64
	Users    []string
	Snapshot *struct {
		Upto  uint64
		Epoch string
		Parts int
	}
	Streams     []string
	Problems    []string
	Fingerprint json.RawMessage
	Plain       string
}

// rebuild reads the document from the log with a program that shares no code with the server.
func rebuild(t testing.TB, nats, doc string) rebuilt {
	t.Helper()
	needNode(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "rebuild.mjs", nats, doc)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rebuild.mjs: %v\n%s", err, stderr.String())
	}
	var r rebuilt
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("rebuild.mjs printed %q: %v", tailOf(string(out), 400), err)
	}
	for _, p := range r.Problems {
		t.Errorf("the log of %s: %s", doc, p)
	}
	return r
}

// sameDocument compares two fingerprints.
func sameDocument(t testing.TB, what string, got, want json.RawMessage) {
	t.Helper()
	var a, b any
	json.Unmarshal(got, &a)
	json.Unmarshal(want, &b)
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if !bytes.Equal(x, y) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, tailOf(string(x), 1500), tailOf(string(y), 1500))
	}
}

// seedOf answers the seed of a random test: YJET_SEED or a fixed one, always printed.
func seedOf(t testing.TB, fallback uint64) uint64 {
	seed := fallback
	if v := os.Getenv("YJET_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("YJET_SEED=%q: %v", v, err)
		}
		seed = n
	}
	t.Logf("seed %d (repeat with YJET_SEED=%d go test ./e2e -run '^%s$')", seed, seed, strings.Split(t.Name(), "/")[0])
	return seed
}

func unmarshal(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v in %s", err, tailOf(string(b), 400))
	}
}

// rawJSON is JSON as it came.
type rawJSON = json.RawMessage

// pathEscape writes a document's name as the path of a y-websocket URL.
func pathEscape(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
		if p == "." || p == ".." {
			parts[i] = strings.ReplaceAll(p, ".", "%2E")
		}
	}
	return strings.Join(parts, "/")
}
