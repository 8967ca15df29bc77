package yjs

import (
	"fmt"
	"slices"
	"testing"
)

// eachTrace runs f for each trace that is here.
func eachTrace(b *testing.B, f func(b *testing.B, tr trace)) {
	for _, name := range traceNames {
		b.Run(name, func(b *testing.B) {
			tr := loadTrace(b, name)
			b.ReportAllocs()
			f(b, tr)
		})
	}
}

func must(b testing.TB, u []byte, err error) []byte {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	return u
}

func BenchmarkMergeAll(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		b.SetBytes(int64(tr.bytes))
		for b.Loop() {
			_, err := Merge(tr.updates...)
			must(b, nil, err)
		}
	})
}

func BenchmarkJoinAll(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		var out []byte
		for b.Loop() {
			out = must2(b)(Join(tr.updates...))
		}
		b.ReportMetric(float64(len(out)), "out-bytes")
	})
}

func BenchmarkCompactAll(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		var out []byte
		for b.Loop() {
			out = must2(b)(Compact(tr.updates...))
		}
		b.ReportMetric(float64(len(out)), "out-bytes")
	})
}

func must2(b testing.TB) func([]byte, error) []byte {
	return func(u []byte, err error) []byte { b.Helper(); return must(b, u, err) }
}

// BenchmarkMergeInChunks merges a thousand updates at a time, then the results.
func BenchmarkMergeInChunks(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		for b.Loop() {
			var chunks [][]byte
			for c := range slices.Chunk(tr.updates, 1000) {
				chunks = append(chunks, must2(b)(Merge(c...)))
			}
			must2(b)(Merge(chunks...))
		}
	})
}

// BenchmarkMergeOne merges one keystroke into all that was before it.
func BenchmarkMergeOne(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		merged := must2(b)(Merge(tr.updates...))
		last := tr.updates[len(tr.updates)-1]
		for b.Loop() {
			must2(b)(Merge(merged, last))
		}
	})
}

// BenchmarkMergeOneCompacted is the same after compaction.
func BenchmarkMergeOneCompacted(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		compacted := must2(b)(Compact(tr.updates...))
		last := tr.updates[len(tr.updates)-1]
		for b.Loop() {
			must2(b)(Merge(compacted, last))
		}
	})
}

func BenchmarkVectorOf(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		merged := must2(b)(Merge(tr.updates...))
		b.SetBytes(int64(len(merged)))
		for b.Loop() {
			if _, err := VectorOf(merged); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDiffKnown asks for what a peer lacks that has everything.
func BenchmarkDiffKnown(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		merged := must2(b)(Merge(tr.updates...))
		b.SetBytes(int64(len(merged)))
		for b.Loop() {
			must2(b)(Diff(merged, tr.vector))
		}
	})
}

// keystroke is one typed letter in the middle of a text of several clients, and the state before it.
func keystroke(b *testing.B) (*State, []byte) {
	tr := loadTrace(b, "rich-mixed")
	s := new(State)
	var u Update
	for _, x := range tr.updates {
		if err := u.Parse(x, Limits{}); err != nil {
			b.Fatal(err)
		}
		s.Add(&u)
	}
	client := s.Vector().clients()[0]
	st := Struct{Client: client, Clock: s.Structs().Prefix(client), Info: RefString | infoOrigin | infoRight, Len: 1, Content: []byte("x")}
	st.Origin = ID{client, st.Clock - 1}
	st.Right = ID{s.Vector().clients()[1], 5}
	var e encoder
	e.begin(client)
	e.add(&st)
	e.end()
	return s, e.finish(nil, []byte{0})
}

func BenchmarkKeystrokeParse(b *testing.B) {
	_, key := keystroke(b)
	var u Update
	b.ReportAllocs()
	for b.Loop() {
		if err := u.Parse(key, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeystrokeValidate(b *testing.B) {
	_, key := keystroke(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := validate(key, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeystrokeContains(b *testing.B) {
	s, key := keystroke(b)
	var u Update
	b.ReportAllocs()
	if err := u.Parse(key, Limits{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if s.Contains(&u) {
			b.Fatal("known")
		}
	}
}

func BenchmarkKeystrokeReady(b *testing.B) {
	s, key := keystroke(b)
	var u Update
	b.ReportAllocs()
	if err := u.Parse(key, Limits{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r, err := s.Ready(&u); err != nil || r.Rest != nil {
			b.Fatal(r, err)
		}
	}
}

func BenchmarkKeystrokeAdd(b *testing.B) {
	s, key := keystroke(b)
	var u Update
	b.ReportAllocs()
	if err := u.Parse(key, Limits{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s.Add(&u)
		u.runs[0].Clock++
	}
}

func BenchmarkToV2(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		merged := must2(b)(Merge(tr.updates...))
		b.SetBytes(int64(len(merged)))
		for b.Loop() {
			must2(b)(ToV2(merged))
		}
	})
}

func BenchmarkFromV2(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		v2 := must2(b)(ToV2(must2(b)(Merge(tr.updates...))))
		b.SetBytes(int64(len(v2)))
		for b.Loop() {
			must2(b)(FromV2(v2, Limits{}))
		}
	})
}

// BenchmarkCheckAll parses each update of a session and adds it to the state, as a room does.
func BenchmarkCheckAll(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		b.SetBytes(int64(tr.bytes))
		var u Update
		for b.Loop() {
			var s State
			for _, x := range tr.updates {
				if err := u.Parse(x, Limits{}); err != nil {
					b.Fatal(err)
				}
				if !s.Contains(&u) {
					s.Add(&u)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(tr.updates)), "ns/update")
	})
}

// BenchmarkSplit cuts a whole document for a server that takes at most 64 KiB.
func BenchmarkSplit(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		merged := must2(b)(Merge(tr.updates...))
		for b.Loop() {
			if _, err := Split(merged, 64<<10); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReadyAll sifts a whole document of several clients at once.
func BenchmarkReadyAll(b *testing.B) {
	eachTrace(b, func(b *testing.B, tr trace) {
		u := parsedAny(b, must2(b)(Merge(tr.updates...)))
		var s State
		for b.Loop() {
			if r, err := s.Ready(u); err != nil || r.Rest != nil {
				b.Fatal("not ready", err)
			}
		}
	})
}

// BenchmarkCompactIntegrates folds the largest document that is integrated on the way: of keys, and of values of one key that were set
// at once, nearly all of which the integration finds deleted.
func BenchmarkCompactIntegrates(b *testing.B) {
	for _, keys := range []int{maxIntegrated, 1} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			updates := make([][]byte, maxIntegrated)
			for i := range updates {
				var err error
				updates[i], err = NewDocument(DocumentOptions{}).Edit(uint64(i+1), func(tx *Tx) error {
					return tx.Root("m").Map().Set(fmt.Sprint("k", i%keys), i)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			whole, err := Merge(updates...)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := Compact(whole); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
