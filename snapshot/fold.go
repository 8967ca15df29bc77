package snapshot

import (
	"fmt"
	"yjet/internal/yjs"
	"yjet/stream"
)

// stored are the limits for updates that are already in the log: only their form is checked; their size was checked before the append.
var stored = yjs.Limits{Structs: -1, DeleteRanges: -1, Stored: true}

// decodable returns the updates that decode. Other programs appended the rest without a check; the history keeps them and every state
// leaves them out, as do the rooms, which read the log with the same limits.
func decodable(recs []stream.Record) (updates [][]byte, bad int) {
	var u yjs.Update
	updates = make([][]byte, 0, len(recs))
	for i := range recs {
		if err := u.Parse(recs[i].Update, stored); err != nil {
			bad++
			continue
		}
		updates = append(updates, recs[i].Update)
	}
	return updates, bad
}

// compacted folds base and updates: merged, joined, deleted content dropped. Joining clients receive this form.
func compacted(base []byte, updates [][]byte) ([]byte, error) {
	return yjs.Compact(withBase(base, updates)...)
}

// joined folds without loss, except for the borders between runs.
func joined(base []byte, updates [][]byte) ([]byte, error) {
	return yjs.Join(withBase(base, updates)...)
}

func withBase(base []byte, updates [][]byte) [][]byte {
	if base == nil {
		return updates
	}
	return append([][]byte{base}, updates...)
}

// prove compares a fold with its input: the result must contain every struct and every delete of every part.
func prove(result, base []byte, updates [][]byte) error {
	var u yjs.Update
	var have yjs.State
	if err := u.Parse(result, stored); err != nil {
		return fmt.Errorf("snapshot: the fold does not decode: %w", err)
	}
	have.Know(&u)
	for i, part := range withBase(base, updates) {
		if err := u.Parse(part, stored); err != nil {
			return fmt.Errorf("snapshot: part %d of the fold does not decode: %w", i, err)
		}
		if !have.Contains(&u) {
			return fmt.Errorf("snapshot: part %d of %d is missing in the fold; the log is kept as it is", i, len(updates))
		}
	}
	return nil
}
