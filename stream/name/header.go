package name

import "strings"

// The header fields of records and snapshot heads.
const (
	HdrSum  = "Yjet-Sum"
	HdrUser = "Yjet-User"
	HdrConn = "Yjet-Conn"
	HdrN    = "Yjet-N"
	HdrTime = "Yjet-Time"
	HdrDoc  = "Yjet-Doc"  // the document's name, where its path is hashed
	HdrNode = "Yjet-Node" // the sending server, on awareness and custom messages
)

// EscapeHeader encodes any text as a header value, for UnescapeHeader to decode. A header is a line, and NATS trims the spaces around
// its value. Control characters, % and outer spaces therefore become %XX, and no value can begin another header.
func EscapeHeader(s string) string {
	clean := s == strings.Trim(s, " ")
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= 0x20 && s[i] != 0x7f && s[i] != '%'
	}
	if clean {
		return s
	}
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		c := s[i]
		outer := i == 0 || i == len(s)-1
		// Of a run of outer spaces only the outermost needs the escape: the others are then inner ones.
		if c < 0x20 || c == 0x7f || c == '%' || outer && c == ' ' {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// UnescapeHeader reverses EscapeHeader. A % without two hex digits stays, since other programs write headers too.
func UnescapeHeader(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
			if hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// ValidHeader reports whether a caller may set a header field: 1 to 64 characters of A-Z a-z 0-9 - _, except the fields of NATS and of
// the sending server.
func ValidHeader(field string) bool {
	if field == "" || len(field) > 64 || strings.HasPrefix(strings.ToLower(field), "nats-") || strings.EqualFold(field, HdrNode) {
		return false
	}
	for i := range len(field) {
		if !stays(field[i]) {
			return false
		}
	}
	return true
}
