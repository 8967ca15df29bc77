package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// Verified counts the data that a verification checked.
type Verified struct {
	Docs        int   `json:"documents"`
	Records     int   `json:"records"`   // replayed, packed ones included
	Packed      int   `json:"packed"`    // of them in history segments
	Tail        int   `json:"tail"`      // of them in the log past the snapshot
	Outside     int   `json:"outside"`   // of them appended by other programs, without a checksum
	Duplicate   int   `json:"duplicate"` // of them stored twice by an append that was tried again
	Quarantined int   `json:"quarantined"`
	Snapshots   int   `json:"snapshots"`
	Segments    int   `json:"segments"`
	Folds       int   `json:"folds"` // horizons and named versions
	Orphans     int   `json:"orphans"`
	KnownHoles  int   `json:"knownHoles"`  // records whose loss was reported earlier and that reads skip since
	Damaged     int   `json:"damaged"`     // documents with a fault
	UpdateBytes int64 `json:"updateBytes"` // of all records' updates
	StateBytes  int64 `json:"stateBytes"`  // of all snapshots' states
}

func (v *Verified) add(o Verified) {
	v.Docs += o.Docs
	v.Records += o.Records
	v.Packed += o.Packed
	v.Tail += o.Tail
	v.Outside += o.Outside
	v.Duplicate += o.Duplicate
	v.Quarantined += o.Quarantined
	v.Snapshots += o.Snapshots
	v.Segments += o.Segments
	v.Folds += o.Folds
	v.Orphans += o.Orphans
	v.KnownHoles += o.KnownHoles
	v.Damaged += o.Damaged
	v.UpdateBytes += o.UpdateBytes
	v.StateBytes += o.StateBytes
}

// ErrVerify: stored data differs from its expected form. The text names the document and both sides.
var ErrVerify = errors.New("snapshot: verification failed")

// verifier compares stored data with its expected form.
type verifier struct {
	*core
	*blobs
	*tombs
}

// Verify checks that for every document with the prefix, replay from zero equals snapshot + history + tail, in visible JSON, state vector
// and delete set. It also checks checksums and counters. It goes on after a fault; each, if not nil, is called for every document. The
// error is the first fault.
func (s *verifier) Verify(ctx context.Context, prefix string, each func(doc stream.Doc, v Verified, fault error)) (Verified, error) {
	var all Verified
	var first error
	for after := ""; ; {
		docs, err := s.log.Docs(ctx, prefix, after, 500)
		if err != nil {
			return all, err
		}
		if len(docs) == 0 {
			return all, first
		}
		for _, d := range docs {
			v, err := s.VerifyDoc(ctx, d.Doc)
			if err != nil && !errors.Is(err, ErrVerify) {
				return all, err
			}
			all.add(v)
			if each != nil {
				each(d.Doc, v, err)
			}
			if first == nil {
				first = err
			}
			after = string(d.Doc)
		}
	}
}

// VerifyDoc verifies one document.
func (s *verifier) VerifyDoc(ctx context.Context, doc stream.Doc) (Verified, error) {
	for try := 0; ; try++ {
		v, h, err := s.verifyOnce(ctx, doc, true)
		if err == nil || !errors.Is(err, ErrVerify) {
			return v, err
		}
		// Blobs that a fold removed meanwhile are no fault: check whether the head has changed.
		now, _, herr := s.snapHead(ctx, doc)
		if try < 10 && herr == nil && now != nil && (h == nil || now.rev != h.rev) {
			continue
		}
		v.Damaged = 1
		return v, err
	}
}

// verifyOnce returns the head that it checked. Without replay it checks bytes and counters and does not compare the states.
func (s *verifier) verifyOnce(ctx context.Context, doc stream.Doc, replay bool) (Verified, *head, error) {
	c := check{verifier: s, doc: doc, v: Verified{Docs: 1}}
	err := c.read(ctx)
	if err == nil && c.h != nil {
		err = c.snapshot(ctx)
	}
	if err == nil {
		err = c.overlap()
	}
	if err == nil {
		err = c.count()
	}
	if err == nil {
		err = c.states(ctx, replay)
	}
	return c.v, c.h, err
}

