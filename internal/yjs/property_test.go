package yjs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// manyUpdates are the sessions of the vectors and of rich-mixed, whole: many updates each.
func manyUpdates(t testing.TB) map[string][][]byte {
	all := map[string][][]byte{}
	for _, c := range updateCases(t) {
		ok := true
		for _, u := range c.Updates {
			ok = ok && validate(u, Limits{}) == nil
		}
		if ok {
			all[c.Name] = c.Updates
		}
	}
	all["rich-mixed"] = loadTrace(t, "rich-mixed").updates
	return all
}

func TestMergeIsTheSameInAnyGroupingAndOrder(t *testing.T) {
	for name, updates := range manyUpdates(t) {
		whole, err := Merge(updates...)
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(uint64(len(updates)), 3))
		for range 3 {
			rest := slices.Clone(updates)
			rnd.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
			for len(rest) > 1 {
				n := min(len(rest), 2+rnd.IntN(20))
				m, err := Merge(rest[:n]...)
				if err != nil {
					t.Fatal(err)
				}
				rest = append(rest[n:], m)
			}
			if len(rest) == 1 {
				sameIDs(t, name, whole, rest[0])
			}
		}
		canonical, err := Canonical(whole)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Merge(canonical, whole, canonical); err != nil || !bytes.Equal(again, canonical) {
			t.Errorf("%s: merging twice: got %s %v, want\n%s", name, b64(again), err, b64(canonical))
		}
	}
}

func TestMergerMayBeAskedAtAnyTime(t *testing.T) {
	for name, updates := range manyUpdates(t) {
		if len(updates) > 300 {
			updates = updates[:300]
		}
		var m Merger
		for i, u := range updates {
			if err := m.Add(u); err != nil {
				t.Fatal(err)
			}
			if i%17 != 0 && i != len(updates)-1 {
				continue
			}
			for _, how := range []struct {
				name string
				got  func() ([]byte, error)
				want func(...[]byte) ([]byte, error)
			}{{"Merge", m.Merge, Merge}, {"Join", m.Join, Join}, {"Compact", m.Compact, Compact}} {
				got, err := how.got()
				want, err2 := how.want(updates[:i+1]...)
				if err != nil || err2 != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s, %s after %d: got %s %v, want %s %v", name, how.name, i+1, b64(got), err, b64(want), err2)
				}
			}
		}
	}
}

func TestMergerIsAsBeforeAfterAnError(t *testing.T) {
	good := update([]Struct{text(2, 0, "abc"), text(1, 0, "x")}, Run{1, 0, 1})
	more := update([]Struct{text(2, 3, "de").after(2, 2)})
	var m Merger
	if err := m.Add(good); err != nil {
		t.Fatal(err)
	}
	for k := range more {
		if err := m.Add(more[:k]); err == nil {
			t.Fatalf("cut at %d: got no error", k)
		}
		bad := append(slices.Clone(update([]Struct{text(9, 0, "x"), text(2, 0, "abc")}, Run{1, 0, 9}))[:20+k%4], 0xff)
		if err := m.Add(bad); err == nil {
			t.Fatal("got no error")
		}
	}
	if err := m.Add(more); err != nil {
		t.Fatal(err)
	}
	got, _ := m.Merge()
	if want, _ := Merge(good, more); !bytes.Equal(got, want) {
		t.Errorf("got %s, want %s", b64(got), b64(want))
	}
}

// applied is the document's visible value, by kinds of roots.
func applied(t *testing.T, kinds map[string]string, updates ...[]byte) (any, StateVector) {
	t.Helper()
	d, err := OpenDocument(DocumentOptions{}, updates...)
	if err != nil {
		t.Fatal(err)
	}
	return normRoots(d, kinds), d.Vector()
}

