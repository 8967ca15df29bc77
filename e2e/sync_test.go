package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// randomEdit is one edit of any of the four types; its places are fractions of what is there by then.
func randomEdit(r *rand.Rand, who string, n int) []any {
	where := r.Float64()
	switch r.IntN(14) {
	case 0, 1, 2:
		return []any{"text", "insert", where, fmt.Sprintf("%s%d ", who, n)}
	case 3:
		return []any{"text", "insert", where, "😀é" + who}
	case 4:
		return []any{"text", "delete", where, 1 + r.IntN(6)}
	case 5:
		return []any{"text", "format", where, 1 + r.IntN(8), M{"bold": r.IntN(2) == 0}}
	case 6:
		return []any{"map", "set", fmt.Sprintf("k%d", r.IntN(6)), M{"by": who, "n": n}}
	case 7:
		return []any{"map", "delete", fmt.Sprintf("k%d", r.IntN(6))}
	case 8:
		return []any{"map", "nest", fmt.Sprintf("k%d", r.IntN(6)), who}
	case 9, 10:
		return []any{"array", "insert", where, []any{who, n, nil, true, 1.5}}
	case 11:
		return []any{"array", "delete", where, 1 + r.IntN(3)}
	case 12:
		return []any{"xml", "insert", where, "p", fmt.Sprintf("%s%d", who, n)}
	default:
		if r.IntN(3) == 0 {
			return []any{"xml", "delete", where}
		}
		return []any{"xml", "attr", where, "class", who}
	}
}

func TestClientsThatEditAllTypesDropAndReturnEndEqual(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	for _, pair := range [][2]string{{"yws31", "yws21"}, {"yws15", "yws31"}} {
		t.Run(pair[0]+" and "+pair[1], func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seedOf(t, 1), 1))
			d := newDriver(t)
			room := "sync/" + pair[0] + pair[1]
			d.open(s, "a", pair[0], room)
			d.open(s, "b", pair[1], room)
			names := []string{"a", "b"}
			for round := range 6 {
				for n := range 30 {
					who := names[r.IntN(2)]
					var edits [][]any
					for range 1 + r.IntN(3) {
						edits = append(edits, randomEdit(r, who, round*100+n))
					}
					d.edit(who, edits...)
				}
				switch victim := names[r.IntN(2)]; round % 3 {
				case 0:
					d.do("drop", M{"client": victim})
				case 1:
					d.do("cut", M{"client": victim})
					for n := range 20 {
						for _, who := range names {
							d.edit(who, randomEdit(r, who, 1000+n))
						}
					}
					d.do("mend", M{"client": victim})
				}
			}
			for _, who := range names {
				d.do("saved", M{"client": who, "timeout": 20000})
			}
			want := d.converge(names...)
			d.open(s, "fresh", pair[0], room)
			sameDocument(t, "a fresh client", d.converge("a", "b", "fresh"), want)
			got := rebuild(t, s.nats, room)
			sameDocument(t, "the rebuild from the log", got.Fingerprint, want)
			if got.Records == 0 && got.Snapshot == nil {
				t.Error("the log holds no record of the document")
			}
			for _, who := range append(names, "fresh") {
				if st := d.state(who); len(st.TextFrames)+len(st.Strange) > 0 {
					t.Errorf("%s got text frames %q, strange frames %q, want none", who, st.TextFrames, st.Strange)
				}
			}
		})
	}
}

func TestOfflineClientThatTypesAndPastesWhileItReconnects(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	for _, kind := range []string{"yws31", "yws15"} {
		room := "offline-" + kind
		a, b := "a"+kind, "b"+kind
		d.open(s, a, kind, room)
		d.open(s, b, kind, room)
		d.edit(a, []any{"text", "append", "before "})
		d.do("hasText", M{"client": b, "part": "before"})
		d.do("cut", M{"client": a})
		d.edit(b, []any{"text", "append", "meanwhile "})
		d.edit(a, []any{"text", "append", "offline "})
		paste := strings.Repeat("0123456789abcde\n", 300*1024/16)
		d.do("mend", M{"client": a})
		// Fresh edits leave the moment the socket is open, before the provider has answered what it missed.
		for n := range 40 {
			d.edit(a, []any{"text", "insert", float64(n) / 40, fmt.Sprintf("t%d ", n)})
			if n == 10 || n == 30 {
				d.edit(a, []any{"text", "append", paste})
			}
			if n%8 == 0 {
				d.do("drop", M{"client": a})
			}
			time.Sleep(25 * time.Millisecond) // typing has a pace: the reconnect falls somewhere into it
		}
		want := d.converge(a, b)
		d.do("saved", M{"client": a, "timeout": 20000})
		got := rebuild(t, s.nats, room)
		sameDocument(t, kind+": the rebuild from the log", got.Fingerprint, want)
		if n := strings.Count(got.Plain, "0123456789abcde"); n < 2*300*1024/16-64 {
			t.Errorf("%s: the log holds %d lines of the pastes, want about %d", kind, n, 2*300*1024/16)
		}
	}
}

func TestReconnectAddsNoRecord(t *testing.T) {
	t.Parallel()
	s := startDev(t, "--compact-after", "10m")
	d := newDriver(t)
	d.open(s, "a", "yws31", "quiet")
	for n := range 10 {
		d.edit("a", []any{"text", "append", fmt.Sprint(n)}, []any{"text", "delete", 0.5, 1})
	}
	d.do("saved", M{"client": "a"})
	before := rebuild(t, s.nats, "quiet")
	for n := range 3 {
		d.do("drop", M{"client": "a"})
		// The client's own tally of opens tells that it has been away and is back.
		deadline := time.Now().Add(10 * time.Second)
		for len(d.state("a").Opens) < n+2 || !d.state("a").Saved {
			if time.Now().After(deadline) {
				t.Fatalf("the client is not back: %+v", d.state("a"))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if after := rebuild(t, s.nats, "quiet"); after.Records != before.Records {
		t.Errorf("three reconnects: got %d records, want %d as before", after.Records, before.Records)
	}
}

func TestDataSurvivesRestart(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	d.open(s, "a", "yws31", "notes/todo.md")
	d.edit("a", []any{"text", "append", "kept"}, []any{"map", "set", "k", "v"})
	d.do("saved", M{"client": "a"})
	d.do("destroy", M{"client": "a"})
	if took := s.terminate(); took > 10*time.Second {
		t.Errorf("drain took %v, want at most 10 s", took)
	}
	s.start()
	d.open(s, "b", "yws31", "notes/todo.md")
	var f struct {
		Text []struct{ Insert string }
		Map  map[string]string
	}
	if err := json.Unmarshal(ask[json.RawMessage](d, "fingerprint", M{"client": "b"}), &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Text) != 1 || f.Text[0].Insert != "kept" || f.Map["k"] != "v" {
		t.Errorf("after a restart: got %+v, want what was saved", f)
	}
}

func TestSecondProcessOnTheSameDataIsRefused(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	second := &server{t: t, args: s.args}
	err := second.tryStart()
	if err == nil {
		second.kill()
		t.Fatal("a second process on the same data directory started")
	}
	if text := second.out.text(); !strings.Contains(text, "another") && !strings.Contains(text, "use") && !strings.Contains(text, "lock") {
		t.Errorf("a second process was refused with %q, want a sentence that says the directory is in use", text)
	}
}
