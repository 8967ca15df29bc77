package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"yjet/internal/natstest"
	"yjet/stream/jet"
)

func TestReplayBeginsAndEndsAtEverySequence(t *testing.T) {
	l, _ := open(t, Config{Shards: 1})
	w, other := l.Writer("doc"), l.Writer("neighbour")
	var seqs []Seq
	for i := range 12 {
		seqs = append(seqs, mustAppend(t, w, fmt.Sprint(i))...)
		if i%3 == 0 {
			mustAppend(t, other, "x") // the shard's sequences are shared
		}
	}
	last := seqs[len(seqs)-1]
	check := func(first Seq) {
		t.Helper()
		for after := Seq(0); after <= last+2; after++ {
			for upto := Seq(1); upto <= last+2; upto++ {
				var want, got []Seq
				for _, seq := range seqs {
					if seq > after && seq <= upto && seq >= first {
						want = append(want, seq)
					}
				}
				for _, r := range replay(t, l, "doc", after, upto) {
					got = append(got, r.Seq)
					if k := slices.Index(seqs, r.Seq); string(r.Update) != fmt.Sprint(k) {
						t.Fatalf("record %d is %q", r.Seq, r.Update)
					}
				}
				if !slices.Equal(got, want) {
					t.Fatalf("after %d, up to %d: %v, want %v", after, upto, got, want)
				}
			}
		}
	}
	check(0)
	for _, r := range replay(t, l, "doc", 0, 0) {
		got, ok, err := l.RecordAt(within(t, 10*time.Second), "doc", r.Seq)
		if err != nil || !ok || got.Seq != r.Seq || string(got.Update) != string(r.Update) {
			t.Errorf("the record at %d is %+v, %v, %v", r.Seq, got, ok, err)
		}
	}
	if _, ok, err := l.RecordAt(within(t, 10*time.Second), "doc", last+1); ok || err != nil {
		t.Errorf("a record past the last: %v, %v", ok, err)
	}
	if err := l.Trim(within(t, 10*time.Second), "doc", seqs[6]); err != nil {
		t.Fatal(err)
	}
	check(seqs[6])
	if got, ok, err := l.RecordAt(within(t, 10*time.Second), "doc", 1); err != nil || !ok || got.Seq != seqs[6] {
		t.Errorf("the first record after the trim is %d, %v, %v; want %d", got.Seq, ok, err, seqs[6])
	}
	if err := l.Trim(within(t, 10*time.Second), "doc", 0); err == nil {
		t.Error("a trim below sequence 0 is taken")
	}
	if n := len(replay(t, l, "neighbour", 0, 0)); n != 4 {
		t.Errorf("the neighbour has %d records, want 4", n)
	}
	for r := range l.Replay(within(t, 10*time.Second), "doc", 0, 0) { // the caller may stop
		if r.Seq != seqs[6] {
			t.Errorf("the first is %d", r.Seq)
		}
		break
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range l.Replay(ended, "doc", 0, last) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v, want its end", err)
		}
	}
}

