package blockfile_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/blockfile"
	"yjet/internal/natstest"
)

const messages = 200

// running is a server with an empty stream S for s.>, and its directory.
func running(t testing.TB) (dir string, srv *natstest.Server, js jetstream.JetStream, s jetstream.Stream) {
	t.Helper()
	dir = t.TempDir()
	srv = natstest.Start(t, natstest.Process, natstest.StoreDir(dir))
	js, err := jetstream.New(srv.Connect())
	if err == nil {
		s, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, srv, js, s
}

// store fills a stream, stops the server, and answers the store's directory and its one block file.
func store(t testing.TB) (dir, block string) {
	t.Helper()
	dir, srv, js, s := running(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := range messages {
		m := nats.NewMsg(fmt.Sprintf("s.%d", i%7))
		m.Data = fmt.Appendf(nil, "message %d", i)
		if i%3 > 0 {
			m.Header.Set("Yjet-User", fmt.Sprint("user", i))
		}
		if i == 50 {
			m.Data = make([]byte, 300<<10)
		}
		if _, err := js.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
		if i == 20 { // leaves an erased record, and a tombstone or a hole
			err := s.SecureDeleteMsg(ctx, 5)
			if err == nil {
				err = s.DeleteMsg(ctx, 7)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	srv.Stop()
	list, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "S", "msgs", "*.blk"))
	if err != nil || len(list) != 1 {
		t.Fatalf("blocks %q, %v; want one", list, err)
	}
	return dir, list[0]
}

func check(t testing.TB, dir string) (blockfile.Report, []blockfile.Finding) {
	t.Helper()
	var list []blockfile.Finding
	rep, err := blockfile.Check(t.Context(), dir, true, func(f blockfile.Finding) { list = append(list, f) })
	if err != nil {
		t.Fatal(err)
	}
	return rep, list
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWholeStoreIsLeftAlone(t *testing.T) {
	dir, path := store(t)
	before := read(t, path)
	rep, found := check(t, dir)
	if len(found) != 0 || rep.Left != 0 || rep.Files == 0 || rep.Records < messages || rep.Bytes < int64(len(before)) {
		t.Errorf("%+v and %+v in a whole store", rep, found)
	}
	if !bytes.Equal(before, read(t, path)) {
		t.Error("the file was changed")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if rep, _ := blockfile.Check(over, dir, true, nil); rep.Files != 0 || rep.Left == 0 {
		t.Errorf("%+v when the time is over, want nothing looked at", rep)
	}
	if rep, err := blockfile.Check(t.Context(), t.TempDir(), true, nil); rep.Files != 0 || err != nil {
		t.Errorf("%+v, %v of an empty directory", rep, err)
	}
}

// innerLengths are the offsets of the bytes that no checksum covers: how long the header of a record is, or the subject where there is
// no header. Another split of the same bytes is told by the log's own checksum; its records all have headers.
func innerLengths(b []byte) map[int]bool {
	set := make(map[int]bool)
	for at := 0; at < len(b); {
		length := binary.LittleEndian.Uint32(b[at:])
		if length&(1<<31) != 0 {
			from := at + 22 + int(binary.LittleEndian.Uint16(b[at+20:]))
			for i := range 4 {
				set[from+i] = true
			}
		} else {
			set[at+20], set[at+21] = true, true
		}
		at += int(length &^ (1 << 31))
	}
	return set
}

func TestEveryFlippedBitIsPutRight(t *testing.T) {
	dir, path := store(t)
	whole := read(t, path)
	uncovered := innerLengths(whole)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	large := bytes.Index(whole, make([]byte, 1000)) // inside the one message that is too large to try every bit of
	for i := range 2000 {
		at := i // every byte of the first records, then anywhere
		if i >= 1000 {
			at = rnd.IntN(len(whole))
		}
		if uncovered[at] || at > large && at < large+300<<10 {
			continue
		}
		b := bytes.Clone(whole)
		b[at] ^= 1 << rnd.IntN(8)
		write(t, path, b)
		_, found := check(t, dir)
		if len(found) != 1 || found[0].Kind != blockfile.Mended || found[0].Stream != "S" {
			t.Fatalf("byte %d: found %+v, want one mended", at, found)
		}
		if !bytes.Equal(read(t, path), whole) {
			t.Fatalf("byte %d: the file is not what it was", at)
		}
	}
}

func TestWrongSequenceIsFoundFromTheOneBefore(t *testing.T) {
	dir, path := store(t)
	whole := read(t, path)
	b := bytes.Clone(whole)
	head := headOf(t, b, 101)
	copy(b[head+4:head+12], "whatever")
	write(t, path, b)
	if _, found := check(t, dir); len(found) != 1 || found[0].Kind != blockfile.Mended || found[0].Seq != 100 {
		t.Errorf("found %+v, want one mended after 100", found)
	}
	if !bytes.Equal(read(t, path), whole) {
		t.Error("the file is not what it was")
	}
}

// headOf is the offset of a message's record.
func headOf(t *testing.T, b []byte, seq uint64) int {
	t.Helper()
	at := bytes.Index(b, fmt.Appendf(nil, "message %d", seq-1))
	head := bytes.LastIndex(b[:at], fmt.Appendf(nil, "s.%d", (seq-1)%7)) - 22
	if got := binary.LittleEndian.Uint64(b[head+4:]); got != seq {
		t.Fatalf("sequence %d where %d should be", got, seq)
	}
	return head
}

// TestImpossibleSequenceDoesNotFillMemory: the server would count up to it, four bytes a step. A look at the heads alone finds it, and a
// look that may change nothing tells of it.
func TestImpossibleSequenceDoesNotFillMemory(t *testing.T) {
	dir, path := store(t)
	b := read(t, path)
	head := headOf(t, b, 101)
	copy(b[head+12:], "no time")
	b[head+4+4] ^= 1<<3 | 1<<4
	for name, look := range map[string]func(found func(blockfile.Finding)) (blockfile.Report, error){
		"Fence": func(found func(blockfile.Finding)) (blockfile.Report, error) {
			return blockfile.Fence(t.Context(), dir, found)
		},
		"Check, repair": func(found func(blockfile.Finding)) (blockfile.Report, error) {
			return blockfile.Check(t.Context(), dir, true, found)
		},
		"Check": func(found func(blockfile.Finding)) (blockfile.Report, error) {
			return blockfile.Check(t.Context(), dir, false, found)
		},
	} {
		write(t, path, b)
		want := blockfile.Fenced
		if name == "Check" {
			want = blockfile.Broken
		}
		var found []blockfile.Finding
		rep, err := look(func(f blockfile.Finding) { found = append(found, f) })
		if err != nil || rep.Records < messages || len(found) != 1 || found[0].Kind != want || found[0].Seq != 100 {
			t.Fatalf("%s: %+v, found %+v, %v; want one %v after 100", name, rep, found, err, want)
		}
		if got := read(t, path); bytes.Equal(got, b) != (name == "Check") {
			t.Fatalf("%s: the file is the same: %v", name, bytes.Equal(got, b))
		}
	}
	if _, err := blockfile.Fence(t.Context(), dir, func(blockfile.Finding) {}); err != nil {
		t.Fatal(err)
	}
	srv := natstest.Start(t, natstest.Process, natstest.StoreDir(dir))
	js, err := jetstream.New(srv.Connect())
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetMsg(t.Context(), 100); err != nil || !strings.HasPrefix(string(m.Data), "message 99") {
		t.Errorf("message 100 is %v, %v", m, err)
	}
	if m, err := s.GetMsg(t.Context(), 200); err != nil || string(m.Data) != "message 199" {
		t.Errorf("message 200 is %v, %v", m, err)
	}
	if m, err := s.GetMsg(t.Context(), 101); err == nil {
		t.Errorf("message 101 is %v, want none", m)
	}
}

func TestDamageThatCannotBePutRightIsTold(t *testing.T) {
	dir, path := store(t)
	whole := read(t, path)
	middle := bytes.Index(whole, []byte("message 120"))
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		want   blockfile.Kind
	}{
		{"payload overwritten", func(b []byte) []byte { copy(b[middle:], "MESSAGE"); return b }, blockfile.Broken},
		{"512 bytes zeroed", func(b []byte) []byte { clear(b[middle : middle+512]); return b }, blockfile.Torn},
		{"cut", func(b []byte) []byte { return b[:middle] }, blockfile.Torn},
	} {
		t.Run(c.name, func(t *testing.T) {
			damaged := c.damage(bytes.Clone(whole))
			write(t, path, damaged)
			_, found := check(t, dir)
			if len(found) != 1 || found[0].Kind != c.want && !(c.want == blockfile.Torn && found[0].Kind == blockfile.Broken) {
				t.Errorf("found %+v, want one %v", found, c.want)
			}
			if !bytes.Equal(read(t, path), damaged) {
				t.Error("the file was changed")
			}
		})
	}
}

// BenchmarkCheck reads blocks from the page cache.
func BenchmarkCheck(b *testing.B) {
	dir, _ := store(b)
	var size int64
	for b.Loop() {
		rep, err := blockfile.Check(b.Context(), dir, false, nil)
		if err != nil {
			b.Fatal(err)
		}
		size = rep.Bytes
	}
	b.SetBytes(size)
}

// TestFirstSequenceOfABlockIsFencedAndFoundAgain: there is none before it to compare with.
func TestFirstSequenceOfABlockIsFencedAndFoundAgain(t *testing.T) {
	dir, path := store(t)
	whole := read(t, path)
	b := bytes.Clone(whole)
	b[4+5] ^= 1 << 3
	write(t, path, b)
	var found []blockfile.Finding
	if _, err := blockfile.Fence(t.Context(), dir, func(f blockfile.Finding) { found = append(found, f) }); err != nil || len(found) != 1 || found[0].Kind != blockfile.Fenced {
		t.Fatalf("Fence found %+v, %v; want the first record fenced", found, err)
	}
	if seq := binary.LittleEndian.Uint64(read(t, path)[4:]); seq != 0 {
		t.Errorf("the sequence is %d, want 0", seq)
	}
	if _, found := check(t, dir); len(found) != 1 || found[0].Kind != blockfile.Mended {
		t.Errorf("Check found %+v, want one mended", found)
	}
	if !bytes.Equal(read(t, path), whole) {
		t.Error("the file is not what it was")
	}
	b = bytes.Clone(whole)
	b[len(b)/2] ^= 1 // anywhere else
	write(t, path, b)
	if _, err := blockfile.Fence(t.Context(), dir, func(blockfile.Finding) {}); err != nil || !bytes.Equal(read(t, path), b) {
		t.Errorf("Fence changed what does not fill memory: %v", err)
	}
}
