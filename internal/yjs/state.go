package yjs

// State records the ids and root names of a document, without content. The zero value is empty. Changes need exclusive
// access; Contains, Ready and other reads may run concurrently.
//
// A state that got structs before their dependencies has gaps. It keeps them, but Vector and Ready count only clocks
// contiguous from 0.
type State struct {
	structs IDSet
	deletes IDSet
	roots   map[string]struct{}
	values  values // of keys, see values.go
	shape   shape  // the work it causes in clients, see shape.go
	planted IDSet  // received as GC or Deleted, and no delete covers them; see Planted
}

// Add adds u to the state. A keystroke, which extends the last run of its client, allocates nothing.
func (s *State) Add(u *Update) {
	s.findValues(u, &s.values)
	s.shape.add(u, &s.structs)
	if u.hollow {
		s.addPlanted(u)
	}
	s.Know(u)
}

// Know adds only the ids and root names of u: enough for Contains and Vector, not for the rest.
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

// Contains reports whether the state has all structs and all deletes of u.
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

// Vector returns, for each client, the end of its run from clock 0. Clients whose clock 0 is missing are left out. The
// vector stops before planted ids, see [State.Planted], so that a client with other content there sends it.
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

// Planted returns the first id at which u has content but the document received only GC or Deleted that no delete covers.
// Yjs writes a delete for everything it collects. So another writer used up the client's clocks, and replicas of the
// document will never show the client's content: its clocks are known, but the content must not be acknowledged. Contains
// does not check that.
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

// addPlanted records the structs of u without content that neither u nor the state deletes.
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

// AppendVector appends the result of Vector in wire form.
func (s *State) AppendVector(dst []byte) []byte { return s.Vector().Append(dst) }

// Structs returns the ids of all known structs. The state owns the set.
func (s *State) Structs() *IDSet { return &s.structs }

// Deletes returns the ids of all known deletes. The state owns the set.
func (s *State) Deletes() *IDSet { return &s.deletes }

// Clients returns the number of clients that ever wrote.
func (s *State) Clients() int { return len(s.structs.clients) }

// Roots returns the number of root names.
func (s *State) Roots() int { return len(s.roots) }

// HasRoot reports whether the root name is known.
func (s *State) HasRoot(name []byte) bool { _, ok := s.roots[string(name)]; return ok }

// Clone returns a deep copy.
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
