package yjs

// Update V1:
//
//	update    := varUint sections, section*, deleteSet
//	section   := varUint structs, varUint client, varUint clock, struct*      clocks are implied: each begins where the last ended
//	struct    := info, head, content                                          see Struct
//	deleteSet := varUint clients, ( varUint client, varUint ranges, ( varUint clock, varUint length )* )*
//
// On the wire sections and delete sets go by descending client. Readers take any order.

// Reader goes over the structs of an update, then over its deletes, holding nothing and allocating nothing:
//
//	for r := NewReader(update); r.Next(&s); { … }
//	for r.NextDelete(&d) { … }
//	if err := r.Err(); err != nil { … }
//
// It accepts the input that Yjs accepts: clients in any order, the same client twice, structs of length 0, ids a little
// beyond 2^53, any bytes after the delete set. [Update.Parse] is the stricter check for untrusted updates.
type Reader struct {
	c        cursor
	sections uint64 // not begun
	structs  uint64 // left in this section
	client   uint64
	clock    uint64 // of the next struct

	part     byte   // structs, deletes or done
	dclients uint64 // not begun
	ranges   uint64 // left of this client

	start    int  // offset of the last struct
	section  int  // number of the last struct's section, from 1
	disorder bool // sections do not go by descending client, each once
}

const (
	partStructs = iota
	partDeletes
	partDone
)

// Run is a run of clocks of one client: [Clock, Clock+Len).
type Run struct{ Client, Clock, Len uint64 }

// NewReader returns a Reader of a V1 update. The bytes must not change while the Reader and its structs are in use.
func NewReader(update []byte) Reader {
	var r Reader
	r.Reset(update)
	return r
}

// Reset begins anew with another update.
func (r *Reader) Reset(update []byte) {
	*r = Reader{c: cursor{b: update}}
	r.sections = r.c.count(3)
}

// Err returns the first error, an *Error.
func (r *Reader) Err() error { return r.c.err }

// Left returns the number of unread bytes: 0 after the last delete, unless bytes follow the update.
func (r *Reader) Left() int { return r.c.left() }

// Next reads the next struct into s; false at the end of the structs or after an error.
func (r *Reader) Next(s *Struct) bool {
	if !r.advance() {
		return false
	}
	r.c.structV1(s)
	return r.took(s)
}

// skim is Next for callers that copy structs unread: it sets only Client, Clock, Len and Info. It checks the bytes as Next
// does; they lie between r.start and r.c.off.
func (r *Reader) skim(s *Struct) bool {
	if !r.advance() {
		return false
	}
	r.c.skimV1(s)
	return r.took(s)
}

// advance moves to the next struct, and to the next section if necessary.
func (r *Reader) advance() bool {
	c := &r.c
	for r.structs == 0 {
		if r.part != partStructs || c.err != nil {
			return false
		}
		if r.sections == 0 {
			r.beginDeletes()
			return false
		}
		r.sections--
		r.section++
		at := c.off
		last := r.client
		r.structs = c.uint()
		r.client = c.uint()
		r.clock = c.uint()
		if r.section > 1 && r.client >= last {
			r.disorder = true
		}
		if c.err == nil && r.structs > uint64(c.left())/2 {
			c.fail(at, reasonCount)
		}
		if c.err != nil {
			r.structs = 0
			return false
		}
	}
	r.structs--
	r.start = c.off
	c.overlong = false
	return true
}

// took sets the client and clock of the struct just read.
func (r *Reader) took(s *Struct) bool {
	s.Client, s.Clock = r.client, r.clock
	r.clock += s.Len
	if r.clock > maxClock {
		r.c.fail(r.start, reasonOverflow)
	}
	if r.c.err != nil {
		r.structs = 0
		return false
	}
	return true
}

// again reads the struct that was skimmed last in full.
func (r *Reader) again(s *Struct) {
	client, clock := s.Client, s.Clock
	r.c.structAt(r.start, s)
	s.Client, s.Clock = client, clock
}

// asIs reports whether the bytes of the struct just read are canonical, so that they may be copied.
func (r *Reader) asIs(s *Struct) bool {
	return !r.c.overlong && r.c.b[r.start] == s.Info
}

// skimV1 is structV1 without the head.
func (c *cursor) skimV1(s *Struct) {
	start := c.off
	info := c.byte()
	s.Info = info
	ref := info & infoRef
	if info&(infoOrigin|infoRight) == 0 || ref == RefGC || ref == RefSkip {
		c.structAt(start, s)
		return
	}
	s.Info &^= infoSub
	if info&infoOrigin != 0 {
		c.skipID()
	}
	if info&infoRight != 0 {
		c.skipID()
	}
	if ref == RefString && c.off < len(c.b) {
		// A few letters, nearly always.
		if n := int(c.b[c.off]); n < 8 && n < len(c.b)-c.off {
			p := c.b[c.off+1 : c.off+1+n]
			all := byte(0)
			for _, x := range p {
				all |= x
			}
			if all < 0x80 {
				s.Len = uint64(n)
				c.off += 1 + n
				return
			}
		}
	}
	c.content(s, start)
}

// structAt reads the struct at start in full.
func (c *cursor) structAt(start int, s *Struct) {
	if c.err == nil {
		c.off = start
		c.structV1(s)
	}
}

// structV1 reads one struct; client and clock are the caller's to set.
func (c *cursor) structV1(s *Struct) {
	start := c.off
	info := c.byte()
	*s = Struct{Info: info}
	switch info & infoRef {
	case RefGC:
		s.Info = RefGC
		s.Len = c.uint()
		return
	case RefSkip:
		if info != RefSkip {
			c.fail(start, reasonSkipFlags)
			return
		}
		s.Len = c.uint()
		return
	}
	if info&(infoOrigin|infoRight) != 0 {
		s.Info &^= infoSub
		if info&infoOrigin != 0 {
			s.Origin.Client = c.uint()
			s.Origin.Clock = c.uint()
		}
		if info&infoRight != 0 {
			s.Right.Client = c.uint()
			s.Right.Clock = c.uint()
		}
	} else {
		if c.uint() == 1 {
			s.Root = c.str()
		} else {
			s.Parent.Client = c.uint()
			s.Parent.Clock = c.uint()
		}
		if info&infoSub != 0 {
			s.Sub = c.str()
		}
	}
	c.content(s, start)
}

func (r *Reader) beginDeletes() {
	r.part = partDeletes
	r.dclients = r.c.count(2)
}

// NextDelete reads the next delete range into d; false at the end of the update or after an error. It skips unread structs.
func (r *Reader) NextDelete(d *Run) bool {
	if r.part == partStructs {
		var s Struct
		for r.skim(&s) {
		}
	}
	c := &r.c
	for r.ranges == 0 {
		if r.part != partDeletes || c.err != nil {
			return false
		}
		if r.dclients == 0 {
			r.part = partDone
			return false
		}
		r.dclients--
		d.Client = c.uint()
		r.client = d.Client
		r.ranges = c.count(2)
		if c.err != nil {
			r.ranges = 0
			return false
		}
	}
	r.ranges--
	at := c.off
	d.Client = r.client
	d.Clock = c.uint()
	d.Len = c.uint()
	if d.Clock+d.Len > maxClock {
		c.fail(at, reasonOverflow)
	}
	if c.err != nil {
		r.ranges = 0
		return false
	}
	return true
}
