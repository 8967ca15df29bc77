package yjs

import (
	"cmp"
	"slices"
	"sort"
)

// Yjs goes into types by recursion: it can't read what nests some 2,000 levels deep, and when it has to delete what nests
// 10,000, which takes 60 kB to say, it throws in the middle of its clean-up and never again sends what its user edits. So an
// update may only nest so deep by itself.

// nestedItem is an item, and what decides how deep it is.
type nestedItem struct {
	clock, len uint64
	by         ID // the item that holds its type, or a neighbour
	start      int
	depth      int
	inside     bool // by holds it
	placed     bool // by is meant
	known      bool // depth is; or about to be, further up: in a circle
}

// tooDeep gives the offset of an item of a checked update that is in more than most types of the same update; false if none
// is.
func tooDeep(update []byte, most int) (at int, bad bool) {
	clients := make(map[uint64][]nestedItem)
	var s Struct
	for r := NewReader(update); r.Next(&s); {
		if !s.IsItem() {
			continue
		}
		p := nestedItem{clock: s.Clock, len: s.Len, start: r.start}
		if p.by, p.placed = s.place(); !p.placed && s.Root == nil {
			p.by, p.placed, p.inside = s.Parent, true, true
		}
		clients[s.Client] = append(clients[s.Client], p)
	}
	for _, list := range clients {
		byClock := func(a, b nestedItem) int { return cmp.Compare(a.clock, b.clock) }
		if !slices.IsSortedFunc(list, byClock) {
			slices.SortStableFunc(list, byClock)
		}
	}
	var path []*nestedItem
	for _, list := range clients {
		for i := range list {
			path = path[:0]
			for p := &list[i]; p != nil && !p.known; {
				p.known = true
				path = append(path, p)
				if !p.placed {
					break
				}
				up := clients[p.by.Client]
				k := sort.Search(len(up), func(k int) bool { return up[k].clock+up[k].len > p.by.Clock })
				if k == len(up) || up[k].clock > p.by.Clock {
					break
				}
				p = &up[k]
				if p.known {
					path[len(path)-1].depth = p.depth
				}
			}
			depth := 0
			for k := len(path) - 1; k >= 0; k-- {
				p := path[k]
				depth = max(depth, p.depth)
				if p.inside {
					depth++
				}
				if p.depth = depth; depth > most && (!bad || p.start < at) {
					at, bad = p.start, true
				}
			}
		}
	}
	return at, bad
}
