package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// A stream that is deleted while the server runs is reported within seconds, not when it is next used. Only presence and the answers to edits
// are created again: clients renew the one, and the other is for a day. An empty log in place of a deleted one would make its documents look new.

const streamsEvery = 5 * time.Second

// watchStreams checks every few seconds that all streams exist.
func (l *Log) watchStreams() {
	var suspects []string // absent at the last check: a cluster that is still starting may not know all of its streams
	for jet.Pause(l.ctx, streamsEvery) == nil {
		if !l.bulk.IsConnected() {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, jet.ReadWait)
		gone, err := l.goneStreams(ctx)
		cancel()
		if err != nil {
			continue // Health reports that NATS does not answer
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

// goneStreams lists the streams of prepare that do not exist.
func (l *Log) goneStreams(ctx context.Context) (gone []string, err error) {
	names := []string{name.MetaStream, name.PresenceStream, name.EditsStream}
	for _, s := range l.shards {
		names = append(names, s.stream, s.no.Stream(name.Snap), s.no.Stream(name.Hist))
	}
	there, err := l.jet.Streams(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(n string) bool { return there[n] }), nil
}

func (l *Log) tellGone(gone []string) {
	var lost []string
	for _, stream := range gone {
		var anew jetstream.StreamConfig
		switch stream {
		case name.PresenceStream:
			anew = presenceStream()
		case name.EditsStream:
			anew = editsStream()
		default:
			lost = append(lost, stream)
			continue
		}
		l.log.Error("a bucket without documents was deleted; it is made anew", "stream", stream)
		ctx, cancel := context.WithTimeout(l.ctx, 2*jet.ReadWait)
		_, err := l.ensure(ctx, anew, l.cfg.Replicas)
		cancel()
		if err != nil {
			l.log.Error("the bucket could not be made", "stream", stream, "err", err)
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
