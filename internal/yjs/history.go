package yjs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

var (
	// ErrGone: content of that state was dropped when it was deleted. The caller needs earlier updates, or a document with
	// KeepDeleted.
	ErrGone = errors.New("yjs: content of that state is gone")

	// ErrNotOurs: the state holds structs that the document does not have.
	ErrNotOurs = errors.New("yjs: not a state of this document")
)

// At returns the document at a past state, a Yjs snapshot: the structs that v covers, with deletes deleted. It needs a
// document with KeepDeleted; otherwise it returns ErrGone if visible content of that state is missing.
func (d *Document) At(v StateVector, deletes *IDSet) (*Document, error) {
	clients := v.clients()
	clients = slices.DeleteFunc(clients, func(c uint64) bool { return v[c] == 0 })
	update := AppendUvarint(nil, uint64(len(clients)))
	for _, id := range clients {
		end := v[id]
		c := d.client(id)
		if c == nil || c.next < end {
			return nil, fmt.Errorf("%w: client %d is at %d, not %d", ErrNotOurs, id, d.state(id), end)
		}
		var section []byte
		n := uint64(0)
	structs:
		for _, block := range c.blocks {
			for _, it := range block {
				if it.clock >= end {
					break structs
				}
				s := it.asStruct()
				if s.End() > end {
					s.Keep(end - s.Clock)
				}
				if (s.Ref() == RefDeleted || s.Ref() == RefGC) && !deletes.Contains(id, s.Clock, s.Len) {
					return nil, fmt.Errorf("%w: clocks [%d, %d) of client %d", ErrGone, s.Clock, s.End(), id)
				}
				section = s.Append(section)
				n++
			}
		}
		update = AppendUvarint(update, n)
		update = AppendUvarint(update, id)
		update = append(AppendUvarint(update, 0), section...)
	}
	then := NewDocument(DocumentOptions{KeepDeleted: d.keepDeleted})
	if err := then.Apply(deletes.Append(update)); err != nil {
		return nil, err
	}
	return then, nil
}

// asStruct returns the item as a Struct, which shares the item's content.
func (it *docItem) asStruct() Struct {
	s := Struct{Client: it.client.id, Clock: it.clock, Len: it.length, Info: it.ref, Content: it.data}
	if it.ref == RefGC {
		return s
	}
	if o := it.origin; o.c != nil {
		s.Info |= infoOrigin
		s.Origin = ID{o.c.id, o.clock}
	}
	if o := it.rightOrigin; o.c != nil {
		s.Info |= infoRight
		s.Right = ID{o.c.id, o.clock}
	}
	if s.Info == it.ref {
		if holder := it.parent.item; holder != nil {
			s.Parent = holder.id()
		} else {
			s.Root = []byte(it.parent.name)
		}
		if it.entry != nil {
			s.Info |= infoSub
			s.Sub = []byte(it.entry.key)
		}
	}
	return s
}

