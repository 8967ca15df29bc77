// Package node shows on a line of its own whether the tests that use Node ran; see package needs.
package node

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"yjet/e2e/needs"
)

func TestMain(m *testing.M) { needs.Main(m) }

func TestNodeIsNewEnough(t *testing.T) {
	path := needs.Demand(t, needs.Node)
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < 20 {
		t.Errorf("node %s, want version 20 or newer", strings.TrimSpace(string(out)))
	}
}
