package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"yjet/stream"
)

// Options configure a Store.
type Options struct {
	// History is the time that single records are kept: "all" (also ""), a duration such as "90d" or "36h", or "none".
	History string
	// CompactAfter is the quiet time after which a document without sessions is folded; 0 means 30 s.
	CompactAfter time.Duration
	// EraseWait is the longest time that an append may still be under way after an erasure; 0 means 35 s. See Erase.
	EraseWait time.Duration
	// SweepEvery is the mean time between sweeps, see Sweep; the server's other background work runs too. 0: no background work.
	SweepEvery time.Duration
	// OrphanAge is the age at which the sweep removes a blob that no head names; 0 means an hour. A fold under way names its
	// blobs within minutes.
	OrphanAge time.Duration
	// MaxVersions limits the named versions of one document; 0 means 200. Versions of the same record share a state.
	MaxVersions int
	Log         *slog.Logger          // nil: slog.Default
	Metrics     prometheus.Registerer // nil: none
}

var (
	// ErrGone: the requested moment is older than the kept history. errors.As with *GoneError returns the oldest moment.
	ErrGone = errors.New("snapshot: history at that moment was dropped")
	// ErrNotFound: the document, version or moment does not exist.
	ErrNotFound = errors.New("snapshot: not found")
	// ErrRaced: another server folded the document at the same time; its fold stands and nothing was lost.
	ErrRaced = errors.New("snapshot: another server folded the document first")
	// ErrPaused: folding of this document is paused.
	ErrPaused = errors.New("snapshot: folding is paused")
	// ErrClosed: the Store is closing.
	ErrClosed = errors.New("snapshot: closed")

	// errDamaged marks stored bytes that are missing or do not match their checksum.
	errDamaged = errors.New("snapshot: damaged")
)

// Store reads and writes folds; see the package comment. It is the stream.Filler of every Tail, and safe for concurrent use.
//
// Each subject has its own type, which owns its state and its lock and embeds the types it uses, all of them above it in this list.
// A Store combines them. Locks are taken in the order of this list, and none is held during a NATS request.
type Store struct {
	*core        // the log, the options, and Close
	*blobs       // chunks, segments and heads as they are stored
	*appender    // updates on their way into the log
	*damages     // the register of damaged documents
	*tombs       // content that was erased and may not return
	*headKeeper  // heads of documents
	*queue       // documents to fold, and when
	*reader      // a document as it is stored: head, state, records
	*history     // moments, records, and the list of events
	*people      // authors of text and of changes
	*versionList // the names of moments
	*compactor   // folds
	*versions    // naming moments
	*editor      // edits that are computed from the whole document
	*healer      // lost content, stored again from rooms
	*eraser      // removing documents for good
	*verifier    // replay from zero = snapshot + history + tail
	*sweeper     // regular checks of every document
	*transfer    // documents as files
}

// core holds the fields that every part of a Store uses.
type core struct {
	// Set by New, then only read.
	log     *stream.Log
	opt     Options
	keep    retention
	lg      *slog.Logger
	metrics *metrics
	codec   *codec
	ctx     context.Context // ends when Close gives up waiting
	cancel  context.CancelFunc
	closing context.Context // ends when Close begins
	stop    context.CancelFunc

	// failpoint, when a test sets it, is called at each step of a fold; an error ends the process's part in it there and
	// then, as a crash would.
	failpoint func(doc stream.Doc, step string) error

	work sync.WaitGroup // folds, timers and loops under way; added to by begin only

	mu     sync.Mutex // guards closed: nothing begins once it is set
	closed bool
}

// begin registers a piece of work, which must call work.Done. It reports false if the Store is closing.
func (s *core) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// close refuses new work.
func (s *core) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.stop()
}

func (s *core) fail(doc stream.Doc, step string) error {
	if s.failpoint == nil {
		return nil
	}
	return s.failpoint(doc, step)
}

