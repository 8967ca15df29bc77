package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"yjet/stream"
)

// view is what storage holds of one document past a place, read in the order that cannot miss anything.
type view struct {
	target  stream.Seq      // the log's head when reading began; 0: the log has no record
	head    *head           // nil: there is no snapshot
	rev     stream.Seq      // of the head message, also where it does not decode
	base    []byte          // the head's state; nil unless head.upto is past the place asked from
	records []stream.Record // after that place and after base, through target, in order
	bytes   int             // of the records' updates
	trimmed bool            // no record below head.upto is left in the log
	rebuilt bool            // base was not readable and was made again from the history
	check   stream.Checker  // has counted base's writers and all records
	holes   []Hole          // faults the check found
}

// reach is the last sequence the view covers.
func (v *view) reach() stream.Seq {
	if n := len(v.records); n > 0 {
		return v.records[n-1].Seq
	}
	if v.base != nil {
		return v.head.upto
	}
	return 0
}

// Fill implements stream.Filler: what storage holds of doc past have. It reads the log's head from the leader, then the log
// after have, then the snapshot head, which is stored before the log is trimmed, and begins again until the head is reached.
// stream.ErrLost: something was there and cannot be had; the caller must not begin a new document in its place.
func (s *Store) Fill(ctx context.Context, doc stream.Doc, have stream.Seq) (stream.Filled, error) {
	start := time.Now()
	v, err := s.read(ctx, doc, have, nil)
	if errors.Is(err, stream.ErrLost) {
		// A server that has it open has been told, and may be storing it again this moment.
		if sleep(ctx, healWait) == nil {
			v, err = s.read(ctx, doc, have, nil)
		}
	}
	if err != nil {
		return stream.Filled{}, err
	}
	if have == 0 {
		s.metrics.opens.Observe(time.Since(start).Seconds())
	}
	f := stream.Filled{Base: v.base, Records: v.records, Head: v.target}
	if v.base != nil {
		f.Upto = v.head.upto
		f.Head = max(f.Head, f.Upto)
		s.learned(doc, len(v.base))
	}
	return f, nil
}

// healWait is how long a document that storage has lost waits for a server that still holds it.
const healWait = time.Second

// fillTries bounds how often reading begins again. Compactors and lagging replicas cost a round or two; a head that is
// never reached is a hole.
const fillTries = 12

// read gathers a view of everything after have. wanted, when given, may stop the reading before the state is fetched, by an error.
func (s *Store) read(ctx context.Context, doc stream.Doc, have stream.Seq, wanted func(*view) error) (*view, error) {
	var last error
	wait := time.Millisecond
	for try := range fillTries {
		if try > 0 {
			s.metrics.rereads.Inc()
			if err := sleep(ctx, wait); err != nil {
				return nil, err
			}
			wait = min(2*wait, 500*time.Millisecond)
		}
		v, err := s.readOnce(ctx, doc, have, wanted)
		switch {
		case err == nil && len(v.holes) > 0 && try < 3:
			// Read again: another replica may have what this one lacks.
			last = errors.New(v.holes[0].What)
		case err == nil:
			if len(v.holes) > 0 {
				s.foundHoles(doc, v.holes)
			}
			if v.target < v.covered() {
				s.foundShort(ctx, doc, v)
			}
			return v, nil
		case errors.Is(err, errShort), errors.Is(err, errDamaged):
			last = err
		default:
			return nil, err
		}
		if errors.Is(err, errDamaged) && try >= 3 {
			break
		}
	}
	if errors.Is(last, errDamaged) {
		return s.readWithoutSnapshot(ctx, doc, have, last)
	}
	s.markDamaged(doc, "log", last)
	return nil, fmt.Errorf("%w: %q: %w", stream.ErrLost, doc, last)
}

// errShort: what was read ends before the head. A replica lags, a fold ran past us, or records are lost.
var errShort = errors.New("snapshot: read ends before the head")

func (s *Store) readOnce(ctx context.Context, doc stream.Doc, have stream.Seq, wanted func(*view) error) (*view, error) {
	target, err := s.log.Head(ctx, doc)
	err0, unreadable := err, errors.Is(err, stream.ErrDamaged)
	if err != nil && !unreadable {
		return nil, fmt.Errorf("head of %q: %w", doc, err)
	}
	v := &view{target: target}
	var log []stream.Record
	if target > have {
		for r, err := range s.log.Replay(ctx, doc, have, target) {
			if err != nil {
				return nil, fmt.Errorf("replay %q after %d: %w", doc, have, err)
			}
			log = append(log, r)
		}
	}
	if v.head, v.rev, err = s.snapHead(ctx, doc); err != nil {
		return nil, err
	}
	if unreadable {
		// The log has records of the document and none can be read. What was folded is still there.
		s.markDamaged(doc, "log", err0)
		if v.head == nil || have > 0 {
			return nil, fmt.Errorf("%w: %q: %w", stream.ErrLost, doc, err0)
		}
	}
	from := have
	if v.head != nil && v.head.upto > have {
		from = v.head.upto
	}
	v.trimmed = true
	for len(log) > 0 && log[0].Seq <= from {
		v.trimmed = v.trimmed && log[0].Seq == from
		log = log[1:]
	}
	v.records = log
	for i := range log {
		v.bytes += len(log[i].Update)
	}
	if from > have && wanted != nil {
		if err := wanted(v); err != nil {
			return nil, err
		}
	}
	if from > have {
		if v.base, err = s.state(ctx, v.head); err != nil {
			return nil, err
		}
	} else if wanted != nil {
		if err := wanted(v); err != nil {
			return nil, err
		}
	}
	if target > have && max(v.reach(), from) < target {
		return nil, fmt.Errorf("%w: head is %d, have %d records through %d", errShort, target, len(log), max(v.reach(), from))
	}
	v.count(have)
	return v, nil
}

// count checks each record's bytes and follows the writers' counters. A record whose bytes changed is left out.
func (v *view) count(have stream.Seq) {
	if v.base != nil {
		v.check.Resume(countersOf(v.head.info.Writers))
	} else {
		v.check.Partial = have > 0 // what came before is the caller's to know
	}
	intact := v.records[:0]
	for _, r := range v.records {
		if _, err := v.check.Add(r); err != nil {
			v.holes = append(v.holes, Hole{Seq: r.Seq, What: err.Error()})
			if errors.Is(err, stream.ErrDamaged) && !r.Intact() {
				continue
			}
		}
		intact = append(intact, r)
	}
	v.records = intact
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
