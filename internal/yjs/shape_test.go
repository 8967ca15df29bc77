package yjs

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// admit takes updates into an empty document as a door does, and gives the refusal of the last one; those before must enter.
func admit(t testing.TB, lim DocumentLimits, updates ...[]byte) error {
	t.Helper()
	var s State
	for i, b := range updates {
		u := parsed(t, b)
		err := s.Admit(u, lim)
		if i == len(updates)-1 {
			return err
		}
		if err != nil {
			t.Fatalf("update %d: %v", i, err)
		}
		s.Add(u)
	}
	return nil
}

func reasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Limit {
		return e.Reason
	}
	return fmt.Sprint(err)
}

func TestTypesNestOnlySoDeep(t *testing.T) {
	// An array in an array, and so on: in the one before itself, or beside an element of it, by one client or by two.
	nest := func(n int, client func(i int) uint64, beside bool) []byte {
		var list []Struct
		clocks := map[uint64]uint64{}
		var holder ID
		add := func(s Struct) ID {
			s.Len, s.Clock = 1, clocks[s.Client]
			clocks[s.Client]++
			list = append(list, s)
			return ID{s.Client, s.Clock}
		}
		for i := range n + 1 {
			s := Struct{Client: client(i), Info: RefType, Content: []byte{TypeArray}}
			switch {
			case i == 0:
				s.Root = []byte("a")
			case beside:
				first := add(Struct{Client: client(i), Info: RefAny, Parent: holder, Content: []byte{anyNull}})
				s = s.after(first.Client, first.Clock)
			default:
				s.Parent = holder
			}
			holder = add(s)
		}
		slices.SortStableFunc(list, func(a, b Struct) int { return cmp.Compare(b.Client, a.Client) })
		return update(list)
	}
	one := func(int) uint64 { return 5 }
	two := func(i int) uint64 { return uint64(5 + i%2) }
	for name, c := range map[string]func(n int) []byte{
		"in itself":          func(n int) []byte { return nest(n, one, false) },
		"beside an element":  func(n int) []byte { return nest(n, one, true) },
		"of two":             func(n int) []byte { return nest(n, two, false) },
		"of two, and beside": func(n int) []byte { return nest(n, two, true) },
	} {
		if err := admit(t, DocumentLimits{}, c(1000)); err != nil {
			t.Errorf("%s, 1000 levels: got %v", name, err)
		}
		var e *Error
		if err := admit(t, DocumentLimits{}, c(1001)); !errors.As(err, &e) || e.Reason != reasonNesting {
			t.Errorf("%s, 1001 levels: got %v, want %s", name, err, reasonNesting)
		}
		if err := admit(t, DocumentLimits{Depth: -1}, c(20_000)); err != nil {
			t.Errorf("%s, without a limit: got %v", name, err)
		}
	}
	var flat []Struct
	for i := range uint64(5000) {
		flat = append(flat, Struct{Client: 5, Clock: i, Len: 1, Info: RefType, Root: []byte("a"), Content: []byte{TypeArray}})
		if i > 0 {
			flat[i] = flat[i].after(5, i-1)
		}
	}
	if err := admit(t, DocumentLimits{}, update(flat)); err != nil {
		t.Errorf("5000 beside each other: got %v", err)
	}
}

// Four updates of 1,000 nested types each, and one delete of the top: stock Yjs throws while it collects, and never sends
// again.
func TestDepthIsThatOfTheDocument(t *testing.T) {
	part := func(from, n int, clientOf func(i int) uint64) []byte {
		clockOf := func(i int) (clock uint64) {
			for k := i; k > 0 && clientOf(k-1) == clientOf(i); k-- {
				clock++
			}
			return clock
		}
		var list []Struct
		for i := from; i < from+n; i++ {
			s := Struct{Client: clientOf(i), Clock: clockOf(i), Len: 1, Info: RefType, Content: []byte{TypeArray}}
			if i == 0 {
				s.Root = []byte("a")
			} else {
				s.Parent = ID{clientOf(i - 1), clockOf(i - 1)}
			}
			list = append(list, s)
		}
		return update(list)
	}
	same := func(int) uint64 { return 5 }
	each := func(i int) uint64 { return 5 + uint64(i/250) }
	for name, c := range map[string]func(i int) uint64{"of one client": same, "of a client each": each} {
		if err := admit(t, DocumentLimits{}, part(0, 250, c), part(250, 250, c), part(500, 250, c), part(750, 251, c)); err != nil {
			t.Errorf("%s, 1,000 levels: got %v", name, err)
		}
		if err := admit(t, DocumentLimits{}, part(0, 250, c), part(250, 250, c), part(500, 250, c), part(750, 252, c)); reasonOf(err) != reasonNesting {
			t.Errorf("%s, 1,001 levels: got %v, want %s", name, err, reasonNesting)
		}
		// What is there is read again as one update, as after a restart, and then one level comes.
		var all []byte
		for i := 0; i < 1001; i += 91 {
			all = merged(t, all, part(i, 91, c))
		}
		if err := admit(t, DocumentLimits{}, all, part(1001, 1, c)); reasonOf(err) != reasonNesting {
			t.Errorf("%s, after a merge: got %v, want %s", name, err, reasonNesting)
		}
	}
}

