package yjs

import (
	"cmp"
	"slices"
)

// Awareness update, from y-protocols:
//
//	update := varUint n, n × ( varUint client, varUint clock, varString JSON )      JSON null: the client is gone

// AwarenessEntry is one client's presence. State is JSON as it came; nil means null (gone).
type AwarenessEntry struct {
	Client, Clock uint64
	State         []byte
}

// ReadAwareness decodes an awareness update and appends its entries to dst. The whole input must be used up, and every
// state must be JSON. States alias b.
func ReadAwareness(dst []AwarenessEntry, b []byte) ([]AwarenessEntry, error) {
	c := cursor{b: b}
	n := c.count(3)
	for range n {
		at := c.off
		e := AwarenessEntry{Client: c.uint(), Clock: c.uint(), State: c.json()}
		if e.Client > MaxSafe || e.Clock > MaxSafe {
			c.fail(at, reasonRange)
		}
		if c.err != nil {
			break
		}
		if string(e.State) == "null" {
			e.State = nil
		}
		dst = append(dst, e)
	}
	if c.err == nil && c.left() > 0 {
		c.fail(c.off, reasonTrailing)
	}
	return dst, c.err
}

// AppendAwareness appends entries as an awareness update.
func AppendAwareness(dst []byte, entries []AwarenessEntry) []byte {
	dst = AppendUvarint(dst, uint64(len(entries)))
	for _, e := range entries {
		dst = AppendUvarint(dst, e.Client)
		dst = AppendUvarint(dst, e.Clock)
		if e.State == nil {
			dst = AppendVarString(dst, "null")
		} else {
			dst = AppendVarBytes(dst, e.State)
		}
	}
	return dst
}

// Awareness holds the newest entry of each client. The zero value is empty. Not safe for concurrent use. It keeps the
// entries' State as given: hand it a copy if the bytes are to be used again.
type Awareness struct {
	entries map[uint64]AwarenessEntry
}

// Apply takes e if it is news: its clock is higher than the known one (0 if the client is unknown), or equal and e says
// that a present client is gone. It reports whether it did. A client that is gone keeps its clock until Forget.
func (a *Awareness) Apply(e AwarenessEntry) bool {
	known := a.entries[e.Client]
	if e.Clock < known.Clock || e.Clock == known.Clock && (e.State != nil || known.State == nil) {
		return false
	}
	if a.entries == nil {
		a.entries = make(map[uint64]AwarenessEntry)
	}
	a.entries[e.Client] = e
	return true
}

// Get is the client's entry; false if nothing is known of it. Its State is nil if it is gone.
func (a *Awareness) Get(client uint64) (AwarenessEntry, bool) {
	e, ok := a.entries[client]
	return e, ok
}

// Forget drops what is known of the client, its clock too.
func (a *Awareness) Forget(client uint64) { delete(a.entries, client) }

// Len is the number of clients that are present.
func (a *Awareness) Len() (n int) {
	for _, e := range a.entries {
		if e.State != nil {
			n++
		}
	}
	return n
}

// Present are the entries of all who are present, by client.
func (a *Awareness) Present() []AwarenessEntry {
	out := make([]AwarenessEntry, 0, len(a.entries))
	for _, e := range a.entries {
		if e.State != nil {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(x, y AwarenessEntry) int { return cmp.Compare(x.Client, y.Client) })
	return out
}
