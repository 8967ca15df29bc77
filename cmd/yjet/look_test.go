package main

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFlippedBitInTheStoreIsPutRight damages the sequence of a record as a failing disk would. The NATS inside would count up to it
// until memory is full.
func TestFlippedBitInTheStoreIsPutRight(t *testing.T) {
	data := t.TempDir()
	args := append(devArgs(data), "--compact-after", "1h")
	r := start(t, args...)
	const edits = 20
	d := &killDoc{name: "flip", client: 7}
	for i := range uint64(edits) {
		resp, err := post(t.Context(), r.url+"/api/docs/flip", d.insertion("x"))
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatalf("edit %d: %v, %v", i, resp, err)
		}
		d.acked = i + 1
	}
	_, before := get(t, r.url+"/api/docs/flip?format=text&type=text:text")
	r.end(t)
	if info, err := os.Stat(filepath.Join(data, "lock")); err != nil || info.Size() != 0 {
		t.Errorf("lock file after a clean stop: %v, %v; want it empty", info, err)
	}

	flipped := 0
	blocks, err := filepath.Glob(filepath.Join(data, "jetstream", "*", "streams", "YDOC_*", "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range blocks {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte(".flip")) {
			continue
		}
		at := 0
		for range 10 { // the eleventh record
			at += int(binary.LittleEndian.Uint32(b[at:]) &^ (1 << 31))
		}
		b[at+4+5] ^= 1 << 2
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	if flipped != 1 {
		t.Fatalf("%d blocks hold the document, want one", flipped)
	}

	r = start(t, args...)
	if _, after := get(t, r.url+"/api/docs/flip?format=text&type=text:text"); after != before || strings.Count(after, "x") != edits {
		t.Errorf("the document is %q, was %q", after, before)
	}
	r.end(t)
	if !strings.Contains(r.log.String(), "could be put right") {
		t.Errorf("nothing is said of the damage: %s", r.log)
	}
}
