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
// What an earlier trim or purge took out of a stream is not in it any more, so no request to NATS reaches those bytes. The owner of the
// stream's files is told what is erased (Config.OnErase), and overwrites it when NATS has them closed.

const (
	// eraseLeast is the number of messages of a subject that Erase overwrites however long that takes. It overwrites more until
	// eraseTime has passed. NATS rewrites the block of each message: some 10 ms for a block of 8 MB, during which the stream
	// takes no append.
	eraseLeast = 64
	eraseTime  = 10 * time.Second
)

// Erasing names messages that are about to be erased: those of a NATS filter from a sequence to another, both included. What is stored
// later under the same names is not among them.
type Erasing struct {
	Stream, Filter string
	First, Last    Seq
}

// Erase removes everything of the document from the streams: log, snapshots, history, presence, and the keys of ymeta that match
// the filters. NATS overwrites the messages that
// the streams hold at the time, the newest first and as many as it manages in eraseTime; the log warns of the rest, which is only
// purged. The caller has announced the erasure, and calls Erase again for what was being stored meanwhile.
func (l *Log) Erase(ctx context.Context, doc Doc, keys ...string) error {
	path := doc.Path()
	s := l.shardOf(path)
	snap, hist := s.no.Stream(name.Snap), s.no.Stream(name.Hist)
	list := []Erasing{ // none matches anything of another document
		{Stream: s.stream, Filter: s.no.Subject(name.Log, path)},
		{Stream: snap, Filter: s.no.Head(path)},
		{Stream: snap, Filter: s.no.Parts(path)},
		{Stream: hist, Filter: s.no.Segments(path)},
	}
	for _, k := range keys {
		list = append(list, Erasing{Stream: name.MetaStream, Filter: name.Meta(k)})
	}
	for i := range list {
		last, err := l.jet.LastSeq(ctx, list[i].Stream)
		if err != nil {
			return fmt.Errorf("erase %q: %w", doc, err)
		}
		list[i].First, list[i].Last = 1, last
	}
	l.erasing(list...)
	until := time.Now().Add(l.eraseTime)
	for _, p := range list {
		if p.Stream == name.MetaStream {
			continue
		}
		left, err := l.overwrite(ctx, p.Stream, p.Filter, until)
		if err != nil {
			return fmt.Errorf("erase %q: %w", doc, err)
		}
		if left > 0 {
			l.log.Warn("erased without overwriting everything: the rest lies in the stream's files until NATS rewrites them",
				"doc", doc, "stream", p.Stream, "messages", left)
		}
		if err := l.jet.PurgeInTurn(ctx, p.Stream, p.Filter, 0); err != nil {
			return fmt.Errorf("erase %q: %w", doc, err)
		}
	}
	for _, k := range keys {
		if err := l.meta.Purge(ctx, k); err != nil {
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
	path := doc.Path()
	s := l.shardOf(path)
	var list []Erasing
	for _, seq := range seqs {
		list = append(list, Erasing{s.stream, s.no.Subject(name.Log, path), seq, seq})
	}
	l.erasing(list...)
	for _, seq := range seqs {
		if err := l.jet.Erase(ctx, s.stream, seq); err != nil {
			return fmt.Errorf("erase record %d of %q: %w", seq, doc, err)
		}
	}
	return nil
}

// erasing tells the owner of the stream's files.
func (l *Log) erasing(list ...Erasing) {
	if l.cfg.OnErase != nil {
		l.cfg.OnErase(list...)
	}
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
