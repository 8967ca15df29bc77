package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yjet/internal/natstest"
)

// TestEraseWipesWhatWasTrimmedBefore: the records went out of the log before the document was erased, and lie in blocks that NATS has
// no reason to write anew, because most of each is another document's and alive.
func TestEraseWipesWhatWasTrimmedBefore(t *testing.T) {
	dir := t.TempDir()
	srv := natstest.Start(t, natstest.Process, natstest.StoreDir(dir))
	l := openOn(t, srv, Config{Shards: 1, Wiper: srv.Wipe})
	ctx := within(t, 2*time.Minute)
	secret, other := l.Writer("secret"), l.Writer("neighbour")
	neighbour := string(bytes.Repeat([]byte("neighbour "), 8<<10))
	const n, kept = 100, 200 // 16 MB, two blocks
	var last Seq
	for i := range kept {
		if i < n {
			last = mustAppend(t, secret, fmt.Sprintf("SECRET %d", i))[0]
		}
		mustAppend(t, other, neighbour)
	}
	if err := l.Trim(ctx, "secret", last); err != nil {
		t.Fatal(err)
	}
	subject := l.ChunkSubject("secret", "ATTEMPT1", 0)
	for _, text := range []string{"SECRET snapshot", "SECRET snapshot of later"} {
		if _, err := l.PutBlob(ctx, subject, Blob{Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.MetaPut(ctx, "version.secret.SECRET", []byte(`{"is":"SECRET"}`), nil); err != nil {
		t.Fatal(err)
	}
	if len(natstest.FilesWith(t, dir, "SECRET")) < 3 {
		t.Fatal("the text is in no file before it is erased: the test looks in the wrong place")
	}
	if err := l.MetaPurge(ctx, "version.secret."); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := l.Erase(ctx, "secret"); err != nil {
		t.Fatal(err)
	}
	t.Logf("erased in %v", time.Since(start))
	if got := natstest.FilesWith(t, dir, "SECRET"); len(got) != 0 {
		t.Errorf("the text is still in %q", got)
	}
	if _, n, err := l.Wipe(ctx, "secret", "neighbour"); n != 0 || err != nil {
		t.Errorf("Wipe afterwards = %d, %v; want nothing to do", n, err)
	}

	// New content of the name is not touched, and what is taken out of its middle goes.
	var fresh []Seq
	for i := range 3 {
		fresh = append(fresh, mustAppend(t, secret, fmt.Sprintf("fresh %d", i))[0])
	}
	if err := l.Remove(ctx, "secret", fresh[1]); err != nil {
		t.Fatal(err)
	}
	if got := natstest.FilesWith(t, dir, "fresh 1"); len(got) != 0 {
		t.Errorf("the removed record is still in %q", got)
	}
	if _, n, err := l.Wipe(ctx, "secret", "neighbour"); n != 0 || err != nil {
		t.Errorf("Wipe with new content = %d, %v; want nothing to do", n, err)
	}
	for range 2 {
		if got := len(replay(t, l, "neighbour", 0, 0)); got != kept {
			t.Errorf("the neighbour has %d records, want %d", got, kept)
		}
		if got := replay(t, l, "secret", 0, 0); len(got) != 2 || string(got[0].Update) != "fresh 0" || string(got[1].Update) != "fresh 2" {
			t.Errorf("the new content is %v", got)
		}
		srv.Restart()
	}
}

// TestEraseThatCannotWipeYet: the document is gone all the same, and the log says what is still to do.
func TestEraseThatCannotWipeYet(t *testing.T) {
	l, srv := open(t, Config{}, natstest.Process)
	broken := errors.New("disk on fire")
	l = openOn(t, srv, Config{Wiper: func(context.Context, string, func(context.Context, []byte, uint64) (bool, error)) (int, int, error) {
		return 0, 0, broken
	}})
	ctx := within(t, 20*time.Second)
	seq := mustAppend(t, l.Writer("secret"), "SECRET")[0]
	if err := l.Erase(ctx, "secret"); err != nil {
		t.Errorf("Erase = %v", err)
	}
	if head, err := l.Head(ctx, "secret"); head != 0 || err != nil {
		t.Errorf("head %d, %v; want none, it was %d", head, err, seq)
	}
	if _, _, err := l.Wipe(ctx, "secret"); !errors.Is(err, broken) {
		t.Errorf("Wipe = %v, want the Wiper's error", err)
	}
}

func TestSubjectsOfADocument(t *testing.T) {
	l, _ := open(t, Config{Shards: 2}, natstest.Process)
	kinds := l.shards[1].kinds()
	logs, snaps, hist, meta := kinds[0], kinds[1], kinds[2], kinds[3]
	for _, c := range []struct {
		k       kin
		subject string
		want    string
	}{
		{logs, "ydoc.01.a-b", "a-b"}, {logs, "ydoc.00.a-b", ""}, {logs, "ydoc.01.a.b", ""}, {logs, "ydoc.01.", ""}, {logs, "", ""},
		{snaps, "ysnap.01.doc", "doc"}, {snaps, "ysnap.01.doc.ATTEMPT.0", "doc"}, {snaps, "yhist.01.doc", ""},
		{hist, "yhist.01.doc.1.2.ATTEMPT", "doc"}, {hist, "yhist.01.doc", ""},
		{meta, "$KV.ymeta.version.doc.name", "doc"}, {meta, "$KV.ymeta.erased.doc", ""}, {meta, "$KV.ymeta.version.doc", ""}, {meta, "$KV.ymeta.shard.01.mark", ""},
	} {
		if got := string(c.k.token([]byte(c.subject))); got != c.want {
			t.Errorf("%q is of %q, want %q", c.subject, got, c.want)
		}
	}
}

// everything is what all streams hold, message by message.
func everything(t *testing.T, l *Log) map[string]string {
	t.Helper()
	ctx := within(t, 30*time.Second)
	all := map[string]string{}
	names := l.js.StreamNames(ctx)
	for name := range names.Name() {
		s, err := l.js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		state := s.CachedInfo().State
		n := uint64(0)
		for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
			if m, err := s.GetMsg(ctx, seq); err == nil {
				n++
				all[fmt.Sprintf("%s %d", name, seq)] = fmt.Sprintf("%s %v %q", m.Subject, m.Header, m.Data)
			}
		}
		if n != state.Msgs {
			t.Errorf("%s: %d messages can be read of %d", name, n, state.Msgs)
		}
	}
	if err := names.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestWipeLeavesEverythingElse: whatever names the documents have, and whatever is stored about them, what the streams hold after an
// erasure they hold after the next start too, with and without their index.
func TestWipeLeavesEverythingElse(t *testing.T) {
	dir := t.TempDir()
	srv := natstest.Start(t, natstest.Process, natstest.StoreDir(dir))
	l := openOn(t, srv, Config{Shards: 2, Wiper: srv.Wipe})
	ctx := within(t, 2*time.Minute)
	docs := []Doc{"a", "b", "a/b", "version", "erased", "ymeta", "ydoc", "00", "01", "mark", "shard", "probe", Doc(l.Node()), "ä ö", "A", "a.b", "heads"}
	for i, doc := range docs {
		token := doc.Token()
		seq := mustAppend(t, l.Writer(doc), "SECRET 1", "SECRET 2", "SECRET 3")[2]
		if i%2 == 0 {
			if err := l.Trim(ctx, doc, seq); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.PutBlob(ctx, l.ChunkSubject(doc, NewAttempt(), 0), Blob{Data: []byte("SECRET")}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.PutBlob(ctx, l.SegmentSubject(doc, 1, seq, NewAttempt()), Blob{Data: []byte("SECRET")}); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"version." + token + ".v1", "erased." + token, "other." + token + ".x", token} {
			if _, err := l.MetaPut(ctx, key, []byte("of "+token), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, doc := range docs {
		if i%3 == 2 {
			continue
		}
		if err := l.MetaPurge(ctx, "version."+doc.Token()+"."); err != nil {
			t.Fatal(err)
		}
		if err := l.Erase(ctx, doc); err != nil {
			t.Fatal(err)
		}
		if i%3 == 1 {
			mustAppend(t, l.Writer(doc), "fresh")
		}
	}
	want := everything(t, l)
	if wiped, _, err := l.Wipe(ctx, docs...); len(wiped) != len(docs) || err != nil {
		t.Errorf("Wipe = %q, %v; want all %d", wiped, err, len(docs))
	}
	for _, index := range []bool{true, false} {
		srv.Stop()
		if !index {
			list, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "index.db"))
			if err != nil || len(list) == 0 {
				t.Fatalf("indexes %q, %v", list, err)
			}
			for _, path := range list {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
		srv.Restart()
		again := openOn(t, srv, Config{})
		got := everything(t, again)
		for at, m := range want {
			if got[at] != m && !strings.Contains(at, presBucket) {
				t.Errorf("index %v: %s is %s, was %s", index, at, got[at], m)
			}
		}
		again.Close()
	}
}
