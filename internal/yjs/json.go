package yjs

// jsonDepth checks p and says how deep its arrays and objects nest. It does not recurse.
func jsonDepth(p []byte) (depth int, ok bool) {
	var space [32]byte
	stack := space[:0] // open brackets
	i := jsonSpace(p, 0)
	for {
		// A value.
		if i >= len(p) {
			return 0, false
		}
		switch x := p[i]; {
		case x == '{' || x == '[':
			stack = append(stack, x)
			depth = max(depth, len(stack))
			i = jsonSpace(p, i+1)
			if i < len(p) && p[i] == x+2 { // empty: ']' and '}' are two after their opening
				break
			}
			if x == '{' {
				if i, ok = jsonKey(p, i); !ok {
					return 0, false
				}
			}
			continue
		case x == '"':
			if i, ok = jsonString(p, i); !ok {
				return 0, false
			}
		case x == '-' || x >= '0' && x <= '9':
			if i, ok = jsonNumber(p, i); !ok {
				return 0, false
			}
		case x == 't' && hasAt(p, i, "true"), x == 'n' && hasAt(p, i, "null"):
			i += 4
		case x == 'f' && hasAt(p, i, "false"):
			i += 5
		default:
			return 0, false
		}
		// After a value: close, or go on.
		for {
			i = jsonSpace(p, i)
			if len(stack) == 0 {
				return depth, i == len(p)
			}
			if i >= len(p) {
				return 0, false
			}
			open := stack[len(stack)-1]
			if p[i] == open+2 {
				stack = stack[:len(stack)-1]
				i++
				continue
			}
			if p[i] != ',' {
				return 0, false
			}
			i = jsonSpace(p, i+1)
			if open == '{' {
				if i, ok = jsonKey(p, i); !ok {
					return 0, false
				}
			}
			break
		}
	}
}

func hasAt(p []byte, i int, s string) bool { return len(p)-i >= len(s) && string(p[i:i+len(s)]) == s }

func jsonSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t') {
		i++
	}
	return i
}

// jsonKey passes a key, its colon and the space around it.
func jsonKey(p []byte, i int) (int, bool) {
	i, ok := jsonString(p, i)
	if !ok {
		return i, false
	}
	i = jsonSpace(p, i)
	if i >= len(p) || p[i] != ':' {
		return i, false
	}
	return jsonSpace(p, i+1), true
}

// jsonString passes the string that begins at i.
func jsonString(p []byte, i int) (int, bool) {
	if i >= len(p) || p[i] != '"' {
		return i, false
	}
	for i++; i < len(p); i++ {
		switch x := p[i]; {
		case x == '"':
			return i + 1, true
		case x < 0x20:
			return i, false
		case x == '\\':
			i++
			if i >= len(p) {
				return i, false
			}
			switch p[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(p) {
					return i, false
				}
				for _, h := range p[i+1 : i+5] {
					if !(h >= '0' && h <= '9' || h >= 'a' && h <= 'f' || h >= 'A' && h <= 'F') {
						return i, false
					}
				}
				i += 4
			default:
				return i, false
			}
		}
	}
	return i, false
}

// jsonNumber passes the number that begins at i.
func jsonNumber(p []byte, i int) (int, bool) {
	digits := func() bool {
		from := i
		for i < len(p) && p[i] >= '0' && p[i] <= '9' {
			i++
		}
		return i > from
	}
	if p[i] == '-' {
		i++
	}
	if i < len(p) && p[i] == '0' {
		i++
	} else if !digits() {
		return i, false
	}
	if i < len(p) && p[i] == '.' {
		i++
		if !digits() {
			return i, false
		}
	}
	if i < len(p) && (p[i] == 'e' || p[i] == 'E') {
		i++
		if i < len(p) && (p[i] == '+' || p[i] == '-') {
			i++
		}
		if !digits() {
			return i, false
		}
	}
	return i, true
}
