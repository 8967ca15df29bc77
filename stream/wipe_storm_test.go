package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"yjet/internal/blockfile"
	"yjet/internal/natstest"
)

// stormPiece is something that was stored: what it says is in its first bytes, and all of it follows from them.
type stormPiece struct{ doc, life, n, size int }

const stormMark = "SECRET-"

func (p stormPiece) text() string {
	return fmt.Sprintf("%s%d-%d-%d-%d;", stormMark, p.doc, p.life, p.n, p.size)
}

func (p stormPiece) bytes() []byte {
	b := []byte(p.text())
	var seed [32]byte
	copy(seed[:], b)
	random := rand.NewChaCha8(seed)
	for len(b) < p.size {
		b = binary.LittleEndian.AppendUint64(b, random.Uint64())
	}
	return append(b, p.text()...)
}

func parseStorm(b []byte) (p stormPiece, ok bool) {
	text, _, ok := bytes.Cut(b[:min(len(b), 80)], []byte(";"))
	if !ok {
		return p, false
	}
	n, err := fmt.Sscanf(string(text), stormMark+"%d-%d-%d-%d", &p.doc, &p.life, &p.n, &p.size)
	return p, n == 4 && err == nil
}

type stormPlace struct {
	stream string
	seq    Seq
}

type stormLife struct{ doc, life int }

type stormDoc struct {
	i     int
	name  Doc
	using sync.RWMutex // held for writing by who needs that nothing of the document is on its way
	erase sync.Mutex
	kinds sync.Mutex // held by who stores what is one of a kind

	mu      sync.Mutex
	life, n int
	erasing bool // what is acknowledged now may be there or not
	live    map[stormPlace]stormPiece
	subject map[string]stormPlace // of what is one of a kind
	logs    []Seq
}

// storm is the model beside the store.
type storm struct {
	t    *testing.T
	srv  *natstest.Server
	l    *Log
	docs []*stormDoc
	gate sync.RWMutex // held for writing while nothing may change

	restarts atomic.Int64 // begun or ended

	mu   sync.Mutex
	gone map[stormLife]bool // of which there must be nothing in any file
	did  map[string]int
}

func (s *storm) note(what string) {
	s.mu.Lock()
	s.did[what]++
	s.mu.Unlock()
}

func (d *stormDoc) next(size int) stormPiece {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	return stormPiece{d.i, d.life, d.n, size}
}

// drop notes that what a subject holds is about to go.
func (d *stormDoc) drop(subject string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.live, d.subject[subject])
	delete(d.subject, subject)
}

// stored notes what was acknowledged, on a subject that holds one message if that is given.
func (d *stormDoc) stored(at stormPlace, subject string, p stormPiece) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if subject != "" {
		d.subject[subject] = at
	} else {
		d.logs = append(d.logs, at.seq)
	}
	if !d.erasing && p.life == d.life {
		d.live[at] = p
	}
}

func stormSize() int {
	switch rand.IntN(10) {
	case 0:
		return rand.IntN(300 << 10)
	case 1, 2:
		return rand.IntN(40 << 10)
	default:
		return rand.IntN(2000)
	}
}

