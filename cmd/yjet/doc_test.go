package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
)

// called runs one command and returns its exit code and both outputs.
func called(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), process{strings.NewReader(stdin), &out, &errs, nil}, args)
	return code, out.String(), errs.String()
}

func TestDocumentsFromTheShell(t *testing.T) {
	data := t.TempDir()
	r := start(t, "serve", "--auth", "none", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data", data, "--durability", "process")
	doc := func(want int, stdin string, args ...string) string {
		t.Helper()
		code, out, errs := called(t, stdin, append([]string{"doc", "--url", r.url}, args...)...)
		if code != want {
			t.Fatalf("doc %v = %d, want %d: %s%s", args, code, want, out, errs)
		}
		return out + errs
	}
	has := func(out string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(out, p) {
				t.Errorf("no %q in:\n%s", p, out)
			}
		}
	}
	d := yjs.NewDocument(yjs.DocumentOptions{})
	edit := func(text string) string {
		u, err := d.Edit(7, func(tx *yjs.Tx) error { return tx.Text("t").Insert(0, text, nil) })
		if err != nil {
			t.Fatal(err)
		}
		return string(u)
	}
	first := edit("world")
	has(doc(0, first, "import", "notes/todo"), "notes/todo")
	has(doc(1, first, "import", "notes/todo"), "not new")
	has(doc(0, edit("hello "), "import", "notes/todo", "--merge"), "notes/todo")
	has(doc(0, "", "ls"), "notes/todo")
	has(doc(0, "", "ls", "nothing/"), "")
	has(doc(0, "", "show", "notes/todo"), "notes/todo", "SEQUENCE")
	has(doc(0, "", "log", "notes/todo"), "BYTES")
	has(doc(0, "", "get", "notes/todo"), `{"t":"hello world"}`)
	has(doc(0, "", "versions", "notes/todo", "--add", "first draft"), "first draft")
	has(doc(0, "", "versions", "notes/todo"), "first draft")
	file := filepath.Join(t.TempDir(), "todo.yjet.gz")
	doc(0, "", "export", "notes/todo", "--out", file)
	if b, err := os.ReadFile(file); err != nil || len(b) < 2 || b[0] != 0x1f {
		t.Errorf("the export is not compressed: %d bytes, %v", len(b), err)
	}
	plain := doc(0, "", "export", "notes/todo")
	has(plain, `{"yjet":"document"`, `{"end":true`)
	has(doc(0, "", "import", "moved", file), "moved: 2 records, 1 versions")
	has(doc(1, plain[:len(plain)-20], "import", "cut"), "not a whole export")
	if b, err := os.ReadFile(file); err != nil {
		t.Error(err)
	} else {
		cut := filepath.Join(t.TempDir(), "cut.yjet.gz")
		if err := os.WriteFile(cut, b[:len(b)-20], 0o600); err != nil {
			t.Fatal(err)
		}
		has(doc(1, "", "import", "cut", cut), "cannot be read to its end")
		// The server takes what had come away again.
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if code, _, errs := called(t, "", "doc", "--url", r.url, "get", "cut"); code == 1 && strings.Contains(errs, "not-found") {
				break
			} else if time.Now().After(end) {
				t.Fatal("half an import stays")
			}
		}
	}
	doc(0, edit("more "), "import", "notes/todo", "--merge")
	has(doc(0, "", "restore", "notes/todo", "first draft"), "restored")
	has(doc(0, "", "get", "notes/todo", "--format", "text", "--type", "t:text"), "hello world")
	has(doc(0, "", "copy", "notes/todo", "second"), "second")
	has(doc(1, "", "get", "notes/todo", "--at", "nonsense"), "bad-moment")
	has(doc(0, "", "rm", "second", "--yes"), "deleted")
	has(doc(1, "", "get", "second"), "not-found")
	for _, args := range [][]string{{}, {"fly"}, {"get"}, {"get", ""}, {"rm", ""}, {"get", "a", "b"}, {"restore", "a"}, {"versions", "a", "--add", "x", "--remove", "y"}} {
		doc(2, "", args...)
	}
	if code, _, errs := called(t, "", "verify", "--data", data); code != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("verify of a store in use = %d, %s; want a refusal that says so", code, errs)
	}
	r.stop()
	r.end(t)
	code, out, errs := called(t, "", "verify", "--data", data)
	if code != 0 {
		t.Fatalf("verify = %d: %s%s", code, out, errs)
	}
	has(out, "documents            2", "ok: replay from zero")
	if code, _, _ := called(t, "", "verify", "--data", filepath.Join(data, "nowhere")); code != 1 {
		t.Errorf("verify of no store = %d, want 1", code)
	}
}

// TestVerifyTellsOfALostEnd takes the newest records away, as a restored or torn store would.
func TestVerifyTellsOfALostEnd(t *testing.T) {
	data := t.TempDir()
	c := &checker{room: "cut", typist: newTypist()}
	r := start(t, devArgs(data)...)
	c.base = r.url
	if err := c.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := c.echo(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.first.close()
	r.end(t)
	logs, err := filepath.Glob(filepath.Join(data, "jetstream", "*", "streams", "YDOC_*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no streams in %s: %v", data, err)
	}
	for _, dir := range logs {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := runCommand("", "verify", "--data", data)
	if code != 1 || !strings.Contains(errs, "missing at the end") {
		t.Errorf("verify = %d, want 1 and what is missing:\n%s%s", code, out, errs)
	}
}
