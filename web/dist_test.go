//go:build unix

package web

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestDistIsWhatTheSourcesBuild(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("npm is not installed, and CI=true demands it")
		}
		t.Skip("SKIPPED LOUDLY: no npm on PATH, so nobody checked that web/dist is what web/src builds")
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "yjet-web-npm.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	// npm ci only where node_modules is not of this lockfile.
	want, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	stamp := filepath.Join("node_modules", ".yjet-lock")
	if got, _ := os.ReadFile(stamp); !bytes.Equal(got, want) {
		if out, err := exec.Command(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts").CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
		if err := os.WriteFile(stamp, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fresh := filepath.Join(t.TempDir(), "dist")
	rel, err := filepath.Rel(mustWd(t), fresh)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("node", "build.mjs", rel).CombinedOutput(); err != nil {
		t.Fatalf("node build.mjs: %v\n%s", err, out)
	}
	got, built := files(t, "dist"), files(t, fresh)
	for name, b := range built {
		if !bytes.Equal(got[name], b) {
			t.Errorf("dist/%s is not what the sources build: run npm run build in web/ and commit dist/", name)
		}
	}
	for name := range got {
		if built[name] == nil {
			t.Errorf("dist/%s is built by nothing any more: run npm run build in web/ and commit dist/", name)
		}
	}
}
