package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A Wiper overwrites messages that a stream has no longer in the files where their bytes still are. dead is called with the subject,
// valid during the call, and the sequence of every message in them. messages is how many it has overwritten; left are those in the
// file that NATS adds to, which it must not touch. It is given to Open by who has the files at hand, which is the process that NATS
// runs in; everybody else has only what NATS offers (shred.go).
type Wiper func(ctx context.Context, stream string, dead func(ctx context.Context, subject []byte, seq uint64) (bool, error)) (messages, left int, err error)

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
// each now, and answers of which of them nothing is left there, and how many messages that were. err says why of the others
// something may be. Without a Config.Wiper it does nothing.
func (l *Log) Wipe(ctx context.Context, docs ...Doc) (wiped []Doc, messages int, err error) {
	if !l.CanWipe() {
		return nil, 0, nil
	}
	var errs []error
	ends := make(map[string]Seq)             // of the streams, before what may be stored meanwhile
	first := make(map[kin]map[string]uint64) // by token: what is dead lies below
	ready := make(map[Doc][]kin)             // where each is looked for
	for _, doc := range docs {
		token := doc.Token()
		kinds := l.shardOf(token).kinds()
		below, err := l.firstLive(ctx, kinds, token, ends)
		if err != nil {
			errs = append(errs, fmt.Errorf("wipe %q: %w", doc, err))
			continue
		}
		for i, k := range kinds {
			if first[k] == nil {
				first[k] = make(map[string]uint64)
			}
			first[k][token] = uint64(below[i])
		}
		ready[doc] = kinds
	}
	for k, tokens := range first {
		n, err := l.wipe(ctx, k.stream, k.prefix+filler, func(ctx context.Context, subject []byte, seq uint64) (bool, error) {
			if seq >= tokens[string(k.token(subject))] { // not there: 0
				return false, nil
			}
			return l.notThere(ctx, k.stream, Seq(seq))
		})
		messages += n
		if err != nil {
			errs = append(errs, err)
			for doc, kinds := range ready {
				if slices.Contains(kinds, k) {
					delete(ready, doc)
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(ready)), messages, errors.Join(errs...)
}

// wipe has a stream wiped, the file that NATS adds to as well: NATS is made to begin another.
func (l *Log) wipe(ctx context.Context, stream, nothing string, dead func(context.Context, []byte, uint64) (bool, error)) (messages int, err error) {
	messages, left, err := l.cfg.Wiper(ctx, stream, dead)
	if err != nil || left == 0 {
		return messages, err
	}
	if err := l.roll(ctx, stream, nothing); err != nil {
		return messages, fmt.Errorf("begin a new file of %s: %w", stream, err)
	}
	n, left, err := l.cfg.Wiper(ctx, stream, dead)
	if err == nil && left > 0 {
		err = fmt.Errorf("stream: %d erased messages of %s are in the file that NATS adds to", left, stream)
	}
	return messages + n, err
}

// roll fills what is left of a stream's newest file, and takes that away again.
func (l *Log) roll(ctx context.Context, stream, nothing string) error {
	if stream != metaStream {
		return l.rewrite(ctx, stream, nothing)
	}
	if _, err := l.fill(ctx, stream, nothing); err != nil {
		return err
	}
	// A bucket allows purges alone. What they take out can be back after a crash (nats-server 2.15: PurgeEx writes no tombstones for a block
	// that it empties, and keeps the block where it holds those of others).
	return l.purgeSubject(ctx, stream, nothing)
}

// notThere asks the leader whether it has a message: what is overwritten cannot be had back. A server that is to be restarted answers nobody,
// and waits for the Wiper, so nothing is asked for long.
func (l *Log) notThere(ctx context.Context, stream string, seq Seq) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	m, live, err := l.leaderGet(ctx, stream, getRequest{Seq: seq})
	if live {
		l.log.Error("a message that is alive was taken for one that is erased, and is left alone", "stream", stream, "seq", seq, "subject", m.subject)
	}
	return err == nil && !live, err
}

// firstLive is for each of the kinds the lowest sequence that its stream has of the token, or the one after its end.
func (l *Log) firstLive(ctx context.Context, kinds []kin, token string, ends map[string]Seq) (first []Seq, err error) {
	for _, k := range kinds {
		last, ok := ends[k.stream]
		if !ok {
			if last, err = l.lastSeq(ctx, k.stream); err != nil {
				return nil, err
			}
			ends[k.stream] = last
		}
		below := last + 1
		for _, f := range k.filters(token) {
			m, ok, err := l.firstOf(ctx, k.stream, f)
			if err != nil {
				return nil, err
			}
			if ok {
				below = min(below, m.seq)
			}
		}
		first = append(first, below)
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
func (l *Log) wipeRecords(ctx context.Context, stream, subject, nothing string, seqs []Seq) error {
	_, err := l.wipe(ctx, stream, nothing, func(ctx context.Context, s []byte, seq uint64) (bool, error) {
		if string(s) != subject || !slices.Contains(seqs, Seq(seq)) {
			return false, nil
		}
		return l.notThere(ctx, stream, Seq(seq))
	})
	return err
}

// wipeTime is how long an erasure waits for it; the sweep goes on where that was not enough.
const wipeTime = 20 * time.Second

// wipeNow is the end of an erasure.
func (l *Log) wipeNow(ctx context.Context, doc Doc) {
	ctx, cancel := context.WithTimeout(ctx, wipeTime)
	defer cancel()
	if _, n, err := l.Wipe(ctx, doc); err != nil {
		l.log.Warn("erased, but not all of it is overwritten in the store's files yet; that is tried again", "doc", doc, "messages", n, "err", err)
	}
}
