package blockfile_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	start := time.Now().UnixNano()
	looked := 0
	o := blockfile.WipeOptions{Stream: "S", Progress: func(files, all int) { looked = files*10 + all },
		Dead: func(m blockfile.Message) bool {
			if m.Time <= 0 || m.Time > start {
				t.Errorf("message %d was stored at %d", m.Seq, m.Time)
			}
			return string(m.Subject) == "s.secret" && m.Seq <= end
		}}
	over, stop := context.WithCancel(ctx)
	stop()
	if w, err := blockfile.Wipe(over, dir, o); w != (blockfile.Wiped{Left: 3}) || err != nil {
		t.Errorf("Wipe when the time is over = %+v, %v; want 3 files left", w, err)
	}
	o.After = 3
	w, err := blockfile.Wipe(ctx, dir, o)
	if err != nil || w.Files != 0 {
		t.Errorf("Wipe after the third = %+v, %v; want nothing looked at", w, err)
	}
	o.After = 0
	if w, err = blockfile.Wipe(ctx, dir, o); err != nil || w != (blockfile.Wiped{Files: 3, Messages: 201, Last: 3}) || looked != 33 {
		t.Errorf("Wipe = %+v, %v; want 201 messages of 3 files; progress %d", w, err, looked)
	}
	if n := holding(); n != 0 {
		t.Errorf("%d times the text is left", n)
	}
	if w, err := blockfile.Wipe(ctx, dir, o); w.Messages != 0 || err != nil {
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

// TestWipeThatACrashCutShort: the new block is there wholly or not at all, whatever of it was written before the crash.
func TestWipeThatACrashCutShort(t *testing.T) {
	dir, path := store(t)
	whole := read(t, path)
	write(t, path+".tmp", whole[:len(whole)/3])
	if _, found := check(t, dir); len(found) != 0 || !bytes.Equal(read(t, path), whole) {
		t.Errorf("found %+v beside a new block that was not finished", found)
	}
	if _, err := os.Stat(path + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("the unfinished block is still there: %v", err)
	}
	// The old file is not written to before the new one has its name, or a crash would leave wrong checksums.
	old := path + ".old"
	if err := os.Link(path, old); err != nil {
		t.Fatal(err)
	}
	o := blockfile.WipeOptions{Stream: "S", Dead: func(m blockfile.Message) bool { return m.Seq%3 == 0 }}
	if w, err := blockfile.Wipe(t.Context(), dir, o); err != nil || w.Messages < 60 {
		t.Fatalf("Wipe = %+v, %v", w, err)
	}
	was, err := os.Stat(old)
	if err != nil {
		t.Fatal(err)
	}
	if is, err := os.Stat(path); err != nil || os.SameFile(was, is) {
		t.Errorf("the block was written in place: %v", err)
	}
	if b := read(t, old); !bytes.Equal(b, read(t, path)) {
		t.Error("the old file holds other bytes than the new one: what was erased lies there yet")
	}
	if _, found := check(t, dir); len(found) != 0 {
		t.Errorf("found %+v in a wiped block", found)
	}
}

// TestWhatCannotBeWipedIsCounted: nothing is passed over in silence.
func TestWhatCannotBeWipedIsCounted(t *testing.T) {
	dir, path := store(t)
	whole := read(t, path)
	o := blockfile.WipeOptions{Stream: "S", Dead: func(m blockfile.Message) bool { return true }}
	second := filepath.Join(filepath.Dir(path), "2.blk")
	for name, c := range map[string]struct {
		damage func()
		want   blockfile.Wiped
		sealed int
	}{
		"encrypted":  {func() { write(t, strings.TrimSuffix(path, ".blk")+".key", []byte("key")) }, blockfile.Wiped{Files: 2, Sealed: 1, Last: 2}, 1},
		"compressed": {func() { write(t, path, append([]byte("cmp"), whole...)) }, blockfile.Wiped{Files: 2, Sealed: 1, Last: 2}, 1},
		"cut":        {func() { write(t, path, whole[:20]) }, blockfile.Wiped{Files: 2, Unread: 1, Last: 2}, 0},
	} {
		write(t, path, whole)
		write(t, second, nil)
		os.Remove(strings.TrimSuffix(path, ".blk") + ".key")
		c.damage()
		before := read(t, path)
		if w, err := blockfile.Wipe(t.Context(), dir, o); w != c.want || err != nil {
			t.Errorf("%s: Wipe = %+v, %v; want %+v", name, w, err, c.want)
		}
		if !bytes.Equal(read(t, path), before) {
			t.Errorf("%s: the file was changed", name)
		}
		if rep, _ := check(t, dir); rep.Sealed != c.sealed {
			t.Errorf("%s: Check = %+v, want %d sealed", name, rep, c.sealed)
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
		w, err := blockfile.Wipe(b.Context(), dir, blockfile.WipeOptions{Stream: "S",
			Dead: func(m blockfile.Message) bool { return string(m.Subject) == "s.77" }})
		if err != nil || w.Files == 0 {
			b.Fatal(w, err)
		}
	}
}
