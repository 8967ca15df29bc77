package yjs

import (
	"cmp"
	"slices"
)

// Limits bound one update of an untrusted client. No honest update of 50 MiB reaches them; [DocumentLimits] and the caller's
// byte limit bound the document. A zero field means its default, a negative one no limit.
type Limits struct {
	Structs      int // default 5,000,000: a key press of its own takes at least 11 bytes, so they are 55 MB. Merging takes 40 bytes for each
	DeleteRanges int // default 4,000,000: with the deleted struct that stays a range takes at least 13 bytes, so they are 52 MB. Parsing takes 24 bytes for each
	Depth        int // nesting of any values and JSON, default 256
	Expanded     int // bytes of V1 that V2 may become, default 64 MiB

	// Stored: the update comes from a log that accepted it, perhaps under weaker checks. Parse then accepts sub-document
	// options that can harm clients, since those have the update already.
	Stored bool
}

func limit(n, byDefault int) int {
	switch {
	case n == 0:
		return byDefault
	case n < 0:
		return int(^uint(0) >> 1)
	}
	return n
}

// Update is one V1 update, parsed and wholly checked. It keeps slices into its bytes. Parse resets it, so that one value
// serves many updates and soon allocates nothing.
type Update struct {
	// Bytes is the update as given to Parse; not copied.
	Bytes []byte

	runs []Run // clocks that it has structs for, in the order of the wire, neighbours joined
	dels []Run // its delete set, in the order of the wire

	// Ids of other clients that its items need: per client roughly the highest clock. A client may appear twice.
	needs []ID
	// Ids of an item's own client are below its own clock.

	roots     [][]byte
	rootItems int // items that name a root
	structs   int
	subDocs   int
	jumps     int  // items that do not follow the one that their client wrote before
	disorder  bool // its sections or its deletes are not in order, or a client has two sections
	keys      bool // an item of it is the value of a key of a nested type, and says so
	nested    bool // an item of it is in a nested type, and says so
	hollow    bool // it has structs that are collected or deleted
}

// Parse checks all of b and records the data that [State] needs. In addition to the checks of [Reader] it refuses updates
// that would harm other clients: items that refer to their own client at or after their own clock, delete ranges and structs
// of length 0, ids above [MaxSafe], trailing bytes, and counts above lim.
//
// An error is an [*Error]; over a limit errors.Is(err, ErrLimit). After an error the Update is empty.
func (u *Update) Parse(b []byte, lim Limits) error {
	*u = Update{Bytes: b, runs: u.runs[:0], dels: u.dels[:0], needs: u.needs[:0], roots: u.roots[:0]}
	if err := u.parse(b, &lim); err != nil {
		*u = Update{runs: u.runs[:0], dels: u.dels[:0], needs: u.needs[:0], roots: u.roots[:0]}
		return err
	}
	return nil
}

// mostRoots bounds the roots that one update may name. The square of a larger number exceeds the default RootWork.
const mostRoots = 20_000

func (u *Update) parse(b []byte, lim *Limits) error {
	var r Reader
	var s Struct
	c := &r.c
	maxStructs, maxDepth := limit(lim.Structs, 5_000_000), limit(lim.Depth, 256)
	var seen map[string]struct{} // roots, once they are many

	r.Reset(b)
	for r.Next(&s) {
		u.structs++
		if u.structs > maxStructs || r.structs > uint64(maxStructs) {
			c.failLimit(r.start, reasonStructs)
			break
		}
		if s.Len == 0 {
			c.fail(r.start, reasonZeroStruct)
			break
		}
		if s.Client > MaxSafe || s.Clock+s.Len > MaxSafe {
			c.fail(r.start, reasonRange)
			break
		}
		if s.Info == RefSkip {
			continue
		}
		if n := len(u.runs); n > 0 && u.runs[n-1].Client == s.Client && u.runs[n-1].End() == s.Clock {
			u.runs[n-1].Len += s.Len
		} else {
			u.runs = append(u.runs, Run{s.Client, s.Clock, s.Len})
		}
		if s.Info == RefGC {
			u.hollow = true
			continue
		}
		if s.Info&infoOrigin != 0 {
			u.need(c, &s, s.Origin, r.start)
		}
		if s.Info&infoRight != 0 {
			u.need(c, &s, s.Right, r.start)
		}
		if s.Info&infoOrigin == 0 || s.Origin.Client != s.Client || s.Origin.Clock+1 != s.Clock {
			u.jumps++
		}
		if s.Info&(infoOrigin|infoRight) == 0 {
			if s.Root == nil {
				u.need(c, &s, s.Parent, r.start)
				u.nested = true
				u.keys = u.keys || s.Info&infoSub != 0
			} else if u.rootItems++; !u.hasRoot(s.Root, seen) {
				if len(u.roots) >= mostRoots && !lim.Stored {
					c.failLimit(r.start, reasonRoots)
				}
				seen = u.addRoot(s.Root, seen)
			}
		}
		switch s.Info & infoRef {
		case RefDeleted:
			u.hollow = true
		case RefDoc:
			u.subDocs++
			if !lim.Stored && s.overridesDoc() {
				c.fail(r.start, reasonOptions)
			}
		}
		if c.depth > maxDepth {
			c.fail(r.start, reasonDepth)
		}
		if c.err != nil {
			break
		}
	}
	u.disorder = r.disorder
	u.parseDeletes(&r, limit(lim.DeleteRanges, 4_000_000))
	if c.err == nil && c.left() > 0 {
		c.fail(c.off, reasonTrailing)
	}
	return r.Err()
}

