package yjs

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"unicode/utf8"
)

// The fuzzers begin with the vectors; testdata/fuzz holds what they found, and what is known to be nasty. Run one with
//
//	go test ./internal/yjs -run xxx -fuzz FuzzUpdate -fuzztime 1m

func seeds(f *testing.F, add func([]byte)) {
	var m struct{ Cases []struct{ Bytes []byte } }
	vectors(f, "malformed.json", &m)
	for _, c := range m.Cases {
		add(c.Bytes)
	}
	for _, c := range updateCases(f) {
		for _, u := range c.Updates {
			if len(u) < 300 {
				add(u)
			}
		}
	}
}

// FuzzUpdate: no decoder panics, and what passes the check survives every way of rewriting it.
func FuzzUpdate(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		everything(b)
		var u Update
		if u.Parse(b, Limits{}) != nil {
			return
		}
		// The mark of a key that stands beside an origin, which Yjs sets when it cuts a key's value, is gone once it is read.
		unmarked := func(b []byte) []byte { return must2(t)(Canonical(b)) }
		canonical := unmarked(must2(t)(Canonical(b)))
		sameIDs(t, "canonical", b, canonical)
		if again := must2(t)(Canonical(canonical)); !bytes.Equal(again, canonical) {
			t.Fatalf("canonical form is not stable: %s, %s", b64(canonical), b64(again))
		}
		if again := unmarked(must2(t)(Merge(b, b))); !bytes.Equal(again, canonical) {
			t.Fatalf("merged with itself: got %s, want %s", b64(again), b64(canonical))
		}
		joined := unmarked(must2(t)(Join(b)))
		sameIDs(t, "joined", b, joined)
		compactIDs(t, "compacted", b, must2(t)(Compact(b)))
		if again := must2(t)(Join(joined)); !bytes.Equal(again, joined) {
			t.Fatalf("joined form is not stable: %s, %s", b64(joined), b64(again))
		}
		parts, err := Split(b, 128)
		if err == nil {
			for _, p := range parts {
				if len(p) > 128 {
					t.Fatalf("a part of %d bytes", len(p))
				}
				if err := validate(p, Limits{}); err != nil {
					t.Fatalf("part: %v", err)
				}
			}
			if again := unmarked(must2(t)(Join(parts...))); !bytes.Equal(again, joined) {
				t.Fatalf("split and joined: got %s, want %s", b64(again), b64(joined))
			}
		} else if !errors.Is(err, ErrUnsplittable) {
			t.Fatal(err)
		}
		v := StateVector{}
		for _, r := range u.Runs() {
			v[r.Client] = max(v[r.Client], r.End())
		}
		var all, left State
		if err := all.Admit(&u, DocumentLimits{}); err != nil && !errors.Is(err, ErrLimit) {
			t.Fatalf("admitted by an empty document: %v", err)
		}
		all.Add(&u)
		all.Planted(&u)
		if err := all.Admit(&u, DocumentLimits{Depth: -1, Clients: -1, RootWork: -1, SubDocs: -1, Conflicts: -1}); err != nil {
			t.Fatalf("without limits: %v", err)
		}
		d := parsed(t, must2(t)(Diff(b, v)))
		left.Add(d)
		if a, b := left.Deletes().Append(nil), all.Deletes().Append(nil); d.Structs() != 0 || !bytes.Equal(a, b) {
			t.Fatalf("diff against all: %d structs, deletes %x, want none and %x", d.Structs(), a, b)
		}
		v2 := must2(t)(ToV2(canonical))
		back, err := FromV2(v2, Limits{Structs: -1})
		if errors.Is(err, ErrLimit) {
			return // an update of next to nothing but runs
		}
		if err != nil {
			t.Fatalf("from V2: %v", err)
		}
		sameIDs(t, "by way of V2", b, back)
		if again := must2(t)(ToV2(back)); !bytes.Equal(again, v2) {
			t.Fatalf("V2 again: got %s, want %s", b64(again), b64(v2))
		}
	})
}

