package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"yjet/internal/natstest"
	"yjet/stream"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*Server).startGoRoutine.func1"))
}

// long is set for the runs that take minutes.
var long = os.Getenv("YJET_LONG") != ""

// patience is how long a test may take.
func patience() time.Duration {
	if long {
		return time.Hour
	}
	return 10 * time.Minute
}

// house is a nats-server with a log and stores on it.
type house struct {
	t   testing.TB
	ctx context.Context
	srv *natstest.Server // nil with a cluster
	log *stream.Log
}

// newCluster is a house on three nodes.
func newCluster(t testing.TB) (*house, *natstest.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	t.Cleanup(cancel)
	c := natstest.StartCluster(t, natstest.Process)
	nc, bulk, err := stream.Dial(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); bulk.Close() })
	h := &house{t: t, ctx: ctx}
	if h.log, err = stream.Open(ctx, nc, bulk, stream.Config{Shards: 2, Replicas: 3, Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.log.Close() })
	return h, c
}

func newHouse(t testing.TB, opts ...natstest.Option) *house {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	t.Cleanup(cancel)
	h := &house{t: t, ctx: ctx, srv: natstest.Start(t, append([]natstest.Option{natstest.Process}, opts...)...)}
	h.log = h.open()
	return h
}

// open is another process on the same NATS.
func (h *house) open() *stream.Log {
	h.t.Helper()
	log, err := stream.Open(h.ctx, h.srv.Connect(), h.srv.Connect(), stream.Config{Embedded: true, Log: quiet()})
	if err != nil {
		h.t.Fatalf("open the log: %v", err)
	}
	h.t.Cleanup(func() { _ = log.Close() })
	return log
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError + 1}))
}

