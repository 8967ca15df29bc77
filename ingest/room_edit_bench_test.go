package ingest

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"yjet/auth"
	"yjet/internal/natstest"
	"yjet/internal/yjs"
	"yjet/stream"
)

// paper is a text that one author typed key by key, in about 260,000 updates: the recorded one beside the repository, or, without it,
// one made here.
func paper(b *testing.B) (updates [][]byte) {
	b.Helper()
	f, err := os.Open("../../shared/traces/automerge-paper.v1.gz")
	if errors.Is(err, os.ErrNotExist) {
		d := yjs.NewDocument(yjs.DocumentOptions{})
		r := rand.New(rand.NewPCG(1, 2))
		at, size := 0, 0
		for len(updates) < 260_000 {
			if r.IntN(30) == 0 {
				at = r.IntN(size + 1)
			}
			u, err := d.Edit(1, func(tx *yjs.Tx) error {
				if size > 0 && at < size && r.IntN(4) == 0 {
					size--
					return tx.Text("text").Delete(at, 1)
				}
				at, size = at+1, size+1
				return tx.Text("text").Insert(at-1, "x", nil)
			})
			if err != nil {
				b.Fatal(err)
			}
			updates = append(updates, u)
		}
		return updates
	}
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	for len(all) > 0 { // each update stands behind its length
		n, w := binary.Uvarint(all)
		updates = append(updates, all[w:w+int(n):w+int(n)])
		all = all[w+int(n):]
	}
	return updates
}

// BenchmarkPatchAppend is one PATCH over HTTP that appends a line to a document of 260,000 updates, on a store that syncs each record:
// with the room open, and cold, when the server has to load the document first. p99-ms is the slowest of a hundred.
func BenchmarkPatchAppend(b *testing.B) {
	w := join(b, natstest.Start(b), func(_ *Options, _ *auth.Options, c *stream.Config) { c.Durability = "disk" })
	updates := paper(b)
	entries := make([]stream.Entry, len(updates))
	for i, u := range updates {
		entries[i] = stream.Entry{User: "ada", Update: u}
	}
	done := make(chan error, 1)
	w.log.Writer("paper").Append(context.Background(), entries, func(_ []stream.Seq, err error) { done <- err })
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	d, err := yjs.OpenDocument(yjs.DocumentOptions{}, updates...)
	if err != nil {
		b.Fatal(err)
	}
	body := fmt.Sprintf(`{"ops":[{"type":"text","name":%q,"op":"append","text":"one more line\n"}]}`, d.Roots()[0].Name)
	if _, err := w.snap.Fold(context.Background(), "paper"); err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B, before func()) {
		var took []time.Duration
		for b.Loop() {
			b.StopTimer()
			before()
			b.StartTimer()
			began := time.Now()
			status, answer, _ := w.patch("paper", body)
			took = append(took, time.Since(began))
			if status != http.StatusOK {
				b.Fatalf("PATCH = %d %v", status, answer)
			}
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	}
	b.Run("open", func(b *testing.B) {
		c := w.open("/paper")
		defer c.drop()
		w.patch("paper", body)
		run(b, func() {})
	})
	b.Run("cold", func(b *testing.B) {
		run(b, func() {
			if r := w.srv.rooms.find("paper"); r != nil {
				w.srv.rooms.discard(r)
			}
		})
	})
}
