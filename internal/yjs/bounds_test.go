package yjs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// list is n items of one client in the root "a", each after the one before.
func list(client uint64, from, n int, ref byte, content []byte) (out []Struct) {
	for i := from; i < from+n; i++ {
		s := Struct{Client: client, Clock: uint64(i), Len: 1, Info: ref, Root: []byte("a"), Content: content}
		if i > 0 {
			s = s.after(client, uint64(i-1))
		}
		out = append(out, s)
	}
	return out
}

// boundCases bring a document to a share of one bound, by the unit.
var boundCases = []struct {
	name  string
	bound Bound
	word  string
	lim   DocumentLimits // of 4 units
	make  func(from, n int) []byte
}{
	{"depth", BoundDepth, "depth", DocumentLimits{Depth: 4}, func(from, n int) []byte {
		var out []Struct
		for i := from; i < from+n+1; i++ { // the root's own type is at depth 0
			s := Struct{Client: 7, Clock: uint64(i), Len: 1, Info: RefType, Content: []byte{TypeArray}, Root: []byte("a")}
			if i > 0 {
				s.Root, s.Parent = nil, ID{7, uint64(i - 1)}
			}
			if i >= from+1 || from == 0 {
				out = append(out, s)
			}
		}
		return update(out)
	}},
	{"clients", BoundClients, "clients", DocumentLimits{Clients: 4}, func(from, n int) []byte {
		var out []Struct
		for i := from + n; i > from; i-- {
			out = append(out, text(uint64(i), 0, "x"))
		}
		return update(out)
	}},
	{"root names and their items", BoundRootWork, "root-work", DocumentLimits{RootWork: 4}, func(from, n int) []byte {
		var out []Struct // in one root: as many units as items
		for i := from; i < from+n; i++ {
			out = append(out, Struct{Client: 7, Clock: uint64(i), Len: 1, Info: RefAny | infoSub, Root: []byte("m"), Sub: fmt.Append(nil, "k", i), Content: []byte{anyNull}})
		}
		return update(out)
	}},
	{"sub-documents", BoundSubDocs, "sub-documents", DocumentLimits{SubDocs: 4}, func(from, n int) []byte {
		return update(list(7, from, n, RefDoc, append(AppendVarString(nil, "guid"), anyObject, 0)))
	}},
}

func TestTheBoundThatADocumentIsNearestToIsNamedWithItsShare(t *testing.T) {
	for _, c := range boundCases {
		var s State
		if b, share := s.Nearest(c.lim); b != NoBound || share != 0 {
			t.Errorf("%s: an empty document is at %v of %v", c.name, share, b)
		}
		for n := range 4 {
			u := parsed(t, c.make(n, 1))
			if err := s.Admit(u, c.lim); err != nil {
				t.Fatalf("%s: unit %d of 4: %v", c.name, n+1, err)
			}
			if !s.Grows(u) {
				t.Errorf("%s: unit %d brings nothing new", c.name, n+1)
			}
			s.Add(u)
			if s.Grows(u) {
				t.Errorf("%s: unit %d is new a second time", c.name, n+1)
			}
			if b, share := s.Nearest(c.lim); b != c.bound || share != float64(n+1)/4 {
				t.Errorf("%s: after unit %d: %v of %v, want %v of %v", c.name, n+1, share, b, float64(n+1)/4, c.bound)
			}
		}
		err := s.Admit(parsed(t, c.make(4, 1)), c.lim)
		var e *Error
		if !errors.As(err, &e) || e.Bound != c.bound || !errors.Is(err, ErrLimit) || errors.Is(err, ErrMalformed) || e.Bound.String() != c.word {
			t.Errorf("%s: one above: %v, want a limit of %s", c.name, err, c.word)
		}
		// At the bound people can still delete and edit what is there, and the bound can be raised or lifted.
		if err := s.Admit(parsed(t, update(nil, Run{7, 0, 1})), c.lim); err != nil {
			t.Errorf("%s: a delete at the bound: %v", c.name, err)
		}
		if s.Grows(parsed(t, update(nil, Run{7, 0, 1}))) {
			t.Errorf("%s: a delete makes the document grow", c.name)
		}
		for _, lim := range []DocumentLimits{{}, {Depth: -1, Clients: -1, RootWork: -1, SubDocs: -1, Conflicts: -1}, {Depth: 5, Clients: 5, RootWork: 5, SubDocs: 5}} {
			if err := s.Admit(parsed(t, c.make(4, 1)), lim); err != nil {
				t.Errorf("%s: with limits %+v: %v", c.name, lim, err)
			}
			if _, share := s.Nearest(lim); share >= 1 {
				t.Errorf("%s: with limits %+v the document is at %v of a bound", c.name, lim, share)
			}
		}
		clone := s.Clone()
		s.Reset()
		if b, share := clone.Nearest(c.lim); b != c.bound || share != 1 {
			t.Errorf("%s: a copy is at %v of %v, want all of %v", c.name, share, b, c.bound)
		}
		if b, _ := s.Nearest(c.lim); b != NoBound || s.Clients() != 0 || s.Roots() != 0 {
			t.Errorf("%s: emptied it is still near %v", c.name, b)
		}
	}
	if NoBound.String() != "none" || BoundConflicts.String() != "conflicts" {
		t.Errorf("got %v and %v, want none and conflicts", NoBound, BoundConflicts)
	}
}

