package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Entry is one update to append.
type Entry struct {
	User, Conn string    // the verified user and the connection; at most 1 KiB each
	Merged     int       // updates folded into this one; 0 and 1 mean one
	Time       time.Time // imports only: when it was made
	WithNext   bool      // this entry and the next are stored together or not at all: parts of one update that was split
	Update     []byte    // must not change until done is called
}

// Writer appends to one document. Each opening of a room needs its own: records count from 1 under the writer's random name, so that
// a missing one is noticed. At most one Append per Writer may be under way.
type Writer struct {
	shard   *shard
	doc     Doc
	path    string
	subject string
	id      uint64

	mu    sync.Mutex // guards the fields below: an append's count and name are taken in one step
	n     uint64     // records counted so far under id
	last  time.Time  // of the last append
	busy  bool       // an Append is under way
	spent error      // the error after which the Writer appends no more; nil while it does
}

// writerRest is how long a writer may be silent before it takes a new name and counts from 1 again: snapshots remember writers for
// a day, and the next count of a forgotten writer would look like a hole.
const writerRest = 12 * time.Hour

// Writer opens a writer. It costs nothing in NATS and needs no closing.
func (l *Log) Writer(doc Doc) *Writer {
	path := doc.Path()
	s := l.shardOf(path)
	return &Writer{shard: s, doc: doc, path: path, subject: s.no.Subject(name.Log, path), id: randomWriter()}
}

// Append stores the entries in order, retrying with back-off until ctx ends. It never blocks. After a failure none of the entries is
// stored, or only the first few: no entry is ever stored without those before it.
//
// done is called exactly once, from the committer's goroutine: it must not block, and may call Append again. It gets the sequence of
// each entry, or an error. After ErrTooLarge and ErrIdentity nothing was sent and the Writer may go on. After any other error the
// Writer is spent and the caller opens another; after ErrGaveUp the entries may be stored nevertheless.
//
// Entries joined by WithNext are stored in one atomic batch: at most 1,000 entries and 64 MiB.
func (w *Writer) Append(ctx context.Context, entries []Entry, done func(seqs []Seq, err error)) {
	p := &pending{ctx: ctx, w: w, entries: entries, done: done, since: time.Now()}
	w.mu.Lock()
	if w.busy {
		w.mu.Unlock()
		panic("stream: Append while another is under way on the same Writer")
	}
	w.busy = true
	p.refused = w.spent
	if p.refused == nil {
		p.refused = w.check(entries)
	}
	if !w.last.IsZero() && p.since.Sub(w.last) > writerRest {
		w.id, w.n = randomWriter(), 0
	}
	w.last = p.since
	p.writer, p.first = w.id, w.n+1
	if p.refused == nil {
		w.n += uint64(len(entries))
	}
	w.mu.Unlock()
	w.shard.submit(p)
}

func (w *Writer) check(entries []Entry) error { return check(entries, w.shard.l.MaxUpdate()) }

func check(entries []Entry, limit int) error {
	if len(entries) == 0 {
		return errors.New("stream: an append of nothing")
	}
	run, size := 0, 0
	for i := range entries {
		if err := entries[i].check(limit); err != nil {
			return err
		}
		run++
		size += len(entries[i].Update)
		if run > 1 && (run > jet.MaxBatch || size > maxRunBytes) {
			return fmt.Errorf("%w: more than %d entries or %d bytes that are to be stored together", ErrTooLarge, jet.MaxBatch, maxRunBytes)
		}
		if !entries[i].WithNext {
			run, size = 0, 0
		}
	}
	if entries[len(entries)-1].WithNext {
		return errors.New("stream: the last entry of an append has no next")
	}
	return nil
}

func (e *Entry) check(limit int) error {
	if len(e.Update) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(e.Update), limit)
	}
	if len(name.EscapeHeader(e.User)) > maxIdentity || len(name.EscapeHeader(e.Conn)) > maxIdentity {
		return ErrIdentity
	}
	return nil
}

// finish ends an append. The Writer is then free for the next, or spent.
func (p *pending) finish(seqs []Seq, err error) {
	w := p.w
	w.mu.Lock()
	w.busy = false
	if err != nil && p.refused == nil && w.spent == nil {
		w.spent = fmt.Errorf("%w: this writer is spent", ErrGaveUp)
	}
	w.mu.Unlock()
	p.done(seqs, err)
}

