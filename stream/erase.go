package stream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"yjet/stream/jet"
	"yjet/stream/name"
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
	path := doc.Path()
	s := l.shardOf(path)
	snap, hist := s.no.Stream(name.Snap), s.no.Stream(name.Hist)
	until := time.Now().Add(l.eraseTime)
	for _, p := range []struct{ stream, filter string }{ // none matches anything of another document
		{s.stream, s.no.Subject(name.Log, path)},
		{snap, s.no.Head(path)},
		{snap, s.no.Parts(path)},
		{hist, s.no.Segments(path)},
	} {
		left, err := l.overwrite(ctx, p.stream, p.filter, until)
		if err != nil {
			return fmt.Errorf("erase %q: %w", doc, err)
		}
		if left > 0 {
			l.log.Warn("erased without overwriting everything: the rest lies in the stream's files until NATS rewrites them",
				"doc", doc, "stream", p.stream, "messages", left)
		}
		if err := l.jet.PurgeInTurn(ctx, p.stream, p.filter, 0); err != nil {
			return fmt.Errorf("erase %q: %w", doc, err)
		}
	}
	if err := l.presence.Purge(ctx, doc); err != nil {
		return fmt.Errorf("erase %q: %w", doc, err)
	}
	return nil
}

// EraseRecords deletes single records of a document and has NATS overwrite them. A record that is not there is no error.
func (l *Log) EraseRecords(ctx context.Context, doc Doc, seqs ...Seq) error {
	s := l.shardOf(doc.Path())
	for _, seq := range seqs {
		if err := l.jet.Erase(ctx, s.stream, seq); err != nil {
			return fmt.Errorf("erase record %d of %q: %w", seq, doc, err)
		}
	}
	return nil
}

// overwrite erases the messages of a filter one by one, the newest first: eraseLeast of them in any case, then more until the time
// is over. left is the number of those that remain.
func (l *Log) overwrite(ctx context.Context, stream, filter string, until time.Time) (left int, err error) {
	var seqs []Seq
	if err := l.jet.Walk(ctx, stream, filter, 0, func(m jet.Msg) { seqs = append(seqs, m.Seq) }); err != nil {
		return 0, err
	}
	for i, seq := range slices.Backward(seqs) {
		if done := len(seqs) - 1 - i; done >= eraseLeast && time.Now().After(until) {
			return i + 1, nil
		}
		if err := l.jet.Erase(ctx, stream, seq); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
