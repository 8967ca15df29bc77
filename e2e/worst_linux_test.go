package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// A day of an honest document's worst shape: a hundred thousand clients, a million deleted ranges, ten thousand root types, 50 MB. Stock
// clients bring it, open it, edit it, and it goes out and in again. Without YJET_LONG=1 it is a two hundredth of that. Seconds and memory
// of each step are printed; docs/operate.md has those of the long form.
func TestADayOfTheWorstShapesTakesBoundedMemory(t *testing.T) {
	t.Parallel()
	needNode(t)
	scale, memory := 200, 500<<20
	if long() {
		scale, memory = 1, 3500<<20
	}
	file := filepath.Join(t.TempDir(), "worst.bin")
	size := worst(t, "build", file, fmt.Sprint(100_000/scale), fmt.Sprint(10_000/scale), fmt.Sprint(1_000_000/scale), fmt.Sprint(34_000_000/scale))
	t.Logf("the document: %s", size)
	s := startDev(t, "--compact-after", "1s")
	step := func(name string, do func()) {
		t.Helper()
		began := time.Now()
		do()
		took := time.Since(began)
		if raceEnabled {
			memory = 1 << 40 // the race detector takes several times as much
		}
		peak := s.peakMemory()
		t.Logf("%-26s %6.2f s, at most %4d MB in memory so far", name, took.Seconds(), peak>>20)
		if peak > memory {
			t.Errorf("%s: the process took %d MB, more than %d", name, peak>>20, memory>>20)
		}
	}
	var whole []byte
	step("brought by a stock client", func() { t.Log(worst(t, "edit", "ws://"+s.host, "worst", file)) })
	s.terminate()
	s.start()
	step("opened after a cold start", func() { whole = s.fetch(http.MethodGet, "/api/docs/worst", nil) })
	step("posted to another", func() { s.fetch(http.MethodPost, "/api/docs/worst-again", bytes.NewReader(whole)) })
	var export []byte
	step("exported", func() { export = s.fetch(http.MethodGet, "/api/docs/worst/export", nil) })
	step("imported", func() { s.fetch(http.MethodPost, "/api/docs/worst-imported/import", bytes.NewReader(export)) })
	step("opened by stock clients", func() { t.Log(worst(t, "edit", "ws://"+s.host, "worst-imported")) })
	if got := s.fetch(http.MethodGet, "/api/docs/worst-again", nil); !bytes.Equal(got, whole) {
		t.Errorf("what was posted reads as %d bytes, want the same %d", len(got), len(whole))
	}
}

// worst runs worst.mjs and answers the line it prints.
func worst(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", append([]string{"--max-old-space-size=6000", "worst.mjs"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("worst.mjs %v: %v\n%s", args, err, stderrOf(err))
	}
	var line json.RawMessage
	if err := json.Unmarshal(out, &line); err != nil {
		t.Fatalf("worst.mjs printed %q: %v", tailOf(string(out), 400), err)
	}
	return string(bytes.TrimSpace(out))
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB`)

// peakMemory is the most that the process has had in memory since it started, in bytes.
func (s *server) peakMemory() int {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	m := peakLine.FindSubmatch(status)
	if m == nil {
		s.t.Fatalf("no VmHWM on %s", runtime.GOOS)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		s.t.Fatal(err)
	}
	return kb << 10
}