func TestJoinedCompactedAndSplitUpdatesGiveTheSameDocument(t *testing.T) {
	kinds := map[string]string{"t": "text", "m": "map", "a": "array", "x": "xmlfragment", "rich": "text", "meta": "map", "list": "array", "prosemirror": "xmlfragment"}
	for name, updates := range manyUpdates(t) {
		want, vector := applied(t, kinds, updates...)
		whole := must2(t)(Merge(updates...))
		joined := must2(t)(Join(updates...))
		compacted := must2(t)(Compact(updates...))
		sameIDs(t, name+" joined", whole, joined)
		compactIDs(t, name+" compacted", whole, compacted)
		for how, parts := range map[string][][]byte{"merged": {whole}, "joined": {joined}, "compacted": {compacted}, "both": {compacted, whole}, "and again": append([][]byte{joined}, updates...)} {
			for _, p := range parts {
				if err := validate(p, Limits{}); err != nil {
					t.Errorf("%s %s: %v", name, how, err)
				}
			}
			got, v := applied(t, kinds, parts...)
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(v, vector) {
				t.Errorf("%s %s: got %v %v, want %v %v", name, how, got, v, want, vector)
			}
		}
		if again := must2(t)(Compact(compacted)); !bytes.Equal(again, compacted) {
			t.Errorf("%s: compacting twice: got %s, want %s", name, b64(again), b64(compacted))
		}
		if again := must2(t)(Compact(must2(t)(Merge(compacted, whole)))); len(again) > len(compacted)+len(compacted)/10+16 {
			t.Errorf("%s: compacting with the uncompacted: got %d bytes, want about %d", name, len(again), len(compacted))
		}
		for _, max := range []int{128, 200, 1000} {
			parts, err := Split(whole, max)
			if errors.Is(err, ErrUnsplittable) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got, v := applied(t, kinds, parts...)
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(v, vector) {
				t.Errorf("%s split to %d: got %v %v, want %v %v", name, max, got, v, want, vector)
			}
		}
	}
}

func TestSplitPartsFitAndComeInCausalOrder(t *testing.T) {
	for name, updates := range manyUpdates(t) {
		whole := must2(t)(Merge(updates...))
		joined := must2(t)(Join(whole))
		alone, err := new(State).Ready(parsed(t, whole))
		if err != nil {
			t.Fatal(err)
		}
		for _, max := range []int{128, 300, 5000} {
			parts, err := Split(whole, max)
			if errors.Is(err, ErrUnsplittable) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			size := 0
			var s State
			for i, p := range parts {
				if len(p) > max || len(p) == 0 {
					t.Errorf("%s: part %d has %d bytes, want at most %d", name, i, len(p), max)
				}
				size += len(p)
				u := parsed(t, p)
				// What is ready in the whole is ready in its turn.
				r, err := s.Ready(u)
				if err != nil {
					t.Fatal(err)
				}
				if alone.Rest == nil && r.Rest != nil {
					t.Errorf("%s: part %d of %d waits for %v", name, i, len(parts), r.Missing)
				}
				s.Add(u)
			}
			if got := must2(t)(Join(parts...)); !bytes.Equal(got, joined) {
				t.Errorf("%s split to %d and joined: got %s\nwant %s", name, max, b64(got), b64(joined))
			}
			if len(parts) > 1 && size > 4*len(whole)+128*len(parts) {
				t.Errorf("%s split to %d: got %d bytes in %d parts from %d", name, max, size, len(parts), len(whole))
			}
		}
	}
}

func TestSplitCutsLargeContents(t *testing.T) {
	word := "aé漢😀"
	long := text(1, 0, strings.Repeat(word, 50_000))
	var elements []byte
	for i := range 3000 {
		elements = AppendVarString(append(elements, anyString), fmt.Sprint("element ", i))
	}
	list := Struct{Client: 1, Clock: long.End(), Len: 3000, Info: RefAny, Root: []byte("a"), Content: elements}
	whole := update([]Struct{long, list}, Run{1, 5, 7}, Run{1, 20, 1})
	for _, max := range []int{200, 1000, 65536} {
		parts, err := Split(whole, max)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for i, p := range parts {
			if len(p) > max {
				t.Errorf("part %d has %d bytes, want at most %d", i, len(p), max)
			}
			if bytes.Contains(p, []byte(replacement)) {
				t.Errorf("part %d: a pair was cut", i)
			}
			size += len(p)
		}
		if size > 3*len(whole) {
			t.Errorf("got %d bytes in %d parts, want about %d", size, len(parts), len(whole))
		}
		sameIDs(t, fmt.Sprint(max), whole, parts...)
		kinds := map[string]string{"t": "text", "a": "array"}
		got, _ := applied(t, kinds, parts...)
		if want, _ := applied(t, kinds, whole); !reflect.DeepEqual(got, want) {
			t.Errorf("split to %d gives another document", max)
		}
	}
	for name, s := range map[string]Struct{
		"a binary":      {Client: 1, Len: 1, Info: RefBinary, Root: []byte("a"), Content: make([]byte, 3000)},
		"an any":        {Client: 1, Len: 1, Info: RefAny, Root: []byte("a"), Content: AppendVarBytes([]byte{anyBytes}, make([]byte, 3000))},
		"a long name":   {Client: 1, Len: 1, Info: RefString, Root: make([]byte, 3000), Content: []byte("x")},
		"one of an any": {Client: 1, Len: 2, Info: RefAny, Root: []byte("a"), Content: AppendVarBytes([]byte{anyNull, anyBytes}, make([]byte, 3000))},
	} {
		if _, err := Split(update([]Struct{s}), 1000); !errors.Is(err, ErrUnsplittable) {
			t.Errorf("%s: got %v, want ErrUnsplittable", name, err)
		}
	}
	if _, err := Split(whole, 100); !errors.Is(err, ErrUnsplittable) {
		t.Errorf("tiny parts: got %v, want ErrUnsplittable", err)
	}
	if parts, err := Split(whole, len(whole)); err != nil || len(parts) != 1 || &parts[0][0] != &whole[0] {
		t.Errorf("what fits should come back as it is: got %d parts, %v", len(parts), err)
	}
}

