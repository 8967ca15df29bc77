package yjs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// update builds a V1 update from structs, grouped by client in the order given, and deletes.
func update(structs []Struct, deletes ...Run) []byte {
	var e encoder
	for i := range structs {
		if i == 0 || structs[i-1].Client != structs[i].Client {
			e.end()
			e.begin(structs[i].Client)
		}
		e.add(&structs[i])
	}
	e.end()
	return e.finish(nil, appendDeletes(nil, deletes))
}

func text(client, clock uint64, s string) Struct {
	n, _ := utf16Len([]byte(s))
	st := Struct{Client: client, Clock: clock, Len: uint64(n), Info: RefString, Content: []byte(s), Root: []byte("t")}
	return st
}

func (s Struct) after(client, clock uint64) Struct {
	s.Info |= infoOrigin
	s.Origin = ID{client, clock}
	s.Root, s.Sub = nil, nil
	return s
}

func (s Struct) before(client, clock uint64) Struct {
	s.Info |= infoRight
	s.Right = ID{client, clock}
	s.Root, s.Sub = nil, nil
	return s
}

func parsed(t testing.TB, b []byte) *Update {
	t.Helper()
	u := new(Update)
	if err := u.Parse(b, Limits{}); err != nil {
		t.Fatalf("%s: %v", b64(b), err)
	}
	return u
}

func TestWhatBreaksClientsIsRefused(t *testing.T) {
	high := uint64(4294967290)
	for _, c := range []struct {
		name   string
		update []byte
		reason string
		limit  bool
	}{
		{"item that is its own left neighbour", unhex(t, "0101faffffff0f0084faffffff0f00017800"), reasonSelf, false},
		{"origin of the same client at a later clock", update([]Struct{text(high, 0, "a").after(high, 7)}), reasonSelf, false},
		{"right origin inside itself", update([]Struct{text(high, 3, "abc").before(high, 4)}), reasonSelf, false},
		{"parent that is the item", update([]Struct{{Client: high, Clock: 2, Len: 1, Info: RefString, Content: []byte("x"), Parent: ID{high, 2}}}), reasonSelf, false},
		{"delete of nothing", update([]Struct{text(1, 0, "abc")}, Run{1, 1, 0}), reasonZeroDelete, false},
		{"empty text", update([]Struct{text(1, 0, "")}), reasonZeroStruct, false},
		{"empty GC", update([]Struct{{Client: 1, Info: RefGC}}), reasonZeroStruct, false},
		{"empty Skip", update([]Struct{{Client: 1, Info: RefSkip}}), reasonZeroStruct, false},
		{"bytes after the end", append(update([]Struct{text(1, 0, "a")}), 0), reasonTrailing, false},
		{"client above 2^53-1", update([]Struct{text(MaxSafe+1, 0, "a")}), reasonRange, false},
		{"clock above 2^53-1", update([]Struct{text(1, MaxSafe, "a")}), reasonRange, false},
		{"length above 2^53-1", update([]Struct{{Client: 1, Len: MaxSafe + 1, Info: RefGC}}), reasonRange, false},
		{"origin above 2^53-1", update([]Struct{text(1, 0, "a").after(2, MaxSafe)}), reasonRange, false},
		{"delete above 2^53-1", update(nil, Run{1, MaxSafe, 1}), reasonRange, false},
		{"delete of a client above 2^53-1", update(nil, Run{MaxSafe + 1, 0, 1}), reasonRange, false},
		{"skip with flags", unhex(t, "0101 01 00 2a 03 00"), reasonSkipFlags, false},
		{"unknown content", unhex(t, "0101 01 00 0b 01 01 74 01 61 00"), reasonRef, false},
		{"unknown type", unhex(t, "0101 01 00 07 01 01 74 07 00"), reasonType, false},
		{"broken JSON", unhex(t, "0101 01 00 05 01 01 74 01 7b 00"), reasonJSON, false},
		{"broken UTF-8", unhex(t, "0101 01 00 04 01 01 74 01 ff 00"), reasonUTF8, false},
		{"more structs than bytes", unhex(t, "01 ffffff7f 01 00 00"), reasonCount, false},
		{"a sub-document whose options name another", update([]Struct{{Client: 1, Len: 1, Info: RefDoc, Root: []byte("a"), Content: unhex(t, "01 67 76 01 04 67756964 7e")}}), reasonOptions, false},
		{"a sub-document whose options hold a filter", update([]Struct{{Client: 1, Len: 1, Info: RefDoc, Root: []byte("a"), Content: unhex(t, "01 67 76 02 02 6763 79 08 676346696c746572 78")}}), reasonOptions, false},
		{"any nested too deep", update([]Struct{{Client: 1, Len: 1, Info: RefAny, Root: []byte("a"), Content: append(bytes.Repeat([]byte{anyArray, 1}, 257), anyNull)}}), reasonDepth, false},
		{"JSON nested too deep", update([]Struct{{Client: 1, Len: 1, Info: RefEmbed, Root: []byte("a"), Content: []byte(strings.Repeat("[", 257) + strings.Repeat("]", 257))}}), reasonDepth, false},
	} {
		var u Update
		err := u.Parse(c.update, Limits{})
		var e *Error
		if !errors.As(err, &e) || e.Reason != c.reason || e.Offset < 0 || e.Offset > len(c.update) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.reason)
			continue
		}
		if errors.Is(err, ErrLimit) != c.limit || errors.Is(err, ErrMalformed) == c.limit {
			t.Errorf("%s: got %v, want a limit: %v", c.name, err, c.limit)
		}
		if !u.Empty() || u.Bytes != nil {
			t.Errorf("%s: the update is not empty after an error", c.name)
		}
	}
}

