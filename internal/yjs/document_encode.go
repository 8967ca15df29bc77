package yjs

import "slices"

// Encode returns the document as a V1 update for a replica with state vector v (nil: empty): the structs beyond v, all
// deletes, and everything pending. The result is canonical.
func (d *Document) Encode(v StateVector) []byte {
	out := d.appendState(nil, v)
	if p := d.PendingUpdate(); p != nil {
		p, err := Diff(p, v)
		if err == nil {
			out, err = Merge(out, p)
		}
		if err != nil {
			panic("yjs: own update: " + err.Error())
		}
	}
	return out
}

// appendState appends the integrated structs beyond v and all deletes.
func (d *Document) appendState(dst []byte, v StateVector) []byte {
	n := uint64(0)
	size := 16
	for _, c := range d.byID() {
		if c.next > v[c.id] {
			n++
			size += 16
			for _, block := range c.blocks {
				size += 12 * len(block)
			}
		}
	}
	dst = AppendUvarint(slices.Grow(dst, size), n)
	for _, c := range d.byID() {
		if from := v[c.id]; c.next > from {
			dst = c.append(dst, from)
		}
	}
	deletes := d.Deletes()
	return deletes.Append(dst)
}

// append appends the section of c's structs from a clock on, which must be below next.
func (c *docClient) append(dst []byte, from uint64) []byte {
	pos := c.find(from)
	n := len(c.blocks[pos.b]) - pos.i
	for _, block := range c.blocks[pos.b+1:] {
		n += len(block)
	}
	dst = AppendUvarint(dst, uint64(n))
	dst = AppendUvarint(dst, c.id)
	dst = AppendUvarint(dst, from)
	first := c.blocks[pos.b][pos.i]
	dst = first.append(dst, from-first.clock)
	for b := pos.b; b < len(c.blocks); b++ {
		block := c.blocks[b]
		if b == pos.b {
			block = block[pos.i+1:]
		}
		for _, it := range block {
			dst = it.append(dst, 0)
		}
	}
	return dst
}

// append appends the struct without its first offset units, in the form of Struct.Append.
func (it *docItem) append(dst []byte, offset uint64) []byte {
	if it.ref == RefGC {
		return AppendUvarint(append(dst, RefGC), it.length-offset)
	}
	origin := it.origin
	data := it.data
	if offset > 0 {
		origin = docID{it.client, it.clock + offset - 1}
		switch it.ref {
		case RefString:
			data = dropString(data, offset)
		case RefJSON:
			data = dropJSON(data, offset)
		case RefAny:
			data = dropAny(data, offset)
		}
	}
	info := it.ref
	if origin.c != nil {
		info |= infoOrigin
	}
	if it.rightOrigin.c != nil {
		info |= infoRight
	}
	if info == it.ref && it.entry != nil {
		info |= infoSub
	}
	dst = append(dst, info)
	if origin.c != nil {
		dst = AppendUvarint(dst, origin.c.id)
		dst = AppendUvarint(dst, origin.clock)
	}
	if it.rightOrigin.c != nil {
		dst = AppendUvarint(dst, it.rightOrigin.c.id)
		dst = AppendUvarint(dst, it.rightOrigin.clock)
	}
	if info&(infoOrigin|infoRight) == 0 {
		if holder := it.parent.item; holder == nil {
			dst = append(dst, 1)
			dst = AppendVarString(dst, it.parent.name)
		} else {
			dst = append(dst, 0)
			dst = AppendUvarint(dst, holder.client.id)
			dst = AppendUvarint(dst, holder.clock)
		}
		if it.entry != nil {
			dst = AppendVarString(dst, it.entry.key)
		}
	}
	switch it.ref {
	case RefDeleted:
		return AppendUvarint(dst, it.length-offset)
	case RefJSON, RefAny:
		dst = AppendUvarint(dst, it.length-offset)
	case RefBinary, RefEmbed, RefString:
		dst = AppendUvarint(dst, uint64(len(data)))
	}
	return append(dst, data...)
}

// Pending describes the structs and deletes that a document has received but cannot apply yet.
type Pending struct {
	Structs int   // structs that wait
	Missing []ID  // the id that each waiting client's first struct needs, by descending client
	Deletes IDSet // ids to delete when they arrive
}

// Pending returns the waiting structs and deletes. The caller owns the result.
func (d *Document) Pending() Pending {
	var p Pending
	for _, id := range d.pendingClients() {
		q := d.pending[id]
		q.tidy()
		p.Structs += len(q.parked)
		p.Missing = append(p.Missing, q.wait)
	}
	p.Deletes = d.pendingDeletes.Clone()
	return p
}

// PendingUpdate returns everything pending as a V1 update, or nil if nothing is.
func (d *Document) PendingUpdate() []byte {
	if len(d.pending) == 0 && d.pendingDeletes.Empty() {
		return nil
	}
	ids := d.pendingClients()
	dst := AppendUvarint(nil, uint64(len(ids)))
	for _, id := range ids {
		q := d.pending[id]
		q.tidy()
		var section []byte
		n := uint64(0)
		next := q.parked[0].Clock
		for i := range q.parked {
			s := q.parked[i]
			switch {
			case s.Clock > next:
				section = AppendUvarint(append(section, RefSkip), s.Clock-next)
				n++
			case s.Clock < next: // overlaps the one before
				if s.End() <= next {
					continue
				}
				s.DropLeft(next - s.Clock)
			}
			section = s.Append(section)
			n++
			next = s.End()
		}
		dst = AppendUvarint(dst, n)
		dst = AppendUvarint(dst, id)
		dst = AppendUvarint(dst, q.parked[0].Clock)
		dst = append(dst, section...)
	}
	return d.pendingDeletes.Append(dst)
}
