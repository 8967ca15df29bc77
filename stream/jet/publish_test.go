package jet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/internal/natstest"
	"yjet/stream/jet"
)

func TestABatchHasNumbersAndOneCommit(t *testing.T) {
	for i, want := range []nats.Header{
		{"Nats-Batch-Id": {"id"}, "Nats-Batch-Sequence": {"1"}},
		{"Nats-Batch-Id": {"id"}, "Nats-Batch-Sequence": {"2"}},
		{"Nats-Batch-Id": {"id"}, "Nats-Batch-Sequence": {"3"}, "Nats-Batch-Commit": {"1"}},
	} {
		h := nats.Header{"Yjet": {"kept"}}
		jet.SetBatch(h, "id", i+1, 3)
		want["Yjet"] = []string{"kept"}
		if len(h) != len(want) {
			t.Errorf("message %d has %v, want %v", i+1, h, want)
		}
		for k, v := range want {
			if !slices.Equal(h[k], v) {
				t.Errorf("message %d has %s %v, want %v", i+1, k, h[k], v)
			}
		}
		if len(h)-1 > jet.BatchHeaders {
			t.Errorf("%d fields were added, more than are reserved", len(h)-1)
		}
	}
	c := client(t)
	if _, err := jet.PublishAll(t.Context(), c.Live, "empty", nil); err == nil {
		t.Error("a batch of nothing was stored")
	}
}

func TestALargestBatchIsStoredWhole(t *testing.T) {
	c := client(t)
	for n, want := range map[int]jet.Seq{jet.MaxBatch: jet.MaxBatch, jet.MaxBatch + 1: 0} {
		msgs := make([]*nats.Msg, n)
		for i := range msgs {
			msgs[i] = message(fmt.Sprintf("all.%d", n), fmt.Sprint(i))
		}
		before, err := c.LastSeq(patient(t), "ALL")
		if err != nil {
			t.Fatal(err)
		}
		seq, err := jet.PublishAll(patient(t), c.Live, fmt.Sprint("batch-", n), msgs)
		if want > 0 && (err != nil || seq != before+want) || want == 0 && err == nil {
			t.Errorf("%d messages: last %d, %v after %d", n, seq, err, before)
		}
		if count, err := c.Count(patient(t), "ALL", fmt.Sprintf("all.%d", n)); err != nil || count != uint64(want) {
			t.Errorf("%d messages: %d are stored, %v, want %d", n, count, err, want)
		}
	}
}

func TestAMessageThatIsTooLargeIsNotTriedAgain(t *testing.T) {
	_, c, _, _ := logging(t, natstest.MaxPayload(1<<10))
	ctx := patient(t)
	m := message("last.a", string(make([]byte, 2<<10)))
	if _, err := jet.Publish(ctx, c.Live, m); !errors.Is(err, jet.ErrTooLarge) || jet.Transient(err) {
		t.Errorf("publish: %v, want ErrTooLarge", err)
	}
	if _, err := c.Put(ctx, "LAST", m); !errors.Is(err, jet.ErrTooLarge) {
		t.Errorf("put: %v, want ErrTooLarge", err)
	}
	if ctx.Err() != nil {
		t.Error("it was tried until the time was over")
	}
}

// TestAMissingStreamIsWaitedFor: it may have no leader now. The caller's time ends the wait, and the error says what was missing.
func TestAMissingStreamIsWaitedFor(t *testing.T) {
	_, c, _, _ := logging(t)
	if _, err := jet.Publish(patient(t), c.Live, message("nowhere", "x")); !errors.Is(err, nats.ErrNoResponders) || !jet.Transient(err) {
		t.Errorf("one attempt: %v, want a transient error: no responders", err)
	}
	for wait := 100 * time.Millisecond; ; wait *= 2 { // until one attempt at least is answered
		short, cancel := context.WithTimeout(t.Context(), wait)
		_, err := c.Put(short, "NOWHERE", message("nowhere", "x"))
		cancel()
		if errors.Is(err, nats.ErrNoResponders) && errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if wait > 30*time.Second {
			t.Fatalf("put: %v, want both what was missing and that the time is over", err)
		}
	}
	for name, f := range map[string]func(context.Context) error{
		"end":   func(ctx context.Context) error { _, err := c.LastSeq(ctx, "NOWHERE"); return err },
		"purge": func(ctx context.Context) error { return c.Purge(ctx, "NOWHERE", "nowhere", 0) },
		"erase": func(ctx context.Context) error { return c.Erase(ctx, "NOWHERE", 1) },
		"get": func(ctx context.Context) error {
			_, _, err := c.LeaderGet(ctx, "NOWHERE", jet.GetRequest{LastFor: "a"})
			return err
		},
		"subjects": func(ctx context.Context) error { _, err := c.Subjects(ctx, "NOWHERE", ">"); return err },
		"walk":     func(ctx context.Context) error { return c.Walk(ctx, "NOWHERE", ">", 0, func(jet.Msg) {}) },
	} {
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := f(short); err == nil {
			t.Errorf("%s of a stream that is not there: no error", name)
		}
		cancel()
	}
}

