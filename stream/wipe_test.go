package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"yjet/internal/natstest"
)

// filesWith are the files of a directory that hold a text.
func filesWith(t *testing.T, dir, text string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && bytes.Contains(b, []byte(text)) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

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
	if len(filesWith(t, dir, "SECRET")) < 3 {
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
	if got := filesWith(t, dir, "SECRET"); len(got) != 0 {
		t.Errorf("the text is still in %q", got)
	}
	if n, err := l.Wipe(ctx, "secret", "neighbour"); n != 0 || err != nil {
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
	if got := filesWith(t, dir, "fresh 1"); len(got) != 0 {
		t.Errorf("the removed record is still in %q", got)
	}
	if n, err := l.Wipe(ctx, "secret", "neighbour"); n != 0 || err != nil {
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
	l = openOn(t, srv, Config{Wiper: func(context.Context, string, func([]byte, uint64) bool) (int, error) { return 0, broken }})
	ctx := within(t, 20*time.Second)
	seq := mustAppend(t, l.Writer("secret"), "SECRET")[0]
	if err := l.Erase(ctx, "secret"); err != nil {
		t.Errorf("Erase = %v", err)
	}
	if head, err := l.Head(ctx, "secret"); head != 0 || err != nil {
		t.Errorf("head %d, %v; want none, it was %d", head, err, seq)
	}
	if _, err := l.Wipe(ctx, "secret"); !errors.Is(err, broken) {
		t.Errorf("Wipe = %v, want the Wiper's error", err)
	}
}

func TestPartsOfASubject(t *testing.T) {
	for _, c := range []struct {
		subject string
		at      int
		want    string
	}{
		{"ydoc.00.a-b", 2, "a-b"}, {"ysnap.01.doc.ATTEMPT.0", 2, "doc"}, {"$KV.ymeta.version.doc.name", 3, "doc"},
		{"ydoc.00", 2, ""}, {"", 0, ""}, {"", 3, ""}, {"a..b", 1, ""},
	} {
		if got := string(tokenAt([]byte(c.subject), c.at)); got != c.want {
			t.Errorf("part %d of %q is %q, want %q", c.at, c.subject, got, c.want)
		}
	}
}
