package blockfile_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/blockfile"
)

// contents are the messages that a stream has, as "sequence subject user data".
func contents(t testing.TB, js jetstream.JetStream) (list []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	info := s.CachedInfo().State
	for seq := info.FirstSeq; seq <= info.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			continue
		}
		list = append(list, fmt.Sprintf("%d %s %s %.40q", m.Sequence, m.Subject, m.Header.Get("Yjet-User"), m.Data))
	}
	if uint64(len(list)) != info.Msgs {
		t.Errorf("%d messages can be read, the stream counts %d", len(list), info.Msgs)
	}
	return list
}

// TestWipeLeavesWhatIsAlive: what was deleted goes from every file, also from the one that the server appends to next, and whatever
// becomes of the server's index the rest is there afterwards.
func TestWipeLeavesWhatIsAlive(t *testing.T) {
	dir, srv, js, s := running(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	put := func(subject string, data []byte) {
		t.Helper()
		m := nats.NewMsg(subject)
		m.Data = data
		if subject == "s.secret" && len(data)%2 == 0 {
			m.Header.Set("Yjet-User", "SECRET")
		}
		if _, err := js.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	// 20 MB, three blocks: nine parts of ten are kept, so the server has no reason to rewrite any of them.
	for i := range 200 {
		put("s.secret", fmt.Appendf(nil, "SECRET %0*d", i, i))
		put("s.kept", bytes.Repeat([]byte("kept "), 20<<10))
	}
	put("s.secret", bytes.Repeat([]byte("SECRET "), 50<<10))
	if err := s.Purge(ctx, jetstream.WithPurgeSubject("s.secret")); err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	end := info.State.LastSeq
	put("s.secret", []byte("new, in the old name."))
	before := contents(t, js)
	if len(before) != 201 {
		t.Fatalf("%d messages before, want 201", len(before))
	}
	holding := func() (n int) {
		blocks, _ := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "S", "msgs", "*.blk"))
		for _, b := range blocks {
			n += bytes.Count(read(t, b), []byte("SECRET"))
		}
		return n
	}
	srv.Stop()
	if holding() == 0 {
		t.Fatal("nothing is left by the purge: the test tests nothing")
	}
	dead := func(_ context.Context, subject []byte, seq uint64) (bool, error) {
		return string(subject) == "s.secret" && seq <= end, nil
	}
	w, err := blockfile.Wipe(ctx, dir, "S", dead)
	if err != nil || w.Messages != 201 || w.Files != 3 || w.Unread != 0 {
		t.Errorf("Wipe = %+v, %v; want 201 messages of 3 files", w, err)
	}
	if n := holding(); n != 0 {
		t.Errorf("%d times the text is left", n)
	}
	if w, err := blockfile.Wipe(ctx, dir, "S", dead); w.Messages != 0 || err != nil {
		t.Errorf("a second time = %+v, %v; want nothing to do", w, err)
	}
	same := func(when string) {
		t.Helper()
		srv.Restart()
		if got := contents(t, js); !slices.Equal(got, before) {
			t.Errorf("%s: %d messages are there, want the %d from before", when, len(got), len(before))
		}
	}
	same("after a start")
	srv.Stop()
	indexes, _ := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "S", "msgs", "index.db"))
	for _, f := range indexes {
		os.Remove(f)
	}
	if len(indexes) != 1 {
		t.Errorf("%d indexes, want one", len(indexes))
	}
	same("after a start without index")
	put("s.kept", []byte("one more"))
	after := contents(t, js)
	before = append(before, after[len(after)-1])
	same("with one more")
}

// TestWipeThatACrashCutShort: from the heads on the disk Check knows what the bodies are to be, however many of them were written.
func TestWipeThatACrashCutShort(t *testing.T) {
	dir, path := store(t)
	whole := read(t, path)
	if w, err := blockfile.Wipe(t.Context(), dir, "S", func(_ context.Context, _ []byte, seq uint64) (bool, error) { return seq%3 == 0 || seq > 195, nil }); err != nil || w.Messages < 60 {
		t.Fatalf("Wipe = %+v, %v", w, err)
	}
	wiped := read(t, path)
	if _, found := check(t, dir); len(found) != 0 {
		t.Fatalf("a whole wipe has %+v", found)
	}
	for _, every := range []int{1, 2, 5} {
		half := slices.Clone(wiped)
		n, torn := 0, 0
		for at := 0; at < len(whole); {
			size := int(binary.LittleEndian.Uint32(whole[at:]) &^ (1 << 31))
			if !bytes.Equal(whole[at:at+size], wiped[at:at+size]) {
				if n++; n%every == 0 { // its head was written, and the second half of its body at most
					copy(half[at+22:at+22+(size-22)/2], whole[at+22:])
					if every != 5 {
						copy(half[at+22:at+size], whole[at+22:])
					}
					torn++
				}
			}
			at += size
		}
		write(t, path, half)
		_, found := check(t, dir)
		if len(found) != torn {
			t.Errorf("%d findings, want one for each of %d", len(found), torn)
		}
		for _, f := range found {
			if f.Kind != blockfile.Finished {
				t.Fatalf("found %+v, want it finished", f)
			}
		}
		if _, again := check(t, dir); len(again) != 0 {
			t.Errorf("found again: %+v", again)
		}
		if after := read(t, path); bytes.Contains(after, []byte("message 5")) && !bytes.Contains(wiped, []byte("message 5")) {
			t.Error("a text is left")
		}
	}
}