func merged(t testing.TB, updates ...[]byte) []byte {
	t.Helper()
	u, err := Merge(slices.DeleteFunc(updates, func(u []byte) bool { return len(u) == 0 })...)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// The depths kept are those that the document has, whatever comes in what order.
func TestDepthsEqualThoseOfTheDocument(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		d := NewDocument(DocumentOptions{KeepDeleted: true})
		var parts [][]byte
		for range 60 {
			u, err := d.Edit(1+rnd.Uint64N(3), func(tx *Tx) error { return randomEdit(rnd, tx) })
			if err != nil {
				t.Fatal(err)
			}
			if u != nil {
				parts = append(parts, u)
			}
		}
		all := merged(t, parts...)
		for name, list := range map[string][][]byte{"one by one": parts, "at once": {all}} {
			var s State
			for _, u := range list {
				s.Add(parsed(t, u))
			}
			for _, c := range d.byID() {
				for _, block := range c.blocks {
					for _, it := range block {
						if it.parent == nil {
							continue
						}
						want := 0
						for p := it.parent; p.item != nil; p = p.item.parent {
							want++
						}
						for clock := it.clock; clock < it.end(); clock++ {
							if got := s.shape.depth(ID{c.id, clock}, nil); got != want {
								t.Fatalf("seed %d, %s: depth of (%d, %d): got %d, want %d", seed, name, c.id, clock, got, want)
							}
						}
					}
				}
			}
		}
	}
}

func TestEachLimitOfADocumentHoldsAtItsValueAndNotAbove(t *testing.T) {
	roots := func(from, n int) []byte {
		var list []Struct
		for i := range n {
			s := text(1, uint64(from+i), "a")
			s.Root = fmt.Append(nil, "root", from+i)
			list = append(list, s)
		}
		return update(list)
	}
	clients := func(from, n int) []byte {
		var list []Struct
		for i := range n {
			list = append(list, text(uint64(from+n-i), 0, "a"))
		}
		return update(list)
	}
	docs := func(from, n int) []byte {
		var list []Struct
		for i := range n {
			list = append(list, Struct{Client: 1, Clock: uint64(from + i), Len: 1, Info: RefDoc, Root: []byte("m"), Content: []byte{1, 'g', anyObject, 0}})
		}
		return update(list)
	}
	for _, c := range []struct {
		name   string
		lim    DocumentLimits
		make   func(from, n int) []byte
		at     int
		reason string
	}{
		{"clients", DocumentLimits{Clients: 50}, clients, 50, reasonClients},
		{"roots and their items", DocumentLimits{RootWork: 50 * 50}, roots, 50, reasonRoots},
		{"sub-documents", DocumentLimits{SubDocs: 50}, docs, 50, reasonSubDocs},
	} {
		half := c.at / 2
		for name, from := range map[string]int{"at once": 0, "in two parts": half} {
			before := [][]byte{c.make(0, from)}
			if err := admit(t, c.lim, append(before, c.make(from, c.at-from))...); err != nil {
				t.Errorf("%s, %s: at the limit: got %v", c.name, name, err)
			}
			if err := admit(t, c.lim, append(before, c.make(from, c.at-from+1))...); reasonOf(err) != c.reason {
				t.Errorf("%s, %s: above the limit: got %v, want %s", c.name, name, err, c.reason)
			}
		}
		// What comes a second time, from another server, does not count again.
		var s State
		for range 3 {
			s.Add(parsed(t, c.make(0, half)))
		}
		if err := s.Admit(parsed(t, c.make(half, c.at-half)), c.lim); err != nil {
			t.Errorf("%s: what came three times counted more than once: %v", c.name, err)
		}
	}
}

