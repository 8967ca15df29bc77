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
	"github.com/prometheus/client_golang/prometheus"

	"yjet/stream/bucket"
	"yjet/stream/jet"
	"yjet/stream/name"
)

// Types of the lower packages that the packages above use.
type (
	Doc      = name.Doc      // names a document
	Seq      = jet.Seq       // a sequence of the document's shard: it grows within a document, with gaps
	Blob     = bucket.Blob   // a snapshot head, a chunk or a segment
	Presence = bucket.Client // one client of a document
	Answer   = bucket.Answer // what was answered to an edit
)

// ParseDoc returns the canonical form of a name from a client, or ErrName.
func ParseDoc(s string) (Doc, error) { return name.Parse(s) }

// PresenceTTL is the lifetime of a client's presence after its last renewal.
const PresenceTTL = bucket.PresenceTTL

// Config holds the settings of a Log. Those that the first start fixed are compared, not changed.
type Config struct {
	Shards     int              // 1 to 99; 0: as recorded, at the first start 2 embedded, else 8
	Replicas   int              // of every stream; 0: as it is, at the first start 1 embedded, else 3 where the cluster allows
	Embedded   bool             // the NATS server is inside this process and serves this Log only
	Durability string           // "disk", "process" or "unknown": the server's setting; Health reports it and it decides how appends are grouped
	OnErase    func(...Erasing) // called before anything is erased; nil: another process owns the streams' files
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil: not registered
}

var (
	// ErrName: not a valid document name. The text gives the reason and may be sent to the client.
	ErrName = name.Err
	// ErrTooLarge: the update is above MaxUpdate. Nothing was stored; the Writer may go on.
	ErrTooLarge = jet.ErrTooLarge
	// ErrIdentity: the user or the connection id of an entry is too long for a header.
	ErrIdentity = errors.New("stream: user or connection name above 1 KiB")
	// ErrGaveUp: not known to be stored when the context ended, but it may be. The Writer is spent: open another.
	ErrGaveUp = errors.New("stream: not stored within the time-out")
	// ErrFault: the store reported an error. It affects the whole node: acknowledge nothing until Health has no error.
	ErrFault = jet.ErrFault
	// ErrLost: records are missing that the document had. Do not begin a new document in their place.
	ErrLost = errors.New("stream: records missing")
	// ErrDamaged: a record's bytes are not those that were appended, or cannot be read.
	ErrDamaged = jet.ErrDamaged
	// ErrErased: the document was erased, and perhaps begun again, while it was open. Close it; a client that reconnects gets the new one.
	ErrErased = errors.New("stream: document erased")
	// ErrRewound: the log ends before records that were delivered. Close the document; clients that reconnect send the lost updates again.
	ErrRewound = errors.New("stream: the log has lost its end")
	// ErrConflict: not at the expected sequence, since another writer was first. Read again.
	ErrConflict = jet.ErrConflict
	// ErrConfig: the store does not match the configuration. The text names the remedy.
	ErrConfig = jet.ErrConfig
	// ErrClosed: the Log is closed.
	ErrClosed = errors.New("stream: closed")
)

// headerRoom is the part of max_payload that MaxUpdate leaves for headers.
const headerRoom = 4 << 10

// Log is the log of all documents. Its methods may be called from any goroutine.
type Log struct {
	// Set by Open, then only read.
	nc, bulk  *nats.Conn // appends and the live feed; replays and everything that is large
	jet       *jet.Client
	blobs     *bucket.Blobs
	meta      *bucket.Meta
	presence  *bucket.Presence
	edits     *bucket.Edits
	control   *bucket.Control
	cfg       Config
	log       *slog.Logger
	m         *metrics
	node      string
	madeAt    time.Time // time at which an earlier start settled the shards; zero: this start did
	shards    []*shard
	feeds     []*feed
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	running   sync.WaitGroup
	eraseTime time.Duration // time limit for overwriting in Erase: the constant, longer in tests
	unhook    func()

	heads   sharedHeads
	compare chan struct{} // makes the keeper compare all heads now
	away    atomic.Bool   // the connection was lost: presence, which NATS holds in memory, may be gone

	maxUpdate atomic.Int64 // the answer of MaxUpdate: the connection tells it under a lock that it holds while it writes records

	repairMu sync.Mutex // guards the repair queue; also held where a goroutine starts, so that none starts after l.cancel in Close
	repairQ  []*Tail    // guarded by repairMu: tails that wait for a worker
	repairs  int        // guarded by repairMu: workers running

	fault      atomic.Pointer[fault]
	gone       atomic.Pointer[error] // names streams that were deleted while this process ran
	faultMu    sync.Mutex            // held while fault is replaced: a final fault is never overwritten
	lastAck    atomic.Int64          // unix nanoseconds of the last stored append or probe
	findingOut atomic.Bool           // a probe is due, since an append failed
	checkMu    sync.Mutex            // guards checkedAt and checkErr; held while the store is asked
	checkedAt  time.Time
	checkErr   error // of the last check

	names nameCache
}

