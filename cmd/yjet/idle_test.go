package main

import (
	"crypto/sha256"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// filesOf are the checksums of all files below a directory.
func filesOf(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	sums := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sums[strings.TrimPrefix(path, dir)] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// TestIdleServerWritesNothing: with no client, but with whatever watches and asks it for its health, no byte of the store changes. A stored
// message would be in a block file.
func TestIdleServerWritesNothing(t *testing.T) {
	data := t.TempDir()
	r := start(t, append(devArgs(data), "--compact-after", "1h")...)
	d := &killDoc{name: "quiet", client: 7}
	if resp, err := post(t.Context(), r.url+"/api/docs/quiet", d.insertion("x")); err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("edit: %v, %v", resp, err)
	}
	time.Sleep(3 * time.Second) // what the edit and the start still write
	before := filesOf(t, data)
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if code, body := get(t, r.url+"/readyz"); code != http.StatusOK {
			t.Fatalf("/readyz: %d %s", code, body)
		}
	}
	after := filesOf(t, data)
	for path, sum := range after {
		if before[path] != sum {
			t.Errorf("%s was written by an idle server", path)
		}
	}
	if len(before) != len(after) || len(before) < 5 {
		t.Errorf("%d files before and %d after, want the same, and more than 5", len(before), len(after))
	}
}
