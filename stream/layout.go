package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"yjet/stream/bucket"
	"yjet/stream/jet"
	"yjet/stream/name"
)

// The streams and buckets in NATS, where NN is the shard in two digits; the package name has the subjects:
//
//	YDOC_NN    ydoc.NN.>      the log; stored messages go out again on ylive.NN.>
//	YSNAP_NN   ysnap.NN.>     snapshot heads and chunks, one message per subject
//	YHIST_NN   yhist.NN.>     packed history, one message per subject
//	KV ypresence              the clients of each document: memory, 45 s; goes out again on ypres.>
//	KV ymeta                  names, versions, tombstones, revocations, shard marks
//	KV yedits                 answers to edits by idempotency key: 24 h
const (
	shardsEmbedded = 2
	shardsCluster  = 8

	metaShards = "shards" // the key of ymeta that records the number of shards
)

// prepare creates or checks all streams and buckets, and settles Shards and Replicas in l.cfg.
func (l *Log) prepare(ctx context.Context) error {
	if l.cfg.Shards < 0 || l.cfg.Shards > name.MaxShards {
		return fmt.Errorf("%w: %d shards; 1 to %d are possible", ErrConfig, l.cfg.Shards, name.MaxShards)
	}
	if l.cfg.Replicas < 0 || l.cfg.Replicas > 5 {
		return fmt.Errorf("%w: %d replicas; 1 to 5 are possible", ErrConfig, l.cfg.Replicas)
	}
	if err := l.refuseOldLayout(ctx); err != nil {
		return err
	}
	fresh := l.cfg.Replicas
	if fresh == 0 {
		fresh = 3
		if l.cfg.Embedded {
			fresh = 1
		}
	}
	cfg, err := l.ensure(ctx, metaStream(), fresh)
	if err != nil {
		return err
	}
	fresh = cfg.Replicas // if the cluster could not give three, do not ask again for each stream
	if l.cfg.Replicas == 0 {
		l.cfg.Replicas = cfg.Replicas
	}
	if err := l.settleShards(ctx); err != nil {
		return err
	}
	want := []jetstream.StreamConfig{presenceStream(), editsStream()}
	for i := range l.cfg.Shards {
		s := name.Shard(i)
		want = append(want, logStream(s), snapStream(s), histStream(s))
	}
	// Creating a stream takes a few syncs: create them concurrently.
	errs := make(chan error, len(want))
	slots := make(chan struct{}, 4)
	for _, w := range want {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			_, err := l.ensure(ctx, w, fresh)
			errs <- err
		}()
	}
	for range want {
		err = errors.Join(err, <-errs)
	}
	return err
}

// refuseOldLayout returns ErrConfig for a store of a yjet that kept a document's name in one token (ydoc.00.*), before anything in it
// is changed.
func (l *Log) refuseOldLayout(ctx context.Context) error {
	first := name.Shard(0)
	subjects, ok, err := l.jet.SubjectsOf(ctx, first.Stream(name.Log))
	if err != nil {
		return fmt.Errorf("look at %s: %w", first.Stream(name.Log), err)
	}
	if !ok || !slices.Equal(subjects, []string{first.Subject(name.Log, "*")}) {
		return nil
	}
	return fmt.Errorf("%w: this store was made by an older yjet, whose subjects hold a document's name in one token (%s); this one cannot read it. "+
		"Nothing was changed. To carry the documents over, start the old binary on this store, export each document that `yjet doc ls` lists with `yjet doc export`, "+
		"and import them with `yjet doc import` into a new, empty store of this one", ErrConfig, subjects[0])
}

// ensure makes or checks one stream. fresh is the number of replicas of a new one.
func (l *Log) ensure(ctx context.Context, want jetstream.StreamConfig, fresh int) (jetstream.StreamConfig, error) {
	return l.jet.Ensure(ctx, jet.Wanted{
		StreamConfig: want, Fresh: fresh, Replicas: l.cfg.Replicas,
		// In the first minute of a new store, another server may still be creating its streams. A store of an earlier release has no
		// yedits.
		Expected: want.Storage == jetstream.FileStorage && want.Name != name.EditsStream && !l.madeAt.IsZero() && time.Since(l.madeAt) > time.Minute,
	})
}

