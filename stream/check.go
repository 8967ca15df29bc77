package stream

import (
	"fmt"
	"slices"
	"time"
)

// Checker reads the records of one document in sequence order and finds the faults that JetStream does not report: bytes that changed,
// and records that are gone. The zero Checker begins at the start of a log.
//
// A repeated count with the same checksum is a retry that was stored twice, not a fault. Records without a checksum come from other
// programs and are only counted.
type Checker struct {
	// Partial: the records begin somewhere in the log, so a writer that was not resumed may begin with any count.
	Partial bool

	Records    int
	Outside    int // appended by other programs
	Duplicates int
	Faults     int
	First      error // the first fault; wraps ErrLost or ErrDamaged

	writers map[uint64]*writerState
}

// Counter is the last count of a writer, as a snapshot keeps it.
type Counter struct {
	Writer uint64
	N      uint64
	Last   time.Time
}

type writerState struct {
	n    uint64
	last time.Time
	crcs [64]uint32 // of the newest counts, by n mod 64: a retry comes soon after
}

// Resume restores the counters of a snapshot.
func (c *Checker) Resume(counters []Counter) {
	for _, k := range counters {
		c.state(k.Writer).n, c.state(k.Writer).last = k.N, k.Last
	}
}

func (c *Checker) state(writer uint64) *writerState {
	if c.writers == nil {
		c.writers = map[uint64]*writerState{}
	}
	w := c.writers[writer]
	if w == nil {
		w = &writerState{}
		c.writers[writer] = w
	}
	return w
}

// Counters lists the writers seen since, sorted.
func (c *Checker) Counters(since time.Time) []Counter {
	var out []Counter
	for id, w := range c.writers {
		if !w.last.Before(since) {
			out = append(out, Counter{id, w.n, w.last})
		}
	}
	slices.SortFunc(out, func(a, b Counter) int {
		if a.Writer < b.Writer {
			return -1
		}
		return 1
	})
	return out
}

// Add checks the next record. duplicate reports that it repeats an update added before. An error is a fault of this record; later
// records can still be added.
func (c *Checker) Add(r Record) (duplicate bool, err error) {
	c.Records++
	if r.Sum == (Sum{}) {
		c.Outside++
		return false, nil
	}
	if got := checksum(r.Update); got != r.Sum.CRC {
		err = fmt.Errorf("%w: record %d has checksum %08x, want %08x", ErrDamaged, r.Seq, got, r.Sum.CRC)
	}
	_, known := c.writers[r.Sum.Writer]
	w := c.state(r.Sum.Writer)
	slot := &w.crcs[r.Sum.N%uint64(len(w.crcs))]
	switch want := w.n + 1; {
	case r.Sum.N == want, !known && c.Partial:
		w.n = r.Sum.N
		*slot = r.Sum.CRC
	case r.Sum.N < want:
		if w.n-r.Sum.N < uint64(len(w.crcs)) && *slot != 0 && *slot != r.Sum.CRC && err == nil {
			err = fmt.Errorf("%w: record %d repeats count %d of writer %016x with checksum %08x, want %08x",
				ErrDamaged, r.Seq, r.Sum.N, r.Sum.Writer, r.Sum.CRC, *slot)
		} else if err == nil {
			c.Duplicates++
			duplicate = true
		}
	default:
		if err == nil {
			err = fmt.Errorf("%w: record %d is number %d of writer %016x, want %d", ErrLost, r.Seq, r.Sum.N, r.Sum.Writer, want)
		}
		w.n = r.Sum.N
		*slot = r.Sum.CRC
	}
	if r.Stored.After(w.last) {
		w.last = r.Stored
	}
	if err != nil {
		c.Faults++
		if c.First == nil {
			c.First = err
		}
	}
	return duplicate, err
}
