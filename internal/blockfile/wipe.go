package blockfile

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// Message is a message in a block file.
type Message struct {
	Subject []byte // valid during the call
	Seq     uint64
	Time    int64 // when it was stored, Unix ns
}

// WipeOptions are the settings of Wipe.
type WipeOptions struct {
	Stream   string
	After    int                  // blocks up to this index are passed over
	Dead     func(Message) bool   // reports whether to overwrite a message; must return false for every message of the stream
	Progress func(files, all int) // called after each file, unless nil
}

// Wiped is the result of Wipe, as counts.
type Wiped struct {
	Files    int // looked at
	Messages int // overwritten
	Unread   int // files that could not be read to their end, because they are damaged
	Sealed   int // files that are encrypted or compressed: nothing in them is overwritten
	Left     int // files not looked at when ctx ended
	Last     int // index of the last block that was looked at
}

// Add adds the counts of another stream.
func (w *Wiped) Add(o Wiped) {
	w.Files += o.Files
	w.Messages += o.Messages
	w.Unread += o.Unread
	w.Sealed += o.Sealed
	w.Left += o.Left
}

// Wipe overwrites messages of one stream that the server has deleted, and whose bytes it leaves in its files until it rewrites them.
// No other process may have the store open. Wipe goes through the blocks from the lowest index to the highest, and stops between two
// when ctx ends, which is not an error. With an error it returns the counts so far.
//
// A message becomes the same as after the server's own secure delete (filestore.go, eraseMsg): of the same length, marked as
// erased, without subject, random inside, with a checksum that is right; only the time stays. The new block replaces the old one by a
// rename, as the server does it, so a power cut leaves one or the other. Then the bytes of the old file are overwritten where they lie,
// which nobody reads any more. A file system or a disk that writes elsewhere keeps what it keeps.
func Wipe(ctx context.Context, dir string, o WipeOptions) (Wiped, error) {
	var w Wiped
	if err := tidy(dir); err != nil {
		return w, err
	}
	blocks, err := list(dir, o.Stream)
	if err != nil {
		return w, err
	}
	blocks = slices.DeleteFunc(blocks, func(b block) bool { return b.index <= o.After })
	slices.SortFunc(blocks, func(a, b block) int { return cmp.Compare(a.index, b.index) })
	var buf bytes.Buffer
	for i, b := range blocks {
		if ctx.Err() != nil {
			w.Left = len(blocks) - i
			break
		}
		if err := b.wipe(&w, &buf, o.Dead); err != nil {
			return w, fmt.Errorf("wipe %s: %w", b.path, err)
		}
		w.Files++
		w.Last = b.index
		if o.Progress != nil {
			o.Progress(i+1, len(blocks))
		}
	}
	return w, nil
}

func (b *block) wipe(w *Wiped, buf *bytes.Buffer, dead func(Message) bool) (err error) {
	if b.encrypted {
		w.Sealed++
		return nil
	}
	f, err := os.OpenFile(b.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf.Reset()
	if _, err := buf.ReadFrom(f); err != nil {
		return err
	}
	data := buf.Bytes()
	if compressed(data) {
		w.Sealed++
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
		le := binary.LittleEndian
		m := Message{rec[headSize:][:le.Uint16(rec[20:])], le.Uint64(rec[4:]), int64(le.Uint64(rec[12:]))}
		if m.Seq&(isTombstone|isErased) == 0 && dead(m) && s.intact(rec) != nil {
			found = append(found, at)
		}
		at += len(rec)
	}
	if len(found) == 0 {
		return nil
	}
	for _, at := range found {
		s.wipe(shaped(data[at:]))
	}
	if err := Replace(b.path, data); err != nil {
		return err
	}
	w.Messages += len(found)
	if runtime.GOOS == "windows" {
		return nil
	}
	for _, at := range found {
		if _, err := f.WriteAt(shaped(data[at:]), int64(at)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Replace puts a file in the place of another at once: after a power cut there is the old one or the new one. It uses path + ".tmp".
func Replace(path string, data []byte) error {
	tmp := path + ".tmp" // which tidy removes after a crash
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir writes the names of a directory to the disk; Windows cannot, and needs not.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// wipe overwrites what a record holds.
func (s *summer) wipe(rec []byte) {
	le := binary.LittleEndian
	le.PutUint32(rec, uint32(len(rec)))
	le.PutUint64(rec[4:], le.Uint64(rec[4:])|isErased)
	le.PutUint16(rec[20:], 0)
	rand.Read(rec[headSize : len(rec)-sumSize])
	copy(rec[len(rec)-sumSize:], s.sum(rec))
}
