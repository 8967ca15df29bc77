package snapshot

import (
	"context"
	"fmt"
	"time"

	"yjet/stream"
)

// orphanAge is how old a blob must be before the sweep takes it for rubbish: a fold that writes it now names it within minutes.
const orphanAge = time.Hour

// Swept is what a sweep did.
type Swept struct {
	Docs    int // looked at
	Orphans int // blobs removed that no head named
	Folded  int // documents folded because their tail was older than a day, or history was past its age
}

// Sweep looks at every document once: removes what no head names, folds tails older than a day, drops history past its age.
// It takes its time: it works no more than one fifth of it.
func (s *Store) Sweep(ctx context.Context) (Swept, error) {
	var did Swept
	for after := ""; ; {
		docs, err := s.log.Docs(ctx, "", after, 500)
		if err != nil {
			return did, err
		}
		if len(docs) == 0 {
			return did, nil
		}
		for _, d := range docs {
			start := time.Now()
			one, err := s.sweepDoc(ctx, d.Doc, orphanAge)
			if ctx.Err() != nil {
				return did, ctx.Err()
			}
			if err != nil {
				s.lg.Warn("document not swept", "doc", d.Doc, "err", err)
			}
			did.Docs++
			did.Orphans += one.Orphans
			did.Folded += one.Folded
			if err := sleep(ctx, 4*time.Since(start)); err != nil {
				return did, err
			}
			after = string(d.Doc)
		}
	}
}

func (s *Store) sweepDoc(ctx context.Context, doc stream.Doc, minAge time.Duration) (did Swept, err error) {
	// The list before the head: what is written in between is not in it.
	blobs, err := s.log.Blobs(ctx, doc)
	if err != nil {
		return did, err
	}
	h, _, err := s.snapHead(ctx, doc)
	if err != nil {
		return did, err // nothing is removed on the word of a head that cannot be read
	}
	named := h.names()
	for _, subject := range blobs {
		if named[subject] {
			continue
		}
		if minAge > 0 {
			b, ok, err := s.log.GetBlob(ctx, subject)
			if err != nil {
				return did, fmt.Errorf("read %s: %w", subject, err)
			}
			if !ok || time.Since(b.Time) < minAge {
				continue
			}
		}
		if err := s.log.RemoveBlob(ctx, subject); err != nil {
			return did, err
		}
		did.Orphans++
		s.metrics.orphans.Inc()
	}
	return did, nil
}
