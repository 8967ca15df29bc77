package yjs

// State is what a document holds, as id ranges: structs and deletes, and the names of its roots. No content. The zero value
// is empty. Changing it needs exclusive access; Contains, Ready and the rest may run beside each other.
//
// A state that got structs before those they depend on has gaps: it keeps them, and counts as known for others only what
// is contiguous from clock 0.
type State struct {
	structs IDSet
	deletes IDSet
	roots   map[string]struct{}
	values  values // of keys, see values.go
}

// Add puts all of u into the state. For a keystroke, which extends the last run of its client, nothing is allocated.
func (s *State) Add(u *Update) {
	s.findValues(u, &s.values)
	for _, r := range u.runs {
		s.structs.Add(r.Client, r.Clock, r.Len)
	}
	if len(u.dels) > 0 {
		u.deletesByClient(s.deletes.addSorted)
	}
	for _, name := range u.roots {
		if _, ok := s.roots[string(name)]; !ok {
			if s.roots == nil {
				s.roots = make(map[string]struct{})
			}
			s.roots[string(name)] = struct{}{}
		}
	}
}

// Contains reports whether all structs and all deletes of u are known: u brings nothing new.
func (s *State) Contains(u *Update) bool {
	for _, r := range u.runs {
		if !s.structs.Contains(r.Client, r.Clock, r.Len) {
			return false
		}
	}
	for _, d := range u.dels {
		if !s.deletes.Contains(d.Client, d.Clock, d.Len) {
			return false
		}
	}
	return true
}

// Vector is, for each client, the end of its run from clock 0. Clients whose clock 0 is not known are left out.
func (s *State) Vector() StateVector {
	v := make(StateVector, len(s.structs.clients))
	for client := range s.structs.clients {
		if n := s.structs.Prefix(client); n > 0 {
			v[client] = n
		}
	}
	return v
}

// AppendVector appends Vector in wire form.
func (s *State) AppendVector(dst []byte) []byte { return s.Vector().Append(dst) }

// Structs are the ids of all known structs. They belong to the state.
func (s *State) Structs() *IDSet { return &s.structs }

// Deletes are the ids of all known deletes. They belong to the state.
func (s *State) Deletes() *IDSet { return &s.deletes }

// Clients is the number of clients that ever wrote.
func (s *State) Clients() int { return len(s.structs.clients) }

// Roots is the number of root names.
func (s *State) Roots() int { return len(s.roots) }

// HasRoot reports whether the root name is known.
func (s *State) HasRoot(name []byte) bool { _, ok := s.roots[string(name)]; return ok }

// Clone is a deep copy.
func (s *State) Clone() *State {
	c := &State{structs: s.structs.Clone(), deletes: s.deletes.Clone(), values: s.values.clone()}
	if s.roots != nil {
		c.roots = make(map[string]struct{}, len(s.roots))
		for name := range s.roots {
			c.roots[name] = struct{}{}
		}
	}
	return c
}

// Reset empties the state.
func (s *State) Reset() { *s = State{} }
