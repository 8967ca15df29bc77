package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"yjet/internal/yjs"
)

// answered runs a doc command with --json and decodes its one JSON object.
func answered(t *testing.T, url, stdin string, args ...string) map[string]any {
	t.Helper()
	code, out, errs := called(t, stdin, append(append([]string{"doc"}, args...), "--json", "--url", url)...)
	if code != 0 || errs != "" {
		t.Fatalf("doc %v --json = %d: %s%s", args, code, out, errs)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(out), &object); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatalf("doc %v --json answers %q, %v; want one object on one line", args, out, err)
	}
	return object
}

// sameAnswer compares an answer with the keys and values that its command's help names.
func sameAnswer(t *testing.T, what string, got, want map[string]any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if !bytes.Equal(g, w) {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

func TestEachDocCommandAnswersOneObjectWithJSON(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	typing := &typist{client: 7, root: "t"}
	first, second := string(typing.next()), string(typing.next())
	const doc = "notes/<b> & más"

	got := answered(t, r.url, first, "import", doc)
	seq := got["seq"]
	if n, ok := seq.(float64); !ok || n < 1 {
		t.Fatalf("import answers sequence %v", seq)
	}
	sameAnswer(t, "import of an update", got, map[string]any{"doc": doc, "bytes": len(first), "seq": seq})
	got = answered(t, r.url, second, "import", doc, "--merge")
	if got["seq"].(float64) <= seq.(float64) {
		t.Errorf("a second update has sequence %v after %v", got["seq"], seq)
	}
	seq = got["seq"]

	sameAnswer(t, "get", answered(t, r.url, "", "get", doc, "--type", "t:text"),
		map[string]any{"doc": doc, "format": "json", "seq": seq, "state": map[string]any{"t": "ab"}})
	sameAnswer(t, "get text", answered(t, r.url, "", "get", doc, "--format", "text", "--type", "t:text"),
		map[string]any{"doc": doc, "format": "text", "seq": seq, "state": "ab"})
	code, update, errs := called(t, "", "doc", "get", doc, "--format", "update", "--url", r.url)
	if code != 0 {
		t.Fatal(errs)
	}
	sameAnswer(t, "get update", answered(t, r.url, "", "get", doc, "--format", "update"),
		map[string]any{"doc": doc, "format": "update", "seq": seq, "state": base64.StdEncoding.EncodeToString([]byte(update))})
	file := filepath.Join(t.TempDir(), "state.bin")
	sameAnswer(t, "get into a file", answered(t, r.url, "", "get", doc, "--format", "update", "--out", file),
		map[string]any{"doc": doc, "format": "update", "seq": seq, "bytes": len(update), "file": file})
	if b, err := os.ReadFile(file); err != nil || string(b) != update {
		t.Errorf("the file has %d bytes, %v; want the %d of the update", len(b), err, len(update))
	}

	file = filepath.Join(t.TempDir(), "export.yjet.gz")
	got = answered(t, r.url, "", "export", doc, "--out", file)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, "export", got, map[string]any{"doc": doc, "file": file, "bytes": info.Size(), "records": 2, "seq": seq})
	answered(t, r.url, "", "versions", doc, "--add", "draft")
	sameAnswer(t, "removal of a version", answered(t, r.url, "", "versions", doc, "--remove", "draft"), map[string]any{"doc": doc, "removed": "draft"})
	got = answered(t, r.url, "", "import", "again", file)
	sameAnswer(t, "import of an export", got, map[string]any{"doc": "again", "records": 2, "versions": 0, "seq": got["seq"]})

	got = answered(t, r.url, "", "rm", doc, "--yes")
	if left, ok := got["left"].(string); !ok || !strings.Contains(left, "yjet erase") {
		t.Errorf("rm answers %v, want what may be left, and the command for it", got)
	}
	sameAnswer(t, "rm", got, map[string]any{"doc": doc, "deleted": true, "left": got["left"]})
	if list := answered(t, r.url, "", "ls"); len(list["docs"].([]any)) != 1 {
		t.Errorf("ls answers %v, want one document", list)
	}
	sameAnswer(t, "a list of nothing", answered(t, r.url, "", "ls", "nobody/"), map[string]any{"docs": []any{}})
}

// A script that reads stdout sees an object or nothing.
func TestFailuresWithJSONLeaveStdoutEmpty(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	importDoc(t, r.url, "there", 1)
	for _, args := range [][]string{
		{"get", "nobody"}, {"export", "nobody", "--out", filepath.Join(t.TempDir(), "x")}, {"import", "there", "--merge"}, {"rm", "nobody", "--yes"}, {"rm", "there"},
		{"get", "there", "--format", "poem"}, {"export", "there"}, {"show", "nobody"}, {"copy", "nobody", "new"}, {"restore", "there", "no such version"},
	} {
		code, out, errs := called(t, "", append(append([]string{"doc"}, args...), "--json", "--url", r.url)...)
		if code == 0 || out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("doc %v --json = %d, stdout %q, stderr %q; want a failure in one line of stderr", args, code, out, errs)
		}
	}
}

// A page of the server has 500 documents.
func TestListInJSONHasAllDocuments(t *testing.T) {
	r := start(t, append(devArgs(t.TempDir()), "--durability", "process")...)
	const n = 503
	d := &typist{client: 7, root: "t"}
	update := d.next()
	for i := range n {
		if resp, err := post(t.Context(), fmt.Sprintf("%s/api/docs/many%%2F%04d", r.url, i), update); err != nil || resp.StatusCode != 204 {
			t.Fatalf("document %d: %v, %v", i, resp, err)
		}
	}
	for _, c := range []struct{ limit, want int }{{0, n}, {501, 501}, {3, 3}} {
		list := answered(t, r.url, "", "ls", "many/", "--limit", fmt.Sprint(c.limit))["docs"].([]any)
		if len(list) != c.want {
			t.Errorf("--limit %d: %d documents, want %d", c.limit, len(list), c.want)
			continue
		}
		keys := slices.Sorted(maps.Keys(list[0].(map[string]any)))
		if last := list[len(list)-1].(map[string]any)["id"]; last != fmt.Sprintf("many/%04d", c.want-1) || !slices.Contains(keys, "lastEdit") || !slices.Contains(keys, "sessions") {
			t.Errorf("--limit %d ends with %v, keys %v", c.limit, last, keys)
		}
	}
}

// The keys that a help names are those of the answer.
func TestHelpNamesTheKeysOfItsAnswer(t *testing.T) {
	for name, keys := range map[string]string{
		"ls": "docs id bytes updates lastEdit sessions seq", "get": "doc format seq bytes state file", "export": "doc file bytes records seq",
		"import": "doc records versions seq bytes", "rm": "doc deleted left", "versions": "doc removed",
	} {
		code, help, _ := called(t, "", "doc", name, "--help")
		for _, key := range strings.Fields(keys) {
			if code != 0 || !strings.Contains(help, `"`+key+`"`) {
				t.Errorf("the help of doc %s does not name %q", name, key)
			}
		}
	}
}

// updateOf is the update of a document with one root text.
func updateOf(t *testing.T, text string) []byte {
	t.Helper()
	d := yjs.NewDocument(yjs.DocumentOptions{})
	u, err := d.Edit(7, func(tx *yjs.Tx) error { return tx.Text("t").Insert(0, text, nil) })
	if err != nil {
		t.Fatal(err)
	}
	return u
}
