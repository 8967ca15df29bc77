package yjs

import (
	"fmt"
	"strings"
	"testing"
)

// Each block that is joined with many others is copied once, not once for each of them: the clocks that a replace takes grow with the text.
func TestReplacingTheEndsOfAllBlocksCopiesEachBlockOnce(t *testing.T) {
	const n = 1000
	d := NewDocument(DocumentOptions{})
	edit(t, d, 1, func(tx *Tx) {
		var blocks []*NewType
		for i := range n {
			blocks = append(blocks, NewXMLElement("p", nil, NewXMLText(fmt.Sprint("line", i), nil)))
			if i%200 == 0 {
				blocks = append(blocks, NewXMLElement("p", nil, NewXMLElement("image", nil), NewXMLText("kept", bold(true))))
			}
		}
		must1(t, tx.XML("x").Insert(0, blocks...))
	})
	old, _, err := d.Text("x", KindXMLFragment, nil)
	must1(t, err)
	var found []Match
	u := edit(t, d, 2, func(tx *Tx) {
		var err error
		found, err = tx.Root("x").Replace("\nline", " ", true, n)
		must1(t, err)
	})
	if len(found) != n-1 {
		t.Errorf("%d matches, want %d", len(found), n-1)
	}
	must1(t, d.check())
	want := strings.ReplaceAll(string(old), "\nline", " ")
	if got, _, err := d.Text("x", KindXMLFragment, nil); err != nil || string(got) != want {
		t.Errorf("the text is %.200q %v, want %.200q", got, err, want)
	}
	if clocks := d.Vector()[2]; clocks > uint64(2*len(old)) {
		t.Errorf("the replace took %d clocks for a text of %d bytes", clocks, len(old))
	}
	xml, err := d.XML("x", KindXMLFragment, nil)
	must1(t, err)
	if blocks, images := strings.Count(xml, "<p>"), strings.Count(xml, "<image>"); blocks != 1+n/200 || images != n/200 {
		t.Errorf("%d blocks with %d images, want %d and %d", blocks, images, 1+n/200, n/200)
	}
	other := NewDocument(DocumentOptions{})
	apply(t, other, d.Encode(nil))
	if got, _, err := other.Text("x", KindXMLFragment, nil); err != nil || string(got) != want || u == nil {
		t.Errorf("another replica has %.200q %v", got, err)
	}
}
