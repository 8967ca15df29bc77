package yjs

import (
	"cmp"
	"slices"
)

// StateVector maps a client to its next expected clock. A client that is not there has clock 0.
//
// On the wire: varUint n, n × (varUint client, varUint clock), by descending client.
type StateVector map[uint64]uint64

// DecodeStateVector reads a state vector. No bytes at all mean the empty vector, as some clients send it. Of a client
// named twice the last clock counts, and bytes after the vector are not looked at, as in Yjs.
func DecodeStateVector(b []byte) (StateVector, error) {
	if len(b) == 0 {
		return StateVector{}, nil
	}
	c := cursor{b: b}
	n := c.count(2)
	v := make(StateVector, n)
	for range n {
		at := c.off
		client, clock := c.uint(), c.uint()
		if c.err == nil && (client > MaxSafe || clock > MaxSafe) {
			c.fail(at, reasonRange)
		}
		v[client] = clock
	}
	if c.err != nil {
		return nil, c.err
	}
	return v, nil
}

// Append appends the vector's wire form. Clients with clock 0 are written as they are there.
func (v StateVector) Append(dst []byte) []byte {
	dst = AppendUvarint(dst, uint64(len(v)))
	for _, client := range v.clients() {
		dst = AppendUvarint(dst, client)
		dst = AppendUvarint(dst, v[client])
	}
	return dst
}

// clients returns the keys, highest first.
func (v StateVector) clients() []uint64 {
	keys := make([]uint64, 0, len(v))
	for c := range v {
		keys = append(keys, c)
	}
	slices.SortFunc(keys, func(a, b uint64) int { return cmp.Compare(b, a) })
	return keys
}

// VectorOf returns the state vector of a document that has only update: for each client the end of the run that begins at
// clock 0 and has no gap. Clients that begin later, or with a gap, are left out.
func VectorOf(update []byte) (StateVector, error) {
	v := StateVector{}
	r := NewReader(update)
	var s Struct
	var client, next uint64
	open, any := false, false // next still grows; client is meant
	flush := func() {
		if any && next > 0 {
			v[client] = max(v[client], next)
		}
	}
	for r.skim(&s) {
		if !any || s.Client != client {
			flush()
			client, next, open, any = s.Client, v[s.Client], true, true
		}
		if s.Ref() == RefSkip || s.Clock > next {
			open = false
		}
		if open {
			next = max(next, s.End())
		}
	}
	flush()
	var d Run
	for r.NextDelete(&d) {
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return v, nil
}
