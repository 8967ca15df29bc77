package main

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"yjet/internal/natstest"
)

// TestRemovedDocumentIsInNoFile: what folds had taken out of the log before is not left either, between other documents' records,
// as soon as the command has answered.
func TestRemovedDocumentIsInNoFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there the files are left to NATS")
	}
	data := t.TempDir()
	r := start(t, "serve", "--auth", "none", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data", data,
		"--durability", "process", "--compact-after", "1h")
	write := func(d *killDoc, text string) {
		t.Helper()
		resp, err := post(t.Context(), r.url+"/api/docs/"+d.name, d.insertion(text))
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatalf("edit of %s: %v, %v", d.name, resp, err)
		}
		d.acked += uint64(len(text))
	}
	doc := func(args ...string) {
		t.Helper()
		if code, out, errs := called(t, "", append([]string{"doc", "--url", r.url}, args...)...); code != 0 {
			t.Fatalf("doc %v = %d: %s%s", args, code, out, errs)
		}
	}
	holding := func() []string { t.Helper(); return natstest.FilesWith(t, data, "SECRET") }
	var neighbours []*killDoc
	for i := range 6 { // in both shards
		neighbours = append(neighbours, &killDoc{name: fmt.Sprint("neighbour", i), client: uint64(100 + i)})
	}
	secret := &killDoc{name: "secret", client: 7}
	for i := range 30 {
		write(secret, fmt.Sprint("SECRET ", i))
		for _, n := range neighbours {
			write(n, strings.Repeat("neighbour ", 12<<10)) // 11 MB a shard
		}
		if i%10 == 9 {
			doc("versions", "secret", "--add", fmt.Sprint("SECRET-", i)) // which folds
		}
	}
	if len(holding()) < 2 {
		t.Fatal("the text is in no file before: the test looks in the wrong place")
	}
	doc("rm", "secret")
	if got := holding(); len(got) != 0 {
		t.Errorf("the text is still in %q", got)
	}
	r.end(t)
	if got := holding(); len(got) != 0 {
		t.Errorf("after the stop the text is in %q", got)
	}
	if code, out, errs := called(t, "", "verify", "--data", data); code != 0 {
		t.Errorf("verify = %d: %s%s", code, out, errs)
	}
	if got := holding(); len(got) != 0 {
		t.Errorf("after another start the text is in %q", got)
	}
}
