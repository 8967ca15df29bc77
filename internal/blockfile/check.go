package blockfile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxGap is the maximum number of sequences missing between two records of a block. A block holds some 80,000 of the smallest
// messages; the server spends 4 bytes on each that is missing.
const maxGap = 1 << 20

// Kind is the result for a broken record.
type Kind int

const (
	Mended Kind = iota // one bit, or its sequence, was wrong and was put right: nothing is lost
	Fenced             // its sequence would have filled the server's memory: the message is out of the count, and lost unless it is mended
	Broken             // not repairable; left unchanged
	Torn               // the end of the newest block: a write that a crash cut short, which the server drops
)

func (k Kind) String() string { return [...]string{"mended", "fenced", "broken", "torn"}[k] }

// Finding is a broken record.
type Finding struct {
	Kind   Kind
	Stream string
	File   string // path
	At     int64  // offset of the record, bytes
	Seq    uint64 // of the last intact record before it in the file, 0: none
}

// Report counts the checked files and records.
type Report struct {
	Files, Left int // Left: not yet checked when ctx ended
	Sealed      int // encrypted or compressed: not checked
	Records     int
	Bytes       int64
}

// Check compares every message in the block files of a store directory (nats-server's store_dir) with its checksum, the newest file
// first, until ctx ends, which is not an error. With repair it corrects broken records in place where it can, with one write of a few
// bytes each; without, it changes no file. No other process may have the store open. found is called for each broken record. Check
// returns errors of the file system only.
func Check(ctx context.Context, dir string, repair bool, found func(Finding)) (Report, error) {
	return each(ctx, dir, func(b *block, buf []byte, rep *Report) error { return b.check(buf, rep, repair, found) })
}

// Fence finds sequences that would make the server fill memory when it loads a block, and changes them so that the server skips those
// messages. It reads only the heads of the messages, the newest file first, until ctx ends, which is not an error. Otherwise it works
// like Check. It also finds a block whose records are not contiguous, but no damage inside a message.
func Fence(ctx context.Context, dir string, found func(Finding)) (Report, error) {
	return each(ctx, dir, func(b *block, buf []byte, rep *Report) error { return b.fence(buf, rep, found) })
}

// each calls f with the bytes of every block. It removes the temporary file of a rewrite that a kill interrupted: the server neither
// reads nor removes it.
func each(ctx context.Context, dir string, f func(b *block, buf []byte, rep *Report) error) (Report, error) {
	var rep Report
	if err := tidy(dir); err != nil {
		return rep, err
	}
	blocks, err := list(dir, "*")
	if err != nil {
		return rep, err
	}
	var buf bytes.Buffer
	for i, b := range blocks {
		if ctx.Err() != nil {
			rep.Left = len(blocks) - i
			break
		}
		rep.Files++
		if b.encrypted {
			rep.Sealed++
			continue
		}
		file, err := os.Open(b.path)
		if err != nil {
			return rep, err
		}
		buf.Reset()
		_, err = buf.ReadFrom(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return rep, err
		}
		rep.Bytes += int64(buf.Len())
		if compressed(buf.Bytes()) {
			rep.Sealed++
			continue
		}
		if err := f(&b, buf.Bytes(), &rep); err != nil {
			return rep, err
		}
	}
	return rep, nil
}

// tidy removes the new files that the server had not renamed yet (filestore.go, compactWithFloor and atomicOverwriteFile): the block
// itself is whole as long as they are there.
func tidy(dir string) error {
	for _, name := range []string{"[0-9]*.new", "[0-9]*.blk.tmp"} {
		paths, err := filepath.Glob(filepath.Join(escape(dir), "jetstream", "*", "streams", "*", "msgs", name))
		if err != nil {
			return err
		}
		for _, p := range paths {
			if err := os.Remove(p); err != nil {
				return fmt.Errorf("remove what was left half written: %w", err)
			}
		}
	}
	return nil
}

type block struct {
	path, stream string
	index        int
	newest       bool // of its stream
	encrypted    bool
	changed      time.Time
}

// list finds the blocks of a stream ("*": of all) in all accounts, the newest first.
func list(dir, stream string) ([]block, error) {
	paths, err := filepath.Glob(filepath.Join(escape(dir), "jetstream", "*", "streams", stream, "msgs", "*.blk"))
	if err != nil {
		return nil, err
	}
	newest := make(map[string]int)
	var blocks []block
	for _, p := range paths {
		index, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(p), ".blk"))
		if err != nil {
			continue
		}
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		_, keyErr := os.Stat(strings.TrimSuffix(p, ".blk") + ".key")
		msgs := filepath.Dir(p)
		newest[msgs] = max(newest[msgs], index)
		blocks = append(blocks, block{path: p, stream: filepath.Base(filepath.Dir(msgs)), index: index, encrypted: keyErr == nil, changed: info.ModTime()})
	}
	for i := range blocks {
		blocks[i].newest = newest[filepath.Dir(blocks[i].path)] == blocks[i].index
	}
	slices.SortFunc(blocks, func(a, b block) int { return cmp.Or(b.changed.Compare(a.changed), cmp.Compare(a.path, b.path)) })
	return blocks, nil
}

