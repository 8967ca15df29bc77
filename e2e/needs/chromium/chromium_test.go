// Package chromium shows on a line of its own whether the tests of the page ran; see package needs.
package chromium

import (
	"os/exec"
	"strings"
	"testing"

	"yjet/e2e/needs"
)

func TestMain(m *testing.M) { needs.Main(m) }

func TestChromiumStarts(t *testing.T) {
	path := needs.Demand(t, needs.Chromium)
	out, err := exec.Command(path, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Chrom") {
		t.Errorf("%s --version: %v\n%s", path, err, out)
	}
}
