package blockfile

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Wiped counts what Wipe did.
type Wiped struct {
	Files    int // looked at
	Messages int // overwritten
	Unread   int // files that could not be read to their end: damaged, or compressed
}

// Dead tells whether a message is to be overwritten: it must be true of none that the stream still has. subject is valid during the
// call only. An error ends the Wipe; of the file at hand nothing is overwritten then.
type Dead = func(ctx context.Context, subject []byte, seq uint64) (bool, error)

// Wipe overwrites messages of one stream that the server has deleted, and whose bytes it leaves in its files until it rewrites them.
// dead is asked about each message in the files. Nobody else may have the store open. Wipe stops between two files when ctx ends. What
// it did until then it also returns beside an error.
//
// A message becomes what the server's own secure delete makes of one (filestore.go, eraseMsg): of the same length, marked as
// erased, without subject, random inside, with a checksum that is right; only the time stays. It is written in place. No checksum is wrong for
// longer than one write takes: first the mark and a checksum that fits it, which the disk has before anything else is touched, then the rest.
// Check finishes what a crash left between the two, and so does the next Wipe.
func Wipe(ctx context.Context, dir, stream string, dead Dead) (Wiped, error) {
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
		if err := b.wipe(ctx, &w, &buf, dead); err != nil {
			return w, fmt.Errorf("wipe %s: %w", b.path, err)
		}
	}
	return w, nil
}

func (b *block) wipe(ctx context.Context, w *Wiped, buf *bytes.Buffer, dead Dead) (err error) {
	f, err := os.OpenFile(b.path, os.O_RDWR, 0)
	if err != nil {
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
			if !b.newest { // whose end a crash may have cut short
				w.Unread++
			}
			break
		}
		seq := binary.LittleEndian.Uint64(rec[4:])
		subject := rec[headSize:][:binary.LittleEndian.Uint16(rec[20:])]
		switch {
		case seq&isTombstone != 0:
		case seq&isErased != 0:
			if half(rec) || s.intact(rec) == nil { // the one before did not come to its end
				found = append(found, at)
			}
		default:
			yes, err := dead(ctx, subject, seq)
			if err != nil {
				return err
			}
			if yes && s.intact(rec) != nil {
				found = append(found, at)
			}
		}
		at += len(rec)
	}
	if len(found) == 0 {
		return nil
	}
	for _, step := range []func(rec []byte){s.mark, s.wipe} {
		for _, at := range found {
			rec := shaped(data[at:])
			step(rec)
			if _, err := f.WriteAt(rec, int64(at)); err != nil {
				return err
			}
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	w.Messages += len(found)
	return nil
}

// mark makes a record one that is erased, with all that it holds: one bit, and the checksum. Either alone is what mend looks for.
func (s *summer) mark(rec []byte) {
	rec[markAt] |= markBit
	copy(rec[len(rec)-sumSize:], s.sum(rec))
}

// wipe overwrites what such a record holds.
func (s *summer) wipe(rec []byte) {
	le := binary.LittleEndian
	le.PutUint32(rec, uint32(len(rec)))
	rec[markAt] |= markBit
	le.PutUint16(rec[20:], 0)
	rand.Read(rec[headSize : len(rec)-sumSize])
	copy(rec[len(rec)-sumSize:], s.sum(rec))
}

// half tells what mark left and wipe has not come to. What the server erases has neither subject nor header.
func half(rec []byte) bool {
	le := binary.LittleEndian
	return marked(rec) && (le.Uint32(rec)&hasHeader != 0 || le.Uint16(rec[20:]) != 0)
}

func marked(rec []byte) bool {
	return binary.LittleEndian.Uint64(rec[4:])&(isErased|isTombstone) == isErased
}

// halfWiped tells a record that begins rest and that a crash kept from its end of wipe: what follows is whole, or another of the kind.
func (s *summer) halfWiped(rec, rest []byte) bool {
	if rec == nil || !marked(rec) {
		return false
	}
	rest = rest[len(rec):]
	next := shaped(rest)
	return len(rest) == 0 || next != nil && (marked(next) || s.intact(next) != nil)
}
