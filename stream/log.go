package stream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says how the log lies in NATS. What was fixed at the first start is compared, not changed.
type Config struct {
	Shards     int    // 1 to 99; 0: as recorded, at the first start 2 embedded, else 8
	Replicas   int    // of every stream; 0: as it is, at the first start 1 embedded, else 3 where the cluster allows
	Embedded   bool   // the NATS server is inside this process and serves nobody else's streams
	Durability string // "disk", "process" or "unknown": what the server was told, for Health and for how appends are grouped
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil: not registered
}

var (
	// ErrName: the name of a document is not one. The text says why and may be shown to the client.
	ErrName = errors.New("stream: bad document name")
	// ErrTooLarge: the update is above MaxUpdate. Nothing was stored; the writer may go on.
	ErrTooLarge = errors.New("stream: update above the server's max_payload")
	// ErrIdentity: the user or the connection id of an entry is too long for a header.
	ErrIdentity = errors.New("stream: user or connection name above 1 KiB")
	// ErrGaveUp: not known to be stored when the context ended; it may be stored yet. The Writer is spent: open another.
	ErrGaveUp = errors.New("stream: not stored within the time-out")
	// ErrFault: the store reported an error. It holds for the whole node: acknowledge nothing until Health is well again.
	ErrFault = errors.New("stream: the store reported an error")
	// ErrLost: there were records and they cannot be had. Do not begin a new document in their place.
	ErrLost = errors.New("stream: records missing")
	// ErrDamaged: a record's bytes are not those that were appended.
	ErrDamaged = errors.New("stream: record damaged")
	// ErrErased: the document was erased (and maybe begun anew) while it was open. Close it; who comes back gets the new one.
	ErrErased = errors.New("stream: document erased")
	// ErrRewound: the log ends before records that were shown. Close the document; who comes back brings what it has lost.
	ErrRewound = errors.New("stream: the log has lost its end")
	// ErrConflict: not at the expected sequence: somebody else was first. Read again.
	ErrConflict = errors.New("stream: not at the expected sequence")
	// ErrConfig: what lies in NATS is not what this configuration needs. The text says what to do.
	ErrConfig = errors.New("stream: the store does not fit the configuration")
	// ErrClosed: the Log is closed.
	ErrClosed = errors.New("stream: closed")
)

// headerRoom is what MaxUpdate leaves of max_payload for headers.
const headerRoom = 4 << 10

// Log is the log of all documents. Its methods may be called from any goroutine.
type Log struct {
	// Set by Open, then only read.
	nc, bulk  *nats.Conn // appends and the live feed; replays and everything that is large
	js        jetstream.JetStream
	cfg       Config
	log       *slog.Logger
	m         *metrics
	node      string
	madeAt    time.Time // when the shards were settled, by an earlier start; zero: by this one
	shards    []*shard
	feeds     []*feed
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	running   sync.WaitGroup
	reads     chan struct{} // a token per batched read under way, so that their answers fit into max_pending
	eraseTime time.Duration // how long Erase overwrites records: the constant, longer in tests
	unhook    func()

	compare chan struct{} // asks the keeper to compare all heads now
	away    atomic.Bool   // the connection was away: presence, which NATS holds in memory, may be gone

	noConsumer atomic.Int64 // unix nanoseconds until which none is asked for, since none could be made

	repairMu sync.Mutex
	repairQ  []*Tail
	repairs  int // workers running

	fault      atomic.Pointer[fault]
	gone       atomic.Pointer[error] // streams that were deleted under us
	faultMu    sync.Mutex
	lastAck    atomic.Int64 // unix nanoseconds of the last stored append or probe
	findingOut atomic.Bool  // a probe is due for what failed
	probeMu    sync.Mutex
	probedAt   time.Time
	probeErr   error

	names nameCache
}

// Open finds or makes the streams and buckets and starts the log. nc carries appends and the live feed, bulk carries
// replays; Dial makes both. Open takes over their event handlers, not the connections: close them after the Log.
func Open(ctx context.Context, nc, bulk *nats.Conn, cfg Config) (*Log, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	js, err := jetstream.New(bulk)
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	l := &Log{
		nc: nc, bulk: bulk, js: js, cfg: cfg, log: cfg.Log, m: newMetrics(cfg.Metrics),
		node:      randomName(),
		reads:     make(chan struct{}, 8),
		compare:   make(chan struct{}, 1),
		eraseTime: eraseTime,
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if err := l.prepare(ctx); err != nil {
		l.cancel()
		return nil, err
	}
	for i := range min(2, l.cfg.Shards) {
		l.feeds = append(l.feeds, newFeed(l, i))
	}
	for i := range l.cfg.Shards {
		s, err := newShard(l, i)
		if err != nil {
			l.cancel()
			return nil, err
		}
		l.shards = append(l.shards, s)
	}
	for _, s := range l.shards {
		if err := l.verifyEnd(ctx, s); err != nil {
			l.cancel()
			return nil, err
		}
	}
	for _, s := range l.shards {
		l.running.Go(s.run)
	}
	for _, f := range l.feeds {
		l.running.Go(f.run)
	}
	l.running.Go(l.keep)
	l.unhook = l.hook()
	l.running.Go(l.watchStreams)
	if !l.cfg.Embedded {
		l.running.Go(l.watchLink)
	}
	l.lastAck.Store(time.Now().UnixNano())
	return l, nil
}

// Close ends all goroutines. What was not stored yet is given up (ErrGaveUp), open Tails end without a word.
func (l *Log) Close() error {
	if l.ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.ctx, time.Second)
	defer cancel()
	for _, s := range l.shards {
		if l.bulk.IsConnected() && l.markNow(ctx, s) != nil {
			break // the mark of the last minute has to do
		}
	}
	l.repairMu.Lock() // no repair worker starts from here on
	l.cancel()
	l.repairMu.Unlock()
	l.unhook()
	l.running.Wait()
	return nil
}

// Node is the random name of this Log, as other servers see it in awareness and presence.
func (l *Log) Node() string { return l.node }

// Shards is the number of shards that the store was made with.
func (l *Log) Shards() int { return l.cfg.Shards }

// MaxUpdate is the largest update that Append takes now: the server's max_payload without 4 KiB for headers.
func (l *Log) MaxUpdate() int { return int(l.nc.MaxPayload()) - headerRoom }

func (l *Log) shardOf(token string) *shard { return l.shards[shardOf(token, len(l.shards))] }

// subject of a document: kind.NN.token.
func (s *shard) subject(kind, token string) string { return kind + "." + s.nn + "." + token }

func randomWriter() uint64 {
	for {
		var b [8]byte
		rand.Read(b[:])
		if w := binary.BigEndian.Uint64(b[:]); w != 0 {
			return w
		}
	}
}

func randomName() string { return fmt.Sprintf("%016x", randomWriter()) }
