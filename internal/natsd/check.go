package natsd

import (
	"context"
	"fmt"
	"time"

	"yjet/internal/blockfile"
)

// How long a start looks for broken messages in the store's files, some 500 MB a second, last written first: always, and when the
// process that had them open was killed, as it is when the server fills memory over a broken one.
const (
	lookTime      = time.Second
	lookTimeAfter = 15 * time.Second
)

// lookThrough puts flipped bits of the store right, and says what it found. The lock file holds a word while a server is running.
func (s *Server) lookThrough() error {
	killed := false
	if info, err := s.lock.Stat(); err == nil {
		killed = info.Size() > 0
	}
	if _, err := s.lock.WriteAt([]byte("running\n"), 0); err != nil {
		s.log.Warn("mark the store as open", "err", err) // a full disk can be read all the same
	}
	look := lookTime
	if killed {
		look = lookTimeAfter
	}
	start := time.Now()
	rep, err := blockfile.Check(context.Background(), s.opts.StoreDir, start.Add(look), func(f blockfile.Finding) {
		log := s.log.With("stream", f.Stream, "file", f.File, "offset", f.At, "after", f.Seq)
		switch f.Kind {
		case blockfile.Mended:
			log.Error("a message of the store was damaged and could be put right; nothing is lost, but the disk or the memory is failing")
		case blockfile.Fenced:
			log.Error("a message of the store is damaged and was taken out; `yjet verify` tells whose it was")
		case blockfile.Broken:
			log.Error("a message of the store is damaged; `yjet verify` tells whose it is")
		case blockfile.Finished:
			log.Info("an erased message was half overwritten when the machine stopped; it is wholly now")
		case blockfile.Torn:
			log.Info("the last write of the store was cut short and is dropped; nobody was told that it is saved")
		}
	})
	if err != nil {
		return fmt.Errorf("look through the store: %w", err)
	}
	s.log.Debug("looked through the store", "killed", killed, "files", rep.Files, "left", rep.Left, "messages", rep.Records, "bytes", rep.Bytes, "took", time.Since(start))
	return nil
}
