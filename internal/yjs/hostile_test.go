package yjs

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
)

var hostileCount = flag.Int("hostile.count", 4000, "number of mutants of TestWhatPassesTheCheckBreaksNoClient")

// Updates of real sessions, damaged at random: what passes Parse and Ready on top of such a session must not make npm yjs throw,
// in whichever way it comes to a client.
func TestWhatPassesTheCheckBreaksNoClient(t *testing.T) {
	j := newJudge(t)
	var cases []updateCase
	for _, c := range updateCases(t) {
		ok := len(c.Updates) > 0
		for _, u := range c.Updates {
			ok = ok && validate(u, Limits{}) == nil
		}
		if ok {
			cases = append(cases, c)
		}
	}
	rnd := rand.New(rand.NewPCG(*diffSeed, 11))
	passed, tried := 0, 0
	for passed < *hostileCount {
		var documents [][][]byte
		for len(documents) < 500 {
			c := cases[rnd.IntN(len(cases))]
			var s State
			var log [][]byte
			for _, u := range c.Updates[:rnd.IntN(len(c.Updates)+1)] {
				if r, err := s.Ready(parsed(t, u)); err != nil {
					t.Fatal(err)
				} else if r.Ready != nil {
					s.Add(parsed(t, r.Ready))
					log = append(log, r.Ready)
				}
			}
			for range 20 {
				b := mutant(rnd, c.Updates[rnd.IntN(len(c.Updates))])
				tried++
				var u Update
				if u.Parse(b, Limits{}) != nil {
					continue
				}
				r, err := s.Ready(&u)
				if err != nil || r.Ready == nil {
					continue
				}
				whole := append(slices.Clone(log), r.Ready)
				documents = append(documents, whole, [][]byte{must2(t)(Compact(whole...))})
			}
		}
		j.ask(object{"op": "survive", "seed": *diffSeed, "documents": documents})
		var answer struct{ Faults []string }
		j.answer(&answer)
		for i, fault := range answer.Faults {
			if fault != "" {
				last := documents[i][len(documents[i])-1]
				t.Errorf("yjs, %s\nfrom %s after %d updates", fault, b64(last), len(documents[i])-1)
			}
		}
		passed += len(documents) / 2
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of %d mutants passed the check", passed, tried)
}

// mutant is a copy of b with some bytes changed.
func mutant(rnd *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + rnd.IntN(4) {
		i := rnd.IntN(len(b))
		switch rnd.IntN(5) {
		case 0:
			b[i] ^= 1 << rnd.IntN(8)
		case 1:
			b[i] = byte(rnd.Uint32())
		case 2:
			b[i]++
		case 3:
			b[i]--
		case 4:
			b[i] = b[rnd.IntN(len(b))]
		}
	}
	return b
}
