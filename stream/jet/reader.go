package jet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Reader makes batched reads, one after the other, over one subscription. It is not safe for concurrent use.
type Reader struct {
	c     *Client
	inbox string
	sub   *nats.Subscription
	ch    chan *nats.Msg
	n     int
}

// Answer is the result of a batched read.
type Answer struct {
	Pending uint64 // messages that match and were not sent
	UpTo    Seq    // multi_last only: the last sequence that was searched
	None    bool   // nothing matched
}

// NewReader returns a reader of up to depth messages per read. The caller must Close it.
func (c *Client) NewReader(depth int) (*Reader, error) {
	r := &Reader{c: c, inbox: nats.NewInbox() + ".", ch: make(chan *nats.Msg, depth+2)}
	var err error
	if r.sub, err = c.Bulk.ChanSubscribe(r.inbox+"*", r.ch); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return r, nil
}

// Close ends the subscription.
func (r *Reader) Close() { r.sub.Unsubscribe() }

// Get makes one batched read and passes each message to f, until f returns false. It does not retry, since f may have had some.
func (r *Reader) Get(ctx context.Context, stream string, req GetRequest, f func(Msg) (more bool)) (a Answer, err error) {
	more := true
	err = r.ask(ctx, "$JS.API.DIRECT.GET."+stream, req, func(m *nats.Msg) (bool, error) {
		status := Last(m.Header, "Status")
		if m.Header[HdrSeq] != nil {
			status = "" // a stored message: its publisher wrote this header
		}
		switch status {
		case "":
			if more {
				more = f(FromHeader(m))
			}
			return false, nil
		case "204":
			a.Pending, _ = strconv.ParseUint(Last(m.Header, "Nats-Num-Pending"), 10, 64)
			upTo, _ := strconv.ParseUint(Last(m.Header, "Nats-UpTo-Sequence"), 10, 64)
			a.UpTo = Seq(upTo)
			return true, nil
		case "404":
			if req.Multi != nil && Last(m.Header, "Description") != "No Results" {
				return true, ErrUnreadable
			}
			a.None = true
			return true, nil
		case "413":
			return true, ErrTooMany
		case "503":
			return true, nats.ErrNoResponders
		default:
			return true, fmt.Errorf("%w: read from %s: %s %s", ErrRefused, stream, status, Last(m.Header, "Description"))
		}
	})
	return a, err
}

// Next reads the first message of a subject from any replica. It returns false where that replica has none.
func (c *Client) Next(ctx context.Context, stream, subject string) (msg Msg, ok bool, err error) {
	r, err := c.NewReader(1)
	if err != nil {
		return msg, false, err
	}
	defer r.Close()
	_, err = r.Get(ctx, stream, GetRequest{Seq: 1, NextFor: subject, Batch: 1}, func(m Msg) bool {
		msg, ok = m, true
		return false
	})
	return msg, ok && err == nil, err
}

// ask makes one request and passes each message of the answer to f, until f returns last.
func (r *Reader) ask(ctx context.Context, subject string, req any, f func(m *nats.Msg) (last bool, err error)) error {
	select {
	case r.c.reads <- struct{}{}:
		defer func() { <-r.c.reads }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	r.n++
	reply := r.inbox + strconv.Itoa(r.n)
	if err := r.c.Bulk.PublishRequest(subject, reply, body); err != nil {
		return err
	}
	wait := time.NewTimer(ReadWait)
	defer wait.Stop()
	for {
		var m *nats.Msg
		select {
		case m = <-r.ch:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wait.C:
			return nats.ErrTimeout
		}
		if m.Subject != reply && m.Reply == "" { // a consumer's messages have their own subject, and a reply subject
			continue // left over from an earlier read that was given up
		}
		wait.Reset(ReadWait)
		if last, err := f(m); last || err != nil {
			return err
		}
	}
}

// Walk passes every message of a filter after a sequence to f, in order, in batches from any replica. It does not retry.
func (c *Client) Walk(ctx context.Context, stream, filter string, after Seq, f func(Msg)) error {
	r, err := c.NewReader(1000)
	if err != nil {
		return err
	}
	defer r.Close()
	for at := after; ; {
		last := at
		a, err := r.Get(ctx, stream, GetRequest{NextFor: filter, Seq: at + 1, Batch: 1000, MaxBytes: 4 << 20}, func(m Msg) bool {
			last = max(last, m.Seq)
			f(m)
			return true
		})
		if err != nil {
			return err
		}
		if a.None || a.Pending == 0 || last == at {
			return nil
		}
		at = last
	}
}

// Values passes the last message of every subject of a filter to f, if it was stored after a sequence: by multi_last, or, where more
// than 1,024 subjects match, message by message. f gets a subject again if it is stored meanwhile. The stream must keep one message
// per subject.
func (c *Client) Values(ctx context.Context, stream, filter string, after Seq, f func(Msg)) error {
	r, err := c.NewReader(1024)
	if err != nil {
		return err
	}
	defer r.Close()
	seen := map[string]Seq{}
	at, walk := after, false
	return Retry(ctx, func(ctx context.Context) error {
		for {
			last := at
			req := GetRequest{Multi: []string{filter}, Seq: at + 1, MaxBytes: 4 << 20}
			if walk {
				req = GetRequest{NextFor: filter, Seq: at + 1, Batch: 1000, MaxBytes: 4 << 20}
			}
			a, err := r.Get(ctx, stream, req, func(m Msg) bool {
				last = max(last, m.Seq)
				if seen[m.Subject] < m.Seq {
					seen[m.Subject] = m.Seq
					f(m)
				}
				return true
			})
			if (errors.Is(err, ErrTooMany) || errors.Is(err, ErrUnreadable)) && !walk {
				if errors.Is(err, ErrUnreadable) {
					c.Damaged()
					c.log.Error("a message cannot be read and is left out", "stream", stream, "filter", filter)
				}
				walk = true
				continue
			}
			if err != nil {
				return err
			}
			if a.None || a.Pending == 0 || last == at {
				return nil
			}
			at = last
		}
	})
}
