package yjs

import (
	"cmp"
	"slices"
	"sort"
)

// The value of a key is never cut. Yjs relies on it: when it has to cut an item that is a key's value, the left part is left
// standing though it is no longer the value; and when the type is deleted later, Yjs finds an item in there that is not,
// throws while it collects, and never again sends what its user edits. Whoever wants that needs a nested type, a text of two
// letters under a key of it, and something that refers to the first letter. Yjs writes values of one unit only, but old yrs
// writes the attributes of XML elements as texts: so not the texts are refused, but what would cut them. Where the left part is
// deleted a cut does no harm; documents that do not collect join several deleted values of a key into one item.
//
// Therefore State knows which of its ids are values of keys of nested types, and where those could be cut. An item says so
// itself only if it has no neighbours; else it goes where its left neighbour is, or without one, its right one. Roots are
// left out: they are never deleted, and so never collected.

// severable says whether an item with this content could be cut and both parts show something.
func (s *Struct) severable() bool { return s.Len > 1 && s.Countable() }

// place is the id whose place decides about that of s; false if s says itself where it is.
func (s *Struct) place() (ID, bool) {
	switch {
	case s.HasOrigin():
		return s.Origin, true
	case s.HasRight():
		return s.Right, true
	}
	return ID{}, false
}

// beyond leaves of s what is not known yet, without its content: the rest is behind what is known. false: nothing is left.
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

// cutsValue gives the offset of what in u would cut the value of a key, one of s or of u itself; false if nothing does.
// Where there are no nested keys, as in a text, it costs nothing.
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

// findValues puts the items of u that are values of keys of nested types into a set, which may be that of s.
//
// Of one client each item follows from those before it. Of several, what an item refers to may come later: then once more,
// and where a few times are not enough, as many values took turns, by way of all items.
func (s *State) findValues(u *Update, into *values) {
	if !u.keys && len(s.values.ids.clients) == 0 {
		return
	}
	holds := func(id ID) bool {
		return s.values.ids.Contains(id.Client, id.Clock, 1) || into != &s.values && into.ids.Contains(id.Client, id.Clock, 1)
	}
	var st Struct
	var ahead []ID // what items follow from that is yet to be read
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

// placedItem is an item, and what decides where it is.
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
		// A client with several sections, which may overlap: what comes first counts, and of another the rest, behind it.
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
