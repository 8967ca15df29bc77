package yjs

// encoder writes the sections of a V1 update. Clients come in the order in which they are to stand, each once.
//
// Order of calls: begin, add*, end for each client; then finish.
type encoder struct {
	sections uint64
	body     []byte // finished sections
	cur      []byte // structs of the section being written

	client, first, next uint64
	structs             uint64
}

func (e *encoder) reset() {
	*e = encoder{body: e.body[:0], cur: e.cur[:0]}
}

func (e *encoder) begin(client uint64) {
	e.client, e.structs, e.cur = client, 0, e.cur[:0]
}

// gap prepares the section for a struct at clock: the first struct sets the start of the section; a Skip precedes a later
// one after a gap.
func (e *encoder) gap(clock uint64) {
	if e.structs == 0 {
		e.first = clock
	} else if clock > e.next {
		e.cur = append(e.cur, RefSkip)
		e.cur = AppendUvarint(e.cur, clock-e.next)
		e.structs++
	}
	e.next = clock
}

func (e *encoder) add(s *Struct) {
	e.gap(s.Clock)
	e.cur = s.Append(e.cur)
	e.next += s.Len
	e.structs++
}

// end closes the section; one without structs is not written.
func (e *encoder) end() {
	if e.structs == 0 {
		return
	}
	e.sections++
	e.body = AppendUvarint(e.body, e.structs)
	e.body = AppendUvarint(e.body, e.client)
	e.body = AppendUvarint(e.body, e.first)
	e.body = append(e.body, e.cur...)
}

// finish appends the update to dst. deletes is the whole delete set in wire form.
func (e *encoder) finish(dst []byte, deletes []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, uvarintLen(e.sections)+len(e.body)+len(deletes))
	}
	dst = AppendUvarint(dst, e.sections)
	dst = append(dst, e.body...)
	return append(dst, deletes...)
}
