package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// foldMode selects the conditions under which a fold is worth its cost.
type foldMode int

const (
	whenOpen  foldMode = iota // the tail of an open document has grown
	whenQuiet                 // its last session is gone
	whenStale                 // the sweep found a tail older than a day
	always                    // an explicit request
)

// compactor folds documents.
type compactor struct {
	*core
	*blobs
	*damages
	*tombs
	*headKeeper
	*queue
	*reader
	*versionList
}

// Fold folds the document now. The fold covers the returned sequence; 0: the document has no record.
func (s *compactor) Fold(ctx context.Context, doc stream.Doc) (stream.Seq, error) {
	for range 4 {
		n, err := s.fold(ctx, doc, always)
		if !errors.Is(err, ErrRaced) {
			return n, err
		}
	}
	return 0, fmt.Errorf("fold %q: %w", doc, ErrRaced)
}

// compaction is one fold of one document by this process.
type compaction struct {
	s    *compactor
	doc  stream.Doc
	mode foldMode
	lg   *slog.Logger

	attempt string
	erased  time.Time // the document's last erasure, as known before it was read
	view    *view
	next    *head
	state   []byte
	wrote   []string // subjects of this attempt, for takeBack
	folds   int      // states written beside the fold itself
	stands  bool     // our head is stored, or may be: takeBack removes nothing
}

// fold runs the six steps, unless the first one finds that a fold would not pay. A crash between two steps leaves more data, never less;
// the next fold completes the work. fold returns the sequence that the snapshot covers.
func (s *compactor) fold(ctx context.Context, doc stream.Doc, mode foldMode) (stream.Seq, error) {
	if s.isPaused(doc) {
		return 0, ErrPaused
	}
	if !s.begin() {
		return 0, ErrClosed
	}
	defer s.work.Done()
	start := time.Now()
	c := &compaction{s: s, doc: doc, mode: mode, lg: s.lg.With("doc", doc), attempt: s.log.Blobs().NewAttempt()}
	pays := true
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"read", func(ctx context.Context) (err error) { // 1. the state at N, complete
			pays, err = c.read(ctx)
			return err
		}},
		{"history", c.writeHistory}, // 2. the records up to N, packed, if history is kept
		{"chunks", c.writeChunks},   // 3. the state, then the head that makes all of it current,
		{"head", c.writeHead},       //    guarded by the revision that was read
		{"compare", c.readBack},     // 4. the stored state equals the intended one
		{"trim", c.trim},            // 5. the log below N goes; record N stays
		{"remove", c.removeUnnamed}, // 6. the blobs that the new head does not name go
	} {
		err := s.fail(doc, step.name)
		if err == nil {
			err = step.do(ctx)
		}
		if err != nil {
			c.takeBack(err)
			s.metrics.folds.WithLabelValues(outcome(err)).Inc()
			return 0, fmt.Errorf("fold %q, step %s: %w", doc, step.name, err)
		}
		if !pays {
			c.trimLate()
			return c.view.covered(), nil
		}
	}
	s.metrics.folds.WithLabelValues("done").Inc()
	s.metrics.foldSeconds.Observe(time.Since(start).Seconds())
	s.learned(doc, len(c.state))
	s.mended(doc, "snapshot")
	s.foldedThrough(doc, c.next.upto)
	c.lg.Debug("document folded", "seq", c.next.upto, "bytes", len(c.state), "records", len(c.view.records), "took", time.Since(start))
	return c.next.upto, nil
}

// trimLate trims the log if the process of the previous fold ended between head and trim.
func (c *compaction) trimLate() {
	v := c.view
	if v.trimmed || v.head == nil || v.target > v.covered() {
		return
	}
	if err := c.trimTo(context.WithoutCancel(c.s.ctx), v.covered()); err != nil {
		c.lg.Warn("log not trimmed; the next fold does it", "err", err)
	}
}

func outcome(err error) string {
	switch {
	case errors.Is(err, ErrRaced):
		return "raced"
	case errors.Is(err, errDamaged), errors.Is(err, stream.ErrLost):
		return "damaged"
	}
	return "failed"
}