// work does one thing to a document.
func (s *storm) work(ctx context.Context) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	d := s.docs[rand.IntN(len(s.docs))]
	token := d.name.Token()
	switch x := rand.IntN(100); {
	case x < 70:
		d.using.RLock()
		defer d.using.RUnlock()
		w := s.l.Writer(d.name)
		var pieces []stormPiece
		var entries []Entry
		for range 1 + rand.IntN(4) {
			p := d.next(stormSize())
			pieces = append(pieces, p)
			entries = append(entries, Entry{Update: p.bytes(), User: p.text()})
		}
		seqs, err := appendAll(ctx, w, entries...)
		if err != nil {
			return err
		}
		for i, seq := range seqs {
			d.stored(stormPlace{w.shard.stream, seq}, "", pieces[i])
		}
		s.note("append")
	case x < 82:
		d.using.RLock()
		defer d.using.RUnlock()
		d.kinds.Lock()
		defer d.kinds.Unlock()
		p := d.next(stormSize())
		subject := s.l.ChunkSubject(d.name, "ATTEMPT"+string(rune('A'+rand.IntN(3))), rand.IntN(3))
		if rand.IntN(3) == 0 {
			subject = s.l.SegmentSubject(d.name, Seq(rand.IntN(4)), 9, "ATTEMPT0")
		}
		d.drop(subject)
		if rand.IntN(4) == 0 {
			if err := s.l.RemoveBlob(ctx, subject); err != nil {
				return err
			}
		}
		seq, err := s.l.PutBlob(ctx, subject, Blob{Data: p.bytes(), Header: map[string]string{"Yjet-Of": p.text()}})
		if err != nil {
			return err
		}
		d.stored(stormPlace{streamOf(subject), seq}, subject, p)
		s.note("blob")
	case x < 85:
		d.using.RLock()
		defer d.using.RUnlock()
		d.kinds.Lock()
		defer d.kinds.Unlock()
		p := d.next(rand.IntN(200))
		key := fmt.Sprintf("version.%s.v%d", token, rand.IntN(3))
		d.drop(key)
		seq, err := s.l.MetaPut(ctx, key, p.bytes(), nil)
		if err != nil {
			return err
		}
		d.stored(stormPlace{metaStream, Seq(seq)}, key, p)
		s.note("version")
	case d.i < 3 && rand.IntN(30) > 0: // these grow, so that there are files that NATS does not write anew
	case x < 94 || d.i < 3:
		return s.trim(ctx, d)
	default:
		return s.eraseDoc(ctx, d)
	}
	return nil
}

func (s *storm) trim(ctx context.Context, d *stormDoc) error {
	d.using.Lock()
	defer d.using.Unlock()
	d.mu.Lock()
	logs := d.logs
	if len(logs) < 3 {
		d.mu.Unlock()
		return nil
	}
	stream := s.l.shardOf(d.name.Token()).stream
	if rand.IntN(4) == 0 { // one of the middle
		seq := logs[rand.IntN(len(logs))]
		delete(d.live, stormPlace{stream, seq})
		d.mu.Unlock()
		s.note("remove")
		if err := s.l.Remove(ctx, d.name, seq); err != nil { // the server is restarted: it is for the caller to try again
			s.note("remove failed")
		}
		return nil
	}
	keep := logs[rand.IntN(len(logs))]
	for at := range d.live {
		if at.stream == stream && at.seq < keep {
			delete(d.live, at)
		}
	}
	d.mu.Unlock()
	s.note("trim")
	return s.l.Trim(ctx, d.name, keep)
}

// eraseDoc erases once while others store, sometimes, and then while nobody does.
func (s *storm) eraseDoc(ctx context.Context, d *stormDoc) error {
	d.erase.Lock()
	defer d.erase.Unlock()
	begin := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.erasing = true
		clear(d.live)
		clear(d.subject)
		d.logs = nil
		return d.life
	}
	remove := func() error {
		if err := s.l.MetaPurge(ctx, "version."+d.name.Token()+"."); err != nil {
			return err
		}
		return s.l.Erase(ctx, d.name)
	}
	if rand.IntN(2) == 0 {
		begin()
		if err := remove(); err != nil {
			return err
		}
		s.note("erase beside others")
	}
	d.using.Lock()
	defer d.using.Unlock()
	life := begin()
	for try := 0; try < 10 && ctx.Err() == nil; try++ {
		restarts := s.restarts.Load()
		if err := remove(); err != nil {
			return err
		}
		docs, _, err := s.l.Wipe(ctx, d.name)
		if len(docs) == 0 {
			s.note("wipe failed")
			s.t.Logf("wipe of %q: %v", d.name, err)
			pause(ctx, 200*time.Millisecond)
			continue
		}
		// A purge that meets a server that is stopping is not in the index, which is as good as lost, and what it took out can be back. Wipe
		// then takes it for new.
		left, err := s.live(ctx, d)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			s.mu.Lock()
			s.gone[stormLife{d.i, life}] = true
			s.mu.Unlock()
			s.note("erase")
			break
		}
		if s.note("erased and back after a restart"); restarts == s.restarts.Load() {
			s.t.Errorf("life %d of %q was erased, and there is %q", life, d.name, left)
		}
	}
	d.mu.Lock()
	d.erasing = false
	d.life++
	d.mu.Unlock()
	return nil
}

// live are the subjects of a document that have something.
func (s *storm) live(ctx context.Context, d *stormDoc) (list []string, err error) {
	token := d.name.Token()
	for _, k := range s.l.shardOf(token).kinds() {
		for _, f := range k.filters(token) {
			found, err := s.l.subjects(ctx, k.stream, f)
			if err != nil {
				return nil, err
			}
			list = slices.AppendSeq(list, maps.Keys(found))
		}
	}
	return list, nil
}