// escape keeps the path of the store from being read as a pattern.
func escape(path string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(path)
}

func (b *block) check(buf []byte, rep *Report, repair bool, found func(Finding)) error {
	s, err := newSummer(b.stream, b.index)
	if err != nil {
		return err
	}
	var last uint64 // sequence
	find := func(kind Kind, at int) {
		found(Finding{Kind: kind, Stream: b.stream, File: b.path, At: int64(at), Seq: last})
	}
	for at := 0; at < len(buf); {
		rest := buf[at:]
		rec := s.intact(rest)
		if rec == nil {
			if i, n := s.mend(rest, last); n > 0 {
				if !repair {
					find(Broken, at)
				} else if err := b.write(at+i, rest[i:i+n]); err != nil {
					return err
				} else {
					find(Mended, at)
				}
				rec = s.intact(rest)
			}
		}
		if rec == nil {
			if rec = shaped(rest); rec == nil || at+len(rec) < len(buf) && s.intact(rest[len(rec):]) == nil {
				// The start of the next record is unknown.
				if b.newest && rec == nil {
					find(Torn, at)
				} else {
					find(Broken, at)
				}
				return nil
			}
			if repair && tooFar(rec, last) {
				if err := b.takeOut(at, rec, last); err != nil {
					return err
				}
				find(Fenced, at)
			} else {
				find(Broken, at)
			}
		} else {
			last = next(rec, last)
		}
		rep.Records++
		at += len(rec)
	}
	return nil
}

func (b *block) fence(buf []byte, rep *Report, found func(Finding)) error {
	var last uint64 // sequence
	find := func(kind Kind, at int) {
		found(Finding{Kind: kind, Stream: b.stream, File: b.path, At: int64(at), Seq: last})
	}
	for at := 0; at < len(buf); {
		rec := shaped(buf[at:])
		switch {
		case rec == nil && b.newest:
			find(Torn, at)
			return nil
		case rec == nil:
			find(Broken, at)
			return nil
		case tooFar(rec, last), last == 0 && ahead(rec, buf[at+len(rec):]):
			s, err := newSummer(b.stream, b.index)
			if err != nil {
				return err
			}
			if s.intact(rec) != nil || last == 0 && !s.seqFlipped(rec) {
				last = next(rec, last)
				break
			}
			if err := b.takeOut(at, rec, last); err != nil {
				return err
			}
			find(Fenced, at)
		default:
			last = next(rec, last)
		}
		rep.Records++
		at += len(rec)
	}
	return nil
}

// tooFar reports whether a sequence is so far ahead that the server would fill memory up to it, four bytes per sequence.
func tooFar(rec []byte, last uint64) bool {
	seq := binary.LittleEndian.Uint64(rec[4:])
	return seq&isTombstone == 0 && last > 0 && seq&^isErased > last+maxGap
}

// ahead tells a sequence at the beginning of a block that may be too far: that of the next record is lower, or there is none.
func ahead(rec, rest []byte) bool {
	seq := binary.LittleEndian.Uint64(rec[4:])
	following := shaped(rest)
	return seq&isTombstone == 0 && (following == nil || binary.LittleEndian.Uint64(following[4:])&^(isErased|isTombstone) < seq&^isErased)
}

// seqFlipped reports whether a record is intact but for one bit of its sequence.
func (s *summer) seqFlipped(rec []byte) bool {
	for i := range 64 {
		at, bit := 4+i/8, byte(1)<<(i%8)
		rec[at] ^= bit
		found := s.intact(rec) != nil
		rec[at] ^= bit
		if found {
			return true
		}
	}
	return false
}

// next returns the highest sequence up to and including a record.
func next(rec []byte, last uint64) uint64 {
	if seq := binary.LittleEndian.Uint64(rec[4:]); seq&isTombstone == 0 {
		return max(last, seq&^isErased)
	}
	return last
}

// takeOut gives a record the sequence of the one before, or 0: the server skips a sequence that it has already read. Check finds the
// right sequence again.
func (b *block) takeOut(at int, rec []byte, last uint64) error {
	binary.LittleEndian.PutUint64(rec[4:], last)
	return b.write(at+4, rec[4:12])
}

// write overwrites bytes of the block's file and syncs it.
func (b *block) write(at int, data []byte) error {
	f, err := os.OpenFile(b.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, int64(at))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("put %s right: %w", b.path, err)
	}
	return nil
}