func TestDiffAgainstItsOwnVectorHasNoStructs(t *testing.T) {
	for name, updates := range manyUpdates(t) {
		whole := must2(t)(Merge(updates...))
		u := parsed(t, whole)
		v := StateVector{}
		for _, r := range u.Runs() {
			v[r.Client] = max(v[r.Client], r.End())
		}
		d := parsed(t, must2(t)(Diff(whole, v)))
		if len(d.Runs()) != 0 || d.Structs() != 0 || len(d.Deletes()) != len(u.Deletes()) {
			t.Errorf("%s: got %v %v, want no structs and all deletes", name, d.Runs(), d.Deletes())
		}
		// A diff and what the other side had are the whole.
		rnd := rand.New(rand.NewPCG(uint64(len(whole)), 4))
		half := updates[:len(updates)/2]
		had := must2(t)(Merge(half...))
		hv, err := VectorOf(had)
		if err != nil {
			t.Fatal(err)
		}
		sameIDs(t, name, whole, had, must2(t)(Diff(whole, hv)))
		for c := range hv {
			if hv[c] > 0 && rnd.IntN(2) == 0 {
				hv[c] = rnd.Uint64N(hv[c])
			}
		}
		sameIDs(t, name, whole, had, must2(t)(Diff(whole, hv)))
	}
}

func TestV2AndBackIsTheSame(t *testing.T) {
	for name, updates := range manyUpdates(t) {
		whole := must2(t)(Canonical(must2(t)(Merge(updates...))))
		for _, u := range [][]byte{whole, must2(t)(Join(whole)), must2(t)(Compact(whole))} {
			v2 := must2(t)(ToV2(u))
			if back, err := FromV2(v2, Limits{}); name != "json-number-forms" && (err != nil || !bytes.Equal(back, u)) {
				t.Errorf("%s: got %s %v, want\n%s", name, b64(back), err, b64(u))
			}
		}
	}
}

// everything runs every decoder on b. Errors are fine.
func everything(b []byte) {
	decode(b)
	validate(b, Limits{})
	VectorOf(b)
	Merge(b, []byte{0, 0})
	Join(b)
	Compact(b)
	Canonical(b)
	Diff(b, StateVector{1: 2, 2: 3})
	Split(b, 128)
	ToV2(b)
	FromV2(b, Limits{})
	DecodeStateVector(b)
	ReadMessage(b)
	ReadHocuspocus(b)
	ReadAwareness(nil, b)
	var u Update
	if u.Parse(b, Limits{}) == nil {
		var s State
		s.Ready(&u)
		s.Add(&u)
		s.Contains(&u)
	}
}

func TestMalformedInputTakesLittleMemory(t *testing.T) {
	var m struct {
		Cases []struct {
			Name  string
			Bytes []byte
		}
	}
	var all [][2]any
	for _, f := range []string{"malformed.json", "malformed-v2.json"} {
		m.Cases = nil
		vectors(t, f, &m)
		for _, c := range m.Cases {
			all = append(all, [2]any{c.Name, c.Bytes})
		}
	}
	// Bombs: small inputs that ask for much.
	for _, b := range v2Bombs() {
		all = append(all, [2]any{"bomb", b})
	}
	for name, f := range map[string]func([]byte){
		"decode":   func(b []byte) { decode(b) },
		"Validate": func(b []byte) { validate(b, Limits{}) },
		"VectorOf": func(b []byte) { VectorOf(b) },
		"Diff":     func(b []byte) { Diff(b, nil) },
		"Merge":    func(b []byte) { Merge(b, []byte{0, 0}) },
		"Compact":  func(b []byte) { Compact(b) },
		"ToV2":     func(b []byte) { ToV2(b) },
		"FromV2":   func(b []byte) { FromV2(b, Limits{}) },
		"vector":   func(b []byte) { DecodeStateVector(b) },
		"presence": func(b []byte) { ReadAwareness(nil, b) },
	} {
		for _, c := range all {
			b := c[1].([]byte)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f(b)
			runtime.ReadMemStats(&after)
			if got, most := after.TotalAlloc-before.TotalAlloc, uint64(64*len(b)+16<<10); got > most {
				t.Errorf("%s of %s, %d bytes: got %d bytes allocated, want at most %d", name, c[0], len(b), got, most)
			}
		}
	}
}