// What an append cannot take it refuses before anything is sent, and the writer goes on with the next count.
func TestRefusedAppendsStoreNothingAndTheWriterCountsOn(t *testing.T) {
	l, _ := open(t, Config{}, natstest.MaxPayload(256<<10))
	w := l.Writer("doc")
	mustAppend(t, w, "first")
	ok := Entry{Update: []byte("x")}
	wide := strings.Repeat("é", maxIdentity/2)
	for _, c := range []struct {
		name    string
		entries []Entry
		want    error // nil: any
	}{
		{"nothing", nil, nil},
		{"a last entry with a next", []Entry{ok, {Update: []byte("y"), WithNext: true}}, nil},
		{"a user one byte too long", []Entry{ok, {User: wide + "a", Update: []byte("y")}}, ErrIdentity},
		{"a connection one byte too long", []Entry{{Conn: wide + "a", Update: []byte("y")}}, ErrIdentity},
		{"a user too long when it is escaped", []Entry{{User: strings.Repeat("%", maxIdentity/3+1), Update: []byte("y")}}, ErrIdentity},
		{"an update one byte too long", []Entry{ok, {Update: make([]byte, l.MaxUpdate()+1)}}, ErrTooLarge},
		{"more entries together than a batch holds", append(slices.Repeat([]Entry{{Update: []byte("y"), WithNext: true}}, jet.MaxBatch), ok), ErrTooLarge},
	} {
		for how, by := range map[string]func() error{
			"Append": func() error { _, err := appendAll(within(t, 10*time.Second), w, c.entries...); return err },
			"AppendIfNew": func() error {
				_, err := l.AppendIfNew(within(t, 10*time.Second), "new", c.entries...)
				return err
			},
		} {
			if how == "AppendIfNew" && c.name == "a last entry with a next" {
				continue // there the call sets the field
			}
			if err := by(); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v, want %v", how, c.name, err, c.want)
			}
		}
	}
	longest := Entry{User: wide, Conn: strings.Repeat("%", maxIdentity/3), Update: make([]byte, l.MaxUpdate())}
	if _, err := appendAll(within(t, 20*time.Second), w, longest); err != nil {
		t.Errorf("the longest of everything: %v", err)
	}
	recs := checkLog(t, l, "doc")
	if len(recs) != 2 || recs[1].Sum.N != 2 || recs[1].User != longest.User || recs[1].Conn != longest.Conn || len(recs[1].Update) != l.MaxUpdate() {
		t.Errorf("the log holds %d records, want the first and the longest, with the counts 1 and 2", len(recs))
	}
	if n := len(replay(t, l, "new", 0, 0)); n != 0 {
		t.Errorf("the new document has %d records", n)
	}
}

