package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A stream that is deleted under a running server is told at once, not when somebody next needs it. Presence is made again: clients renew
// it within seconds. Nothing else is: an empty log in the place of one that held documents would look like new documents.

const streamsEvery = 5 * time.Second

// watchStreams looks now and then whether all streams are there.
func (l *Log) watchStreams() {
	var suspects []string // not there at the last look: a cluster that gathers may not know all of its streams yet
	for pause(l.ctx, streamsEvery) == nil {
		if !l.bulk.IsConnected() {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, readWait)
		gone, err := l.goneStreams(ctx)
		cancel()
		if err != nil {
			continue // what cannot be asked is Health's to tell
		}
		sure := len(gone) > 0 && strings.Join(gone, " ") == strings.Join(suspects, " ")
		suspects = gone
		if sure {
			l.tellGone(gone)
		} else if len(gone) == 0 && l.gone.Swap(nil) != nil {
			l.log.Warn("all streams are there again")
		}
	}
}

// goneStreams lists what does not exist of what prepare made.
func (l *Log) goneStreams(ctx context.Context) (gone []string, err error) {
	names := []string{"KV_" + metaBucket, presStream}
	for i := range l.cfg.Shards {
		for _, kind := range []string{kindLog, kindSnap, kindHist} {
			names = append(names, streamName(kind, i))
		}
	}
	var list struct {
		Streams []string `json:"streams"`
		Total   int      `json:"total"`
	}
	there := map[string]bool{}
	for {
		if err := l.request(ctx, "STREAM.NAMES", map[string]int{"offset": len(there)}, &list); err != nil {
			return nil, err
		}
		before := len(there)
		for _, name := range list.Streams {
			there[name] = true
		}
		if len(there) >= list.Total || len(there) == before {
			break
		}
	}
	for _, name := range names {
		if !there[name] {
			gone = append(gone, name)
		}
	}
	return gone, nil
}

func (l *Log) tellGone(gone []string) {
	var lost []string
	for _, name := range gone {
		if name != presStream {
			lost = append(lost, name)
			continue
		}
		l.log.Error("the presence bucket was deleted; it is made anew", "stream", name)
		ctx, cancel := context.WithTimeout(l.ctx, 2*readWait)
		_, err := l.ensure(ctx, presenceStream(), l.cfg.Replicas)
		cancel()
		if err != nil {
			l.log.Error("the presence bucket could not be made", "err", err)
		}
	}
	if len(lost) == 0 {
		return
	}
	err := fmt.Errorf("streams are gone that hold documents: %s; restore them from a backup, or restart to begin without what was in them", strings.Join(lost, ", "))
	if old := l.gone.Swap(&err); old == nil || (*old).Error() != err.Error() {
		l.log.Error("streams were deleted", "streams", strings.Join(lost, " "), "err", err)
	}
}

// shardsThere counts the shards of a store whose bucket ymeta does not tell: 0 where there is none yet.
func (l *Log) shardsThere(ctx context.Context) (n int, err error) {
	for n < maxShards {
		_, err := l.js.Stream(ctx, streamName(kindLog, n))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}
