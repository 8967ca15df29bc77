package stream

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Three ways lead to stored messages.
//
// leaderGet asks the leader of a stream ($JS.API.STREAM.MSG.GET) and is therefore never behind what was acknowledged. It
// answers one message, in JSON.
//
// directGet asks any replica ($JS.API.DIRECT.GET, NATS decision record ADR-31) for many messages at once. A replica may lag;
// whoever uses it compares with a head from the leader.
//
// A consumer (consumer.go) reads the rest of a long log; it may lag, too.

const readWait = 5 * time.Second // for one answer

// stored is a message of a stream.
type stored struct {
	subject string
	seq     Seq
	time    time.Time
	header  nats.Header
	data    []byte
}

// getRequest is the request of both ways; the last four fields are for directGet only.
type getRequest struct {
	Seq      Seq      `json:"seq,omitempty"`
	LastFor  string   `json:"last_by_subj,omitempty"`
	NextFor  string   `json:"next_by_subj,omitempty"`
	NoHeader bool     `json:"no_hdr,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	MaxBytes int      `json:"max_bytes,omitempty"`
	Multi    []string `json:"multi_last,omitempty"`
	UpTo     Seq      `json:"up_to_seq,omitempty"`
}

// retry calls f until it succeeds, fails for good, or ctx ends.
func retry(ctx context.Context, f func(ctx context.Context) error) error {
	for attempt := 0; ; attempt++ {
		err := f(ctx)
		if err == nil || !transient(err) {
			return err
		}
		if cause := pause(ctx, backoff(attempt)); cause != nil {
			return fmt.Errorf("%w (%w)", err, cause)
		}
	}
}

// transient errors may be gone at the next attempt: no leader, no connection, no answer.
func transient(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrConnectionReconnecting) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrStaleConnection) || errors.Is(err, errRefused) || broke(err)
}

// broke tells an error of the connection itself, which a request meets that is being written when the server goes away.
func broke(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}

// request asks JetStream's API once and reads the JSON answer into resp, whose "error" becomes ours.
func (l *Log) request(ctx context.Context, subject string, req, resp any) error {
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	m, err := l.bulk.RequestWithContext(ctx, "$JS.API."+subject, body)
	if err != nil {
		return err
	}
	var e struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return fmt.Errorf("stream: answer of $JS.API.%s: %w", subject, err)
	}
	if e.Error != nil {
		return e.Error.as()
	}
	if resp == nil {
		return nil
	}
	return json.Unmarshal(m.Data, resp)
}

const errCodeNoMessage = 10037

// leaderGet reads one message from the stream's leader: the last of a subject, the first of a subject from a sequence on, or
// the one at a sequence. false: there is none. ErrDamaged: a subject's last message is there and cannot be read.
func (l *Log) leaderGet(ctx context.Context, stream string, req getRequest) (msg stored, ok bool, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return msg, false, err
	}
	msg, ok, err = l.leaderOnce(ctx, stream, body)
	if err == nil && !ok && req.LastFor != "" {
		// NATS says the same of a subject without messages and of one whose last message is damaged. Its count tells.
		var n uint64
		if n, err = l.count(ctx, stream, req.LastFor); err == nil && n > 0 {
			// Just stored, or damaged.
			if msg, ok, err = l.leaderOnce(ctx, stream, body); err == nil && !ok {
				err = fmt.Errorf("%w: the last of %d messages on %s cannot be read", ErrDamaged, n, req.LastFor)
			}
		}
	}
	if err != nil {
		return stored{}, false, fmt.Errorf("read from the leader of %s: %w", stream, err)
	}
	return msg, ok, nil
}

// count is how many messages the stream has on a subject, readable or not.
func (l *Log) count(ctx context.Context, stream, subject string) (uint64, error) {
	found, err := l.subjects(ctx, stream, subject)
	return found[subject], err
}

func (l *Log) leaderOnce(ctx context.Context, stream string, body []byte) (msg stored, ok bool, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, readWait)
		defer cancel()
		m, err := l.bulk.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
		if err != nil {
			return err
		}
		msg, ok, err = parseGet(m.Data)
		return err
	})
	return msg, ok, err
}

// parseGet reads the answer to leaderGet. Large data is cut out before the rest is read as JSON: base64 holds no quote.
func parseGet(b []byte) (stored, bool, error) {
	var data []byte
	if key := []byte(`"data":"`); len(b) > 4<<10 {
		if i := bytes.Index(b, key); i >= 0 {
			i += len(key)
			if n := bytes.IndexByte(b[i:], '"'); n >= 0 {
				raw := b[i : i+n]
				data = make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
				m, err := base64.StdEncoding.Decode(data, raw)
				if err != nil {
					return stored{}, false, fmt.Errorf("stream: data of a message: %w", err)
				}
				data = data[:m]
				b = append(bytes.Clone(b[:i]), b[i+n:]...)
			}
		}
	}
	var r struct {
		Error   *apiError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     Seq       `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return stored{}, false, fmt.Errorf("stream: answer with a message: %w", err)
	}
	if r.Error != nil {
		if r.Error.ErrCode == errCodeNoMessage {
			return stored{}, false, nil
		}
		return stored{}, false, r.Error.as()
	}
	if r.Message == nil {
		return stored{}, false, fmt.Errorf("%w: answer without a message", errRefused)
	}
	if data == nil {
		data = r.Message.Data
	}
	m := stored{subject: r.Message.Subject, seq: r.Message.Seq, time: r.Message.Time, data: data}
	if len(r.Message.Header) > 0 {
		// Headers that cannot be read are another program's: ours can.
		m.header, _ = nats.DecodeHeadersMsg(r.Message.Header)
	}
	return m, true, nil
}

// record makes a Record of a stored message.
func (m *stored) record() Record {
	r := Record{Seq: m.seq, Stored: m.time, Update: m.data}
	r.fill(m.header)
	return r
}

// answer is how a batched read ended.
type answer struct {
	pending uint64 // messages that match and were not sent
	last    Seq    // the last one sent
	upTo    Seq    // multi_last only: up to where the stream was searched
	none    bool   // nothing matched
}

var (
	errTooMany    = errors.New("stream: too many subjects match")
	errUnreadable = errors.New("stream: one of the messages cannot be read") // multi_last: there is nothing of the others either
)

// reader makes batched reads, one after the other, over one subscription.
type reader struct {
	l     *Log
	inbox string
	sub   *nats.Subscription
	ch    chan *nats.Msg
	n     int
}

func (l *Log) newReader(depth int) (*reader, error) {
	r := &reader{l: l, inbox: nats.NewInbox() + ".", ch: make(chan *nats.Msg, depth+2)}
	var err error
	if r.sub, err = l.bulk.ChanSubscribe(r.inbox+"*", r.ch); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return r, nil
}

func (r *reader) close() { r.sub.Unsubscribe() }

// get makes one batched read and hands each message to f, until f says no more. It is not retried here: f may have seen some.
func (r *reader) get(ctx context.Context, stream string, req getRequest, f func(m *nats.Msg) bool) (a answer, err error) {
	more := true
	err = r.ask(ctx, "$JS.API.DIRECT.GET."+stream, req, func(m *nats.Msg) (bool, error) {
		status := get(m.Header, "Status")
		if m.Header[hdrSubject] != nil {
			status = "" // a stored message, whatever its publisher wrote
		}
		switch status {
		case "":
			if more {
				more = f(m)
			}
			return false, nil
		case "204":
			a.pending, _ = strconv.ParseUint(get(m.Header, "Nats-Num-Pending"), 10, 64)
			last, _ := strconv.ParseUint(get(m.Header, hdrLast), 10, 64)
			upTo, _ := strconv.ParseUint(get(m.Header, "Nats-UpTo-Sequence"), 10, 64)
			a.last, a.upTo = Seq(last), Seq(upTo)
			return true, nil
		case "404":
			if req.Multi != nil && get(m.Header, "Description") != "No Results" {
				return true, errUnreadable
			}
			a.none = true
			return true, nil
		case "413":
			return true, errTooMany
		case "503":
			return true, nats.ErrNoResponders
		default:
			return true, fmt.Errorf("%w: read from %s: %s %s", errRefused, stream, status, get(m.Header, "Description"))
		}
	})
	return a, err
}

// ask makes one request and hands each message that comes back to f, until f says that it was the last.
func (r *reader) ask(ctx context.Context, subject string, req any, f func(m *nats.Msg) (last bool, err error)) error {
	select {
	case r.l.reads <- struct{}{}:
		defer func() { <-r.l.reads }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	r.n++
	reply := r.inbox + strconv.Itoa(r.n)
	if err := r.l.bulk.PublishRequest(subject, reply, body); err != nil {
		return err
	}
	wait := time.NewTimer(readWait)
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
		if m.Subject != reply && m.Reply == "" { // what a consumer delivers comes under its own subject, with a reply subject
			continue // the rest of a read that was given up
		}
		wait.Reset(readWait)
		if last, err := f(m); last || err != nil {
			return err
		}
	}
}
