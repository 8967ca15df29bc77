package jet_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/stream/jet"
)

// wanted is a stream that keeps the last per messages of each subject.
func wanted(name, subject string, per int64) jet.Wanted {
	return jet.Wanted{StreamConfig: jetstream.StreamConfig{Name: name, Subjects: []string{subject}, MaxMsgsPerSubject: per, AllowDirect: true, AllowAtomicPublish: true,
		MaxMsgs: -1, MaxBytes: -1}, Fresh: 1}
}

// fill stores n messages of a subject, each of its number, and some large ones among them.
func fill(t *testing.T, c *jet.Client, subject string, n int, large map[int]int) {
	t.Helper()
	for i := range n {
		data := fmt.Sprint(i)
		if size := large[i]; size > 0 {
			data = string(bytes.Repeat([]byte{'x'}, size))
		}
		if err := c.Live.PublishMsg(message(subject, data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := jet.Flush(patient(t), c.Live); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits until the stream has a number of messages.
func awaitEnd(t *testing.T, c *jet.Client, stream string, want jet.Seq) {
	t.Helper()
	ctx := patient(t)
	for {
		last, err := c.LastSeq(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		if last == want {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestAConsumerReadsEveryMessageInOrder, also beyond one request, and past messages larger than one.
func TestAConsumerReadsEveryMessageInOrder(t *testing.T) {
	c := client(t)
	const n = 2*jet.PullBatch + 100
	fill(t, c, "all.a", n, map[int]int{10: jet.PullBytes + 1, 11: jet.PullBytes + 1, 1500: 3 * jet.PullBytes, n - 1: jet.PullBytes + 1})
	fill(t, c, "all.b", 5, nil)
	awaitEnd(t, c, "ALL", n+5)
	for name, k := range map[string]struct{ after, stop, want jet.Seq }{
		"from-the-start": {0, 0, n}, "from-the-middle": {1000, 0, n - 1000}, "from-the-end": {n, 0, 0}, "until-it-has-enough": {5, 700, 695},
	} {
		last, got := k.after, jet.Seq(0)
		err := c.Consume(patient(t), "ALL", "all.a", name, k.after, func(m jet.Msg) bool {
			if m.Seq != last+1 || m.Subject != "all.a" || m.Time.IsZero() || len(m.Data) == 0 {
				t.Fatalf("%s: message %d of %s after %d", name, m.Seq, m.Subject, last)
			}
			last, got = m.Seq, got+1
			return m.Seq != k.stop
		})
		if got != k.want {
			t.Errorf("%s: %d messages, %v, want %d", name, got, err, k.want)
		}
	}
	// None is left for NATS to delete by itself.
	js, err := jetstream.New(c.Bulk)
	if err != nil {
		t.Fatal(err)
	}
	ctx := patient(t)
	for {
		s, err := js.Stream(ctx, "ALL")
		if err != nil {
			t.Fatal(err)
		}
		if s.CachedInfo().State.Consumers == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
}

// TestAConsumerThatCannotBeMadeIsNotTriedAgainAtOnce: the caller has another way to read.
func TestAConsumerThatCannotBeMadeIsNotTriedAgainAtOnce(t *testing.T) {
	c := client(t)
	fill(t, c, "all.a", 3, nil)
	if err := c.Consume(patient(t), "NOWHERE", "all.a", "c", 0, func(jet.Msg) bool { return true }); err == nil {
		t.Fatal("a consumer of a stream that is not there: no error")
	}
	if c.NoConsumer.Load() <= time.Now().UnixNano() {
		t.Error("the next read tries again at once")
	}
	asked := false
	if err := c.Consume(patient(t), "ALL", "all.a", "c", 0, func(jet.Msg) bool { asked = true; return true }); err != nil || asked {
		t.Errorf("during the rest: %v, read %v; want nothing done", err, asked)
	}
	c.NoConsumer.Store(0)
	awaitEnd(t, c, "ALL", 3)
	n := 0
	c.Consume(patient(t), "ALL", "all.a", "c", 0, func(jet.Msg) bool { n++; return true })
	if n != 3 {
		t.Errorf("after the rest: %d messages, want 3", n)
	}
}

func TestNextIsTheFirstMessageOfItsSubject(t *testing.T) {
	c := client(t)
	for _, data := range []string{"first", "second"} {
		if _, err := jet.Publish(patient(t), c.Live, message("all.a", data)); err != nil {
			t.Fatal(err)
		}
	}
	if m, ok, err := c.Next(patient(t), "ALL", "all.a"); err != nil || !ok || string(m.Data) != "first" || m.Seq != 1 || m.Subject != "all.a" {
		t.Errorf("got %+v, %v, %v, want the first", m, ok, err)
	}
	if m, ok, err := c.Next(patient(t), "ALL", "all.nobody"); err != nil || ok {
		t.Errorf("a subject of nobody: got %+v, %v, %v", m, ok, err)
	}
}

// TestHeadersOfPublishersAreNotTakenForThoseOfNATS: a stranger who may publish chooses all headers of a message.
func TestHeadersOfPublishersAreNotTakenForThoseOfNATS(t *testing.T) {
	c := client(t)
	m := message("all.a", "data")
	m.Header = nats.Header{"Status": {"404"}, "Description": {"No Results"}, "Nats-Sequence": {"999"}, "Nats-Subject": {"all.other"}, "Nats-Time-Stamp": {"1999-01-01T00:00:00Z"}}
	if _, err := jet.Publish(patient(t), c.Live, m); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := c.Walk(patient(t), "ALL", "all.>", 0, func(m jet.Msg) {
		n++
		if m.Seq != 1 || m.Subject != "all.a" || m.Time.Year() < 2020 || string(m.Data) != "data" {
			t.Errorf("read as %d of %s at %v: %q", m.Seq, m.Subject, m.Time, m.Data)
		}
	}); err != nil || n != 1 {
		t.Errorf("%d messages, %v, want 1", n, err)
	}
	if got, ok, err := c.LeaderGet(patient(t), "ALL", jet.GetRequest{LastFor: "all.a"}); err != nil || !ok || got.Seq != 1 || jet.Last(got.Header, "Status") != "404" {
		t.Errorf("from the leader: %+v, %v, %v; want the message with its own headers", got, ok, err)
	}
}

func TestReadsAreCountedAndEndWithTheirCaller(t *testing.T) {
	c := client(t)
	fill(t, c, "all.a", 10, nil)
	awaitEnd(t, c, "ALL", 10)
	r, err := c.NewReader(16)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	seen := 0
	a, err := r.Get(patient(t), "ALL", jet.GetRequest{NextFor: "all.>", Seq: 1, Batch: 4}, func(jet.Msg) bool { seen++; return seen < 2 })
	if err != nil || seen != 2 || a.Pending != 6 || a.None || c.Reading() != 0 {
		t.Errorf("got %d messages, %+v, %v, %d reads under way; want 2, 6 pending and none", seen, a, err, c.Reading())
	}
	// The rest of the answer above does not disturb the next read.
	if a, err = r.Get(patient(t), "ALL", jet.GetRequest{NextFor: "all.nobody", Seq: 1, Batch: 4}, func(jet.Msg) bool { t.Error("a message"); return true }); err != nil || !a.None {
		t.Errorf("nothing matches: %+v, %v", a, err)
	}
	if _, err = r.Get(patient(t), "NOWHERE", jet.GetRequest{NextFor: "all.>", Seq: 1, Batch: 4}, func(m jet.Msg) bool { t.Errorf("a message: %+v %q", m, m.Data); return true }); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("no stream: %v, want no responders", err)
	}
}
