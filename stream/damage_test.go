package stream

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yjet/internal/natstest"
)

// TestDamageInTheStoreIsNeverSilent damages bytes in the stream's block: each time the Checker finds that a record is
// damaged or missing, or nothing that matters was hit and all is there.
func TestDamageInTheStoreIsNeverSilent(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	l, srv := open(t, Config{Shards: 1}, natstest.StoreDir(store))
	const n = 60
	w := l.Writer("d")
	payload := func(i int) string { return fmt.Sprintf("payload %d %s", i, strings.Repeat("x", 100)) }
	for i := range n {
		mustAppend(t, w, payload(i))
	}
	mustAppend(t, l.Writer("e"), "the end of the block")
	blocks, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "YDOC_00", "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks: %q, %v", blocks, err)
	}
	whole := func() (int, error) {
		t.Helper()
		var c Checker
		recs := replay(t, l, "d", 0, 0)
		for i, r := range recs {
			if _, err := c.Add(r); err == nil && c.First == nil && string(r.Update) != payload(i) {
				t.Fatalf("record %d is %.20q and nobody noticed", i, r.Update)
			}
		}
		return len(recs), c.First
	}
	if n2, err := whole(); n2 != n || err != nil {
		t.Fatalf("before any damage: %d records, %v", n2, err)
	}
	found := 0
	for i := 3; i < n-3; i += 9 {
		srv.Stop()
		block, err := os.ReadFile(blocks[0])
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(block, []byte(payload(i)[:14]))
		if at < 0 {
			t.Fatalf("payload %d is not in the block", i)
		}
		hurt := bytes.Clone(block)
		hurt[at+20] ^= 1
		hurt[at+21] ^= 1 // one bit alone is put right when the store is opened
		if err := os.WriteFile(blocks[0], hurt, 0o644); err != nil {
			t.Fatal(err)
		}
		srv.Restart()
		eventually(t, "the store to be back", func() bool { return l.Health(within(t, 5e9)).Err == nil })
		got, err := whole()
		switch {
		case errors.Is(err, ErrLost), errors.Is(err, ErrDamaged):
			found++
		case got == n:
		default:
			t.Errorf("record %d damaged: %d of %d records, %v: a silent hole", i, got, n, err)
		}
		srv.Stop()
		if err := os.WriteFile(blocks[0], block, 0o644); err != nil {
			t.Fatal(err)
		}
		srv.Restart()
		eventually(t, "the store to be back", func() bool { return l.Health(within(t, 5e9)).Err == nil })
		if len(l.Health(within(t, 5e9)).LostEnds) > 0 {
			break // NATS rebuilt the stream without the damaged part: it is another log now
		}
	}
	if found == 0 {
		t.Error("no damage was found: the test proves nothing")
	}
	t.Logf("%d damaged records found", found)
}

func TestCheckerFindsHolesAndChangedBytes(t *testing.T) {
	rec := func(seq Seq, writer, n uint64, update string) Record {
		return Record{Seq: seq, Sum: Sum{checksum([]byte(update)), writer, n}, Update: []byte(update)}
	}
	damaged := rec(3, 1, 3, "c")
	damaged.Update = []byte("C")
	for _, c := range []struct {
		name    string
		partial bool
		resume  []Counter
		recs    []Record
		want    error
		dups    int
	}{
		{"whole", false, nil, []Record{rec(1, 1, 1, "a"), rec(2, 2, 1, "b"), rec(3, 1, 2, "c"), rec(9, 2, 2, "d")}, nil, 0},
		{"stored twice", false, nil, []Record{rec(1, 1, 1, "a"), rec(2, 1, 2, "b"), rec(3, 1, 1, "a"), rec(4, 1, 2, "b"), rec(5, 1, 3, "c")}, nil, 2},
		{"a count for two", false, nil, []Record{rec(1, 1, 1, "a"), rec(2, 1, 1, "b")}, ErrDamaged, 0},
		{"a hole", false, nil, []Record{rec(1, 1, 1, "a"), rec(2, 1, 3, "c")}, ErrLost, 0},
		{"the first is missing", false, nil, []Record{rec(1, 1, 2, "b")}, ErrLost, 0},
		{"changed bytes", false, nil, []Record{rec(1, 1, 1, "a"), rec(2, 1, 2, "b"), damaged}, ErrDamaged, 0},
		{"outside", false, nil, []Record{{Seq: 1, Update: []byte("x")}, rec(2, 1, 1, "a")}, nil, 0},
		{"resumed", false, []Counter{{Writer: 1, N: 7}}, []Record{rec(1, 1, 8, "a"), rec(2, 2, 1, "b")}, nil, 0},
		{"resumed, repeated", false, []Counter{{Writer: 1, N: 7}}, []Record{rec(1, 1, 7, "a"), rec(2, 1, 8, "b")}, nil, 1},
		{"resumed with a hole", false, []Counter{{Writer: 1, N: 7}}, []Record{rec(1, 1, 9, "a")}, ErrLost, 0},
		{"partial", true, nil, []Record{rec(1, 1, 5, "a"), rec(2, 1, 6, "b")}, nil, 0},
		{"partial with a hole", true, nil, []Record{rec(1, 1, 5, "a"), rec(2, 1, 7, "b")}, ErrLost, 0},
	} {
		k := Checker{Partial: c.partial}
		k.Resume(c.resume)
		for _, r := range c.recs {
			k.Add(r)
		}
		if !errors.Is(k.First, c.want) || (c.want == nil) != (k.First == nil) || k.Duplicates != c.dups || k.Records != len(c.recs) {
			t.Errorf("%s: %v with %d duplicates, want %v with %d", c.name, k.First, k.Duplicates, c.want, c.dups)
		}
	}
}

