package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What lies in NATS, NN being the shard in two digits:
//
//	YDOC_NN    ydoc.NN.*      the log; stored messages go out again on ylive.NN.<doc>
//	YSNAP_NN   ysnap.NN.>     snapshot heads and chunks, one message per subject
//	YHIST_NN   yhist.NN.>     packed history, one message per subject
//	KV ypresence              who is here: memory, 45 s; goes out again on ypres.>
//	KV ymeta                  names, versions, tombstones, revocations, shard marks
//
// Core NATS beside it: yaware.NN.<doc>, ymsg.NN.<doc>, yctl.<kind>.
const (
	kindLog    = "ydoc"
	kindLive   = "ylive"
	kindAware  = "yaware"
	kindMsg    = "ymsg"
	kindSnap   = "ysnap"
	kindHist   = "yhist"
	kindCtl    = "yctl"
	presBucket = "ypresence"
	metaBucket = "ymeta"
	presLive   = "ypres.>"

	maxShards      = 99
	shardsEmbedded = 2
	shardsCluster  = 8

	// PresenceTTL is how long a presence entry lives after its last renewal.
	PresenceTTL = 45 * time.Second
)

// metaShards is the key of ymeta that records the number of shards.
const metaShards = "shards"

func streamName(kind string, shard int) string {
	return fmt.Sprintf("%s_%02d", map[string]string{kindLog: "YDOC", kindSnap: "YSNAP", kindHist: "YHIST"}[kind], shard)
}

