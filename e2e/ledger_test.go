package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// ledger is what clients have proof of: pieces that came back to their writer or were seen by another client.
type ledger struct {
	Written []string
	Echoed  []string
	Seen    []string
}

// lost answers which pieces of the ledger are not in text.
func (l ledger) lost(text string) []string {
	var lost []string
	for _, tag := range append(append([]string{}, l.Echoed...), l.Seen...) {
		if !strings.Contains(text, "<"+tag+">") {
			lost = append(lost, tag)
		}
	}
	slices.Sort(lost)
	return slices.Compact(lost)
}

func TestNothingSeenIsLostToKill9(t *testing.T) {
	t.Parallel()
	rounds := 25
	if long() {
		rounds = 100
	}
	seed := seedOf(t, 9)
	r := rand.New(rand.NewPCG(seed, 2))
	s := startDev(t)
	d := newDriver(t)
	kinds := []string{"yws31", "yws21", "yws15"}
	echoed, seen := 0, 0
	const rooms = 5 // a room grows over its rounds: later kills hit a document with a past
	for round := range rounds {
		room := fmt.Sprintf("ledger-%d", round%rooms)
		w1, w2, reader := fmt.Sprintf("w1-%d", round), fmt.Sprintf("w2-%d", round), fmt.Sprintf("r-%d", round)
		d.open(s, w1, kinds[r.IntN(3)], room, M{"no102": true})
		d.open(s, w2, kinds[r.IntN(3)], room, M{"no102": true})
		d.open(s, reader, "yws31", room, M{"no102": true})
		d.do("write", M{"client": w1, "prefix": w1 + ".", "every": 1 + r.IntN(4), "per": 1 + r.IntN(3)})
		d.do("write", M{"client": w2, "prefix": w2 + ".", "every": 1 + r.IntN(4), "per": 1 + r.IntN(3)})
		time.Sleep(time.Duration(20+r.IntN(400)) * time.Millisecond) // the random moment
		s.kill()
		d.do("stop", M{"client": w1})
		d.do("stop", M{"client": w2})
		// The writers never come back: what they alone still hold must not be what saves the ledger.
		for _, c := range []string{w1, w2, reader} {
			d.do("cut", M{"client": c})
		}
		l := ask[ledger](d, "ledger", M{"writers": []string{w1, w2}, "readers": []string{w1, w2, reader}})
		// A writer sees its own pieces before the server does; only others' count as seen.
		l.Seen = ask[ledger](d, "ledger", M{"writers": []string{}, "readers": []string{reader}}).Seen
		began := time.Now()
		s.start()
		ready := time.Since(began)
		got := rebuild(t, s.nats, room)
		if lost := l.lost(got.Plain); len(lost) > 0 {
			t.Fatalf("round %d: %d of %d echoed and %d seen pieces are lost, among them %s", round, len(lost), len(l.Echoed), len(l.Seen), lost[0])
		}
		echoed += len(l.Echoed)
		seen += len(l.Seen)
		if limit := 2 * time.Second; ready > limit && !raceEnabled {
			t.Logf("round %d: ready after %v, want %v on an idle machine", round, ready, limit)
		}
		// Liveness: a new client syncs, equals the rebuild, and an edit goes round.
		d.open(s, reader+"-new", "yws31", room)
		fresh := ask[string](d, "text", M{"client": reader + "-new"})
		if fresh != got.Plain {
			t.Fatalf("round %d: a fresh client has %d characters, the rebuild %d", round, len(fresh), len(got.Plain))
		}
		d.edit(reader+"-new", []any{"text", "append", "."})
		d.do("echoed", M{"client": reader + "-new"})
		for _, c := range []string{w1, w2, reader, reader + "-new"} {
			d.do("destroy", M{"client": c})
		}
	}
	t.Logf("%d kills: 0 lost of %d echoed and %d seen pieces", rounds, echoed, seen)
	if echoed < rounds*5 || seen < rounds*5 {
		t.Errorf("the ledger holds %d echoed and %d seen pieces in %d rounds: too few to prove anything", echoed, seen, rounds)
	}
}

// After a crash the writers return with what only they have: all end equal, nothing written is lost.
func TestWritersReturnAfterKill9(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	room := "return"
	clients := []string{"a", "b", "c"}
	for i, c := range clients {
		d.open(s, c, []string{"yws31", "yws21", "yws15"}[i], room)
	}
	for round := range 4 {
		for _, c := range clients {
			d.do("write", M{"client": c, "prefix": fmt.Sprintf("%s%d.", c, round), "every": 3})
		}
		time.Sleep(150 * time.Millisecond)
		s.kill()
		time.Sleep(50 * time.Millisecond) // written while nobody listens
		for _, c := range clients {
			d.do("stop", M{"client": c})
		}
		s.start()
		for _, c := range clients {
			d.do("saved", M{"client": c, "timeout": 30000})
		}
		d.converge(clients...)
	}
	l := ask[ledger](d, "ledger", M{"writers": clients, "readers": clients})
	got := rebuild(t, s.nats, room)
	for _, tag := range l.Written {
		if !strings.Contains(got.Plain, "<"+tag+">") {
			t.Errorf("%s was written and is not in the log", tag)
		}
	}
	sameDocument(t, "the rebuild from the log", got.Fingerprint, d.converge(clients...))
}
