package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestListIsPagedFilteredAndBounded(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	for _, name := range []string{"a/1", "a/2", "a/3", "b"} {
		importDoc(t, r.url, name, 1)
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"a/1", "a/2", "a/3", "b"}},
		{[]string{"a/"}, []string{"a/1", "a/2", "a/3"}},
		{[]string{"--limit", "2"}, []string{"a/1", "a/2"}},
		{[]string{"nothing/"}, nil},
	} {
		code, out, errs := called(t, "", append([]string{"doc", "ls", "--url", r.url}, c.args...)...)
		var got []string
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); f[0] != "LAST" {
				got = append(got, f[len(f)-1])
			}
		}
		if code != 0 || strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("ls %v: code %d, got %q, want %q\n%s", c.args, code, got, c.want, errs)
		}
	}
	code, out, errs := called(t, "", "doc", "ls", "a/", "--json", "--url", r.url)
	var page struct{ Docs []listedDoc }
	if err := json.Unmarshal([]byte(out), &page); code != 0 || err != nil || len(page.Docs) != 3 || page.Docs[0].ID != "a/1" || page.Docs[0].Updates != 1 {
		t.Errorf("ls --json: code %d, %v, %+v %s", code, err, page, errs)
	}
}

func TestLogTellsEachRecordInOrder(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "typed", 3)
	code, out, errs := called(t, "", "doc", "log", "typed", "--json", "--url", r.url)
	if code != 0 {
		t.Fatalf("code %d: %s", code, errs)
	}
	var last uint64
	lines := 0
	for line := range strings.Lines(out) {
		var record struct {
			Seq    uint64
			Time   time.Time
			Update []byte
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if record.Seq <= last || record.Time.IsZero() || len(record.Update) == 0 {
			t.Errorf("after sequence %d comes %+v", last, record)
		}
		last = record.Seq
		lines++
	}
	if lines != 3 {
		t.Errorf("%d records, want 3:\n%s", lines, out)
	}
	code, out, errs = called(t, "", "doc", "show", "typed", "--group", "none", "--limit", "2", "--url", r.url)
	if code != 0 || !strings.Contains(out, "document  typed") || strings.Count(out, "\n") != 7 {
		t.Errorf("show with two entries: code %d\n%s%s", code, out, errs)
	}
}

func TestMomentsThatCannotBeReadAreRefused(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "now", 1)
	for _, c := range []struct{ at, says string }{
		{"2999-01-01T00:00:00Z", "future"},
		{"nonsense", "bad-moment"},
		{"-5m", "bad-moment"},
	} {
		code, out, errs := called(t, "", "doc", "get", "now", "--at="+c.at, "--url", r.url)
		if code != 1 || !strings.Contains(errs, c.says) {
			t.Errorf("--at %s: got code %d, %q and %q, want 1 and something with %q", c.at, code, out, errs, c.says)
		}
	}
}

func TestExportAppearsWholeOrNotAtAll(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "whole", 2)
	dir := t.TempDir()
	file := filepath.Join(dir, "x.yjet")
	if code, _, errs := called(t, "", "doc", "export", "whole", "--out", file, "--url", r.url); code != 0 {
		t.Fatalf("code %d: %s", code, errs)
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the export: got %v, %v, want it readable by its owner alone", info.Mode(), err)
	}
	if code, _, errs := called(t, "", "doc", "export", "nobody", "--out", file, "--force", "--url", r.url); code != 1 || !strings.Contains(errs, "not-found") {
		t.Errorf("export of no document: got code %d and %q", code, errs)
	}
	if again, err := os.ReadFile(file); err != nil || string(again) != string(first) {
		t.Errorf("a failed export changed the file of the one before: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("in the directory are %q, want the export alone", left)
	}
}

func TestNamesCannotSteerTheTerminal(t *testing.T) {
	for name, want := range map[string]string{
		"notes/todo": "notes/todo", "": "-", "two words": `"two words"`, "\x1b[2J": `"\x1b[2J"`, "é": "é", "a\nb": `"a\nb"`, "\u202eabc": `"\u202eabc"`,
	} {
		if got := clean(name); got != want {
			t.Errorf("clean(%q) = %s, want %s", name, got, want)
		}
	}
}
