package yjs

import (
	"cmp"
	"slices"
)

// Document is a Yjs document: the structs of all updates it was given, in their places (YATA, as Yjs 13 has it), ready
// to be read and edited.
//
// It is plain memory, not safe for concurrent use, and does nothing of its own: it never deletes redundant formats after
// somebody else's update, as an editing client does. The same updates in any order and grouping give the same document.
type Document struct {
	keepDeleted bool

	clients map[uint64]*docClient
	recent  *docClient   // looked up last
	order   []*docClient // by descending id; nil: to be made

	roots     map[string]*docType
	rootOrder []*docType // as they were first named

	pending        map[uint64]*docQueue // by client: structs whose turn has not come
	pendingDeletes IDSet                // ranges the store does not reach yet

	// The transaction. Everything here is empty between calls, but keeps its memory.
	epoch   uint64
	changed []*docClient // that got structs
	deleted []docRange   // what was deleted
	touched []docTouch   // where structs may have become joinable
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

// docCursor remembers where in a list an edit ended, since the next one tends to begin there: index units are before item.
type docCursor struct {
	t     *docType
	item  *docItem
	index uint64
}

// DocumentOptions says how a document treats what is deleted.
type DocumentOptions struct {
	// KeepDeleted keeps deleted content, as Yjs does with gc: false: for states of the past, and for who wrote what is
	// gone. Otherwise only its place and length stay.
	KeepDeleted bool
}

// NewDocument is an empty document.
func NewDocument(o DocumentOptions) *Document {
	return &Document{
		keepDeleted: o.KeepDeleted,
		clients:     make(map[uint64]*docClient),
		roots:       make(map[string]*docType),
	}
}

// OpenDocument is a document that was given these updates.
func OpenDocument(o DocumentOptions, updates ...[]byte) (*Document, error) {
	d := NewDocument(o)
	for _, u := range updates {
		if err := d.Apply(u); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Apply takes in a V1 update. What is known already changes nothing. What depends on structs that are not here waits for
// them, see [Document.Pending]. After an error, an *Error, the document is as it was.
//
// The document keeps nothing of update. It takes what [Reader] takes, passes over structs and deletes of length 0, and
// refuses what would break other readers: an item that refers to itself or to later clocks of its own client, numbers
// beyond 2^53-1.
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

// examine reads an update without a change to the document, takes its deletes down, and says how many bytes of content it
// has. To read it once more is cheaper than to keep what was read.
func (d *Document) examine(update []byte) (content int, err error) {
	r := NewReader(update)
	d.ranges = d.ranges[:0]
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

// stream integrates the structs of an update that was checked, as they come. Of a client of which one has to wait, and of
// clients that were waiting before, the structs go into queues.
func (d *Document) stream(update []byte) {
	r := NewReader(update)
	d.structs, d.queues = d.structs[:0], d.queues[:0]
	var cur, s Struct // cur waits for its continuation
	var joined []byte // room for a content that was put together
	begin := 0        // of the queue in d.structs
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
			d.structs = slices.Grow(d.structs, max(8, n)) // twice as many: append would copy more often
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

// continues says whether t is the exact rest of what s once was, so that both may be taken in as one. Only text and
// collected runs: an Any might be the value of a key, and a key has one value. A text that says it is one is that too.
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

// unload forgets the update, and large memory with it.
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

// client finds a client; nil if nothing of it is known.
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

// byID are all clients, highest id first: the order in which Yjs writes them.
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

// root finds a root type, and makes it if there is none.
func (d *Document) root(name []byte) *docType {
	if t := d.roots[string(name)]; t != nil {
		return t
	}
	t := &docType{name: string(name)}
	d.roots[t.name] = t
	d.rootOrder = append(d.rootOrder, t)
	return t
}

// Vector is what the document holds of each client, without what is pending. The result is the caller's.
func (d *Document) Vector() StateVector {
	v := make(StateVector, len(d.clients))
	for id, c := range d.clients {
		if c.next > 0 {
			v[id] = c.next
		}
	}
	return v
}

// Deletes are the deleted ids the document holds, without what is pending. The result is the caller's.
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
