package jet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/natstest"
	"yjet/stream/jet"
)

// client starts a server with a stream of one message a subject, "last.>", and one that keeps all, "all.>".
func client(t *testing.T) *jet.Client {
	t.Helper()
	srv := natstest.Start(t, natstest.Process)
	c, err := jet.New(srv.Connect(), srv.Connect(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []jetstream.StreamConfig{
		{Name: "LAST", Subjects: []string{"last.>"}, MaxMsgsPerSubject: 1, MaxBytes: -1, MaxMsgs: -1},
		{Name: "ALL", Subjects: []string{"all.>"}, AllowAtomicPublish: true, MaxBytes: -1, MaxMsgs: -1},
	} {
		s.AllowDirect = true
		if _, err := c.Ensure(t.Context(), jet.Wanted{StreamConfig: s, Fresh: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func message(subject, data string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = []byte(data)
	return m
}

func TestABatchIsStoredInOnePieceOrNotAtAll(t *testing.T) {
	c := client(t)
	batch := func(n int, expect jet.Seq) (jet.Seq, error) {
		msgs := make([]*nats.Msg, n)
		for i := range msgs {
			msgs[i] = message("all.a", fmt.Sprint(i))
		}
		jet.Expect(msgs[0].Header, expect)
		return jet.PublishAll(t.Context(), c.Live, fmt.Sprintf("batch-%d-%d", n, expect), msgs)
	}
	if seq, err := batch(3, 0); err != nil || seq != 3 {
		t.Fatalf("three messages: %d, %v, want 3", seq, err)
	}
	if seq, err := batch(1, 3); err != nil || seq != 4 {
		t.Fatalf("one message: %d, %v, want 4", seq, err)
	}
	if _, err := batch(5, 3); !errors.Is(err, jet.ErrConflict) {
		t.Errorf("five after the wrong sequence: %v, want ErrConflict", err)
	}
	if last, err := c.LastSeq(t.Context(), "ALL"); err != nil || last != 4 {
		t.Errorf("the stream ends at %d, %v, want 4", last, err)
	}
}

func TestTheLeaderReadsLastNextAndLargeMessages(t *testing.T) {
	c := client(t)
	large := bytes.Repeat([]byte("\x00\"}]\xff"), 100_000)
	for _, m := range []*nats.Msg{message("all.a", "1"), message("all.b", "2"), message("all.a", string(large)), message("all.b", "")} {
		if _, err := jet.Publish(t.Context(), c.Live, m); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []struct {
		req  jet.GetRequest
		seq  jet.Seq
		data []byte
	}{
		{jet.GetRequest{LastFor: "all.a"}, 3, large}, {jet.GetRequest{LastFor: "all.b"}, 4, nil}, {jet.GetRequest{LastFor: "all.c"}, 0, nil},
		{jet.GetRequest{Seq: 1, NextFor: "all.b"}, 2, []byte("2")}, {jet.GetRequest{Seq: 2, NextFor: "all.a"}, 3, large}, {jet.GetRequest{Seq: 4, NextFor: "all.a"}, 0, nil},
		{jet.GetRequest{Seq: 1}, 1, []byte("1")}, {jet.GetRequest{Seq: 9}, 0, nil},
	} {
		m, ok, err := c.LeaderGet(t.Context(), "ALL", k.req)
		if err != nil || ok != (k.seq > 0) || m.Seq != k.seq || !bytes.Equal(m.Data, k.data) {
			t.Errorf("%+v: message %d of %d bytes, %v, %v, want %d of %d bytes", k.req, m.Seq, len(m.Data), ok, err, k.seq, len(k.data))
		}
	}
	// An erased message is gone, and erasing it again is no error.
	for range 2 {
		if err := c.Erase(t.Context(), "ALL", 3); err != nil {
			t.Fatal(err)
		}
	}
	if m, ok, err := c.LeaderGet(t.Context(), "ALL", jet.GetRequest{LastFor: "all.a"}); err != nil || !ok || m.Seq != 1 {
		t.Errorf("after the erasure of 3: message %d, %v, %v, want 1", m.Seq, ok, err)
	}
}

// TestValuesAndWalksGoBeyondOneAnswer: NATS answers at most 1,024 subjects or a batch at a time.
func TestValuesAndWalksGoBeyondOneAnswer(t *testing.T) {
	c := client(t)
	const n = 2500
	for round := range 2 {
		for i := range n {
			if err := c.Live.PublishMsg(message(fmt.Sprintf("last.%d", i), fmt.Sprint(round))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seq, err := jet.Publish(t.Context(), c.Live, message("last.0", "newest")); err != nil || seq != 2*n+1 {
		t.Fatalf("the last message is %d, %v, want %d", seq, err, 2*n+1)
	}
	values := map[string]string{}
	if err := c.Values(t.Context(), "LAST", "last.>", 0, func(m jet.Msg) { values[m.Subject] = string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if len(values) != n || values["last.0"] != "newest" || values["last.1"] != "1" || values[fmt.Sprintf("last.%d", n-1)] != "1" {
		t.Errorf("%d values, the first %q, want %d", len(values), values["last.0"], n)
	}
	walked, last := 0, jet.Seq(0)
	err := c.Walk(t.Context(), "LAST", "last.>", n, func(m jet.Msg) {
		if walked++; m.Seq <= last {
			t.Fatalf("message %d after %d", m.Seq, last)
		}
		last = m.Seq
	})
	if err != nil || walked != n || last != 2*n+1 {
		t.Errorf("walked over %d messages to %d, %v, want %d to %d", walked, last, err, n, 2*n+1)
	}
	one := 0
	if err := c.Values(t.Context(), "LAST", "last.>", 2*n, func(m jet.Msg) { one++ }); err != nil || one != 1 {
		t.Errorf("%d values after %d, %v, want 1", one, 2*n, err)
	}
	if n := c.Reading(); n != 0 {
		t.Errorf("%d reads are under way, want none", n)
	}
}

// TestAPutWhoseAnswerWasLostIsNoConflict: the second attempt finds the message of the first, which is what was to be stored.
func TestAPutWhoseAnswerWasLostIsNoConflict(t *testing.T) {
	srv := natstest.Start(t, natstest.Process, natstest.Listen(t))
	var swallow atomic.Bool
	bulk := srv.Connect()
	c, err := jet.New(srv.Connect(), bulk, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	// A stream in front of which nobody answers the first attempt: the subject has another responder that stores and says "no leader".
	if _, err := c.Ensure(t.Context(), jet.Wanted{StreamConfig: jetstream.StreamConfig{Name: "LAST", Subjects: []string{"last.>"}, MaxMsgsPerSubject: 1, AllowDirect: true, NoAck: true}, Fresh: 1}); err != nil {
		t.Fatal(err)
	}
	other := srv.Connect()
	if _, err := other.Subscribe("last.>", func(m *nats.Msg) {
		if swallow.Swap(true) {
			m.Respond([]byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"}}`))
		} else {
			m.Respond([]byte(`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`))
		}
	}); err != nil {
		t.Fatal(err)
	}
	other.Flush()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m := message("last.a", "mine")
	jet.Expect(m.Header, 0)
	if seq, err := c.Put(ctx, "LAST", m); err != nil || seq == 0 {
		t.Errorf("put: %d, %v, want the sequence of the first attempt", seq, err)
	}
	swallow.Store(false)
	theirs := message("last.a", "another's")
	jet.Expect(theirs.Header, 0)
	if _, err := c.Put(ctx, "LAST", theirs); !errors.Is(err, jet.ErrConflict) {
		t.Errorf("put over what another stored: %v, want ErrConflict", err)
	}
}

func TestAnswersOfAStreamAreSortedByWhatCanBeDone(t *testing.T) {
	answer := func(code int) *nats.Msg {
		return &nats.Msg{Data: fmt.Appendf(nil, `{"error":{"code":400,"err_code":%d,"description":"x"}}`, code)}
	}
	for _, k := range []struct {
		m         *nats.Msg
		seq       jet.Seq
		count     int
		want      error
		transient bool
	}{
		{&nats.Msg{Data: []byte(`{"stream":"S", "seq":7}`)}, 7, 0, nil, false},
		{&nats.Msg{Data: []byte(`{"stream":"S","seq":12,"batch":"b","count":5}`)}, 12, 5, nil, false},
		{&nats.Msg{Data: []byte(`{"seq":7,"stream":"S"}`)}, 7, 0, nil, false},
		{answer(10071), 0, 0, jet.ErrConflict, false}, {answer(10164), 0, 0, jet.ErrConflict, false},
		{answer(10054), 0, 0, jet.ErrTooLarge, false}, {answer(10077), 0, 0, jet.ErrFault, false}, {answer(10039), 0, 0, jet.ErrFault, false},
		{answer(10008), 0, 0, jet.ErrRefused, true}, {&nats.Msg{Data: []byte("-ERR")}, 0, 0, jet.ErrRefused, true},
		{&nats.Msg{Data: []byte(`{"stream":"S"}`)}, 0, 0, jet.ErrRefused, true}, {&nats.Msg{}, 0, 0, jet.ErrRefused, true},
		{&nats.Msg{Header: nats.Header{"Status": {"503"}}}, 0, 0, nats.ErrNoResponders, true},
	} {
		seq, count, err := jet.ParseAck(k.m)
		if seq != k.seq || count != k.count || !errors.Is(err, k.want) || err != nil && jet.Transient(err) != k.transient {
			t.Errorf("%q: %d, %d, %v, want %d, %d, %v (transient: %v)", k.m.Data, seq, count, err, k.seq, k.count, k.want, k.transient)
		}
	}
}