// message makes entry i, to be acknowledged at reply. extra header fields can be set on it.
func (p *pending) message(i int, reply string, extra int) *nats.Msg {
	e := &p.entries[i]
	sum := Sum{CRC: checksum(e.Update), Writer: p.writer, N: p.first + uint64(i)}
	return &nats.Msg{Subject: p.w.subject, Reply: reply, Header: e.header(p.w.doc, p.w.path, sum, extra), Data: e.Update}
}

// AppendIfNew stores the entries only where the document has no record: the compare-and-set of seeding. It is AppendAt the head 0.
func (l *Log) AppendIfNew(ctx context.Context, doc Doc, entries ...Entry) (Seq, error) {
	return l.AppendAt(ctx, doc, 0, entries...)
}

// AppendAt stores the entries, all of them or none, only where head is the document's last record (0: it has none). They are parts of one
// update: at most 1,000, and not above 64 MiB. It returns the sequence of the last one. ErrConflict: another record is the last. It retries
// until ctx ends (ErrGaveUp: they may be stored nevertheless). Each call is a writer of its own: its first record counts 1.
func (l *Log) AppendAt(ctx context.Context, doc Doc, head Seq, entries ...Entry) (Seq, error) {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].WithNext = i < len(entries)-1
	}
	if err := check(entries, l.MaxUpdate()); err != nil {
		return 0, err
	}
	if f := l.fault.Load(); f != nil {
		return 0, f
	}
	path := doc.Path()
	s := l.shardOf(path)
	if head == 0 {
		// NATS's comparison treats a document whose last record is damaged as empty. Check that it is.
		if now, err := l.Head(ctx, doc); err != nil {
			return 0, err
		} else if now > 0 {
			return 0, conflict(doc, 0)
		}
	}
	msgs := make([]*nats.Msg, len(entries))
	writer, size := randomWriter(), 0
	for i := range entries {
		e := &entries[i]
		sum := Sum{CRC: checksum(e.Update), Writer: writer, N: uint64(i + 1)}
		msgs[i] = &nats.Msg{Subject: s.no.Subject(name.Log, path), Header: e.header(doc, path, sum, jet.BatchHeaders+1), Data: e.Update}
		size += len(e.Update)
	}
	jet.Expect(msgs[0].Header, head)
	failed := true
	if len(msgs) > 1 && s.grouped {
		s.holdback.begin(writer)
		defer func() { s.holdback.end(writer, failed) }()
	}
	for attempt := 0; ; attempt++ {
		var seq Seq
		err := jet.ErrRefused
		if !s.checking.Load() {
			seq, err = jet.PublishAll(ctx, l.nc, randomName(), msgs)
		}
		switch {
		case err == nil:
			failed = false
			s.saw(seq)
			l.stored(len(entries), size)
			return seq, nil
		case errors.Is(err, ErrConflict):
			if attempt == 0 {
				failed = false // none of the entries is stored
				return 0, conflict(doc, head)
			}
			// The record after head may be ours: from an attempt whose acknowledgement was lost.
			r, ok, rerr := l.RecordAt(ctx, doc, head+1)
			if rerr == nil && ok && r.Sum.Writer == writer {
				return r.Seq + Seq(len(entries)-1), nil // an atomic batch has consecutive sequences
			} else if rerr == nil {
				return 0, conflict(doc, head)
			}
		case errors.Is(err, ErrFault):
			l.setFault(err)
			return 0, err
		case errors.Is(err, ErrTooLarge):
			return 0, err
		}
		if jet.Pause(ctx, jet.Backoff(attempt)) != nil {
			l.m.gaveUp.Inc()
			return 0, fmt.Errorf("%w: %q: %w", ErrGaveUp, doc, err)
		}
	}
}

func conflict(doc Doc, head Seq) error {
	if head == 0 {
		return fmt.Errorf("%w: %q has records", ErrConflict, doc)
	}
	return fmt.Errorf("%w: record %d is not the last of %q", ErrConflict, head, doc)
}
