package natsd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/blockfile"
)

// The bytes of erased messages stay in block files that a running server has open. So each erasure is noted in a file beside the store,
// and the next start overwrites the noted messages before the server opens the files. A note is on disk before its messages are
// deleted: a crash can leave a note too many, never one too few.

// Erased names erased messages: those of a NATS filter, from one sequence to another, stored until At. Messages stored later on the same
// subjects are not included.
type Erased struct {
	Stream string    `json:"stream"`
	Filter string    `json:"filter"`
	First  uint64    `json:"first"`
	Last   uint64    `json:"last"`
	At     time.Time `json:"at"`
	Done   int       `json:"done,omitempty"` // index of the last block that has been overwritten; earlier blocks are done too
}

func (e *Erased) covers(m blockfile.Message) bool {
	return m.Seq >= e.First && m.Seq <= e.Last && m.Time <= e.At.UnixNano() && matches(e.Filter, m.Subject)
}

// matches reports whether a subject matches a NATS filter.
func matches(filter string, subject []byte) bool {
	for f := range strings.SplitSeq(filter, ".") {
		if f == ">" {
			return len(subject) > 0
		}
		token, rest, _ := bytes.Cut(subject, []byte("."))
		if len(token) == 0 || f != "*" && f != string(token) {
			return false
		}
		subject = rest
	}
	return len(subject) == 0
}

const (
	notesFile = "erased.json" // one Erased a line
	// wipeTime limits the overwriting at a start. The rest is logged, and left to the next start.
	wipeTime = 20 * time.Second
	// wipeTell is the interval of the log's progress lines during a long overwriting.
	wipeTell = 5 * time.Second
)

// NoteErased writes down that messages are about to be erased, so that the next start overwrites them. Where that fails the log says
// so, and the erasure goes on: EraseDead finds them without a note.
func (s *Server) NoteErased(list ...Erased) {
	s.notes.Lock()
	defer s.notes.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range list {
		enc.Encode(e)
	}
	if err := appendFile(filepath.Join(s.opts.StoreDir, notesFile), b.Bytes()); err != nil {
		s.log.Error("an erasure could not be noted, so the next start does not overwrite it; stop the server and run `yjet erase`", "err", err)
	}
}

