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
	shape   shape  // what work it is for others, see shape.go
	planted IDSet  // came as collected or deleted, and nothing deleted them; see Planted
}

// Add puts all of u into the state. For a keystroke, which extends the last run of its client, nothing is allocated.
func (s *State) Add(u *Update) {
	s.findValues(u, &s.values)
	s.shape.add(u, &s.structs)
	if u.hollow {
		s.addPlanted(u)
	}
	s.Know(u)
}

// Know puts the ids and root names of u into the state, and no more: enough for Contains and Vector, not for the rest.
func (s *State) Know(u *Update) {
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

// Vector is, for each client, the end of its run from clock 0. Clients whose clock 0 is not known are left out. It ends
// before what is planted, see [State.Planted]: whoever has something else there sends it then.
func (s *State) Vector() StateVector {
	v := make(StateVector, len(s.structs.clients))
	for client := range s.structs.clients {
		n := s.structs.Prefix(client)
		for _, p := range s.planted.Ranges(client) {
			if !s.deletes.Contains(client, p.Clock, p.Len) {
				n = min(n, p.Clock)
				break
			}
		}
		if n > 0 {
			v[client] = n
		}
	}
	return v
}

// Planted gives the first id at which u has content where the document came to hold none: only the length of something
// collected or deleted, though no delete names it. Yjs writes a delete for all that it collects. So somebody else used up
// the client's clocks, and what the client wrote there will be seen by nobody who has the document: it is not known, though
// its clocks are, and must not be acknowledged. Contains does not look at that.
func (s *State) Planted(u *Update) (ID, bool) {
	if len(s.planted.clients) == 0 {
		return ID{}, false
	}
	var st Struct
	for r := NewReader(u.Bytes); r.Next(&st); {
		if !st.IsItem() || st.Ref() == RefDeleted {
			continue
		}
		for _, p := range s.planted.Ranges(st.Client) {
			from, to := max(p.Clock, st.Clock), min(p.End(), st.End())
			if from < to && !s.deletes.Contains(st.Client, from, to-from) {
				return ID{st.Client, from}, true
			}
		}
	}
	return ID{}, false
}

// addPlanted notes what u brings without content, as far as neither u nor the state deletes it.
func (s *State) addPlanted(u *Update) {
	var dels IDSet
	u.deletesByClient(dels.addSorted)
	var st Struct
	for r := NewReader(u.Bytes); r.skim(&st); {
		if ref := st.Info & infoRef; ref != RefGC && ref != RefDeleted || s.structs.Contains(st.Client, st.Clock, st.Len) {
			continue
		}
		st.beyond(s.structs.Prefix(st.Client))
		if !dels.Contains(st.Client, st.Clock, st.Len) && !s.deletes.Contains(st.Client, st.Clock, st.Len) {
			s.planted.Add(st.Client, st.Clock, st.Len)
		}
	}
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
	c := &State{structs: s.structs.Clone(), deletes: s.deletes.Clone(), values: s.values.clone(), shape: s.shape.clone(), planted: s.planted.Clone()}
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