// An error names the first byte of what is wrong, so that a hex dump of a refused update can be read.
func TestAnErrorNamesThePlaceOfWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name, update string // | stands before the byte that the error names
		reason       string
	}{
		{"no bytes", "|", reasonTruncated},
		{"more sections than bytes", "| 7f 01 01 00", reasonCount},
		{"more structs than bytes", "01 | 7f 01 00 00", reasonCount},
		{"a number that does not end", "01 01 | ffffffffffffffffff 01", reasonOverflow},
		{"a clock that is cut", "01 01 01 | 80", reasonTruncated},
		{"an unknown content", "01 01 01 00 | 0b 01 01 74 00", reasonRef},
		{"an unknown type", "01 01 01 00 07 01 01 74 | 07 00", reasonType},
		{"a skip with flags", "01 01 01 00 | 2a 03 00", reasonSkipFlags},
		{"a text that is not UTF-8", "01 01 01 00 04 01 01 74 | 01 ff 00", reasonUTF8},
		{"a root name that is not UTF-8", "01 01 01 00 04 01 | 01 ff 01 61 00", reasonUTF8},
		{"a text of length 0", "01 01 01 00 | 04 01 01 74 00 00", reasonZeroStruct},
		{"the second struct", "01 02 01 00 04 01 01 74 01 61 | 00 00 00", reasonZeroStruct},
		{"an item that is its own neighbour", "01 01 01 00 | 84 01 00 01 61 00", reasonSelf},
		{"an unknown value", "01 01 01 00 08 01 01 74 01 | 70 00", reasonTag},
		{"more values than bytes", "01 01 01 00 08 01 01 74 | 7f 7e 00", reasonCount},
		{"JSON that is none", "01 01 01 00 05 01 01 74 | 01 7b 00", reasonJSON},
		{"more deletes than bytes", "00 01 01 | 7f 00 01", reasonCount},
		{"a delete of nothing", "00 01 01 01 00 | 00", reasonZeroDelete},
		{"a delete that is cut", "00 01 01 | 01 00", reasonCount},
		{"bytes after the end", "00 00 | 00", reasonTrailing},
	} {
		before, _, _ := strings.Cut(c.update, "|")
		b, at := unhex(t, strings.ReplaceAll(c.update, "|", "")), len(unhex(t, before))
		err := validate(b, Limits{})
		var e *Error
		if !errors.As(err, &e) || e.Offset != at || e.Reason != c.reason {
			t.Errorf("%s: got %v, want offset %d: %s", c.name, err, at, c.reason)
			continue
		}
		if want := fmt.Sprintf("yjs: offset %d: %s", at, c.reason); err.Error() != want {
			t.Errorf("%s: reads %q, want %q", c.name, err, want)
		}
	}
}

