package main

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/natstest"
)

// TestServeRefusesAStoreOfTheOldLayout: exit code 1, a sentence that says what to do, and not a byte of the store changed.
func TestServeRefusesAStoreOfTheOldLayout(t *testing.T) {
	dir := t.TempDir()
	srv := natstest.Start(t, natstest.StoreDir(dir))
	js, err := jetstream.New(srv.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "YDOC_00", Subjects: []string{"ydoc.00.*"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "ydoc.00.notes/todo", []byte("record")); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	before := filesOf(t, dir)
	var out, errs bytes.Buffer
	code := run(t.Context(), process{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}, []string{"serve", "--data", dir, "--auth", "none", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"})
	if code != 1 || !strings.Contains(errs.String(), "yjet doc export") || !strings.Contains(errs.String(), "yjet doc import") {
		t.Errorf("exit code %d and %q, want 1 and how to carry the documents over", code, errs.String())
	}
	after := filesOf(t, dir)
	delete(before, "/lock") // which a start makes and takes away
	delete(after, "/lock")
	if !maps.Equal(before, after) {
		t.Errorf("the store was\n%v\nand is\n%v", before, after)
	}
}