// covered is the sequence that the snapshot of the view covers.
func (v *view) covered() stream.Seq {
	if v == nil || v.head == nil {
		return 0
	}
	return v.head.upto
}

// read is step 1: it reads the state and the records through N, the leader's head, then computes and proves the new state. pays is false
// if there is nothing to fold, or too little.
func (c *compaction) read(ctx context.Context) (pays bool, err error) {
	if c.erased, err = c.s.erasedAt(ctx, c.doc); err != nil {
		return false, err
	}
	if pays, err = c.readAllowed(ctx); err != nil || !pays {
		return false, err
	}
	v := c.view
	if v.target <= v.covered() && !v.rebuilt {
		return false, nil
	}
	// Whatever else was known of the document is written again: the head is replaced as a whole.
	c.next = &head{upto: max(v.target, v.covered()), epoch: c.s.log.Epoch(c.doc)}
	if v.head != nil {
		c.next.info = v.head.info
		c.next.info.History = slices.Clone(v.head.info.History)
		c.next.info.Folds = slices.Clone(v.head.info.Folds)
		c.next.info.Holes = slices.Clone(v.head.info.Holes)
		c.next.info.Parts = nil
	}
	i := &c.next.info
	i.Version, i.Attempt = formatVersion, c.attempt
	for k := range v.records {
		r := &v.records[k]
		i.Records++
		i.Updates += uint64(max(r.Merged, 1))
		i.TimeMS = max(i.TimeMS, r.Time.UnixMilli())
		if i.FirstMS == 0 {
			i.FirstMS = r.Time.UnixMilli()
		}
	}
	i.Holes = append(i.Holes, v.holes...)
	i.Writers = writersOf(v.check.Counters(time.Now().Add(-writerMemory)))

	good, bad := decodable(v.records)
	i.Quarantined += bad
	if c.state, err = compacted(v.base, good); err != nil {
		return false, err
	}
	i.Bytes, i.Sum = len(c.state), sumOf(c.state)
	return true, prove(c.state, v.base, good)
}

// readAllowed reads the document if a fold pays. It removes the records that stale clients of an erased document slipped past the checks:
// neither the state nor the history may contain them.
func (c *compaction) readAllowed(ctx context.Context) (pays bool, err error) {
	for range fillTries {
		if c.view, err = c.s.readIf(ctx, c.doc, 0, c.worth); err != nil {
			return false, err
		}
		if c.view.head != nil {
			c.s.learned(c.doc, c.view.head.info.Bytes)
		}
		if !c.view.loaded || c.erased.IsZero() {
			return c.view.loaded, nil
		}
		erased, err := c.s.erasedNow(ctx, c.doc)
		if err != nil {
			return false, err
		}
		var stale []stream.Seq
		var u yjs.Update
		for i := range c.view.records {
			if r := &c.view.records[i]; u.Parse(r.Update, stored) == nil && erased.Refuses(&u) {
				stale = append(stale, r.Seq)
			}
		}
		switch {
		case len(stale) == 0:
			return true, nil
		case len(stale) == len(c.view.records) && c.view.base == nil:
			return false, nil // only stale records: the second check after the erasure removes them
		}
		if err := c.s.removeStale(ctx, c.doc, stale); err != nil {
			return false, err
		}
	}
	return false, ErrRaced
}

// worth reports whether a fold pays, before its large state is fetched.
func (c *compaction) worth(v *view) bool {
	if v.target == 0 || v.target <= v.covered() {
		return false
	}
	snap := 0
	if v.head != nil {
		snap = v.head.info.Bytes
	}
	old := len(v.records) > 0 && time.Since(v.records[0].Stored) > staleAfter
	short := c.s.short(v.bytes, len(v.records))
	switch c.mode {
	case whenOpen:
		return v.bytes > max(openBytes, snap/2) || len(v.records) > openRecords
	case whenQuiet:
		return !short && (v.head == nil || v.bytes > snap/16 || old)
	case whenStale:
		return !short && old
	}
	return true
}

