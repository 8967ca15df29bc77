package jet_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/natstest"
	"yjet/internal/testlog"
	"yjet/stream/jet"
)

// logging is a client of a server of its own, and its log.
func logging(t *testing.T, opts ...natstest.Option) (*natstest.Server, *jet.Client, jetstream.JetStream, *testlog.Buffer) {
	t.Helper()
	srv := natstest.Start(t, append([]natstest.Option{natstest.Process}, opts...)...)
	log := &testlog.Buffer{}
	bulk := srv.Connect()
	c, err := jet.New(srv.Connect(), bulk, log.Logger(slog.LevelInfo))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(bulk)
	if err != nil {
		t.Fatal(err)
	}
	return srv, c, js, log
}

// patient ends with the test, or after the time that something that must happen may take.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestAStreamOfAnEarlierReleaseIsBroughtUpToDate: what NATS can change is changed once, and what others have set is kept.
func TestAStreamOfAnEarlierReleaseIsBroughtUpToDate(t *testing.T) {
	_, c, js, log := logging(t)
	ctx := patient(t)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxMsgsPerSubject: 5, MaxBytes: 1 << 30,
		Discard: jetstream.DiscardNew, Metadata: map[string]string{"operator": "theirs"}}); err != nil {
		t.Fatal(err)
	}
	want := jet.Wanted{StreamConfig: jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxMsgsPerSubject: 1, AllowAtomicPublish: true,
		Description: "ours", Metadata: map[string]string{"yjet": "1"}}, Fresh: 1}
	cfg, err := c.Ensure(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.AllowDirect || !cfg.AllowAtomicPublish || cfg.MaxMsgsPerSubject != 1 || cfg.Description != "ours" || cfg.Metadata["yjet"] != "1" {
		t.Errorf("the stream is %+v, want it as wanted", cfg)
	}
	if cfg.Metadata["operator"] != "theirs" || cfg.MaxBytes != 1<<30 {
		t.Errorf("the operator's limit and note are %d and %q, want them kept", cfg.MaxBytes, cfg.Metadata["operator"])
	}
	if n := strings.Count(log.String(), "brought up to date"); n != 1 {
		t.Errorf("the log tells of %d changes, want 1: %s", n, log)
	}
	if _, err := c.Ensure(ctx, want); err != nil || strings.Count(log.String(), "brought up to date") != 1 {
		t.Errorf("a second start changes it again: %v, %s", err, log)
	}
}

// TestAStreamThatIsNotOursIsRefused: the error names the stream, the difference and the remedy, and the stream stays as it is.
func TestAStreamThatIsNotOursIsRefused(t *testing.T) {
	_, c, js, _ := logging(t)
	ctx := patient(t)
	// Each stream has subjects of its own and stays. After a delete of the last stream NATS removes the account's directory, beside its
	// answer: a stream that is created just then has no place for its store.
	for name, k := range map[string]struct {
		change func(*jetstream.StreamConfig)
		says   string
	}{
		"SUBJECTS":  {func(s *jetstream.StreamConfig) { s.Subjects = []string{"other.>"} }, "subjects [other.>], want [SUBJECTS.>]"},
		"STORAGE":   {func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }, "storage Memory, want File"},
		"RETENTION": {func(s *jetstream.StreamConfig) { s.Retention = jetstream.WorkQueuePolicy }, "retention WorkQueue, want Limits"},
		"AGE":       {func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }, "max age 1h0m0s, want 0s"},
		"COUNT":     {func(s *jetstream.StreamConfig) { s.MaxMsgs = 100 }, "discard policy"},
		"BYTES":     {func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 }, "discard policy"},
		"SEALED":    {func(s *jetstream.StreamConfig) { s.Sealed = true }, "sealed"},
		"SOURCE": {func(s *jetstream.StreamConfig) {
			s.Sources = []*jetstream.StreamSource{{Name: "ELSEWHERE"}}
		}, "a source of messages"},
		"TRANSFORM": {func(s *jetstream.StreamConfig) {
			s.SubjectTransform = &jetstream.SubjectTransformConfig{Source: s.Subjects[0], Destination: "t.>"}
		}, "a subject transform"},
	} {
		want := jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Storage: jetstream.FileStorage}
		cfg := want
		k.change(&cfg)
		sealed := cfg.Sealed
		cfg.Sealed = false // only an update can seal
		s, err := js.CreateStream(ctx, cfg)
		if sealed && err == nil {
			cfg = s.CachedInfo().Config
			cfg.Sealed = true
			s, err = js.UpdateStream(ctx, cfg)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := s.CachedInfo().Config
		_, err = c.Ensure(ctx, jet.Wanted{StreamConfig: want, Fresh: 1})
		if !errors.Is(err, jet.ErrConfig) || !strings.Contains(err.Error(), k.says) || !strings.Contains(err.Error(), "stream "+name) || !strings.Contains(err.Error(), "nats stream edit") {
			t.Errorf("%s: got %v, want ErrConfig with %q and what to do", name, err, k.says)
		}
		if s, err = js.Stream(ctx, name); err != nil || s.CachedInfo().Config.AllowDirect != before.AllowDirect || !slices.Equal(s.CachedInfo().Config.Subjects, before.Subjects) {
			t.Errorf("%s: the stream was changed: %v", name, err)
		}
	}
}

