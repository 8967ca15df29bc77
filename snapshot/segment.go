package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/zstd"

	"yjet/stream"
)

// A segment is magic • uvarint(length of table) • table • bodies. Table and bodies are a zstd frame each, so that a history
// is listed without unpacking the updates.
//
//	table   uvarint(records) • users • conns • writers • columns
//	users   uvarint(n) • n × (uvarint(length) • bytes)      conns likewise
//	writers uvarint(n) • n × 8 bytes, big endian
//	columns one after the other, each with an entry for every record:
//	        seq     uvarint, the difference to the record before (to 0 for the first)
//	        time    varint, milliseconds since 1970, the difference to the record before
//	        stored  varint, milliseconds from time to when it was stored here: not 0 for imports
//	        user    uvarint, 0 for none, else 1 + index
//	        conn    uvarint, likewise
//	        merged  uvarint, updates in the record
//	        writer  uvarint, 0 for a record of another program, else 1 + index
//	        n       varint, the writer's counter less the one expected (its last + 1; 1 at first);
//	                records of other programs have no entry
//	        length  uvarint, bytes of the update
//	bodies  the updates, joined
//
// A record's checksum is not stored: it was compared with the bytes when the segment was packed, and the segment has its own.
const segmentMagic = "YJH1"

// segmentRaw limits the update bytes in one segment, and so the memory to read it. A single larger record gets a segment to
// itself.
const segmentRaw = 8 << 20

// codec compresses and expands. It starts no goroutine and is safe for concurrent use.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return nil, err
	}
	return &codec{enc, dec}, nil
}

func (c *codec) close() {
	_ = c.enc.Close()
	c.dec.Close()
}

// pack encodes recs, which are in order and not empty, as one segment.
func (c *codec) pack(recs []stream.Record) []byte {
	var users, conns names
	var writers writerTable
	col := make([][]byte, 9)
	var prevSeq stream.Seq
	var prevMS int64
	raw := 0
	for i := range recs {
		r := &recs[i]
		col[0] = binary.AppendUvarint(col[0], uint64(r.Seq-prevSeq))
		ms := r.Time.UnixMilli()
		col[1] = binary.AppendVarint(col[1], ms-prevMS)
		col[2] = binary.AppendVarint(col[2], r.Stored.UnixMilli()-ms)
		col[3] = binary.AppendUvarint(col[3], users.index(r.User))
		col[4] = binary.AppendUvarint(col[4], conns.index(r.Conn))
		col[5] = binary.AppendUvarint(col[5], uint64(max(r.Merged, 1)))
		if r.Sum == (stream.Sum{}) {
			col[6] = append(col[6], 0)
		} else {
			w, next := writers.index(r.Sum.Writer)
			col[6] = binary.AppendUvarint(col[6], w)
			col[7] = binary.AppendVarint(col[7], int64(r.Sum.N-next))
			writers.next[w-1] = r.Sum.N + 1
		}
		col[8] = binary.AppendUvarint(col[8], uint64(len(r.Update)))
		raw += len(r.Update)
		prevSeq, prevMS = r.Seq, ms
	}
	table := binary.AppendUvarint(nil, uint64(len(recs)))
	table = users.append(table)
	table = conns.append(table)
	table = writers.append(table)
	for _, c := range col {
		table = append(table, c...)
	}
	bodies := make([]byte, 0, raw)
	for i := range recs {
		bodies = append(bodies, recs[i].Update...)
	}
	packed := c.enc.EncodeAll(table, nil)
	out := append(make([]byte, 0, len(packed)+raw/4+64), segmentMagic...)
	out = binary.AppendUvarint(out, uint64(len(packed)))
	out = append(out, packed...)
	return c.enc.EncodeAll(bodies, out)
}

// unpack decodes a segment. Without bodies it returns records without updates; the second result holds the length of each update.
func (c *codec) unpack(b []byte, bodies bool) ([]stream.Record, []int, error) {
	if len(b) < len(segmentMagic) || string(b[:4]) != segmentMagic {
		return nil, nil, fmt.Errorf("%w: not a history segment", errDamaged)
	}
	b = b[4:]
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, fmt.Errorf("%w: history segment: table is cut", errDamaged)
	}
	table, err := c.dec.DecodeAll(b[w:w+int(n)], nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: history segment: table: %v", errDamaged, err)
	}
	recs, sizes, err := readTable(table)
	if err != nil {
		return nil, nil, err
	}
	if !bodies {
		return recs, sizes, nil
	}
	body, err := c.dec.DecodeAll(b[w+int(n):], nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: history segment: bodies: %v", errDamaged, err)
	}
	for i := range recs {
		if sizes[i] > len(body) {
			return nil, nil, fmt.Errorf("%w: history segment: record %d is cut", errDamaged, recs[i].Seq)
		}
		recs[i].Update, body = body[:sizes[i]:sizes[i]], body[sizes[i]:]
		if recs[i].Sum != (stream.Sum{}) {
			recs[i].Sum.CRC = crc32.Checksum(recs[i].Update, castagnoli)
		}
	}
	if len(body) != 0 {
		return nil, nil, fmt.Errorf("%w: history segment: %d bytes too many", errDamaged, len(body))
	}
	return recs, sizes, nil
}

