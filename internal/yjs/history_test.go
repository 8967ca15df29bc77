package yjs

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestRestoreKeepsWhatStayed(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	edit(t, d, 1, func(tx *Tx) {
		must1(t, tx.Text("t").Insert(0, "one two three", nil))
		must1(t, tx.Map("m").Set("same", 1))
		must1(t, tx.Map("m").Set("changed", "old"))
		must1(t, tx.Map("m").Set("gone", NewMap(map[string]any{"deep": NewText("text", nil)})))
		must1(t, tx.XML("x").Insert(0, NewXMLElement("p", map[string]any{"a": "1"}, NewXMLText("kept", nil)), NewXMLElement("q", nil)))
	})
	then, err := OpenDocument(DocumentOptions{}, d.Encode(nil))
	must1(t, err)
	want, err := then.JSON(nil, nil)
	must1(t, err)
	edit(t, d, 2, func(tx *Tx) {
		must1(t, tx.Text("t").Delete(4, 4))        // "two "
		must1(t, tx.Text("t").Insert(4, "2", nil)) // came since
		must1(t, tx.Text("t").Insert(0, ">", nil))
		must1(t, tx.Map("m").Set("changed", "new"))
		tx.Map("m").Delete("gone")
		must1(t, tx.Map("m").Set("came", true))
		p, _ := tx.XML("x").Child(0)
		must1(t, p.XML().SetAttribute("a", "2"))
		must1(t, tx.XML("x").Delete(1, 1))
	})
	update, err := d.Restore(then, 3)
	must1(t, err)
	if got, err := d.JSON(nil, nil); err != nil || !bytes.Equal(got, want) {
		t.Errorf("restored: got %s, %v, want %s", got, err, want)
	}
	if got, want := runsOf(d, "t"), []TextRun{{1, 0, 4, "one "}, {3, 10, 4, "two "}, {1, 8, 5, "three"}}; len(got) != 3 || got[0] != want[0] || got[2] != want[2] || got[1].Client != 3 || got[1].Text != "two " {
		t.Errorf("runs: got %v, want %v", got, want)
	}
	// The update says only what changed.
	r := NewReader(update)
	var s Struct
	for r.Next(&s) {
		if s.Client != 3 {
			t.Errorf("the update has a struct of client %d", s.Client)
		}
		if s.Ref() == RefString && (bytes.Contains(s.Content, []byte("one")) || bytes.Contains(s.Content, []byte("kept"))) {
			t.Errorf("the update has %q, which had stayed", s.Content)
		}
	}
	if len(update) > 150 {
		t.Errorf("the update has %d bytes", len(update))
	}
	// What had stayed has its ids: an edit that was under way goes where it was meant to.
	late := NewDocument(DocumentOptions{})
	apply(t, late, then.Encode(nil))
	typed := edit(t, late, 4, func(tx *Tx) { must1(t, tx.Text("t").Insert(13, "!", nil)) })
	apply(t, d, typed)
	if got, want := textOf(d, "t"), "one two three!"; got != want {
		t.Errorf("with an edit that was under way: got %q, want %q", got, want)
	}
	if u, err := d.Restore(d, 5); u != nil || err != nil {
		t.Errorf("restoring the present: got %x, %v, want nothing", u, err)
	}
}