// Items of one place cost stock clients the square of their number.
func TestItemsOfOnePlaceAreRefusedByTheWorkTheyAre(t *testing.T) {
	list := func(client uint64, from, n int) []byte {
		var out []Struct
		for i := range n {
			out = append(out, Struct{Client: client, Clock: uint64(from + i), Len: 1, Info: RefAny, Root: []byte("t"), Content: []byte{anyNull}})
		}
		return update(out)
	}
	key := func(client uint64, from, n int) []byte {
		var out []Struct
		for i := range n {
			out = append(out, Struct{Client: client, Clock: uint64(from + i), Len: 1, Info: RefAny | infoSub, Root: []byte("m"), Sub: []byte("k"), Content: []byte{anyNull}})
		}
		return update(out)
	}
	for name, updates := range map[string][][]byte{
		"two clients, 5,000 each":             {list(7, 0, 5000), list(9, 0, 5000)},
		"two clients, the second in parts":    {list(7, 0, 5000), list(9, 0, 1500), list(9, 1500, 2000)},
		"40,000 values of one key":            {key(7, 0, 40_000)},
		"40,000 values of one key, in parts":  {key(7, 0, 15_000), key(7, 15_000, 10_000)},
		"a place behind an item, two clients": {list(5, 0, 1), behind(7, 5000), behind(9, 5000)},
	} {
		if err := admit(t, DocumentLimits{}, updates...); reasonOf(err) != reasonCrowd {
			t.Errorf("%s: got %v, want %s", name, err, reasonCrowd)
		}
	}
	// Honest crowds: everybody gives a key its first value before the first sync; one user adds in front ten thousand times.
	var each, front [][]byte
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 8000 {
		each = append(each, key(1+rnd.Uint64N(1<<32), 0, 1))
	}
	d := NewDocument(DocumentOptions{})
	for range 8000 {
		u, err := d.Edit(7, func(tx *Tx) error { return tx.Array("t").Insert(0, 1) })
		if err != nil {
			t.Fatal(err)
		}
		front = append(front, u)
	}
	for name, updates := range map[string][][]byte{"a first value of each client": each, "adding in front": front, "adding in front, at once": {merged(t, front...)}} {
		if err := admit(t, DocumentLimits{}, updates...); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// behind is n items of a client behind the first item of client 5.
func behind(client uint64, n int) []byte {
	var out []Struct
	for i := range n {
		s := Struct{Client: client, Clock: uint64(i), Len: 1, Info: RefAny, Content: []byte{anyNull}}
		out = append(out, s.after(5, 0))
	}
	return update(out)
}

// Yjs takes half a minute to apply 100,000 deletes of one text from its end to its beginning, and a second in order.
func TestDeletesEnterTheLogInOrder(t *testing.T) {
	var s State
	s.Add(parsed(t, update([]Struct{text(7, 0, strings.Repeat("ab", 50))})))
	var down []Run
	for i := 49; i >= 0; i-- {
		down = append(down, Run{7, uint64(2 * i), 1})
	}
	u := parsed(t, update(nil, down...))
	r, err := s.Ready(u)
	if err != nil || r.Rest != nil {
		t.Fatalf("got %+v %v", r, err)
	}
	slices.SortFunc(down, func(a, b Run) int { return cmp.Compare(a.Clock, b.Clock) })
	if want := update(nil, down...); string(r.Ready) != string(want) {
		t.Errorf("got %x, want %x", r.Ready, want)
	}
}

// Somebody uses up the clocks of a client that is offline: what that client wrote there must not pass as known.
func TestWhatIsPlantedDoesNotPassAsKnown(t *testing.T) {
	ada := update([]Struct{text(7, 0, "hello")})
	gc := Struct{Client: 7, Clock: 5, Len: 100_000, Info: RefGC}
	gone := text(7, 5, "x")
	gone.Delete()
	gone.Len = 100_000
	offline := update([]Struct{text(7, 5, " world").after(7, 4)})
	for name, planted := range map[string]Struct{"collected": gc, "deleted": gone.after(7, 4)} {
		var s State
		s.Add(parsed(t, ada))
		s.Add(parsed(t, update([]Struct{planted})))
		if got := s.Vector()[7]; got != 5 {
			t.Errorf("%s: the vector says %d, want 5: the client must send what it has", name, got)
		}
		if id, bad := s.Planted(parsed(t, offline)); !bad || id != (ID{7, 5}) {
			t.Errorf("%s: got %v %v, want (7, 5)", name, id, bad)
		}
		for what, u := range map[string][]byte{"what was there": ada, "the planted again": update([]Struct{planted})} {
			if id, bad := s.Planted(parsed(t, u)); bad {
				t.Errorf("%s: %s: got %v", name, what, id)
			}
		}
		c := s.Clone()
		s.Add(parsed(t, update(nil, Run{7, 5, 100_000})))
		if id, bad := s.Planted(parsed(t, offline)); bad || s.Vector()[7] != 100_005 {
			t.Errorf("%s: deleted by somebody, which its writer sees: got %v", name, id)
		}
		if _, bad := c.Planted(parsed(t, offline)); !bad {
			t.Errorf("%s: a clone forgot", name)
		}
	}
	// What clients collect they also delete: nothing is planted, and known is known.
	var s State
	s.Add(parsed(t, ada))
	s.Add(parsed(t, update([]Struct{gc}, Run{7, 5, 100_000})))
	if _, bad := s.Planted(parsed(t, offline)); bad || s.Vector()[7] != 100_005 {
		t.Error("collected and deleted in one update counts as planted")
	}
}

// Documents of real editors are within all limits.
func TestTracesAreWithinTheLimitsOfDocuments(t *testing.T) {
	for _, name := range []string{"rich-mixed"} {
		var s State
		var u Update
		for i, b := range loadTrace(t, name).updates {
			if err := u.Parse(b, Limits{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Admit(&u, DocumentLimits{}); err != nil {
				t.Fatalf("%s, update %d: %v", name, i, err)
			}
			s.Add(&u)
			if id, bad := s.Planted(&u); bad {
				t.Fatalf("%s, update %d: planted at %v", name, i, id)
			}
		}
		t.Logf("%s: deepest %d, crowd %s", name, s.shape.deepest, time.Duration(s.shape.crowd.heavy))
	}
}
