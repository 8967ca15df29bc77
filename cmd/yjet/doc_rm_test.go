package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

// runWith runs one command with any reader as its stdin.
func runWith(t *testing.T, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), process{stdin, &out, &errs, nil}, args)
	return code, out.String(), errs.String()
}

// importDoc makes a document of a few letters.
func importDoc(t *testing.T, url, name string, letters int) {
	t.Helper()
	typing := &typist{client: 7, root: "t"}
	for range letters {
		if code, out, errs := called(t, string(typing.next()), "doc", "--url", url, "import", name, "--merge"); code != 0 {
			t.Fatalf("import %s = %d: %s%s", name, code, out, errs)
		}
	}
}

func TestDocumentIsDeletedOnlyByConsent(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "kept", 1)
	exists := func() bool {
		code, _, _ := called(t, "", "doc", "--url", r.url, "get", "kept")
		return code == 0
	}
	file, pipeEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pipeEnd.WriteString("kept\n")
	pipeEnd.Close()
	for _, c := range []struct {
		name  string
		stdin io.Reader
		code  int
		says  string
	}{
		{"echo n |", strings.NewReader("n\n"), 2, "--yes"},
		{"its name on a pipe", file, 2, "--yes"},
		{"nothing at all", strings.NewReader(""), 2, "--yes"},
	} {
		code, _, errs := runWith(t, c.stdin, "doc", "rm", "kept", "--url", r.url)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%s: got code %d and %q, want %d and something with %q", c.name, code, errs, c.code, c.says)
		}
		if !exists() {
			t.Fatalf("%s: the document is gone", c.name)
		}
	}
	if code, out, errs := called(t, "", "doc", "rm", "kept", "--yes", "--url", r.url); code != 0 || !strings.Contains(out, "kept deleted") {
		t.Errorf("with --yes: got code %d, %q, %q", code, out, errs)
	}
	if exists() {
		t.Error("the document is still there after --yes")
	}
}
