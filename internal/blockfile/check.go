package blockfile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxGap is how many sequences may be missing between two records of a block. A block holds some 80,000 of the smallest
// messages; the server spends 4 bytes on each that is missing.
const maxGap = 1 << 20

// Kind says what became of a broken record.
type Kind int

const (
	Mended   Kind = iota // one bit, or its sequence, was wrong and was put right: nothing is lost
	Fenced               // its sequence would have filled the server's memory: the message is out of the count, and lost
	Broken               // left as it is
	Torn                 // the end of the newest block: a write that a crash cut short, which the server drops
	Finished             // an erased message that a crash left half overwritten: it is wholly now
)

func (k Kind) String() string {
	return [...]string{"mended", "fenced", "broken", "torn", "finished"}[k]
}

// Finding is a broken record.
type Finding struct {
	Kind   Kind
	Stream string
	File   string // path
	At     int64  // offset of the record, bytes
	Seq    uint64 // of the last intact record before it in the file, 0: none
}

// Report counts what was looked at.
type Report struct {
	Files, Left int // left: not looked at when the time was over
	Records     int
	Bytes       int64
}

// Check looks through the block files of a store directory (nats-server's store_dir), the newest first, until the time is over
// or ctx ends, and puts right what it can, in place. Nobody else may have the store open. found is called for each broken record.
// An error is one of the file system.
//
// It removes what a kill left of a block that was being written anew: the server neither reads nor removes it, and no Wipe looks there.
func Check(ctx context.Context, dir string, until time.Time, found func(Finding)) (Report, error) {
	var rep Report
	if err := tidy(dir); err != nil {
		return rep, err
	}
	blocks, err := list(dir, "*")
	if err != nil {
		return rep, err
	}
	for i, b := range blocks {
		if ctx.Err() != nil || time.Now().After(until) {
			rep.Left = len(blocks) - i
			break
		}
		rep.Files++
		if err := b.check(&rep, found); err != nil {
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
	changed      time.Time
}

// list finds the blocks of a stream ("*": of all) in all accounts that are neither encrypted nor of a kind we do not know.
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
		if _, err := os.Stat(strings.TrimSuffix(p, ".blk") + ".key"); err == nil {
			continue // encrypted
		}
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // of a server that is running
		} else if err != nil {
			return nil, err
		}
		msgs := filepath.Dir(p)
		newest[msgs] = max(newest[msgs], index)
		blocks = append(blocks, block{path: p, stream: filepath.Base(filepath.Dir(msgs)), index: index, changed: info.ModTime()})
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

func (b *block) check(rep *Report, found func(Finding)) error {
	buf, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	rep.Bytes += int64(len(buf))
	if bytes.HasPrefix(buf, []byte("cmp")) {
		return nil // compressed
	}
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
			if kind, i, n := s.mend(rest, last); n > 0 {
				if err := b.write(at+i, rest[i:i+n]); err != nil {
					return err
				}
				find(kind, at)
				rec = s.intact(rest)
			}
		}
		if rec != nil && half(rec) {
			s.wipe(rec)
			if err := b.write(at, rec); err != nil {
				return err
			}
			find(Finished, at)
		}
		if rec == nil {
			if rec = shaped(rest); rec == nil || at+len(rec) < len(buf) && s.intact(rest[len(rec):]) == nil {
				// Where the next record begins is not known.
				if b.newest && rec == nil {
					find(Torn, at)
				} else {
					find(Broken, at)
				}
				return nil
			}
			if seq := binary.LittleEndian.Uint64(rec[4:]); seq&isTombstone == 0 && last > 0 && seq&^isErased > last+maxGap {
				binary.LittleEndian.PutUint64(rec[4:], last) // the server passes over what it had already
				if err := b.write(at+4, rec[4:12]); err != nil {
					return err
				}
				find(Fenced, at)
			} else {
				find(Broken, at)
			}
		} else if seq := binary.LittleEndian.Uint64(rec[4:]); seq&isTombstone == 0 {
			last = max(last, seq&^isErased)
		}
		rep.Records++
		at += len(rec)
	}
	return nil
}

// write puts bytes right, on the disk.
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
