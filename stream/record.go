package stream

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Record is one stored update.
type Record struct {
	Seq    Seq
	Prev   Seq       // live records only: the document's record before this one, 0 if none
	Time   time.Time // creation: for an import the original time, else the same as Stored
	Stored time.Time // time at which it was stored here
	User   string    // as verified at the append; empty: anonymous, or appended by another program
	Conn   string    // the connection that sent it
	Merged int       // updates of that connection folded into this record, at least 1
	Sum    Sum       // zero: appended by another program
	Update []byte    // owned by the receiver
}

// Intact reports whether the update's bytes are those that were appended. Records of other programs carry no checksum and count as
// intact.
func (r *Record) Intact() bool {
	return r.Sum == Sum{} || r.Sum.CRC == checksum(r.Update)
}

// Sum is the header Yjet-Sum: <crc32c of the payload, 8 hex>-<writer, 16 hex>-<n>. A Writer is random and never zero; N
// counts its records from 1. JetStream skips a damaged message silently; a missing N reveals it.
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

// parseSum reads the output of String. It returns false for any other text; the record then counts as another program's.
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

// maxIdentity bounds the user and the connection of a record, escaped: they share the 4 KiB that MaxUpdate leaves for headers.
const maxIdentity = 1024

// header makes the headers of one record. extra is room for the caller's own.
func (e *Entry) header(doc Doc, path string, sum Sum, extra int) nats.Header {
	h := make(nats.Header, 3+extra)
	values := make([]string, 0, 6) // one array behind all single values
	set := func(k, v string) {
		values = append(values, v)
		h[k] = values[len(values)-1 : len(values) : len(values)]
	}
	set(name.HdrSum, sum.String())
	if e.User != "" {
		set(name.HdrUser, name.EscapeHeader(e.User))
	}
	if e.Conn != "" {
		set(name.HdrConn, name.EscapeHeader(e.Conn))
	}
	if e.Merged > 1 {
		set(name.HdrN, strconv.Itoa(e.Merged))
	}
	if !e.Time.IsZero() {
		set(name.HdrTime, e.Time.UTC().Format(time.RFC3339Nano))
	}
	if name.Hashed(path) {
		set(name.HdrDoc, name.EscapeHeader(string(doc)))
	}
	return h
}

var errNotRecord = errors.New("stream: not a record")

// recordOf makes the record of a stored message. The message's bytes are kept, not copied.
func recordOf(m jet.Msg) (Record, error) {
	if m.Seq == 0 {
		return Record{}, errNotRecord
	}
	r := Record{Seq: m.Seq, Stored: m.Time, Update: m.Data}
	r.fill(m.Header)
	return r, nil
}

// liveRecord makes the record of a message of the live feed.
func liveRecord(m *nats.Msg) (Record, error) {
	r, err := recordOf(jet.FromHeader(m))
	if v := jet.Last(m.Header, jet.HdrLast); v != "" {
		prev, _ := strconv.ParseUint(v, 10, 64)
		r.Prev = Seq(prev)
	}
	return r, err
}

// fill sets the fields that our own headers carry.
func (r *Record) fill(h nats.Header) {
	r.Sum, _ = parseSum(jet.Last(h, name.HdrSum))
	r.User, r.Conn = name.UnescapeHeader(jet.Last(h, name.HdrUser)), name.UnescapeHeader(jet.Last(h, name.HdrConn))
	r.Merged = 1
	if v := jet.Last(h, name.HdrN); v != "" {
		if n, err := strconv.Atoi(v); err == nil && n > 1 {
			r.Merged = n
		}
	}
	r.Time = r.Stored
	if v := jet.Last(h, name.HdrTime); v != "" {
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			r.Time = t
		}
	}
}
