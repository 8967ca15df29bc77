package stream

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"yjet/internal/natstest"
)

func TestWriterThatRestedTakesANewName(t *testing.T) {
	l, _ := open(t, Config{})
	ctx := within(t, 10*time.Second)
	w := l.Writer("rest")
	for i := range 3 {
		if i == 2 {
			w.mu.Lock()
			w.last = time.Now().Add(-writerRest - time.Minute)
			w.mu.Unlock()
		}
		if _, err := appendAll(ctx, w, Entry{Update: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	got := checkLog(t, l, "rest")
	if got[1].Sum.Writer != got[0].Sum.Writer || got[1].Sum.N != 2 {
		t.Errorf("the second record is by %v, want number 2 of %v", got[1].Sum, got[0].Sum)
	}
	if got[2].Sum.Writer == got[0].Sum.Writer || got[2].Sum.N != 1 {
		t.Errorf("the record after the rest is by %v, want number 1 of a new writer", got[2].Sum)
	}
}

func TestEraseRecordsTakesSingleRecords(t *testing.T) {
	l, _ := open(t, Config{}, natstest.Process)
	ctx := within(t, 10*time.Second)
	seqs, err := appendAll(ctx, l.Writer("doc"), Entry{Update: []byte("a")}, Entry{Update: []byte("b")}, Entry{Update: []byte("c")})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.EraseRecords(ctx, "doc", seqs[1], seqs[1], seqs[2]+100); err != nil {
		t.Errorf("erase records, one twice and one that is not there: %v", err)
	}
	var left []Seq
	for r, err := range l.Replay(ctx, "doc", 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, r.Seq)
	}
	if len(left) != 2 || left[0] != seqs[0] || left[1] != seqs[2] {
		t.Errorf("left are %v, want %d and %d", left, seqs[0], seqs[2])
	}
}

// TestEraseOverwritesScatteredRecords: the records lie all over a block that NATS has no reason to write anew, because most of it is
// another document's and alive.
func TestEraseOverwritesScatteredRecords(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, Config{Shards: 1}, natstest.Process, natstest.StoreDir(dir))
	l.eraseTime = time.Minute // a busy machine overwrites slowly
	secret, other := l.Writer("secret"), l.Writer("neighbour")
	neighbour := bytes.Repeat([]byte("neighbour "), 8<<10)
	const n, kept = 100, 64 // 5 MB of 8 are the neighbour's
	for i := range n {
		mustAppend(t, secret, fmt.Sprintf("SECRET %d", i))
		if i < kept {
			mustAppend(t, other, string(neighbour))
		}
	}
	if len(natstest.FilesWith(t, dir, "SECRET")) == 0 {
		t.Fatal("the text is in no file before it is erased: the test looks in the wrong place")
	}
	if err := l.Erase(within(t, 2*time.Minute), "secret"); err != nil {
		t.Fatal(err)
	}
	if got := natstest.FilesWith(t, dir, "SECRET"); len(got) != 0 {
		t.Errorf("the text is still in %q", got)
	}
	if got := len(replay(t, l, "neighbour", 0, 0)); got != kept {
		t.Errorf("the neighbour has %d records, want %d", got, kept)
	}
}
