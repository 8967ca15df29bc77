package name

import "strings"

// The header fields of records and snapshot heads that are not a format of their own.
const (
	HdrSum  = "Yjet-Sum"
	HdrUser = "Yjet-User"
	HdrConn = "Yjet-Conn"
	HdrN    = "Yjet-N"
	HdrTime = "Yjet-Time"
	HdrDoc  = "Yjet-Doc"  // the document's name, where its path is hashed
	HdrNode = "Yjet-Node" // on awareness and custom messages: the server that sent it
)

// EscapeHeader makes any text a header value that UnescapeHeader turns back into it. Header values travel in lines, and NATS trims
// the spaces around them: control characters, % and outer spaces become %XX, so that no value begins another header.
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
		// Inside a run of outer spaces only the outermost needs the escape: it shields the rest.
		if c < 0x20 || c == 0x7f || c == '%' || outer && c == ' ' {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// UnescapeHeader reverses EscapeHeader. What is no escape stays: other programs write headers too.
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

// ValidHeader reports whether a header field may be set by a caller: 1 to 64 characters of A-Z a-z 0-9 - _, and no field of NATS or
// of the sending server.
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
