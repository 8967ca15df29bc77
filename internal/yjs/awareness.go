package yjs

// Awareness update, from y-protocols:
//
//	update := varUint n, n × ( varUint client, varUint clock, varString JSON )      JSON null: the client is gone

// AwarenessEntry is one client's presence. State is the JSON as received; nil means null (gone).
type AwarenessEntry struct {
	Client, Clock uint64
	State         []byte
	Depth         int // how deep the arrays and objects of State nest
}

// ReadAwareness decodes an awareness update and appends its entries to dst. Trailing bytes and states that are not JSON are
// errors. A clock may be any number. States alias b.
func ReadAwareness(dst []AwarenessEntry, b []byte) ([]AwarenessEntry, error) {
	c := cursor{b: b}
	n := c.count(3)
	for range n {
		at := c.off
		c.depth = 0
		e := AwarenessEntry{Client: c.uint(), Clock: c.uint(), State: c.json()}
		e.Depth = c.depth
		if e.Client > MaxSafe {
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
