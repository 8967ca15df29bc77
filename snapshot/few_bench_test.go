//go:build unix

package snapshot

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// BenchmarkFewRecords tells from how many records on a fold pays: what it costs, what opening costs before and after it, and what the
// document takes in the streams. Documents are interleaved, so that the records of each are scattered. Run it with -benchtime 1x.
func BenchmarkFewRecords(b *testing.B) {
	for _, records := range []int{1, 2, 4, 8, 16, 32} {
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			const docs = 400
			h := newHouse(b)
			s := h.store(Options{})
			authors := make([]*author, docs)
			for i := range authors {
				authors[i] = h.author(stream.Doc(fmt.Sprintf("doc%04d", i)), "ada")
			}
			for n := range records {
				for _, a := range authors {
					a.types(fmt.Sprintf("the words of keystroke %d ", n))
				}
			}
			each := func(f func(doc stream.Doc)) (ms float64) {
				before := cpuTime()
				for _, a := range authors {
					f(a.doc)
				}
				return (cpuTime() - before).Seconds() * 1000 / docs
			}
			open := func(doc stream.Doc) {
				f, err := s.Fill(h.ctx, doc, 0)
				if err == nil {
					good, _ := decodable(f.Records)
					_, err = yjs.Compact(withBase(f.Base, good)...)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				b.ReportMetric(h.stored(append(logStreams, foldStreams...)...)/docs, "bytes-before")
				b.ReportMetric(each(open), "open-before-cpu-ms")
				b.ReportMetric(each(func(doc stream.Doc) { mustFold(b, s, doc) }), "fold-cpu-ms")
				b.ReportMetric(each(open), "open-after-cpu-ms")
				b.ReportMetric(h.stored(append(logStreams, foldStreams...)...)/docs, "bytes-after")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpuTime is the processor time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
