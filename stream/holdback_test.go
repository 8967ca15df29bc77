package stream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// storedBy stores a record under a writer's name past the committer, as the copies of a batch whose acknowledgement is still to come.
func storedBy(t *testing.T, l *Log, doc Doc, writer, n uint64, update string) {
	t.Helper()
	path := doc.Path()
	e := Entry{Update: []byte(update)}
	m := &nats.Msg{
		Subject: l.shardOf(path).no.Subject(name.Log, path),
		Header:  e.header(doc, path, Sum{CRC: checksum(e.Update), Writer: writer, N: n}, 0),
		Data:    e.Update,
	}
	if _, err := jet.Publish(within(t, 10*time.Second), l.nc, m); err != nil {
		t.Fatal(err)
	}
}

// fed waits until the feed has taken in what was stored until now: a record of another document of the same shard comes by.
func fed(t *testing.T, l *Log, mark *sink) {
	t.Helper()
	n := mark.len()
	storedBy(t, l, "mark", 7, uint64(n)+1, "mark")
	eventually(t, "the feed", func() bool { return mark.len() > n })
}

func TestUnprovenRecordsAreHeldBackUntilTheyAreAcknowledged(t *testing.T) {
	l, _ := open(t, Config{Shards: 1})
	tl, s := tail(t, l, "d")
	_, mark := tail(t, l, "mark")
	hold := &l.shardOf(Doc("d").Path()).holdback
	const batch, other = 41, 42

	hold.begin(batch)
	storedBy(t, l, "d", other, 1, "before")
	storedBy(t, l, "d", batch, 1, "a")
	storedBy(t, l, "d", batch, 2, "b")
	storedBy(t, l, "d", other, 2, "after")
	fed(t, l, mark)
	if got := s.len(); got != 1 {
		t.Fatalf("%d records came, want the one before the batch", got)
	}
	// Whoever reads the log now stops there, too.
	late, lateSink := tail(t, l, "d")
	tl.Check()
	fed(t, l, mark)
	if s.len() != 1 || lateSink.len() != 1 || late.Seq() != tl.Seq() {
		t.Fatalf("%d and %d records came, want the one before the batch", s.len(), lateSink.len())
	}
	hold.end(batch, false)
	eventually(t, "all records", func() bool { return s.len() == 4 && lateSink.len() == 4 })
	sameAsLog(t, l, "d", s)
	sameAsLog(t, l, "d", lateSink)
}

func TestWhatAFailedBatchLeftIsReadWhenTheStoreIsWellAgain(t *testing.T) {
	l, _ := open(t, Config{Shards: 1})
	_, s := tail(t, l, "d")
	_, mark := tail(t, l, "mark")
	hold := &l.shardOf(Doc("d").Path()).holdback
	const batch = 41

	hold.begin(batch)
	storedBy(t, l, "d", batch, 1, "a")
	hold.end(batch, true)
	fed(t, l, mark)
	if got := s.len(); got != 0 {
		t.Fatalf("%d records came of a batch that failed", got)
	}
	mustAppend(t, l.Writer("x"), "something is synced")
	eventually(t, "what the log has of it", func() bool { return s.len() == 1 })
	sameAsLog(t, l, "d", s)
	if n := hold.count.Load(); n != 0 {
		t.Errorf("records of %d writers are held back, want none", n)
	}
}

// An append that failed without a word, as when the connection went with its acknowledgement, keeps nobody waiting for what others
// store behind it.
func TestWhatOthersStoreBehindAFailedAppendIsShown(t *testing.T) {
	l, srv := open(t, Config{})
	other := openOn(t, srv, Config{}).Writer("d")
	_, s := tail(t, l, "d")
	hold := &l.shardOf("d").holdback
	hold.begin(other.id)
	mustAppend(t, other, "maybe", "more")
	time.Sleep(200 * time.Millisecond)
	if s.len() != 0 {
		t.Fatal("shown before anything is known of it: the test tests nothing")
	}
	hold.end(other.id, true)
	eventually(t, "what is stored to be shown", func() bool { return s.len() == 2 })
}
