package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"yjet/auth"
	"yjet/ingest/outbound"
	"yjet/internal/patch"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// How edits of a program become a record:
//
//  1. The request takes the document's desk, one at a time: an edit sees those before it.
//  2. The room catches up with the log, and the desk with the room.
//  3. The edits are applied to the desk's document in one transaction. If one of them fails, nothing is stored.
//  4. The update passes the entrance like any other and is appended behind the record that the desk has read.
//  5. If another record came first: a condition (If-Match) has failed; an edit of another server makes the desk compute again;
//     typing does not, and the update is appended among it, as two people's edits merge.

// A desk is a document that is open for edits of programs. The holder of turn owns the other fields.
type desk struct {
	turn chan struct{} // has room for one: its holder has put something in
	doc  *yjs.Document // nil: not open
	seq  stream.Seq    // doc has all records up to it, and perhaps edits that are under way
	used time.Time

	ready atomic.Bool // doc is open
}

// lock takes the desk.
func (k *desk) lock(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *desk) unlock() { <-k.turn }

// open reports whether the document is open, as far as that can be told while somebody else holds the desk.
func (k *desk) open() bool { return k.ready.Load() }

// clear closes the document. Callers hold the desk.
func (k *desk) clear() {
	k.doc, k.seq = nil, 0
	k.ready.Store(false)
}

// tidy closes a document that was not edited for a while, or at once where memory is short. A desk in use stays.
func (k *desk) tidy(now time.Time, s *Server) {
	select {
	case k.turn <- struct{}{}:
		if k.doc != nil && (now.Sub(k.used) >= s.limits.IdleUnload || s.memory.tight()) {
			k.clear()
		}
		k.unlock()
	default:
	}
}

// sit opens the desk's document, or brings it up to the room. Callers hold the desk.
func (r *room) sit() (err error) {
	k := &r.desk
	defer func() {
		if err != nil {
			k.clear() // it may have a part of the records
		}
	}()
	defer r.recovered(&err)
	var parts [][]byte
	var seq stream.Seq
	r.look(func() {
		if seq, err = r.seq, r.failed; k.doc == nil || k.seq < r.base.seq {
			if r.base.update != nil {
				parts = append(parts, r.base.update)
			}
			parts = append(parts, r.after(0)...)
		} else {
			parts = r.after(k.seq)
		}
	})
	if err != nil {
		return err
	}
	if k.doc == nil {
		k.doc = yjs.NewDocument(yjs.DocumentOptions{})
	}
	for _, p := range parts {
		if err := k.doc.Apply(p); err != nil {
			return because(causeDamaged, err)
		}
	}
	k.seq, k.used = seq, time.Now()
	k.ready.Store(true)
	return nil
}

// editTries bounds how often edits are computed for one request.
const editTries = 16

// errMoved: the document has a record after the one that the caller named.
var errMoved = errors.New("the document has moved on")

// An editing is a request to edit.
type editing struct {
	grant auth.Grant
	conn  string
	ops   []patch.Op
	match *stream.Seq  // the sequence that the document must be at, or nil
	begin func() error // called before the first record of a new document
}

// edited is the fate of a request to edit.
type edited struct {
	seq     stream.Seq // of the record, or of the last record where nothing changed
	changed bool
	found   []patch.Found
}

// edit applies edits to the document. The error is an *patch.Error, errMoved, or one with a cause.
func (r *room) edit(ctx context.Context, e editing) (edited, error) {
	if err := r.desk.lock(ctx); err != nil {
		return edited{}, because(causeStorage, err)
	}
	defer r.desk.unlock()
	for range editTries {
		if _, err := r.catchUp(ctx); err != nil && !errors.Is(err, snapshot.ErrNotFound) {
			return edited{}, err
		}
		if err := r.sit(); err != nil {
			return edited{}, err
		}
		if e.match != nil && *e.match != r.desk.seq {
			return edited{}, errMoved
		}
		done, again, err := r.tryEdit(ctx, e)
		if err != nil || !again {
			return done, err
		}
	}
	return edited{}, fmt.Errorf("%w: %w", causeStorage, snapshot.ErrBusy)
}

// tryEdit computes the edits once and stores them. again: an edit of another server was first. Callers hold the desk.
func (r *room) tryEdit(ctx context.Context, e editing) (done edited, again bool, err error) {
	k := &r.desk
	stored := false
	head := k.seq
	update, found, err := r.compute(ctx, e)
	defer func() {
		if update != nil && !stored {
			k.clear() // it has what the log has not
		}
	}()
	if err != nil || update == nil {
		return edited{seq: head, found: found}, false, err
	}
	var u yjs.Update
	if err := r.srv.parse(&u, update); err != nil {
		return edited{}, false, err
	}
	withdrawn := r.srv.withdrawn(r.doc, e.grant)
	fresh := false
	r.look(func() {
		_, err = r.judge(e.grant.Mode, withdrawn, &u)
		fresh = r.isNew()
	})
	if err == nil && fresh {
		err = e.begin()
	}
	if err != nil {
		return edited{}, false, err
	}
	seq, err := r.append(ctx, e, head, update)
	if errors.Is(err, stream.ErrConflict) {
		if e.match != nil {
			return edited{}, false, errMoved
		}
		if _, err := r.catchUp(ctx); err != nil {
			return edited{}, false, err
		}
		r.look(func() { again = r.edited > head })
		if again {
			return edited{}, true, nil
		}
		seq, _, err = r.write(ctx, e.grant, e.conn, update)
	}
	if err != nil {
		return edited{}, false, err
	}
	stored = true
	return edited{seq: seq, changed: true, found: found}, false, nil
}

// compute applies the edits to the desk's document. Callers hold the desk.
func (r *room) compute(ctx context.Context, e editing) (update []byte, found []patch.Found, err error) {
	changed := true // as a panic leaves it: in the middle of the transaction
	defer func() {
		if err != nil {
			if changed {
				r.desk.clear()
			}
			update = nil
		}
	}()
	defer r.recovered(&err)
	update, found, err = patch.Apply(r.desk.doc, freshClient(r.desk.doc), e.ops, func() error {
		if ctx.Err() != nil {
			return because(causeStorage, ctx.Err())
		}
		return nil
	})
	changed = update != nil
	return update, found, err
}

// append stores an update only behind head, and waits until the room has it: a client reads what it wrote.
func (r *room) append(ctx context.Context, e editing, head stream.Seq, update []byte) (stream.Seq, error) {
	entries, err := snapshot.Entries(stream.Entry{User: e.grant.User, Conn: e.conn, Update: update}, r.srv.o.Log.MaxUpdate())
	if err != nil {
		return 0, because(causeValueTooLarge, err)
	}
	start := time.Now()
	seq, err := r.srv.o.Log.AppendAt(ctx, r.doc, head, entries...)
	if err != nil {
		return 0, err
	}
	r.srv.metrics.appended(1, len(update), time.Since(start))
	if r.srv.hook != nil {
		r.srv.hook.Note(r.doc, seq, []outbound.Edit{{User: e.grant.User, Updates: 1}})
	}
	r.tail.Expect(seq)
	r.reaches(ctx, func() bool { return r.seq >= seq || r.failed != nil }) // it is stored all the same
	return seq, nil
}

// freshClient draws a client id that the document does not know, from the range that every Yjs takes.
func freshClient(d *yjs.Document) uint64 {
	known := d.Vector()
	for {
		id := uint64(rand.Uint32())
		if _, taken := known[id]; !taken && id > 0 {
			return id
		}
	}
}
