package natsd

import (
	"context"
	"fmt"
	"io"
	"time"

	"yjet/internal/blockfile"
)

const (
	// fenceTime limits the search for damage that would fill the server's memory. It goes from the newest file to the oldest, and covers
	// 1 GB or more where the files are in the page cache.
	fenceTime = time.Second
	// fenceAll is the number of consecutive kills after which a start searches all files.
	fenceAll = 3
)

// fence looks for damage that would fill the server's memory, which kills the process. The lock file is empty after a clean stop, and
// counts the starts since then otherwise.
func (s *Server) fence() error {
	content, err := io.ReadAll(io.NewSectionReader(s.lock, 0, 100))
	if err != nil {
		return fmt.Errorf("read %s: %w", s.lock.Name(), err)
	}
	kills := 0
	if len(content) > 0 {
		kills = 1
		fmt.Sscanf(string(content), "running %d", &kills)
	}
	if _, err := s.lock.WriteAt(fmt.Appendf(nil, "running %d\n", kills+1), 0); err != nil {
		s.log.Warn("mark the store as open", "err", err) // a full disk can be read all the same
	}
	ctx, cancel := context.WithCancel(context.Background())
	if kills < fenceAll {
		ctx, cancel = context.WithTimeout(ctx, fenceTime)
	}
	defer cancel()
	start := time.Now()
	rep, err := blockfile.Fence(ctx, s.opts.StoreDir, func(f blockfile.Finding) {
		log := s.log.With("stream", f.Stream, "file", f.File, "offset", f.At, "after", f.Seq)
		switch f.Kind {
		case blockfile.Fenced:
			log.Error("a message of the store is damaged and was taken out: it would have filled memory; `yjet verify` names its document")
		case blockfile.Broken:
			log.Error("a file of the store is damaged, and NATS drops what follows there; `yjet verify --repair` corrects single flipped bits, but only before NATS opens the file")
		case blockfile.Torn:
			log.Info("the last write of the store was cut short and is dropped; it was not acknowledged")
		}
	})
	if err != nil {
		return fmt.Errorf("look into the store: %w", err)
	}
	log := s.log.Debug
	if kills > 0 {
		log = s.log.Info
	}
	log("looked for damage that fills memory", "unclean stops", kills, "files", rep.Files, "left", rep.Left,
		"messages", rep.Records, "bytes", rep.Bytes, "took", time.Since(start))
	return nil
}

// Finding is a broken record in the store's files.
type Finding = blockfile.Finding

// Check compares every message of a stopped store with its checksum; with repair it corrects single flipped bits. found is called for each
// broken record. An error: a server runs on the directory, or the file system failed.
func Check(ctx context.Context, dir string, repair bool, found func(Finding)) (blockfile.Report, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return blockfile.Report{}, err
	}
	defer lock.Close()
	return blockfile.Check(ctx, dir, repair, found)
}
