package snapshot

import (
	"context"

	"yjet/stream"
)

// epoch is what a head made now carries: how often the shard's stream was found shorter than it had been, plus 1.
func (s *Store) epoch(doc stream.Doc) uint64 { return s.log.Epoch(doc) }

// markShard records, before a fold is stored and the log is trimmed, that the shard has reached seq.
func (s *Store) markShard(ctx context.Context, doc stream.Doc, seq stream.Seq) error {
	return s.log.MarkShard(ctx, doc, seq)
}