// stormFiles are the lives of which there is something in the files of a directory, each with one of the files.
func stormFiles(t testing.TB, dir string) map[stormLife]string {
	found := map[stormLife]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		var b []byte
		if err == nil && !e.IsDir() {
			b, err = os.ReadFile(path)
		}
		for ok := true; ok; {
			if _, b, ok = bytes.Cut(b, []byte(stormMark)); ok {
				var l stormLife
				if n, _ := fmt.Sscanf(string(b[:min(len(b), 40)]), "%d-%d-", &l.doc, &l.life); n == 2 {
					found[l] = path
				}
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

func (s *storm) lives() map[stormLife]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.gone)
}

// scan looks that nothing is left of lives that are gone.
func (s *storm) scan(t testing.TB, dir string, gone map[stormLife]bool) {
	t.Helper()
	found := stormFiles(t, dir)
	for life := range gone {
		if path, ok := found[life]; ok {
			t.Errorf("life %d of %q was wiped, and is in %s", life.life, s.docs[life.doc].name, path)
		}
	}
	s.note("scan")
}

// must is what has to be in the store, if nothing is on its way.
func (s *storm) must() map[stormPlace]stormPiece {
	all := map[stormPlace]stormPiece{}
	for _, d := range s.docs {
		d.mu.Lock()
		maps.Copy(all, d.live)
		d.mu.Unlock()
	}
	return all
}

// compare reads all that the store has: nothing may be missing, and nothing may be other than it was stored.
func (s *storm) compare(t testing.TB, l *Log, must map[stormPlace]stormPiece, gone map[stormLife]bool) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	left := maps.Clone(must)
	streams := []string{metaStream}
	for i := range l.shards {
		streams = append(streams, l.shards[i].stream, streamName(kindSnap, i), streamName(kindHist, i))
	}
	back := 0
	for _, stream := range streams {
		for at := Seq(0); ; {
			m, ok, err := l.leaderGet(ctx, stream, getRequest{Seq: at + 1, NextFor: ">"})
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			at = m.seq
			p, isPiece := parseStorm(m.data)
			want, isLive := left[stormPlace{stream, at}]
			switch {
			case isLive && p != want, isPiece && !bytes.Equal(m.data, p.bytes()):
				t.Errorf("%s %d on %s is %.60q, want %v", stream, at, m.subject, m.data, want)
			case isPiece && gone[stormLife{p.doc, p.life}]:
				t.Errorf("%s %d on %s is back: %v", stream, at, m.subject, p)
			case isPiece && !isLive:
				back++
			case !isPiece && stream != metaStream && !strings.HasSuffix(m.subject, filler):
				t.Errorf("%s %d on %s is %.60q: nobody stored that", stream, at, m.subject, m.data)
			}
			delete(left, stormPlace{stream, at})
		}
	}
	shown := 0
	for at, p := range left {
		if shown++; shown < 5 {
			t.Errorf("lost: %s %d, %v", at.stream, at.seq, p)
		}
	}
	if len(left) > 0 {
		t.Errorf("%d of %d are lost", len(left), len(must))
	}
	t.Logf("%d are there, and %d that were deleted", len(must)-len(left), back)
}

