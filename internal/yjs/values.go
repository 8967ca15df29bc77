package yjs

import (
	"cmp"
	"slices"
	"sort"
)

// The value of a key is never cut. Yjs relies on that: when it cuts an item that is a key's value, the left part stays
// undeleted though it is no longer the value. When the type is deleted later, Yjs throws on that item while it collects, and
// never again sends its user's edits. Such an attack needs a nested type, a text of two letters under one of its keys, and
// an item that refers to the first letter. Yjs writes only values of one unit, but old yrs writes the attributes of XML
// elements as texts. So Ready refuses the cuts, not the texts. A cut is harmless where the left part is deleted; documents
// that do not collect join several deleted values of a key into one item.
//
// Therefore State tracks which ids are values of keys of nested types, and where those could be cut. An item names its
// parent and key only if it has no neighbours; otherwise it belongs where its left neighbour does, or without one, its right
// one. Roots are left out: they are never deleted, and so never collected.

// severable reports whether an item with this content could be cut so that both parts are visible.
func (s *Struct) severable() bool { return s.Len > 1 && s.Countable() }

// place returns the neighbour that determines the parent and key of s, or false if s names them itself.
func (s *Struct) place() (ID, bool) {
	switch {
	case s.HasOrigin():
		return s.Origin, true
	case s.HasRight():
		return s.Right, true
	}
	return ID{}, false
}

// beyond cuts the known clocks off s, but not their content. It returns false if nothing is left.
func (s *Struct) beyond(known uint64) bool {
	if s.Clock < known && known < s.End() {
		s.Len = s.End() - known
		s.Clock = known
		s.Origin = ID{s.Client, known - 1}
		s.Info |= infoOrigin
	}
	return s.Clock >= known
}

// ofKey: s says itself that it is the value of a key of a nested type.
func (s *Struct) ofKey() bool { return s.HasSub() && s.Root == nil }

// values are ids of items that are values of keys of nested types, and those among them before which an item would be cut.
type values struct{ ids, cuts IDSet }

func (v *values) add(client, clock, length uint64, severable bool) {
	v.ids.Add(client, clock, length)
	if severable {
		v.cuts.Add(client, clock+1, length-1)
	}
}

func (v *values) clone() values { return values{v.ids.Clone(), v.cuts.Clone()} }

// cutsValue returns the offset of a struct or delete of u that would cut the value of a key, in s or in u itself, or false
// if there is none. Documents without nested keys, such as texts, cost nothing.
func (s *State) cutsValue(u *Update) (at int, bad bool) {
	if !u.keys && len(s.values.ids.clients) == 0 {
		return 0, false
	}
	var own values
	s.findValues(u, &own)
	if len(s.values.cuts.clients) == 0 && len(own.cuts.clients) == 0 {
		return 0, false
	}
	var dels *IDSet // of u
	cuts := func(client, clock uint64) bool {
		if !s.values.cuts.Contains(client, clock, 1) && !own.cuts.Contains(client, clock, 1) {
			return false
		}
		if dels == nil {
			dels = new(IDSet)
			u.deletesByClient(dels.addSorted)
		}
		return !s.deletes.Contains(client, clock-1, 1) && !dels.Contains(client, clock-1, 1)
	}
	var st Struct
	r := NewReader(u.Bytes)
	for r.Next(&st) {
		if st.IsItem() && st.beyond(s.structs.Prefix(st.Client)) && (st.HasOrigin() && cuts(st.Origin.Client, st.Origin.Clock+1) || st.HasRight() && cuts(st.Right.Client, st.Right.Clock)) {
			return r.start, true
		}
	}
	var d Run
	for r.NextDelete(&d) {
		if cuts(d.Client, d.Clock) {
			return r.c.off - 1, true
		}
	}
	return 0, false
}

// findValues adds the items of u that are values of keys of nested types to into, which may be the set of s.
//
// Within one client each item follows from earlier ones. Across clients, an item's neighbour may come later in the update:
// then findValues repeats, and after four passes findValuesOfMany takes over.
func (s *State) findValues(u *Update, into *values) {
	if !u.keys && len(s.values.ids.clients) == 0 {
		return
	}
	holds := func(id ID) bool {
		return s.values.ids.Contains(id.Client, id.Clock, 1) || into != &s.values && into.ids.Contains(id.Client, id.Clock, 1)
	}
	var st Struct
	var ahead []ID // neighbours that come later in the update
	for times := 0; times < 4 && !u.disorder; times++ {
		ahead = ahead[:0]
		for r := NewReader(u.Bytes); r.Next(&st); {
			if !st.IsItem() || !st.beyond(s.structs.Prefix(st.Client)) {
				continue
			}
			id, placed := st.place()
			switch {
			case placed && !holds(id):
				if id.Client < st.Client {
					ahead = append(ahead, id)
				}
			case (placed || st.ofKey()) && (times == 0 || !holds(ID{st.Client, st.Clock})):
				into.add(st.Client, st.Clock, st.Len, st.severable())
			}
		}
		if !slices.ContainsFunc(ahead, holds) {
			return
		}
	}
	s.findValuesOfMany(u, into)
}

// placedItem is an item and the neighbour that determines its place.
type placedItem struct {
	clock, len uint64
	by         ID
	severable  bool
	known      bool // value is decided; or about to be, further up: in a circle
	value      bool
	placed     bool // by is meant
}

// findValuesOfMany is findValues where items refer to others of the same update in any order.
func (s *State) findValuesOfMany(u *Update, into *values) {
	clients := make(map[uint64][]placedItem)
	var st Struct
	for r := NewReader(u.Bytes); r.Next(&st); {
		if !st.IsItem() || !st.beyond(s.structs.Prefix(st.Client)) {
			continue
		}
		p := placedItem{clock: st.Clock, len: st.Len, severable: st.severable()}
		if p.by, p.placed = st.place(); !p.placed {
			p.known, p.value = true, st.ofKey()
		}
		clients[st.Client] = append(clients[st.Client], p)
	}
	for client, list := range clients {
		known := uint64(0)
		sorted := true
		for _, p := range list {
			sorted = sorted && p.clock >= known
			known = p.clock + p.len
		}
		if sorted {
			continue
		}
		// A client with several sections, which may overlap: the first struct counts, and of another one only the part
		// beyond it.
		slices.SortStableFunc(list, func(a, b placedItem) int { return cmp.Compare(a.clock, b.clock) })
		known = 0
		kept := list[:0]
		for _, p := range list {
			end := p.clock + p.len
			if end <= known {
				continue
			}
			if p.clock < known {
				p = placedItem{clock: known, len: end - known, by: ID{client, known - 1}, placed: true, severable: p.severable && end-known > 1}
			}
			known = end
			kept = append(kept, p)
		}
		clients[client] = kept
	}
	find := func(id ID) *placedItem {
		list := clients[id.Client]
		i := sort.Search(len(list), func(i int) bool { return list[i].clock+list[i].len > id.Clock })
		if i < len(list) && list[i].clock <= id.Clock {
			return &list[i]
		}
		return nil
	}
	var path []*placedItem
	for client, list := range clients {
		for i := range list {
			path = path[:0]
			p := &list[i]
			value := false
			for {
				if p.known {
					value = p.value
					break
				}
				p.known = true
				path = append(path, p)
				if value = s.values.ids.Contains(p.by.Client, p.by.Clock, 1); value {
					break
				}
				if p = find(p.by); p == nil {
					break
				}
			}
			for _, p := range path {
				p.value = value
			}
			if p := &list[i]; p.value {
				into.add(client, p.clock, p.len, p.severable)
			}
		}
	}
}