func TestALostStreamIsMadeAnewAndToldAloud(t *testing.T) {
	_, c, _, log := logging(t)
	w := jet.Wanted{StreamConfig: jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}, Fresh: 1}
	if _, err := c.Ensure(patient(t), w); err != nil || log.String() != "" {
		t.Fatalf("a first start: %v, %s", err, log)
	}
	w.Name, w.Subjects, w.Expected = "GONE", []string{"gone.>"}, true
	if _, err := c.Ensure(patient(t), w); err != nil || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "stream=GONE") {
		t.Errorf("a stream that was there: %v, and the log says %s", err, log)
	}
}

// TestOneServerKeepsOneCopy where three are wanted if they can be had, and refuses where three are asked for.
func TestOneServerKeepsOneCopy(t *testing.T) {
	_, c, _, log := logging(t)
	w := jet.Wanted{StreamConfig: jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}, Fresh: 3}
	cfg, err := c.Ensure(patient(t), w)
	if err != nil || cfg.Replicas != 1 || !strings.Contains(log.String(), "one replica") {
		t.Errorf("got %d copies, %v, and the log says %s", cfg.Replicas, err, log)
	}
}

// TestServersThatStartAtOnceMakeOneStream: each finds what it wants.
func TestServersThatStartAtOnceMakeOneStream(t *testing.T) {
	srv, _, _, _ := logging(t)
	ctx := patient(t)
	var wg sync.WaitGroup
	for range 8 {
		c, err := jet.New(srv.Connect(), srv.Connect(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			w := jet.Wanted{StreamConfig: jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true, MaxMsgsPerSubject: 1}, Fresh: 1}
			if cfg, err := c.Ensure(ctx, w); err != nil || cfg.MaxMsgsPerSubject != 1 {
				t.Errorf("%+v, %v", cfg, err)
			}
		})
	}
	wg.Wait()
}

func TestStreamsAndTheirSubjectsAreListed(t *testing.T) {
	_, c, js, _ := logging(t)
	ctx := patient(t)
	if there, err := c.Streams(ctx); err != nil || len(there) != 0 {
		t.Errorf("an empty server has %v, %v", there, err)
	}
	if subjects, ok, err := c.SubjectsOf(ctx, "S"); err != nil || ok {
		t.Errorf("no stream: %v, %v, %v", subjects, ok, err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>", "b"}}); err != nil {
		t.Fatal(err)
	}
	if subjects, ok, err := c.SubjectsOf(ctx, "S"); err != nil || !ok || !slices.Equal(subjects, []string{"a.>", "b"}) {
		t.Errorf("the subjects are %v, %v, %v", subjects, ok, err)
	}
	if there, err := c.Streams(ctx); err != nil || len(there) != 1 || !there["S"] {
		t.Errorf("the streams are %v, %v", there, err)
	}
}
