package yjs

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"testing"
)

func manifestOf(t testing.TB, name string) (m struct {
	Root, TextSha256, StateVector string
	TextLengthUtf16               int
	StateAsUpdate                 struct{ Bytes int }
}) {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(traceDir(t, name), "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(p, &all); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(all[name], &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// richFinal is what rich-mixed.final.json has: delta, JSON and markup, with tags for what JSON lacks.
func richFinal(t *testing.T, d *Document) any {
	t.Helper()
	xml, err := d.XML("prosemirror", KindAuto, nil)
	if err != nil {
		t.Fatal(err)
	}
	return jsonTree(t, object{
		"rich":        object{"text": textOf(d, "rich"), "delta": finalDelta(d.roots["rich"])},
		"meta":        finalValue(d.roots["meta"], KindMap),
		"list":        finalValue(d.roots["list"], KindArray),
		"prosemirror": xml,
	})
}

// finalValue is toJSON, with tags.
func finalValue(t *docType, kind Kind) any {
	switch kind {
	case KindText:
		return string(t.text(nil))
	case KindMap, KindXMLHook:
		m := object{}
		for _, e := range t.entries {
			if it := e.value(); it != nil {
				u := finalUnits(it)
				m[e.key] = u[len(u)-1]
			}
		}
		return m
	case KindArray:
		list := []any{}
		for it := t.start; it != nil; it = it.right {
			if it.visible() {
				list = append(list, finalUnits(it)...)
			}
		}
		return list
	}
	var w xmlWriter
	w.shared(t, kind)
	return string(w.dst)
}

func finalUnits(it *docItem) []any {
	if it.ref == RefType {
		return []any{finalValue(it.typ, it.typ.kind)}
	}
	if it.ref == RefDoc {
		return []any{object{}} // a Y.Doc without roots as JSON
	}
	return normUnits(it)
}

func finalDelta(t *docType) any {
	delta := []any{}
	t.eachInsert(func(text []byte, it *docItem, marks []docMark) bool {
		op := object{"insert": string(text)}
		if it != nil && it.ref == RefType {
			op["insert"] = finalValue(it.typ, it.typ.kind)
		} else if it != nil {
			op["insert"] = normUnits(it)[0]
		}
		if len(marks) > 0 {
			attributes := object{}
			for _, m := range marks {
				attributes[m.key] = normJSON(m.value)
			}
			op["attributes"] = attributes
		}
		delta = append(delta, op)
		return true
	})
	return delta
}

func TestTracesGiveTheirFinalState(t *testing.T) {
	for _, name := range traceNames {
		t.Run(name, func(t *testing.T) {
			if raceEnabled && name != "rich-mixed" {
				t.Skip("one is enough under the race detector")
			}
			tr := loadTrace(t, name)
			m := manifestOf(t, name)
			merged := must2(t)(Merge(tr.updates...))
			compacted := must2(t)(Compact(tr.updates...))
			joined := must2(t)(Join(merged))
			back := make([][]byte, len(tr.updates))
			for i, u := range tr.updates {
				back[len(back)-1-i] = u
			}
			ways := map[string][][]byte{"one by one": tr.updates, "merged": {merged}, "joined": {joined}, "compacted": {compacted}, "backwards": back}
			for how, updates := range ways {
				if how == "backwards" && len(updates) > 30_000 {
					continue
				}
				for _, keep := range []bool{false, true} {
					d := NewDocument(DocumentOptions{KeepDeleted: keep})
					for i, u := range updates {
						if err := d.Apply(u); err != nil {
							t.Fatalf("%s: update %d: %v", how, i, err)
						}
					}
					if err := d.check(); err != nil {
						t.Fatalf("%s: %v", how, err)
					}
					again, err := OpenDocument(DocumentOptions{KeepDeleted: keep}, d.Encode(nil))
					if err != nil {
						t.Fatalf("%s: own state: %v", how, err)
					}
					for _, d := range []*Document{d, again} {
						checkFinal(t, how, d, m.Root, m.TextSha256, tr.vector)
					}
					if size := len(d.Encode(nil)); !keep && m.StateAsUpdate.Bytes > 0 && float64(size) > 1.05*float64(m.StateAsUpdate.Bytes) {
						t.Errorf("%s: size: got %d, want at most 5 %% over %d", how, size, m.StateAsUpdate.Bytes)
					} else {
						t.Logf("%s, keep %v: %d bytes, Yjs with gc %d", how, keep, size, m.StateAsUpdate.Bytes)
					}
				}
			}
		})
	}
}

// firstDifference says where two trees of JSON part.
func firstDifference(a, b any) string {
	switch x := a.(type) {
	case object:
		y, ok := b.(object)
		if !ok || len(x) != len(y) {
			break
		}
		for k := range x {
			if !reflect.DeepEqual(x[k], y[k]) {
				return k + "." + firstDifference(x[k], y[k])
			}
		}
	case []any:
		y, ok := b.([]any)
		if !ok {
			break
		}
		for i := range min(len(x), len(y)) {
			if !reflect.DeepEqual(x[i], y[i]) {
				return strconv.Itoa(i) + "." + firstDifference(x[i], y[i])
			}
		}
	}
	return fmt.Sprintf("got %.300s, want %.300s", mustJSON(a), mustJSON(b))
}

func checkFinal(t *testing.T, how string, d *Document, root, sum string, vector StateVector) {
	t.Helper()
	if root == "" {
		root = "rich"
		var want any
		p, err := os.ReadFile("testdata/traces/rich-mixed.final.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(p, &want); err != nil {
			t.Fatal(err)
		}
		if got := richFinal(t, d); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: final state: %s", how, firstDifference(got, want))
		}
	}
	h := sha256.Sum256([]byte(textOf(d, root)))
	if got := hex.EncodeToString(h[:]); got != sum {
		t.Errorf("%s: text: got sum %s, want %s", how, got, sum)
	}
	if got, want := d.Vector().Append(nil), vector.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("%s: state vector: got %s, want %s", how, base64.StdEncoding.EncodeToString(got), base64.StdEncoding.EncodeToString(want))
	}
	if p := d.Pending(); p.Structs > 0 || !p.Deletes.Empty() {
		t.Errorf("%s: pending: got %+v, want nothing", how, p)
	}
}

func BenchmarkDocumentOneByOne(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		for b.Loop() {
			d := NewDocument(DocumentOptions{})
			for _, u := range tr.updates {
				if err := d.Apply(u); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func benchmarkOpen(b *testing.B, prepare func(...[]byte) ([]byte, error)) {
	eachTrace(b, func(b *testing.B, tr trace) {
		u := must2(b)(prepare(tr.updates...))
		b.SetBytes(int64(len(u)))
		for b.Loop() {
			if err := NewDocument(DocumentOptions{}).Apply(u); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDocumentFromCompacted(b *testing.B) { benchmarkOpen(b, Compact) }

func BenchmarkDocumentFromMerged(b *testing.B) { benchmarkOpen(b, Merge) }

func BenchmarkDocumentEncode(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		d := NewDocument(DocumentOptions{})
		if err := d.Apply(must2(b)(Merge(tr.updates...))); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			d.Encode(nil)
		}
	})
}

// BenchmarkDocumentMemory reports the heap that a document holds after its updates came one by one.
func BenchmarkDocumentMemory(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		var before, after runtime.MemStats
		var d *Document
		for b.Loop() {
			d = nil
			runtime.GC()
			runtime.ReadMemStats(&before)
			d = NewDocument(DocumentOptions{})
			for _, u := range tr.updates {
				if err := d.Apply(u); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-held")
		runtime.KeepAlive(d)
	})
}
