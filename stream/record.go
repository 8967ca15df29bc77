package stream

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Seq is a sequence of the document's shard, from 1. It grows within a document, and is shared with the other documents of
// the shard, so it has gaps. Zero is before everything.
type Seq uint64

// Record is one stored update.
type Record struct {
	Seq    Seq
	Prev   Seq       // live records only: the document's record before this one, 0 if none
	Time   time.Time // when it was made: for an import the original time, else when it was stored
	Stored time.Time // when it was stored here
	User   string    // as verified when it was appended; empty: anonymous, or appended by another program
	Conn   string    // the connection it came by
	Merged int       // updates of that connection folded into this record, at least 1
	Sum    Sum       // zero: appended by another program
	Update []byte    // owned by the receiver
}

// Intact tells whether the update's bytes are those that were appended. Records of other programs carry no checksum and are
// taken as they are.
func (r *Record) Intact() bool {
	return r.Sum == Sum{} || r.Sum.CRC == checksum(r.Update)
}

// Sum is the header Yjet-Sum: <crc32c of the payload, 8 hex>-<writer, 16 hex>-<n>. A Writer is random and never zero; N
// counts its records from 1. JetStream skips a damaged message in silence: a missing N is how it is noticed.
type Sum struct {
	CRC    uint32
	Writer uint64
	N      uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Checksum is the CRC-32C that Yjet-Sum carries, in its 8 hex digits.
func Checksum(b []byte) string { return fmt.Sprintf("%08x", checksum(b)) }

func (s Sum) String() string {
	b := make([]byte, 0, 48)
	b = appendHex(b, uint64(s.CRC), 8)
	b = append(b, '-')
	b = appendHex(b, s.Writer, 16)
	b = append(b, '-')
	return string(strconv.AppendUint(b, s.N, 10))
}

func appendHex(b []byte, v uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, "0123456789abcdef"[v>>(4*i)&15])
	}
	return b
}

// parseSum reads what String writes; anything else is false, and the record counts as another program's.
func parseSum(s string) (Sum, bool) {
	if len(s) < 27 || s[8] != '-' || s[25] != '-' {
		return Sum{}, false
	}
	var head [4 + 8]byte
	if _, err := hex.Decode(head[:4], []byte(s[:8])); err != nil {
		return Sum{}, false
	}
	if _, err := hex.Decode(head[4:], []byte(s[9:25])); err != nil {
		return Sum{}, false
	}
	n, err := strconv.ParseUint(s[26:], 10, 64)
	var sum Sum
	for _, c := range head[:4] {
		sum.CRC = sum.CRC<<8 | uint32(c)
	}
	for _, c := range head[4:] {
		sum.Writer = sum.Writer<<8 | uint64(c)
	}
	sum.N = n
	return sum, err == nil && n > 0 && sum.Writer != 0
}

// The headers of a record, and those that NATS adds when it republishes or returns one.
const (
	hdrSum  = "Yjet-Sum"
	hdrUser = "Yjet-User"
	hdrConn = "Yjet-Conn"
	hdrN    = "Yjet-N"
	hdrTime = "Yjet-Time"
	hdrDoc  = "Yjet-Doc"
	hdrNode = "Yjet-Node" // on awareness and custom messages: which server sent it

	hdrSeq     = "Nats-Sequence"
	hdrLast    = "Nats-Last-Sequence"
	hdrStamp   = "Nats-Time-Stamp"
	hdrSubject = "Nats-Subject"
)

// Header values travel in lines, and surrounding spaces are trimmed on the way. Control characters, % and outer spaces
// become %XX so that any text comes back as it was and none can begin another header.
func escapeHeader(s string) string {
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

// unescapeHeader reverses escapeHeader; what is no escape stays, since other programs write headers too.
func unescapeHeader(s string) string {
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

// maxIdentity bounds the user and the connection of a record, escaped: they share the 4 KiB that MaxUpdate leaves for headers.
const maxIdentity = 1024

// header makes the headers of one record. extra is room for the caller's own.
func (e *Entry) header(doc Doc, token string, sum Sum, extra int) nats.Header {
	h := make(nats.Header, 3+extra)
	values := make([]string, 0, 6) // one array behind all single values
	set := func(k, v string) {
		values = append(values, v)
		h[k] = values[len(values)-1 : len(values) : len(values)]
	}
	set(hdrSum, sum.String())
	if e.User != "" {
		set(hdrUser, escapeHeader(e.User))
	}
	if e.Conn != "" {
		set(hdrConn, escapeHeader(e.Conn))
	}
	if e.Merged > 1 {
		set(hdrN, strconv.Itoa(e.Merged))
	}
	if !e.Time.IsZero() {
		set(hdrTime, e.Time.UTC().Format(time.RFC3339Nano))
	}
	if hashed(token) {
		set(hdrDoc, escapeHeader(string(doc)))
	}
	return h
}

// get is a header's last value: NATS adds its own behind what a publisher wrote under the same name.
func get(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

var errNotRecord = errors.New("stream: not a record")

// recordOf reads a record that NATS republished or returned: sequence and time are headers then. Its bytes are kept, not
// copied.
func recordOf(h nats.Header, data []byte) (Record, error) {
	seq, err := strconv.ParseUint(get(h, hdrSeq), 10, 64)
	if err != nil || seq == 0 {
		return Record{}, errNotRecord
	}
	r := Record{Seq: Seq(seq), Update: data}
	if v := get(h, hdrLast); v != "" {
		prev, _ := strconv.ParseUint(v, 10, 64)
		r.Prev = Seq(prev)
	}
	r.Stored, _ = time.Parse(time.RFC3339Nano, get(h, hdrStamp))
	r.fill(h)
	return r, nil
}

// fill takes over what our own headers say.
func (r *Record) fill(h nats.Header) {
	r.Sum, _ = sumOf(h)
	r.User, r.Conn = unescapeHeader(get(h, hdrUser)), unescapeHeader(get(h, hdrConn))
	r.Merged = 1
	if v := get(h, hdrN); v != "" {
		if n, err := strconv.Atoi(v); err == nil && n > 1 {
			r.Merged = n
		}
	}
	r.Time = r.Stored
	if v := get(h, hdrTime); v != "" {
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			r.Time = t
		}
	}
}

func sumOf(h nats.Header) (Sum, bool) {
	v := get(h, hdrSum)
	if v == "" {
		return Sum{}, false
	}
	s, ok := parseSum(v)
	if !ok {
		return Sum{}, false
	}
	return s, true
}
