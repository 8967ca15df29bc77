package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/testlog"
)

// stored makes the stream S where it is missing, and stores one message.
func stored(t *testing.T, s *Server, data string) {
	t.Helper()
	js := connect(t, s)
	if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// last is the newest message of the stream S.
func last(t *testing.T, s *Server) string {
	t.Helper()
	st, err := connect(t, s).Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetLastMsgForSubject(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Data)
}

func TestMessagesOutliveAStopAndAStart(t *testing.T) {
	for _, durability := range []string{"disk", "process", ""} {
		dir := filepath.Join(t.TempDir(), "made", "when missing")
		for i := range 2 {
			s, err := Start(Options{Dir: dir, Durability: durability})
			if err != nil {
				t.Fatal(err)
			}
			if sync := s.NATS().JetStreamConfig().SyncAlways; sync != (durability == "disk") {
				t.Errorf("durability %q: an fsync before each acknowledgement: %v", durability, sync)
			}
			if i == 0 {
				stored(t, s, "kept")
			} else if got := last(t, s); got != "kept" {
				t.Errorf("durability %q: after a start the message is %q", durability, got)
			}
			s.Stop()
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("the directory has mode %v, %v; want it closed to others", info.Mode(), err)
		}
	}
}

// TestAClientFollowsARestart: connections are made to the server of the moment.
func TestAClientFollowsARestart(t *testing.T) {
	s := run(t, t.TempDir())
	stored(t, s, "kept")
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s.shutdown()
	if _, err := s.InProcessConn(); err == nil || !strings.Contains(err.Error(), "restarting") {
		t.Errorf("a connection while it is away: %v", err)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !nc.IsConnected() || nc.Stats().Reconnects == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the client stays away")
		}
	}
	if got := last(t, s); got != "kept" {
		t.Errorf("after the restart the message is %q", got)
	}
}

// TestTheToolsAddressIsTheOneThatWasAskedFor, another where that one is busy and another will do, and none where it is off.
func TestTheToolsAddressIsTheOneThatWasAskedFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().String()
	if _, err := Start(Options{Dir: t.TempDir(), Addr: busy}); err == nil || !strings.Contains(err.Error(), "--nats-addr") || !strings.Contains(err.Error(), "'off'") {
		t.Errorf("a busy address: %v, want the flag and what it takes", err)
	}
	log := &testlog.Buffer{}
	s, err := Start(Options{Dir: t.TempDir(), Addr: busy, AnyPort: true, Log: log.Logger(slog.LevelInfo)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if url := s.URL(); url == "nats://"+busy || !strings.HasPrefix(url, "nats://127.0.0.1:") {
		t.Errorf("the address is %q", url)
	}
	if said := log.String(); !strings.Contains(said, "wanted="+busy) || !strings.Contains(said, "took="+strings.TrimPrefix(s.URL(), "nats://")) {
		t.Errorf("the log says %s, want both addresses", said)
	}
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatalf("at its address: %v", err)
	}
	nc.Close()
	for _, off := range []string{"", "off"} {
		s, err := Start(Options{Dir: t.TempDir(), Addr: off})
		if err != nil {
			t.Fatal(err)
		}
		if s.URL() != "" {
			t.Errorf("%q: it listens on %s", off, s.URL())
		}
		s.Stop()
	}
}

// A start that fails holds no lock: the operator corrects the setting and starts again.
func TestAFailedStartUnlocksTheDirectory(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, addr := range []string{l.Addr().String(), "192.0.2.1:4222", "nonsense"} {
		if _, err := Start(Options{Dir: dir, Addr: addr}); err == nil || !strings.Contains(err.Error(), "--nats-addr") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	run(t, dir)
}

func TestADirectoryThatCannotBeMadeIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := Start(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "data directory") || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want the directory named", dir, err)
		}
	}
}

// The log of the nats-server is ours: its page of notices at a start is for debugging, its errors are errors.
func TestTheServersLogIsForwardedAtItsLevel(t *testing.T) {
	log := &testlog.Buffer{}
	l := natsLogger{log.Logger(slog.LevelDebug)}
	l.Noticef("notice %d", 1)
	l.Debugf("debug %d", 2)
	l.Tracef("trace %d", 3)
	l.Warnf("warning %d", 4)
	l.Warnf("Maximum payloads over %d are unusual", 5)
	l.Errorf("error %d", 6)
	l.Fatalf("fatal %d", 7)
	for line, level := range map[string]string{"notice 1": "DEBUG", "debug 2": "DEBUG", "trace 3": "DEBUG", "warning 4": "WARN", "Maximum payloads over 5": "DEBUG", "error 6": "ERROR", "fatal 7": "ERROR"} {
		found := false
		for got := range strings.Lines(log.String()) {
			found = found || strings.Contains(got, line) && strings.Contains(got, "level="+level)
		}
		if !found {
			t.Errorf("no line %q at level %s in\n%s", line, level, log)
		}
	}
	quiet := &testlog.Buffer{}
	s, err := Start(Options{Dir: t.TempDir(), Log: quiet.Logger(slog.LevelInfo)})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if quiet.String() != "" {
		t.Errorf("a start and a stop log %s", quiet)
	}
}

