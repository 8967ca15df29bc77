package yjs

import (
	"cmp"
	"slices"
)

// Document is a Yjs document: the structs of all applied updates, integrated by YATA as in Yjs 13, ready to be read and
// edited.
//
// It is not safe for concurrent use. It never deletes redundant formats after a remote update, as an editing client does.
// The same updates in any order and grouping give the same document.
type Document struct {
	keepDeleted bool

	clients map[uint64]*docClient
	recent  *docClient   // the client last looked up
	order   []*docClient // by descending id; nil: not built

	roots     map[string]*docType
	rootOrder []*docType // by first use

	pending        map[uint64]*docQueue // by client: structs with missing dependencies
	pendingDeletes IDSet                // ranges of structs that are missing

	// The current transaction. Everything here is empty between calls, but keeps its memory.
	epoch   uint64
	changed []*docClient // clients that got structs
	deleted []docRange   // ranges deleted
	touched []docTouch   // places where structs may have become joinable
	waiters map[uint64][]*docQueue
	todo    []*docQueue
	types   []*docType // stack of deletions and collections
	queues  []docQueue
	structs []Struct
	ranges  []Run

	walk uint32 // number of the last item a conflict walk passed

	// Memory.
	arena     []docItem
	arenaSize int
	free      *docItem
	slab      []byte

	cursor docCursor
}

// docRange is a run of clocks of one client.
type docRange struct {
	c          *docClient
	clock, len uint64
}

// docCursor remembers where in a list an edit ended, since the next one often begins there. index is the number of units
// before item.
type docCursor struct {
	t     *docType
	item  *docItem
	index uint64
}

// DocumentOptions sets how a document treats deleted content.
type DocumentOptions struct {
	// KeepDeleted keeps deleted content, as Yjs does with gc: false. Past states and the authors of deleted text need it.
	// Otherwise only the position and length of deleted content stay.
	KeepDeleted bool
}

// NewDocument returns an empty document.
func NewDocument(o DocumentOptions) *Document {
	return &Document{
		keepDeleted: o.KeepDeleted,
		clients:     make(map[uint64]*docClient),
		roots:       make(map[string]*docType),
	}
}

