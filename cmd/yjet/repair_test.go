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

// TestFlippedBitIsPutRightByVerifyRepair damages the sequence of a record as a failing disk would. The embedded NATS would count up to it
// until memory is full.
func TestFlippedBitIsPutRightByVerifyRepair(t *testing.T) {
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

	code, out, errs := runCommand("", "verify", "--data", data)
	if code != 1 || !strings.Contains(out, "broken") || !strings.Contains(errs, "verify --repair") {
		t.Errorf("verify of the damaged store = %d: %s%s; want the damage told", code, out, errs)
	}
	code, out, errs = runCommand("", "verify", "--repair", "--data", data)
	if code != 0 || !strings.Contains(out, "mended") || !strings.Contains(out, "ok: replay") {
		t.Errorf("verify --repair = %d: %s%s; want it mended, and the documents whole", code, out, errs)
	}
	r = start(t, args...)
	if _, after := get(t, r.url+"/api/docs/flip?format=text&type=text:text"); after != before || strings.Count(after, "x") != edits {
		t.Errorf("the document is %q, was %q", after, before)
	}
	r.end(t)
}
