package jet

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// There are three ways to read stored messages.
//
// LeaderGet asks the leader of a stream ($JS.API.STREAM.MSG.GET), which has every acknowledged message. It returns one message, in
// JSON.
//
// Reader.Get asks any replica ($JS.API.DIRECT.GET, NATS decision record ADR-31) for many messages at once. A replica may lag; the
// caller compares with a sequence from the leader.
//
// A consumer (consumer.go) reads the rest of a long stream; it may lag, too.

// Msg is a message of a stream. Its Header and Data belong to the receiver.
type Msg struct {
	Subject string
	Seq     Seq // 0: unknown, since another program's headers hide those in which a direct get returns it
	Time    time.Time
	Header  nats.Header
	Data    []byte
}

// The headers that NATS adds to a message that it republishes or returns.
const (
	HdrSeq     = "Nats-Sequence"
	HdrLast    = "Nats-Last-Sequence"
	hdrStamp   = "Nats-Time-Stamp"
	hdrSubject = "Nats-Subject"
)

// Last returns a header's last value: NATS adds its own after any that a publisher wrote under the same name.
func Last(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// FromHeader makes a Msg of a message that NATS republished or returned, with sequence and time in its headers. Data is not copied.
// Subject is the one under which the message was stored.
func FromHeader(m *nats.Msg) Msg {
	seq, _ := strconv.ParseUint(Last(m.Header, HdrSeq), 10, 64)
	at, _ := time.Parse(time.RFC3339Nano, Last(m.Header, hdrStamp))
	return Msg{Subject: Last(m.Header, hdrSubject), Seq: Seq(seq), Time: at, Header: m.Header, Data: m.Data}
}

// GetRequest is the request of LeaderGet and of Reader.Get; the last four fields are for the latter only.
type GetRequest struct {
	Seq      Seq      `json:"seq,omitempty"`
	LastFor  string   `json:"last_by_subj,omitempty"`
	NextFor  string   `json:"next_by_subj,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	MaxBytes int      `json:"max_bytes,omitempty"`
	Multi    []string `json:"multi_last,omitempty"`
	UpTo     Seq      `json:"up_to_seq,omitempty"`
}

// LeaderGet reads one message from the stream's leader: the last of a subject, the first of a filter from a sequence on, or the one
// at a sequence. It returns false where there is none, and ErrDamaged where a subject's last message cannot be read.
func (c *Client) LeaderGet(ctx context.Context, stream string, req GetRequest) (msg Msg, ok bool, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return msg, false, err
	}
	msg, ok, err = c.leaderOnce(ctx, stream, body)
	if err == nil && !ok && req.LastFor != "" {
		// NATS gives the same answer for a subject without messages and for one whose last message is damaged. The count differs.
		var n uint64
		if n, err = c.Count(ctx, stream, req.LastFor); err == nil && n > 0 {
			// The message was stored just now, or is damaged.
			if msg, ok, err = c.leaderOnce(ctx, stream, body); err == nil && !ok {
				err = fmt.Errorf("%w: the last of %d messages on %s cannot be read", ErrDamaged, n, req.LastFor)
			}
		}
	}
	if err != nil {
		return Msg{}, false, fmt.Errorf("read from the leader of %s: %w", stream, err)
	}
	return msg, ok, nil
}

func (c *Client) leaderOnce(ctx context.Context, stream string, body []byte) (msg Msg, ok bool, err error) {
	err = Retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, ReadWait)
		defer cancel()
		m, err := c.Bulk.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
		if err != nil {
			return err
		}
		msg, ok, err = parseGet(m.Data)
		return err
	})
	return msg, ok, err
}

// parseGet parses the answer to LeaderGet. Large data is cut out before the rest is parsed as JSON: base64 contains no quote.
func parseGet(b []byte) (Msg, bool, error) {
	var data []byte
	if key := []byte(`"data":"`); len(b) > 4<<10 {
		if i := bytes.Index(b, key); i >= 0 {
			i += len(key)
			if n := bytes.IndexByte(b[i:], '"'); n >= 0 {
				raw := b[i : i+n]
				data = make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
				m, err := base64.StdEncoding.Decode(data, raw)
				if err != nil {
					return Msg{}, false, fmt.Errorf("stream: data of a message: %w", err)
				}
				data = data[:m]
				b = append(bytes.Clone(b[:i]), b[i+n:]...)
			}
		}
	}
	var r struct {
		Error   *APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     Seq       `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Msg{}, false, fmt.Errorf("stream: answer with a message: %w", err)
	}
	if r.Error != nil {
		if r.Error.ErrCode == codeNoMessage {
			return Msg{}, false, nil
		}
		return Msg{}, false, r.Error.as()
	}
	if r.Message == nil {
		return Msg{}, false, fmt.Errorf("%w: answer without a message", ErrRefused)
	}
	if data == nil {
		data = r.Message.Data
	}
	m := Msg{Subject: r.Message.Subject, Seq: r.Message.Seq, Time: r.Message.Time, Data: data}
	if len(r.Message.Header) > 0 {
		// Unreadable headers come from another program and are ignored.
		m.Header, _ = nats.DecodeHeadersMsg(r.Message.Header)
	}
	return m, true, nil
}

// Count returns the number of messages on a subject, readable or not.
func (c *Client) Count(ctx context.Context, stream, subject string) (uint64, error) {
	found, err := c.Subjects(ctx, stream, subject)
	return found[subject], err
}

// Subjects lists a stream's subjects that match a filter, with their numbers of messages.
func (c *Client) Subjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	all := map[string]uint64{}
	for offset := 0; ; {
		req := struct {
			Filter string `json:"subjects_filter"`
			Offset int    `json:"offset,omitempty"`
		}{filter, offset}
		var resp struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		err := Retry(ctx, func(ctx context.Context) error { return c.Request(ctx, "STREAM.INFO."+stream, req, &resp) })
		if err != nil {
			return nil, fmt.Errorf("list the subjects of %s: %w", stream, err)
		}
		for k, v := range resp.State.Subjects {
			all[k] = v
		}
		offset += len(resp.State.Subjects)
		if len(resp.State.Subjects) == 0 || offset >= resp.Total {
			return all, nil
		}
	}
}

// LastSeq asks the leader for the stream's last sequence.
func (c *Client) LastSeq(ctx context.Context, stream string) (Seq, error) {
	var info struct {
		State struct {
			Last Seq `json:"last_seq"`
		} `json:"state"`
	}
	err := Retry(ctx, func(ctx context.Context) error { return c.Request(ctx, "STREAM.INFO."+stream, nil, &info) })
	if err != nil {
		return 0, fmt.Errorf("ask %s for its end: %w", stream, err)
	}
	return info.State.Last, nil
}
