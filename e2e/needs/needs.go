// Package needs finds the programs outside Go that some tests use: Node with npm, and Chromium.
//
// Plain `go test ./...` hides why a test was skipped: of a package that passes it prints one line. So each need has a package of its own
// below this one, whose only test uses the need. Where the need is missing, that package runs no test, and go test says so on its line:
//
//	ok  	yjet/e2e/needs/chromium	0.003s [no tests to run]
//
// The line stays when the result comes from the cache. Under CI=true a missing need fails instead.
package needs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

// Node returns the path of node. It is an error when node or npm is not on PATH.
func Node() (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("no %s on PATH", tool)
		}
	}
	return exec.LookPath("node")
}

// Chromium returns the path of a Chromium or Chrome on PATH.
func Chromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no chromium on PATH")
}

// Root reports whether tests may mount small file systems. The tests of a full disk and of a power cut do.
func Root() (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("not root, so no file system can be mounted")
	}
	return exec.LookPath("mount")
}

// Main runs the tests of a package that stands for a need. Where they were skipped for want of it, Main adds the sentence by which go test
// knows that no test ran.
func Main(m *testing.M) {
	code := m.Run()
	if skipped.Load() {
		fmt.Fprint(os.Stderr, "\ntesting: warning: no tests to run\n")
	}
	os.Exit(code)
}

// skipped is set once a test was skipped for want of its need.
var skipped atomic.Bool

// Find returns the path of a need, and skips the test where find fails. It looks while the test runs, so that go test notes what it looked
// at, and does not answer from its cache once the need is installed.
func Find(t *testing.T, find func() (string, error)) string {
	t.Helper()
	path, err := find()
	if err != nil {
		skipped.Store(true)
		t.Skip(err)
	}
	return path
}

// Demand is Find for what CI=true demands: there a missing need fails the test.
func Demand(t *testing.T, find func() (string, error)) string {
	t.Helper()
	if _, err := find(); err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("%v, and CI=true demands it", err)
	}
	return Find(t, find)
}