// copyStore copies what a kill would leave: for each directory the list of its files is made first, so that none but the last block of a
// stream is cut short, and its index is older than its blocks.
func copyStore(t testing.TB, from, to string) {
	list, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	one := func(e fs.DirEntry) {
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range list {
		if e.Name() == "index.db" {
			one(e)
		}
	}
	for _, e := range list {
		if e.IsDir() {
			copyStore(t, filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		} else if e.Name() != "index.db" {
			one(e)
		}
	}
}

func removeIndexes(t testing.TB, dir string) {
	list, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// killed starts a second server on a copy of what the first has at the moment.
func (s *storm) killed(t *testing.T, index bool) {
	dir := t.TempDir()
	gone, before := s.lives(), s.must()
	copyStore(t, s.srv.Dir(), dir)
	after := s.must()
	maps.DeleteFunc(before, func(at stormPlace, p stormPiece) bool { return after[at] != p })
	if !index {
		removeIndexes(t, dir)
	}
	if _, err := blockfile.Check(t.Context(), dir, time.Now().Add(time.Minute), func(f blockfile.Finding) {
		s.note("check: " + f.Kind.String())
		if f.Kind == blockfile.Broken || f.Kind == blockfile.Fenced {
			t.Errorf("%s: %s at %d", f.File, f.Kind, f.At)
		}
	}); err != nil {
		t.Fatal(err)
	}
	s.scan(t, dir, gone)
	srv := natstest.Start(t, natstest.Process, natstest.StoreDir(dir))
	l := openOn(t, srv, Config{Wiper: srv.Wipe})
	s.compare(t, l, before, gone)
	var names []Doc
	for _, d := range s.docs {
		names = append(names, d.name)
	}
	if _, _, err := l.Wipe(within(t, time.Minute), names...); err != nil {
		t.Errorf("Wipe after a kill: %v", err)
	}
	srv.Restart()
	s.compare(t, l, before, gone)
	s.note(fmt.Sprintf("kill, with its index %v", index))
}

// TestWipeStorm stores, trims, erases and wipes at random, while the server is stopped and started, or killed: nothing that is alive is
// lost or changed, and of what was wiped there is nothing in any file.
func TestWipeStorm(t *testing.T) {
	if os.Getenv("YJET_LONG") != "1" {
		t.Skip("takes minutes: set YJET_LONG=1")
	}
	long, err := time.ParseDuration(os.Getenv("YJET_STORM"))
	if err != nil {
		long = 3 * time.Minute
	}
	srv := natstest.Start(t, natstest.Process, natstest.StoreDir(t.TempDir()))
	s := &storm{t: t, srv: srv, gone: map[stormLife]bool{}, did: map[string]int{}}
	s.l = openOn(t, srv, Config{Shards: 1 + rand.IntN(2), Wiper: srv.Wipe})
	for i := range 12 {
		s.docs = append(s.docs, &stormDoc{i: i, name: docName(i), life: 1, live: map[stormPlace]stormPiece{}, subject: map[string]stormPlace{}})
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	loop := func(rest time.Duration, f func(ctx context.Context) error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				one, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
				if err := f(one); err != nil {
					t.Errorf("storm: %v", err)
					stop()
				}
				cancel()
				pause(ctx, time.Duration(rand.Int64N(int64(rest))))
			}
		})
	}
	for range 6 {
		loop(60*time.Millisecond, s.work)
	}
	loop(500*time.Millisecond, func(ctx context.Context) error { // also while the server starts or stops, and whatever comes of it
		var names []Doc
		for _, d := range s.docs {
			if rand.IntN(3) == 0 {
				names = append(names, d.name)
			}
		}
		ctx, cancel := context.WithTimeout(ctx, time.Duration(rand.Int64N(int64(3*time.Second))))
		defer cancel()
		s.l.Wipe(ctx, names...)
		s.note("wipe")
		return nil
	})
	loop(2*time.Second, func(context.Context) error {
		s.scan(t, srv.Dir(), s.lives())
		return nil
	})
	for end := time.Now().Add(long); time.Now().Before(end) && ctx.Err() == nil && !t.Failed(); {
		pause(ctx, time.Duration(1+rand.IntN(8))*time.Second)
		switch x := rand.IntN(6); x {
		case 0, 1:
			t.Run("kill", func(t *testing.T) { s.killed(t, x == 0) })
		case 2: // under way
			s.restarts.Add(1)
			srv.Restart()
			s.restarts.Add(1)
			s.note("restart under way")
		case 3: // under way
			s.restarts.Add(1)
			srv.Stop()
			pause(ctx, time.Second)
			srv.Restart()
			s.restarts.Add(1)
			s.note("restart under way, after a second")
		default:
			s.gate.Lock()
			must := s.must()
			srv.Stop()
			if x == 4 {
				removeIndexes(t, srv.Dir())
			}
			srv.Restart()
			s.compare(t, s.l, must, s.lives())
			s.scan(t, srv.Dir(), s.lives())
			s.note(fmt.Sprintf("restart, with its index %v", x != 4))
			s.gate.Unlock()
		}
	}
	stop()
	wg.Wait()
	s.compare(t, s.l, s.must(), s.lives())
	s.scan(t, srv.Dir(), s.lives())
	blocks, _ := filepath.Glob(filepath.Join(srv.Dir(), "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	t.Logf("wiped %d lives, left %d files; %v", len(s.gone), len(blocks), s.did)
}
