package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// view holds the stored form of one document past a given sequence, read in an order that cannot miss a record.
type view struct {
	target  stream.Seq      // the log's head when reading began; 0: the log has no record
	head    *head           // nil: there is no snapshot
	rev     stream.Seq      // of the head message, even if it does not decode
	base    []byte          // the head's state; nil unless head.upto is past the given sequence
	records []stream.Record // after that sequence and after base, through target, in order
	bytes   int             // of the records' updates
	trimmed bool            // no record below head.upto is left in the log
	loaded  bool            // base was read, if there is one, and the records are counted
	rebuilt bool            // base was not readable and was rebuilt from the history
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

// reader reads stored documents in an order that cannot miss a record.
type reader struct {
	*core
	*blobs
	*damages
	*tombs
	*queue
}

// Fill implements stream.Filler: it returns the stored content of doc past have. It reads the log's head from the leader, then the log
// after have, then the snapshot head, which is stored before the log is trimmed. It starts over until it reaches the log's head.
// stream.ErrLost: stored content cannot be read; the caller must not begin a new document in its place.
func (s *reader) Fill(ctx context.Context, doc stream.Doc, have stream.Seq) (stream.Filled, error) {
	start := time.Now()
	v, err := s.read(ctx, doc, have)
	if errors.Is(err, stream.ErrLost) {
		// A server that has the document open has been told, and may be storing it again now.
		if sleep(ctx, healWait) == nil {
			v, err = s.read(ctx, doc, have)
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

// healWait is the time that a read of a lost document waits for a server that still holds it.
const healWait = time.Second

// fillTries limits the number of reads. Compactors and lagging replicas cost a round or two; a head that is never reached is a
// hole.
const fillTries = 12

// read gathers a view of everything after have.
func (s *reader) read(ctx context.Context, doc stream.Doc, have stream.Seq) (*view, error) {
	return s.readIf(ctx, doc, have, func(*view) bool { return true })
}

// readIf is read, but calls wanted with the survey first. If wanted reports false, the state is not read and the view is not loaded.
func (s *reader) readIf(ctx context.Context, doc stream.Doc, have stream.Seq, wanted func(*view) bool) (*view, error) {
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
		v, err := s.survey(ctx, doc, have)
		if err == nil && !wanted(v) {
			return v, nil
		} else if err == nil {
			err = s.load(ctx, v, have)
		}
		switch {
		case err == nil && len(v.holes) > 0 && try < 3:
			// Read again: another replica may have the missing record.
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

// errShort: the read ended before the log's head. A replica lags, a fold ran past the read, or records are lost.
var errShort = errors.New("snapshot: read ends before the head")

// survey reads the log after have once, then the head of the snapshot, but not its state.
func (s *reader) survey(ctx context.Context, doc stream.Doc, have stream.Seq) (*view, error) {
	target, err := s.log.Head(ctx, doc)
	damage := err
	if err != nil && !errors.Is(err, stream.ErrDamaged) {
		return nil, fmt.Errorf("head of %q: %w", doc, err)
	}
	v := &view{target: target, trimmed: true}
	if target > have {
		for r, err := range s.log.Replay(ctx, doc, have, target) {
			if err != nil {
				return nil, fmt.Errorf("replay %q after %d: %w", doc, have, err)
			}
			v.records = append(v.records, r)
		}
	}
	if v.head, v.rev, err = s.snapHead(ctx, doc); err != nil {
		return nil, err
	}
	if damage != nil {
		// The log has records of the document and none can be read. The snapshot can.
		s.markDamaged(doc, "log", damage)
		if v.head == nil || have > 0 {
			return nil, fmt.Errorf("%w: %q: %w", stream.ErrLost, doc, damage)
		}
	}
	from := max(have, v.covered())
	for len(v.records) > 0 && v.records[0].Seq <= from {
		v.trimmed = v.trimmed && v.records[0].Seq == from
		v.records = v.records[1:]
	}
	for i := range v.records {
		v.bytes += len(v.records[i].Update)
	}
	if target > have && max(v.reach(), from) < target {
		return nil, fmt.Errorf("%w: head is %d, have %d records through %d", errShort, target, len(v.records), max(v.reach(), from))
	}
	return v, nil
}

// load reads the snapshot's state if it goes beyond have, and counts the records of the survey.
func (s *reader) load(ctx context.Context, v *view, have stream.Seq) (err error) {
	if v.covered() > have {
		if v.base, err = s.state(ctx, v.head); err != nil {
			return err
		}
	}
	v.count(have)
	v.loaded = true
	return nil
}

// count checks each record's bytes and follows the writers' counters. A record whose bytes changed is left out.
func (v *view) count(have stream.Seq) {
	if v.base != nil {
		v.check.Resume(countersOf(v.head.info.Writers))
	} else {
		v.check.Partial = have > 0 // the caller has the earlier counters
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

// foundShort marks a document whose log ends before the sequence that its snapshot covers. Record N stays in the log when a fold covers
// N, so such a log has lost its end. A log that an erasure is removing is not damaged.
func (s *reader) foundShort(ctx context.Context, doc stream.Doc, v *view) {
	if e, err := s.erasedNow(ctx, doc); err == nil && e != nil && time.Since(e.At) < time.Minute {
		return
	}
	s.markDamaged(doc, "log", fmt.Errorf("%w: the snapshot covers sequence %d and the log ends at %d", stream.ErrLost, v.covered(), v.target))
}

// holds adds the whole stored document to have.
func (s *reader) holds(ctx context.Context, doc stream.Doc, have *yjs.State) error {
	v, err := s.read(ctx, doc, 0)
	if err != nil {
		return err
	}
	good, _ := decodable(v.records)
	var u yjs.Update
	for _, part := range withBase(v.base, good) {
		if err := u.Parse(part, stored); err != nil {
			return err
		}
		have.Add(&u)
	}
	return nil
}

func lastOf(h *head, tail []stream.Record) stream.Seq {
	if n := len(tail); n > 0 {
		return tail[n-1].Seq
	}
	if h != nil {
		return h.upto
	}
	return 0
}

// logTail reads the head and the records of the log past it, without the state.
func (s *reader) logTail(ctx context.Context, doc stream.Doc) (*head, []stream.Record, error) {
	v, err := s.readIf(ctx, doc, 0, func(*view) bool { return false })
	if err != nil {
		return nil, nil, err
	}
	return v.head, v.records, nil
}