// check is one pass over one document: the data read so far and its counts.
type check struct {
	*verifier
	doc    stream.Doc
	v      Verified
	h      *head           // nil: there is no snapshot
	blobs  []string        // subjects of all blobs of the document
	log    []stream.Record // the log up to its head; after overlap: the records past the snapshot
	packed []stream.Record // the records of the history segments
	state  []byte          // of the snapshot
	known  map[stream.Seq]bool
}

func (c *check) fault(format string, args ...any) error {
	return fmt.Errorf("%w: document %q: %w", ErrVerify, c.doc, fmt.Errorf(format, args...))
}

// upto is the last record that the snapshot covers.
func (c *check) upto() stream.Seq {
	if c.h == nil {
		return 0
	}
	return c.h.upto
}

// horizon returns the last record that no segment holds any more.
func (c *check) horizon() stream.Seq {
	if c.h == nil {
		return 0
	}
	return c.h.info.Horizon
}

// read reads the head and then the log: a record folded in between is still in one of them.
func (c *check) read(ctx context.Context) (err error) {
	if c.blobs, err = c.verifier.log.Blobs().List(ctx, c.doc); err != nil {
		return err
	}
	c.h, _, err = c.snapHead(ctx, c.doc)
	if errors.Is(err, errDamaged) {
		c.h = nil
		return c.fault("snapshot head: %w", err)
	} else if err != nil {
		return err
	}
	target, err := c.verifier.log.Head(ctx, c.doc)
	if err != nil {
		return err
	}
	for r, err := range c.verifier.log.Replay(ctx, c.doc, 0, target) {
		if err != nil {
			return err
		}
		c.log = append(c.log, r)
	}
	if n := len(c.log); n == 0 && (target > 0 || c.h != nil) || n > 0 && c.log[n-1].Seq != target {
		return c.fault("the log does not reach its head %d", target)
	}
	if c.upto() > target {
		return c.fault("the snapshot covers %d and the log ends at %d", c.upto(), target)
	}
	return nil
}

// snapshot reads the snapshot's state and history and checks both against the head.
func (c *check) snapshot(ctx context.Context) (err error) {
	h := c.h
	c.v.Snapshots = 1
	c.v.StateBytes = int64(h.info.Bytes)
	c.v.Folds = len(h.info.Folds)
	if epoch := c.verifier.log.Epoch(c.doc); h.epoch > epoch {
		return c.fault("the snapshot's epoch is %d, the shard's %d", h.epoch, epoch)
	}
	if c.state, err = c.verifier.state(ctx, h); err != nil {
		return c.fault("snapshot: %w", err)
	}
	c.known = make(map[stream.Seq]bool, len(h.info.Holes))
	for _, hole := range h.info.Holes {
		c.known[hole.Seq] = true
	}
	from := h.info.Horizon
	for _, seg := range h.info.History {
		if seg.From <= from {
			return c.fault("history: segment %s begins at %d, and %d came before", seg.Subject, seg.From, from)
		}
		recs, err := c.segment(ctx, seg)
		if err != nil {
			return c.fault("history: %w", err)
		}
		c.packed = append(c.packed, recs...)
		from = seg.To
		c.v.Segments++
	}
	if h.info.Horizon < h.upto && from != h.upto {
		return c.fault("history ends at %d, the snapshot covers %d", from, h.upto)
	}
	if h.info.Horizon == 0 && uint64(len(c.packed)) != h.info.Records {
		return c.fault("history has %d records, want %d", len(c.packed), h.info.Records)
	}
	named := h.names()
	for _, b := range c.blobs {
		if !named[b] {
			c.v.Orphans++
		}
	}
	return nil
}

