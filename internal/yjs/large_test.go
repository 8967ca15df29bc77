package yjs

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// largest is a document in an honest document's worst shape, divided by a scale: 100,000 clients, a million delete ranges,
// 10,000 roots, and text up to some 50 MB.
func largest(scale int) []byte {
	var e encoder
	clients, roots, ranges, size := 100_000/scale, 10_000/scale, 1_000_000/scale, 50<<20/scale
	// What is left of the size is text in four structs of each client: clients do not know of each other's, so they are not one.
	fill := strings.Repeat("x", max(0, size-ranges*4-clients*90)/clients/4)
	for c := clients; c > 0; c-- {
		e.begin(uint64(c))
		s := text(uint64(c), 0, "0123456789abcdefghijk") // each second unit of 20 is deleted
		if c <= roots {
			s.Root = fmt.Append(nil, "root", c)
		} else {
			s = s.after(uint64(c-roots), 20)
		}
		e.add(&s)
		for clock, k := s.End(), 0; k < 4; k++ {
			rest := text(uint64(c), clock, fill).after(uint64(c), 20)
			e.add(&rest)
			clock = rest.End()
		}
		e.end()
	}
	dels := AppendUvarint(nil, uint64(clients))
	for c := clients; c > 0; c-- {
		dels = AppendUvarint(AppendUvarint(dels, uint64(c)), uint64(ranges/clients))
		for i := range uint64(ranges / clients) {
			dels = append(AppendUvarint(dels, 2*i), 1)
		}
	}
	return e.finish(nil, dels)
}

// What the largest honest documents cost the server is a multiple of their bytes, which the door bounds. The figures count all
// that is allocated, garbage included. With YJET_LONG=1 the document is ten times as large: 47 MB.
func TestTheLargestDocumentsTakeBoundedMemory(t *testing.T) {
	scale := 10
	if os.Getenv("YJET_LONG") != "" {
		scale = 1
	}
	u := largest(scale)
	t.Logf("%d bytes", len(u))
	var update Update
	var state State
	var compact []byte
	var document *Document
	for _, c := range []struct {
		name string
		most int // times its bytes that are allocated
		do   func() error
	}{
		{"parse", 5, func() error { return update.Parse(u, Limits{}) }},
		{"admit", 2, func() error { return state.Admit(&update, DocumentLimits{}) }},
		{"add", 3, func() error { state.Add(&update); return nil }},
		{"compact", 12, func() (err error) { compact, err = Compact(u); return err }},
		{"open", 30, func() (err error) {
			document, err = OpenDocument(DocumentOptions{}, compact)
			return err
		}},
	} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		total := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %v, %d MB allocated", c.name, took.Round(time.Millisecond), total>>20)
		if total > uint64(c.most*len(u)) {
			t.Errorf("%s: %d bytes for %d, more than %d times", c.name, total, len(u), c.most)
		}
	}
	if got, _, _ := document.Text("root1", KindText, nil); len(got) == 0 {
		t.Error("the first root is empty")
	}
}
