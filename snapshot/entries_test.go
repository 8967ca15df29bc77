package snapshot

import (
	"slices"
	"testing"
	"time"

	"yjet/stream"
)

// A slider over the history needs its stops spread over all of it, however long it is.
func TestEvenEntriesCoverEveryRecordOnceHoweverManyThereAre(t *testing.T) {
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for _, limit := range []int{1, 2, 7, 300} {
		for _, n := range []int{1, 2, limit, limit + 1, 2*limit + 1, 10*limit + 3} {
			g := grouper{Grouping: Grouping{Even: true}, limit: limit, stride: 1}
			for seq := n; seq > 0; seq-- {
				r := stream.Record{Seq: stream.Seq(seq), Time: start.Add(time.Duration(seq) * time.Hour), User: []string{"ann", "bob", "eve"}[seq%3]}
				if !g.add(&r, 10) {
					t.Fatalf("%d of %d records: the page is full", seq, n)
				}
			}
			if got := len(g.entries); got > limit || 2*got < min(n, limit) {
				t.Errorf("%d records, limit %d: %d entries", n, limit, got)
			}
			next := stream.Seq(n)
			for i, e := range g.entries {
				if e.Last != next || e.Records != int(e.Last-e.First+1) || e.Updates != e.Records || e.Bytes != 10*e.Records {
					t.Fatalf("%d records, limit %d: entry %d is %+v, want it to end at %d", n, limit, i, e, next)
				}
				if i < len(g.entries)-1 && e.Records != g.stride {
					t.Errorf("%d records, limit %d: entry %d has %d records, want %d", n, limit, i, e.Records, g.stride)
				}
				if want := min(e.Records, 3); len(e.Users) != want {
					t.Errorf("%d records, limit %d: entry %d names %q, want %d users", n, limit, i, e.Users, want)
				}
				if first := []string{"ann", "bob", "eve"}[e.First%3]; !slices.Contains(e.Users, first) || e.Users[0] != first {
					t.Errorf("%d records, limit %d: entry %d names %q, want %s of its first record in front", n, limit, i, e.Users, first)
				}
				if !e.From.Equal(start.Add(time.Duration(e.First)*time.Hour)) || !e.To.Equal(start.Add(time.Duration(e.Last)*time.Hour)) {
					t.Errorf("%d records, limit %d: entry %d is from %v to %v", n, limit, i, e.From, e.To)
				}
				next = e.First - 1
			}
			if next != 0 {
				t.Errorf("%d records, limit %d: the oldest %d are left out", n, limit, next)
			}
		}
	}
}
