package yjs

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// The traces are whole editing sessions. rich-mixed is in testdata; the others are measured where a checkout has them beside
// it, and skipped elsewhere.
const sharedTraces = "../../../shared/traces"

type trace struct {
	name    string
	updates [][]byte
	bytes   int
	vector  StateVector
}

func traceDir(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"testdata/traces", sharedTraces} {
		if _, err := os.Stat(filepath.Join(dir, name+".v1.gz")); err == nil {
			return dir
		}
	}
	t.Skipf("trace %s is not here", name)
	return ""
}

func loadTrace(t testing.TB, name string) trace {
	t.Helper()
	dir := traceDir(t, name)
	f, err := os.Open(filepath.Join(dir, name+".v1.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	tr := trace{name: name, bytes: len(b)}
	for len(b) > 0 {
		var u []byte
		if u, b, err = ReadVarBytes(b); err != nil {
			t.Fatal(err)
		}
		tr.updates = append(tr.updates, u)
	}
	var manifest map[string]struct{ StateVector string }
	m, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(m, &manifest); err != nil {
		t.Fatal(err)
	}
	sv, err := base64.StdEncoding.DecodeString(manifest[name].StateVector)
	if err != nil {
		t.Fatal(err)
	}
	if tr.vector, err = DecodeStateVector(sv); err != nil {
		t.Fatal(err)
	}
	return tr
}

var traceNames = []string{"automerge-paper", "friendsforever", "sveltecomponent", "rich-mixed"}
