package snapshot

import (
	"bytes"
	"errors"
	"fmt"

	"yjet/internal/yjs"
)

// sameDocument compares a state with the replay of updates, each followed by the tail: visible content, state vector, delete set.
func sameDocument(state []byte, replay [][]byte, tail ...[]byte) error {
	all, err := joined(nil, append(replay[:len(replay):len(replay)], tail...))
	if err != nil {
		return err
	}
	short, err := joined(state, tail)
	if err != nil {
		return err
	}
	want, err := yjs.OpenDocument(yjs.DocumentOptions{}, all)
	if err != nil {
		return err
	}
	got, err := yjs.OpenDocument(yjs.DocumentOptions{}, short)
	if err != nil {
		return err
	}
	if g, w := got.Vector().Append(nil), want.Vector().Append(nil); !bytes.Equal(g, w) {
		return fmt.Errorf("state vector %x, want %x", g, w)
	}
	gd, wd := got.Deletes(), want.Deletes()
	if g, w := gd.Append(nil), wd.Append(nil); !bytes.Equal(g, w) {
		return fmt.Errorf("delete sets of %d and %d bytes differ", len(g), len(w))
	}
	if err := sameLook(got, want); !errors.Is(err, yjs.ErrOutput) {
		return err
	}
	return nil // too large to be written out: its ids and deletes were compared
}

// sameLook compares the visible content of two documents.
func sameLook(got, want *yjs.Document) error {
	look := &yjs.Budget{Bytes: 256 << 20}
	kinds := make(map[string]yjs.Kind) // one guess for both
	for _, d := range []*yjs.Document{got, want} {
		for _, r := range d.Roots() {
			kinds[r.Name] = r.Kind
		}
	}
	g, err := got.JSON(kinds, look)
	if err != nil {
		return err
	}
	w, err := want.JSON(kinds, look)
	if err != nil {
		return err
	}
	if !bytes.Equal(g, w) {
		return fmt.Errorf("what shows differs: %s, want %s", around(g, w), around(w, g))
	}
	for name, kind := range kinds {
		if kind != yjs.KindText {
			continue
		}
		if g, err = got.Delta(name, look); err != nil {
			return err
		}
		if w, err = want.Delta(name, look); err != nil {
			return err
		}
		if !bytes.Equal(g, w) {
			return fmt.Errorf("marks of text %q differ: %s, want %s", name, around(g, w), around(w, g))
		}
	}
	return nil
}

// around returns the text around the first difference between a and b.
func around(a, b []byte) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return fmt.Sprintf("%q at %d of %d", a[max(0, i-20):min(len(a), i+20)], i, len(a))
}
