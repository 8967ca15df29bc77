package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// NATS writes six headers into each message of a direct get, one after the other, and the client parses them: for small records
// that is most of what a replay costs. A consumer tells sequence and time in the reply subject, and reads message by message, so
// that no writer waits for a batch. It has to be made first, in a cluster by a decision of the meta leader: only a long replay
// does so.
//
// Unlike a direct get it may see a part of a batch that is being stored. What has been handed on up to a head is whole all the
// same: the head was told when all before it was stored.

const (
	manyLeft     = 2 * replayBatch // records left, from which on making a consumer pays
	pullBatch    = 2 * replayBatch // records asked for at a time
	consumerWait = 2 * time.Second // for one to be made
	consumerIdle = 10 * time.Second
	consumerRest = time.Minute // after none could be made: direct gets do without, and nobody waits in vain
)

var (
	errNoMore  = errors.New("stream: the consumer has no more")
	errTooLong = errors.New("stream: the next message is longer than what was asked for")
)

type pullRequest struct {
	Batch    int  `json:"batch"`
	MaxBytes int  `json:"max_bytes,omitempty"`
	NoWait   bool `json:"no_wait"`
}

// consume hands the records of a subject after a sequence to f, in order, until f says no more. It ends sooner when there are no
// more where the consumer is, which may lag, and with every error: f has seen all records up to the last one it has seen.
func (l *Log) consume(ctx context.Context, s *shard, subject string, after Seq, f func(Record) bool) error {
	if time.Now().UnixNano() < l.noConsumer.Load() {
		return nil
	}
	name := randomName()
	defer l.bulk.Publish("$JS.API.CONSUMER.DELETE."+s.stream+"."+name, nil) // else NATS does it when it has been idle
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
	c := &req.Config
	req.Stream, c.Name, c.Filter, c.Idle, c.Replicas, c.Memory = s.stream, name, subject, consumerIdle, 1, true
	c.Deliver, c.From, c.Ack = "by_start_sequence", after+1, "none"
	if err := l.request(making, "CONSUMER.CREATE."+s.stream+"."+name+"."+subject, req, nil); err != nil {
		if ctx.Err() == nil {
			l.noConsumer.Store(time.Now().Add(consumerRest).UnixNano())
		}
		return err
	}
	r, err := l.newReader(pullBatch)
	if err != nil {
		return err
	}
	defer r.close()
	p := puller{r: r, next: "$JS.API.CONSUMER.MSG.NEXT." + s.stream + "." + name, f: f, more: true}
	for p.more && err == nil {
		err = p.pull(ctx, pullRequest{Batch: pullBatch, MaxBytes: replayBytes, NoWait: true})
		if err == errTooLong {
			err = p.pull(ctx, pullRequest{Batch: 1, NoWait: true})
		}
	}
	return err
}

// puller asks a consumer for messages, some at a time.
type puller struct {
	r         *reader
	next      string // the subject to ask on
	f         func(Record) bool
	more      bool   // f wants more
	delivered uint64 // by this consumer
}

// pull makes one request and hands what comes to f. errTooLong: nothing came, since the next message has more than MaxBytes.
func (p *puller) pull(ctx context.Context, req pullRequest) error {
	n := 0
	return p.r.ask(ctx, p.next, req, func(m *nats.Msg) (last bool, err error) {
		if m.Reply == "" { // no stored message: NATS ends the request
			switch status, why := get(m.Header, "Status"), get(m.Header, "Description"); {
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
				return true, fmt.Errorf("%w: pull: %s %s", errRefused, status, why)
			}
		}
		d, ok := deliveryOf(m.Reply)
		if !ok || d.n != p.delivered+1 {
			return true, fmt.Errorf("%w: message %q after %d of a consumer", errRefused, m.Reply, p.delivered)
		}
		p.delivered = d.n
		if p.more { // else the rest is taken in all the same, as after a direct get
			rec := Record{Seq: d.seq, Stored: d.time, Update: m.Data}
			rec.fill(m.Header)
			p.more = p.f(rec)
		}
		n++
		return n == req.Batch, nil
	})
}

// delivery is what the reply subject of a consumer's message tells.
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