// FuzzMerge: order does not matter, and merging again changes nothing.
func FuzzMerge(f *testing.F) {
	var last []byte
	seeds(f, func(b []byte) {
		f.Add(b, last)
		last = b
	})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if validate(a, Limits{}) != nil || validate(b, Limits{}) != nil {
			return
		}
		ab := must2(t)(Merge(a, b))
		sameIDs(t, "both ways", ab, must2(t)(Merge(b, a)))
		sameIDs(t, "both alone", ab, a, b)
		if again := must2(t)(Merge(ab, a)); !bytes.Equal(again, ab) {
			sameIDs(t, "again", ab, again)
		}
		compactIDs(t, "compacted", ab, must2(t)(Compact(a, b)))
		for _, u := range [][]byte{ab, must2(t)(Compact(a, b))} {
			if err := validate(u, Limits{}); err != nil {
				t.Fatalf("%s: %v", b64(u), err)
			}
		}
		// What is ready of b after a refers to nothing else, and with the rest and a it is both.
		var s State
		had, err := readyOf(new(State), a)
		if err != nil {
			return // it parts the value of a key
		}
		s.Add(parsed(t, had))
		r, err := s.Ready(parsed(t, b))
		if err != nil {
			return
		}
		parts := [][]byte{had}
		for _, p := range [][]byte{r.Ready, r.Rest} {
			if p != nil {
				parts = append(parts, p)
			}
		}
		sameIDs(t, "ready and rest", must2(t)(Merge(had, b)), parts...)
		if r.Ready != nil {
			if err := closed(&s, r.Ready); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func readyOf(s *State, b []byte) ([]byte, error) {
	var u Update
	if err := u.Parse(b, Limits{}); err != nil {
		return nil, err
	}
	r, err := s.Ready(&u)
	if r.Ready == nil {
		r.Ready = []byte{0, 0}
	}
	return r.Ready, err
}

// FuzzV2: any bytes, and what is readable stays the same on its way there and back.
func FuzzV2(f *testing.F) {
	var m struct{ Cases []struct{ Bytes []byte } }
	vectors(f, "malformed-v2.json", &m)
	for _, c := range m.Cases {
		f.Add(c.Bytes)
	}
	for _, c := range updateCases(f) {
		for _, u := range c.UpdatesV2 {
			if len(u.bytes) < 300 {
				f.Add(u.bytes)
			}
		}
	}
	for _, b := range v2Bombs() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v1, err := FromV2(b, Limits{})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b) {
				t.Fatalf("got %#v, want an offset", err)
			}
			return
		}
		if len(v1) > 4096+40*len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(v1))
		}
		if err := decode(v1); err != nil {
			t.Fatalf("%s: %v", b64(v1), err)
		}
		if validate(v1, Limits{}) != nil {
			return
		}
		canonical := must2(t)(Canonical(v1))
		back, err := FromV2(must2(t)(ToV2(canonical)), Limits{Structs: -1})
		if err != nil && !errors.Is(err, ErrLimit) || err == nil && !bytes.Equal(back, canonical) {
			t.Fatalf("got %s %v, want %s", b64(back), err, b64(canonical))
		}
	})
}

// FuzzMessage: what is read of a frame and written again reads the same.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{"\x00\x00\x01\x00", "\x00\x02\x02\x00\x00", "\x01\x06\x01\x07\x00\x02{}", "\x03", "\x66\x01\x00", "\x01d\x02\x00\x04tok1\x054.8.0", "\x0dd\x00abcdefghijk\x00\x00\x01\x00", "\x01d\x08\x01", "\x0a", "\x02\x07\x01\x04null\x08\x02\x03{ }"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, _, err := ReadMessage(b); err == nil && m.Type == MsgSync {
			again, _, err := ReadMessage(AppendSync(nil, byte(m.Step), m.Payload))
			if err != nil || again.Step != m.Step || !bytes.Equal(again.Payload, m.Payload) {
				t.Fatalf("got %+v %v, want %+v", again, err, m)
			}
		}
		if m, _, err := ReadHocuspocus(b); err == nil && m.Type == MsgStateless {
			again, _, err := ReadHocuspocus(AppendStateless(AppendAddress(nil, m.Address), string(m.Payload)))
			if err != nil || !bytes.Equal(again.Address, m.Address) || !bytes.Equal(again.Payload, m.Payload) {
				t.Fatalf("got %+v %v, want %+v", again, err, m)
			}
		}
		if entries, err := ReadAwareness(nil, b); err == nil {
			again, err := ReadAwareness(nil, AppendAwareness(nil, entries))
			if err != nil || !slices.EqualFunc(entries, again, func(a, b AwarenessEntry) bool {
				return a.Client == b.Client && a.Clock == b.Clock && bytes.Equal(a.State, b.State) && (a.State == nil) == (b.State == nil)
			}) {
				t.Fatalf("got %v %v, want %v", again, err, entries)
			}
		}
		if v, err := DecodeStateVector(b); err == nil {
			again, err := DecodeStateVector(v.Append(nil))
			if err != nil || len(again) != len(v) {
				t.Fatalf("got %v %v, want %v", again, err, v)
			}
		}
	})
}

// FuzzJSON: the check agrees with the standard library, and JSON becomes any values and JSON again.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`null`, `{"a":[1,2.5,-0,1e400,"é\ud83d\ude00\ud83d"]}`, `[[[]]]`, ` {"":{}} `, `"\u0000\/"`, `undefined`, `1e-7`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !utf8.Valid(b) {
			return
		}
		depth, ok := jsonDepth(b)
		if want := json.Valid(b); ok != want && depth < 9000 { // the standard library gives up at 10,000
			t.Fatalf("got %v, want %v", ok, want)
		}
		if !ok || depth > 1000 {
			return
		}
		first := appendAnyOfJSON(nil, b)
		check := cursor{b: first}
		if check.skipAny(1); check.err != nil || check.left() > 0 {
			t.Fatalf("%s became %x: %v", b, first, check.err)
		}
		v := cursor{b: first}
		text, ok := appendJSONOfAny(nil, &v, 1<<30)
		if !ok || !json.Valid(text) {
			t.Fatalf("%s became %s", b, text)
		}
		w := cursor{b: appendAnyOfJSON(nil, text)}
		if again, _ := appendJSONOfAny(nil, &w, 1<<30); !bytes.Equal(again, text) {
			t.Fatalf("%s, then %s", text, again)
		}
	})
}
