package jet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// NATS writes six headers into each message of a direct get, and the client parses them: for small messages that is most of the cost
// of a long read. A consumer gives sequence and time in the reply subject, and reads message by message, so that no writer waits for a
// batch. It must be created first, in a cluster by the meta leader.
//
// Unlike a direct get, a consumer may see part of a batch that is being stored. Its messages up to a head are complete all the same:
// the leader reports a head only when everything before it is stored.

const (
	PullBatch    = 1024             // messages per request
	PullBytes    = 1 << 20          // bytes per request; one more message may come
	ConsumerIdle = 10 * time.Second // NATS deletes a consumer that is idle for this long
	consumerWait = 2 * time.Second  // time limit for creating a consumer
	consumerRest = time.Minute      // after a failure to create one, Consume does nothing for this long
)

var (
	errNoMore  = errors.New("stream: the consumer has no more")
	errTooLong = errors.New("stream: the next message is longer than the request allows")
)

type pullRequest struct {
	Batch    int  `json:"batch"`
	MaxBytes int  `json:"max_bytes,omitempty"`
	NoWait   bool `json:"no_wait"`
}

// Consume passes the messages of a filter after a sequence to f, in order, until f returns false. It ends earlier when the consumer's
// replica, which may lag, has no more, and on any error. The messages passed to f have no gap. name is the consumer's name.
func (c *Client) Consume(ctx context.Context, stream, filter, name string, after Seq, f func(Msg) (more bool)) error {
	if time.Now().UnixNano() < c.NoConsumer.Load() {
		return nil
	}
	defer c.Bulk.Publish("$JS.API.CONSUMER.DELETE."+stream+"."+name, nil) // otherwise NATS deletes it after ConsumerIdle
	making, cancel := context.WithTimeout(ctx, consumerWait)
	defer cancel()
	var req struct {
		Stream string `json:"stream_name"`
		Config struct {
			Name     string        `json:"name"`
			Deliver  string        `json:"deliver_policy"`
			From     Seq           `json:"opt_start_seq"`
			Ack      string        `json:"ack_policy"`
			Filter   string        `json:"filter_subject"`
			Idle     time.Duration `json:"inactive_threshold"`
			Replicas int           `json:"num_replicas"`
			Memory   bool          `json:"mem_storage"`
		} `json:"config"`
	}
	conf := &req.Config
	req.Stream, conf.Name, conf.Filter, conf.Idle, conf.Replicas, conf.Memory = stream, name, filter, ConsumerIdle, 1, true
	conf.Deliver, conf.From, conf.Ack = "by_start_sequence", after+1, "none"
	if err := c.Request(making, "CONSUMER.CREATE."+stream+"."+name+"."+filter, req, nil); err != nil {
		if ctx.Err() == nil {
			c.NoConsumer.Store(time.Now().Add(consumerRest).UnixNano())
		}
		return err
	}
	r, err := c.NewReader(PullBatch)
	if err != nil {
		return err
	}
	defer r.Close()
	p := puller{r: r, next: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + name, f: f, more: true}
	for p.more && err == nil {
		err = p.pull(ctx, pullRequest{Batch: PullBatch, MaxBytes: PullBytes, NoWait: true})
		if err == errTooLong {
			err = p.pull(ctx, pullRequest{Batch: 1, NoWait: true})
		}
	}
	return err
}

// puller requests messages from a consumer, batch by batch.
type puller struct {
	r         *Reader
	next      string // subject of the requests
	f         func(Msg) bool
	more      bool   // f wants more
	delivered uint64 // by this consumer
}

// pull makes one request and passes the messages to f. errTooLong: none came, since the next message is longer than MaxBytes.
func (p *puller) pull(ctx context.Context, req pullRequest) error {
	n := 0
	return p.r.ask(ctx, p.next, req, func(m *nats.Msg) (last bool, err error) {
		if m.Reply == "" { // no stored message: NATS ends the request
			switch status, why := Last(m.Header, "Status"), Last(m.Header, "Description"); {
			case status == "404":
				return true, errNoMore
			case status == "409" && strings.EqualFold(why, "Message Size Exceeds MaxBytes"):
				if n == 0 {
					return true, errTooLong
				}
				return true, nil
			case status == "503":
				return true, nats.ErrNoResponders
			default:
				return true, fmt.Errorf("%w: pull: %s %s", ErrRefused, status, why)
			}
		}
		d, ok := deliveryOf(m.Reply)
		if !ok || d.n != p.delivered+1 {
			return true, fmt.Errorf("%w: message %q after %d of a consumer", ErrRefused, m.Reply, p.delivered)
		}
		p.delivered = d.n
		if p.more { // otherwise the rest of the answer is read and dropped, as after a direct get
			p.more = p.f(Msg{Subject: m.Subject, Seq: d.seq, Time: d.time, Header: m.Header, Data: m.Data})
		}
		n++
		return n == req.Batch, nil
	})
}

// delivery is the parsed reply subject of a consumer's message.
type delivery struct {
	seq  Seq
	n    uint64 // messages that the consumer has delivered with this one
	time time.Time
}

// deliveryOf reads $JS.ACK.[domain.account.]stream.consumer.times.sequence.n.nanoseconds.pending[.…] of NATS decision record
// ADR-15.
func deliveryOf(reply string) (d delivery, ok bool) {
	skip := 5
	if dots := strings.Count(reply, "."); dots >= 10 {
		skip = 7
	} else if dots != 8 {
		return d, false
	}
	for range skip {
		_, reply, _ = strings.Cut(reply, ".")
	}
	var v [3]uint64
	for i := range v {
		var field string
		field, reply, _ = strings.Cut(reply, ".")
		var err error
		if v[i], err = strconv.ParseUint(field, 10, 63); err != nil {
			return d, false
		}
	}
	return delivery{seq: Seq(v[0]), n: v[1], time: time.Unix(0, int64(v[2])).UTC()}, v[0] > 0
}
