package snapshot

import (
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"yjet/internal/natstest"
	"yjet/stream"
)

// The traces lie beside the repository; without them the benchmarks are skipped.
const tracesDir = "../../shared/traces"

// paper is a LaTeX paper that one author typed key by key, 259,778 updates.
func paper(b *testing.B) [][]byte {
	return readTrace(b, filepath.Join(tracesDir, "automerge-paper.v1.gz"))
}

// paperState is the size of encodeStateAsUpdate of the paper, by yjs.
const paperState = 311_038

func types(b *testing.B, a *author, updates [][]byte) []stream.Seq {
	b.Helper()
	entries := make([]stream.Entry, len(updates))
	for i, u := range updates {
		entries[i] = stream.Entry{User: "ada", Conn: "7f3a9c1e", Update: u}
	}
	return a.append(entries...)
}

// stored asks NATS for the bytes of the streams.
func (h *house) stored(streams ...string) (bytes float64) {
	h.t.Helper()
	nc := h.srv.Connect()
	defer nc.Close()
	for _, name := range streams {
		m, err := nc.Request("$JS.API.STREAM.INFO."+name, nil, 5*time.Second)
		if err != nil {
			h.t.Fatal(err)
		}
		var info struct{ State struct{ Bytes float64 } }
		if err := json.Unmarshal(m.Data, &info); err != nil {
			h.t.Fatal(err)
		}
		bytes += info.State.Bytes
	}
	return bytes
}

func onDisk(b *testing.B, dir string) (bytes int64) {
	b.Helper()
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}

var logStreams, foldStreams = []string{"YDOC_00", "YDOC_01"}, []string{"YSNAP_00", "YSNAP_01", "YHIST_00", "YHIST_01"}

// BenchmarkColdOpen reads the folded paper as a room does that opens.
func BenchmarkColdOpen(b *testing.B) {
	updates := paper(b)
	h := newHouse(b)
	s := h.store(Options{})
	a := h.author("paper", "ada")
	types(b, a, updates)
	mustFold(b, s, a.doc)
	var f stream.Filled
	for b.Loop() {
		var err error
		if f, err = s.Fill(h.ctx, a.doc, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(f.Base)), "wire-bytes")
	b.ReportMetric(float64(len(f.Base))/paperState, "×yjs-state")
}

// BenchmarkOpenLog reads 10,000 records that were never folded, and folds them for the first joiner.
func BenchmarkOpenLog(b *testing.B) {
	updates := paper(b)[:10_000]
	h := newHouse(b)
	s := h.store(Options{})
	a := h.author("log", "ada")
	types(b, a, updates)
	for b.Loop() {
		f, err := s.Fill(h.ctx, a.doc, 0)
		if err != nil {
			b.Fatal(err)
		}
		good, _ := decodable(f.Records)
		if _, err := compacted(f.Base, good); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMoment makes the paper as it was after a random key, out of its packed history.
func BenchmarkMoment(b *testing.B) {
	updates := paper(b)
	h := newHouse(b)
	s := h.store(Options{})
	a := h.author("paper", "ada")
	seqs := types(b, a, updates)
	mustFold(b, s, a.doc)
	rnd := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		if _, err := s.At(h.ctx, a.doc, Moment{Seq: seqs[rnd.IntN(len(seqs))]}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFold folds the whole paper out of its log.
func BenchmarkFold(b *testing.B) {
	updates := paper(b)
	h := newHouse(b)
	s := h.store(Options{})
	for b.Loop() {
		b.StopTimer()
		a := h.author(stream.Doc(time.Now().Format("150405.000000000")), "ada")
		types(b, a, updates)
		b.StartTimer()
		mustFold(b, s, a.doc)
	}
}

// BenchmarkStored reports what a keystroke of the paper takes: in the log, after one fold, and typed in visits of 200 keys with a fold
// after each. A visit is folded by compaction of what it brought; run it with -benchtime 1x.
func BenchmarkStored(b *testing.B) {
	updates := paper(b)
	b.Run("in-one-go", func(b *testing.B) {
		for b.Loop() {
			h := newHouse(b)
			s := h.store(Options{})
			a := h.author("paper", "ada")
			types(b, a, updates)
			log := h.stored(logStreams...)
			mustFold(b, s, a.doc)
			packed := h.stored(append(foldStreams, logStreams...)...)
			b.ReportMetric(log/float64(len(updates)), "log-B/key")
			b.ReportMetric(packed/float64(len(updates)), "packed-B/key")
		}
	})
	b.Run("visits", func(b *testing.B) {
		updates := updates
		if testing.Short() {
			updates = updates[:40_000]
		}
		for b.Loop() {
			dir := b.TempDir()
			h := newHouse(b, natstest.StoreDir(dir))
			s := h.store(Options{})
			a := h.author("paper", "ada")
			n := 0
			for at := 0; at < len(updates); at += 200 {
				types(b, a, updates[at:min(at+200, len(updates))])
				mustFold(b, s, a.doc)
				n++
			}
			head, _, err := s.snapHead(h.ctx, a.doc)
			if err != nil {
				b.Fatal(err)
			}
			packed := h.stored(append(foldStreams, logStreams...)...)
			b.ReportMetric(packed/float64(len(updates)), "packed-B/key")
			b.ReportMetric(float64(onDisk(b, dir))/float64(len(updates)), "disk-B/key")
			b.ReportMetric(float64(len(head.info.History)), "segments")
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(n), "ms/visit")
		}
	})
}

// BenchmarkAuthors tells who wrote the paper, and what of it was written since its first key.
func BenchmarkAuthors(b *testing.B) {
	updates := paper(b)
	h := newHouse(b)
	s := h.store(Options{})
	a := h.author("paper", "ada")
	seqs := types(b, a, updates)
	mustFold(b, s, a.doc)
	b.Run("authors", func(b *testing.B) {
		for b.Loop() {
			if _, runs, err := s.Authors(h.ctx, a.doc, "text", Moment{}); err != nil || len(runs["text"]) != 1 {
				b.Fatal(err, len(runs["text"]))
			}
		}
	})
	b.Run("diff", func(b *testing.B) {
		for b.Loop() {
			if d, err := s.Diff(h.ctx, a.doc, Moment{Seq: seqs[0]}, Moment{}); err != nil || len(d.Types) != 1 {
				b.Fatal(err, len(d.Types))
			}
		}
	})
}

// BenchmarkSegment packs and unpacks the paper's records.
func BenchmarkSegment(b *testing.B) {
	updates := paper(b)
	recs := make([]stream.Record, len(updates))
	for i, u := range updates {
		at := time.UnixMilli(1_700_000_000_000 + int64(i)*180)
		recs[i] = stream.Record{Seq: stream.Seq(i + 1), Time: at, Stored: at, User: "ada", Conn: "7f3a9c1e", Merged: 1,
			Sum: stream.Sum{Writer: 1, N: uint64(i + 1)}, Update: u}
	}
	c, err := newCodec()
	if err != nil {
		b.Fatal(err)
	}
	packed := c.pack(recs)
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			packed = c.pack(recs)
		}
		b.ReportMetric(float64(len(packed))/float64(len(recs)), "B/key")
	})
	b.Run("unpack", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := c.unpack(packed, true); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := c.unpack(packed, false); err != nil {
				b.Fatal(err)
			}
		}
	})
}
