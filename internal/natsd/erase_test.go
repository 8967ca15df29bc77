package natsd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestFiltersMatchAsThoseOfNATS(t *testing.T) {
	for _, c := range []struct {
		filter, subject string
		want            bool
	}{
		{"ydoc.00.a", "ydoc.00.a", true}, {"ydoc.00.a", "ydoc.00.a.b", false}, {"ydoc.00.a.b", "ydoc.00.a", false}, {"ydoc.00.a", "ydoc.01.a", false},
		{"ysnap.00.part.*.*.a", "ysnap.00.part.X.0.a", true}, {"ysnap.00.part.*.*.a", "ysnap.00.part.X.0.b", false},
		{"ysnap.00.part.*.*.a", "ysnap.00.part.X.0.a.b", false}, {"ysnap.00.part.*.*.a", "ysnap.00.part.X.0", false},
		{"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "a", false}, {"a.>", "b.c", false}, {">", "a", true}, {"*", "", false}, {"a", "", false},
	} {
		if got := matches(c.filter, []byte(c.subject)); got != c.want {
			t.Errorf("%q matches %q: %v", c.filter, c.subject, got)
		}
	}
}

// filled is a stopped store with the streams A and B, each with subjects secret and kept in three blocks. All of secret is purged. It
// answers the last sequence of each stream then, and what was there.
func filled(t *testing.T, dir string) (last uint64, kept int) {
	t.Helper()
	s := run(t, dir)
	js := connect(t, s)
	const n = 200
	for _, name := range []string{"A", "B"} {
		st, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			for _, m := range []*nats.Msg{{Subject: name + ".secret", Data: fmt.Appendf(nil, "SECRET-%s %d", name, i)}, {Subject: name + ".kept", Data: bytes.Repeat([]byte("kept "), 20<<10)}} {
				if _, err := js.PublishMsg(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := st.Purge(t.Context(), jetstream.WithPurgeSubject(name+".secret")); err != nil {
			t.Fatal(err)
		}
		info, err := st.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		last = info.State.LastSeq
	}
	s.Stop()
	return last, n
}

func connect(t *testing.T, s *Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// blocksWith counts the block files that hold a text.
func blocksWith(t *testing.T, dir, text string) (n int) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("%d files, %v", len(list), err)
	}
	for _, path := range list {
		if b, err := os.ReadFile(path); err != nil {
			t.Fatal(err)
		} else if bytes.Contains(b, []byte(text)) {
			n++
		}
	}
	return n
}

// holds checks what a stream has, on a running server.
func holds(t *testing.T, js jetstream.JetStream, name, subject string, want int) {
	t.Helper()
	st, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for seq := uint64(1); ; got++ {
		m, err := st.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject(name+"."+subject))
		if err != nil {
			break
		}
		seq = m.Sequence + 1
	}
	if got != want {
		t.Errorf("%s has %d messages on %s, want %d", name, got, subject, want)
	}
}

// TestStartOverwritesWhatWasErased: what was noted, of the moment that it was noted at, and nothing else.
func TestStartOverwritesWhatWasErased(t *testing.T) {
	dir := t.TempDir()
	last, kept := filled(t, dir)
	s := run(t, dir)
	s.NoteErased(Erased{Stream: "A", Filter: "A.secret", First: 1, Last: last, At: time.Now()}, Erased{Stream: "A", Filter: "A.other", First: 1, Last: last, At: time.Now()})
	js := connect(t, s)
	if _, err := js.Publish(t.Context(), "A.secret", []byte("new content")); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if f, err := os.OpenFile(filepath.Join(dir, notesFile), os.O_APPEND|os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	} else if _, err = f.WriteString(`{"stream":"A","fil`); err != nil || f.Close() != nil { // as a power cut leaves it
		t.Fatal(err)
	}
	if blocksWith(t, dir, "SECRET-A") == 0 {
		t.Fatal("nothing is left by the purge: the test tests nothing")
	}
	js = connect(t, run(t, dir))
	if n := blocksWith(t, dir, "SECRET-A"); n != 0 {
		t.Errorf("%d files hold what was erased", n)
	}
	if blocksWith(t, dir, "SECRET-B") == 0 {
		t.Error("what nobody noted is overwritten too")
	}
	holds(t, js, "A", "secret", 1)
	holds(t, js, "A", "kept", kept)
	holds(t, js, "B", "kept", kept)
	if list, err := readNotes(dir); len(list) != 0 || err != nil {
		t.Errorf("notes afterwards: %+v, %v", list, err)
	}
}

// TestOverwritingThatRunsOutOfTimeGoesOnAtTheNextStart.
func TestOverwritingThatRunsOutOfTimeGoesOnAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	last, kept := filled(t, dir)
	var logs bytes.Buffer
	s, err := open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	note := Erased{Stream: "A", Filter: "A.secret", First: 1, Last: last, At: time.Now(), Done: 1}
	s.NoteErased(note)
	s.wipeErased(0)
	if list, err := readNotes(dir); len(list) != 1 || list[0].Done != 1 || err != nil {
		t.Errorf("notes after no time at all: %+v, %v; want the one", list, err)
	}
	if !strings.Contains(logs.String(), "not everything that was erased is overwritten") {
		t.Errorf("what is left is not told: %s", &logs)
	}
	all := blocksWith(t, dir, "SECRET-A")
	s.wipeErased(time.Minute)
	if n := blocksWith(t, dir, "SECRET-A"); n != 1 || all != 3 {
		t.Errorf("%d of %d files hold what was erased, want the first alone, which was done with", n, all)
	}
	note.Done = 0
	s.NoteErased(note)
	s.Stop()
	js := connect(t, run(t, dir))
	if n := blocksWith(t, dir, "SECRET-A"); n != 0 {
		t.Errorf("%d files hold what was erased", n)
	}
	holds(t, js, "A", "kept", kept)
}

