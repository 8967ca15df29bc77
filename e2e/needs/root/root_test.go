// Package root shows on a line of its own whether the tests that mount a file system ran; see package needs.
package root

import (
	"os"
	"testing"

	"yjet/e2e/needs"
)

func TestMain(m *testing.M) { needs.Main(m) }

func TestProcessMayMount(t *testing.T) {
	needs.Find(t, needs.Root) // CI does not demand it: not every CI machine may mount
	if id := os.Geteuid(); id != 0 {
		t.Errorf("user %d, want 0", id)
	}
}