func (u *Update) parseDeletes(r *Reader, most int) {
	c := &r.c
	var d Run
	for r.NextDelete(&d) {
		switch {
		case d.Len == 0:
			c.fail(c.off-1, reasonZeroDelete)
		case d.Client > MaxSafe || d.Clock+d.Len > MaxSafe:
			c.fail(c.off-1, reasonRange)
		case len(u.dels) >= most:
			c.failLimit(c.off-1, reasonRanges)
		}
		if n := len(u.dels); n > 0 {
			last := &u.dels[n-1]
			if last.Client == d.Client && last.Clock <= d.Clock && d.Clock <= last.End() {
				last.Len = max(last.End(), d.End()) - last.Clock
				continue
			}
			// Yjs cuts items as it deletes: 100,000 ranges from the end to the beginning of one text take it half a minute.
			u.disorder = u.disorder || compareDeletes(*last, d) > 0
		}
		u.dels = append(u.dels, d)
	}
}

// overridesDoc reports whether the options of a sub-document hold keys that Yjs never writes but passes to the new document:
// a guid, which may not be a string, so that Yjs can no longer encode the document, and a gcFilter, which Yjs calls whenever
// it collects.
func (s *Struct) overridesDoc() bool {
	c := cursor{b: s.Content}
	c.bytes()
	if c.byte() != anyObject {
		return false
	}
	for range c.count(2) {
		if key := c.bytes(); string(key) == "guid" || string(key) == "gcFilter" {
			return true
		}
		c.skipAny(1)
	}
	return false
}

// need notes that s refers to id.
func (u *Update) need(c *cursor, s *Struct, id ID, start int) {
	if id.Client == s.Client {
		if id.Clock >= s.Clock {
			c.fail(start, reasonSelf)
		}
		return
	}
	if id.Client > MaxSafe || id.Clock >= MaxSafe {
		c.fail(start, reasonRange)
		return
	}
	for i := len(u.needs) - 1; i >= 0 && i >= len(u.needs)-8; i-- {
		if n := &u.needs[i]; n.Client == id.Client {
			n.Clock = max(n.Clock, id.Clock)
			return
		}
	}
	u.needs = append(u.needs, id)
}

func (u *Update) addRoot(name []byte, seen map[string]struct{}) map[string]struct{} {
	u.roots = append(u.roots, name)
	if len(u.roots) <= 16 {
		return nil
	}
	if seen == nil {
		seen = make(map[string]struct{})
		for _, name := range u.roots {
			seen[string(name)] = struct{}{}
		}
	}
	seen[string(name)] = struct{}{}
	return seen
}

func (u *Update) hasRoot(name []byte, seen map[string]struct{}) bool {
	if seen != nil {
		_, ok := seen[string(name)]
		return ok
	}
	for _, r := range u.roots {
		if string(r) == string(name) {
			return true
		}
	}
	return false
}

// Empty reports whether there are neither structs nor deletes.
func (u *Update) Empty() bool { return len(u.runs) == 0 && len(u.dels) == 0 }

// Runs returns the clocks that the update has structs for, Skips left out, in wire order. The update owns the result.
func (u *Update) Runs() []Run { return u.runs }

// Deletes returns the delete ranges in wire order. The update owns the result.
func (u *Update) Deletes() []Run { return u.dels }

// Roots returns the names of root types that items name, each once. They alias Bytes. Items with neighbours name none.
func (u *Update) Roots() [][]byte { return u.roots }

// Structs returns the number of structs, Skips included.
func (u *Update) Structs() int { return u.structs }

// deletesByClient yields the delete ranges by client, each client once, its ranges sorted by clock.
func (u *Update) deletesByClient(yield func(client uint64, runs []Run)) {
	dels := u.dels
	if !slices.IsSortedFunc(dels, compareDeletes) {
		dels = slices.Clone(dels)
		slices.SortFunc(dels, compareDeletes)
	}
	for len(dels) > 0 {
		n := 1
		for n < len(dels) && dels[n].Client == dels[0].Client {
			n++
		}
		yield(dels[0].Client, dels[:n])
		dels = dels[n:]
	}
}

// compareDeletes orders by descending client, then by clock, as canonical updates do.
func compareDeletes(a, b Run) int {
	return cmp.Or(cmp.Compare(b.Client, a.Client), cmp.Compare(a.Clock, b.Clock))
}
