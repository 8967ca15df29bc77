package natsd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestStartTakesOutADamagedSequence, which would make the server fill memory; verify --repair finds the right one again. The lock file counts
// unclean stops.
func TestStartTakesOutADamagedSequence(t *testing.T) {
	dir := t.TempDir()
	s := run(t, dir)
	js := connect(t, s)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := js.Publish(t.Context(), "s", fmt.Appendf(nil, "message %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()

	path := filepath.Join(dir, "jetstream", "$G", "streams", "S", "msgs", "1.blk")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for range 10 {
		at += int(binary.LittleEndian.Uint32(b[at:]) &^ (1 << 31))
	}
	b[at+4+6] ^= 1 << 2 // the eleventh message is number 2^50 and some
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	fence := func(lock string) (said string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "lock"), []byte(lock), 0o600); err != nil {
			t.Fatal(err)
		}
		var logs bytes.Buffer
		s, err := open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&logs, nil))})
		if err == nil {
			err = s.fence()
		}
		if err != nil {
			t.Fatal(err)
		}
		s.lock.Close()
		return logs.String()
	}
	for n, c := range []struct{ before, after string }{{"", "running 1\n"}, {"running\n", "running 2\n"}, {"running 7\n", "running 8\n"}} {
		said := fence(c.before)
		if strings.Contains(said, "looked for damage") != (n > 0) || strings.Contains(said, "was taken out") != (n == 0) {
			t.Errorf("after %q the start says %s", c.before, said)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "lock")); string(b) != c.after || err != nil {
			t.Errorf("after %q the lock file holds %q, %v; want %q", c.before, b, err, c.after)
		}
	}
	js = connect(t, run(t, dir))
	st, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	for seq, want := range map[uint64]string{10: "message 9", 12: "message 11", 20: "message 19"} {
		if m, err := st.GetMsg(t.Context(), seq); err != nil || string(m.Data) != want {
			t.Errorf("message %d is %v, %v; want %q", seq, m, err, want)
		}
	}
	if m, err := st.GetMsg(t.Context(), 11); err == nil {
		t.Errorf("the damaged message is %q", m.Data)
	}
}
