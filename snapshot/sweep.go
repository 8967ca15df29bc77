package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"yjet/stream"
)

// Swept counts the work of a sweep.
type Swept struct {
	Docs    int // checked
	Orphans int // blobs removed that no head named
	Folded  int // documents folded because their tail was older than a day and not short, or history was past its age
	Damaged int // documents found damaged
}

// firstSweep is the shortest wait before a server's first sweep, so that the busy minutes after its start are over.
const firstSweep = 10 * time.Minute

// sweeper checks every document from time to time.
type sweeper struct {
	*core
	*blobs
	*damages
	*compactor
	*verifier
	*eraser

	swept atomic.Int64 // sweeps finished
}

// run sweeps from time to time until the Store closes.
func (s *sweeper) run(every time.Duration) {
	defer s.work.Done()
	// Servers that start together should not all sweep together.
	wait := min(firstSweep, every) + rand.N(min(firstSweep, every))
	for {
		select {
		case <-time.After(wait):
		case <-s.closing.Done():
			return
		}
		start := time.Now()
		did, err := s.Sweep(s.closing)
		if s.closing.Err() != nil {
			return
		}
		if err != nil {
			s.lg.Warn("sweep not finished", "err", err)
		}
		s.swept.Add(1)
		s.lg.Info("store swept", "documents", did.Docs, "orphans", did.Orphans, "folded", did.Folded, "damaged", did.Damaged, "took", time.Since(start))
		wait = every/2 + rand.N(every)
	}
}

// Sweep visits every document once. It checks the bytes and counters of all stored data, removes blobs that no head names, folds tails
// older than a day unless they are short, drops history past its age, and removes records that stale clients stored in erased
// documents. It works for at most one fifth of the time and rests for the remainder.
func (s *sweeper) Sweep(ctx context.Context) (Swept, error) {
	var did Swept
	erased, err := s.log.Meta().List(ctx, "erased.>")
	if err != nil {
		return did, err
	}
	for _, e := range erased {
		var t tombstone
		if json.Unmarshal(e.Value, &t) != nil {
			continue
		}
		if err := s.sweepErased(ctx, t.Doc); err != nil {
			s.lg.Warn("erased document not swept", "doc", t.Doc, "err", err)
		}
	}
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
			one, err := s.sweepDoc(ctx, d.Doc, s.opt.OrphanAge)
			if err == nil {
				one.Folded, err = s.foldStale(ctx, d)
			}
			if err == nil {
				one.Damaged, err = s.scrub(ctx, d.Doc)
			}
			if ctx.Err() != nil {
				return did, ctx.Err()
			}
			if err != nil && !errors.Is(err, ErrPaused) && !errors.Is(err, ErrRaced) {
				s.lg.Warn("document not swept", "doc", d.Doc, "err", err)
			}
			did.Docs++
			did.Orphans += one.Orphans
			did.Folded += one.Folded
			did.Damaged += one.Damaged
			if err := sleep(ctx, 4*time.Since(start)); err != nil {
				return did, err
			}
			after = string(d.Doc)
		}
	}
}

// foldStale folds a document whose tail is older than a day and not short, or whose history holds records past their age.
func (s *sweeper) foldStale(ctx context.Context, d stream.DocInfo) (folded int, err error) {
	h, _, err := s.snapHead(ctx, d.Doc)
	if err != nil {
		return 0, err
	}
	var covered stream.Seq
	if h != nil {
		covered = h.upto
	}
	if h == nil || d.Last > covered {
		if time.Since(d.LastAt) < staleAfter {
			return 0, nil
		}
		n, err := s.fold(ctx, d.Doc, whenStale)
		if err != nil || n == covered {
			return 0, err
		}
		return 1, nil
	}
	if s.keep.age == 0 || len(h.info.History) == 0 || time.Since(time.UnixMilli(h.info.History[0].EndMS)) < s.keep.age {
		return 0, nil
	}
	horizon := h.info.Horizon
	changed, err := s.amend(ctx, d.Doc, h, func(c *compaction) (bool, error) {
		if err := c.retain(ctx); err != nil || c.next.info.Horizon == horizon {
			return false, err
		}
		versions, err := s.versionSeqs(ctx, d.Doc)
		if err != nil {
			return false, err
		}
		c.next.dropFolds(versions)
		return true, nil
	})
	if err != nil || !changed {
		return 0, err
	}
	return 1, nil
}

// scrub reads everything stored of a document, so that damage is found while a copy may still exist to heal it.
func (s *sweeper) scrub(ctx context.Context, doc stream.Doc) (damaged int, err error) {
	for try := 0; ; try++ {
		_, h, err := s.verifyOnce(ctx, doc, false)
		if err == nil || !errors.Is(err, ErrVerify) {
			return 0, err
		}
		if now, _, herr := s.snapHead(ctx, doc); try < 5 && herr == nil && now != nil && (h == nil || now.rev != h.rev) {
			continue // a fold took place meanwhile
		}
		s.markDamaged(doc, "scrub", err)
		return 1, nil
	}
}

func (s *sweeper) sweepDoc(ctx context.Context, doc stream.Doc, minAge time.Duration) (did Swept, err error) {
	// List before reading the head: a blob written in between is not listed and so not removed.
	blobs, err := s.log.Blobs().List(ctx, doc)
	if err != nil {
		return did, err
	}
	h, _, err := s.snapHead(ctx, doc)
	if err != nil {
		return did, err // remove nothing while the head cannot be read
	}
	named := h.names()
	for _, subject := range blobs {
		if named[subject] {
			continue
		}
		if minAge > 0 {
			b, ok, err := s.log.Blobs().Get(ctx, subject)
			if err != nil {
				return did, fmt.Errorf("read %s: %w", subject, err)
			}
			if !ok || time.Since(b.Time) < minAge {
				continue
			}
		}
		if err := s.log.Blobs().Remove(ctx, subject); err != nil {
			return did, err
		}
		did.Orphans++
		s.metrics.orphans.Inc()
	}
	return did, nil
}
