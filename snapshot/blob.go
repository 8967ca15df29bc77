package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"yjet/stream"
	"yjet/stream/name"
)

// blobs reads and writes the content of YSNAP and YHIST: chunks of states, segments and heads. Every read is checked.
type blobs struct {
	*core
}

// putState stores state as chunks ysnap.NN.part.<attempt>.<i>.<doc>, counting i from first.
func (s *blobs) putState(ctx context.Context, doc stream.Doc, attempt string, first int, state []byte) ([]blobRef, error) {
	size := min(inlineMax, s.log.MaxUpdate())
	parts := make([]blobRef, 0, len(state)/size+1)
	for i := first; len(state) > 0 || i == first; i++ {
		chunk := state[:min(size, len(state))]
		state = state[len(chunk):]
		p := blobRef{Subject: s.log.Blobs().ChunkSubject(doc, attempt, i), Bytes: len(chunk), Sum: sumOf(chunk)}
		if _, err := s.log.Blobs().Put(ctx, p.Subject, stream.Blob{Header: map[string]string{hdrSum: p.Sum}, Data: chunk}); err != nil {
			return parts, fmt.Errorf("store chunk %s: %w", p.Subject, err)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// getBlob reads a blob and checks it. errDamaged: the blob is missing or incomplete.
func (s *blobs) getBlob(ctx context.Context, ref blobRef) ([]byte, error) {
	b, ok, err := s.log.Blobs().Get(ctx, ref.Subject)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref.Subject, err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s is missing", errDamaged, ref.Subject)
	}
	if got := sumOf(b.Data); len(b.Data) != ref.Bytes || got != ref.Sum {
		return nil, fmt.Errorf("%w: %s has %d bytes with checksum %s, want %d with %s", errDamaged, ref.Subject, len(b.Data), got, ref.Bytes, ref.Sum)
	}
	return b.Data, nil
}

// getState reads the chunks of a state, a few at a time, each to its place, and checks the whole.
func (s *blobs) getState(ctx context.Context, parts []blobRef, size int, sum string) ([]byte, error) {
	total := 0
	for _, p := range parts {
		total += p.Bytes
	}
	if total != size || size < 0 {
		return nil, fmt.Errorf("%w: chunks of %d bytes for a state of %d", errDamaged, total, size)
	}
	state := make([]byte, size)
	errs := make([]error, len(parts))
	slots := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for i, at := 0, 0; i < len(parts); i++ {
		place := state[at : at+parts[i].Bytes]
		at += parts[i].Bytes
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var chunk []byte
			chunk, errs[i] = s.getBlob(ctx, parts[i])
			copy(place, chunk)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if got := sumOf(state); got != sum {
		return nil, fmt.Errorf("%w: state has checksum %s, want %s", errDamaged, got, sum)
	}
	return state, nil
}

// state reads the state of a head.
func (s *blobs) state(ctx context.Context, h *head) ([]byte, error) {
	if len(h.info.Parts) == 0 {
		return h.inline, nil
	}
	return s.getState(ctx, h.info.Parts, h.info.Bytes, h.info.Sum)
}

// snapHead reads the head from the leader. Nil: there is none. For a head that does not decode it returns errDamaged, with the revision
// that a new head must replace.
func (s *blobs) snapHead(ctx context.Context, doc stream.Doc) (h *head, rev stream.Seq, err error) {
	b, ok, err := s.log.Blobs().Head(ctx, doc)
	if errors.Is(err, stream.ErrDamaged) {
		return nil, 0, fmt.Errorf("%w: read snapshot head of %q: %w", errDamaged, doc, err) // NATS takes its revision for 0, too
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read snapshot head of %q: %w", doc, err)
	}
	if !ok {
		return nil, 0, nil
	}
	h, err = decodeHead(b)
	return h, b.Rev, err
}

// attemptOf returns the attempt in the subject of a chunk or segment.
func attemptOf(subject string) string {
	b, _ := name.ParseBlob(subject)
	return b.Attempt
}

// segment reads one packed run of records.
func (s *blobs) segment(ctx context.Context, ref segmentRef) ([]stream.Record, error) {
	recs, _, err := s.readSegment(ctx, ref, true)
	return recs, err
}

// segmentTable reads the users, times and update sizes of one packed run, without the updates.
func (s *blobs) segmentTable(ctx context.Context, ref segmentRef) (recs []stream.Record, sizes []int, err error) {
	return s.readSegment(ctx, ref, false)
}

func (s *blobs) readSegment(ctx context.Context, ref segmentRef, bodies bool) ([]stream.Record, []int, error) {
	b, err := s.getBlob(ctx, ref.blobRef)
	if err != nil {
		return nil, nil, err
	}
	recs, sizes, err := s.codec.unpack(b, bodies)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", ref.Subject, err)
	}
	if n := len(recs); n != ref.Records || recs[0].Seq != ref.From || recs[n-1].Seq != ref.To {
		return nil, nil, fmt.Errorf("%w: %s has %d records, %d to %d, want %d, %d to %d", errDamaged, ref.Subject, n, recs[0].Seq, recs[n-1].Seq, ref.Records, ref.From, ref.To)
	}
	return recs, sizes, nil
}