// Restore edits the document in the name of a client so that it shows the content of old, an earlier state of the same
// document. It returns the update for other replicas, or nil if nothing changed.
//
// Content that is in both states stays, with its ids, so cursors, comments and concurrent edits keep their positions.
// Content added since is deleted. Content deleted since is inserted again as new content, because deleted ids stay deleted.
func (d *Document) Restore(old *Document, client uint64) ([]byte, error) {
	return d.Edit(client, func(tx *Tx) error {
		r := restore{tx, old, nil}
		names := make([]string, 0, len(d.roots)+len(old.roots))
		for name := range d.roots {
			names = append(names, name)
		}
		for name := range old.roots {
			if d.roots[name] == nil {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			then := old.roots[name]
			if then == nil {
				then = &docType{name: name}
			}
			r.todo = append(r.todo, restorePair{d.root([]byte(name)), then})
		}
		for len(r.todo) > 0 {
			p := r.todo[len(r.todo)-1]
			r.todo = r.todo[:len(r.todo)-1]
			if p.fresh() {
				r.copyAll(p.now, p.then)
			} else {
				r.list(p.now, p.then)
				r.keys(p.now, p.then)
			}
		}
		return nil
	})
}

// restorePair is a type of the document and its earlier state.
type restorePair struct{ now, then *docType }

// fresh reports whether the restore created the type, so that all its content must be copied.
func (p restorePair) fresh() bool {
	return p.now.item != nil && (p.then.item == nil || p.now.item.id() != p.then.item.id())
}

type restore struct {
	tx   *Tx
	old  *Document
	todo []restorePair
}

// parted reports whether unit k of a text is the second half of a character.
func (it *docItem) parted(k uint64) bool {
	if it.ref != RefString || k == 0 || k >= it.length || uint64(len(it.data)) == it.length {
		return false
	}
	_, half := utf16Offset(it.data, k)
	return half
}

// units returns the text of clocks [from, to), whose ends must not split a character.
func (it *docItem) units(from, to uint64) []byte {
	if from == it.clock && to == it.end() {
		return it.data
	}
	a, _ := utf16Offset(it.data, from-it.clock)
	n, _ := utf16Offset(it.data[a:], to-from)
	return it.data[a : a+n]
}

// eachParted calls f for each unit of a character that is split in now but not in whole. The texts are otherwise equal.
func eachParted(whole, now []byte, f func(at uint64)) {
	if bytes.Equal(whole, now) {
		return
	}
	for at := uint64(0); len(whole) > 0; {
		r, n := utf8.DecodeRune(whole)
		whole = whole[n:]
		_, m := utf8.DecodeRune(now)
		now = now[m:]
		at++
		if r > 0xffff {
			if m < 4 {
				_, m = utf8.DecodeRune(now)
				now = now[m:]
				f(at - 1)
			}
			at++
		}
	}
}

// eachPiece splits the clocks of it into parts [from, to) that the other document has in one item. then is nil where that
// document has no item or a deleted one.
func (r *restore) eachPiece(it *docItem, f func(then *docItem, from, to uint64)) {
	c := r.old.client(it.client.id)
	for from, end := it.clock, it.end(); from < end; {
		to := end
		var then *docItem
		if c != nil && from < c.next {
			o := c.at(from)
			to = min(end, o.end())
			if !o.deleted() {
				then = o
			}
		}
		f(then, from, to)
		from = to
	}
}

// list restores a list. It is longer than 80 lines because deletion and reinsertion depend on the same pieces, and the
// second half relies on the cuts of the first.
func (r *restore) list(now, then *docType) {
	d := r.tx.d
	// Delete the content added since. Collect the ranges first, since deleting cuts items.
	var gone []Run
	for it := now.start; it != nil; it = it.right {
		if it.deleted() {
			continue
		}
		r.eachPiece(it, func(o *docItem, from, to uint64) {
			if o == nil {
				gone = append(gone, Run{it.client.id, from, to - from})
				return
			}
			// A character split since shows as two replacement characters: delete and reinsert it.
			if o.parted(from - o.clock) {
				gone = append(gone, Run{it.client.id, from, 1})
				from++
			}
			if o.parted(to - o.clock) {
				gone = append(gone, Run{it.client.id, to - 1, 1})
				to--
			}
			if o.ref == RefString && it.ref == RefString && from < to {
				eachParted(o.units(from, to), it.units(from, to), func(at uint64) {
					gone = append(gone, Run{it.client.id, from + at, 2})
				})
			}
			if o.typ != nil && it.typ != nil {
				r.todo = append(r.todo, restorePair{it.typ, o.typ})
			}
		})
	}
	for _, g := range gone {
		d.deleteRange(g)
	}
	// Insert the content deleted since, each piece after the last unit that preceded it.
	var anchor docID // the last unit that stands before, deleted or not
	var lost restoreCopies
	flush := func() {
		if len(lost.list) == 0 {
			return
		}
		var left *docItem
		right := now.start
		if anchor.c != nil {
			left = d.endAt(anchor.c, anchor.clock)
			right = left.right
		}
		r.put(now, left, right, lost.list)
		lost.list = nil
	}
	for o := then.start; o != nil; o = o.right {
		if o.deleted() {
			continue
		}
		c := d.client(o.client.id)
		for from := o.clock; from < o.end(); {
			to := o.end()
			var it *docItem
			if c != nil && from < c.next {
				it = c.at(from)
				to = min(to, it.end())
				if it.parent != now || it.entry != nil {
					it = nil
				}
			}
			first, second := o.parted(from-o.clock), o.parted(to-o.clock)
			switch {
			case it == nil || it.deleted():
				a := from
				if first {
					a++ // the first half brought the whole character
				}
				lost.add(o, a, to)
			default:
				// The first unit was deleted above if it is half a character; the rest is one item, or a tail of it.
				if to-from > uint64(boolInt(first)) {
					flush()
				}
				if second {
					lost.add(o, to-1, to)
				}
			}
			if it != nil {
				anchor = docID{it.client, to - 1}
			}
			from = to
		}
	}
	flush()
}

// restoreCopy is content to insert again.
type restoreCopy struct {
	newContent
	then *docType // the old state of a type
}

type restoreCopies struct{ list []restoreCopy }

// add copies clocks [from, to) of an item of the old document. If to splits a character, the whole character is copied.
func (l *restoreCopies) add(o *docItem, from, to uint64) {
	if from >= to {
		return
	}
	data := o.data
	length := to - from
	switch o.ref {
	case RefString:
		a, _ := utf16Offset(data, from-o.clock)
		b, half := utf16Offset(data, to-o.clock)
		if half {
			b += 4
			length++
		}
		data = data[a:b:b]
	case RefAny:
		data = dropAny(data, from-o.clock)
		data = data[:len(data)-len(dropAny(data, to-from))]
	case RefJSON:
		data = dropJSON(data, from-o.clock)
		data = data[:len(data)-len(dropJSON(data, to-from))]
	}
	if n := len(l.list) - 1; n >= 0 && l.list[n].ref == o.ref && (o.ref == RefString || o.ref == RefAny || o.ref == RefJSON) {
		l.list[n].data = append(l.list[n].data, data...)
		l.list[n].length += length
		return
	}
	l.list = append(l.list, restoreCopy{newContent{ref: o.ref, data: slices.Clone(data), length: length}, o.typ})
}

// put inserts copies between two neighbours.
func (r *restore) put(t *docType, left, right *docItem, list []restoreCopy) {
	for _, c := range list {
		left = r.tx.insert(t, nil, left, right, c.ref, c.data, c.length)
		for left.end() < r.tx.c.next {
			left = left.right
		}
		if c.then != nil {
			r.todo = append(r.todo, restorePair{left.typ, c.then})
		}
	}
}

// keys restores the keys of a type.
func (r *restore) keys(now, then *docType) {
	for _, e := range now.sortedEntries() {
		v := e.value()
		o := then.entry([]byte(e.key), false).value()
		switch {
		case v == nil:
			// Set below, if it was there.
		case o == nil:
			r.tx.d.delete(v)
		case v.client.id == o.client.id && v.end() == o.end():
			if v.typ != nil && o.typ != nil {
				r.todo = append(r.todo, restorePair{v.typ, o.typ})
			}
		}
	}
	for _, e := range then.sortedEntries() {
		o := e.value()
		if o == nil {
			continue
		}
		if v := now.entry([]byte(e.key), false).value(); v != nil && v.client.id == o.client.id && v.end() == o.end() {
			continue
		}
		r.set(now, e.key, o)
	}
}

// set sets a key to a copy of an old value.
func (r *restore) set(t *docType, key string, o *docItem) {
	data := o.lastData()
	if o.ref == RefString && o.length > 1 {
		data = dropString(data, o.length-1)
	}
	e := t.entry([]byte(key), true)
	it := r.tx.insert(t, e, e.last, nil, o.ref, slices.Clone(data), 1)
	if o.typ != nil {
		r.todo = append(r.todo, restorePair{it.typ, o.typ})
	}
}

// copyAll fills a new type with the visible content of an old one.
func (r *restore) copyAll(now, then *docType) {
	var all restoreCopies
	for o := then.start; o != nil; o = o.right {
		if !o.deleted() {
			all.add(o, o.clock, o.end())
		}
	}
	r.put(now, nil, nil, all.list)
	for _, e := range then.sortedEntries() {
		if o := e.value(); o != nil {
			r.set(now, e.key, o)
		}
	}
}

// Change tells whether a piece of text was kept, inserted or deleted.
type Change uint8

const (
	Kept Change = iota
	Inserted
	Deleted
)

func (c Change) String() string { return [...]string{"kept", "inserted", "deleted"}[c] }

// TextChange is a piece of text that was kept, inserted or deleted between two states, with the client that wrote it and
// its clocks.
type TextChange struct {
	Change Change
	TextRun
}

// TextDiff compares the text of a root in old, an earlier state of the same document, with d's, by ids rather than by
// similarity. Pieces come in text order, deleted ones at their old position, including those of nested types in lists, as in
// XML. Adjacent pieces differ in Change or are not contiguous.
func (d *Document) TextDiff(old *Document, name string, b *Budget) ([]TextChange, error) {
	t := d.roots[name]
	if t == nil {
		return nil, nil
	}
	r := restore{old: old}
	var w diffWriter
	// A stack, not recursion: types may nest deep.
	type level struct {
		it     *docItem
		change Change
	}
	it, all := t.start, Kept // all: the type that holds it is in both (Kept), or only in one
	var stack []level
	for {
		for it == nil {
			if len(stack) == 0 {
				return w.done(), nil
			}
			top := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			it, all = top.it.right, top.change
		}
		if err := b.spend(len(it.data)+1, w.size); err != nil {
			return nil, err
		}
		var into *docType
		change := all
		switch {
		case all == Deleted:
			if !it.deleted() {
				w.add(Deleted, it, it.clock, it.end())
				into = it.typ
			}
		default:
			live := !it.deleted()
			r.eachPiece(it, func(o *docItem, from, to uint64) {
				switch {
				case live && o != nil && all == Kept:
					w.add(Kept, it, from, to)
					into = it.typ
				case live:
					w.add(Inserted, it, from, to)
					into, change = it.typ, Inserted
				case o != nil && all == Kept:
					w.add(Deleted, o, from, to)
					into, change = o.typ, Deleted
				}
			})
		}
		if into != nil {
			stack = append(stack, level{it, all})
			it, all = into.start, change
			continue
		}
		it = it.right
	}
}

// diffWriter collects the pieces of a diff.
type diffWriter struct {
	list []TextChange
	text []byte
	size int // bytes of all texts
}

func (w *diffWriter) add(change Change, it *docItem, from, to uint64) {
	if it.ref != RefString {
		return
	}
	a, half := utf16Offset(it.data, from-it.clock)
	if half {
		a += 4 // the piece before has the whole character
	}
	b, half := utf16Offset(it.data, to-it.clock)
	if half {
		b += 4
	}
	w.size += b - a
	if n := len(w.list); n > 0 {
		last := &w.list[n-1]
		if last.Change == change && last.Client == it.client.id && last.Clock+last.Len == from {
			last.Len += to - from
			w.text = append(w.text, it.data[a:b]...)
			return
		}
		last.Text = string(w.text)
	}
	w.text = append(w.text[:0], it.data[a:b]...)
	w.list = append(w.list, TextChange{change, TextRun{Client: it.client.id, Clock: from, Len: to - from}})
}

func (w *diffWriter) done() []TextChange {
	if n := len(w.list); n > 0 {
		w.list[n-1].Text = string(w.text)
	}
	return w.list
}
