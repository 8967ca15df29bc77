package yjs

import (
	"cmp"
	"slices"
)

// Readiness splits an update by what a state can take now.
type Readiness struct {
	Ready   []byte // V1 update to append now; nil: nothing of it is ready
	Rest    []byte // V1 update that must wait; nil: nothing waits
	Missing []ID   // what Rest waits for, each once, by client and clock
}

// Ready splits u by what s can take now. A struct is ready when s holds, contiguous from clock 0, everything before it in its
// own client and all it refers to, or gets them from ready structs of u. A delete is ready when its structs are.
//
// In the usual case all is ready: then Ready is u.Bytes itself and nothing is allocated. The two parts together are u.
func (s *State) Ready(u *Update) (Readiness, error) {
	if s.allReady(u) {
		return Readiness{Ready: u.Bytes}, nil
	}
	return s.sift(u)
}

// allReady answers for the simple updates: true means ready, false means look closer.
func (s *State) allReady(u *Update) bool {
	for i, r := range u.runs {
		if r.Clock > s.structs.Prefix(r.Client) {
			if i == 0 || u.runs[i-1].Client != r.Client || u.runs[i-1].End() < r.Clock {
				return false
			}
		}
	}
	for _, id := range u.needs {
		if id.Clock >= s.structs.Prefix(id.Client) {
			return false
		}
	}
	for _, d := range u.dels {
		known := s.structs.Prefix(d.Client)
		if d.End() <= known {
			continue
		}
		if len(u.runs) > 8 {
			return false
		}
		for _, r := range u.runs {
			if r.Client == d.Client && r.Clock <= known {
				known = max(known, r.End())
			}
		}
		if d.End() > known {
			return false
		}
	}
	return true
}

// waiting is a client's structs of one update, and how far they are ready.
type waiting struct {
	structs []Struct // by clock, no Skips
	next    int      // structs before it are ready
	known   uint64   // contiguous end, with those
	blocked ID       // what structs[next] waits for
	waiters []uint64 // clients whose head waits for this one
}

// sift finds the ready part in the general case: it goes over the clients, taking each as far as it can, and comes back to
// a client whenever one that it waits for has moved.
func (s *State) sift(u *Update) (Readiness, error) {
	clients := make(map[uint64]*waiting)
	var order []uint64
	var st Struct
	r := NewReader(u.Bytes)
	for r.Next(&st) {
		if st.Ref() == RefSkip {
			continue
		}
		w := clients[st.Client]
		if w == nil {
			w = &waiting{known: s.structs.Prefix(st.Client)}
			clients[st.Client] = w
			order = append(order, st.Client)
		}
		w.structs = append(w.structs, st)
	}
	if err := r.Err(); err != nil {
		return Readiness{}, err
	}
	slices.SortFunc(order, func(a, b uint64) int { return cmp.Compare(b, a) })
	known := func(client uint64) uint64 {
		if w := clients[client]; w != nil {
			return w.known
		}
		return s.structs.Prefix(client)
	}
	for _, w := range clients {
		slices.SortStableFunc(w.structs, func(a, b Struct) int { return cmp.Compare(a.Clock, b.Clock) })
	}
	work := slices.Clone(order)
	for len(work) > 0 {
		client := work[len(work)-1]
		work = work[:len(work)-1]
		w := clients[client]
		moved := false
		for w.next < len(w.structs) {
			head := &w.structs[w.next]
			if head.End() > w.known {
				if id, ok := firstMissing(head, w.known, known); ok {
					w.blocked = id
					if other := clients[id.Client]; other != nil && other != w {
						other.waiters = append(other.waiters, client)
					}
					break
				}
				w.known = head.End()
				moved = true
			}
			w.next++
		}
		if moved {
			work = append(work, w.waiters...)
			w.waiters = w.waiters[:0]
		}
	}

	var ready, rest encoder
	var missing []ID
	var held IDSet // ids that the rest brings itself
	for _, client := range order {
		w := clients[client]
		ready.begin(client)
		for i := range w.structs[:w.next] {
			addAfter(&ready, &w.structs[i])
		}
		ready.end()
		rest.begin(client)
		for i := range w.structs[w.next:] {
			h := &w.structs[w.next+i]
			addAfter(&rest, h)
			held.Add(client, h.Clock, h.Len)
		}
		rest.end()
		if w.next < len(w.structs) {
			missing = append(missing, w.blocked)
		}
	}
	var readyDels, restDels IDSet
	for _, d := range u.dels {
		k := known(d.Client)
		if d.Clock < k {
			readyDels.Add(d.Client, d.Clock, min(d.Len, k-d.Clock))
		}
		if d.End() > k {
			from := max(d.Clock, k)
			restDels.Add(d.Client, from, d.End()-from)
			missing = append(missing, ID{d.Client, from})
		}
	}
	out := Readiness{}
	if rest.sections == 0 && restDels.Empty() {
		out.Ready = u.Bytes
		return out, nil
	}
	if ready.sections > 0 || !readyDels.Empty() {
		out.Ready = ready.finish(nil, readyDels.Append(nil))
	}
	out.Rest = rest.finish(nil, restDels.Append(nil))
	slices.SortFunc(missing, func(a, b ID) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Clock, b.Clock))
	})
	missing = slices.Compact(missing)
	// What the rest itself brings is not missing, only what it hangs on.
	first := missing[0]
	out.Missing = slices.DeleteFunc(missing, func(id ID) bool { return held.Contains(id.Client, id.Clock, 1) })
	if len(out.Missing) == 0 {
		// Items that wait for each other in a circle. Nothing will ever free them; they do no harm either.
		out.Missing = append(out.Missing, first)
	}
	return out, nil
}

// firstMissing is the first id s waits for, with own the contiguous end of its own client; false if there is none.
func firstMissing(s *Struct, own uint64, known func(uint64) uint64) (ID, bool) {
	if s.Clock > own {
		return ID{s.Client, own}, true
	}
	if !s.IsItem() {
		return ID{}, false
	}
	lacks := func(id ID) bool { return id.Clock >= known(id.Client) }
	switch {
	case s.HasOrigin() && lacks(s.Origin):
		return s.Origin, true
	case s.HasRight() && lacks(s.Right):
		return s.Right, true
	case s.HasParent() && s.Root == nil && lacks(s.Parent):
		return s.Parent, true
	}
	return ID{}, false
}

// addAfter adds the part of s that the section does not have yet.
func addAfter(e *encoder, s *Struct) {
	if e.structs > 0 && s.Clock < e.next {
		if s.End() <= e.next {
			return
		}
		part := *s
		part.DropLeft(e.next - s.Clock)
		s = &part
	}
	e.add(s)
}
