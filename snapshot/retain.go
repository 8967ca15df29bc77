package snapshot

import (
	"context"
	"fmt"
	"slices"
	"time"

	"yjet/stream"
)

// retain drops the segments that are older than the kept history. It first stores a join-only fold of everything through the last of
// them: the horizon, where time travel begins from then on.
func (c *compaction) retain(ctx context.Context) error {
	i := &c.next.info
	if c.s.keep.age == 0 {
		return nil
	}
	cut := time.Now().Add(-c.s.keep.age).UnixMilli()
	n := 0
	for n < len(i.History) && i.History[n].EndMS < cut {
		n++
	}
	if n == 0 {
		return nil
	}
	base, err := c.horizonState(ctx)
	if err != nil {
		return err
	}
	var updates [][]byte
	for _, seg := range i.History[:n] {
		recs, err := c.s.segment(ctx, seg)
		if err != nil {
			// Without this segment the horizon's state would be incomplete: keep everything and report.
			c.s.markDamaged(c.doc, "history", err)
			return nil
		}
		good, _ := decodable(recs)
		updates = append(updates, good...)
	}
	state, err := joined(base, updates)
	if err != nil {
		return err
	}
	if err := prove(state, base, updates); err != nil {
		return err
	}
	i.Horizon, i.HorizonMS = i.History[n-1].To, i.History[n-1].EndMS
	i.History = slices.Clone(i.History[n:])
	return c.addFold(ctx, i.Horizon, i.HorizonMS, state)
}

// keepHorizon adds the fold at the horizon once records follow it.
func (c *compaction) keepHorizon(ctx context.Context) error {
	i := &c.next.info
	if i.Horizon == 0 || i.Horizon >= c.next.upto || c.next.fold(i.Horizon) != nil {
		return nil
	}
	if c.view.head == nil || c.view.head.upto != i.Horizon {
		return fmt.Errorf("%w: no state for the horizon %d", errDamaged, i.Horizon)
	}
	return c.addFold(ctx, i.Horizon, i.HorizonMS, c.view.base)
}

// horizonState returns the state that replaces the records through the horizon; nil if all records are kept.
func (c *compaction) horizonState(ctx context.Context) ([]byte, error) {
	if c.next.info.Horizon == 0 {
		return nil, nil
	}
	f := c.next.fold(c.next.info.Horizon)
	if f == nil {
		return nil, fmt.Errorf("%w: the fold at the horizon %d is not listed", errDamaged, c.next.info.Horizon)
	}
	return c.s.getState(ctx, f.Parts, f.Bytes, f.Sum)
}

// addFold stores state as the fold at seq and lists it.
func (c *compaction) addFold(ctx context.Context, seq stream.Seq, ms int64, state []byte) error {
	c.folds++
	parts, err := c.s.putState(ctx, c.doc, c.attempt, c.folds*foldStride, state)
	c.wroteParts(parts)
	if err != nil {
		return err
	}
	c.next.info.Folds = append(c.next.info.Folds, foldRef{Upto: seq, TimeMS: ms, Bytes: len(state), Sum: sumOf(state), Parts: parts})
	slices.SortFunc(c.next.info.Folds, func(a, b foldRef) int { return int(a.Upto) - int(b.Upto) })
	return nil
}

// foldStride keeps the chunk numbers of several states of one attempt apart.
const foldStride = 100_000

// fold is the listed fold at exactly seq, or nil.
func (h *head) fold(seq stream.Seq) *foldRef {
	for k := range h.info.Folds {
		if h.info.Folds[k].Upto == seq {
			return &h.info.Folds[k]
		}
	}
	return nil
}

// dropFolds removes all folds from the list except those of the horizon and of versions.
func (h *head) dropFolds(versions map[stream.Seq]bool) {
	h.info.Folds = slices.DeleteFunc(h.info.Folds, func(f foldRef) bool {
		return f.Upto != h.info.Horizon && !versions[f.Upto]
	})
}
