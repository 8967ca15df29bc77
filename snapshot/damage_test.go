package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yjet/internal/natstest"
	"yjet/stream"
)

// TestDamagedFilesAreNeverSilent damages one file of the store at a time, as a disk would: whatever becomes of it, each document is
// whole afterwards, or somebody says that it is not.
func TestDamagedFilesAreNeverSilent(t *testing.T) {
	cases := 24
	if long {
		cases = 200
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	original := filepath.Join(t.TempDir(), "store")
	want := damageStore(t, original)
	var files []string
	err := filepath.WalkDir(original, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil && info.Size() > 0 {
				files = append(files, strings.TrimPrefix(path, original))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make(map[string]int)
	for i := range cases {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		// Blocks are where the data is: two of three cases.
		file := files[rnd.IntN(len(files))]
		for rnd.IntN(3) > 0 && !strings.HasSuffix(file, ".blk") {
			file = files[rnd.IntN(len(files))]
		}
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, file)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		how := []string{"flipped bit", "torn", "emptied", "zeroed"}[rnd.IntN(4)]
		switch at := rnd.IntN(len(b)); how {
		case "flipped bit":
			b[at] ^= 1 << rnd.IntN(8)
		case "torn":
			b = b[:at]
		case "emptied":
			b = nil
		case "zeroed":
			clear(b[at:min(len(b), at+512)])
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if rnd.IntN(2) == 0 { // an unclean stop leaves no index
			filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.Name() == "index.db" {
					os.Remove(path)
				}
				return nil
			})
			how += ", no index"
		}
		what := fmt.Sprintf("case %d: %s of %s", i, how, file)
		began := time.Now()
		got := damagedStore(t, dir, want, what)
		if d := time.Since(began); d > 2*time.Second {
			t.Logf("%s took %v", what, d)
		}
		outcomes[got]++
		os.RemoveAll(dir)
	}
	t.Logf("%v", outcomes)
	if outcomes["told"] == 0 {
		t.Error("nothing was damaged: the test proves nothing")
	}
}

// damageStore fills a store with documents of all shapes and returns what each must hold.
func damageStore(t *testing.T, dir string) map[stream.Doc][]byte {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, natstest.StoreDir(dir))
	s := h.store(Options{CompactAfter: time.Hour})
	want := make(map[stream.Doc][]byte)
	for d := range 6 {
		a := h.author(stream.Doc(fmt.Sprintf("doc%d", d)), "ada")
		var updates [][]byte
		for range 30 {
			e := a.entry(strings.Repeat("word ", 1+d*7))
			updates = append(updates, e.Update)
			a.append(e)
		}
		if d == 4 {
			e := a.entry(strings.Repeat("chunks", 120<<10))
			updates = append(updates, e.Update)
			a.append(e)
		}
		if d%2 == 0 {
			mustFold(t, s, a.doc)
		}
		if d != 2 { // a tail
			for range 5 {
				e := a.entry("tail")
				updates = append(updates, e.Update)
				a.append(e)
			}
		}
		want[a.doc] = foldOf(t, updates...)
		// The minute that passes before a disk rots: marks are written.
		head, err := h.log.Head(h.ctx, a.doc)
		if err == nil {
			err = h.log.MarkShard(h.ctx, a.doc, head)
		}
		if err != nil {
			t.Fatal(err)
		}
		if d != 2 {
			s.Hint(a.doc, head, 1000, 1+d, true)
		}
	}
	if err := s.markHeads(h.ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(h.ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.log.Close(); err != nil {
		t.Fatal(err)
	}
	h.srv.Stop()
	return want
}

// damagedStore opens a damaged store and answers "whole" or "told"; silence is a failure.
func damagedStore(t *testing.T, dir string, want map[stream.Doc][]byte, what string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	srv := natstest.Start(t, natstest.Process, natstest.StoreDir(dir))
	defer srv.Stop()
	var logged bytes.Buffer
	lg := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))
	nc, bulk := srv.Connect(), srv.Connect()
	defer nc.Close()
	defer bulk.Close()
	log, err := stream.Open(ctx, nc, bulk, stream.Config{Embedded: true, Log: lg})
	if err != nil {
		return "told"
	}
	defer log.Close()
	s := New(log, Options{Log: lg})
	defer s.Close(ctx)
	told := false
	if err := s.checkHeads(ctx); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for doc, content := range want {
		f, err := s.Fill(ctx, doc, 0)
		if err != nil {
			told = true
			continue
		}
		good, bad := decodable(f.Records)
		got, err := compacted(f.Base, good)
		if err != nil {
			t.Errorf("%s: %q does not fold: %v", what, doc, err)
			continue
		}
		_, marked := s.Damaged(doc)
		whole := bytes.Equal(got, content)
		if _, err := s.VerifyDoc(ctx, doc); errors.Is(err, ErrVerify) {
			told = true
		}
		told = told || marked || bad > 0
		if !whole && !marked && bad == 0 && !strings.Contains(logged.String(), "lost its end") {
			t.Errorf("%s: %q has %d bytes, want %d, and nobody says so\n%s", what, doc, len(got), len(content), logged.String())
		}
	}
	if told || logged.Len() > 0 {
		return "told"
	}
	return "whole"
}
