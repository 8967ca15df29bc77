package blockfile

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Wiped counts what Wipe did.
type Wiped struct {
	Files    int // looked at
	Messages int // overwritten
	Unread   int // files that could not be read to their end: damaged, or compressed
}

// Wipe overwrites messages of one stream that the server has deleted, and whose bytes it leaves in its files until it writes them
// anew. dead is called with the subject, valid during the call only, and the sequence of each message in the files, and must
// be true of none that the stream still has. The server may be running on the directory, but must be neither starting nor stopping,
// which is when it checks every message. It stops between two files when ctx ends. What it did until then it also returns beside
// an error.
//
// A message becomes what the server's own secure delete makes of one (filestore.go, eraseMsg): of the same length, marked as
// erased, without subject, random inside, with a checksum that is right; only the time stays. It is written in place. The server adds to a
// file behind what is there, or renames a new one over it, which holds no deleted message: neither is disturbed. The heads are on
// the disk before the bodies are touched, so that Check knows after a power cut what it finds, and finishes it.
func Wipe(ctx context.Context, dir, stream string, dead func(subject []byte, seq uint64) bool) (Wiped, error) {
	var w Wiped
	blocks, err := list(dir, stream)
	if err != nil {
		return w, err
	}
	var buf bytes.Buffer
	for _, b := range blocks {
		if err := ctx.Err(); err != nil {
			return w, context.Cause(ctx)
		}
		if err := b.wipe(&w, &buf, dead); err != nil {
			return w, fmt.Errorf("wipe %s: %w", b.path, err)
		}
	}
	return w, nil
}

func (b *block) wipe(w *Wiped, buf *bytes.Buffer, dead func(subject []byte, seq uint64) bool) (err error) {
	f, err := os.OpenFile(b.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the server had no use for it any more
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w.Files++
	buf.Reset()
	if _, err := buf.ReadFrom(f); err != nil && err != io.EOF {
		return err
	}
	data := buf.Bytes()
	if bytes.HasPrefix(data, []byte("cmp")) {
		w.Unread++
		return nil
	}
	s, err := newSummer(b.stream, b.index)
	if err != nil {
		return err
	}
	var found []int // offsets
	for at := 0; at < len(data); {
		rec := shaped(data[at:])
		if rec == nil {
			if !b.newest { // whose end may be on its way
				w.Unread++
			}
			break
		}
		seq := binary.LittleEndian.Uint64(rec[4:])
		subject := rec[headSize:][:binary.LittleEndian.Uint16(rec[20:])]
		if seq&(isErased|isTombstone) == 0 && dead(subject, seq) && s.intact(rec) != nil {
			found = append(found, at)
		}
		at += len(rec)
	}
	if len(found) == 0 {
		return nil
	}
	for _, at := range found {
		rec := shaped(data[at:])
		wipeHead(rec)
		if _, err := f.WriteAt(rec[:headSize], int64(at)); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	for _, at := range found {
		rec := shaped(data[at:])
		s.wipeBody(rec)
		if _, err := f.WriteAt(rec[headSize:], int64(at)+headSize); err != nil {
			return err
		}
	}
	w.Messages += len(found)
	return f.Sync()
}

// wipeHead marks a record as erased, without subject and header. Its checksum is wrong until wipeBody.
func wipeHead(rec []byte) {
	le := binary.LittleEndian
	le.PutUint32(rec, uint32(len(rec)))
	le.PutUint64(rec[4:], le.Uint64(rec[4:])|isErased)
	le.PutUint16(rec[20:], 0)
}

// hasWipedHead tells what wipeHead left, or a secure delete of the server.
func hasWipedHead(rec []byte) bool {
	le := binary.LittleEndian
	return le.Uint32(rec)&hasHeader == 0 && le.Uint64(rec[4:])&isErased != 0 && le.Uint16(rec[20:]) == 0
}

// wipeBody overwrites what such a record held, and puts its checksum right.
func (s *summer) wipeBody(rec []byte) {
	rand.Read(rec[headSize : len(rec)-sumSize])
	copy(rec[len(rec)-sumSize:], s.sum(rec))
}

// halfWiped tells a record that begins rest and that a crash kept from its wipeBody: what follows is whole, or another of the kind.
func (s *summer) halfWiped(rec, rest []byte) bool {
	if rec == nil || !hasWipedHead(rec) {
		return false
	}
	rest = rest[len(rec):]
	next := shaped(rest)
	return len(rest) == 0 || next != nil && (hasWipedHead(next) || s.intact(next) != nil)
}
