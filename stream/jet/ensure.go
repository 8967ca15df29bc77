package jet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Wanted is the required configuration of a stream. The StreamConfig's own Replicas is not used.
type Wanted struct {
	jetstream.StreamConfig
	Fresh    int  // replicas of a new stream
	Replicas int  // replicas of any stream; 0: keep the present number, and give a new stream one where the cluster cannot give Fresh
	Expected bool // an earlier start created the stream: creating it again is logged as an error
}

// Ensure creates a stream, or compares an existing one with want: it updates the differences that NATS allows to change, and returns
// ErrConfig for the others. It returns the stream's configuration.
func (c *Client) Ensure(ctx context.Context, want Wanted) (jetstream.StreamConfig, error) {
	for attempt := 0; ; attempt++ {
		cfg, err := c.tryEnsure(ctx, want)
		var api *jetstream.APIError
		switch {
		case err == nil, errors.Is(err, ErrConfig):
			return cfg, err
		case errors.As(err, &api) && want.Replicas == 0 && want.Fresh > 1 && noPeers(api):
			c.log.Warn("no cluster to keep copies in: streams get one replica", "stream", want.Name)
			want.Fresh = 1
			continue
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamNameInUse && attempt < 5:
			continue // another server has just created it: compare
		case ctx.Err() != nil || !Transient(err):
			return cfg, fmt.Errorf("stream %s: %w", want.Name, err)
		}
		if err := Pause(ctx, Backoff(attempt)); err != nil {
			return cfg, fmt.Errorf("stream %s: %w", want.Name, err)
		}
	}
}

// noPeers reports whether the server is not clustered, or the cluster too small.
func noPeers(e *jetstream.APIError) bool {
	switch e.ErrorCode {
	case 10074, 10005: // replicas > 1 not supported in non-clustered mode; no suitable peers for placement
		return true
	}
	return false
}

func (c *Client) tryEnsure(ctx context.Context, want Wanted) (jetstream.StreamConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := c.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if want.Expected {
			c.log.Error("a stream of this store is missing and is created anew, empty: restore its content from a backup, or let clients send it again", "stream", want.Name)
		}
		cfg := want.StreamConfig
		cfg.Replicas = want.Fresh
		if s, err = c.js.CreateStream(ctx, cfg); err != nil {
			return cfg, err
		}
		return s.CachedInfo().Config, nil
	} else if err != nil {
		return want.StreamConfig, err
	}
	have := s.CachedInfo().Config
	if err := fits(&have, &want.StreamConfig); err != nil {
		return have, err
	}
	next := have
	next.AllowDirect = true
	next.AllowAtomicPublish = want.AllowAtomicPublish
	next.AllowMsgTTL = want.AllowMsgTTL || have.AllowMsgTTL // cannot be turned off again
	next.SubjectDeleteMarkerTTL = want.SubjectDeleteMarkerTTL
	next.MaxMsgsPerSubject = want.MaxMsgsPerSubject
	next.RePublish = want.RePublish
	next.Description = want.Description
	if want.Replicas != 0 {
		next.Replicas = want.Replicas
	}
	next.Metadata = maps.Clone(have.Metadata)
	if next.Metadata == nil {
		next.Metadata = map[string]string{}
	}
	maps.Copy(next.Metadata, want.Metadata)
	if sameStream(have, next) {
		return have, nil
	}
	if s, err = c.js.UpdateStream(ctx, next); err != nil {
		return have, err
	}
	c.log.Info("stream settings brought up to date", "stream", want.Name, "replicas", next.Replicas)
	return s.CachedInfo().Config, nil
}

// fits returns ErrConfig where a stream differs from the wanted one in a way that an update cannot change.
func fits(have, want *jetstream.StreamConfig) error {
	bad := func(what string, got, need any) error {
		return fmt.Errorf("%w: stream %s has %s %v, want %v; it was not made by yjet or was edited: mend it with `nats stream edit`, or restore it from a backup",
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
	return nil
}

func sameStream(a, b jetstream.StreamConfig) bool {
	ja, _ := json.Marshal(a)
	jb, _ := json.Marshal(b)
	return string(ja) == string(jb)
}

// SubjectsOf returns the subjects of a stream. It returns false where there is no such stream.
func (c *Client) SubjectsOf(ctx context.Context, stream string) (subjects []string, ok bool, err error) {
	err = Retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, ReadWait)
		defer cancel()
		s, err := c.js.Stream(ctx, stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		subjects, ok = s.CachedInfo().Config.Subjects, true
		return nil
	})
	return subjects, ok, err
}

// Streams lists the names of all streams.
func (c *Client) Streams(ctx context.Context) (map[string]bool, error) {
	var list struct {
		Streams []string `json:"streams"`
		Total   int      `json:"total"`
	}
	there := map[string]bool{}
	for {
		if err := c.Request(ctx, "STREAM.NAMES", map[string]int{"offset": len(there)}, &list); err != nil {
			return nil, err
		}
		before := len(there)
		for _, name := range list.Streams {
			there[name] = true
		}
		if len(there) >= list.Total || len(there) == before {
			return there, nil
		}
	}
}
