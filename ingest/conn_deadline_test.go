package ingest

import (
	"strings"
	"testing"
	"time"
)

// A client that once could not take a large frame at once has a deadline on its socket. The deadline must not end it later, when it takes everything.
func TestReaderOfALargeFrameStays(t *testing.T) {
	const wait = 300 * time.Millisecond
	w := start(t, limits(func(l *Limits) { l.WriteWait, l.ByteBurst = wait, 64<<20 }))
	a, b := w.open("/stays"), w.open("/stays")
	large := strings.Repeat("x", 12<<20)
	a.send(edit(insert(1, 0, large)))
	for _, c := range []*client{b, a} {
		c.waitFor(time.Minute, "the large frame", func() bool { return c.state().Structs().Prefix(1) >= uint64(len(large)) })
	}
	time.Sleep(2 * wait)
	for i := range 3 {
		a.send(edit(insert(1, uint64(len(large)+i), "y")))
		b.has(1, uint64(len(large)+i+1))
		a.has(1, uint64(len(large)+i+1))
	}
}
