package yjs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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
	merged  string // SHA-256 of what yjs merges it to; empty if not known
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
	var manifest map[string]struct {
		StateVector string
		Merged      struct{ SHA256 string }
	}
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
	tr.merged = manifest[name].Merged.SHA256
	return tr
}

var traceNames = []string{"automerge-paper", "friendsforever", "sveltecomponent", "rich-mixed"}

func TestTracesMergeToWhatYjsMade(t *testing.T) {
	for _, name := range traceNames {
		t.Run(name, func(t *testing.T) {
			tr := loadTrace(t, name)
			merged := must2(t)(Merge(tr.updates...))
			for how, u := range map[string][]byte{"merged": merged, "joined": must2(t)(Join(tr.updates...)), "compacted": must2(t)(Compact(tr.updates...))} {
				v, err := VectorOf(u)
				if err != nil || !bytes.Equal(v.Append(nil), tr.vector.Append(nil)) {
					t.Errorf("%s: got vector %v %v, want %v", how, v, err, tr.vector)
				}
			}
			if tr.merged == "" { // yjs needs too long for it
				return
			}
			if sum := sha256.Sum256(merged); hex.EncodeToString(sum[:]) != tr.merged {
				t.Errorf("merged: got sum %x, want %s", sum, tr.merged)
			}
		})
	}
}
