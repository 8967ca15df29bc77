package stream

import (
	"context"
	"sync"
)

// sharedHeads has callers that ask for the head of one document at the same time share the answers. NATS sends the whole newest record with
// each, which may be as large as a document: sixty readers of one would have it sent sixty times, and everybody's edits wait behind.
// The zero value is ready for use.
type sharedHeads struct {
	mu sync.Mutex // guards of, and in each headTurn refs and begun
	of map[Doc]*headTurn
}

type headTurn struct {
	refs  int
	begun uint64        // number of questions asked so far
	turn  chan struct{} // of capacity one; its holder asks, and may use what is below
	done  uint64        // number of the newest question that has an answer
	head  Seq           // that answer
}

// ask returns the answer to a question that began after the call of ask: another caller's, or its own.
func (h *sharedHeads) ask(ctx context.Context, doc Doc, leader func(context.Context, Doc) (Seq, error)) (Seq, error) {
	h.mu.Lock()
	t := h.of[doc]
	if t == nil {
		if h.of == nil {
			h.of = map[Doc]*headTurn{}
		}
		t = &headTurn{turn: make(chan struct{}, 1)}
		h.of[doc] = t
	}
	t.refs++
	before := t.begun
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		if t.refs--; t.refs == 0 {
			delete(h.of, doc)
		}
		h.mu.Unlock()
	}()
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-t.turn }()
	if t.done > before {
		return t.head, nil
	}
	h.mu.Lock()
	t.begun++
	mine := t.begun
	h.mu.Unlock()
	head, err := leader(ctx, doc)
	if err == nil {
		t.done, t.head = mine, head
	}
	return head, err
}