// TestEraseDeadLeavesWhatTheStreamsHold: every stream, with and without the index of the server, and also what the last message of a file was.
func TestEraseDeadLeavesWhatTheStreamsHold(t *testing.T) {
	dir := t.TempDir()
	_, kept := filled(t, dir)
	s := run(t, dir)
	if _, err := EraseDead(t.Context(), Options{Dir: dir}, nil); err == nil {
		t.Error("EraseDead ran beside a server")
	}
	js := connect(t, s)
	st, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "C", Subjects: []string{"C.>"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ack, err := js.Publish(t.Context(), "C.kept", []byte("SECRET-C"))
		if err == nil {
			err = st.DeleteMsg(t.Context(), ack.Sequence)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.NoteErased(Erased{Stream: "A", Filter: "A.secret", First: 1, Last: 1, At: time.Now()})
	s.Stop()
	files := 0
	w, err := EraseDead(t.Context(), Options{Dir: dir}, func(string, int, int) { files++ })
	if err != nil || w.Messages < 400 || w.Files != files || w.Unread+w.Sealed+w.Left != 0 {
		t.Errorf("EraseDead = %+v, %v after %d files", w, err, files)
	}
	if n := blocksWith(t, dir, "SECRET"); n != 0 {
		t.Errorf("%d files hold what the streams do not", n)
	}
	if list, err := readNotes(dir); len(list) != 0 || err != nil {
		t.Errorf("notes afterwards: %+v, %v", list, err)
	}
	if w, err := EraseDead(t.Context(), Options{Dir: dir}, func(string, int, int) {}); err != nil || w.Messages != 0 {
		t.Errorf("a second time = %+v, %v; want nothing to do", w, err)
	}
	for _, index := range []bool{true, false} {
		list, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "index.db"))
		if err != nil || len(list) != 3 {
			t.Fatalf("indexes %q, %v", list, err)
		}
		for _, path := range list {
			if !index {
				os.Remove(path)
			}
		}
		s := run(t, dir)
		js := connect(t, s)
		for _, name := range []string{"A", "B"} {
			holds(t, js, name, "kept", kept)
			holds(t, js, name, "secret", 0)
		}
		holds(t, js, "C", "kept", 0)
		s.Stop()
	}
}

// TestEraseDeadLeavesWhatCannotBeRead: a message that a stream counts and cannot show is not dead.
func TestEraseDeadLeavesWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	path := filepath.Join(dir, "jetstream", "$G", "streams", "A", "msgs", "2.blk")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[bytes.Index(b, []byte("kept kept")):], "spoiled")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := EraseDead(ctx, Options{Dir: dir}, func(string, int, int) {})
	if err == nil || w.Messages != 0 {
		t.Errorf("EraseDead = %+v, %v; want a refusal", w, err)
	}
	if blocksWith(t, dir, "SECRET-A") == 0 {
		t.Error("files were overwritten all the same")
	}
}
