package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"yjet/internal/natstest"
)

// TestRemovedDocumentIsInNoFileAfterTheNextStart: what folds had taken out of the log before is not left either, between other documents'
// records. What nobody erased, and folds took out of the log, `yjet erase` overwrites.
func TestRemovedDocumentIsInNoFileAfterTheNextStart(t *testing.T) {
	data := t.TempDir()
	serve := []string{"serve", "--auth", "none", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data", data,
		"--durability", "process", "--compact-after", "1h"}
	r := start(t, serve...)
	write := func(d *killDoc, text string) {
		t.Helper()
		resp, err := post(t.Context(), r.url+"/api/docs/"+d.name, d.insertion(text))
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatalf("edit of %s: %v, %v", d.name, resp, err)
		}
		d.acked += uint64(len(text))
	}
	doc := func(args ...string) (stderr string) {
		t.Helper()
		code, out, errs := called(t, "", append([]string{"doc", "--url", r.url}, args...)...)
		if code != 0 {
			t.Fatalf("doc %v = %d: %s%s", args, code, out, errs)
		}
		return errs
	}
	holding := func(text string) []string {
		t.Helper()
		return natstest.FilesWith(t, filepath.Join(data, "jetstream"), text)
	}
	var neighbours []*killDoc
	for i := range 6 { // in both shards
		neighbours = append(neighbours, &killDoc{name: fmt.Sprint("neighbour", i), client: uint64(100 + i)})
	}
	secret, kept := &killDoc{name: "secret", client: 7}, &killDoc{name: "kept", client: 8}
	for i := range 30 {
		write(secret, fmt.Sprint("SECRET ", i))
		write(kept, fmt.Sprint("TRIMMED ", i))
		for _, n := range neighbours {
			write(n, strings.Repeat("neighbour ", 12<<10)) // 11 MB a shard
		}
		if i%10 == 9 {
			doc("versions", "secret", "--add", fmt.Sprint("SECRET-", i)) // which folds
			doc("versions", "kept", "--add", "one")
			doc("versions", "kept", "--remove", "one")
		}
	}
	if said := doc("rm", "secret", "--yes"); !strings.Contains(said, "yjet erase") {
		t.Errorf("doc rm says %q of what is left", said)
	}
	if len(holding("SECRET")) == 0 {
		t.Fatal("NATS left nothing: the test tests nothing")
	}
	r.end(t)
	r = start(t, serve...)
	if got := holding("SECRET"); len(got) != 0 {
		t.Errorf("after the next start the text is in %q", got)
	}
	r.end(t)
	var counts struct {
		Messages int  `json:"messages"`
		OK       bool `json:"ok"`
	}
	code, out, errs := called(t, "", "erase", "--data", data, "--json")
	if err := json.Unmarshal([]byte(out), &counts); code != 0 || err != nil || counts.Messages == 0 || !counts.OK {
		t.Errorf("erase = %d: %s%s; want what folds took out of the log overwritten", code, out, errs)
	}
	if code, out, errs := called(t, "", "erase", "--data", data); code != 0 || !strings.Contains(out, "messages overwritten 0") || !strings.Contains(errs, " files\n") {
		t.Errorf("a second erase = %d: %s%s; want nothing to do, and progress", code, out, errs)
	}
	if code, out, errs := called(t, "", "verify", "--data", data); code != 0 {
		t.Errorf("verify = %d: %s%s", code, out, errs)
	}
	r = start(t, serve...)
	if _, text := get(t, r.url+"/api/docs/kept?format=text&type=text:text"); !strings.Contains(text, "TRIMMED 29") {
		t.Errorf("the document that was kept is %q", text)
	}
	if code, _, errs := called(t, "", "erase", "--data", data); code != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("erase beside the server = %d, %q; want a refusal", code, errs)
	}
	if code, _, errs := called(t, "", "erase", "--data", t.TempDir()); code != 1 || !strings.Contains(errs, "no store") {
		t.Errorf("erase of an empty directory = %d, %q; want a refusal", code, errs)
	}
}
