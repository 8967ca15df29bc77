package e2e

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
)

// The process that carries NATS is frozen: nothing can be stored, so nobody may be told that anything is, and
// nobody may see it. When it thaws, all of it is stored, told and seen.
func TestNothingIsAcknowledgedWhileTheLogStandsStill(t *testing.T) {
	t.Parallel()
	still := 2 * time.Second
	if long() {
		still = 10 * time.Second
	}
	host, guest := startPair(t)
	d := newDriver(t)
	for _, kind := range kinds {
		d.open(guest, kind, kind, "still")
	}
	d.open(guest, "watcher", "yws31", "still")
	for _, kind := range kinds {
		d.edit(kind, []any{"text", "append", kind + " before. "})
	}
	for _, kind := range kinds {
		d.do("saved", M{"client": kind})
	}
	d.converge(append([]string{"watcher"}, kinds...)...)

	host.cmd.Process.Signal(syscall.SIGSTOP)
	defer host.cmd.Process.Signal(syscall.SIGCONT)
	time.Sleep(50 * time.Millisecond) // what was on its way has arrived
	acks := map[string]int{}
	for _, kind := range kinds {
		acks[kind] = len(d.state(kind).SyncStatus)
		d.edit(kind, []any{"text", "append", kind + " HELD. "})
	}
	time.Sleep(still)
	for _, kind := range kinds {
		st := d.state(kind)
		if st.Saved {
			t.Errorf("%s believes that its edit is saved while the log stands still", kind)
		}
		if n := len(st.SyncStatus); n > acks[kind] {
			t.Errorf("%s got %d sync statuses while the log stands still", kind, n-acks[kind])
		}
		if st.Echoed >= st.Clock {
			t.Errorf("%s got its edit back before it was stored", kind)
		}
	}
	if text := ask[string](d, "text", M{"client": "watcher"}); strings.Contains(text, "HELD") {
		t.Errorf("somebody saw an edit that is not stored: %q", text)
	}
	host.cmd.Process.Signal(syscall.SIGCONT)
	for _, kind := range kinds {
		d.do("saved", M{"client": kind, "timeout": 30000})
	}
	want := d.converge(append([]string{"watcher"}, kinds...)...)
	got := rebuild(t, host.nats, "still")
	sameDocument(t, "the rebuild from the log", got.Fingerprint, want)
	if n := strings.Count(got.Plain, "HELD"); n != len(kinds) {
		t.Errorf("the log holds %d of the %d edits that were held", n, len(kinds))
	}
}

// A deployment: two servers in turn are told to go while people type, and come back.
func TestRollingRestartLosesNothing(t *testing.T) {
	t.Parallel()
	rounds := 3
	if long() {
		rounds = 25
	}
	r := rand.New(rand.NewPCG(seedOf(t, 15), 15))
	host := startDev(t)
	guests := []*server{startGuest(t, host), startGuest(t, host)}
	d := newDriver(t)
	clients := []string{"a", "b", "c", "d"}
	for i, c := range clients {
		d.open(guests[i%2], c, []string{"yws31", "yws15", "hp4", "ypk"}[i], "rolling")
		d.do("write", M{"client": c, "prefix": c + ".", "every": 10})
	}
	for range rounds {
		for _, g := range guests {
			time.Sleep(time.Duration(100+r.IntN(300)) * time.Millisecond)
			if took := g.terminate(); took > 11*time.Second {
				t.Errorf("a drain took %v, want at most 10 s", took)
			}
			g.start()
		}
	}
	for _, c := range clients {
		d.do("stop", M{"client": c})
	}
	for _, c := range clients {
		d.do("saved", M{"client": c, "timeout": 40000})
	}
	want := d.converge(clients...)
	got := rebuild(t, host.nats, "rolling")
	sameDocument(t, "the rebuild from the log", got.Fingerprint, want)
	l := ask[ledger](d, "ledger", M{"writers": clients, "readers": []string{}})
	l.Echoed = l.Written
	if lost := l.lost(got.Plain); len(lost) > 0 {
		t.Errorf("%d of %d written pieces are not in the log, among them %s", len(lost), len(l.Written), lost[0])
	}
	t.Logf("%d restarts, %d pieces, 0 lost", rounds*2, len(l.Written))
}

// Names of every kind: what is allowed is a document of its own, under a subject that stays in its place.
func TestOddNamesAreDocumentsOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	names := []string{"a.b", "a*b", "a>b", "a b", "😀", "a=b", "A", "a", "%41", "ydoc.00.x", "$JS.API", strings.Repeat("ä", 127), "x/y/z"}
	for i, name := range names {
		room := pathEscape(name)
		d.open(s, fmt.Sprintf("w%d", i), "yws31", room)
		d.edit(fmt.Sprintf("w%d", i), []any{"text", "append", "I am " + name})
		d.do("saved", M{"client": fmt.Sprintf("w%d", i)})
	}
	for i, name := range names {
		reader := fmt.Sprintf("r%d", i)
		d.open(s, reader, "hp4", name) // another dialect names it plainly
		if got, want := ask[string](d, "text", M{"client": reader}), "I am "+name; got != want {
			t.Errorf("document %q holds %q, want %q", name, got, want)
		}
	}
	// A browser's URL resolves dot segments by itself, so only a Hocuspocus frame can carry these names.
	for i, name := range []string{"a/../b", ".", "..", strings.Repeat("x", 256), "a\x01b", "a\x7fb", "a\r\nb", "a//b"} {
		d.open(s, fmt.Sprintf("hp%d", i), "hp4", name, M{"wait": false})
		if utf8.RuneCountInString(name) > 3 && !strings.Contains(name, ".") {
			d.open(s, fmt.Sprintf("ws%d", i), "yws31", pathEscape(name), M{"wait": false})
		}
	}
	time.Sleep(6 * time.Second) // a refusal is held for up to four
	for i, name := range []string{"a/../b", ".", "..", strings.Repeat("x", 256), "a\x01b", "a\x7fb", "a\r\nb"} {
		if st := d.state(fmt.Sprintf("hp%d", i)); st.Synced || len(st.Denied)+len(st.Closes) == 0 {
			t.Errorf("Hocuspocus document %q: synced %v, denied %q, closes %+v; want a refusal", name, st.Synced, st.Denied, st.Closes)
		}
	}
	if st := d.state("ws3"); st.Synced || len(st.Closes)+len(st.Errors) == 0 {
		t.Errorf("a name of 256 bytes: %+v, want a refusal", st)
	}
	_, js := connectNATS(t, s.nats)
	for _, stream := range []string{"YDOC_00", "YDOC_01"} {
		info, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		all, err := info.Info(t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		for subject := range all.State.Subjects {
			if !regexp.MustCompile(`^ydoc\.0[01]\.[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*$`).MatchString(subject) {
				t.Errorf("a stranger's name became the subject %q", subject)
			}
		}
	}
}
