package yjs

import (
	"cmp"
	"math"
	"slices"
)

// Readiness is an update split by whether a state can apply it now.
type Readiness struct {
	Ready   []byte // V1 update to append now; nil: nothing is ready
	Rest    []byte // V1 update that must wait; nil: nothing waits
	Missing []ID   // ids that Rest waits for, each once, by client and clock
}

// Ready splits u into the part that s can apply now and the rest. A struct is ready when everything before it in its own
// client and everything it refers to is in s, contiguous from clock 0, or in ready structs of u. A delete is ready when its
// structs are.
//
// Structs that s has already are left out. A client ignores them, but a merge may take either of two structs at one clock:
// if they differ, later clients would see other content than present ones. A struct that overlaps the end of the known
// clocks is cut there: Yjs throws when it has to cut one at GC, and only a hostile update needs such a cut.
//
// The error is for an update that cuts the value of a key of a nested type. No client writes such an update, and it breaks
// all clients; see values.go.
//
// In the usual case all structs are new, ready and in order: then Ready is u.Bytes itself and nothing is allocated. A client
// with two sections is put in order, since Yjs loses the first one. The union of both parts and s contains u.
func (s *State) Ready(u *Update) (Readiness, error) {
	if at, bad := s.cutsValue(u); bad {
		return Readiness{}, &Error{Offset: at, Reason: reasonValue}
	}
	if (!u.disorder || u.Empty()) && s.allReady(u) {
		return Readiness{Ready: u.Bytes}, nil
	}
	return s.sift(u)
}