// writeHistory is step 2: it packs the records into segments before the fold takes them out of the log.
func (c *compaction) writeHistory(ctx context.Context) error {
	if err := c.packHistory(ctx); err != nil {
		return err
	}
	if err := c.retain(ctx); err != nil || len(c.next.info.Folds) == 0 {
		return err
	}
	// Read after the head: a version whose fold is listed there has its name already.
	versions, err := c.s.versionSeqs(ctx, c.doc)
	if err != nil {
		return err
	}
	c.next.dropFolds(versions)
	return nil
}

// writeChunks is the first half of step 3. A state that fits rides in the head.
func (c *compaction) writeChunks(ctx context.Context) error {
	c.next.inline = c.state
	if len(c.state) <= min(inlineMax, c.s.log.MaxUpdate()-infoMax) {
		if b, err := c.next.encode(); err != nil {
			return err
		} else if len(b.Header[hdrInfo]) <= infoMax {
			return nil
		}
	}
	parts, err := c.s.putState(ctx, c.doc, c.attempt, 0, c.state)
	c.wroteParts(parts)
	c.next.inline, c.next.info.Parts = nil, parts
	return err
}

// writeHead is the second half of step 3, the moment at which the fold becomes current.
func (c *compaction) writeHead(ctx context.Context) error {
	if err := c.s.log.MarkShard(ctx, c.doc, c.next.upto); err != nil {
		return err
	}
	if err := c.stillThere(ctx); err != nil {
		return err
	}
	rev, err := c.s.putHead(ctx, c.doc, c.next, c.view.rev)
	if err != nil {
		// Any error but a lost race may hide a head that was stored after all.
		c.stands = !errors.Is(err, ErrRaced)
		return err
	}
	c.stands = true
	c.next.rev = rev
	// Without an old head there is no revision to guard the write, so an erasure may have begun in between. An erasure writes its
	// tombstone before it removes anything: either it finds this head, or this check finds the tombstone.
	err = c.stillThere(ctx)
	if errors.Is(err, errErased) {
		if err := c.s.log.Blobs().RemoveHead(ctx, c.doc, rev); err != nil {
			return err // the second check after the erasure removes it
		}
		c.stands = false
	}
	return err
}

// errErased ends a fold of a document that was erased since it was read.
var errErased = fmt.Errorf("%w: erased meanwhile", ErrNotFound)

func (c *compaction) stillThere(ctx context.Context) error {
	at, err := c.s.erasedAt(ctx, c.doc)
	if err == nil && !at.Equal(c.erased) {
		err = errErased
	}
	return err
}

// putHead stores h if the head has revision expect. ErrRaced: the head has another revision and is not ours.
func (s *compactor) putHead(ctx context.Context, doc stream.Doc, h *head, expect stream.Seq) (stream.Seq, error) {
	b, err := h.encode()
	if err != nil {
		return 0, err
	}
	rev, err := s.log.Blobs().PutHead(ctx, doc, b, expect)
	if !errors.Is(err, stream.ErrConflict) {
		return rev, err
	}
	// If NATS stored our first try and its answer was lost, the second try is refused: then the head is ours.
	now, _, rerr := s.snapHead(ctx, doc)
	if rerr == nil && now != nil && now.info.Attempt == h.info.Attempt && now.info.Sum == h.info.Sum && now.rev != expect {
		return now.rev, nil
	}
	return 0, ErrRaced
}

// readBack is step 4: it compares the stored state with the intended one before anything is purged. ErrRaced: a later fold built on ours
// and will trim; it may already have removed blobs of ours.
func (c *compaction) readBack(ctx context.Context) error {
	h, err := c.ownHead(ctx)
	if err != nil {
		return err
	}
	if err := c.compare(ctx, h); err != nil {
		if _, raced := c.ownHead(ctx); errors.Is(raced, ErrRaced) {
			return raced
		}
		return err
	}
	return nil
}

