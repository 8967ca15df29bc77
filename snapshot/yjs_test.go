package snapshot

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"yjet/stream"
)

// yjsDir holds the npm packages that tests of package yjs install.
const yjsDir = "../internal/yjs/testdata"

// moments reads lines {updates, state}: it applies the updates to a document that goes on from line to line, the state to an
// empty one, and tells whether both show the same. What waits for something missing cannot be compared: Yjs keeps more waiting
// than it must.
const moments = `
import readline from 'node:readline'
import * as Y from 'yjs'
const plain = () => {
  const doc = new Y.Doc({ gc: true })
  doc.on('afterTransaction', tr => { tr._needFormattingCleanup = false })
  return doc
}
const sorted = v => v === null || typeof v !== 'object' ? v : Array.isArray(v) ? v.map(sorted)
  : Object.fromEntries(Object.keys(v).sort().map(k => [k, sorted(v[k])]))
const show = doc => JSON.stringify(sorted(JSON.parse(JSON.stringify([doc.getText('rich').toDelta(), doc.getMap('meta').toJSON(), doc.getArray('list').toJSON(),
  doc.getXmlFragment('prosemirror').toString()]))))
const held = doc => JSON.stringify([[...Y.snapshot(doc).sv], [...Y.snapshot(doc).ds.clients].map(([c, l]) => [c, l.map(d => [d.clock, d.len])])])
const all = plain()
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { updates, state } = JSON.parse(line)
  for (const u of updates) Y.applyUpdate(all, Buffer.from(u, 'base64'))
  const one = plain()
  Y.applyUpdate(one, Buffer.from(state, 'base64'))
  const waits = [all, one].some(d => d.store.pendingStructs !== null || d.store.pendingDs !== null)
  const a = show(all), b = show(one)
  console.log(JSON.stringify({ waits, same: a === b && Y.equalSnapshots(Y.snapshot(all), Y.snapshot(one)), want: a === b ? held(all) : a, got: a === b ? held(one) : b }))
}
`

// readTrace reads gzip(repeat(varUint(length) • update)).
func readTrace(t testing.TB, path string) [][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("no trace: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var updates [][]byte
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		updates = append(updates, b[w:w+int(n):w+int(n)])
		b = b[w+int(n):]
	}
	return updates
}

// TestEveryMomentIsWhatYjsShows compares time travel with npm yjs, on rich text, maps, arrays and XML of five people.
func TestEveryMomentIsWhatYjsShows(t *testing.T) {
	node, err := exec.LookPath("node")
	if _, serr := os.Stat(filepath.Join(yjsDir, "node_modules", "yjs")); err != nil || serr != nil {
		t.Skipf("NOT COMPARED WITH YJS: no node, or its packages are not installed yet, which the tests of internal/yjs do (%v, %v)", err, serr)
	}
	updates := readTrace(t, filepath.Join(yjsDir, "traces", "rich-mixed.v1.gz"))
	tries := 40
	if !long {
		updates = updates[:2500]
	} else {
		tries = 400
	}
	h := newHouse(t)
	s := h.store(Options{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	doc := stream.Doc("rich")
	var seqs []stream.Seq
	a := h.author(doc, "ada")
	for at := 0; at < len(updates); {
		n := min(1+rnd.IntN(400), len(updates)-at)
		entries := make([]stream.Entry, n)
		for i := range entries {
			entries[i] = stream.Entry{User: "ada", Update: updates[at+i]}
		}
		seqs = append(seqs, a.append(entries...)...)
		at += n
		if rnd.IntN(3) == 0 {
			mustFold(t, s, doc)
		}
	}
	for round := range 2 {
		cmd := exec.CommandContext(h.ctx, node, "--input-type=module", "-e", moments)
		cmd.Dir = yjsDir
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReaderSize(out, 1<<20)
		ns := make([]int, tries)
		for i := range ns {
			ns[i] = 1 + rnd.IntN(len(updates))
		}
		slices.Sort(ns)
		compared, sent := 0, 0
		for _, n := range ns {
			st, err := s.At(h.ctx, doc, Moment{Seq: seqs[n-1]})
			if err != nil {
				t.Fatalf("at %d: %v", n, err)
			}
			if err := json.NewEncoder(in).Encode(map[string]any{"updates": append([][]byte{}, updates[sent:n]...), "state": st.Update}); err != nil {
				t.Fatal(err)
			}
			sent = n
			line, err := lines.ReadBytes('\n')
			if err != nil {
				t.Fatalf("at %d: node: %v", n, err)
			}
			var v struct {
				Waits, Same bool
				Want, Got   string
			}
			if err := json.Unmarshal(line, &v); err != nil {
				t.Fatal(err)
			}
			if v.Waits {
				continue
			}
			compared++
			if !v.Same {
				t.Fatalf("round %d: after record %d of %d yjs shows %s, time travel %s", round, n, len(updates), around([]byte(v.Want), []byte(v.Got)), around([]byte(v.Got), []byte(v.Want)))
			}
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d of %d moments compared", compared, tries)
		if compared < tries/4 {
			t.Errorf("only %d of %d moments could be compared", compared, tries)
		}
		mustFold(t, s, doc)
	}
	if _, err := s.VerifyDoc(h.ctx, doc); err != nil {
		t.Error(err)
	}
}
