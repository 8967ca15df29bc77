package yjs

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzDocumentApply gives a document updates that decode, however hostile. It may refuse them, or wait for what never
// comes; it must not panic or break its own rules, and what it encodes must be the same document again.
func FuzzDocumentApply(f *testing.F) {
	for _, file := range []string{"updates.json", "fuzz.json"} {
		for i, c := range readDocCases(f, file) {
			if i%6 == 0 {
				f.Add(packUpdates(c.Updates))
			}
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<16 {
			return
		}
		for _, keep := range []bool{false, true} {
			d := NewDocument(DocumentOptions{KeepDeleted: keep})
			var middle *Document
			rest := in
			for i := 0; len(rest) > 0; i++ {
				u, r, err := ReadVarBytes(rest)
				if err != nil {
					u, r = rest, nil
				}
				rest = r
				before := d.Encode(nil)
				if err := d.Apply(u); err != nil {
					if after := d.Encode(nil); !bytes.Equal(after, before) {
						t.Fatalf("refused update %x changed the document", u)
					}
					continue
				}
				if err := d.check(); err != nil {
					t.Fatalf("after %x: %v", u, err)
				}
				if i == 1 {
					middle, _ = OpenDocument(DocumentOptions{KeepDeleted: keep}, d.Encode(nil))
				}
			}
			sameAgain(t, d, keep)
			if middle != nil && d.pending[1<<40] == nil {
				diffOf(d, middle, "t")
				if _, err := d.Restore(middle, 1<<40); err != nil && !errors.Is(err, ErrBusyClient) && !errors.Is(err, ErrKind) {
					t.Fatalf("restore: %v", err)
				}
				if err := d.check(); err != nil {
					t.Fatalf("after restore: %v", err)
				}
			}
			if _, err := d.Edit(1<<41, func(tx *Tx) error {
				tx.Text("t").Insert(tx.Text("t").Len(), "end", nil)
				tx.Map("m").Set("k", 1)
				return nil
			}); err != nil && !errors.Is(err, ErrBusyClient) {
				t.Fatalf("edit: %v", err)
			}
			if err := d.check(); err != nil {
				t.Fatalf("after an edit: %v", err)
			}
			sameAgain(t, d, keep)
		}
	})
}

// sameAgain reads a document out in every way, and once more from what it encodes.
func sameAgain(t *testing.T, d *Document, keep bool) {
	t.Helper()
	state := d.Encode(nil)
	again := NewDocument(DocumentOptions{KeepDeleted: keep})
	if err := again.Apply(state); err != nil {
		t.Fatalf("own state %x: %v", state, err)
	}
	if err := again.check(); err != nil {
		t.Fatalf("own state %x: %v", state, err)
	}
	if a, b := again.Vector().Append(nil), d.Vector().Append(nil); !bytes.Equal(a, b) {
		t.Fatalf("own state %x: vector: got %x, want %x", state, a, b)
	}
	x, y := d.Deletes(), again.Deletes()
	if a, b := y.Append(nil), x.Append(nil); !bytes.Equal(a, b) {
		t.Fatalf("own state %x: deletes: got %x, want %x", state, a, b)
	}
	// What shows may differ: ids that lie about their neighbours put things in an order that hangs on who came first, in
	// Yjs as well. The length may not.
	for _, r := range d.Roots() {
		if a, b := again.roots[r.Name], d.roots[r.Name]; b.length > 0 && (a == nil || a.length != b.length) {
			t.Fatalf("own state %x: root %q has another length, want %d", state, r.Name, b.length)
		}
		for kind := KindAuto; kind <= KindXMLText; kind++ {
			if _, err := d.JSON(map[string]Kind{r.Name: kind}, nil); err != nil && !errors.Is(err, ErrTooDeep) {
				t.Fatalf("own state %x: root %q as %v: %v", state, r.Name, kind, err)
			}
		}
		d.Delta(r.Name, nil)
		runsOf(d, r.Name)
	}
}

func packUpdates(updates [][]byte) (p []byte) {
	for _, u := range updates {
		p = AppendVarBytes(p, u)
	}
	return p
}