// OpenDocument returns a document with the given updates applied.
func OpenDocument(o DocumentOptions, updates ...[]byte) (*Document, error) {
	d := NewDocument(o)
	for _, u := range updates {
		if err := d.Apply(u); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Apply applies a V1 update. Structs that the document already has change nothing. Structs with missing dependencies wait,
// see [Document.Pending]. After an error, an *Error, the document is unchanged.
//
// The document keeps no reference to update. Apply accepts the input that [Reader] accepts and ignores structs and deletes
// of length 0. It refuses input that would break other readers: an item that refers to itself or to later clocks of its own
// client, and numbers beyond 2^53-1.
func (d *Document) Apply(update []byte) error {
	content, err := d.examine(update)
	if err != nil {
		d.unload()
		return err
	}
	d.begin()
	d.reserve(content)
	d.stream(update)
	d.integrateRest()
	d.deleteAll()
	d.finish()
	d.unload()
	return nil
}

// examine checks an update without changing the document, records its deletes and returns its number of content bytes.
// Reading the update a second time is cheaper than keeping the decoded structs.
func (d *Document) examine(update []byte) (content int, err error) {
	r := NewReader(update)
	var s Struct
	for r.Next(&s) {
		if s.Client > MaxSafe || s.End() > MaxSafe {
			return 0, &Error{Offset: r.start, Reason: reasonRange}
		}
		if s.HasOrigin() && s.Origin.Client == s.Client && s.Origin.Clock >= s.Clock ||
			s.HasRight() && s.Right.Client == s.Client && s.Right.Clock >= s.Clock ||
			s.HasParent() && s.Root == nil && s.Parent.Client == s.Client && s.Parent.Clock >= s.Clock {
			return 0, &Error{Offset: r.start, Reason: reasonSelf}
		}
		content += len(s.Content)
	}
	d.ranges = slices.Grow(d.ranges[:0], r.Left()/8) // a range of a large document takes more than eight bytes with its client
	var del Run
	for r.NextDelete(&del) {
		if del.Client > MaxSafe || del.End() > MaxSafe {
			return 0, &Error{Offset: r.c.off, Reason: reasonRange}
		}
		if del.Len > 0 {
			d.ranges = append(d.ranges, del)
		}
	}
	return content, r.Err()
}

// stream integrates the structs of a checked update in order. A client's structs go into a queue once one of them has to
// wait, or if the client already had pending structs.
func (d *Document) stream(update []byte) {
	r := NewReader(update)
	d.structs, d.queues = d.structs[:0], d.queues[:0]
	var cur, s Struct // cur waits for its continuation
	var joined []byte // buffer for joined content
	begin := 0        // start of the current queue in d.structs
	offer := func() {
		if cur.Len == 0 {
			return
		}
		if begin == len(d.structs) && d.pending[cur.Client] == nil { // nothing of this client waits
			if _, ok := d.take(&cur); ok {
				return
			}
		}
		if n := len(d.structs); n == cap(d.structs) {
			// The queues so far keep their memory; only the structs of the current one move.
			piece := make([]Struct, n-begin, max(8, 2*(n-begin), min(2*n, 4096)))
			copy(piece, d.structs[begin:])
			d.structs, begin = piece, 0
		}
		if len(joined) > 0 {
			cur.Content = slices.Clone(cur.Content)
		}
		d.structs = append(d.structs, cur)
	}
	section := func() {
		if begin < len(d.structs) {
			d.queues = append(d.queues, docQueue{client: d.structs[begin].Client, fresh: d.structs[begin:len(d.structs):len(d.structs)]})
			begin = len(d.structs)
		}
	}
	for r.Next(&s) {
		if s.Len == 0 || s.Ref() == RefSkip {
			continue
		}
		if cur.Len > 0 && cur.Client == s.Client && cur.continues(&s) {
			if len(joined) == 0 {
				joined = append(joined, cur.Content...)
			}
			joined = append(joined, s.Content...)
			cur.Content = joined
			cur.Len += s.Len
			continue
		}
		offer()
		joined = joined[:0]
		if cur.Client != s.Client {
			section()
		}
		cur = s
	}
	offer()
	section()
}

// continues reports whether t is the exact continuation of s, so that both can be integrated as one. Only text and GC
// qualify: an Any might be the value of a key, and a key has one value. A text with a key of its own is excluded for the
// same reason.
func (s *Struct) continues(t *Struct) bool {
	if t.Clock != s.End() || s.HasSub() {
		return false
	}
	if s.Ref() == RefGC && t.Ref() == RefGC {
		return true
	}
	return s.Ref() == RefString && t.Ref() == RefString &&
		t.HasOrigin() && t.Origin == s.LastID() && s.HasRight() == t.HasRight() && (!s.HasRight() || s.Right == t.Right)
}

// unload drops references to the update and frees large buffers.
func (d *Document) unload() {
	clear(d.structs)
	clear(d.queues)
	if cap(d.structs) > 64 {
		d.structs = nil
	}
	if cap(d.queues) > 64 {
		d.queues = nil
	}
	if cap(d.ranges) > 1024 {
		d.ranges = nil
	}
}

// reserve makes room for n bytes of content in one piece.
func (d *Document) reserve(n int) {
	if n > 256 && n > cap(d.slab)-len(d.slab) {
		d.slab = make([]byte, 0, n)
	}
}

// begin opens a transaction.
func (d *Document) begin() {
	d.epoch++
	d.changed = d.changed[:0]
	d.deleted = d.deleted[:0]
	d.touched = d.touched[:0]
}

// client finds a client, or returns nil if the document has no structs of it.
func (d *Document) client(id uint64) *docClient {
	if c := d.recent; c != nil && c.id == id {
		return c
	}
	c := d.clients[id]
	if c != nil {
		d.recent = c
	}
	return c
}

func (d *Document) makeClient(id uint64) *docClient {
	c := d.client(id)
	if c == nil {
		c = &docClient{id: id}
		d.clients[id] = c
		d.recent = c
		d.order = nil
	}
	return c
}

// byID returns all clients, highest id first: the order in which Yjs writes them.
func (d *Document) byID() []*docClient {
	if d.order == nil {
		d.order = make([]*docClient, 0, len(d.clients))
		for _, c := range d.clients {
			d.order = append(d.order, c)
		}
		slices.SortFunc(d.order, func(a, b *docClient) int { return cmp.Compare(b.id, a.id) })
	}
	return d.order
}

// root finds a root type, or creates it.
func (d *Document) root(name []byte) *docType {
	if t := d.roots[string(name)]; t != nil {
		return t
	}
	t := &docType{name: string(name)}
	d.roots[t.name] = t
	d.rootOrder = append(d.rootOrder, t)
	return t
}

// Vector returns the next clock of each client, pending structs not counted. The caller owns the result.
func (d *Document) Vector() StateVector {
	v := make(StateVector, len(d.clients))
	for id, c := range d.clients {
		if c.next > 0 {
			v[id] = c.next
		}
	}
	return v
}

// Deletes returns the deleted ids, pending deletes not counted. The caller owns the result.
func (d *Document) Deletes() IDSet {
	var s IDSet
	for _, c := range d.byID() {
		for _, block := range c.blocks {
			for _, it := range block {
				if it.deleted() {
					s.Add(c.id, it.clock, it.length)
				}
			}
		}
	}
	return s
}
