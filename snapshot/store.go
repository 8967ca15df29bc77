package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"yjet/stream"
)

// Options configure a Store.
type Options struct {
	// History is how long single records are kept: "all" (also ""), a duration such as "90d" or "36h", or "none".
	History string
	// CompactAfter is the quiet time after which a document without sessions is folded; 0 means 30 s.
	CompactAfter time.Duration
	// EraseWait is how long an append may still be under way somewhere after a document was erased; 0 means 35 s. See Erase.
	EraseWait time.Duration
	// SweepEvery starts a sweep about that often, see Sweep, and what else a server does beside folding; 0: nothing by itself.
	SweepEvery time.Duration
	// OrphanAge is how old a blob that no head names must be before the sweep removes it; 0 means an hour. A fold that is
	// under way names what it writes within minutes.
	OrphanAge time.Duration
	// OnDamage, when set, is told once for each document found damaged; it must not block.
	OnDamage func(Damage)
	Log      *slog.Logger          // nil: slog.Default
	Metrics  prometheus.Registerer // nil: none
}

var (
	// ErrGone: the moment asked for is older than the history that is kept. errors.As with *GoneError has the oldest there is.
	ErrGone = errors.New("snapshot: history at that moment was dropped")
	// ErrNotFound: the document, version or moment does not exist.
	ErrNotFound = errors.New("snapshot: not found")
	// ErrRaced: another server folded the document at the same time; its fold stands and nothing was lost.
	ErrRaced = errors.New("snapshot: another server folded the document first")
	// ErrPaused: folding of this document is paused.
	ErrPaused = errors.New("snapshot: folding is paused")
	// ErrClosed: the Store is closing.
	ErrClosed = errors.New("snapshot: closed")

	// errDamaged marks stored bytes that are missing or not what their checksum says.
	errDamaged = errors.New("snapshot: damaged")
)

// Store reads and writes folds; see the package comment. It is the stream.Filler of every Tail, and safe for concurrent use.
type Store struct {
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

	work     sync.WaitGroup // folds and timers under way
	swept    atomic.Int64   // sweeps finished
	mu       sync.Mutex
	closed   bool
	docs     map[stream.Doc]*known
	queue    []stream.Doc
	running  int
	paused   map[stream.Doc]int
	stopAll  int
	heads    map[stream.Doc]stream.Seq // of documents that are not folded through their end; see heads.go
	upto     map[stream.Doc]stream.Seq // what open documents are folded through
	headsNew bool
	damaged  map[stream.Doc]Damage
	late     map[stream.Doc]*time.Timer // a second look at what was erased
}

// known is what the hints told of one document; guarded by Store.mu.
type known struct {
	snapBytes int // of the state last read or written
	// The tail as the hints count it, and how much of it the last fold took.
	head          stream.Seq
	tailBytes     int
	tailRecords   int
	foldedBytes   int
	foldedRecords int
	idle, queued  bool
	timer         *time.Timer
}

// workers is how many documents one process folds at a time: folding is CPU and disk beside people's keystrokes.
const workers = 2

// mostWorkers is workers, or less where memory is limited: a fold holds a document several times.
func mostWorkers() int {
	if l := debug.SetMemoryLimit(-1); l > 0 && l < math.MaxInt64 {
		return int(min(max(l/(512<<20), 1), workers))
	}
	return workers
}

// New makes a Store. Options that cannot be read are refused by ParseHistory before; here they mean "all".
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
	if o.Log == nil {
		o.Log = slog.Default()
	}
	keep, err := parseHistory(o.History)
	if err != nil {
		o.Log.Error("history setting not understood, keeping everything", "history", o.History, "err", err)
	}
	codec, err := newCodec()
	if err != nil {
		panic(fmt.Sprintf("snapshot: zstd refuses its constant options: %v", err))
	}
	s := &Store{
		log: log, opt: o, keep: keep, lg: o.Log, codec: codec,
		docs: make(map[stream.Doc]*known), paused: make(map[stream.Doc]int),
		heads: make(map[stream.Doc]stream.Seq), upto: make(map[stream.Doc]stream.Seq),
		damaged: make(map[stream.Doc]Damage), late: make(map[stream.Doc]*time.Timer),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.closing, s.stop = context.WithCancel(s.ctx)
	s.metrics = newMetrics(o.Metrics, s)
	if o.SweepEvery > 0 {
		s.work.Add(2)
		go s.sweeper(o.SweepEvery)
		go s.keepHeads()
	}
	return s
}

// Close stops scheduling, waits for folds under way until ctx ends, and then cancels them: a fold cut short leaves more
// data, never less.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		s.stop()
		s.queue = nil
		for _, k := range s.docs {
			if k.timer != nil && k.timer.Stop() {
				s.work.Done()
			}
			k.timer = nil
		}
		for _, t := range s.late {
			if t.Stop() {
				s.work.Done()
			}
		}
	}
	s.mu.Unlock()
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

// retention is how long records are kept one by one.
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

// ParseAge reads a duration that may count in days and weeks: "90d", "2w", and all that time.ParseDuration takes.
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