// Several seeds of several parts from two servers, beside writers that do not ask: the document begins once, with all parts of one seed.
func TestADocumentThatIsSeededAndTypedInAtOnceBeginsOnce(t *testing.T) {
	l, srv := open(t, Config{})
	servers := []*Log{l, openOn(t, srv, Config{})}
	for round := range 6 {
		doc := docName(round)
		var wg sync.WaitGroup
		seeded := make(chan int, 8)
		for i := range 8 {
			wg.Go(func() {
				var parts []Entry
				for p := range 1 + i%3 {
					parts = append(parts, Entry{Update: fmt.Appendf(nil, "seed %d part %d", i, p)})
				}
				switch _, err := servers[i%2].AppendIfNew(within(t, 20*time.Second), doc, parts...); {
				case err == nil:
					seeded <- i
				case !errors.Is(err, ErrConflict):
					t.Errorf("round %d, seed %d: %v", round, i, err)
				}
			})
		}
		typed := round%2 == 1
		if typed {
			wg.Go(func() {
				if _, err := appendAll(within(t, 20*time.Second), servers[0].Writer(doc), Entry{Update: []byte("typed")}); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
		close(seeded)
		var texts []string
		for _, r := range checkLog(t, l, doc) {
			if string(r.Update) != "typed" {
				texts = append(texts, string(r.Update))
			}
		}
		var want []string
		for i := range seeded {
			if want != nil {
				t.Errorf("round %d: a second seed, %d, was stored", round, i)
			}
			for p := range 1 + i%3 {
				want = append(want, fmt.Sprintf("seed %d part %d", i, p))
			}
		}
		if !slices.Equal(texts, want) || want == nil && !typed {
			t.Errorf("round %d: the log holds %q of seeds, want %q", round, texts, want)
		}
	}
}

// A tail stays open while NATS restarts again and again, idle or not: what comes after is delivered once and in order, to tails that were
// open before and to those that open later.
func TestTailsGoOnOverRestarts(t *testing.T) {
	l, srv := open(t, Config{})
	_, before := tail(t, l, "doc")
	_, idle := tail(t, l, "idle")
	for round := range 3 {
		mustAppend(t, l.Writer("doc"), fmt.Sprint("before ", round))
		srv.Restart()
		mustAppend(t, l.Writer("doc"), fmt.Sprint("after ", round))
		_, late := tail(t, l, "doc")
		want := len(replay(t, l, "doc", 0, 0))
		eventually(t, "all records", func() bool { return before.len() >= want && late.len() >= want })
		sameAsLog(t, l, "doc", late)
	}
	sameAsLog(t, l, "doc", before)
	if n := len(before.got()); n != 6 {
		t.Errorf("%d records, want 6", n)
	}
	if idle.len() > 0 {
		t.Errorf("a document without records has %d", idle.len())
	}
	mustAppend(t, l.Writer("idle"), "at last")
	eventually(t, "the idle document's first record", func() bool { return idle.len() == 1 })
	for name, s := range map[string]*sink{"doc": before, "idle": idle} {
		if err := s.failed(); err != nil {
			t.Errorf("the tail of %s failed: %v", name, err)
		}
	}
}

// The Checker is what finds lost records: each fault of a sequence of counts is named once, and the records after it count on.
func TestTheCheckerNamesEachFaultOnce(t *testing.T) {
	rec := func(writer, n uint64, text string) Record {
		return Record{Update: []byte(text), Sum: Sum{CRC: checksum([]byte(text)), Writer: writer, N: n}}
	}
	changed := rec(1, 2, "b")
	changed.Update = []byte("B")
	a, b, c := rec(1, 1, "a"), rec(1, 2, "b"), rec(1, 3, "c")
	for _, k := range []struct {
		name       string
		partial    bool
		resume     []Counter
		recs       []Record
		faults     int
		duplicates int
		outside    int
		first      error
	}{
		{name: "nothing"},
		{name: "in order", recs: []Record{a, b, c}},
		{name: "two writers", recs: []Record{a, rec(2, 1, "x"), b, rec(2, 2, "y"), c}},
		{name: "the first is missing", recs: []Record{b, c}, faults: 1, first: ErrLost},
		{name: "the first is not wanted", partial: true, recs: []Record{b, c}},
		{name: "one in the middle is missing", recs: []Record{a, c, rec(1, 4, "d")}, faults: 1, first: ErrLost},
		{name: "one in the middle is missing, of a part", partial: true, recs: []Record{a, c}, faults: 1, first: ErrLost},
		{name: "changed bytes", recs: []Record{a, changed, c}, faults: 1, first: ErrDamaged},
		{name: "stored twice", recs: []Record{a, b, b, c}, duplicates: 1},
		{name: "a run stored twice", recs: []Record{a, b, c, a, b, c}, duplicates: 3},
		{name: "the same count with other bytes", recs: []Record{a, b, rec(1, 2, "z"), c}, faults: 1, first: ErrDamaged},
		{name: "after a snapshot", resume: []Counter{{Writer: 1, N: 1}}, recs: []Record{b, c}},
		{name: "a hole after a snapshot", resume: []Counter{{Writer: 1, N: 1}}, recs: []Record{c}, faults: 1, first: ErrLost},
		{name: "a hole after a snapshot, of a part", partial: true, resume: []Counter{{Writer: 1, N: 1}}, recs: []Record{c}, faults: 1, first: ErrLost},
		{name: "other programs", recs: []Record{{Update: []byte("x")}, a, {Update: []byte("y")}, b}, outside: 2},
		{name: "two holes", recs: []Record{a, c, rec(2, 3, "x")}, faults: 2, first: ErrLost},
	} {
		ck := Checker{Partial: k.partial}
		ck.Resume(k.resume)
		errs := 0
		for _, r := range k.recs {
			if _, err := ck.Add(r); err != nil {
				errs++
			}
		}
		if ck.Records != len(k.recs) || ck.Faults != k.faults || errs != k.faults || ck.Duplicates != k.duplicates || ck.Outside != k.outside || !errors.Is(ck.First, k.first) {
			t.Errorf("%s: %d records, %d faults (%v), %d duplicates, %d outside; want %d, %d (%v), %d, %d",
				k.name, ck.Records, ck.Faults, ck.First, ck.Duplicates, ck.Outside, len(k.recs), k.faults, k.first, k.duplicates, k.outside)
		}
		// Carried over at any record, the counters find the same faults in the rest.
		for cut := range k.recs {
			whole, head, rest := Checker{Partial: k.partial}, Checker{Partial: k.partial}, Checker{Partial: k.partial}
			whole.Resume(k.resume)
			head.Resume(k.resume)
			for _, r := range k.recs[:cut] {
				whole.Add(r)
				head.Add(r)
			}
			before := whole.Faults
			rest.Resume(head.Counters(time.Time{}))
			for _, r := range k.recs[cut:] {
				whole.Add(r)
				rest.Add(r)
			}
			if lost := errors.Is(whole.First, ErrLost); lost && rest.Faults != whole.Faults-before {
				t.Errorf("%s, carried over after %d: %d faults in the rest, want %d", k.name, cut, rest.Faults, whole.Faults-before)
			}
		}
	}
}
