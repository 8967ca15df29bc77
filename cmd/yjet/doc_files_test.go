package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"yjet/internal/yjs"
)

func TestFilesOfDocumentsAreForTheirOwnerAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows has no file modes")
	}
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "private", 2)
	dir := t.TempDir()
	for i, args := range [][]string{
		{"get", "private"}, {"get", "private", "--format", "update"}, {"export", "private"}, {"export", "private", "--force"},
	} {
		file := filepath.Join(dir, fmt.Sprint(i))
		if args[0] == "get" || len(args) > 2 { // a file that others could read is there
			if err := os.WriteFile(file, []byte("older and longer than what comes"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if code, out, errs := called(t, "", append(append([]string{"doc"}, args...), "--out", file, "--url", r.url)...); code != 0 || out != "" {
			t.Fatalf("doc %v = %d: %s%s", args, code, out, errs)
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("doc %v: mode %v, %v, want 0600", args, info.Mode(), err)
		}
		if b, err := os.ReadFile(file); err != nil || bytes.Contains(b, []byte("older")) {
			t.Errorf("doc %v: the file holds %q, %v", args, b, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part-*")); len(left) != 0 {
		t.Errorf("left in the directory: %q", left)
	}
}

func TestExportReplacesAFileOnlyByForce(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "one", 1)
	file := filepath.Join(t.TempDir(), "x.yjet")
	if err := os.WriteFile(file, []byte("another document"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := called(t, "", "doc", "export", "one", "--out", file, "--url", r.url)
	if b, err := os.ReadFile(file); code != 1 || !strings.Contains(errs, "--force") || err != nil || string(b) != "another document" {
		t.Errorf("got code %d, %q, and the file holds %q; want a refusal that names --force", code, errs, b)
	}
	if code, _, errs := called(t, "", "doc", "export", "nobody", "--out", file, "--force", "--url", r.url); code != 1 || !strings.Contains(errs, "not-found") {
		t.Errorf("export of no document: got code %d and %q", code, errs)
	}
	if b, _ := os.ReadFile(file); string(b) != "another document" {
		t.Errorf("a failed export left %q", b)
	}
	if code, _, errs := called(t, "", "doc", "export", "one", "--out", file, "--force", "--url", r.url); code != 0 {
		t.Errorf("with --force: %d, %s", code, errs)
	}
	if b, _ := os.ReadFile(file); !bytes.HasPrefix(b, []byte(`{"yjet":"document"`)) {
		t.Errorf("with --force the file holds %.40q", b)
	}
	// A device or pipe is written as it is.
	if code, _, errs := called(t, "", "doc", "export", "one", "--out", os.DevNull, "--url", r.url); code != 0 {
		t.Errorf("into %s: %d, %s", os.DevNull, code, errs)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Fatalf("%s was replaced by a file: %v, %v", os.DevNull, info, err)
	}
}

func TestADirectoryThatTakesNoFileIsTold(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "one", 1)
	missing := filepath.Join(t.TempDir(), "missing", "x")
	for _, command := range []string{"get", "export"} {
		if code, out, errs := called(t, "", "doc", command, "one", "--out", missing, "--url", r.url); code != 1 || out != "" || !strings.Contains(errs, missing) {
			t.Errorf("%s: got code %d, %q, %q, want 1 and the path", command, code, out, errs)
		}
	}
}

func TestAPackedExportUnpacksToThePlainOne(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "same", 3)
	code, plain, errs := called(t, "", "doc", "export", "same", "--url", r.url)
	if code != 0 {
		t.Fatal(errs)
	}
	file := filepath.Join(t.TempDir(), "same.yjet.gz")
	if code, _, errs := called(t, "", "doc", "export", "same", "--out", file, "--url", r.url); code != 0 {
		t.Fatal(errs)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != plain {
		t.Errorf("unpacked %d bytes, %v; want the %d of the plain export", len(b), err, len(plain))
	}
}

// packed is b as gzip has it.
func packed(t *testing.T, b string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	io.WriteString(z, b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestFilesThatAreNoExportChangeNothing imports what people have in files by mistake, and what a stranger sends them.
func TestFilesThatAreNoExportChangeNothing(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "source", 2)
	code, whole, errs := called(t, "", "doc", "export", "source", "--url", r.url)
	if code != 0 {
		t.Fatal(errs)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(whole, "\n"), "\n")
	head, last := lines[0], lines[len(lines)-1]
	update := string(updateOf(t, "raw"))
	for _, c := range []struct{ name, file, says string }{
		{"nothing", "", "nothing to import"},
		{"a gzip file of nothing", packed(t, ""), "nothing to import"},
		{"the first bytes of a gzip file", packed(t, whole)[:5], "begins like gzip"},
		{"half a gzip file", packed(t, whole)[:len(packed(t, whole))/2], "cannot be read to its end"},
		{"a gzip file with a wrong checksum", packed(t, whole)[:len(packed(t, whole))-8] + "\x00\x01\x02\x03\x04\x05\x06\x07", "cannot be read to its end"},
		{"an export without its end", strings.Join(lines[:len(lines)-1], ""), "not a whole export"},
		{"an export cut in a record", whole[:len(whole)-len(last)-10], "bad-export"},
		{"an export without a record of two", head + lines[1] + last, "bad-export"},
		{"another program's JSON", `{"name":"package","version":"1.0.0"}` + "\n", "bad-export"},
		{"an export of a later yjet", strings.Replace(whole, `"v":1`, `"v":2`, 1), "bad-export"},
		{"a list", "[1,2,3]\n", "malformed"},
		{"a page", "<html>\n", "malformed"},
		{"a text", "just some words\n", "malformed"},
		{"half an update", update[:len(update)-2], "malformed"},
		{"an update with more behind it", update + "tail", "malformed"},
		{"a record that is not base64", head + `{"update":"***"}` + "\n" + last, "bad-export"},
		{"a line that is not JSON", head + "rubbish\n" + last, "bad-export"},
	} {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := called(t, "", "doc", "import", "bad", file, "--url", r.url)
		if code != 1 || out != "" || !strings.Contains(errs, c.says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: got code %d, %q and %q, want 1 and a line with %q", c.name, code, out, errs, c.says)
		}
		if code, out, _ := called(t, "", "doc", "get", "bad", "--url", r.url); code != 1 {
			t.Errorf("%s: the document is there, as %s", c.name, out)
			called(t, "", "doc", "rm", "bad", "--yes", "--url", r.url)
		}
	}
	// The file itself was good all along.
	if code, out, errs := called(t, packed(t, whole), "doc", "import", "good", "-", "--url", r.url); code != 0 || !strings.Contains(out, "2 records") {
		t.Errorf("the whole export from stdin: %d, %s%s", code, out, errs)
	}
}

func TestUpdatesOfBothFormatsAreImported(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	update := updateOf(t, "both")
	v2, err := yjs.ToV2(update)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		update []byte
		args   []string
	}{"v1": {update, nil}, "v2": {v2, []string{"--v2"}}} {
		if code, _, errs := called(t, string(c.update), append([]string{"doc", "import", name, "--url", r.url}, c.args...)...); code != 0 {
			t.Errorf("%s: %s", name, errs)
		}
		if _, text, _ := called(t, "", "doc", "get", name, "--format", "text", "--type", "t:text", "--url", r.url); strings.TrimSpace(text) != "both" {
			t.Errorf("%s: the document is %q", name, text)
		}
	}
}

// TestNamesTravelUnchangedThroughTheShell: a name is a word of the shell, a part of a path, and a subject of NATS.
func TestNamesTravelUnchangedThroughTheShell(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	for _, name := range []string{"a b", "dir/.../other", "100%", "%2e%2e", "q?x=1#y", "-dash", "--json", "a.b.*.>", "é/ü", "semi;colon&and=is", `quo"te`, "~"} {
		update := updateOf(t, "text of "+name)
		if code, _, errs := called(t, string(update), "doc", "import", "--url", r.url, "--", name); code != 0 {
			t.Errorf("import of %q: %s", name, errs)
			continue
		}
		if code, text, errs := called(t, "", "doc", "get", "--format", "text", "--type", "t:text", "--url", r.url, "--", name); code != 0 || strings.TrimSuffix(text, "\n") != "text of "+name {
			t.Errorf("%q reads %q, %s", name, text, errs)
		}
		if code, out, errs := called(t, "", "doc", "rm", "--yes", "--url", r.url, "--", name); code != 0 || out != clean(name)+" deleted\n" {
			t.Errorf("rm of %q: %d, %q, %s", name, code, out, errs)
		}
	}
	for _, name := range []string{"a\nb", "a\x00b", "/", "//", "dir/../other", ".", strings.Repeat("x", 2000), "\xff"} {
		if code, out, errs := called(t, string(updateOf(t, "x")), "doc", "import", "--url", r.url, "--", name); code != 1 || out != "" || strings.ContainsAny(strings.TrimSuffix(errs, "\n"), "\n\x00") {
			t.Errorf("import of %.20q: %d, %q, %q; want a refusal in one line", name, code, out, errs)
		}
	}
	if code, out, _ := called(t, "", "doc", "ls", "--url", r.url); code != 0 || out != "" {
		t.Errorf("left: %s", out)
	}
}
