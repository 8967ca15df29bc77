package yjs

import (
	"errors"
	"fmt"
)

var (
	// ErrIndex: the index or range reaches beyond the end. Nothing was changed.
	ErrIndex = errors.New("yjs: index beyond the end")

	// ErrHalf: the index is between the two UTF-16 units of one character. Nothing was changed; the caller can use the index
	// before or after.
	ErrHalf = errors.New("yjs: index inside of a character of two UTF-16 units")

	// ErrBusyClient: structs of this client are pending, so its next clock is not known. The caller can use another client
	// id.
	ErrBusyClient = errors.New("yjs: the client has pending structs")

	// ErrKind: the type does not support the edit, or the value cannot be encoded.
	ErrKind = errors.New("yjs: not possible here")
)

// Tx is a transaction: its edits reach other replicas in one update. It is valid only inside the function given to Edit.
type Tx struct {
	d *Document
	c *docClient
}

// Edit calls f to change the document in the name of a client. It returns the changes as a V1 update, or nil if nothing
// changed. The client id, at most MaxSafe, must not be used by anyone else: two writers with one id corrupt the document.
// Yjs uses a random number below 2^32.
//
// Indexes and lengths count UTF-16 code units in texts and elements elsewhere, as in Yjs. An edit that returns an error has
// changed nothing, but the earlier edits of f stay: Edit then returns both the update and f's error. A caller that does not
// send the update must discard the document.
func (d *Document) Edit(client uint64, f func(*Tx) error) (update []byte, err error) {
	if client > MaxSafe {
		return nil, &Error{Reason: reasonRange}
	}
	if d.pending[client] != nil {
		return nil, ErrBusyClient
	}
	c := d.client(client)
	if c == nil {
		// A client without structs is not in d.clients; insert adds it.
		c = &docClient{id: client}
	}
	d.begin()
	err = f(&Tx{d, c})
	var deleted IDSet
	runs := make([]Run, len(d.deleted))
	for i, r := range d.deleted {
		runs[i] = Run{r.c.id, r.clock, r.len}
	}
	addRuns(&deleted, runs)
	grown := len(d.changed) > 0
	d.finish()
	if !grown && deleted.Empty() {
		return nil, err
	}
	if grown {
		update = c.append([]byte{1}, c.before)
	} else {
		update = []byte{0}
	}
	return deleted.Append(update), err
}

// insert inserts content between two neighbours, or as the new value of a key after the previous one.
func (tx *Tx) insert(t *docType, e *docEntry, left, right *docItem, ref byte, data []byte, length uint64) *docItem {
	d := tx.d
	if tx.c.next == 0 && d.clients[tx.c.id] == nil {
		d.clients[tx.c.id] = tx.c
		d.order = nil
	}
	it := d.newItem()
	it.parent, it.entry = t, e
	it.client, it.clock, it.length = tx.c, tx.c.next, length
	if left != nil {
		it.origin = left.lastID()
	}
	if right != nil {
		it.rightOrigin = docID{right.client, right.clock}
	}
	it.ref, it.data = ref, data
	d.place(it, left, right)
	return it
}

// room checks that the client can take n more clocks, and 2^32 more for formats.
func (tx *Tx) room(n uint64) error {
	if n+1<<32 > MaxSafe-tx.c.next {
		return fmt.Errorf("%w: the client's clocks are used up", ErrKind)
	}
	return nil
}

// Shared is a type of the document inside a transaction.
type Shared struct {
	tx *Tx
	t  *docType
}

// Root returns a root type, created if missing. Its kind follows from its use.
func (tx *Tx) Root(name string) Shared { return Shared{tx, tx.d.root([]byte(name))} }

// Text returns a root text.
func (tx *Tx) Text(name string) Text { return Text{tx.Root(name)} }

// Array returns a root array.
func (tx *Tx) Array(name string) Array { return Array{tx.Root(name)} }

// Map returns a root map.
func (tx *Tx) Map(name string) Map { return Map{tx.Root(name)} }

// XML returns a root XML fragment.
func (tx *Tx) XML(name string) XML { return XML{Array{tx.Root(name)}} }

// Kind returns the kind of a nested type, or the guessed kind of a root.
func (s Shared) Kind() Kind { return s.t.asKind(KindAuto) }

// Text returns s as a text.
func (s Shared) Text() Text { return Text{s} }

// Array returns s as an array.
func (s Shared) Array() Array { return Array{s} }

// Map returns s as a map. The attributes of elements and texts are maps.
func (s Shared) Map() Map { return Map{s} }

// XML returns s as a fragment or element.
func (s Shared) XML() XML { return XML{Array{s}} }

// Len returns the length of the list: UTF-16 units and embeds of a text, elements of an array, nodes of a fragment.
func (s Shared) Len() int { return int(s.t.length) }

// docPlace is a place in a list, between two items.
type docPlace struct {
	left, right *docItem
	index       uint64 // units before it
	marks       []docMark
}

// find returns the place before unit index, and cuts an item if necessary. Marks are filled in only if marks is true.
func (s Shared) find(index uint64, marks bool) docPlace {
	d, t := s.tx.d, s.t
	p := docPlace{right: t.start}
	if c := d.cursor; c.t == t && c.item != nil && !marks {
		p.left, p.right, p.index = c.item.left, c.item, c.index
		for p.index > index && p.left != nil {
			p.right, p.left = p.left, p.left.left
			if p.right.visible() {
				p.index -= p.right.length
			}
		}
	}
	for p.index < index && p.right != nil {
		if it := p.right; it.visible() && it.length > index-p.index {
			d.startAt(it.client, it.clock+index-p.index)
		}
		p.forward()
	}
	return p
}

