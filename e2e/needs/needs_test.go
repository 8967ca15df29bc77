package needs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestPlainGoTestShowsWhatIsMissing runs go test as the README has it, on a PATH that holds go alone.
func TestPlainGoTestShowsWhatIsMissing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("makes a PATH of symbolic links")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(goTool, filepath.Join(bin, "go")); err != nil {
		t.Fatal(err)
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "PATH=") || strings.HasPrefix(kv, "CI=") || strings.HasPrefix(kv, "GOROOT=")
	})
	env = append(env, "PATH="+bin, "CGO_ENABLED=0")
	test := func(environ ...string) (string, error) {
		cmd := exec.Command("go", "test", "yjet/e2e/needs/node", "yjet/e2e/needs/chromium")
		cmd.Env = append(slices.Clone(env), environ...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := test()
	if err != nil || strings.Count(out, "[no tests to run]") != 2 {
		t.Errorf("without Node and Chromium: %v, want success and two lines that end in [no tests to run]:\n%s", err, out)
	}
	if out, err := test("CI=true"); err == nil || !strings.Contains(out, "no node on PATH") || !strings.Contains(out, "no chromium on PATH") {
		t.Errorf("with CI=true: %v, want both to fail by name:\n%s", err, out)
	}
}