// TestLeftoversOfABlockWrittenAnew: a kill leaves the server's new file beside the block, with all that was in it.
func TestLeftoversOfABlockWrittenAnew(t *testing.T) {
	dir, block := store(t)
	was := read(t, block)
	left := []string{strings.TrimSuffix(block, ".blk") + ".new", block + ".tmp"}
	for _, path := range left {
		write(t, path, was[:len(was)/2])
	}
	check(t, dir)
	for _, path := range left {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	if !bytes.Equal(read(t, block), was) {
		t.Error("the block is another one")
	}
}

// BenchmarkWipe looks through a stream of 64 MB in messages of 1 KiB, in which one document of a thousand is to be overwritten the first
// time, and nothing after.
func BenchmarkWipe(b *testing.B) {
	dir, srv, js, _ := running(b)
	const n = 64 << 10
	data := make([]byte, 1<<10)
	for i := range n {
		if _, err := js.PublishAsync(fmt.Sprint("s.", i%1000), data); err != nil {
			b.Fatal(err)
		}
		if i%500 == 499 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
	srv.Stop()
	b.SetBytes(n << 10)
	for b.Loop() {
		w, err := blockfile.Wipe(b.Context(), dir, "S", func(_ context.Context, subject []byte, seq uint64) (bool, error) {
			return string(subject) == "s.77", nil
		})
		if err != nil || w.Files == 0 {
			b.Fatal(w, err)
		}
	}
}

// TestWipeThatStoppedAtAnyWrite: of a mark, which is two places of a record, either may have reached the disk, and the rest of a wipe in part.
func TestWipeThatStoppedAtAnyWrite(t *testing.T) {
	dir, path := store(t)
	whole := read(t, path)
	dead := func(_ context.Context, _ []byte, seq uint64) (bool, error) { return seq%3 == 0 || seq > 195, nil }
	if _, err := blockfile.Wipe(t.Context(), dir, "S", dead); err != nil {
		t.Fatal(err)
	}
	wiped := read(t, path)
	key := sha256.Sum256([]byte("S-1"))
	const head, sum, mark = 22, 8, 1 << 7
	half := slices.Clone(whole)
	n, kinds := 0, map[blockfile.Kind]int{}
	for at := 0; at < len(whole); {
		length := binary.LittleEndian.Uint32(whole[at:])
		size := int(length &^ (1 << 31))
		rec, end := half[at:at+size], wiped[at:at+size]
		at += size
		if bytes.Equal(rec, end) {
			continue
		}
		rec[11] |= mark
		body := rec[head : size-sum]
		h, err := highwayhash.New64(key[:])
		if err != nil {
			t.Fatal(err)
		}
		h.Write(rec[4:20])
		subject := binary.LittleEndian.Uint16(rec[20:])
		h.Write(body[:subject])
		if body = body[subject:]; length&(1<<31) != 0 {
			body = body[4:]
		}
		h.Write(body)
		marked := h.Sum(nil)
		switch n++; n % 5 {
		case 0: // the mark
			kinds[blockfile.Mended]++
		case 1: // the checksum
			rec[11] &^= mark
			copy(rec[size-sum:], marked)
			kinds[blockfile.Mended]++
			kinds[blockfile.Finished]++
		case 2: // both
			copy(rec[size-sum:], marked)
			kinds[blockfile.Finished]++
		case 3: // and the first half of what followed
			copy(rec[size-sum:], marked)
			copy(rec, end[:size/2])
			kinds[blockfile.Finished]++
		case 4: // or the second
			copy(rec[size/2:], end[size/2:])
			kinds[blockfile.Finished]++
		}
	}
	write(t, path, half)
	if w, err := blockfile.Wipe(t.Context(), dir, "S", dead); err != nil || w.Messages < n/2 {
		t.Errorf("the next Wipe = %+v, %v", w, err)
	}
	write(t, path, half)
	_, found := check(t, dir)
	got := map[blockfile.Kind]int{}
	for _, f := range found {
		got[f.Kind]++
	}
	if !maps.Equal(got, kinds) {
		t.Errorf("found %v, want %v", got, kinds)
	}
	if _, again := check(t, dir); len(again) != 0 {
		t.Errorf("found again: %+v", again)
	}
	if w, err := blockfile.Wipe(t.Context(), dir, "S", dead); err != nil || w.Messages != n/5 {
		t.Errorf("Wipe afterwards = %+v, %v; want the %d of which the disk had the mark alone", w, err, n/5)
	}
	if after := read(t, path); bytes.Contains(after, []byte("message 5")) != bytes.Contains(wiped, []byte("message 5")) {
		t.Error("a text is left")
	}
}
