package yjs

import (
	"testing"
)

// The depth is that of types, whatever kind they are and however they hang in each other.
func TestTheDepthLimitHoldsForEveryKindOfType(t *testing.T) {
	for name, hang := range map[string]func(s Struct) Struct{
		"in a list":   func(s Struct) Struct { return s },
		"under a key": func(s Struct) Struct { s.Info |= infoSub; s.Sub = []byte("k"); return s },
	} {
		for kind := byte(TypeArray); kind <= TypeXMLText; kind++ {
			nest := func(from, n int) []byte {
				var list []Struct
				for i := from; i < from+n; i++ {
					s := Struct{Client: 7, Clock: uint64(i), Len: 1, Info: RefType, Content: []byte{kind}}
					if kind == TypeXMLElement || kind == TypeXMLHook {
						s.Content = AppendVarString(s.Content, "p")
					}
					if i == 0 {
						s.Root = []byte("r")
					} else {
						s.Parent = ID{7, uint64(i - 1)}
					}
					list = append(list, hang(s))
				}
				return update(list)
			}
			lim := DocumentLimits{Depth: 5}
			for from := 1; from <= 5; from++ {
				if err := admit(t, lim, nest(0, from), nest(from, 6-from)); err != nil {
					t.Errorf("%s, type %d, %d levels and the rest: got %v", name, kind, from, err)
				}
				if err := admit(t, lim, nest(0, from), nest(from, 7-from)); reasonOf(err) != reasonNesting {
					t.Errorf("%s, type %d, %d levels and one too many: got %v, want %s", name, kind, from, err, reasonNesting)
				}
			}
		}
	}
}

// Admit asks. What it refuses leaves no trace, so the next update is judged as if it had never come.
func TestARefusalLeavesTheStateAsItWas(t *testing.T) {
	var s State
	s.Add(parsed(t, update([]Struct{text(7, 0, "a")})))
	lim := DocumentLimits{Clients: 2, SubDocs: 1}
	tooMany := parsed(t, update([]Struct{text(9, 0, "b"), text(8, 0, "c")}))
	fits := parsed(t, update([]Struct{text(8, 0, "c")}))
	for range 3 {
		if err := s.Admit(tooMany, lim); reasonOf(err) != reasonClients {
			t.Fatalf("two new clients: got %v, want %s", err, reasonClients)
		}
		if err := s.Admit(fits, lim); err != nil {
			t.Fatalf("one new client: got %v", err)
		}
	}
	if s.Clients() != 1 || s.Contains(fits) {
		t.Errorf("Admit took something in: %d clients", s.Clients())
	}
	s.Add(fits)
	if err := s.Admit(parsed(t, update([]Struct{text(8, 1, "d").after(8, 0)})), lim); err != nil {
		t.Errorf("a known client at the limit: got %v", err)
	}
	if err := s.Admit(tooMany, DocumentLimits{Clients: -1}); err != nil {
		t.Errorf("without a limit: got %v", err)
	}
}
