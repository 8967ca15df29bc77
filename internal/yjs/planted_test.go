package yjs

import (
	"fmt"
	"testing"
)

// A planted run uses up clocks of a client that is offline. The client then writes at the same clocks: its edits are
// overtaken. These tests follow the client through the orders in which the two meet.

// overtaken is a client 7 with its edits, each one word of six units behind the one before.
func overtaken(n int) (edits [][]byte) {
	for i := range uint64(n) {
		s := text(7, 6*i, fmt.Sprintf("word%02d", i))
		if i > 0 {
			s = s.after(7, 6*i-1)
		}
		edits = append(edits, update([]Struct{s}))
	}
	return edits
}

// plantedRuns are the two ways to use up clocks without content.
func plantedRuns(clock, n uint64) map[string][]byte {
	gone := text(7, clock, "x")
	gone.Delete()
	gone.Len = n
	if clock > 0 {
		gone = gone.after(7, clock-1)
	}
	return map[string][]byte{
		"collected": update([]Struct{{Client: 7, Clock: clock, Len: n, Info: RefGC}}),
		"deleted":   update([]Struct{gone}),
	}
}

func TestClocksPlantedBeforeTheOwnerWritesAnythingAreNotTheOwners(t *testing.T) {
	for name, p := range plantedRuns(0, 100) {
		var s State
		s.Add(parsed(t, p))
		if v := s.Vector(); len(v) != 0 {
			t.Errorf("%s: got the vector %v, want nothing of the owner", name, v)
		}
		for i, e := range overtaken(10) {
			u := parsed(t, e)
			if id, bad := s.Planted(u); !bad || id != (ID{7, uint64(6 * i)}) {
				t.Errorf("%s: edit %d: got %v %v, want its first clock", name, i, id, bad)
			}
			if !s.Contains(u) {
				t.Errorf("%s: edit %d: its clocks are not known, though they are used up", name, i)
			}
		}
	}
}

func TestTheOwnersSecondAndTenthEditAreFoundToo(t *testing.T) {
	edits := overtaken(12)
	for _, first := range []int{1, 9} {
		for name, p := range plantedRuns(uint64(6*first), 6*3) {
			var s State
			for _, e := range edits[:first] {
				s.Add(parsed(t, e))
			}
			s.Add(parsed(t, p))
			for i, e := range edits {
				id, bad := s.Planted(parsed(t, e))
				if want := i >= first && i < first+3; bad != want || bad && id != (ID{7, uint64(6 * i)}) {
					t.Errorf("%s from edit %d on: edit %d: got %v %v, want %v", name, first, i, id, bad, want)
				}
			}
			if got := s.Vector()[7]; got != uint64(6*first) {
				t.Errorf("%s from edit %d on: the vector says %d, want %d", name, first, got, 6*first)
			}
		}
	}
}

func TestPlantedClocksThatEndInsideOfAnEditAreNamedToTheUnit(t *testing.T) {
	edits := overtaken(4)
	whole := merged(t, edits...)
	for from := uint64(0); from < 24; from += 5 {
		for n := uint64(1); from+n <= 24; n += 3 {
			for name, p := range plantedRuns(from, n) {
				var s State
				if from > 0 {
					// Of the owner's edits what stands before.
					u := parsed(t, whole)
					r := NewReader(u.Bytes)
					var st Struct
					var before []Struct
					for r.Next(&st) {
						if st.Clock < from {
							st.Keep(min(st.Len, from-st.Clock))
							before = append(before, st)
						}
					}
					s.Add(parsed(t, update(before)))
				}
				s.Add(parsed(t, p))
				if id, bad := s.Planted(parsed(t, whole)); !bad || id != (ID{7, from}) {
					t.Fatalf("%s [%d, %d): got %v %v, want the first unit", name, from, from+n, id, bad)
				}
				if got := s.Vector()[7]; got != from {
					t.Fatalf("%s [%d, %d): the vector says %d, want %d", name, from, from+n, got, from)
				}
			}
		}
	}
}

