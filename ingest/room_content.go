package ingest

import (
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// content is a document as the log holds it: a folded state and the records after
// it. Guarded by room.mu.
type content struct {
	seq      stream.Seq // of the last record taken in; 0: the document is new
	at       time.Time  // its time
	edited   stream.Seq // of the last record that may be an edit computed from the document, by any server
	stored   yjs.State  // the content of the log up to seq
	base     fold       // folded state
	recs     []rec      // records after base.seq
	recBytes int        // of recs
	folding  *foldJob   // nil: none is under way
}

// A rec is a record after the base.
type rec struct {
	seq    stream.Seq
	update []byte // never changed: sessions share it
}

// A fold is a document's whole state up to a record, compacted: the form that a
// browser reads fastest. It is never changed.
type fold struct {
	seq    stream.Seq
	update []byte // nil: the document is empty
}

// A foldJob folds the records up to seq. Joiners share it.
type foldJob struct {
	seq  stream.Seq
	done chan struct{}
	err  error // read after done
}

// recordLimits bound updates read from the log. The size of a message bounds updates
// that are stored; the limits of a stranger's update were checked at the door.
var recordLimits = yjs.Limits{Structs: -1, DeleteRanges: -1, Stored: true}

func (c *content) addRecord(seq stream.Seq, update []byte) {
	c.recs = append(c.recs, rec{seq, update})
	c.recBytes += len(update)
}

// size is about how large the document is, in bytes.
func (c *content) size() int { return len(c.base.update) + c.recBytes }

// after lists the updates of the records after seq, in order.
func (c *content) after(seq stream.Seq) (list [][]byte) {
	for _, rec := range c.recs {
		if rec.seq > seq {
			list = append(list, rec.update)
		}
	}
	return list
}

// foldDue reports whether the records weigh so much that folding them saves memory.
func (c *content) foldDue() bool {
	return c.folding == nil && (c.recBytes > max(1<<20, len(c.base.update)) || len(c.recs) > 5000)
}

// beginFold begins a fold of all there is and returns its parts, or the job that is
// under way and no parts.
func (c *content) beginFold() (job *foldJob, parts [][]byte) {
	if c.folding != nil {
		return c.folding, nil
	}
	c.folding = &foldJob{seq: c.seq, done: make(chan struct{})}
	parts = make([][]byte, 0, len(c.recs)+1)
	if c.base.update != nil {
		parts = append(parts, c.base.update)
	}
	for _, rec := range c.recs {
		parts = append(parts, rec.update)
	}
	return c.folding, parts
}

// endFold puts the result of a job in the place of the records it folded.
func (c *content) endFold(job *foldJob, update []byte) {
	c.base = fold{seq: job.seq, update: update}
	n := 0
	for n < len(c.recs) && c.recs[n].seq <= job.seq {
		c.recBytes -= len(c.recs[n].update)
		n++
	}
	if n == len(c.recs) {
		c.recs = nil
	} else {
		c.recs = append([]rec(nil), c.recs[n:]...)
	}
}

// growth counts the growth of the log since the last snapshot, and the part of it that
// the store was told of. Guarded by room.mu.
type growth struct{ since, hinted tally }

// A tally counts a document's log after a snapshot.
type tally struct{ bytes, records int }

func (g *growth) add(bytes int) {
	g.since.records++
	g.since.bytes += bytes
}

// tell reports whether enough has come since the store was last told, and notes
// that it is told now.
func (g *growth) tell() bool {
	if g.since.bytes-g.hinted.bytes <= 64<<10 && g.since.records-g.hinted.records <= 500 {
		return false
	}
	g.hinted = g.since
	return true
}