func TestWhatIsOnlyOddIsTaken(t *testing.T) {
	for _, c := range []struct {
		name   string
		update []byte
	}{
		{"nothing", []byte{0, 0}},
		{"a lone delete", update(nil, Run{5, 0, 3})},
		{"clients in ascending order, one of them twice", unhex(t, "03 01 01 00 04 01 01 74 01 61 01 02 00 04 01 01 74 01 62 01 01 01 84 01 00 01 63 00")},
		{"origins that nobody has", update([]Struct{text(1, 9, "a").after(7, 100).before(8, 0)})},
		{"GC of its own", update([]Struct{{Client: 1, Len: 3, Info: RefGC}})},
		{"options of a sub-document", update([]Struct{{Client: 1, Len: 1, Info: RefDoc, Root: []byte("a"), Content: unhex(t, "01 67 76 02 02 6763 79 04 6d657461 76 01 04 67756964 77 01 78")}})},
		{"any nested to the limit", update([]Struct{{Client: 1, Len: 1, Info: RefAny, Root: []byte("a"), Content: append(bytes.Repeat([]byte{anyArray, 1}, 256), anyNull)}})},
		{"the last clock there is", update([]Struct{text(MaxSafe, MaxSafe-1, "a")})},
		{"two clients that wait for each other", unhex(t, "0201020084010001 61 0101 00 84 02 00 01 62 00")},
	} {
		if err := validate(c.update, Limits{}); err != nil {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestEachLimitHoldsAtItsValueAndNotAbove(t *testing.T) {
	sequence := func(n int, f func(i int) Struct) (out []Struct) {
		for i := range n {
			out = append(out, f(i))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		lim    Limits
		make   func(n int) []byte
		at     int
		reason string
	}{
		{"structs", Limits{Structs: 50}, func(n int) []byte {
			return update(sequence(n, func(i int) Struct { return text(1, uint64(i), "a") }))
		}, 50, reasonStructs},
		{"delete ranges", Limits{DeleteRanges: 50}, func(n int) []byte {
			var dels []Run
			for i := range n {
				dels = append(dels, Run{1, uint64(2 * i), 1})
			}
			return update(nil, dels...)
		}, 50, reasonRanges},
		{"depth", Limits{Depth: 3}, func(n int) []byte {
			return update([]Struct{{Client: 1, Len: 1, Info: RefAny, Root: []byte("a"), Content: append(bytes.Repeat([]byte{anyObject, 1, 0}, n), anyNull)}})
		}, 3, reasonDepth},
	} {
		if err := validate(c.make(c.at), c.lim); err != nil {
			t.Errorf("%s at the limit: got %v", c.name, err)
		}
		err := validate(c.make(c.at+1), c.lim)
		var e *Error
		// No smaller piece of what nests too deep would do: it is malformed, not too large.
		if errors.Is(err, ErrLimit) != (c.reason != reasonDepth) || !errors.As(err, &e) || e.Reason != c.reason {
			t.Errorf("%s past the limit: got %v, want %s", c.name, err, c.reason)
		}
		if err := validate(c.make(c.at+1), Limits{}); err != nil {
			t.Errorf("%s past a limit that is not set: got %v", c.name, err)
		}
	}
	if err := validate(update(sequence(500_001, func(i int) Struct { return text(1, uint64(i), "a") })), Limits{Structs: -1}); err != nil {
		t.Errorf("no limit: got %v", err)
	}
}

// model is an IDSet as plain as can be.
type model map[ID]bool

func TestIDSetEqualsPlainSet(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var s IDSet
		m := model{}
		for range 60 {
			client, clock, n := rnd.Uint64N(3), rnd.Uint64N(120), rnd.Uint64N(6)
			if rnd.IntN(4) == 0 { // many at once
				var runs []Run
				for at := clock; len(runs) < rnd.IntN(30); at += 1 + rnd.Uint64N(5) {
					runs = append(runs, Run{client, at, 1 + rnd.Uint64N(4)})
				}
				if len(runs) > 0 {
					s.addSorted(client, runs)
				}
				for _, r := range runs {
					for k := range r.Len {
						m[ID{client, r.Clock + k}] = true
					}
				}
				continue
			}
			s.Add(client, clock, n)
			for k := range n {
				m[ID{client, clock + k}] = true
			}
		}
		checkSet(t, seed, &s, m)
		c := s.Clone()
		c.Add(0, 500, 10)
		checkSet(t, seed, &s, m)
	}
}

func checkSet(t *testing.T, seed uint64, s *IDSet, m model) {
	t.Helper()
	n := 0
	for client, ranges := range s.All() {
		for i, r := range ranges {
			if r.Len == 0 || i > 0 && ranges[i-1].End() >= r.Clock {
				t.Fatalf("seed %d: ranges %v are not sorted and apart", seed, ranges)
			}
			n += int(r.Len)
			if !s.Contains(client, r.Clock, r.Len) || s.Contains(client, r.Clock, r.Len+1) || r.Clock > 0 && s.Contains(client, r.Clock-1, 2) {
				t.Fatalf("seed %d: Contains is wrong around %v", seed, r)
			}
		}
	}
	if n != len(m) {
		t.Fatalf("seed %d: got %d ids, want %d", seed, n, len(m))
	}
	prefix := map[uint64]uint64{}
	for c := range uint64(3) {
		for m[ID{c, prefix[c]}] {
			prefix[c]++
		}
		if got := s.Prefix(c); got != prefix[c] {
			t.Fatalf("seed %d: prefix of %d: got %d, want %d", seed, c, got, prefix[c])
		}
	}
	for id := range m {
		if !s.Contains(id.Client, id.Clock, 1) {
			t.Fatalf("seed %d: %v is missing", seed, id)
		}
	}
	if s.Empty() != (len(m) == 0) {
		t.Fatalf("seed %d: Empty is %v with %d ids", seed, s.Empty(), len(m))
	}
}

func TestContainsKnowsStructsAndDeletes(t *testing.T) {
	var s State
	s.Add(parsed(t, update([]Struct{text(2, 0, "abc"), text(1, 0, "xyz").after(2, 1)}, Run{2, 1, 1})))
	for _, c := range []struct {
		name   string
		update []byte
		want   bool
	}{
		{"nothing", []byte{0, 0}, true},
		{"the same", update([]Struct{text(2, 0, "abc")}, Run{2, 1, 1}), true},
		{"a part", update([]Struct{text(2, 1, "b").after(2, 0)}), true},
		{"one more letter", update([]Struct{text(2, 3, "d").after(2, 2)}), false},
		{"known and new", update([]Struct{text(2, 2, "cd").after(2, 1)}), false},
		{"another client", update([]Struct{text(3, 0, "q")}), false},
		{"a known delete", update(nil, Run{2, 1, 1}), true},
		{"a new delete", update(nil, Run{2, 1, 2}), false},
		{"a delete of another client", update(nil, Run{9, 0, 1}), false},
		{"a gap is nothing", update([]Struct{text(2, 0, "a"), text(2, 2, "c")}), true},
	} {
		if got := s.Contains(parsed(t, c.update)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if got, want := fmt.Sprint(s.Vector()), "map[1:3 2:3]"; got != want {
		t.Errorf("vector: got %s, want %s", got, want)
	}
	s.Add(parsed(t, update([]Struct{text(2, 5, "f").after(2, 4)})))
	if got, want := fmt.Sprint(s.Vector()), "map[1:3 2:3]"; got != want {
		t.Errorf("vector with a gap: got %s, want %s", got, want)
	}
	if !s.Contains(parsed(t, update([]Struct{text(2, 5, "f").after(2, 4)}))) {
		t.Error("what lies behind a gap is forgotten")
	}
	c := s.Clone()
	c.Add(parsed(t, update([]Struct{text(2, 3, "de").after(2, 2)})))
	if got := fmt.Sprint(c.Vector(), s.Vector()); got != "map[1:3 2:6] map[1:3 2:3]" {
		t.Errorf("after Clone: got %s", got)
	}
	if s.Clients() != 2 || s.Roots() != 1 || !s.HasRoot([]byte("t")) || s.HasRoot([]byte("u")) {
		t.Errorf("got %d clients and %d roots, want 2 and 1", s.Clients(), s.Roots())
	}
}

func TestReadySplitsWhatMustWait(t *testing.T) {
	base := update([]Struct{text(5, 0, "hello")})
	for _, c := range []struct {
		name        string
		update      []byte
		ready, rest []byte
		missing     string
	}{
		{"the next letter", update([]Struct{text(5, 5, "!").after(5, 4)}), update([]Struct{text(5, 5, "!").after(5, 4)}), nil, "[]"},
		{"a gap in its own client", update([]Struct{text(5, 7, "!").after(5, 6)}), nil, update([]Struct{text(5, 7, "!").after(5, 6)}), "[{5 5}]"},
		{"an origin nobody has", update([]Struct{text(6, 0, "x").after(9, 3)}), nil, update([]Struct{text(6, 0, "x").after(9, 3)}), "[{9 3}]"},
		{"a right origin nobody has", update([]Struct{text(6, 0, "x").before(9, 0)}), nil, update([]Struct{text(6, 0, "x").before(9, 0)}), "[{9 0}]"},
		{"a parent nobody has", update([]Struct{{Client: 6, Len: 1, Info: RefString, Content: []byte("x"), Parent: ID{9, 1}}}), nil, update([]Struct{{Client: 6, Len: 1, Info: RefString, Content: []byte("x"), Parent: ID{9, 1}}}), "[{9 1}]"},
		{"another client of the same update, lower first", update([]Struct{text(7, 0, "y").after(6, 0), text(6, 0, "x").after(5, 4)}), update([]Struct{text(7, 0, "y").after(6, 0), text(6, 0, "x").after(5, 4)}), nil, "[]"},
		{"item, gap, item", update([]Struct{text(5, 5, "a").after(5, 4), text(5, 8, "d").after(5, 7)}), update([]Struct{text(5, 5, "a").after(5, 4)}), update([]Struct{text(5, 8, "d").after(5, 7)}), "[{5 6}]"},
		{"one ready, one not, one behind it", update([]Struct{text(6, 0, "x").after(5, 0), text(6, 1, "y").after(8, 0), text(6, 2, "z").after(6, 1)}), update([]Struct{text(6, 0, "x").after(5, 0)}), update([]Struct{text(6, 1, "y").after(8, 0), text(6, 2, "z").after(6, 1)}), "[{8 0}]"},
		{"through another client", update([]Struct{text(7, 0, "y").after(6, 0), text(6, 0, "x").after(8, 2)}), nil, update([]Struct{text(7, 0, "y").after(6, 0), text(6, 0, "x").after(8, 2)}), "[{8 2}]"},
		{"a delete beyond what is known", update(nil, Run{5, 3, 4}), update(nil, Run{5, 3, 2}), update(nil, Run{5, 5, 2}), "[{5 5}]"},
		{"a delete of its own structs", update([]Struct{text(6, 0, "abc").after(5, 0)}, Run{6, 1, 1}), update([]Struct{text(6, 0, "abc").after(5, 0)}, Run{6, 1, 1}), nil, "[]"},
		{"a delete of its own that waits", update([]Struct{text(6, 0, "abc").after(9, 0)}, Run{6, 1, 1}, Run{5, 0, 1}), update(nil, Run{5, 0, 1}), update([]Struct{text(6, 0, "abc").after(9, 0)}, Run{6, 1, 1}), "[{9 0}]"},
		{"a struct that begins before what is known and ends after it", update([]Struct{text(5, 3, "lo!").after(5, 2).before(5, 0)}), update([]Struct{text(5, 5, "!").after(5, 4).before(5, 0)}), nil, "[]"},
		{"the same that must wait", update([]Struct{text(5, 3, "lo!").after(5, 2).before(9, 0)}), nil, update([]Struct{text(5, 5, "!").after(5, 4).before(9, 0)}), "[{9 0}]"},
		{"known structs, then new ones", update([]Struct{text(5, 3, "lo").after(5, 2), text(5, 5, "!").after(5, 4)}), update([]Struct{text(5, 5, "!").after(5, 4)}), nil, "[]"},
		{"known structs and a new delete", update([]Struct{text(5, 3, "lo").after(5, 2)}, Run{5, 0, 1}), update(nil, Run{5, 0, 1}), nil, "[]"},
		{"the same client twice", unhex(t, "02 01 05 05 84 05 04 01 61 01 05 06 84 05 05 01 62 00"), unhex(t, "01 02 05 05 84 05 04 01 61 84 05 05 01 62 00"), nil, "[]"},
		{"the same client twice, once with nothing", unhex(t, "02 01 05 05 84 05 04 01 61 00 05 00 00"), unhex(t, "01 01 05 05 84 05 04 01 61 00"), nil, "[]"},
		{"clients in ascending order", unhex(t, "02 01 05 05 84 05 04 01 61 01 06 00 84 05 05 01 62 00"), unhex(t, "02 01 06 00 84 05 05 01 62 01 05 05 84 05 04 01 61 00"), nil, "[]"},
		{"sections of nothing", unhex(t, "02 00 05 00 00 05 00 00"), unhex(t, "02 00 05 00 00 05 00 00"), nil, "[]"},
		{"a circle", unhex(t, "0201020084010001 61 0101 00 84 02 00 01 62 00"), nil, unhex(t, "0201020084010001 61 0101 00 84 02 00 01 62 00"), "[{1 0}]"},
	} {
		var s State
		s.Add(parsed(t, base))
		u := parsed(t, c.update)
		got, err := s.Ready(u)
		if err != nil || !bytes.Equal(got.Ready, c.ready) || !bytes.Equal(got.Rest, c.rest) || fmt.Sprint(got.Missing) != c.missing {
			t.Errorf("%s: got %x | %x | %v %v\nwant %x | %x | %s", c.name, got.Ready, got.Rest, got.Missing, err, c.ready, c.rest, c.missing)
		}
		if bytes.Equal(c.ready, c.update) && &got.Ready[0] != &c.update[0] {
			t.Errorf("%s: all is ready, but was copied", c.name)
		}
		for _, part := range [][]byte{got.Ready, got.Rest} {
			if part != nil {
				if err := validate(part, Limits{}); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		}
	}
}

// Updates in any order, some twice: what Ready lets through, in that order, is complete in the end and never refers to what is
// not there.
// Somebody sends what another client wrote once more, but not as it was, beside something of his own. Those who are here pass
// over it; those who get a merge of the log must not see it either.
func TestWhatIsKnownComesIntoNoLogASecondTime(t *testing.T) {
	first := update([]Struct{text(5, 0, "hello")})
	for name, forged := range map[string][]byte{
		"another text": update([]Struct{text(9, 0, "!"), text(5, 0, "JELLY")}),
		"in pieces":    update([]Struct{text(9, 0, "!"), text(5, 0, "JE"), text(5, 2, "LLY").after(5, 1)}),
		"collected":    update([]Struct{text(9, 0, "!"), {Client: 5, Len: 5, Info: RefGC}}),
		"and longer":   update([]Struct{text(9, 0, "!"), text(5, 0, "JELLY, and more")}),
		"and a delete": update([]Struct{text(9, 0, "!"), {Client: 5, Len: 5, Info: RefDeleted, Root: []byte("t")}}, Run{9, 0, 1}),
	} {
		var s State
		s.Add(parsed(t, first))
		r, err := s.Ready(parsed(t, forged))
		if err != nil || r.Rest != nil {
			t.Fatalf("%s: got rest %x, %v", name, r.Rest, err)
		}
		live := NewDocument(DocumentOptions{})
		apply(t, live, first, forged)
		for how, late := range map[string][]byte{"merged": must2(t)(Merge(first, r.Ready)), "joined": must2(t)(Join(first, r.Ready)), "compacted": must2(t)(Compact(first, r.Ready))} {
			d := NewDocument(DocumentOptions{})
			apply(t, d, late)
			if got, want := textOf(d, "t"), textOf(live, "t"); got != want {
				t.Errorf("%s, %s: got %q, want %q as shown to those who were there", name, how, got, want)
			}
		}
	}
}

// A nested map, a value of two units under one of its keys, and something that parts the two: when the map is deleted, every
// npm yjs that has it throws, and sends nothing any more.
func TestWhatPartsAValueIsRefused(t *testing.T) {
	inMap := func(client, clock uint64, s string) Struct {
		st := text(client, clock, s)
		st.Root, st.Parent, st.Sub, st.Info = nil, ID{5, 0}, []byte("k"), RefString|infoSub
		return st
	}
	aMap := Struct{Client: 5, Len: 1, Info: RefType | infoSub, Root: []byte("m"), Sub: []byte("map"), Content: []byte{TypeMap}}
	aMapAt := func(clock uint64) Struct { s := aMap; s.Clock = clock; return s }
	inMapOf := func(client, clock, holder uint64, text string) Struct {
		s := inMap(client, clock, text)
		s.Parent.Clock = holder
		return s
	}
	list := Struct{Client: 5, Clock: 1, Len: 2, Info: RefAny | infoSub, Parent: ID{5, 0}, Sub: []byte("k"), Content: []byte{anyNull, anyNull}}
	aText := aMap
	aText.Content = []byte{TypeText}
	inText := inMap(5, 1, "ab")
	inText.Sub, inText.Info = nil, RefString
	value := update([]Struct{aMap, inMap(5, 1, "ab")})
	// Two who set the key by turns, from the lower client on, and the last value has two units.
	turns := func(n uint64) []byte {
		all := []Struct{text(8, 0, "x").after(6+n%2, n/2)}
		for c := uint64(7); c >= 6; c-- {
			for i := range n + 1 {
				s := text(6+i%2, i/2, "a").after(6+(i+1)%2, (i-1)/2)
				if i == 0 {
					s = text(6, 0, "a").after(5, 1)
				}
				if i == n {
					s.Content, s.Len = []byte("ab"), 2
				}
				if s.Client == c {
					all = append(all, s)
				}
			}
		}
		return update(append(all, aMap, inMap(5, 1, "a")))
	}
	for _, c := range []struct {
		name string
		log  [][]byte
		ok   bool
	}{
		{"an item after the first unit", [][]byte{value, update([]Struct{text(6, 0, "x").after(5, 1)})}, false},
		{"an item before the second unit", [][]byte{value, update([]Struct{text(6, 0, "x").before(5, 2)})}, false},
		{"a delete of the second unit", [][]byte{value, update(nil, Run{5, 2, 1})}, false},
		{"any values", [][]byte{update([]Struct{aMap, list}), update([]Struct{text(6, 0, "x").after(5, 1)})}, false},
		{"all at once", [][]byte{update([]Struct{text(6, 0, "x").after(5, 1), aMap, inMap(5, 1, "ab")})}, false},
		{"behind another value", [][]byte{update([]Struct{aMap, inMap(5, 1, "a")}), update([]Struct{text(6, 0, "bc").after(5, 1)}), update([]Struct{text(7, 0, "x").after(6, 0)})}, false},
		{"behind others, all at once", [][]byte{update([]Struct{text(7, 0, "x").after(6, 0), text(6, 0, "bc").after(5, 1), aMap, inMap(5, 1, "a")})}, false},
		{"the rest of what begins elsewhere", [][]byte{update([]Struct{text(5, 0, "x"), aMapAt(1), inMapOf(5, 2, 1, "a")}), update([]Struct{text(5, 1, "????").after(5, 0)}), update(nil, Run{5, 4, 1})}, false},
		{"after a few turns", [][]byte{turns(3)}, false},
		{"after many turns", [][]byte{turns(50)}, false},
		{"before another value", [][]byte{update([]Struct{aMap, inMap(5, 1, "a")}), update([]Struct{text(6, 0, "bc").before(5, 1)}), update([]Struct{text(7, 0, "x").after(6, 0)})}, false},
		// What clients write. The attributes of old yrs are texts.
		{"another value, and the first one deleted", [][]byte{value, update([]Struct{text(5, 3, "cd").after(5, 2)}, Run{5, 1, 2}), update([]Struct{text(6, 0, "e").after(5, 4)}, Run{5, 3, 2})}, true},
		{"two at once, and the map deleted", [][]byte{value, update([]Struct{text(6, 0, "cd").after(5, 2)}), update([]Struct{text(7, 0, "ef").after(5, 2)}), update(nil, Run{5, 0, 3})}, true},
		{"a delete of the first unit", [][]byte{value, update(nil, Run{5, 1, 1})}, true},
		{"deleted values in one, and one between them", [][]byte{update([]Struct{aMap, list}, Run{5, 1, 2}), update([]Struct{text(6, 0, "x").after(5, 1)})}, true},
		{"deleted values in one, and one between them, all at once", [][]byte{update([]Struct{text(6, 0, "x").after(5, 1), aMap, list}, Run{5, 1, 2})}, true},
		{"a text in the same place", [][]byte{update([]Struct{aText, inText}), update([]Struct{text(6, 0, "x").after(5, 1)}, Run{5, 2, 1})}, true},
		{"of a root, which is never collected", [][]byte{update([]Struct{{Client: 5, Len: 2, Info: RefString | infoSub, Root: []byte("m"), Sub: []byte("k"), Content: []byte("ab")}}), update([]Struct{text(6, 0, "x").after(5, 0)})}, true},
	} {
		var s State
		for i, b := range c.log {
			u := parsed(t, b)
			ready, err := s.Clone().Ready(u)
			if last := i == len(c.log)-1; last && !c.ok {
				var e *Error
				if !errors.As(err, &e) || e.Reason != reasonValue || e.Offset >= len(b) {
					t.Errorf("%s: got %v, want %s", c.name, err, reasonValue)
				}
			} else if err != nil {
				t.Errorf("%s, update %d: got %v", c.name, i, err)
			} else {
				s.Add(parsed(t, ready.Ready))
			}
		}
	}
}

func TestReadyBringsAShuffledHistoryIntoOrder(t *testing.T) {
	tr := loadTrace(t, "rich-mixed")
	whole, err := Merge(tr.updates...)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(3) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		updates := slices.Clone(tr.updates)
		for i := range updates { // locally shuffled: each moves by up to 40 places
			j := min(len(updates)-1, i+rnd.IntN(40))
			updates[i], updates[j] = updates[j], updates[i]
		}
		var s State
		var log, held [][]byte
		take := func(b []byte) bool {
			u := parsed(t, b)
			r, err := s.Ready(u)
			if err != nil {
				t.Fatal(err)
			}
			if r.Ready != nil {
				u = parsed(t, r.Ready)
				if err := closed(&s, r.Ready); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				s.Add(u)
				log = append(log, r.Ready)
			}
			if r.Rest != nil {
				if len(r.Missing) == 0 {
					t.Fatalf("seed %d: waits for nothing", seed)
				}
				held = append(held, r.Rest)
			}
			return r.Ready != nil
		}
		for _, b := range updates {
			if take(b) && len(held) > 0 && len(log)%8 == 0 {
				again := held
				held = nil
				for _, h := range again {
					take(h)
				}
			}
		}
		for range 100 {
			again := held
			held = nil
			for _, h := range again {
				take(h)
			}
		}
		if len(held) > 0 {
			t.Errorf("seed %d: %d updates still wait", seed, len(held))
		}
		if got := s.Vector(); fmt.Sprint(got) != fmt.Sprint(tr.vector) {
			t.Errorf("seed %d: got vector %v, want %v", seed, got, tr.vector)
		}
		sameIDs(t, fmt.Sprint("seed ", seed), whole, log...)
	}
}

// closed checks that an update refers to nothing but itself and what s holds. What s holds already is not looked at: nobody
// takes it in again.
func closed(s *State, b []byte) error {
	known := s.Structs().Clone()
	r := NewReader(b)
	var st Struct
	for r.Next(&st) {
		if st.Ref() != RefSkip {
			known.Add(st.Client, st.Clock, st.Len)
		}
	}
	r = NewReader(b)
	for r.Next(&st) {
		if st.Ref() == RefSkip || s.Structs().Contains(st.Client, st.Clock, st.Len) {
			continue
		}
		ids := []ID{}
		if st.Clock > 0 {
			ids = append(ids, ID{st.Client, st.Clock - 1})
		}
		if st.HasOrigin() {
			ids = append(ids, st.Origin)
		}
		if st.HasRight() {
			ids = append(ids, st.Right)
		}
		if st.HasParent() && st.Root == nil {
			ids = append(ids, st.Parent)
		}
		for _, id := range ids {
			if !known.Contains(id.Client, id.Clock, 1) {
				return fmt.Errorf("%d:%d refers to %v, which is not there", st.Client, st.Clock, id)
			}
		}
	}
	var d Run
	for r.NextDelete(&d) {
		if !known.Contains(d.Client, d.Clock, d.Len) {
			return fmt.Errorf("delete %v of what is not there", d)
		}
	}
	return nil
}

// sameIDs checks that parts bring the structs and deletes of whole, no more and no less.
func sameIDs(t *testing.T, what string, whole []byte, parts ...[]byte) {
	t.Helper()
	var a, b State
	a.Add(parsedAny(t, whole))
	for _, p := range parts {
		b.Add(parsedAny(t, p))
	}
	for _, sets := range [][2]*IDSet{{a.Structs(), b.Structs()}, {a.Deletes(), b.Deletes()}} {
		if !bytes.Equal(sets[0].Append(nil), sets[1].Append(nil)) {
			t.Errorf("%s: ids differ", what)
		}
	}
}

// compactIDs checks that compact has the structs of whole and all of its deletes. Compact may add those that only an integrated
// document tells.
func compactIDs(t *testing.T, what string, whole, compact []byte) {
	t.Helper()
	var a, b State
	a.Add(parsedAny(t, whole))
	b.Add(parsedAny(t, compact))
	if !bytes.Equal(a.Structs().Append(nil), b.Structs().Append(nil)) {
		t.Errorf("%s: other structs", what)
	}
	for client, deleted := range a.Deletes().All() {
		for _, r := range deleted {
			if !b.Deletes().Contains(client, r.Clock, r.Len) {
				t.Errorf("%s: client %d: the delete of %v is lost", what, client, r)
			}
		}
	}
}

func parsedAny(t testing.TB, b []byte) *Update {
	t.Helper()
	u := new(Update)
	if err := u.Parse(b, Limits{Structs: -1, DeleteRanges: -1, Stored: true}); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestHotPathAllocatesNothing(t *testing.T) {
	var s State
	s.Add(parsed(t, update([]Struct{text(6, 0, "abc").after(5, 0), text(5, 0, "hello")})))
	var u Update
	var keys [][]byte
	for i := range uint64(101) {
		keys = append(keys, update([]Struct{text(5, 5+i, "!").after(5, 4+i).before(6, 0)}))
	}
	n := testing.AllocsPerRun(100, func() {
		if err := u.Parse(keys[0], Limits{}); err != nil {
			t.Fatal(err)
		}
		keys = keys[1:]
		s.Contains(&u)
		if r, err := s.Ready(&u); err != nil || r.Rest != nil {
			t.Fatal(err)
		}
		s.Add(&u)
	})
	if n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

// validate is the check of [Update.Parse] alone.
func validate(update []byte, lim Limits) error {
	var u Update
	return u.Parse(update, lim)
}
