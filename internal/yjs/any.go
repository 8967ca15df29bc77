package yjs

// lib0's any: a tag byte, then
//
//	127 undefined       121 false    118 object  varUint n, n × (varString key, any)
//	126 null            120 true     117 array   varUint n, n × any
//	125 integer varInt  119 string   116 bytes
//	124 float32, 123 float64, 122 int64 (bigint), all big endian

// Tags of any values.
const (
	anyUndefined = 127
	anyNull      = 126
	anyInteger   = 125
	anyFloat32   = 124
	anyFloat64   = 123
	anyBigint    = 122
	anyFalse     = 121
	anyTrue      = 120
	anyString    = 119
	anyObject    = 118
	anyArray     = 117
	anyBytes     = 116
)

// anyLevel is an open array or object while skipping.
type anyLevel struct {
	left   uint64
	object bool
}

// skipAny reads n values and keeps nothing. It does not recurse, so depth costs no stack.
func (c *cursor) skipAny(n uint64) {
	var space [8]anyLevel
	stack := append(space[:0], anyLevel{left: n})
	for len(stack) > 0 && c.err == nil {
		top := &stack[len(stack)-1]
		if top.left == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		top.left--
		if top.object {
			c.str()
		}
		at := c.off
		switch c.byte() {
		case anyUndefined, anyNull, anyFalse, anyTrue:
		case anyInteger:
			c.int()
		case anyFloat32:
			c.take(4)
		case anyFloat64, anyBigint:
			c.take(8)
		case anyString:
			c.str()
		case anyBytes:
			c.bytes()
		case anyArray:
			stack = append(stack, anyLevel{left: c.count(1)})
			c.depth = max(c.depth, len(stack)-1)
		case anyObject:
			stack = append(stack, anyLevel{left: c.count(2), object: true})
			c.depth = max(c.depth, len(stack)-1)
		default:
			c.fail(at, reasonTag)
		}
	}
}