// Dial opens the two connections that Open takes; see jet.Dial.
func Dial(url string, opts ...nats.Option) (nc, bulk *nats.Conn, err error) {
	return jet.Dial(url, opts...)
}

// Open finds or makes the streams and buckets and starts the log. nc carries appends and the live feed, bulk carries
// replays; Dial makes both. Open takes over their event handlers, not the connections: close them after the Log.
func Open(ctx context.Context, nc, bulk *nats.Conn, cfg Config) (*Log, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c, err := jet.New(nc, bulk, cfg.Log)
	if err != nil {
		return nil, err
	}
	l := &Log{
		nc: nc, bulk: bulk, jet: c, cfg: cfg, log: cfg.Log, m: newMetrics(cfg.Metrics),
		meta: bucket.NewMeta(c), presence: bucket.NewPresence(c, cfg.Log), edits: bucket.NewEdits(c), control: bucket.NewControl(c),
		node:      randomName(),
		compare:   make(chan struct{}, 1),
		eraseTime: eraseTime,
	}
	l.learnMaxUpdate()
	c.Damaged = l.m.damaged.Inc
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if err := l.prepare(ctx); err != nil {
		l.cancel()
		return nil, err
	}
	l.blobs = bucket.NewBlobs(c, l.cfg.Shards)
	for range min(2, l.cfg.Shards) {
		l.feeds = append(l.feeds, newFeed(l))
	}
	for i := range l.cfg.Shards {
		s, err := newShard(l, name.Shard(i))
		if err != nil {
			l.cancel()
			return nil, err
		}
		l.shards = append(l.shards, s)
	}
	for _, s := range l.shards {
		if err := s.verifyEnd(ctx); err != nil {
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
		l.running.Go(func() { l.jet.WatchLink(l.ctx, l.sending) })
	}
	l.lastAck.Store(time.Now().UnixNano())
	return l, nil
}

// Close ends all goroutines. Appends that are not stored yet end with ErrGaveUp; open Tails end without a call of Failed.
func (l *Log) Close() error {
	if l.ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.ctx, time.Second)
	defer cancel()
	for _, s := range l.shards {
		if l.bulk.IsConnected() && s.markNow(ctx) != nil {
			break // keep the mark of the last minute
		}
	}
	l.repairMu.Lock() // no repair worker starts from here on
	l.cancel()
	l.repairMu.Unlock()
	l.unhook()
	l.running.Wait()
	return nil
}

// Node returns the random name of this Log, which other servers see in awareness and presence.
func (l *Log) Node() string { return l.node }

// Shards returns the number of shards of the store.
func (l *Log) Shards() int { return l.cfg.Shards }

// MaxUpdate returns the size of the largest update that Append takes: the server's max_payload without 4 KiB for headers. A changed
// setting of the server is known after a reconnect, or within a minute.
func (l *Log) MaxUpdate() int { return int(l.maxUpdate.Load()) }

func (l *Log) learnMaxUpdate() { l.maxUpdate.Store(l.nc.MaxPayload() - headerRoom) }

// Blobs are the snapshots and the packed history.
func (l *Log) Blobs() *bucket.Blobs { return l.blobs }

// Meta are the small facts by key: versions, tombstones, revocations.
func (l *Log) Meta() *bucket.Meta { return l.meta }

// Presence holds the clients of each document.
func (l *Log) Presence() *bucket.Presence { return l.presence }

// Edits holds the answers to edits by their idempotency key.
func (l *Log) Edits() *bucket.Edits { return l.edits }

// Control carries announcements between servers.
func (l *Log) Control() *bucket.Control { return l.control }

func (l *Log) shardOf(path string) *shard { return l.shards[name.ShardOf(path, len(l.shards))] }

// sending returns the number of bytes of records without acknowledgement.
func (l *Log) sending() (n int64) {
	for _, s := range l.shards {
		n += s.underway.Load()
	}
	return n
}

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