func TestStatesOfThePastNeedWhatWasDeleted(t *testing.T) {
	for _, keep := range []bool{true, false} {
		d := NewDocument(DocumentOptions{KeepDeleted: keep})
		edit(t, d, 1, func(tx *Tx) { must1(t, tx.Text("t").Insert(0, "abc", nil)) })
		v, deletes := d.Vector(), d.Deletes()
		snapshot := AppendSnapshot(nil, v, &deletes)
		edit(t, d, 1, func(tx *Tx) {
			must1(t, tx.Text("t").Delete(1, 1))
			must1(t, tx.Text("t").Insert(2, "d", nil))
		})
		v, deletes, err := DecodeSnapshot(snapshot)
		must1(t, err)
		then, err := d.At(v, &deletes)
		if keep {
			must1(t, err)
			if got := textOf(then, "t"); got != "abc" {
				t.Errorf("then: got %q, want %q", got, "abc")
			}
			if !reflect.DeepEqual(then.Vector(), v) {
				t.Errorf("vector: got %v, want %v", then.Vector(), v)
			}
		} else if !errors.Is(err, ErrGone) {
			t.Errorf("without what was deleted: got %v, want ErrGone", err)
		}
		if _, err := d.At(StateVector{1: 99}, &deletes); !errors.Is(err, ErrNotOurs) {
			t.Errorf("a state of the future: got %v, want ErrNotOurs", err)
		}
	}
	for _, p := range [][]byte{{1}, {1, 1, 1, 0}, {0, 1, 1}} {
		if _, _, err := DecodeSnapshot(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("snapshot %x: got %v, want ErrMalformed", p, err)
		}
	}
}

func TestTextDiffGoesByWhoWroteWhat(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	edit(t, d, 1, func(tx *Tx) { must1(t, tx.Text("t").Insert(0, "aaaa", nil)) })
	old, err := OpenDocument(DocumentOptions{}, d.Encode(nil))
	must1(t, err)
	edit(t, d, 2, func(tx *Tx) {
		must1(t, tx.Text("t").Delete(1, 2))
		must1(t, tx.Text("t").Insert(1, "a", nil)) // the same letter, but another's
	})
	got := diffOf(d, old, "t")
	want := map[TextChange]bool{
		{Kept, TextRun{1, 0, 1, "a"}}: true, {Deleted, TextRun{1, 1, 2, "aa"}}: true,
		{Inserted, TextRun{2, 0, 1, "a"}}: true, {Kept, TextRun{1, 3, 1, "a"}}: true,
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for _, c := range got {
		if !want[c] {
			t.Errorf("got %v, want one of %v", c, want)
		}
	}
}

// BenchmarkRestore restores a text of automerge-paper's size to what it was halfway.
func BenchmarkRestore(b *testing.B) {
	tr := loadTrace(b, "automerge-paper")
	half := must2(b)(Compact(tr.updates[:len(tr.updates)/2]...))
	all := must2(b)(Compact(tr.updates...))
	then, err := OpenDocument(DocumentOptions{}, half)
	if err != nil {
		b.Fatal(err)
	}
	var update []byte
	for b.Loop() {
		b.StopTimer()
		d, err := OpenDocument(DocumentOptions{}, all)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if update, err = d.Restore(then, 1); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if textOf(d, "text") != textOf(then, "text") {
			b.Fatal("the text is not what it was")
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(len(update)), "update-bytes")
}

// AppendSnapshot appends a state as Yjs's encodeSnapshot does: the delete set, then the state vector.
func AppendSnapshot(dst []byte, v StateVector, deletes *IDSet) []byte {
	return v.Append(deletes.Append(dst))
}

// DecodeSnapshot reads a state as Yjs's encodeSnapshot writes it.
func DecodeSnapshot(b []byte) (StateVector, IDSet, error) {
	var deletes IDSet
	var runs []Run
	c := cursor{b: b}
	for n := c.count(2); n > 0 && c.err == nil; n-- {
		client := c.uint()
		for m := c.count(2); m > 0 && c.err == nil; m-- {
			at := c.off
			clock, length := c.uint(), c.uint()
			if client > MaxSafe || clock+length > MaxSafe {
				c.fail(at, reasonRange)
				break
			}
			runs = append(runs, Run{client, clock, length})
		}
	}
	if c.err != nil {
		return nil, IDSet{}, c.err
	}
	addRuns(&deletes, runs)
	v, err := DecodeStateVector(b[c.off:])
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Offset += c.off
		}
		return nil, IDSet{}, err
	}
	return v, deletes, nil
}
