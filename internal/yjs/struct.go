package yjs

// Content numbers, the low five bits of a struct's info byte.
const (
	RefGC      = 0
	RefDeleted = 1
	RefJSON    = 2 // legacy
	RefBinary  = 3
	RefString  = 4
	RefEmbed   = 5
	RefFormat  = 6
	RefType    = 7
	RefAny     = 8
	RefDoc     = 9
	RefSkip    = 10
)

// Type numbers, the first number of a RefType content.
const (
	TypeArray       = 0
	TypeMap         = 1
	TypeText        = 2
	TypeXMLElement  = 3
	TypeXMLFragment = 4
	TypeXMLHook     = 5
	TypeXMLText     = 6
)

// Flags of the info byte.
const (
	infoOrigin = 0x80
	infoRight  = 0x40
	infoSub    = 0x20
	infoRef    = 0x1f
)

// ID names one unit of content: a client and its clock.
type ID struct{ Client, Clock uint64 }

// Struct is one entry of an update, decoded as far as merging needs: an item, a run of collected content (GC) or a gap
// (Skip). It is a value; its slices alias the update it was read from and must not be written to.
//
// A struct covers the clocks [Clock, Clock+Len) of Client. Strings count UTF-16 code units, JSON and Any their elements.
type Struct struct {
	Client, Clock, Len uint64

	// Info is the info byte: content number, and which of the fields below are meant. Ask the Has methods: the flag for
	// a parent key (0x20) may stand beside an origin, where it means nothing (Yjs sets it when it cuts a map entry).
	Info byte

	Origin ID // last id of the left neighbour when the item was made; if HasOrigin
	Right  ID // first id of the right neighbour; if HasRight

	// Where the item hangs, only if it has neither Origin nor Right; else it is the neighbour's place.
	Parent ID     // the item holding the type; if Root is nil
	Root   []byte // name of a root type, not nil but maybe empty
	Sub    []byte // the key, if HasSub

	// Content without its count or length:
	//
	//	Binary, String, Embed   the bytes, the UTF-8, the JSON
	//	JSON, Any               Len varStrings, Len any values
	//	Format                  varString key, varString JSON
	//	Type                    varUint type [, varString name]
	//	Doc                     varString guid, any options
	//	Deleted, GC, Skip       nothing
	//
	// A String may hold lone surrogates as three bytes each (WTF-8), from V2 only.
	Content []byte
}

// Ref returns the content number.
func (s *Struct) Ref() byte { return s.Info & infoRef }

// End returns the clock after the last one.
func (s *Struct) End() uint64 { return s.Clock + s.Len }

// LastID returns the id of the last unit.
func (s *Struct) LastID() ID { return ID{s.Client, s.Clock + s.Len - 1} }

// IsItem reports whether the struct is neither GC nor Skip.
func (s *Struct) IsItem() bool { r := s.Info & infoRef; return r != RefGC && r != RefSkip }

// HasOrigin reports whether Origin is set.
func (s *Struct) HasOrigin() bool { return s.Info&infoOrigin != 0 }

// HasRight reports whether Right is set.
func (s *Struct) HasRight() bool { return s.Info&infoRight != 0 }

// HasParent reports whether Parent or Root is set.
func (s *Struct) HasParent() bool { return s.IsItem() && s.Info&(infoOrigin|infoRight) == 0 }

// HasSub reports whether Sub is set.
func (s *Struct) HasSub() bool { return s.Info&(infoSub|infoOrigin|infoRight) == infoSub && s.IsItem() }

// Countable reports whether the content counts in the length of its type. Deleted and Format do not.
func (s *Struct) Countable() bool {
	r := s.Ref()
	return r != RefDeleted && r != RefFormat && s.IsItem()
}

// DropLeft cuts off the first k units, 0 < k < Len, as Yjs does: the remaining part has the unit before it as its origin,
// and so no parent on the wire. A cut through a surrogate pair leaves U+FFFD, in a copy of the content.
func (s *Struct) DropLeft(k uint64) {
	switch s.Ref() {
	case RefString:
		s.Content = dropString(s.Content, k)
	case RefJSON:
		s.Content = dropJSON(s.Content, k)
	case RefAny:
		s.Content = dropAny(s.Content, k)
	}
	s.Clock += k
	s.Len -= k
	if s.IsItem() {
		s.Origin = ID{s.Client, s.Clock - 1}
		s.Info |= infoOrigin
		s.Parent, s.Root, s.Sub = ID{}, nil, nil
	}
}

// Keep cuts off all but the first k units, 0 < k < Len. A cut through a surrogate pair leaves U+FFFD.
func (s *Struct) Keep(k uint64) {
	switch s.Ref() {
	case RefString:
		s.Content = keepString(s.Content, k)
	case RefJSON:
		s.Content = s.Content[:len(s.Content)-len(dropJSON(s.Content, k))]
	case RefAny:
		s.Content = s.Content[:len(s.Content)-len(dropAny(s.Content, k))]
	}
	s.Len = k
}

// Delete replaces the content of an item with Deleted, keeping its position and length.
func (s *Struct) Delete() {
	s.Info = s.Info&^infoRef | RefDeleted
	s.Content = nil
}

// Append appends the struct as update V1 has it, in canonical form. Client and clock are not part of it: the section
// names them.
func (s *Struct) Append(dst []byte) []byte {
	dst = s.appendHead(dst)
	switch s.Ref() {
	case RefGC, RefSkip, RefDeleted:
		return AppendUvarint(dst, s.Len)
	case RefJSON, RefAny:
		dst = AppendUvarint(dst, s.Len)
	case RefBinary, RefEmbed:
		dst = AppendUvarint(dst, uint64(len(s.Content)))
	case RefString:
		dst = AppendUvarint(dst, uint64(len(s.Content)))
		at := len(dst)
		dst = append(dst, s.Content...)
		replaceSurrogates(dst[at:])
		return dst
	}
	return append(dst, s.Content...)
}

// appendHead appends all that stands before the content.
func (s *Struct) appendHead(dst []byte) []byte {
	info := s.Info
	switch {
	case !s.IsItem():
		return append(dst, info&infoRef)
	case info&(infoOrigin|infoRight) != 0:
		dst = append(dst, info)
		if info&infoOrigin != 0 {
			dst = AppendUvarint(dst, s.Origin.Client)
			dst = AppendUvarint(dst, s.Origin.Clock)
		}
		if info&infoRight != 0 {
			dst = AppendUvarint(dst, s.Right.Client)
			dst = AppendUvarint(dst, s.Right.Clock)
		}
		return dst
	}
	dst = append(dst, info)
	if s.Root != nil {
		dst = append(dst, 1)
		dst = AppendVarBytes(dst, s.Root)
	} else {
		dst = append(dst, 0)
		dst = AppendUvarint(dst, s.Parent.Client)
		dst = AppendUvarint(dst, s.Parent.Clock)
	}
	if info&infoSub != 0 {
		dst = AppendVarBytes(dst, s.Sub)
	}
	return dst
}