// ownHead reads the head that this fold has written.
func (c *compaction) ownHead(ctx context.Context) (*head, error) {
	h, _, err := c.s.snapHead(ctx, c.doc)
	switch {
	case err != nil:
		return nil, err
	case h == nil || h.upto < c.next.upto:
		return nil, fmt.Errorf("%w: the head just written is not there", errDamaged)
	case h.info.Attempt != c.next.info.Attempt:
		return nil, ErrRaced
	}
	return h, nil
}

func (c *compaction) compare(ctx context.Context, h *head) error {
	state, err := c.s.state(ctx, h)
	if err != nil {
		return err
	}
	if sumOf(state) != c.next.info.Sum || len(state) != len(c.state) {
		return fmt.Errorf("%w: the fold reads back differently", errDamaged)
	}
	for _, seg := range c.next.info.History {
		if attemptOf(seg.Subject) != c.attempt {
			continue
		}
		if _, err := c.s.segment(ctx, seg); err != nil {
			return err
		}
	}
	return nil
}

// trim is step 5.
func (c *compaction) trim(ctx context.Context) error { return c.trimTo(ctx, c.next.upto) }

// trimTo removes the document's records below keep. The log lets two purges run at a time in a shard.
func (c *compaction) trimTo(ctx context.Context, keep stream.Seq) error {
	if err := c.s.log.Trim(ctx, c.doc, keep); err != nil {
		return err
	}
	c.s.metrics.trims.Inc()
	return nil
}

// removeUnnamed is step 6. After an error the sweep removes the rest.
func (c *compaction) removeUnnamed(ctx context.Context) error {
	keep, stale := c.next.names(), c.view.head.names()
	for _, name := range c.wrote { // a segment can be past its age when it is packed
		stale[name] = true
	}
	for name := range stale {
		if keep[name] {
			continue
		}
		if err := c.s.log.Blobs().Remove(ctx, name); err != nil {
			c.lg.Debug("stale blob stays for the sweep", "subject", name, "err", err)
		}
	}
	return nil
}

// takeBack removes this attempt's own blobs after an error, when no head can name them.
func (c *compaction) takeBack(err error) {
	if c.stands || errors.Is(err, errCrash) || len(c.wrote) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.s.ctx, 10*time.Second)
	defer cancel()
	for _, name := range c.wrote {
		if err := c.s.log.Blobs().Remove(ctx, name); err != nil {
			c.lg.Debug("blob of an abandoned fold stays for the sweep", "subject", name, "err", err)
			return
		}
	}
}

func (c *compaction) wroteParts(parts []blobRef) {
	for _, p := range parts {
		c.wrote = append(c.wrote, p.Subject)
	}
}

// errCrash is returned by a failpoint to end a fold as a crash would.
var errCrash = errors.New("snapshot: crash of a test")

// amend writes the head again with a changed list and the same state, if change reports a change.
func (s *compactor) amend(ctx context.Context, doc stream.Doc, h *head, change func(*compaction) (changed bool, err error)) (changed bool, err error) {
	if !s.begin() {
		return false, ErrClosed
	}
	defer s.work.Done()
	erased, err := s.erasedAt(ctx, doc)
	if err != nil {
		return false, err
	}
	next := *h
	next.info.Attempt = s.log.Blobs().NewAttempt()
	next.info.History, next.info.Folds = slices.Clone(h.info.History), slices.Clone(h.info.Folds)
	c := &compaction{s: s, doc: doc, mode: always, lg: s.lg.With("doc", doc), attempt: next.info.Attempt, erased: erased, view: &view{head: h, rev: h.rev}, next: &next}
	if changed, err = change(c); err == nil && !changed {
		return false, nil
	}
	if err == nil && len(next.info.Parts) == 0 {
		// The state is inline; a list that has outgrown the header moves it into chunks.
		c.state = next.inline
		err = c.writeChunks(ctx)
	}
	if err == nil {
		err = c.writeHead(ctx)
	}
	if err != nil {
		c.takeBack(err)
		return false, err
	}
	return true, c.removeUnnamed(ctx)
}
