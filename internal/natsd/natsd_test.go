package natsd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run starts a server on a directory until the test ends, or is stopped before.
func run(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestSecondServerOnADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := run(t, dir)
	if _, err := Start(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another yjet") {
		t.Errorf("a second Start = %v, want a refusal", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "lock")); err != nil || info.Size() == 0 {
		t.Errorf("lock file while the server runs: %v, %v; want it marked", info, err)
	}
	s.Stop()
	if info, err := os.Stat(filepath.Join(dir, "lock")); err != nil || info.Size() != 0 {
		t.Errorf("lock file after a clean stop: %v, %v; want it empty", info, err)
	}
	run(t, dir)
}

func TestAddressesOtherThanLoopbackAreRefused(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:0": "", "localhost:0": "", "[::1]:4222": "",
		"0.0.0.0:4222": "loopback only", "10.0.0.1:4222": "loopback only", "example.com:4222": "loopback only", "nonsense": "missing port",
	} {
		err := CheckAddr(addr)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("CheckAddr(%q) = %v, want %q", addr, err, want)
		}
	}
	if _, err := Start(Options{Dir: t.TempDir(), Addr: "0.0.0.0:0"}); err == nil {
		t.Error("a server listens on every address")
	}
}