// An update that ends too early is refused at every length, by every function that takes one, and what it refuses it leaves as it was.
func TestAnUpdateCutAtAnyByteIsRefusedByAllThatReadOne(t *testing.T) {
	for name, whole := range contentsOfEachKind() {
		whole, err := Merge(whole, update(nil, Run{9, 1, 2}, Run{9, 5, 1}))
		if err != nil {
			t.Fatal(err)
		}
		d := NewDocument(DocumentOptions{})
		var m Merger
		v2 := must2(t)(ToV2(whole))
		for n := range len(whole) {
			cut := whole[:n:n]
			for what, err := range map[string]error{
				"Parse":    validate(cut, Limits{}),
				"Apply":    d.Apply(cut),
				"Add":      m.Add(cut),
				"Merge":    second(Merge(cut, whole)),
				"Join":     second(Join(cut)),
				"Compact":  second(Compact(cut)),
				"Diff":     second(Diff(cut, StateVector{7: 1})),
				"VectorOf": second(VectorOf(cut)),
				"ToV2":     second(ToV2(cut)),
			} {
				var e *Error
				if !errors.As(err, &e) || e.Limit || e.Offset > n {
					t.Fatalf("%s cut at %d, %s: %v, want an error at %d at most", name, n, what, err, n)
				}
			}
		}
		if len(d.Vector()) > 0 || m.Updates() > 0 || m.Len() > 0 {
			t.Errorf("%s: something of it was taken", name)
		}
		for n := range len(v2) {
			if got, err := FromV2(v2[:n:n], Limits{}); err == nil && bytes.Equal(got, whole) {
				t.Errorf("%s: V2 cut at %d of %d is read as whole", name, n, len(v2))
			}
		}
		if got := must2(t)(FromV2(v2, Limits{})); !bytes.Equal(got, whole) {
			t.Errorf("%s: V2 and back is %x, want %x", name, got, whole)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestEachKindOfTypeIsKnownByItsName(t *testing.T) {
	for kind := KindAuto; kind <= KindXMLText; kind++ {
		if got, ok := ParseKind(kind.String()); !ok || got != kind {
			t.Errorf("%v: read as %v, %v", kind, got, ok)
		}
	}
	if got, ok := ParseKind("xml"); !ok || got != KindXMLFragment {
		t.Errorf("xml: read as %v, %v; want a fragment", got, ok)
	}
	for _, bad := range []string{"unknown", "Text", "text ", "\x00", "xml-"} {
		if kind, ok := ParseKind(bad); ok {
			t.Errorf("%q: read as %v", bad, kind)
		}
	}
	if got := (KindXMLText + 1).String(); got != "unknown" {
		t.Errorf("a kind beyond the last is %q", got)
	}
}

// A client that says what it has gets all else, once: for every vector below the document's.
func TestADiffHoldsAllThatItsVectorLacksAndNothingElse(t *testing.T) {
	whole := merged(t, update([]Struct{text(9, 0, "abc🎈"), text(7, 0, "xy")}), update([]Struct{text(7, 2, "z").after(7, 1)}, Run{9, 1, 1}))
	all := must2s(t)(VectorOf(whole))
	if fmt.Sprint(all) != fmt.Sprint(StateVector{9: 5, 7: 3}) {
		t.Fatalf("the vector is %v", all)
	}
	for nine := range all[9] + 2 {
		for seven := range all[7] + 2 {
			have := StateVector{9: nine, 7: seven}
			u := parsed(t, must2(t)(Diff(whole, have)))
			for _, r := range u.Runs() {
				if r.Clock != have[r.Client] || r.End() != all[r.Client] {
					t.Errorf("from %v: got clocks %d to %d of client %d, want %d to %d", have, r.Clock, r.End(), r.Client, have[r.Client], all[r.Client])
				}
			}
			want := 0
			for client, clock := range all {
				if have[client] < clock {
					want++
				}
			}
			if len(u.Runs()) != want || len(u.Deletes()) != 1 {
				t.Errorf("from %v: %d clients and %d deletes, want %d and 1", have, len(u.Runs()), len(u.Deletes()), want)
			}
		}
	}
	for _, v := range []StateVector{{}, {1: 0}, {9: 5, 7: 3}, {MaxSafe: MaxSafe}} {
		got, err := DecodeStateVector(v.Append(nil))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(v) {
			t.Errorf("%v: read back as %v, %v", v, got, err)
		}
	}
}

func must2s(t testing.TB) func(v StateVector, err error) StateVector {
	return func(v StateVector, err error) StateVector {
		t.Helper()
		must1(t, err)
		return v
	}
}

// Snapshots of Yjs are a vector and deletes: the document at each of them is the replay up to there, even inside of an edit.
func TestADocumentIsShownAtEachOfItsSnapshots(t *testing.T) {
	d := NewDocument(DocumentOptions{KeepDeleted: true})
	type moment struct {
		v    StateVector
		dels IDSet
		json string
	}
	show := func(d *Document) string {
		b, err := d.JSON(map[string]Kind{"t": KindText, "m": KindMap, "x": KindXMLFragment}, nil)
		must1(t, err)
		return string(b)
	}
	var moments []moment
	for i := range 12 {
		edit(t, d, uint64(7+i%2), func(tx *Tx) {
			switch i % 4 {
			case 0:
				must1(t, tx.Text("t").Insert(tx.Text("t").Len()/2, fmt.Sprint("piece", i), bold(true)))
			case 1:
				must1(t, tx.Map("m").Set("k", NewArray(i, "v")))
			case 2:
				must1(t, tx.XML("x").Insert(0, NewXMLElement("p", nil, NewXMLText(fmt.Sprint(i), nil))))
			default:
				must1(t, tx.Text("t").Delete(1, 3))
				tx.Map("m").Delete("k")
			}
		})
		moments = append(moments, moment{d.Vector(), d.Deletes(), show(d)})
	}
	for i, m := range moments {
		at, err := d.At(m.v, &m.dels)
		must1(t, err)
		if got := show(at); got != m.json {
			t.Errorf("after edit %d: %s, want %s", i, got, m.json)
		}
	}
	collected, err := OpenDocument(DocumentOptions{}, d.Encode(nil))
	must1(t, err)
	if at, err := collected.At(moments[2].v, &moments[2].dels); !errors.Is(err, ErrGone) {
		t.Errorf("a past whose content was dropped: %v, %v; want ErrGone", at, err)
	}
	last := moments[len(moments)-1]
	if at, err := collected.At(last.v, &last.dels); err != nil || show(at) != last.json {
		t.Errorf("the present without deleted content: %v", err)
	}
}