// allReady answers for the simple updates: true means ready, false means look closer.
func (s *State) allReady(u *Update) bool {
	for i, r := range u.runs {
		known := s.structs.Prefix(r.Client)
		if r.Clock < known {
			return false
		}
		if r.Clock > known {
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
	spans   []span // by clock, no Skips
	next    int    // those before it are ready
	known   uint64 // contiguous end, including ready spans
	blocked ID     // the id that spans[next] waits for
	waiters waiters
}

// waiters are the clients whose first structs wait for clocks of one client. The heap wakes only clients whose clock has
// arrived; scanning a list would take quadratic time when many wait for the end.
type waiters []waiter

type waiter struct{ clock, client uint64 }

func (w *waiters) add(clock, client uint64) {
	h := append(*w, waiter{clock, client})
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].clock <= h[i].clock {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
	*w = h
}

// wake takes those out whose clock is below known, and appends their clients to work.
func (w *waiters) wake(known uint64, work []uint64) []uint64 {
	h := *w
	for len(h) > 0 && h[0].clock < known {
		work = append(work, h[0].client)
		last := len(h) - 1
		h[0] = h[last]
		h = h[:last]
		for i := 0; ; {
			least := 2*i + 1
			if least >= last {
				break
			}
			if least+1 < last && h[least+1].clock < h[least].clock {
				least++
			}
			if h[i].clock <= h[least].clock {
				break
			}
			h[i], h[least] = h[least], h[i]
			i = least
		}
	}
	*w = h
	return work
}

// gather reads the structs of a checked update, by client; order is by descending client.
func gather(update []byte) (clients map[uint64]*waiting, order []uint64, r Reader, err error) {
	if uint64(len(update)) > math.MaxUint32 {
		return nil, nil, r, ErrTooLarge
	}
	clients = make(map[uint64]*waiting)
	var w *waiting
	var s Struct
	section := 0
	unsorted := false
	r.Reset(update)
	for r.skim(&s) {
		if s.Info == RefSkip {
			continue
		}
		if section != r.section {
			section = r.section
			if w = clients[s.Client]; w == nil {
				w = new(waiting)
				clients[s.Client] = w
				order = append(order, s.Client)
			} else {
				unsorted = true
			}
		}
		w.spans = append(w.spans, r.spanOf(&s, 0, 0))
	}
	if r.Err() != nil {
		return nil, nil, r, r.Err()
	}
	if unsorted {
		for _, w := range clients {
			slices.SortStableFunc(w.spans, func(a, b span) int { return cmp.Compare(a.clock, b.clock) })
		}
	}
	slices.SortFunc(order, func(a, b uint64) int { return cmp.Compare(b, a) })
	return clients, order, r, nil
}

// sift finds the ready part in the general case: it goes over the clients, taking each as far as it can, and comes back to
// a client whenever one that it waits for has moved.
func (s *State) sift(u *Update) (Readiness, error) {
	clients, order, _, err := gather(u.Bytes)
	if err != nil {
		return Readiness{}, err
	}
	for client, w := range clients {
		w.known = s.structs.Prefix(client)
	}
	known := func(client uint64) uint64 {
		if w := clients[client]; w != nil {
			return w.known
		}
		return s.structs.Prefix(client)
	}
	work := slices.Clone(order)
	cut := u.disorder // the ready part is not u unchanged
	for len(work) > 0 {
		client := work[len(work)-1]
		work = work[:len(work)-1]
		w := clients[client]
		moved := false
		for w.next < len(w.spans) {
			head := &w.spans[w.next]
			if head.end() <= w.known {
				head.len, cut = 0, true
			} else {
				if head.clock < w.known {
					head.cut(w.known - head.clock)
					cut = true
				}
				if id, ok := firstMissing(u.Bytes, client, head, w.known, known); ok {
					w.blocked = id
					if other := clients[id.Client]; other != nil && other != w {
						other.waiters.add(id.Clock, client)
					}
					break
				}
				w.known = head.end()
				moved = true
			}
			w.next++
		}
		if moved {
			work = w.waiters.wake(w.known, work)
		}
	}

	return u.split(clients, order, known, cut), nil
}

// split writes the result of sift: of each client the spans before next are ready. known returns the contiguous end of a
// client with the ready spans; cut reports that the ready part is not u unchanged.
func (u *Update) split(clients map[uint64]*waiting, order []uint64, known func(uint64) uint64, cut bool) Readiness {
	var ready, rest encoder
	var missing []ID
	var held IDSet // ids in the rest
	for _, client := range order {
		w := clients[client]
		ready.begin(client)
		for _, h := range w.spans[:w.next] {
			if h.len > 0 {
				ready.addSpan(u.Bytes, &h)
			}
		}
		ready.end()
		rest.begin(client)
		for _, h := range w.spans[w.next:] {
			rest.addAfter(u.Bytes, h)
			held.Add(client, h.clock, h.len)
		}
		rest.end()
		if w.next < len(w.spans) {
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
	if rest.sections == 0 && restDels.Empty() && !cut {
		return Readiness{Ready: u.Bytes}
	}
	var out Readiness
	if ready.sections > 0 || !readyDels.Empty() {
		out.Ready = ready.finish(nil, readyDels.Append(nil))
	}
	if rest.sections == 0 && restDels.Empty() {
		return out
	}
	out.Rest = rest.finish(nil, restDels.Append(nil))
	slices.SortFunc(missing, func(a, b ID) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Clock, b.Clock))
	})
	missing = slices.Compact(missing)
	// Ids in the rest itself are not missing, only ids that it depends on.
	first := missing[0]
	out.Missing = slices.DeleteFunc(missing, func(id ID) bool { return held.Contains(id.Client, id.Clock, 1) })
	if len(out.Missing) == 0 {
		// Items that wait for each other in a circle stay pending for ever, and do no harm.
		out.Missing = append(out.Missing, first)
	}
	return out
}

// firstMissing returns the first id that a struct of b waits for, or false if there is none. own is the contiguous end of
// the struct's own client.
func firstMissing(b []byte, client uint64, h *span, own uint64, known func(uint64) uint64) (ID, bool) {
	if h.clock > own {
		return ID{client, own}, true
	}
	if h.info == RefGC {
		return ID{}, false
	}
	s := h.decode(b, client)
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

// addAfter adds the part of s, a struct of b, beyond the end of the section.
func (e *encoder) addAfter(b []byte, s span) {
	if e.structs > 0 && s.clock < e.next {
		if s.end() <= e.next {
			return
		}
		s.cut(e.next - s.clock)
	}
	e.addSpan(b, &s)
}