// A server that starts anew reads its log in one merge, or folded, with what was deleted dropped.
func TestWhatIsPlantedIsKnownAfterAFoldAndAReload(t *testing.T) {
	edits := overtaken(3)
	for name, p := range plantedRuns(6, 100) {
		log := [][]byte{edits[0], p}
		for how, folded := range map[string][][]byte{
			"one by one": log,
			"merged":     {must2(t)(Merge(log...))},
			"joined":     {must2(t)(Join(log...))},
			"compacted":  {must2(t)(Compact(log...))},
			"twice":      {must2(t)(Compact(must2(t)(Compact(log...))))},
			"canonical":  {must2(t)(Canonical(must2(t)(Merge(log...))))},
			"by V2":      {must2(t)(FromV2(must2(t)(ToV2(must2(t)(Merge(log...)))), Limits{}))},
		} {
			var s State
			for _, u := range folded {
				s.Add(parsed(t, u))
			}
			for i, e := range edits {
				if _, bad := s.Planted(parsed(t, e)); bad != (i > 0) {
					t.Errorf("%s, %s: edit %d: planted %v", name, how, i, bad)
				}
			}
			if got := s.Vector()[7]; got != 6 {
				t.Errorf("%s, %s: the vector says %d, want 6", name, how, got)
			}
			if _, bad := s.Clone().Planted(parsed(t, edits[1])); !bad {
				t.Errorf("%s, %s: a clone does not know", name, how)
			}
		}
	}
}

func TestAnHonestDeleteIsNeverTakenForPlanted(t *testing.T) {
	for _, keep := range []bool{false, true} {
		d := NewDocument(DocumentOptions{KeepDeleted: keep})
		var log [][]byte
		for i := range 10 {
			log = append(log, edit(t, d, 7, func(tx *Tx) { must1(t, tx.Text("t").Insert(0, fmt.Sprintf("word%02d", i), nil)) }))
			if i%2 == 1 {
				log = append(log, edit(t, d, 8, func(tx *Tx) { must1(t, tx.Text("t").Delete(2, 5)) }))
			}
		}
		for how, folded := range map[string][][]byte{
			"one by one": log, "compacted": {must2(t)(Compact(log...))}, "a document's state": {d.Encode(nil)},
		} {
			var s State
			for _, u := range folded {
				s.Add(parsed(t, u))
			}
			for i, u := range log {
				if id, bad := s.Planted(parsed(t, u)); bad {
					t.Errorf("kept %v, %s: update %d: got %v", keep, how, i, id)
				}
			}
			if got := s.Vector()[7]; got != 60 {
				t.Errorf("kept %v, %s: the vector says %d, want 60", keep, how, got)
			}
		}
	}
}

func TestADeleteThatComesLaterEndsWhatWasPlantedUnitByUnit(t *testing.T) {
	edits := overtaken(2)
	for name, p := range plantedRuns(6, 6) {
		var s State
		s.Add(parsed(t, edits[0]))
		s.Add(parsed(t, p))
		for clock := uint64(6); clock < 12; clock++ {
			if id, bad := s.Planted(parsed(t, edits[1])); !bad || id != (ID{7, 6}) {
				t.Fatalf("%s, deleted up to %d: got %v %v", name, clock, id, bad)
			}
			s.Add(parsed(t, update(nil, Run{7, clock, 1})))
		}
		if _, bad := s.Planted(parsed(t, edits[1])); bad || s.Vector()[7] != 12 {
			t.Errorf("%s: all is deleted, but the vector says %d", name, s.Vector()[7])
		}
	}
}

// Stock Yjs is the witness that the rule is needed: it shows nothing of what was overtaken, whatever order it comes in.
func TestYjsShowsNothingOfAnOvertakenEdit(t *testing.T) {
	edits := overtaken(3)
	var asked []yjsDocument
	var names []string
	for name, p := range plantedRuns(6, 12) {
		for how, log := range map[string][][]byte{
			"planted in front": {edits[0], p, edits[1], edits[2]},
			"the last edit":    {edits[0], p, edits[2]},
		} {
			asked = append(asked, yjsDocument{Updates: log})
			names = append(names, name+", "+how)
		}
	}
	j := newJudge(t)
	j.ask(object{"op": "check", "seed": 0, "documents": asked})
	var answer struct{ Views []yjsView }
	j.answer(&answer)
	for i, v := range answer.Views {
		d := NewDocument(DocumentOptions{})
		apply(t, d, asked[i].Updates...)
		if got := textOf(d, "t"); got != "word00" {
			t.Errorf("%s: we show %q", names[i], got)
		}
		if diff := v.differs(t, d); diff != "" {
			t.Errorf("%s: %s", names[i], diff)
		}
	}
}