// TestWritersOutliveARestartOfNATS: what waits for its acknowledgement while the server is away is stored when it is back, once.
func TestWritersOutliveARestartOfNATS(t *testing.T) {
	srv, c, _, _ := logging(t)
	ctx := patient(t)
	if _, err := c.Ensure(ctx, wanted("LAST", "last.>", 1)); err != nil {
		t.Fatal(err)
	}
	put := func(i int) {
		m := message(fmt.Sprintf("last.%d", i), fmt.Sprint(i))
		jet.Expect(m.Header, 0) // a second copy would be refused
		if seq, err := c.Put(ctx, "LAST", m); err != nil || seq == 0 {
			t.Errorf("message %d: %d, %v", i, seq, err)
		}
	}
	put(0)
	srv.Stop()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { put(i + 1) })
	}
	wg.Go(func() {
		if last, err := c.LastSeq(ctx, "LAST"); err != nil || last == 0 {
			t.Errorf("the end is %d, %v", last, err)
		}
	})
	wg.Go(func() {
		if err := jet.Flush(ctx, c.Live); err != nil {
			t.Errorf("flush: %v", err)
		}
	})
	srv.Restart()
	wg.Wait()
	if last, err := c.LastSeq(ctx, "LAST"); err != nil || last != 11 {
		t.Errorf("the stream ends at %d, %v, want 11", last, err)
	}
}

// TestACallerThatGivesUpWhileNATSIsAwayIsAnswered.
func TestACallerThatGivesUpWhileNATSIsAwayIsAnswered(t *testing.T) {
	srv, c, _, _ := logging(t)
	srv.Stop()
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client left")
	done := make(chan error, 1)
	go func() { _, err := c.Put(ctx, "LAST", message("last.a", "x")); done <- err }()
	cancel(gone)
	select {
	case err := <-done:
		if err == nil {
			t.Error("stored nowhere, and no error")
		}
	case <-time.After(time.Minute):
		t.Fatal("the caller still waits")
	}
	if err := jet.Pause(ctx, time.Hour); !errors.Is(err, gone) {
		t.Errorf("a pause is cut short by %v, want the cause", err)
	}
}

func TestAPurgeTakesTheMessagesBelowItsBound(t *testing.T) {
	c := client(t)
	ctx := patient(t)
	for range 4 {
		for _, subject := range []string{"all.a", "all.b"} {
			if _, err := jet.Publish(ctx, c.Live, message(subject, "x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(subject string) uint64 {
		t.Helper()
		n, err := c.Count(ctx, "ALL", subject)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := c.Purge(ctx, "ALL", "all.a", 5); err != nil || count("all.a") != 2 || count("all.b") != 4 {
		t.Errorf("below 5: %v, %d and %d are left, want 2 and 4", err, count("all.a"), count("all.b"))
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := c.PurgeInTurn(ctx, "ALL", "all.a", 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if count("all.a") != 0 || count("all.b") != 4 {
		t.Errorf("all of all.a: %d and %d are left, want 0 and 4", count("all.a"), count("all.b"))
	}
	if last, err := c.LastSeq(ctx, "ALL"); err != nil || last != 8 {
		t.Errorf("the end is %d, %v, want 8 as before", last, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.PurgeInTurn(ended, "ALL", "all.b", 0); err == nil || count("all.b") != 4 {
		t.Errorf("a caller that gave up: %v, %d are left", err, count("all.b"))
	}
}
