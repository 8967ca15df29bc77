package blockfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math/bits"

	"github.com/minio/highwayhash"
)

const (
	headSize  = 22 // before the subject
	sumSize   = 8
	maxRecord = 32 << 20 // nats-server's own bound

	hasHeader   = 1 << 31 // in the length
	isErased    = 1 << 63 // in the sequence
	isTombstone = 1 << 62
)

// summer computes the checksums of one block.
type summer struct {
	h   hash.Hash
	buf [sumSize]byte
}

func newSummer(stream string, index int) (*summer, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, index))
	h, err := highwayhash.New64(key[:])
	return &summer{h: h}, err
}

// sum returns the checksum that the record must end with.
func (s *summer) sum(rec []byte) []byte {
	subject := int(binary.LittleEndian.Uint16(rec[20:]))
	body := rec[headSize : len(rec)-sumSize]
	s.h.Reset()
	s.h.Write(rec[4:20])
	s.h.Write(body[:subject])
	body = body[subject:]
	if binary.LittleEndian.Uint32(rec)&hasHeader != 0 {
		body = body[4:]
	}
	s.h.Write(body)
	return s.h.Sum(s.buf[:0])
}

// compressed reports whether a block is compressed (filestore.go, CompressionInfo).
func compressed(block []byte) bool { return bytes.HasPrefix(block, []byte("cmp")) }

// shaped returns the record at the start of b if its lengths are consistent, else nil.
func shaped(b []byte) []byte {
	if len(b) < headSize+sumSize {
		return nil
	}
	length := binary.LittleEndian.Uint32(b)
	inner := int(binary.LittleEndian.Uint16(b[20:]))
	if length&hasHeader != 0 {
		inner += 4
	}
	n := int(length &^ hasHeader)
	if n > maxRecord || n > len(b) || n < headSize+inner+sumSize {
		return nil
	}
	return b[:n]
}

// intact returns the record at the start of b, or nil if its lengths or its checksum are wrong.
func (s *summer) intact(b []byte) []byte {
	rec := shaped(b)
	if rec == nil || !bytes.Equal(s.sum(rec), rec[len(rec)-sumSize:]) {
		return nil
	}
	return rec
}

// mendWork bounds the bytes hashed in the search for one bit: about a tenth of a second.
const mendWork = 256 << 20

// nextTries is the number of sequences tried after that of the record before: messages in between may be deleted.
const nextTries = 256

// mend looks for the one bit that makes the record at the start of b intact, or for its sequence if that is all that is wrong, and
// corrects it. It returns the offset and the length of the changed bytes. Length 0: there is no such bit, or the record is too large to
// try every bit. last is the sequence of the record before.
func (s *summer) mend(b []byte, last uint64) (at, n int) {
	if at := s.mendBit(b); at >= 0 {
		return at, 1
	}
	rec := shaped(b)
	if rec == nil {
		return 0, 0
	}
	was := binary.LittleEndian.Uint64(rec[4:])
	from := last + 1
	if following := shaped(b[len(rec):]); last == 0 && following != nil { // the first of its block
		from = max(binary.LittleEndian.Uint64(following[4:])&^(isErased|isTombstone), nextTries) - nextTries
	}
	for i := range uint64(nextTries) {
		binary.LittleEndian.PutUint64(rec[4:], from+i)
		if s.intact(b) != nil {
			return 4, 8
		}
		if len(rec)*int(i) > mendWork {
			break
		}
	}
	binary.LittleEndian.PutUint64(rec[4:], was)
	return 0, 0
}

// mendBit returns the index of the byte in which it flipped a bit, or -1.
func (s *summer) mendBit(b []byte) (at int) {
	if rec := shaped(b); rec != nil {
		var diff int
		sum := rec[len(rec)-sumSize:]
		for i, c := range s.sum(rec) {
			diff += bits.OnesCount8(c ^ sum[i])
			if c != sum[i] {
				at = len(rec) - sumSize + i
			}
		}
		if diff == 1 {
			b[at] = s.buf[at-(len(rec)-sumSize)]
			return at
		}
	}
	work := 0
	for at := 0; at < min(len(b), maxRecord); at++ {
		for bit := range 8 {
			b[at] ^= 1 << bit
			rec := shaped(b)
			if work += len(rec); rec != nil && at < len(rec) && s.intact(b) != nil {
				return at
			}
			b[at] ^= 1 << bit
			if work > mendWork {
				return -1
			}
		}
		if rec := shaped(b); at >= headSize && (rec == nil || at >= len(rec)) {
			break // the bit is in none of the lengths, and behind the record
		}
	}
	return -1
}