func appendFile(path string, b []byte) error {
	_, statErr := os.Stat(path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && errors.Is(statErr, fs.ErrNotExist) {
		err = blockfile.SyncDir(filepath.Dir(path))
	}
	return err
}

// readNotes reads the notes. It skips a line that a crash cut short: the messages it names were not deleted yet.
func readNotes(dir string) (list []Erased, err error) {
	b, err := os.ReadFile(filepath.Join(dir, notesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for scan := bufio.NewScanner(bytes.NewReader(b)); scan.Scan(); {
		var e Erased
		if json.Unmarshal(scan.Bytes(), &e) == nil {
			list = append(list, e)
		}
	}
	return list, err
}

// writeNotes replaces the notes at once; none: the file goes.
func writeNotes(dir string, list []Erased) error {
	path := filepath.Join(dir, notesFile)
	if len(list) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return blockfile.SyncDir(dir)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range list {
		enc.Encode(e)
	}
	return blockfile.Replace(path, b.Bytes())
}

// wipeErased overwrites the noted messages. It logs failures, which do not keep the server from starting.
func (s *Server) wipeErased(limit time.Duration) {
	dir := s.opts.StoreDir
	notes, err := readNotes(dir)
	if err != nil {
		s.log.Error("the notes of erasures cannot be read; stop the server and run `yjet erase`", "err", err)
		return
	}
	if len(notes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	start := time.Now()
	var sum blockfile.Wiped
	var left []Erased
	byStream := map[string][]Erased{}
	for _, e := range notes {
		byStream[e.Stream] = append(byStream[e.Stream], e)
	}
	for stream, list := range byStream {
		after := list[0].Done
		for _, e := range list {
			after = min(after, e.Done)
		}
		w, err := blockfile.Wipe(ctx, dir, blockfile.WipeOptions{Stream: stream, After: after, Progress: s.tell(stream),
			Dead: func(m blockfile.Message) bool {
				return slices.ContainsFunc(list, func(e Erased) bool { return e.covers(m) })
			}})
		sum.Add(w)
		if err != nil {
			s.log.Error("erased messages are not overwritten; the next start tries again", "stream", stream, "err", err)
		}
		if err == nil && w.Left == 0 && w.Unread == 0 && w.Sealed == 0 {
			continue
		}
		for _, e := range list {
			if w.Unread == 0 && w.Sealed == 0 {
				e.Done = max(e.Done, w.Last)
			}
			left = append(left, e)
		}
	}
	if err := writeNotes(dir, left); err != nil {
		s.log.Error("write the notes of erasures", "err", err)
	}
	log := s.log.With("erasures", len(notes), "files", sum.Files, "messages", sum.Messages, "took", time.Since(start))
	switch {
	case sum.Left > 0:
		log.Warn("not everything that was erased is overwritten in the store's files; the next start goes on, and `yjet erase` does it at once", "files left", sum.Left)
	case sum.Unread > 0:
		log.Error("files of the store are damaged and may hold erased messages; run `yjet verify --repair`, then `yjet erase`", "damaged", sum.Unread)
	case sum.Sealed > 0:
		log.Error("files of the store are encrypted or compressed, so erased messages in them are not overwritten", "sealed", sum.Sealed)
	default:
		log.Info("overwrote erased messages in the store's files")
	}
}

// tell returns a progress function that logs now and then.
func (s *Server) tell(stream string) func(files, all int) {
	next := time.Now().Add(wipeTell)
	return func(files, all int) {
		if time.Now().After(next) {
			next = time.Now().Add(wipeTell)
			s.log.Info("overwriting erased messages", "stream", stream, "files", files, "of", all)
		}
	}
}

// EraseDead overwrites in the files of a stopped store every message that its streams do not have any more, whether a document was
// erased or a fold trimmed it. It starts a server to list the messages of the streams, and stops it before it overwrites anything.
// progress is called after each file. It fails where a server runs on the directory, a stream cannot be read to its end, or the file
// system fails; sum then counts the work done so far.
func EraseDead(ctx context.Context, o Options, progress func(stream string, files, all int)) (sum blockfile.Wiped, err error) {
	s, err := open(o)
	if err != nil {
		return sum, err
	}
	defer s.Stop()
	if err := s.start(); err != nil {
		return sum, err
	}
	streams, err := s.survey(ctx)
	if err != nil {
		return sum, err
	}
	s.shutdown()
	for _, v := range streams {
		w, err := blockfile.Wipe(ctx, s.opts.StoreDir, blockfile.WipeOptions{Stream: v.name, Dead: v.dead,
			Progress: func(files, all int) { progress(v.name, files, all) }})
		sum.Add(w)
		if err == nil && w.Left > 0 {
			err = context.Cause(ctx)
		}
		if err != nil {
			return sum, err
		}
	}
	if sum.Unread > 0 || sum.Sealed > 0 {
		return sum, nil // the notes stay
	}
	return sum, writeNotes(s.opts.StoreDir, nil)
}

// held lists the messages of a stream.
type held struct {
	name        string
	first, last uint64
	live        []span // ascending
}

type span struct{ from, to uint64 } // both have a message

// dead reports whether the stream no longer has a message of its files. It is false for messages after the stream's end.
func (v *held) dead(m blockfile.Message) bool {
	i := sort.Search(len(v.live), func(i int) bool { return v.live[i].to >= m.Seq })
	return m.Seq <= v.last && (i == len(v.live) || m.Seq < v.live[i].from)
}

// survey lists the messages of every stream on disk. A stream with unreadable messages is an error: those must not be taken for dead.
func (s *Server) survey(ctx context.Context) (list []*held, err error) {
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	infos := js.ListStreams(ctx)
	for info := range infos.Info() {
		if info.Config.Storage != jetstream.FileStorage {
			continue
		}
		v := &held{name: info.Config.Name, first: info.State.FirstSeq, last: info.State.LastSeq}
		if info.State.Msgs > 0 {
			if err := v.read(ctx, js, info.State.Msgs); err != nil {
				return nil, fmt.Errorf("read %s: %w", v.name, err)
			}
		}
		list = append(list, v)
	}
	return list, infos.Err()
}

// read collects the sequences of a stream that has n messages.
func (v *held) read(ctx context.Context, js jetstream.JetStream, n uint64) error {
	c, err := js.OrderedConsumer(ctx, v.name, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return err
	}
	msgs, err := c.Messages(jetstream.PullMaxMessages(10000), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		return err
	}
	defer msgs.Stop()
	got := uint64(0)
	for got < n {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		m, err := msgs.Next(jetstream.NextMaxWait(10 * time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			break
		} else if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		seq := meta.Sequence.Stream
		if got++; len(v.live) > 0 && v.live[len(v.live)-1].to+1 == seq {
			v.live[len(v.live)-1].to = seq
		} else {
			v.live = append(v.live, span{seq, seq})
		}
		if meta.NumPending == 0 {
			break
		}
	}
	if got != n {
		return fmt.Errorf("%d of %d messages can be read; `yjet verify` names the damage", got, n)
	}
	return nil
}
