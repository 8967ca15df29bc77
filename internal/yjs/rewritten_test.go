package yjs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// What is merged, joined, compacted, split, sifted and cut here must be to npm yjs what the log itself is. Random sessions; to
// see one again: go test -run TestRewrittenUpdatesAreTheSameToYjs ./internal/yjs -diff.seed N -diff.count 1
func TestRewrittenUpdatesAreTheSameToYjs(t *testing.T) {
	count := diffSeeds(150)
	j := newJudge(t)
	for i := range count {
		seed := *diffSeed + uint64(i)
		j.ask(object{"op": "generate", "seed": seed})
		var s yjsSession
		j.answer(&s)
		rnd := rand.New(rand.NewPCG(seed, 9))
		must := must2(t)
		half := must(Merge(s.Log[:s.Middle]...))
		v, err := VectorOf(half)
		if err != nil {
			t.Fatal(err)
		}
		whole := must(Merge(s.Log...))
		mixed := slices.Clone(s.Log)
		rnd.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		cases := []struct {
			what    string
			updates [][]byte
		}{
			{"merged", [][]byte{whole}},
			{"merged in another order", [][]byte{must(Merge(mixed...))}},
			{"joined", [][]byte{must(Join(s.Log...))}},
			{"compacted", [][]byte{must(Compact(s.Log...))}},
			{"compacted, then the log", append([][]byte{must(Compact(s.Log...))}, s.Log...)},
			{"half compacted, then the rest", append([][]byte{must(Compact(half))}, s.Log[s.Middle:]...)},
			{"half, and what it lacked", [][]byte{half, must(Diff(whole, v))}},
			{"half compacted, and what it lacked of the compacted", [][]byte{must(Compact(half)), must(Diff(must(Compact(whole)), v))}},
			{"by way of V2", [][]byte{must(FromV2(must(ToV2(whole)), Limits{}))}},
			{"from the V2 of yjs", [][]byte{must(FromV2(s.V2, Limits{}))}},
			{"sifted", sifted(t, mixed)},
		}
		for _, max := range []int{200, 2000} {
			parts, err := Split(must(Compact(whole)), max)
			if err != nil && !errors.Is(err, ErrUnsplittable) {
				t.Fatal(err)
			}
			if err == nil {
				cases = append(cases, struct {
					what    string
					updates [][]byte
				}{"split", parts})
			}
		}
		var documents []yjsDocument
		for _, c := range cases {
			documents = append(documents, yjsDocument{Updates: c.updates})
		}
		j.ask(object{"op": "check", "seed": seed, "documents": documents})
		var answer struct{ Views []yjsView }
		j.answer(&answer)
		for i, got := range answer.Views {
			if !reflect.DeepEqual(got.Roots, s.Final.Roots) || !bytes.Equal(got.Snapshot, s.Final.Snapshot) || got.Pending {
				t.Errorf("seed %d, %s: yjs shows something else: %s (pending %v, same ids %v)", seed, cases[i].what,
					firstDifference(got.Roots, s.Final.Roots), got.Pending, bytes.Equal(got.Snapshot, s.Final.Snapshot))
			}
		}
		if t.Failed() {
			return
		}
	}
}

// A fold is no longer than what yjs encodes of the same document, however it was edited.
func TestCompactedIsNoLongerThanTheStateOfYjs(t *testing.T) {
	j := newJudge(t)
	j.ask(object{"op": "shapes", "seed": *diffSeed, "n": 250})
	var answer struct {
		Shapes []struct {
			Name  string
			Log   [][]byte
			State []byte
		}
	}
	j.answer(&answer)
	if len(answer.Shapes) < 25 {
		t.Fatalf("got %d shapes", len(answer.Shapes))
	}
	for _, s := range answer.Shapes {
		compacted := must2(t)(Compact(s.Log...))
		most := len(s.State) + len(s.State)/50 + 2
		if len(compacted) > most {
			t.Errorf("%s: got %d bytes, yjs encodes %d", s.Name, len(compacted), len(s.State))
		}
		// Folded in steps, as a room does, it is the same; and yjs's own state gains nothing more.
		var base []byte
		for i := 0; i < len(s.Log); i += 50 {
			parts := s.Log[i:min(i+50, len(s.Log))]
			if base != nil {
				parts = append([][]byte{base}, parts...)
			}
			base = must2(t)(Compact(parts...))
		}
		if len(base) > most {
			t.Errorf("%s, in steps: got %d bytes, yjs encodes %d", s.Name, len(base), len(s.State))
		}
		t.Logf("%s: %d bytes, %.3f of yjs", s.Name, len(compacted), float64(len(compacted))/float64(len(s.State)))
	}
}

// sifted is updates, in whatever order they come, as a room would append them: each when it is ready.
func sifted(t *testing.T, updates [][]byte) (log [][]byte) {
	t.Helper()
	var s State
	for held := updates; len(held) > 0; {
		before := len(log)
		var next [][]byte
		for _, b := range held {
			u := parsed(t, b)
			r, err := s.Ready(u)
			if err != nil {
				t.Fatal(err)
			}
			if r.Ready != nil {
				s.Add(parsed(t, r.Ready))
				log = append(log, r.Ready)
			}
			if r.Rest != nil {
				next = append(next, r.Rest)
			}
		}
		if len(log) == before {
			t.Fatalf("%d updates wait for ever", len(next))
		}
		held = next
	}
	return log
}