// forward moves past one item.
func (p *docPlace) forward() {
	it := p.right
	if it.visible() {
		p.index += it.length
	} else if it.ref == RefFormat && !it.deleted() {
		p.marks = setMark(p.marks, markOf(it.data))
	}
	p.left, p.right = it, it.right
}

// remember keeps the place for the next edit.
func (s Shared) remember(p docPlace) {
	it, index := p.left, p.index
	if it == nil {
		if it = p.right; it == nil {
			return
		}
	} else if it.visible() {
		index -= it.length
	}
	s.tx.d.cursor = docCursor{s.t, it, index}
}

// within checks a range.
func (s Shared) within(index, n int) error {
	if index < 0 || n < 0 || uint64(index) > s.t.length || uint64(n) > s.t.length-uint64(index) {
		return fmt.Errorf("%w: [%d, %d) of %d", ErrIndex, index, index+n, s.t.length)
	}
	return nil
}

// deleteList deletes n units from p on and returns the place after them. The range must exist.
func (s Shared) deleteList(p docPlace, n uint64) docPlace {
	d := s.tx.d
	for n > 0 && p.right != nil {
		if it := p.right; it.visible() {
			if it.length > n {
				d.startAt(it.client, it.clock+n)
			}
			n -= it.length
			d.delete(it)
		}
		p.forward()
	}
	return p
}

// Array is a list of values and types.
type Array struct{ Shared }

// Insert puts values before index. A value is nil, a bool, a number, a string, []byte, []any, map[string]any,
// json.RawMessage, Undefined, SubDoc, or a *NewType, which becomes a shared type.
func (a Array) Insert(index int, values ...any) error {
	if err := a.within(index, 0); err != nil {
		return err
	}
	list, err := contents(values)
	if err != nil {
		return err
	}
	if err := a.tx.room(uint64(size(list))); err != nil {
		return err
	}
	p := a.find(uint64(index), false)
	for _, c := range list {
		it := a.tx.insert(a.t, nil, p.left, p.right, c.ref, c.data, c.length)
		for it.end() < a.tx.c.next { // it was cut
			it = it.right
		}
		a.tx.fill(it, c.shared)
		p.left, p.index = it, p.index+c.length
	}
	a.remember(p)
	return nil
}

// Delete deletes n elements from index on.
func (a Array) Delete(index, n int) error {
	if err := a.within(index, n); err != nil || n == 0 {
		return err
	}
	a.remember(a.deleteList(a.find(uint64(index), false), uint64(n)))
	return nil
}

// At returns the type at index, or false if the element is not a type.
func (a Array) At(index int) (Shared, bool) {
	if a.within(index, 1) != nil {
		return Shared{}, false
	}
	n := uint64(index)
	for it := a.t.start; it != nil; it = it.right {
		if !it.visible() {
			continue
		}
		if n < it.length {
			return Shared{a.tx, it.typ}, it.typ != nil
		}
		n -= it.length
	}
	return Shared{}, false
}

// Map is a set of keys with values.
type Map struct{ Shared }

// Set sets a key to a value. See [Array.Insert] for the types of values.
func (m Map) Set(key string, value any) error {
	if err := checkString(key); err != nil {
		return err
	}
	list, err := contents([]any{value})
	if err != nil {
		return err
	}
	if err := m.tx.room(uint64(size(list))); err != nil {
		return err
	}
	e := m.t.entry([]byte(key), true)
	it := m.tx.insert(m.t, e, e.last, nil, list[0].ref, list[0].data, 1)
	m.tx.fill(it, list[0].shared)
	return nil
}

// Delete deletes a key, if present.
func (m Map) Delete(key string) {
	if it := m.t.entry([]byte(key), false).value(); it != nil {
		m.tx.d.delete(it)
	}
}

// Has reports whether the key has a value.
func (m Map) Has(key string) bool { return m.t.entry([]byte(key), false).value() != nil }

// Get returns the type that is the value of a key, or false if the value is not a type.
func (m Map) Get(key string) (Shared, bool) {
	it := m.t.entry([]byte(key), false).value()
	if it == nil || it.typ == nil {
		return Shared{}, false
	}
	return Shared{m.tx, it.typ}, true
}

// XML is the nodes of a fragment or an element, and an element's attributes.
type XML struct{ Array }

// Insert puts nodes before index.
func (x XML) Insert(index int, nodes ...*NewType) error {
	values := make([]any, len(nodes))
	for i, n := range nodes {
		values[i] = n
	}
	return x.Array.Insert(index, values...)
}

// Child returns the node at index.
func (x XML) Child(index int) (Shared, bool) { return x.Array.At(index) }

// SetAttribute sets an attribute of an element.
func (x XML) SetAttribute(name string, value any) error { return x.Map().Set(name, value) }

// RemoveAttribute removes an attribute of an element, if present.
func (x XML) RemoveAttribute(name string) { x.Map().Delete(name) }

// NodeNames returns the names of the elements inside, of the first 1,000 nodes: enough to tell which editor writes them.
func (x XML) NodeNames() map[string]bool {
	names, left := map[string]bool{}, 1000
	x.t.eachDeep(func(it *docItem) bool {
		if it.ref == RefType && it.typ.kind == KindXMLElement {
			names[it.typ.name] = true
		}
		left--
		return left > 0
	})
	return names
}
