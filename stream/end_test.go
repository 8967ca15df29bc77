package stream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yjet/internal/natstest"
)

// TestALogThatLostItsEndIsNotBegunAgain puts the store back to an earlier copy under an open log, as a power cut without sync
// does: no sequence is given twice, and who follows the document is told.
func TestALogThatLostItsEndIsNotBegunAgain(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	l, srv := open(t, Config{Shards: 1}, natstest.StoreDir(store))
	w := l.Writer("d")
	mustAppend(t, w, "1", "2", "3")
	srv.Stop()
	copyDir(t, store, store+".copy")
	srv.Restart()
	_, s := tail(t, l, "d")
	_, quiet := tail(t, l, "e")
	for n := range 30 {
		mustAppend(t, w, fmt.Sprint("later ", n))
	}
	last := mustAppend(t, l.Writer("x"), "the end")[0]
	eventually(t, "all records", func() bool { return s.len() == 33 })
	srv.Stop()
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(store+".copy", store); err != nil {
		t.Fatal(err)
	}
	srv.Restart()
	eventually(t, "the tail to fail", func() bool { return s.failed() != nil })
	if !errors.Is(s.failed(), ErrRewound) {
		t.Errorf("got %v, want ErrRewound", s.failed())
	}
	if got := mustAppend(t, l.Writer("d"), "again")[0]; got <= last {
		t.Errorf("appended at %d, want above %d", got, last)
	}
	if quiet.failed() != nil {
		t.Errorf("the tail of a document that lost nothing: %v", quiet.failed())
	}
	if l.Epoch("d") != 2 {
		t.Errorf("epoch is %d, want 2", l.Epoch("d"))
	}
	h := l.Health(within(t, 5*time.Second))
	if len(h.LostEnds) != 1 || !strings.Contains(h.LostEnds[0], "YDOC_00") || h.Err != nil {
		t.Errorf("health is %+v, want the lost end told", h)
	}
	recs := replay(t, l, "d", 0, 0)
	if len(recs) != 4 || string(recs[3].Update) != "again" {
		t.Errorf("the log holds %d records, want 4", len(recs))
	}
	docs, err := l.Docs(within(t, 5*time.Second), "", "", 0)
	if err != nil || len(docs) != 1 || docs[0].Doc != "d" {
		t.Errorf("documents: %+v, %v; want d alone", docs, err)
	}
}

// TestALogThatIsGoneAtStartIsNotBegunAgain deletes a stream between two runs.
func TestALogThatIsGoneAtStartIsNotBegunAgain(t *testing.T) {
	srv := natstest.Start(t)
	l := openOn(t, srv, Config{Shards: 1})
	var last Seq
	for range 3 {
		seqs, err := appendAll(within(t, 10*time.Second), l.Writer("d"), make([]Entry, 700)...)
		if err != nil {
			t.Fatal(err)
		}
		last = seqs[len(seqs)-1]
	}
	if err := l.MarkShard(within(t, 5*time.Second), "d", last-1000); err != nil { // a fold knew this much
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // a clean end marks all
		t.Fatal(err)
	}
	other := openOn(t, srv, Config{})
	if other.Epoch("d") != 1 || len(other.Health(within(t, 5*time.Second)).LostEnds) != 0 {
		t.Errorf("a log that is whole: epoch %d, %v", other.Epoch("d"), other.Health(within(t, 5*time.Second)).LostEnds)
	}
	if err := streams(t, other).DeleteStream(within(t, 5*time.Second), "YDOC_00"); err != nil {
		t.Fatal(err)
	}
	other.Close()
	l = openOn(t, srv, Config{})
	if got := mustAppend(t, l.Writer("d"), "new")[0]; got <= last {
		t.Errorf("appended at %d, want above %d", got, last)
	}
	if l.Epoch("d") != 2 || len(l.Health(within(t, 5*time.Second)).LostEnds) != 1 {
		t.Errorf("epoch %d, health %v; want 2, and the lost end told", l.Epoch("d"), l.Health(within(t, 5*time.Second)).LostEnds)
	}
	if n := len(replay(t, l, "d", 0, 0)); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
