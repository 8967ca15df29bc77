package stream

import (
	"bytes"
	"context"
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

// Wipe overwrites in the store's files whatever the streams have held of the documents before the first message that they hold of
// each now. Without a Config.Wiper it does nothing. messages is how many; beside an error it is what was done before it.
func (l *Log) Wipe(ctx context.Context, docs ...Doc) (messages int, err error) {
	if !l.CanWipe() {
		return 0, nil
	}
	type part struct {
		stream string
		at     int // which part of the subject is the token
	}
	first := make(map[part]map[string]uint64) // by stream and token: what is dead lies below
	for _, doc := range docs {
		token := doc.Token()
		s := l.shardOf(token)
		snap := part{streamName(kindSnap, s.index()), 2}
		for _, p := range []struct {
			part
			filters []string
		}{
			{part{s.stream, 2}, []string{s.subject(kindLog, token)}},
			{snap, []string{s.subject(kindSnap, token), s.subject(kindSnap, token) + ".>"}},
			{part{streamName(kindHist, s.index()), 2}, []string{s.subject(kindHist, token) + ".>"}},
			{part{metaStream, 3}, []string{"$KV." + metaBucket + ".*." + token + ".>"}},
		} {
			below, err := l.firstLive(ctx, p.stream, p.filters)
			if err != nil {
				return 0, fmt.Errorf("wipe %q: %w", doc, err)
			}
			if first[p.part] == nil {
				first[p.part] = make(map[string]uint64)
			}
			first[p.part][token] = uint64(below)
		}
	}
	for p, tokens := range first {
		n, err := l.cfg.Wiper(ctx, p.stream, func(subject []byte, seq uint64) bool {
			return seq < tokens[string(tokenAt(subject, p.at))] // not there: 0
		})
		messages += n
		if err != nil {
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
		m, ok, err := l.leaderGet(ctx, stream, getRequest{Seq: 1, NextFor: f})
		if err != nil {
			return 0, err
		}
		if ok {
			first = min(first, m.seq)
		}
	}
	return first, nil
}

// wipeRecords does it to single records of a document, which were deleted.
func (l *Log) wipeRecords(ctx context.Context, stream, subject string, seqs []Seq) error {
	_, err := l.cfg.Wiper(ctx, stream, func(s []byte, seq uint64) bool {
		return string(s) == subject && slices.Contains(seqs, Seq(seq))
	})
	return err
}

// tokenAt is part i of a subject, from 0; empty when there are fewer.
func tokenAt(subject []byte, i int) []byte {
	for ; i > 0; i-- {
		dot := bytes.IndexByte(subject, '.')
		if dot < 0 {
			return nil
		}
		subject = subject[dot+1:]
	}
	if dot := bytes.IndexByte(subject, '.'); dot >= 0 {
		return subject[:dot]
	}
	return subject
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
