package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Wiper overwrites messages that a stream has no longer in the files where their bytes still are. dead is called with the subject,
// valid during the call, and the sequence of every message in them. It is given to Open by who has the files at hand, which is the process
// that NATS runs in; everybody else has only what NATS offers (shred.go).
type Wiper func(ctx context.Context, stream string, dead func(subject []byte, seq uint64) bool) (messages int, err error)

// CanWipe tells whether Wipe does anything.
func (l *Log) CanWipe() bool { return l.cfg.Wiper != nil }

// kin are subjects of one stream that belong to one document each: a prefix, the document's token, and then what the flags say.
type kin struct {
	stream, prefix string
	alone          bool // the token may end the subject
	more           bool // more may follow the token
}

// filters are the subjects of a document among them, as NATS writes filters.
func (k kin) filters(token string) (list []string) {
	if k.alone {
		list = append(list, k.prefix+token)
	}
	if k.more {
		list = append(list, k.prefix+token+".>")
	}
	return list
}

// token of the document that a subject belongs to, nil if it is none of them.
func (k kin) token(subject []byte) []byte {
	rest, ok := bytes.CutPrefix(subject, []byte(k.prefix))
	token, _, more := bytes.Cut(rest, []byte("."))
	if !ok || more && !k.more || !more && !k.alone {
		return nil
	}
	return token
}

// kinds are all subjects that hold something of the documents of a shard. Tombstones, which are keys of ymeta too, are not among them.
func (s *shard) kinds() []kin {
	return []kin{
		{stream: s.stream, prefix: s.subject(kindLog, ""), alone: true},
		{stream: streamName(kindSnap, s.index()), prefix: s.subject(kindSnap, ""), alone: true, more: true},
		{stream: streamName(kindHist, s.index()), prefix: s.subject(kindHist, ""), more: true},
		{stream: metaStream, prefix: "$KV." + metaBucket + ".version.", more: true},
	}
}

// Wipe overwrites in the store's files whatever the streams have held of the documents before the first message that they hold of
// each now. Without a Config.Wiper it does nothing. messages is how many; beside an error it is what was done before it.
func (l *Log) Wipe(ctx context.Context, docs ...Doc) (messages int, err error) {
	if !l.CanWipe() {
		return 0, nil
	}
	first := make(map[kin]map[string]uint64) // by token: what is dead lies below
	for _, doc := range docs {
		token := doc.Token()
		for _, k := range l.shardOf(token).kinds() {
			below, err := l.firstLive(ctx, k.stream, k.filters(token))
			if err != nil {
				return 0, fmt.Errorf("wipe %q: %w", doc, err)
			}
			if first[k] == nil {
				first[k] = make(map[string]uint64)
			}
			first[k][token] = uint64(below)
		}
	}
	for k, tokens := range first {
		var doubt error
		n, err := l.cfg.Wiper(ctx, k.stream, func(subject []byte, seq uint64) bool {
			if seq >= tokens[string(k.token(subject))] || doubt != nil { // not there: 0
				return false
			}
			// What is overwritten cannot be had back: the leader has the last word on each.
			// A server that is to be restarted is waited for by nobody, and waits for the Wiper.
			ctx, cancel := context.WithTimeout(ctx, readWait)
			defer cancel()
			_, live, err := l.leaderGet(ctx, k.stream, getRequest{Seq: Seq(seq)})
			if err == nil && live {
				err = fmt.Errorf("stream: message %d of %s is to be overwritten and is there", seq, k.stream)
			}
			doubt = err
			return err == nil
		})
		messages += n
		if err = errors.Join(err, doubt); err != nil {
			return messages, err
		}
	}
	return messages, nil
}

// firstLive is the lowest sequence that a stream has of any of the filters, or the one after its end.
func (l *Log) firstLive(ctx context.Context, stream string, filters []string) (Seq, error) {
	last, err := l.lastSeq(ctx, stream) // before what may be stored meanwhile
	if err != nil {
		return 0, err
	}
	first := last + 1
	for _, f := range filters {
		m, ok, err := l.firstOf(ctx, stream, f)
		if err != nil {
			return 0, err
		}
		if ok {
			first = min(first, m.seq)
		}
	}
	return first, nil
}

// firstOf reads the first message of a filter. NATS answers that there is none also where it cannot read the files just now, or closes
// the store since the disk is full. What it counts it has in memory.
func (l *Log) firstOf(ctx context.Context, stream, filter string) (m stored, ok bool, err error) {
	for range 2 { // one may be stored between the two questions
		m, ok, err = l.leaderGet(ctx, stream, getRequest{Seq: 1, NextFor: filter})
		if err != nil || ok {
			return m, ok, err
		}
		found, err := l.subjects(ctx, stream, filter)
		if err != nil || len(found) == 0 {
			return m, false, err
		}
	}
	return m, false, fmt.Errorf("%w: none of the messages on %s can be read", ErrDamaged, filter)
}

// wipeRecords does it to single records of a document, which were deleted.
func (l *Log) wipeRecords(ctx context.Context, stream, subject string, seqs []Seq) error {
	_, err := l.cfg.Wiper(ctx, stream, func(s []byte, seq uint64) bool {
		return string(s) == subject && slices.Contains(seqs, Seq(seq))
	})
	return err
}

// wipeTime is how long an erasure waits for it; the sweep goes on where that was not enough.
const wipeTime = 20 * time.Second

// wipeNow is the end of an erasure.
func (l *Log) wipeNow(ctx context.Context, doc Doc) {
	ctx, cancel := context.WithTimeout(ctx, wipeTime)
	defer cancel()
	if n, err := l.Wipe(ctx, doc); err != nil {
		l.log.Warn("erased, but not all of it is overwritten in the store's files yet; that is tried again", "doc", doc, "messages", n, "err", err)
	}
}
