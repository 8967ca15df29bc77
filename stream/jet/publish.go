package jet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// AckWait is the time limit for one acknowledgement.
const AckWait = 5 * time.Second

// MaxBatch is the maximum number of messages in one atomic batch of NATS.
const MaxBatch = 1000

// BatchHeaders is the maximum number of header fields that SetBatch adds.
const BatchHeaders = 3

// SetBatch marks a message as number i, from 1, of an atomic batch of n (NATS decision record ADR-50). The last message commits the
// batch, and its acknowledgement covers all. id is unique, with at most 64 characters.
func SetBatch(h nats.Header, id string, i, n int) {
	h["Nats-Batch-Id"] = []string{id}
	h["Nats-Batch-Sequence"] = []string{strconv.Itoa(i)}
	if i == n {
		h["Nats-Batch-Commit"] = []string{"1"}
	}
}

// Expect makes NATS store the message only if seq is the last sequence of its subject; 0: if the subject has no message.
func Expect(h nats.Header, seq Seq) {
	h["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(uint64(seq), 10)}
}

// Publish sends a message to a stream and awaits its acknowledgement, once.
func Publish(ctx context.Context, nc *nats.Conn, m *nats.Msg) (Seq, error) {
	ctx, cancel := context.WithTimeout(ctx, AckWait)
	defer cancel()
	a, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		if errors.Is(err, nats.ErrMaxPayload) {
			return 0, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(m.Data))
		}
		return 0, err
	}
	seq, _, err := ParseAck(a)
	return seq, err
}

// PublishAll sends messages to a stream, several as one atomic batch, and awaits their acknowledgement, once. It returns the last
// sequence. Their headers must not be nil. id names the batch.
func PublishAll(ctx context.Context, nc *nats.Conn, id string, msgs []*nats.Msg) (Seq, error) {
	if len(msgs) == 1 {
		return Publish(ctx, nc, msgs[0])
	}
	for i, m := range msgs {
		SetBatch(m.Header, id, i+1, len(msgs))
		if i == len(msgs)-1 {
			return Publish(ctx, nc, m)
		}
		if err := nc.PublishMsg(m); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("stream: a batch of nothing")
}

// Put stores a message in a stream that keeps one message per subject, over the bulk connection, and retries until ctx ends. With an
// expected sequence, a retry after a lost answer is a conflict; Put then compares its message with the stored one.
func (c *Client) Put(ctx context.Context, stream string, m *nats.Msg) (seq Seq, err error) {
	attempts := 0
	err = Retry(ctx, func(ctx context.Context) error {
		attempts++
		seq, err = Publish(ctx, c.Bulk, m)
		return err
	})
	if errors.Is(err, ErrConflict) && attempts > 1 {
		have, ok, gerr := c.LeaderGet(ctx, stream, GetRequest{LastFor: m.Subject})
		if gerr == nil && ok && bytes.Equal(have.Data, m.Data) && sameHeader(have.Header, m.Header) {
			return have.Seq, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("put %s: %w", m.Subject, err)
	}
	return seq, nil
}

func sameHeader(have, sent nats.Header) bool {
	for k := range sent {
		if Last(have, k) != Last(sent, k) {
			return false
		}
	}
	return true
}

// ParseAck parses a stream's answer to a publish: {"stream":…,"seq":n}, with "count" after an atomic batch, or an error. count is 0
// after a single message.
func ParseAck(m *nats.Msg) (seq Seq, count int, err error) {
	if len(m.Data) == 0 {
		if Last(m.Header, "Status") == "503" {
			return 0, 0, nats.ErrNoResponders
		}
		return 0, 0, fmt.Errorf("%w: empty acknowledgement, status %q", ErrRefused, Last(m.Header, "Status"))
	}
	// The usual answer is parsed by hand, for speed: there is one per record.
	if bytes.HasPrefix(m.Data, []byte(`{"stream":"`)) && !bytes.Contains(m.Data, []byte(`"error"`)) {
		if n, ok := number(m.Data, `"seq":`); ok && n > 0 {
			c, _ := number(m.Data, `"count":`)
			return Seq(n), int(c), nil
		}
	}
	var a struct {
		Seq   uint64    `json:"seq"`
		Count int       `json:"count"`
		Error *APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return 0, 0, fmt.Errorf("%w: acknowledgement %q", ErrRefused, m.Data)
	}
	if a.Error != nil {
		return 0, 0, a.Error.as()
	}
	if a.Seq == 0 {
		return 0, 0, fmt.Errorf("%w: acknowledgement %q", ErrRefused, m.Data)
	}
	return Seq(a.Seq), a.Count, nil
}

func number(b []byte, key string) (n uint64, ok bool) {
	i := bytes.Index(b, []byte(key))
	if i < 0 {
		return 0, false
	}
	for _, c := range b[i+len(key):] {
		if c < '0' || c > '9' {
			break
		}
		n, ok = n*10+uint64(c-'0'), true
	}
	return n, ok
}

// Purge removes all messages of a filter with a sequence below a bound; 0: all.
func (c *Client) Purge(ctx context.Context, stream, filter string, below Seq) error {
	req := struct {
		Filter string `json:"filter"`
		Seq    Seq    `json:"seq,omitempty"`
	}{filter, below}
	err := Retry(ctx, func(ctx context.Context) error { return c.Request(ctx, "STREAM.PURGE."+stream, req, nil) })
	if err != nil {
		return fmt.Errorf("purge %s below %d: %w", filter, below, err)
	}
	return nil
}

// PurgeInTurn is Purge with at most one running per stream, since a large purge delays the stream's writers.
func (c *Client) PurgeInTurn(ctx context.Context, stream, filter string, below Seq) error {
	c.turnMu.Lock()
	turn := c.turns[stream]
	if turn == nil {
		turn = make(chan struct{}, 1)
		c.turns[stream] = turn
	}
	c.turnMu.Unlock()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return c.Purge(ctx, stream, filter, below)
}

// Erase deletes one message with a secure delete, which overwrites it. An absent message is not an error.
func (c *Client) Erase(ctx context.Context, stream string, seq Seq) error {
	req := struct {
		Seq Seq `json:"seq"`
	}{seq}
	return Retry(ctx, func(ctx context.Context) error {
		err := c.Request(ctx, "STREAM.MSG.DELETE."+stream, req, nil)
		var api *APIError
		if errors.As(err, &api) && (api.ErrCode == codeNoMessage || api.ErrCode == codeNoSequence ||
			api.ErrCode == codeDeleteFailed && (strings.Contains(api.Description, "no message found") || strings.Contains(api.Description, "store EOF") ||
				strings.Contains(api.Description, "deleted message"))) { // the store's texts for an absent message
			return nil
		}
		return err
	})
}
