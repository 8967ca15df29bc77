package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestDocumentsAreEditedFromTheShell(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	file := filepath.Join(t.TempDir(), "edits.json")
	if err := os.WriteFile(file, []byte(`[{"type":"map","name":"m","op":"set","key":"k","value":1},{"type":"array","name":"a","op":"push","values":[1]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stdin string
		args  string
		code  int
		want  string
	}{
		{"", `append d --type t:text "one two"`, 0, "d edited by sequence"},
		{" three", `append d --type t:text`, 0, "d edited by sequence"},
		{"", `edit d --type t:text --find two --with 2`, 0, "texts replaced: 1"},
		{"", `edit d --type t:text --find o --with 0 --all --json`, 0, `"changed":true`},
		{"", `get d --format text --type t:text`, 0, "0ne 2 three"},
		{"", `edit d --type t:text --find nowhere --with x`, 1, "no-match"},
		{"", `append x --type f:xml "# A *b*"`, 0, "x edited"},
		{"", `get x --type f:xml`, 0, `<heading level=\"1\">A <italic>b</italic></heading>`},
		{"", `append d --type a:array 5`, 0, "d edited"},
		{"", `append d --type a:array word`, 2, "no JSON value"},
		{"", `edit d ` + file, 0, "d edited"},
		{`{"type":"map","name":"m","op":"unset","key":"none"}`, `edit d`, 0, "as it was"},
		{`{"ops":[{"type":"map","name":"m","op":"set","key":"k","value":2}]}`, `edit d - --key job --json`, 0, `"changed":true`},
		{`{"ops":[{"type":"map","name":"m","op":"set","key":"k","value":3}]}`, `edit d - --key job`, 1, "key-reused"},
		{`{"ops":[{"type":"map","name":"m","op":"set","key":"k","value":3}]}`, `edit d --if-seq 1`, 1, "moved-on"},
		{`{"ops":[{"type":"map","name":"m","op":"put","key":"k","value":3}]}`, `edit d`, 1, "ops[0].op"},
		{``, `edit d`, 2, "no edits"},
		{`{`, `edit d`, 1, "no JSON"},
		{`{"ops":[]}`, `edit d --type t:text --find "" --with x`, 2, "--find is empty"}, // an unset variable
		{``, `append d "x"`, 2, "--type"},
		{``, `append d --type t:map "x"`, 2, "kind"},
		{``, `edit d ` + file + ` --find a --with b --type t:text`, 2, "not both"},
	} {
		code, out, errs := called(t, c.stdin, append(append([]string{"doc"}, words(c.args)...), "--url", r.url)...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("doc %s = %d %s%s, want %d with %q", c.args, code, out, errs, c.code, c.want)
		}
	}
	for _, command := range []string{"edit", "append"} {
		if code, out, _ := called(t, "", "doc", command, "--help"); code != 0 || !strings.Contains(out, "Examples:\n  yjet doc "+command) {
			t.Errorf("doc %s --help = %d %s", command, code, out)
		}
	}
	r.end(t)
}

// Every example of the page about editing is sent, in order, to a document that begins empty.
func TestExamplesOfThePageAboutEditingRun(t *testing.T) {
	page, err := os.ReadFile("../../docs/edit.md")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, devArgs(t.TempDir())...)
	bodies := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	curl := regexp.MustCompile(`(?s)curl -X PATCH http://127.0.0.1:1999/api/docs/notes%2Ftodo .*?-d '([^']*)'`).FindAllStringSubmatch(string(page), -1)
	for _, b := range append(curl, bodies...) {
		var edits struct{ Ops []json.RawMessage }
		if err := json.Unmarshal([]byte(b[1]), &edits); err != nil || len(edits.Ops) == 0 {
			t.Errorf("an example is no list of edits: %v\n%s", err, b[1])
		}
		if code, out, errs := called(t, b[1], "doc", "edit", "notes/todo", "--url", r.url); code != 0 {
			t.Errorf("doc edit = %d %s%s\n%s", code, out, errs, b[1])
		}
	}
	ran := 0
	for _, line := range documented(t)["../../docs/edit.md"] {
		if strings.HasPrefix(line, "yjet doc ") {
			ran++
			if code, out, errs := called(t, "", append(words(line)[1:], "--url", r.url)...); code != 0 {
				t.Errorf("%s = %d %s%s", line, code, out, errs)
			}
		}
	}
	if len(curl) != 1 || len(bodies) < 3 || ran < 4 {
		t.Errorf("ran %d curl commands, %d bodies and %d commands, want all of the page", len(curl), len(bodies), ran)
	}
	_, out, _ := called(t, "", "doc", "get", "notes/todo", "--type", "content:text,default:xml", "--url", r.url)
	for _, want := range []string{`Shopping\nbuy oat milk`, `{"dark":true}`, `<taskitem checked=\"false\"><paragraph>call <bold>Ada</bold></paragraph>`, `<paragraph>print it</paragraph>`, `textAlign=\"center\"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the document has no %s:\n%s", want, out)
		}
	}
	r.end(t)
}
