package stream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// A purge removes messages from a stream, but their bytes stay in the block file until NATS rewrites that file. NATS does so when more
// than half of a block is deleted and it no longer appends to the block. An erasure does not wait for that: it deletes messages one by
// one with a secure delete, which overwrites them, and purges the rest.
//
// No request to NATS reaches the bytes that an earlier trim or purge has left behind. Config.OnErase names the erased messages to the
// owner of the stream's files, which overwrites them once NATS has closed the files.

const (
	// eraseLeast is the number of messages of a subject that Erase overwrites regardless of the time that takes. It overwrites more
	// until eraseTime has passed. NATS rewrites the block of each message: some 10 ms for a block of 8 MB, during which the stream
	// takes no append.
	eraseLeast = 64
	eraseTime  = 10 * time.Second
)

// Erasing names messages that are about to be erased: those of a NATS filter from one sequence to another, both included. Messages
// stored later on the same subjects are not included.
type Erasing struct {
	Stream, Filter string
	First, Last    Seq
}

// Erase removes everything of the document from the streams: log, snapshots, history, presence, and the keys of ymeta that match
// the filters. It overwrites the messages that the streams hold, newest first, as many as it can within eraseTime; the rest is only
// purged, with a warning in the server's log. The caller announces the erasure before, and calls Erase again for records that were
// stored meanwhile.
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

// EraseRecords erases single records of a document with secure deletes. An absent record is not an error.
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

// erasing calls Config.OnErase, if set.
func (l *Log) erasing(list ...Erasing) {
	if l.cfg.OnErase != nil {
		l.cfg.OnErase(list...)
	}
}

// overwrite erases the messages of a filter one by one, newest first: at least eraseLeast, then more until the time until. left is the
// number that remains.
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