func (h *house) store(o Options) *Store {
	h.t.Helper()
	if o.Log == nil {
		o.Log = quiet()
	}
	s := New(h.log, o)
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			h.t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// author types into a document through a writer of its own.
type author struct {
	h      *house
	doc    stream.Doc
	user   string
	w      *stream.Writer
	client uint64
	clock  uint64
	at     time.Time // Yjet-Time of what comes next; zero: none
}

func (h *house) author(doc stream.Doc, user string) *author {
	return &author{h: h, doc: doc, user: user, w: h.log.Writer(doc), client: rand.Uint64N(1 << 32)}
}

// entry makes an insertion of text at the author's own end.
func (a *author) entry(text string) stream.Entry {
	u := insertion(a.client, a.clock, text)
	a.clock += uint64(len(text))
	return stream.Entry{User: a.user, Conn: a.user + "-conn", Update: u, Time: a.at}
}

func (a *author) types(texts ...string) []stream.Seq {
	a.h.t.Helper()
	entries := make([]stream.Entry, len(texts))
	for i, text := range texts {
		entries[i] = a.entry(text)
	}
	return a.append(entries...)
}

func (a *author) append(entries ...stream.Entry) []stream.Seq {
	a.h.t.Helper()
	seqs, err := a.try(entries...)
	if err != nil {
		a.h.t.Fatalf("append to %q: %v", a.doc, err)
	}
	return seqs
}

func (a *author) try(entries ...stream.Entry) (all []stream.Seq, err error) {
	for len(entries) > 0 {
		n := min(len(entries), 1000)
		done := make(chan error, 1)
		a.w.Append(a.h.ctx, entries[:n], func(seqs []stream.Seq, err error) { all = append(all, seqs...); done <- err })
		if err := <-done; err != nil {
			return all, err
		}
		entries = entries[n:]
	}
	return all, nil
}

// insertion is the update of one run of ASCII text in the root type "text", after the client's own former character.
func insertion(client, clock uint64, text string) []byte {
	b := []byte{1, 1}
	b = binary.AppendUvarint(b, client)
	b = binary.AppendUvarint(b, clock)
	if clock == 0 {
		b = append(b, 4, 1, 4)
		b = append(b, "text"...)
	} else {
		b = append(b, 0x84)
		b = binary.AppendUvarint(b, client)
		b = binary.AppendUvarint(b, clock-1)
	}
	b = binary.AppendUvarint(b, uint64(len(text)))
	b = append(b, text...)
	return append(b, 0)
}

func deletion(client, clock, n uint64) []byte {
	b := []byte{0, 1}
	b = binary.AppendUvarint(b, client)
	b = append(b, 1)
	b = binary.AppendUvarint(b, clock)
	return binary.AppendUvarint(b, n)
}

// filled is the whole of a document as a room would get it: one joined update.
func filled(t testing.TB, f stream.Filler, doc stream.Doc) []byte {
	t.Helper()
	got, err := f.Fill(context.Background(), doc, 0)
	if err != nil {
		t.Fatalf("fill %q: %v", doc, err)
	}
	return stateOf(t, got)
}

func stateOf(t testing.TB, f stream.Filled) []byte {
	t.Helper()
	good, bad := decodable(f.Records)
	if bad > 0 {
		t.Fatalf("%d of %d records do not decode", bad, len(f.Records))
	}
	u, err := compacted(f.Base, good)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// fold of the records alone, as the first thing that is true of a document.
func foldOf(t testing.TB, updates ...[]byte) []byte {
	t.Helper()
	u, err := compacted(nil, updates)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mustFold(t testing.TB, s *Store, doc stream.Doc) stream.Seq {
	t.Helper()
	n, err := s.Fold(context.Background(), doc)
	if err != nil {
		t.Fatalf("fold %q: %v", doc, err)
	}
	return n
}

func inLog(t testing.TB, log *stream.Log, doc stream.Doc) (seqs []stream.Seq) {
	t.Helper()
	for r, err := range log.Replay(context.Background(), doc, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, r.Seq)
	}
	return seqs
}

func TestFillOfAnUnknownDocumentIsEmpty(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	f, err := s.Fill(h.ctx, "nobody", 0)
	if err != nil || f.Base != nil || len(f.Records) != 0 || f.Head != 0 {
		t.Errorf("Fill = %+v, %v; want nothing", f, err)
	}
	if n, err := s.Fold(h.ctx, "nobody"); n != 0 || err != nil {
		t.Errorf("Fold = %d, %v; want 0, nil", n, err)
	}
}

func TestFoldStandsForTheLogAndKeepsItsNewestRecord(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("notes/todo.md", "ada")
	seqs := a.types("hello", " ", "world")
	before := filled(t, s, a.doc)

	n := mustFold(t, s, a.doc)
	if n != seqs[2] {
		t.Fatalf("fold covers %d, want %d", n, seqs[2])
	}
	if got := inLog(t, h.log, a.doc); len(got) != 1 || got[0] != n {
		t.Errorf("log after the fold holds %v, want [%d]", got, n)
	}
	f, err := s.Fill(h.ctx, a.doc, 0)
	if err != nil {
		t.Fatal(err)
	}
	if f.Upto != n || f.Head != n || len(f.Records) != 0 {
		t.Errorf("Fill = upto %d, head %d, %d records; want %d, %d, 0", f.Upto, f.Head, len(f.Records), n, n)
	}
	if !bytes.Equal(f.Base, before) {
		t.Errorf("base = %x, want %x", f.Base, before)
	}

	more := a.types("!")
	if f, err = s.Fill(h.ctx, a.doc, 0); err != nil || len(f.Records) != 1 || f.Records[0].Seq != more[0] || f.Head != more[0] {
		t.Errorf("Fill = %+v, %v; want the base and record %d", f, err, more[0])
	}
	if f, err = s.Fill(h.ctx, a.doc, n); err != nil || f.Base != nil || len(f.Records) != 1 {
		t.Errorf("Fill after %d = %+v, %v; want one record and no base", n, f, err)
	}
}

func TestHeadHasTheFormThatIsDocumented(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("a/b", "ada")
	a.types("hello")
	n := mustFold(t, s, a.doc)
	b, ok, err := h.log.Blobs().Head(h.ctx, a.doc)
	if err != nil || !ok {
		t.Fatalf("head: %v, %v", ok, err)
	}
	if got, want := b.Header["Yjet-Upto"], fmt.Sprint(n); got != want {
		t.Errorf("Yjet-Upto = %q, want %q", got, want)
	}
	if got, want := b.Header["Yjet-Sum"], sumOf(b.Data); got != want {
		t.Errorf("Yjet-Sum = %q, want %q", got, want)
	}
	if b.Header["Yjet-Epoch"] == "" || b.Header["Yjet-Info"] == "" || b.Header["Yjet-Parts"] != "" {
		t.Errorf("headers of an inline head = %v", b.Header)
	}
	if want := foldOf(t, insertion(a.client, 0, "hello")); !bytes.Equal(b.Data, want) {
		t.Errorf("payload = %x, want the update %x", b.Data, want)
	}
}

func TestLargeStateLiesInChunks(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("big", "ada")
	text := make([]byte, 700<<10)
	for i := range text {
		text[i] = 'a' + byte(rand.IntN(26))
	}
	a.types(string(text))
	for _, word := range []string{"one", "two"} {
		a.types(word)
		before := filled(t, s, a.doc)
		mustFold(t, s, a.doc)
		if after := filled(t, s, a.doc); !bytes.Equal(before, after) {
			t.Errorf("the document changed in the fold: %d bytes, want %d", len(after), len(before))
		}
		head, _, err := s.snapHead(h.ctx, a.doc)
		if err != nil || len(head.info.Parts) != 2 {
			t.Fatalf("head lists %d chunks, %v; want 2", len(head.info.Parts), err)
		}
		h.wantBlobs(s, a.doc, head)
	}
}

// wantBlobs: what lies there is what the head names, no more and no less.
func (h *house) wantBlobs(s *Store, doc stream.Doc, head *head) {
	h.t.Helper()
	list, err := h.log.Blobs().List(h.ctx, doc)
	if err != nil {
		h.t.Fatal(err)
	}
	named := head.names()
	for _, subject := range list {
		if !named[subject] {
			h.t.Errorf("%s is there, and the head does not name it", subject)
		}
		delete(named, subject)
	}
	for subject := range named {
		h.t.Errorf("the head names %s, which is not there", subject)
	}
}

func TestQuietDocumentIsFolded(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{CompactAfter: 20 * time.Millisecond})
	a := h.author("quiet", "ada")
	seqs := a.types("so", "me", "th", "in", "g")
	s.Hint(a.doc, seqs[4], 150, 5, true)
	head := h.waitHead(s, a.doc, seqs[4])
	if head.info.Records != 5 {
		t.Errorf("the head counts %d records, want 5", head.info.Records)
	}
}

// A fold of a few small records costs more than it saves; many, or a large one, are folded once they are there.
func TestShortTailStaysInTheLog(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{CompactAfter: time.Millisecond})
	folds := func(doc stream.Doc, mode foldMode, want bool) {
		t.Helper()
		n, err := s.fold(h.ctx, doc, mode)
		if err != nil {
			t.Fatal(err)
		}
		if got := n > 0; got != want {
			t.Errorf("%s, mode %d: folded %v, want %v", doc, mode, got, want)
		}
	}
	a, large := h.author("few", "ada"), h.author("large", "ada")
	seqs := a.types("a", "b", "c", "d")
	s.Hint(a.doc, seqs[3], 100, 4, true)
	s.queue.mu.Lock()
	if k := s.docs[a.doc]; k != nil {
		t.Errorf("four small records of a quiet document: a fold is planned: %+v", k)
	}
	s.queue.mu.Unlock()
	folds(a.doc, whenQuiet, false)
	folds(a.doc, whenStale, false)
	if n, err := s.sweeper.foldStale(h.ctx, stream.DocInfo{Doc: a.doc, Last: seqs[3], LastAt: time.Now().Add(-2 * staleAfter)}); err != nil || n != 0 {
		t.Errorf("the sweep counts %d documents as folded, %v; want none", n, err)
	}
	ends := h.store(Options{CompactAfter: time.Hour, History: "30d"})
	b := h.author("ends", "ada")
	last := b.types("a")[0]
	if n, err := ends.fold(h.ctx, b.doc, whenQuiet); err != nil || n != last {
		t.Errorf("one record where history ends: folded through %d, %v; want %d", n, err, last)
	}
	large.types(strings.Repeat("x", openBytes+1))
	folds(large.doc, whenQuiet, true)
	seqs = a.types("e")
	folds(a.doc, whenQuiet, true)
	a.types("f")
	if n, err := s.fold(h.ctx, a.doc, whenQuiet); err != nil || n != seqs[0] {
		t.Errorf("one record after a fold: folded through %d, %v; want still %d", n, err, seqs[0])
	}
	if n, err := s.Fold(h.ctx, a.doc); err != nil || n <= seqs[0] {
		t.Errorf("asked for: folded through %d, %v; want more than %d", n, err, seqs[0])
	}
}

