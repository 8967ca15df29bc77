package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// Verified counts what a verification looked at.
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
	KnownHoles  int   `json:"knownHoles"`  // records lost earlier, told then, and stepped over since
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

// ErrVerify: what is stored is not what it must be. The text names the document and both sides.
var ErrVerify = errors.New("snapshot: verification failed")

// verifier compares what is stored with what it must be.
type verifier struct {
	*core
	*blobs
	*tombs
}

// Verify holds every document (with the prefix) against the law: replay from zero = snapshot + history + tail, in visible JSON,
// state vector and delete set; checksums and counters. It goes on after a fault; each, when given, is told of every document.
// The error is the first fault.
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
		// What a fold took away meanwhile is no fault: look whether the head is another by now.
		now, _, herr := s.snapHead(ctx, doc)
		if try < 10 && herr == nil && now != nil && (h == nil || now.rev != h.rev) {
			continue
		}
		v.Damaged = 1
		return v, err
	}
}

// verifyOnce returns the head it looked at. Without replay the bytes and counters are checked and the states are not compared.
func (s *verifier) verifyOnce(ctx context.Context, doc stream.Doc, replay bool) (v Verified, h *head, err error) {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%w: document %q: %w", ErrVerify, doc, fmt.Errorf(format, args...))
	}
	v.Docs = 1
	blobs, err := s.log.Blobs().List(ctx, doc)
	if err != nil {
		return v, nil, err
	}
	h, _, err = s.snapHead(ctx, doc)
	if errors.Is(err, errDamaged) {
		return v, nil, fault("snapshot head: %w", err)
	} else if err != nil {
		return v, nil, err
	}
	// The log after the head: what is folded meanwhile is still in one of them.
	target, err := s.log.Head(ctx, doc)
	if err != nil {
		return v, h, err
	}
	var log []stream.Record
	for r, err := range s.log.Replay(ctx, doc, 0, target) {
		if err != nil {
			return v, h, err
		}
		log = append(log, r)
	}
	if n := len(log); n == 0 && (target > 0 || h != nil) || n > 0 && log[n-1].Seq != target {
		return v, h, fault("the log does not reach its head %d", target)
	}

	var base, state []byte
	var packed []stream.Record
	check := stream.Checker{}
	known := make(map[stream.Seq]bool)
	var upto stream.Seq
	if h != nil {
		upto = h.upto
		v.Snapshots = 1
		v.StateBytes = int64(h.info.Bytes)
		if upto > target {
			return v, h, fault("the snapshot covers %d and the log ends at %d", upto, target)
		}
		if h.epoch > s.log.Epoch(doc) {
			return v, h, fault("the snapshot's epoch is %d, the shard's %d", h.epoch, s.log.Epoch(doc))
		}
		if state, err = s.state(ctx, h); err != nil {
			return v, h, fault("snapshot: %w", err)
		}
		for _, hole := range h.info.Holes {
			known[hole.Seq] = true
		}
		check.Partial = h.info.Horizon > 0
		from := h.info.Horizon
		for _, seg := range h.info.History {
			if seg.From <= from {
				return v, h, fault("history: segment %s begins at %d, and %d came before", seg.Subject, seg.From, from)
			}
			recs, err := s.segment(ctx, seg)
			if err != nil {
				return v, h, fault("history: %w", err)
			}
			packed = append(packed, recs...)
			from = seg.To
			v.Segments++
		}
		if h.info.Horizon < upto && from != upto {
			return v, h, fault("history ends at %d, the snapshot covers %d", from, upto)
		}
		if h.info.Horizon == 0 && uint64(len(packed)) != h.info.Records {
			return v, h, fault("history has %d records, want %d", len(packed), h.info.Records)
		}
		named := h.names()
		for _, b := range blobs {
			if !named[b] {
				v.Orphans++
			}
		}
	}
	// What is in the log and in the history too must be the same record.
	k := 0
	for len(log) > 0 && log[0].Seq <= upto {
		for k < len(packed) && packed[k].Seq < log[0].Seq {
			k++
		}
		if h.info.Horizon == 0 || log[0].Seq > h.info.Horizon {
			lost := known[log[0].Seq] && !log[0].Intact()
			if !lost && (k == len(packed) || packed[k].Seq != log[0].Seq || !bytes.Equal(packed[k].Update, log[0].Update) || packed[k].Sum != log[0].Sum) {
				return v, h, fault("record %d of the log is not the one in the history", log[0].Seq)
			}
		}
		log = log[1:]
	}
	v.Packed, v.Tail = len(packed), len(log)
	v.Records = len(packed) + len(log)
	for i, r := range append(packed, log...) {
		if _, err := check.Add(r); err != nil {
			if !known[r.Seq] {
				return v, h, fault("%w", err)
			}
			v.KnownHoles++
		}
		v.UpdateBytes += int64(len(r.Update))
		if i == len(packed)-1 {
			for _, c := range check.Counters(time.Time{}) {
				if w, ok := h.info.Writers[fmt.Sprintf("%016x", c.Writer)]; ok && w.N != c.N && h.info.Horizon == 0 {
					return v, h, fault("writer %016x counts %d in the snapshot and %d in the history", c.Writer, w.N, c.N)
				}
			}
		}
	}
	v.Outside, v.Duplicate = check.Outside, check.Duplicates
	packedGood, bad1 := decodable(packed)
	tailGood, bad2 := decodable(log)
	v.Quarantined = bad1 + bad2
	if h != nil {
		v.Folds = len(h.info.Folds)
	}
	for i := 0; h != nil && i < len(h.info.Folds); i++ {
		f := &h.info.Folds[i]
		fold, err := s.getState(ctx, f.Parts, f.Bytes, f.Sum)
		if err != nil {
			return v, h, fault("fold at %d: %w", f.Upto, err)
		}
		if f.Upto == h.info.Horizon {
			base = fold
		} else if replay && f.Upto > h.info.Horizon {
			var until [][]byte
			for k := range packed {
				if packed[k].Seq <= f.Upto {
					until = append(until, packed[k].Update)
				}
			}
			until, _ = decodable2(until)
			if err := sameDocument(fold, withBase(base, until)); err != nil {
				return v, h, fault("fold at %d and replay from zero: %w", f.Upto, err)
			}
		}
	}
	if h == nil || !replay {
		if replay {
			if _, err := yjs.OpenDocument(yjs.DocumentOptions{}, tailGood...); err != nil {
				return v, h, fault("replay from zero: %w", err)
			}
		}
		return v, h, nil
	}
	if h.info.Horizon == upto && base == nil {
		base = state // nothing else is kept
	}
	if err := s.sameAfter(ctx, doc, state, withBase(base, packedGood), tailGood); err != nil {
		return v, h, fault("snapshot + tail and replay from zero: %w", err)
	}
	return v, h, nil
}

func decodable2(updates [][]byte) (good [][]byte, bad int) {
	var u yjs.Update
	for _, b := range updates {
		if u.Parse(b, stored) != nil {
			bad++
			continue
		}
		good = append(good, b)
	}
	return good, bad
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
