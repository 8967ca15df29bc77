package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A purge takes messages out of a stream, but their bytes stay in the block file until NATS writes that file anew. NATS does that
// when more than half of a block is deleted and the block is no longer the one that it appends to. An erasure does not wait for
// that: it deletes the messages one by one in the way that has NATS overwrite them (a secure delete), and purges what remains.
//
// What an earlier trim or purge took out of a stream is not in it any more, so no request to NATS reaches those bytes.

const (
	// eraseLeast is the number of messages of a subject that Erase overwrites however long that takes. It overwrites more until
	// eraseTime has passed. NATS rewrites the block of each message: some 10 ms for a block of 8 MB, during which the stream
	// takes no append.
	eraseLeast = 64
	eraseTime  = 10 * time.Second
)

// Erase removes everything of the document from the streams: log, snapshots, history, presence. NATS overwrites the messages that
// the streams hold at the time, the newest first and as many as it manages in eraseTime; the log warns of the rest, which is only
// purged. The caller has announced the erasure, and calls Erase again for what was being stored meanwhile.
func (l *Log) Erase(ctx context.Context, doc Doc) error {
	token := doc.Token()
	s := l.shardOf(token)
	snap, hist := streamName(kindSnap, s.index()), streamName(kindHist, s.index())
	until := time.Now().Add(l.eraseTime)
	for _, p := range []struct {
		stream, subject string
		memory          bool // no file holds it
	}{
		{s.stream, s.subject(kindLog, token), false},
		{snap, s.subject(kindSnap, token), false},
		{snap, s.subject(kindSnap, token) + ".>", false},
		{hist, s.subject(kindHist, token) + ".>", false},
		{"KV_" + presBucket, "$KV." + presBucket + "." + token + ".*", true},
	} {
		if !p.memory {
			left, err := l.overwrite(ctx, p.stream, p.subject, until)
			if err != nil {
				return fmt.Errorf("erase %q: %w", doc, err)
			}
			if left > 0 {
				l.log.Warn("erased without overwriting everything: the rest lies in the stream's files until NATS rewrites them",
					"doc", doc, "stream", p.stream, "messages", left)
			}
		}
		if err := l.purge(ctx, s, p.stream, p.subject, 0); err != nil {
			return fmt.Errorf("erase %q: %w", doc, err)
		}
	}
	return nil
}

// EraseRecords deletes single records of a document and has NATS overwrite them. A record that is not there is no error.
func (l *Log) EraseRecords(ctx context.Context, doc Doc, seqs ...Seq) error {
	s := l.shardOf(doc.Token())
	for _, seq := range seqs {
		if err := l.eraseMsg(ctx, s.stream, seq); err != nil {
			return fmt.Errorf("erase record %d of %q: %w", seq, doc, err)
		}
	}
	return nil
}

// eraseMsg has NATS delete and overwrite one message. A message that is not there is no error.
func (l *Log) eraseMsg(ctx context.Context, stream string, seq Seq) error {
	req := struct {
		Seq Seq `json:"seq"`
	}{seq}
	return retry(ctx, func(ctx context.Context) error {
		err := l.request(ctx, "STREAM.MSG.DELETE."+stream, req, nil)
		var api *apiError
		if errors.As(err, &api) && (api.ErrCode == errCodeNoMessage || api.ErrCode == errCodeNoSequence ||
			api.ErrCode == errCodeDeleteFailed && (strings.Contains(api.Description, "no message found") || strings.Contains(api.Description, "store EOF") ||
				strings.Contains(api.Description, "deleted message"))) { // the store's ways to say that it is not there
			return nil
		}
		return err
	})
}

const (
	errCodeNoSequence   = 10043
	errCodeDeleteFailed = 10057
)

// overwrite erases the messages of a filter one by one, the newest first: eraseLeast of them in any case, then more until the time
// is over. left is the number of those that remain.
func (l *Log) overwrite(ctx context.Context, stream, filter string, until time.Time) (left int, err error) {
	r, err := l.newReader(1000)
	if err != nil {
		return 0, err
	}
	defer r.close()
	var seqs []Seq
	for at := Seq(0); ; {
		last := at
		a, err := r.get(ctx, stream, getRequest{NextFor: filter, Seq: at + 1, Batch: 1000, MaxBytes: 4 << 20}, func(m *nats.Msg) bool {
			seq, _ := strconv.ParseUint(get(m.Header, hdrSeq), 10, 64)
			last = Seq(seq)
			seqs = append(seqs, last)
			return true
		})
		if err != nil {
			return 0, err
		}
		if a.none || a.pending == 0 || last == at {
			break
		}
		at = last
	}
	for i, seq := range slices.Backward(seqs) {
		if done := len(seqs) - 1 - i; done >= eraseLeast && time.Now().After(until) {
			return i + 1, nil
		}
		if err := l.eraseMsg(ctx, stream, seq); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