func (h *house) waitHead(s *Store, doc stream.Doc, upto stream.Seq) *head {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		head, _, err := s.snapHead(h.ctx, doc)
		if err != nil {
			h.t.Fatal(err)
		}
		if head != nil && head.upto >= upto {
			return head
		}
	}
	h.t.Fatalf("%q has no fold through %d after 20 s", doc, upto)
	return nil
}

func TestLongTailOfAnOpenDocumentIsFoldedOnce(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{CompactAfter: time.Hour})
	a := h.author("open", "ada")
	seqs := a.types(strings.Repeat("x", 70<<10))
	s.Hint(a.doc, seqs[0], 10<<10, 1, false)
	s.Hint(a.doc, seqs[0], 70<<10, 1, false)
	h.waitHead(s, a.doc, seqs[0])
	// The room goes on counting from where it was opened; the store knows what of that is folded.
	seqs = a.types("y")
	s.Hint(a.doc, seqs[0], 70<<10+30, 2, false)
	s.queue.mu.Lock()
	queued := s.docs[a.doc].queued
	s.queue.mu.Unlock()
	if queued {
		t.Error("a tail of 30 bytes after a fold is queued for another")
	}
}

func TestPausedDocumentIsNotFolded(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{CompactAfter: time.Millisecond})
	a := h.author("paused", "ada")
	seqs := a.types("a", "b", "c", "d", "e")
	for _, which := range []stream.Doc{a.doc, ""} {
		resume := s.Pause(which)
		if _, err := s.Fold(h.ctx, a.doc); !errors.Is(err, ErrPaused) {
			t.Errorf("Fold while %q is paused = %v, want ErrPaused", which, err)
		}
		s.Hint(a.doc, seqs[4], 150, 5, true)
		resume()
		resume() // a second call does nothing
	}
	h.waitHead(s, a.doc, seqs[4])
}

func TestRacingFoldsLeaveOne(t *testing.T) {
	h := newHouse(t)
	a := h.author("race", "ada")
	var stores []*Store
	for range 3 {
		stores = append(stores, h.store(Options{}))
	}
	for round := range 10 {
		a.types(fmt.Sprintf("round %d ", round))
		before := filled(t, stores[0], a.doc)
		var wg sync.WaitGroup
		for _, s := range stores {
			wg.Go(func() {
				if _, err := s.Fold(h.ctx, a.doc); err != nil && !errors.Is(err, ErrRaced) {
					t.Errorf("fold: %v", err)
				}
			})
		}
		wg.Wait()
		if after := filled(t, stores[1], a.doc); !bytes.Equal(before, after) {
			t.Fatalf("round %d: the document changed: %x, want %x", round, after, before)
		}
	}
	mustFold(t, stores[0], a.doc)
	head, _, err := stores[0].snapHead(h.ctx, a.doc)
	if err != nil {
		t.Fatal(err)
	}
	h.wantBlobs(stores[0], a.doc, head)
}