// flip damages the stored bytes of a payload while the server is down.
func flip(t *testing.T, srv *natstest.Server, store, stream, payload string) {
	t.Helper()
	srv.Stop()
	blocks, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks of %s: %q, %v", stream, blocks, err)
	}
	block, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(block, []byte(payload))
	if at < 0 {
		t.Fatalf("%q is not in %s", payload, blocks[0])
	}
	block[at] ^= 1
	block[at+1] ^= 1 // one bit alone is put right when the store is opened
	if err := os.WriteFile(blocks[0], block, 0o644); err != nil {
		t.Fatal(err)
	}
	srv.Restart()
}

// TestADamagedLastRecordIsNotANewDocument: NATS answers for a subject whose last message is damaged as for an empty one.
func TestADamagedLastRecordIsNotANewDocument(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	l, srv := open(t, Config{Shards: 1}, natstest.StoreDir(store))
	w := l.Writer("d")
	seqs := []Seq{mustAppend(t, w, "first record")[0], mustAppend(t, w, "second record")[0], mustAppend(t, w, "third record")[0]}
	other := mustAppend(t, l.Writer("e"), "another document")[0]
	_, old := tail(t, l, "d")
	ctx := within(t, 30*time.Second)
	if _, err := l.blobs.PutHead(ctx, "d", Blob{Data: []byte("snapshot head")}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := l.blobs.PutHead(ctx, "e", Blob{Data: []byte("of another")}, 0); err != nil {
		t.Fatal(err)
	}
	flip(t, srv, store, "YDOC_00", "third record")
	flip(t, srv, store, "YSNAP_00", "snapshot head")
	if h, err := l.Head(ctx, "d"); err != nil || h != seqs[1] {
		t.Errorf("head is %d, %v; want the last readable, %d", h, err, seqs[1])
	}
	if _, ok, err := l.blobs.Head(ctx, "d"); !errors.Is(err, ErrDamaged) || ok {
		t.Errorf("a damaged snapshot head: %v, %v, want ErrDamaged", ok, err)
	}
	if _, err := l.AppendIfNew(ctx, "d", Entry{Update: []byte("seed")}); !errors.Is(err, ErrConflict) {
		t.Errorf("seeding over a damaged record: %v, want ErrConflict", err)
	}
	docs, err := l.Docs(ctx, "", "", 0)
	if err != nil || len(docs) != 2 || docs[0].Last != seqs[1] || docs[1].Last != other {
		t.Errorf("documents: %+v, %v", docs, err)
	}
	// Who had the damaged record is told that the log lacks it.
	eventually(t, "the old tail to fail", func() bool { return old.failed() != nil })
	if !errors.Is(old.failed(), ErrRewound) {
		t.Errorf("the old tail: %v, want ErrRewound", old.failed())
	}
	// Who opens now goes on with what there is, also past the next record, which NATS takes for the first.
	tl, s := tail(t, l, "d")
	next := mustAppend(t, l.Writer("d"), "fourth record")[0]
	eventually(t, "the next record", func() bool { return tl.Seq() == next || s.failed() != nil })
	if s.failed() != nil || s.len() != 3 {
		t.Errorf("the new tail has %d records and failed with %v, want 3", s.len(), s.failed())
	}
	var c Checker
	for _, r := range replay(t, l, "d", 0, 0) {
		c.Add(r)
	}
	if c.Records != 3 {
		t.Errorf("%d records can be read, want 3", c.Records)
	}
}
