package stream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// Callers that come while a question is on its way share the next one. None is given an answer to a question from before it came: the
// document may have grown since.
func TestHeadsAskedAtOnceAreAskedOfNATSTwice(t *testing.T) {
	var h sharedHeads
	asked := make(chan chan Seq)
	leader := func(context.Context, Doc) (Seq, error) {
		answer := make(chan Seq)
		asked <- answer
		return <-answer, nil
	}
	first := make(chan Seq, 1)
	go func() {
		head, _ := h.ask(t.Context(), "d", leader)
		first <- head
	}()
	question := <-asked
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if head, err := h.ask(t.Context(), "d", leader); err != nil || head != 2 {
				t.Errorf("a caller that came during the first question: got %d, %v, want the answer to the second, 2", head, err)
			}
		})
	}
	// One that gives up waiting leaves the others as they are.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.ask(ctx, "d", leader); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up: got %v", err)
	}
	for waiting := 0; waiting < 51; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		waiting = h.of["d"].refs
		h.mu.Unlock()
	}
	question <- 1
	if head := <-first; head != 1 {
		t.Errorf("the first caller: got %d, want 1", head)
	}
	(<-asked) <- 2
	all.Wait()
	if len(h.of) != 0 {
		t.Errorf("%d documents are kept, want none when nobody asks", len(h.of))
	}
}

// The error of one caller, whose patience may be short, is not the others'.
func TestAnErrorIsItsCallersAlone(t *testing.T) {
	var h sharedHeads
	begun := make(chan struct{})
	go h.ask(t.Context(), "d", func(context.Context, Doc) (Seq, error) {
		close(begun)
		return 0, context.DeadlineExceeded
	})
	<-begun
	if head, err := h.ask(t.Context(), "d", func(context.Context, Doc) (Seq, error) { return 3, nil }); head != 3 || err != nil {
		t.Errorf("got %d, %v, want 3", head, err)
	}
}