// New makes a Store. The caller checks Options.History with ParseHistory; New takes an invalid value as "all".
func New(log *stream.Log, o Options) *Store {
	if o.CompactAfter <= 0 {
		o.CompactAfter = 30 * time.Second
	}
	if o.EraseWait <= 0 {
		o.EraseWait = 35 * time.Second
	}
	if o.OrphanAge <= 0 {
		o.OrphanAge = time.Hour
	}
	if o.MaxVersions <= 0 {
		o.MaxVersions = 200
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	keep, err := parseHistory(o.History)
	if err != nil {
		o.Log.Error("history setting not understood, keeping everything", "history", o.History, "err", err)
	}
	c := &core{log: log, opt: o, keep: keep, lg: o.Log}
	if c.codec, err = newCodec(); err != nil {
		panic(fmt.Sprintf("snapshot: zstd refuses its constant options: %v", err))
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.closing, c.stop = context.WithCancel(c.ctx)
	s := assemble(c)
	c.metrics = newMetrics(o.Metrics, s.damages.count, s.queue.length)
	if o.SweepEvery > 0 && c.begin() && c.begin() {
		go s.sweeper.run(o.SweepEvery)
		go s.headKeeper.run()
	}
	return s
}

// assemble connects the parts of a Store, each to those above it in the list.
func assemble(c *core) *Store {
	s := &Store{core: c}
	s.blobs = &blobs{core: c}
	s.appender = &appender{core: c}
	s.damages = &damages{core: c, damaged: make(map[stream.Doc]Damage)}
	s.tombs = &tombs{core: c, appender: s.appender, damages: s.damages}
	s.headKeeper = &headKeeper{core: c, damages: s.damages, tombs: s.tombs, heads: make(map[stream.Doc]stream.Seq), upto: make(map[stream.Doc]stream.Seq)}
	s.queue = &queue{core: c, headKeeper: s.headKeeper, docs: make(map[stream.Doc]*known), paused: make(map[stream.Doc]int)}
	s.reader = &reader{core: c, blobs: s.blobs, damages: s.damages, tombs: s.tombs, queue: s.queue}
	s.history = &history{core: c, blobs: s.blobs, damages: s.damages, reader: s.reader}
	s.people = &people{history: s.history}
	s.versionList = &versionList{core: c}
	s.compactor = &compactor{core: c, blobs: s.blobs, damages: s.damages, tombs: s.tombs, headKeeper: s.headKeeper, queue: s.queue, reader: s.reader, versionList: s.versionList}
	s.queue.foldOne = s.compactor.fold
	s.versions = &versions{core: c, blobs: s.blobs, history: s.history, versionList: s.versionList, compactor: s.compactor}
	s.editor = &editor{core: c, appender: s.appender, tombs: s.tombs, reader: s.reader, history: s.history}
	s.healer = &healer{core: c, blobs: s.blobs, appender: s.appender, damages: s.damages, tombs: s.tombs, reader: s.reader, compactor: s.compactor}
	s.eraser = &eraser{core: c, blobs: s.blobs, damages: s.damages, tombs: s.tombs, headKeeper: s.headKeeper, queue: s.queue, reader: s.reader, history: s.history, late: make(map[stream.Doc]*time.Timer)}
	s.verifier = &verifier{core: c, blobs: s.blobs, tombs: s.tombs}
	s.sweeper = &sweeper{core: c, blobs: s.blobs, damages: s.damages, compactor: s.compactor, verifier: s.verifier, eraser: s.eraser}
	s.transfer = &transfer{core: c, tombs: s.tombs, reader: s.reader, history: s.history, versions: s.versions, compactor: s.compactor, eraser: s.eraser, appender: s.appender}
	return s
}

// Close stops scheduling, waits for folds under way until ctx ends, and then cancels them: a fold cut short leaves more
// data, never less.
func (s *Store) Close(ctx context.Context) error {
	s.core.close()
	s.queue.stopTimers()
	s.eraser.stopTimers()
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.cancel()
	<-done
	s.codec.close()
	return err
}

// retention is the time that single records are kept.
type retention struct {
	none bool
	age  time.Duration // 0: for ever, unless none
}

// ParseHistory checks a --history setting: "all", "none", or a duration; d and w are days and weeks.
func ParseHistory(v string) error {
	_, err := parseHistory(v)
	return err
}

func parseHistory(v string) (retention, error) {
	switch v {
	case "", "all":
		return retention{}, nil
	case "none":
		return retention{none: true}, nil
	}
	d, err := ParseAge(v)
	if err != nil || d <= 0 {
		return retention{}, fmt.Errorf("history %q: want all, none, or a duration such as 90d", v)
	}
	return retention{age: d}, nil
}

// ParseAge reads a duration in days or weeks ("90d", "2w"), or any that time.ParseDuration accepts.
func ParseAge(v string) (time.Duration, error) {
	for unit, size := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(v, unit); ok {
			f, err := strconv.ParseFloat(n, 64)
			if err != nil || !(f >= 0 && f <= 1e5) { // NaN is neither
				return 0, fmt.Errorf("bad duration %q", v)
			}
			return time.Duration(f * float64(size)), nil
		}
	}
	return time.ParseDuration(v)
}