// errTable covers every way in which a table can be malformed; the segment's checksum has been compared before.
var errTable = errors.New("malformed table")

func readTable(b []byte) (recs []stream.Record, sizes []int, err error) {
	r := tableReader{b: b}
	count := r.count(1)
	users, conns := r.strings(), r.strings()
	writers := make([]uint64, r.count(8))
	for i := range writers {
		writers[i] = binary.BigEndian.Uint64(r.take(8))
	}
	if r.bad || count == 0 {
		return nil, nil, fmt.Errorf("%w: history segment: %w", errDamaged, errTable)
	}
	recs, sizes = make([]stream.Record, count), make([]int, count)
	var seq stream.Seq
	for i := range recs {
		seq += stream.Seq(r.uvarint())
		recs[i].Seq = seq
	}
	var ms int64
	for i := range recs {
		ms += r.varint()
		recs[i].Time = time.UnixMilli(ms).UTC()
	}
	for i := range recs {
		recs[i].Stored = recs[i].Time.Add(time.Duration(r.varint()) * time.Millisecond)
	}
	for i := range recs {
		recs[i].User = r.name(users)
	}
	for i := range recs {
		recs[i].Conn = r.name(conns)
	}
	for i := range recs {
		recs[i].Merged = int(r.uvarint())
	}
	which := make([]int, count)
	for i := range recs {
		w := r.uvarint()
		if w > uint64(len(writers)) {
			r.bad = true
			break
		}
		which[i] = int(w)
	}
	next := make([]uint64, len(writers))
	for i := range recs {
		w := which[i]
		if w == 0 {
			continue
		}
		if next[w-1] == 0 {
			next[w-1] = 1
		}
		n := next[w-1] + uint64(r.varint())
		recs[i].Sum = stream.Sum{Writer: writers[w-1], N: n}
		next[w-1] = n + 1
	}
	for i := range recs {
		n := r.uvarint()
		if n > 1<<31 {
			r.bad = true
			break
		}
		sizes[i] = int(n)
	}
	if r.bad || len(r.b) != 0 {
		return nil, nil, fmt.Errorf("%w: history segment: %w", errDamaged, errTable)
	}
	return recs, sizes, nil
}

// names numbers strings from 1 in order of first use; the empty string is 0.
type names struct {
	list []string
	ids  map[string]uint64
}

func (n *names) index(s string) uint64 {
	if s == "" {
		return 0
	}
	if i, ok := n.ids[s]; ok {
		return i
	}
	if n.ids == nil {
		n.ids = make(map[string]uint64)
	}
	n.list = append(n.list, s)
	n.ids[s] = uint64(len(n.list))
	return uint64(len(n.list))
}

func (n *names) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(n.list)))
	for _, s := range n.list {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// writerTable numbers writers from 1 and tracks the next expected counter of each.
type writerTable struct {
	list []uint64
	next []uint64
	ids  map[uint64]uint64
}

func (t *writerTable) index(w uint64) (i, next uint64) {
	i, ok := t.ids[w]
	if !ok {
		if t.ids == nil {
			t.ids = make(map[uint64]uint64)
		}
		t.list, t.next = append(t.list, w), append(t.next, 1)
		i = uint64(len(t.list))
		t.ids[w] = i
	}
	return i, t.next[i-1]
}

func (t *writerTable) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.list)))
	for _, w := range t.list {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b
}

// tableReader reads a table written by pack. After the first fault it yields zeros and bad is set.
type tableReader struct {
	b   []byte
	bad bool
}

func (r *tableReader) uvarint() uint64 {
	n, w := binary.Uvarint(r.b)
	if w <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[w:]
	return n
}

func (r *tableReader) varint() int64 {
	n, w := binary.Varint(r.b)
	if w <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[w:]
	return n
}

// count reads the number of entries in a list whose entries take at least size bytes each.
func (r *tableReader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *tableReader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, n)
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *tableReader) strings() []string {
	list := make([]string, r.count(1))
	for i := range list {
		list[i] = string(r.take(r.count(1)))
	}
	return list
}

func (r *tableReader) name(list []string) string {
	i := r.uvarint()
	if i > uint64(len(list)) {
		r.bad = true
	}
	if i == 0 || r.bad {
		return ""
	}
	return list[i-1]
}