// overlap checks that a record in both the log and the history is the same one. It leaves in c.log the records past the snapshot.
func (c *check) overlap() error {
	k := 0
	for len(c.log) > 0 && c.log[0].Seq <= c.upto() {
		r := c.log[0]
		for k < len(c.packed) && c.packed[k].Seq < r.Seq {
			k++
		}
		if c.horizon() == 0 || r.Seq > c.horizon() {
			lost := c.known[r.Seq] && !r.Intact()
			if !lost && (k == len(c.packed) || c.packed[k].Seq != r.Seq || !bytes.Equal(c.packed[k].Update, r.Update) || c.packed[k].Sum != r.Sum) {
				return c.fault("record %d of the log is not the one in the history", r.Seq)
			}
		}
		c.log = c.log[1:]
	}
	return nil
}

// count checks the sums and the writers' counters of all records.
func (c *check) count() error {
	v := &c.v
	v.Packed, v.Tail = len(c.packed), len(c.log)
	v.Records = len(c.packed) + len(c.log)
	sums := stream.Checker{Partial: c.horizon() > 0}
	add := func(records []stream.Record) error {
		for _, r := range records {
			if _, err := sums.Add(r); err != nil {
				if !c.known[r.Seq] {
					return c.fault("%w", err)
				}
				v.KnownHoles++
			}
			v.UpdateBytes += int64(len(r.Update))
		}
		return nil
	}
	if err := add(c.packed); err != nil {
		return err
	}
	if len(c.packed) > 0 && c.horizon() == 0 {
		for _, n := range sums.Counters(time.Time{}) {
			if w, ok := c.h.info.Writers[fmt.Sprintf("%016x", n.Writer)]; ok && w.N != n.N {
				return c.fault("writer %016x counts %d in the snapshot and %d in the history", n.Writer, w.N, n.N)
			}
		}
	}
	if err := add(c.log); err != nil {
		return err
	}
	v.Outside, v.Duplicate = sums.Outside, sums.Duplicates
	return nil
}

// states checks that every fold is readable. With replay, it also compares the snapshot, and every fold past the horizon, with their records.
func (c *check) states(ctx context.Context, replay bool) error {
	packed, bad1 := decodable(c.packed)
	tail, bad2 := decodable(c.log)
	c.v.Quarantined = bad1 + bad2
	if c.h == nil {
		if !replay {
			return nil
		}
		if _, err := yjs.OpenDocument(yjs.DocumentOptions{}, tail...); err != nil {
			return c.fault("replay from zero: %w", err)
		}
		return nil
	}
	var base []byte
	for i := range c.h.info.Folds {
		f := &c.h.info.Folds[i]
		fold, err := c.getState(ctx, f.Parts, f.Bytes, f.Sum)
		if err != nil {
			return c.fault("fold at %d: %w", f.Upto, err)
		}
		if f.Upto == c.horizon() {
			base = fold
		} else if replay && f.Upto > c.horizon() {
			end := slices.IndexFunc(c.packed, func(r stream.Record) bool { return r.Seq > f.Upto })
			if end < 0 {
				end = len(c.packed)
			}
			until, _ := decodable(c.packed[:end])
			if err := sameDocument(fold, withBase(base, until)); err != nil {
				return c.fault("fold at %d and replay from zero: %w", f.Upto, err)
			}
		}
	}
	if !replay {
		return nil
	}
	if c.horizon() == c.upto() && base == nil {
		base = c.state // nothing else is kept
	}
	if err := c.sameAfter(ctx, c.doc, c.state, withBase(base, packed), tail); err != nil {
		return c.fault("snapshot + tail and replay from zero: %w", err)
	}
	return nil
}

// sameAfter compares snapshot + tail with replay + tail.
func (s *verifier) sameAfter(ctx context.Context, doc stream.Doc, state []byte, replay, tail [][]byte) error {
	erased, err := s.erasedNow(ctx, doc)
	if err != nil {
		return err
	}
	if erased != nil {
		var u yjs.Update
		kept := replay[:0:0]
		for _, b := range replay {
			if u.Parse(b, stored) == nil && !erased.Refuses(&u) {
				kept = append(kept, b)
			}
		}
		replay = kept
	}
	return sameDocument(state, replay, tail...)
}