// v2Bombs are small V2 updates whose columns run on and on.
func v2Bombs() (out [][]byte) {
	runs := func(v uint64) []byte {
		w := uintOptRleWriter{value: v, count: 1 << 40}
		w.flush()
		return w.b
	}
	steps := func(diff int64) []byte {
		w := intDiffOptRleWriter{diff: diff, count: 1 << 40}
		w.flush()
		return w.b
	}
	for _, info := range []byte{RefGC, RefDeleted, RefJSON, RefString, RefType, RefAny, RefDoc, RefFormat, RefType | infoOrigin | infoRight, RefDeleted | infoOrigin} {
		for _, n := range []uint64{100, 1000, 1 << 20, 1 << 50} {
			for _, pad := range []int{0, 300, 5000} {
				name := bytes.Repeat([]byte("k"), pad)
				texts := append(AppendVarBytes(nil, name), runs(0)...)
				if pad > 0 { // one long key that is used again and again
					w := uintOptRleWriter{}
					w.write(uint64(pad))
					w.flush()
					texts = append(AppendVarBytes(nil, name), append(w.b, runs(0)...)...)
				}
				b := []byte{0}
				for _, column := range [][]byte{steps(0), runs(1), steps(1), steps(1), {info}, texts, {1}, runs(3), runs(1)} {
					b = AppendVarBytes(b, column)
				}
				b = AppendUvarint(b, 1)
				b = AppendUvarint(b, n)
				b = append(b, 0)
				b = append(b, make([]byte, pad)...)
				out = append(out, b)
			}
		}
	}
	return out
}

func TestV2BombsAreRefusedOrSmall(t *testing.T) {
	for i, b := range v2Bombs() {
		out, err := FromV2(b, Limits{})
		if err == nil && len(out) > 4096+40*len(b) {
			t.Errorf("bomb %d: %d bytes became %d", i, len(b), len(out))
		}
	}
}

// Cutting text between the halves of a pair costs no more than any cut, however often.
func TestManyCutsInOneTextTakeLinearTime(t *testing.T) {
	long := text(1, 0, strings.Repeat("😀", 200_000))
	var dels []Run
	for i := range uint64(200_000) {
		dels = append(dels, Run{1, 2*i + 1, 1})
	}
	got := must2(t)(Compact(update([]Struct{long}, dels...)))
	u := parsed(t, got)
	if u.Structs() != 400_000 {
		t.Errorf("got %d structs, want 400000", u.Structs())
	}
}

// Two clients that wait for each other by turns, and many that wait for the end of one: sorted out in time that grows with the
// number of structs, not with its square.
func TestManyWhoWaitCostLittle(t *testing.T) {
	const turns, others = 30_000, 9_000
	var structs []Struct
	for i := range uint64(others) {
		structs = append(structs, text(100_000-i, 0, "o").after(2, turns-1))
	}
	for _, client := range []uint64{2, 1} {
		for i := range uint64(turns) {
			s := text(client, i, "x")
			switch {
			case client == 2:
				s = s.after(1, i)
			case i > 0:
				s = s.after(2, i-1)
			}
			structs = append(structs, s)
		}
	}
	whole := update(structs)
	r, err := new(State).Ready(parsed(t, whole))
	if err != nil || r.Rest != nil {
		t.Fatalf("got rest %d bytes, %v, want all ready", len(r.Rest), err)
	}
	parts, err := Split(whole, 4096)
	if err != nil {
		t.Fatal(err)
	}
	var s State
	for i, p := range parts {
		u := parsed(t, p)
		if r, err := s.Ready(u); err != nil || r.Rest != nil {
			t.Fatalf("part %d is not ready: %v", i, r.Missing)
		}
		s.Add(u)
	}
	sameIDs(t, "split", whole, parts...)

	// Deletes of two clients by turns, between those that are known.
	gc := update([]Struct{{Client: 2, Len: 1 << 20, Info: RefGC}, {Client: 1, Len: 1 << 20, Info: RefGC}})
	s = State{}
	s.Add(parsed(t, gc))
	for from := range uint64(2) {
		var dels []Run
		for i := range uint64(200_000) {
			dels = append(dels, Run{1 + i%2, 4*(i/2) + 2*from, 1})
		}
		s.Add(parsed(t, update(nil, dels...)))
	}
	if n := len(s.Deletes().Ranges(1)); n != 200_000 {
		t.Errorf("got %d ranges, want 200000", n)
	}
}