// settleShards reads the number of shards, or at the first start records it for good.
func (l *Log) settleShards(ctx context.Context) error {
	for {
		e, ok, err := l.meta.Get(ctx, metaShards)
		if err != nil {
			return fmt.Errorf("read the number of shards: %w", err)
		}
		if ok {
			var rec struct {
				Shards int `json:"shards"`
			}
			if err := json.Unmarshal(e.Value, &rec); err != nil || rec.Shards < 1 || rec.Shards > name.MaxShards {
				return fmt.Errorf("%w: key %s of bucket %s holds %q, want {\"shards\":n}", ErrConfig, metaShards, name.MetaBucket, e.Value)
			}
			if l.cfg.Shards != 0 && l.cfg.Shards != rec.Shards {
				return fmt.Errorf("%w: the store was made with %d shards and cannot change; start with --shards %d or without the flag, not %d",
					ErrConfig, rec.Shards, rec.Shards, l.cfg.Shards)
			}
			l.cfg.Shards, l.madeAt = rec.Shards, e.Time
			return nil
		}
		there, err := l.shardsThere(ctx)
		if err != nil {
			return fmt.Errorf("count the shards: %w", err)
		}
		if _, ok, err := l.meta.Get(ctx, metaShards); err == nil && ok {
			continue // another server is creating them now
		}
		n := l.cfg.Shards
		switch {
		case there > 0 && n != 0 && n != there:
			return fmt.Errorf("%w: bucket %s does not tell the number of shards, and there are %d streams %s and so on; start without --shards, not with %d",
				ErrConfig, name.MetaBucket, there, name.Shard(0).Stream(name.Log), n)
		case there > 0:
			n = there
			l.log.Error("the bucket of names, versions, tombstones and marks was lost; the number of shards is taken from the streams", "bucket", name.MetaBucket, "shards", n)
		case n == 0 && l.cfg.Embedded:
			n = shardsEmbedded
		case n == 0:
			n = shardsCluster
		}
		zero := uint64(0)
		_, err = l.meta.Put(ctx, metaShards, []byte(`{"shards":`+strconv.Itoa(n)+`}`), &zero)
		if err != nil && !errors.Is(err, ErrConflict) { // a conflict: another server was first, take its number
			return fmt.Errorf("record the number of shards: %w", err)
		}
	}
}

// shardsThere counts the shards of a store whose ymeta bucket does not record their number: 0 for a new store.
func (l *Log) shardsThere(ctx context.Context) (n int, err error) {
	for n < name.MaxShards {
		_, ok, err := l.jet.SubjectsOf(ctx, name.Shard(n).Stream(name.Log))
		if err != nil || !ok {
			return n, err
		}
		n++
	}
	return n, nil
}

func baseStream(stream, description, what string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: stream, Description: description,
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard:  jetstream.DiscardNew, // full means an error, never the loss of the oldest records
		MaxMsgs:  -1,
		MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		AllowDirect: true,
		Duplicates:  time.Second, // no message carries Nats-Msg-Id: keep no table of them
		Metadata:    map[string]string{"yjet": what},
	}
}

func logStream(shard name.Shard) jetstream.StreamConfig {
	c := baseStream(shard.Stream(name.Log), "yjet: the log. One message is one Yjs V1 update of the document in the subject", "log")
	c.Subjects = []string{shard.Subject(name.Log, ">")}
	c.AllowAtomicPublish = true
	c.RePublish = &jetstream.RePublish{
		Source:      shard.Subject(name.Log, ">"),
		Destination: shard.Subject(name.Live, ">"),
	}
	return c
}

func snapStream(shard name.Shard) jetstream.StreamConfig {
	c := baseStream(shard.Stream(name.Snap), "yjet: snapshots. ysnap.NN.head.<doc> is the head, ysnap.NN.part.> are chunks that a head names", "snapshots")
	c.Subjects = []string{shard.Subject(name.Snap, ">")}
	c.MaxMsgsPerSubject = 1
	return c
}

func histStream(shard name.Shard) jetstream.StreamConfig {
	c := baseStream(shard.Stream(name.Hist), "yjet: packed history that snapshot heads name", "history")
	c.Subjects = []string{shard.Subject(name.Hist, ">")}
	c.MaxMsgsPerSubject = 1
	return c
}

// kvStream is a bucket as the key-value layer of NATS defines it, so that `nats kv` reads it.
func kvStream(bucket, description string, storage jetstream.StorageType) jetstream.StreamConfig {
	c := baseStream("KV_"+bucket, description, bucket)
	c.Subjects = []string{"$KV." + bucket + ".>"}
	c.Storage = storage
	c.MaxMsgsPerSubject = 1
	c.AllowRollup, c.DenyDelete = true, true
	return c
}

func presenceStream() jetstream.StreamConfig {
	c := kvStream(name.PresenceBucket, "yjet: who is here. Key <doc>.<client>, renewed every 15 s", jetstream.MemoryStorage)
	c.MaxAge = PresenceTTL
	c.AllowMsgTTL, c.SubjectDeleteMarkerTTL = true, PresenceTTL
	c.RePublish = &jetstream.RePublish{Source: name.Presence(">"), Destination: name.PresenceLive}
	return c
}

func editsStream() jetstream.StreamConfig {
	c := kvStream(name.EditsBucket, "yjet: answers to edits by idempotency key, for 24 h", jetstream.FileStorage)
	c.MaxAge = bucket.EditsTTL
	return c
}

func metaStream() jetstream.StreamConfig {
	return kvStream(name.MetaBucket, "yjet: names, versions, tombstones, revocations, shard marks", jetstream.FileStorage)
}
