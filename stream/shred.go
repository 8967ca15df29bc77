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

// A purge takes messages out of a stream, but their bytes stay in the block file until NATS writes that file anew, which it
// does when more than half of it is deleted and it is no longer the one that is appended to. What was erased for good must
// not wait for that. Who has the files at hand overwrites it there (wipe.go). Who has not does what NATS offers: what is there yet
// is overwritten by it message by message, and the last block is filled up with nothing, deleted again, so that NATS writes it
// anew; what was trimmed before and lies among other documents' records is out of reach.

const (
	// shredLeast is how many messages of a subject are overwritten whatever it takes; more are until Erase has spent shredTime
	// on it. Each costs NATS a rewrite of its block: some 10 ms for one of 8 MB, during which nobody writes to the stream.
	shredLeast = 64
	shredTime  = 10 * time.Second
	// filler is the name that the nothing is stored under; no document has such a token.
	filler = "=fill"
	// blockSize is what a block of a stream's file holds at most (nats-server, defaultLargeBlockSize).
	blockSize = 8 << 20
)

// Erase removes everything of the document, log, snapshots, history, presence, and sees to it as far as it can that the bytes
// go from the disk too: by the Wiper if there is one. The caller has told everybody before, and calls it again when what was on its
// way has landed.
func (l *Log) Erase(ctx context.Context, doc Doc) error {
	token := doc.Token()
	s := l.shardOf(token)
	snap, hist := streamName(kindSnap, s.index()), streamName(kindHist, s.index())
	until := time.Now().Add(l.shred)
	for _, p := range []struct{ stream, subject string }{
		{s.stream, s.subject(kindLog, token)},
		{snap, s.subject(kindSnap, token)},
		{snap, s.subject(kindSnap, token) + ".>"},
		{hist, s.subject(kindHist, token) + ".>"},
		{"KV_" + presBucket, "$KV." + presBucket + "." + token + ".*"}, // which is memory
	} {
		if !l.CanWipe() && p.stream != "KV_"+presBucket {
			left, err := l.overwrite(ctx, p.stream, p.subject, until)
			if err != nil {
				return fmt.Errorf("erase %q: %w", doc, err)
			}
			if left > 0 {
				l.log.Warn("erased without overwriting all of it: the rest is in the stream's files until NATS writes them anew",
					"doc", doc, "stream", p.stream, "messages", left)
			}
		}
		if err := l.purge(ctx, s, p.stream, p.subject, 0); err != nil {
			return fmt.Errorf("erase %q: %w", doc, err)
		}
	}
	if l.CanWipe() {
		l.wipeNow(ctx, doc)
		return nil
	}
	for kind, stream := range map[string]string{kindLog: s.stream, kindSnap: snap, kindHist: hist} {
		if err := l.rewrite(ctx, stream, s.subject(kind, filler)); err != nil {
			return fmt.Errorf("erase %q: %w", doc, err)
		}
	}
	return nil
}

// Remove deletes single records of a document and overwrites them where they lie. Records that are not there are fine.
func (l *Log) Remove(ctx context.Context, doc Doc, seqs ...Seq) error {
	token := doc.Token()
	s := l.shardOf(token)
	for _, seq := range seqs {
		// NATS overwrites a record by writing its whole block from memory, with what a Wiper took out of the file.
		if err := l.deleteMsg(ctx, s.stream, seq, !l.CanWipe()); err != nil {
			return fmt.Errorf("remove record %d of %q: %w", seq, doc, err)
		}
	}
	if l.CanWipe() {
		if err := l.wipeRecords(ctx, s.stream, s.subject(kindLog, token), s.subject(kindLog, filler), seqs); err != nil {
			return fmt.Errorf("overwrite records of %q: %w", doc, err)
		}
	}
	return nil
}

func (l *Log) deleteMsg(ctx context.Context, stream string, seq Seq, overwrite bool) error {
	req := struct {
		Seq     Seq  `json:"seq"`
		NoErase bool `json:"no_erase,omitempty"`
	}{seq, !overwrite}
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

// overwrite deletes the messages of a filter one by one, the newest first, and overwrites them: all it comes to before until, and
// some in any case. left is how many it did not come to.
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
		if done := len(seqs) - 1 - i; done >= shredLeast && time.Now().After(until) {
			return i + 1, nil
		}
		if err := l.deleteMsg(ctx, stream, seq, true); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// rewrite makes NATS begin a new block and write the former one without what is deleted.
func (l *Log) rewrite(ctx context.Context, stream, subject string) error {
	seqs, err := l.fill(ctx, stream, subject)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readWait) // nobody else takes the nothing away
	defer cancel()
	for _, seq := range seqs {
		if err := l.deleteMsg(ctx, stream, seq, false); err != nil {
			return err
		}
	}
	// And what others left who did not come to it, or had no answer. Not that alone: see roll.
	if e := l.purgeSubject(ctx, stream, subject); err == nil {
		err = e
	}
	return err
}

// fill stores as much nothing as a block holds, and answers its sequences, beside an error too.
func (l *Log) fill(ctx context.Context, stream, subject string) (seqs []Seq, err error) {
	m := nats.NewMsg(subject)
	m.Data = make([]byte, min(1<<20, l.MaxUpdate()))
	for n := 0; n <= blockSize; n += len(m.Data) {
		seq, err := publish(ctx, l.bulk, m)
		if err != nil {
			return seqs, fmt.Errorf("fill the newest block of %s: %w", stream, err)
		}
		seqs = append(seqs, seq)
	}
	return seqs, nil
}