// prepare makes or checks everything that must be there, and settles Shards and Replicas in l.cfg.
func (l *Log) prepare(ctx context.Context) error {
	if l.cfg.Shards < 0 || l.cfg.Shards > maxShards {
		return fmt.Errorf("%w: %d shards; 1 to %d are possible", ErrConfig, l.cfg.Shards, maxShards)
	}
	if l.cfg.Replicas < 0 || l.cfg.Replicas > 5 {
		return fmt.Errorf("%w: %d replicas; 1 to 5 are possible", ErrConfig, l.cfg.Replicas)
	}
	fresh := l.cfg.Replicas
	if fresh == 0 {
		fresh = 3
		if l.cfg.Embedded {
			fresh = 1
		}
	}
	meta := kvStream(metaBucket, "yjet: names, versions, tombstones, revocations, shard marks", jetstream.FileStorage)
	cfg, err := l.ensure(ctx, meta, fresh)
	if err != nil {
		return err
	}
	fresh = cfg.Replicas // where three were not to be had, do not ask again for each stream
	if l.cfg.Replicas == 0 {
		l.cfg.Replicas = cfg.Replicas
	}
	if err := l.settleShards(ctx); err != nil {
		return err
	}
	want := []jetstream.StreamConfig{presenceStream()}
	for i := range l.cfg.Shards {
		want = append(want, logStream(i), snapStream(i), histStream(i))
	}
	// A stream costs a few syncs to make; side by side they share the wait.
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

// settleShards reads or writes, once for ever, how many shards there are.
func (l *Log) settleShards(ctx context.Context) error {
	for {
		e, ok, err := l.MetaGet(ctx, metaShards)
		if err != nil {
			return fmt.Errorf("read the number of shards: %w", err)
		}
		if ok {
			var rec struct {
				Shards int `json:"shards"`
			}
			if err := json.Unmarshal(e.Value, &rec); err != nil || rec.Shards < 1 || rec.Shards > maxShards {
				return fmt.Errorf("%w: key %s of bucket %s holds %q, want {\"shards\":n}", ErrConfig, metaShards, metaBucket, e.Value)
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
		if _, ok, err := l.MetaGet(ctx, metaShards); err == nil && ok {
			continue // another server is making them this moment
		}
		n := l.cfg.Shards
		switch {
		case there > 0 && n != 0 && n != there:
			return fmt.Errorf("%w: bucket %s does not tell the number of shards, and there are %d streams %s and so on; start without --shards, not with %d",
				ErrConfig, metaBucket, there, streamName(kindLog, 0), n)
		case there > 0:
			n = there
			l.log.Error("the bucket of names, versions, tombstones and marks was lost; the number of shards is taken from the streams", "bucket", metaBucket, "shards", n)
		case n == 0 && l.cfg.Embedded:
			n = shardsEmbedded
		case n == 0:
			n = shardsCluster
		}
		zero := uint64(0)
		_, err = l.MetaPut(ctx, metaShards, []byte(`{"shards":`+strconv.Itoa(n)+`}`), &zero)
		if err != nil && !errors.Is(err, ErrConflict) { // a conflict: another server was first, take its number
			return fmt.Errorf("record the number of shards: %w", err)
		}
	}
}

func baseStream(name, description, what string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Description: description,
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard:  jetstream.DiscardNew, // full means an error, never the loss of what is oldest
		MaxMsgs:  -1,
		MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		AllowDirect: true,
		Duplicates:  time.Second, // no message carries Nats-Msg-Id: keep no table of them
		Metadata:    map[string]string{"yjet": what},
	}
}

func logStream(shard int) jetstream.StreamConfig {
	c := baseStream(streamName(kindLog, shard), "yjet: the log. One message is one Yjs V1 update of the document in the subject", "log")
	c.Subjects = []string{fmt.Sprintf("%s.%02d.*", kindLog, shard)}
	c.AllowAtomicPublish = true
	c.RePublish = &jetstream.RePublish{
		Source:      fmt.Sprintf("%s.%02d.*", kindLog, shard),
		Destination: fmt.Sprintf("%s.%02d.{{wildcard(1)}}", kindLive, shard),
	}
	return c
}

func snapStream(shard int) jetstream.StreamConfig {
	c := baseStream(streamName(kindSnap, shard), "yjet: snapshots. ysnap.NN.<doc> is the head, longer subjects are chunks that a head names", "snapshots")
	c.Subjects = []string{fmt.Sprintf("%s.%02d.>", kindSnap, shard)}
	c.MaxMsgsPerSubject = 1
	return c
}

func histStream(shard int) jetstream.StreamConfig {
	c := baseStream(streamName(kindHist, shard), "yjet: packed history that snapshot heads name", "history")
	c.Subjects = []string{fmt.Sprintf("%s.%02d.>", kindHist, shard)}
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
	c := kvStream(presBucket, "yjet: who is here. Key <doc>.<client>, renewed every 15 s", jetstream.MemoryStorage)
	c.MaxAge = PresenceTTL
	c.AllowMsgTTL, c.SubjectDeleteMarkerTTL = true, PresenceTTL
	c.RePublish = &jetstream.RePublish{Source: "$KV." + presBucket + ".>", Destination: presLive}
	return c
}

// ensure makes the stream, or compares the one that is there: what can be mended is, what cannot is refused. replicas is for
// a new one; where the cluster cannot give as many and nobody insists, one must do.
func (l *Log) ensure(ctx context.Context, want jetstream.StreamConfig, replicas int) (jetstream.StreamConfig, error) {
	for attempt := 0; ; attempt++ {
		cfg, err := l.tryEnsure(ctx, want, replicas)
		var api *jetstream.APIError
		switch {
		case err == nil, errors.Is(err, ErrConfig):
			return cfg, err
		case errors.As(err, &api) && l.cfg.Replicas == 0 && replicas > 1 && noPeers(api):
			l.log.Warn("no cluster to keep copies in: streams get one replica", "stream", want.Name)
			replicas = 1
			continue
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamNameInUse && attempt < 5:
			continue // another server made it at the same moment; compare
		case ctx.Err() != nil || !transient(err):
			return cfg, fmt.Errorf("stream %s: %w", want.Name, err)
		}
		if err := pause(ctx, backoff(attempt)); err != nil {
			return cfg, fmt.Errorf("stream %s: %w", want.Name, err)
		}
	}
}

// noPeers: the server stands alone, or the cluster is too small.
func noPeers(e *jetstream.APIError) bool {
	switch e.ErrorCode {
	case 10074, 10005: // replicas > 1 not supported in non-clustered mode; no suitable peers for placement
		return true
	}
	return false
}

func (l *Log) tryEnsure(ctx context.Context, want jetstream.StreamConfig, replicas int) (jetstream.StreamConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := l.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if !l.madeAt.IsZero() && time.Since(l.madeAt) > time.Minute && want.Storage == jetstream.FileStorage { // else another server makes the store this moment
			l.log.Error("a stream of this store is gone and is made anew, empty: what it held has to come from a backup, or from clients", "stream", want.Name)
		}
		want.Replicas = replicas
		s, err = l.js.CreateStream(ctx, want)
		if err != nil {
			return want, err
		}
		return s.CachedInfo().Config, nil
	} else if err != nil {
		return want, err
	}
	have := s.CachedInfo().Config
	bad := func(what string, got, need any) (jetstream.StreamConfig, error) {
		return have, fmt.Errorf("%w: stream %s has %s %v, want %v; it was not made by yjet or was edited: mend it with `nats stream edit`, or restore it from a backup",
			ErrConfig, want.Name, what, got, need)
	}
	switch {
	case !slices.Equal(have.Subjects, want.Subjects):
		return bad("subjects", have.Subjects, want.Subjects)
	case have.Storage != want.Storage:
		return bad("storage", have.Storage, want.Storage)
	case have.Retention != want.Retention:
		return bad("retention", have.Retention, want.Retention)
	case have.MaxAge != want.MaxAge:
		return bad("max age", have.MaxAge, want.MaxAge)
	case have.MaxMsgs > 0 && have.Discard != jetstream.DiscardNew, have.MaxBytes > 0 && have.Discard != jetstream.DiscardNew:
		return bad("a limit with discard policy", have.Discard, jetstream.DiscardNew)
	case have.Mirror != nil || len(have.Sources) > 0:
		return bad("a source", "of messages", "none")
	case have.Sealed:
		return bad("sealed", true, false)
	case have.SubjectTransform != nil:
		return bad("a subject transform", *have.SubjectTransform, "none")
	}
	next := have
	next.AllowDirect = true
	next.AllowAtomicPublish = want.AllowAtomicPublish
	next.AllowMsgTTL = want.AllowMsgTTL || have.AllowMsgTTL // cannot be taken back
	next.SubjectDeleteMarkerTTL = want.SubjectDeleteMarkerTTL
	next.MaxMsgsPerSubject = want.MaxMsgsPerSubject
	next.RePublish = want.RePublish
	next.Description = want.Description
	if l.cfg.Replicas != 0 {
		next.Replicas = l.cfg.Replicas
	}
	next.Metadata = maps.Clone(have.Metadata)
	if next.Metadata == nil {
		next.Metadata = map[string]string{}
	}
	maps.Copy(next.Metadata, want.Metadata)
	if sameStream(have, next) {
		return have, nil
	}
	if s, err = l.js.UpdateStream(ctx, next); err != nil {
		return have, err
	}
	l.log.Info("stream settings brought up to date", "stream", want.Name, "replicas", next.Replicas)
	return s.CachedInfo().Config, nil
}

func sameStream(a, b jetstream.StreamConfig) bool {
	ja, _ := json.Marshal(a)
	jb, _ := json.Marshal(b)
	return string(ja) == string(jb)
}