// TestAStoreThatStaysSickIsRestartedOnce: clients find the new server and what was stored, and it is not restarted again and again.
func TestAStoreThatStaysSickIsRestartedOnce(t *testing.T) {
	log := &testlog.Buffer{}
	s, err := Start(Options{Dir: t.TempDir(), Log: log.Logger(slog.LevelInfo)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	stored(t, s, "kept")
	ns := s.NATS()
	s.times = watchTimes{every: time.Millisecond, stuck: 100 * time.Millisecond, pause: time.Hour}
	var sick atomic.Pointer[error]
	why := errors.New("no answer in time")
	sick.Store(&why)
	asked, _ := watched(t, s, &sick, func(err error) { t.Errorf("refused: %v", err) })
	for end := time.Now().Add(time.Minute); s.NATS() == ns || !s.NATS().ReadyForConnections(time.Millisecond); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server is not restarted")
		}
	}
	if ns.Running() {
		t.Error("the old server still runs")
	}
	again := s.NATS()
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; { // longer than a store may be sick
		awaitAsked(t, asked, asked.Load()+1)
	}
	if s.NATS() != again || strings.Count(log.String(), "restarting the embedded NATS") != 1 {
		t.Errorf("restarted again: %s", log)
	}
	if got := last(t, s); got != "kept" {
		t.Errorf("after the restart the message is %q", got)
	}
	if !strings.Contains(log.String(), why.Error()) {
		t.Errorf("the log does not say why: %s", log)
	}
}

// watched runs Watch until the test ends. sick is the error that healthy returns.
func watched(t *testing.T, s *Server, sick *atomic.Pointer[error], refuse func(error)) (asked *atomic.Int64, ended chan struct{}) {
	t.Helper()
	asked, ended = &atomic.Int64{}, make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		s.Watch(ctx, func(context.Context) error {
			asked.Add(1)
			if err := sick.Load(); err != nil {
				return *err
			}
			return nil
		}, refuse)
		close(ended)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return asked, ended
}

// awaitAsked waits until Watch has asked n times whether the store is healthy.
func awaitAsked(t *testing.T, asked *atomic.Int64, n int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); asked.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the store's health is not asked for")
		}
	}
}

// TestAStoreThatIsSickForAMomentIsLeftAlone, and a healthy one as well: the server is the same all the time.
func TestAStoreThatIsSickForAMomentIsLeftAlone(t *testing.T) {
	s := run(t, t.TempDir())
	s.times.every = time.Millisecond
	ns := s.NATS()
	var sick atomic.Pointer[error]
	asked, _ := watched(t, s, &sick, func(err error) { t.Errorf("refused: %v", err) })
	err := errors.New("no answer in time")
	sick.Store(&err)
	awaitAsked(t, asked, 2)
	sick.Store(nil)
	awaitAsked(t, asked, 3)
	if s.NATS() != ns || !ns.Running() {
		t.Error("the server was restarted after a moment")
	}
}

// TestAStoreWhoseFilesAreRemovedRefusesOnce and is not watched any longer.
func TestAStoreWhoseFilesAreRemovedRefusesOnce(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"the lock": func(dir string) error { return os.Remove(filepath.Join(dir, "lock")) },
		"the log": func(dir string) error {
			return os.RemoveAll(filepath.Join(dir, "jetstream", "$G", "streams", "YDOC_00"))
		},
		"moved away":   func(dir string) error { return os.Rename(dir, dir+".away") },
		"another lock": func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			log := &testlog.Buffer{}
			s, err := Start(Options{Dir: dir, Log: log.Logger(slog.LevelInfo)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Stop)
			s.times.every = time.Millisecond
			if _, err := connect(t, s).CreateStream(t.Context(), jetstream.StreamConfig{Name: "YDOC_00", Subjects: []string{"ydoc.00.>"}}); err != nil {
				t.Fatal(err)
			}
			var sick atomic.Pointer[error]
			refused := make(chan error, 10)
			asked, ended := watched(t, s, &sick, func(err error) { refused <- err })
			awaitAsked(t, asked, 1) // it knows the files by then
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			if name == "another lock" {
				if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "lock")); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("nobody notices")
			}
			if len(refused) != 1 {
				t.Fatalf("refused %d times, want once", len(refused))
			}
			if err := <-refused; !strings.Contains(err.Error(), dir) {
				t.Errorf("refused for %v, want the file named", err)
			}
			if !strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("the log says %s", log)
			}
		})
	}
}

func TestFreeSpaceIsThatOfTheFileSystem(t *testing.T) {
	free, known := freeSpace(t.TempDir())
	if !known {
		t.Skip("SKIPPED: this system does not tell")
	}
	if free <= 0 {
		t.Errorf("%d bytes are free, and this test could write its files", free)
	}
	if _, known := freeSpace("/does/not/exist"); known {
		t.Error("a directory that is not there has free space")
	}
}

// TestCheckLooksAtAStoppedStoreAlone: every message is compared; a running server is left alone.
func TestCheckLooksAtAStoppedStoreAlone(t *testing.T) {
	dir := t.TempDir()
	s := run(t, dir)
	for i := range 10 {
		stored(t, s, fmt.Sprint("message ", i))
	}
	never := func(f Finding) { t.Errorf("found %+v", f) }
	if _, err := Check(t.Context(), dir, false, never); err == nil || !strings.Contains(err.Error(), "in use by another yjet") {
		t.Errorf("beside a server: %v", err)
	}
	s.Stop()
	rep, err := Check(t.Context(), dir, false, never)
	if err != nil || rep.Records != 10 || rep.Files == 0 || rep.Sealed != 0 {
		t.Errorf("%+v, %v; want 10 messages compared", rep, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rep, err := Check(ctx, dir, false, never); err == nil && rep.Left == 0 && rep.Records == 10 {
		t.Errorf("a check that is broken off looks at everything: %+v", rep)
	}
	run(t, dir)
}
