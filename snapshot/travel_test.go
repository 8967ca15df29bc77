package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"yjet/stream"
)

// sameContent compares two updates by what they hold: each contains the other.
func sameContent(t testing.TB, got, want []byte) bool {
	t.Helper()
	a, err := compacted(nil, [][]byte{got})
	if err != nil {
		t.Fatal(err)
	}
	b, err := compacted(nil, [][]byte{want})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(a, b)
}

// TestEveryMomentIsTheFoldOfItsPrefix is the promise of time travel, before and after folds, crashes and repacking.
func TestEveryMomentIsTheFoldOfItsPrefix(t *testing.T) {
	rounds := 12
	if long {
		rounds = 200
	}
	h := newHouse(t)
	s := h.store(Options{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	doc := stream.Doc("travel")
	people := []*author{h.author(doc, "ada"), h.author(doc, "bob"), h.author(doc, "")}
	other := h.author("neighbour", "eve")
	var seqs []stream.Seq
	var updates [][]byte
	for round := range rounds {
		for range rnd.IntN(120) {
			if rnd.IntN(4) == 0 {
				other.types("x") // the shard's sequences are shared
			}
			a := people[rnd.IntN(len(people))]
			var e stream.Entry
			if a.clock > 4 && rnd.IntN(5) == 0 {
				e = stream.Entry{User: a.user, Update: deletion(a.client, rnd.Uint64N(a.clock-2), 1+rnd.Uint64N(2))}
			} else {
				e = a.entry("abcdefgh"[:1+rnd.IntN(8)])
			}
			seqs = append(seqs, a.append(e)[0])
			updates = append(updates, e.Update)
		}
		if rnd.IntN(3) > 0 {
			if rnd.IntN(3) == 0 {
				step := steps[rnd.IntN(len(steps))]
				s.failpoint = func(_ stream.Doc, at string) error {
					if at == step {
						return errCrash
					}
					return nil
				}
			}
			if _, err := s.Fold(h.ctx, doc); err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			s.failpoint = nil
		}
		for range 6 {
			if len(seqs) == 0 {
				break
			}
			k := rnd.IntN(len(seqs) + 1)
			m := Moment{Seq: seqs[0] - 1}
			if k > 0 {
				m.Seq = seqs[k-1]
			}
			if m.Seq == 0 {
				m = Moment{Time: time.UnixMilli(1)}
			}
			if k > 0 && k < len(seqs) && rnd.IntN(3) == 0 {
				m.Seq = seqs[k] - 1 // between two records of this document
			}
			got, err := s.At(h.ctx, doc, m)
			if err != nil {
				t.Fatalf("round %d: at %d: %v", round, m.Seq, err)
			}
			if want := foldOf(t, append([][]byte{empty}, updates[:k]...)...); !sameContent(t, got.Update, want) {
				t.Fatalf("round %d: at %d (record %d of %d): %x, want %x", round, m.Seq, k, len(seqs), got.Update, want)
			}
			if k > 0 && got.Seq != seqs[k-1] {
				t.Fatalf("round %d: at %d says it is at %d, want %d", round, m.Seq, got.Seq, seqs[k-1])
			}
		}
	}
	wantRecords(t, s, doc, updates)
}

func TestMomentsAreFoundByTime(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("times", "ada")
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var updates [][]byte
	for i := range 30 {
		a.at = start.Add(time.Duration(i) * time.Minute)
		e := a.entry(string(rune('a' + i%26)))
		updates = append(updates, e.Update)
		a.append(e)
		if i == 9 || i == 19 {
			mustFold(t, s, a.doc)
		}
	}
	for _, c := range []struct {
		at   time.Duration
		want int // records
	}{{-time.Second, 0}, {0, 1}, {59 * time.Second, 1}, {9 * time.Minute, 10}, {9*time.Minute + 30*time.Second, 10}, {10 * time.Minute, 11},
		{19 * time.Minute, 20}, {20 * time.Minute, 21}, {29*time.Minute - time.Millisecond, 29}, {29 * time.Minute, 30}, {time.Hour, 30}} {
		st, err := s.At(h.ctx, a.doc, Moment{Time: start.Add(c.at)})
		if err != nil {
			t.Errorf("at %v: %v", c.at, err)
			continue
		}
		if want := foldOf(t, append([][]byte{empty}, updates[:c.want]...)...); !sameContent(t, st.Update, want) {
			t.Errorf("at %v: %x, want %d records", c.at, st.Update, c.want)
		}
	}
}

func TestMomentsAreReadAsTheContractSays(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		in   string
		want Moment
		bad  bool
	}{
		{in: "", want: Moment{}}, {in: "now", want: Moment{}}, {in: "812", want: Moment{Seq: 812}},
		{in: "10m", want: Moment{Time: now.Add(-10 * time.Minute)}}, {in: "2d", want: Moment{Time: now.Add(-48 * time.Hour)}},
		{in: "2026-01-31T12:00:00Z", want: Moment{Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)}},
		{in: "-5m", bad: true}, {in: "yesterday", bad: true}, {in: "99999999999999999999", bad: true}, {in: "1e3", bad: true},
	} {
		got, err := ParseMoment(c.in, now)
		if (err != nil) != c.bad || !got.Time.Equal(c.want.Time) || got.Seq != c.want.Seq {
			t.Errorf("ParseMoment(%q) = %+v, %v; want %+v, error %v", c.in, got, err, c.want, c.bad)
		}
	}
}

func TestSmallSegmentsArePackedTogether(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("segments", "ada")
	var updates [][]byte
	for range 60 {
		var entries []stream.Entry
		for range 20 {
			e := a.entry("k")
			entries = append(entries, e)
			updates = append(updates, e.Update)
		}
		a.append(entries...)
		mustFold(t, s, a.doc)
	}
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(head.info.History); n > 8 {
		t.Errorf("60 folds left %d segments, want a logarithm of that", n)
	}
	h.wantBlobs(s, a.doc, head)
	wantRecords(t, s, a.doc, updates)
}

func TestHistoryNoneKeepsTheStateOnly(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{History: "none"})
	a := h.author("forgetful", "ada")
	first := a.types("one", "two")
	n := mustFold(t, s, a.doc)
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil || len(head.info.History) != 0 {
		t.Fatalf("history = %v, %v; want none", head.info.History, err)
	}
	h.wantBlobs(s, a.doc, head)
	var gone *GoneError
	if _, err := s.At(h.ctx, a.doc, Moment{Seq: first[0]}); !errors.As(err, &gone) || gone.Oldest != n {
		t.Errorf("at %d = %v, want ErrGone with the oldest %d", first[0], err, n)
	}
	tail := a.types("three")
	if st, err := s.At(h.ctx, a.doc, Moment{Seq: n}); err != nil || st.Seq != n {
		t.Errorf("at the fold = %d, %v; want %d", st.Seq, err, n)
	}
	if st, err := s.At(h.ctx, a.doc, Moment{Seq: tail[0]}); err != nil || st.Seq != tail[0] {
		t.Errorf("at the tail = %d, %v; want %d", st.Seq, err, tail[0])
	}
	// Changing one's mind: from here on records are kept again, and the state so far is the horizon.
	all := h.store(Options{})
	mustFold(t, all, a.doc)
	a.types("four")
	mustFold(t, all, a.doc)
	if st, err := all.At(h.ctx, a.doc, Moment{Seq: n}); err != nil || st.Seq != n {
		t.Errorf("at the horizon = %d, %v; want %d", st.Seq, err, n)
	}
	if st, err := all.At(h.ctx, a.doc, Moment{Seq: tail[0]}); err != nil || st.Seq != tail[0] {
		t.Errorf("after the horizon = %d, %v; want %d", st.Seq, err, tail[0])
	}
	if _, err := all.At(h.ctx, a.doc, Moment{Seq: first[0]}); !errors.Is(err, ErrGone) {
		t.Errorf("before the horizon = %v, want ErrGone", err)
	}
}

func TestRetentionDropsHistoryAndNeverState(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{History: "30d"})
	a := h.author("aged", "ada")
	day := 24 * time.Hour
	var seqs []stream.Seq
	var updates [][]byte
	for i := range 10 {
		a.at = time.Now().Add(-time.Duration(95-10*i) * day)
		e := a.entry(fmt.Sprint("day", i))
		updates = append(updates, e.Update)
		seqs = append(seqs, a.append(e)...)
		if i == 1 {
			if _, err := s.PutVersion(h.ctx, a.doc, "kept", Moment{Seq: seqs[1]}, "ada"); err != nil {
				t.Fatal(err)
			}
		}
		mustFold(t, s, a.doc)
	}
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil {
		t.Fatal(err)
	}
	h.wantBlobs(s, a.doc, head)
	if want := seqs[6]; head.info.Horizon != want {
		t.Fatalf("horizon = %d, want %d: the newest record older than 30 days", head.info.Horizon, want)
	}
	for k, seq := range seqs {
		st, err := s.At(h.ctx, a.doc, Moment{Seq: seq})
		var gone *GoneError
		if k < 6 && k != 1 {
			if !errors.As(err, &gone) || gone.Oldest != seqs[6] {
				t.Errorf("at record %d = %v, want ErrGone with the oldest %d", k, err, seqs[6])
			}
			continue
		}
		if err != nil {
			t.Errorf("at record %d: %v", k, err)
		} else if !sameContent(t, st.Update, foldOf(t, updates[:k+1]...)) {
			t.Errorf("at record %d: %x", k, st.Update)
		}
	}
	if got, want := filled(t, s, a.doc), foldOf(t, updates...); !bytes.Equal(got, want) {
		t.Errorf("the state changed: %x, want %x", got, want)
	}
	// Both moments travel: what the version keeps, and the horizon.
	var file bytes.Buffer
	if err := s.Export(h.ctx, a.doc, &file); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Import(h.ctx, "elsewhere", &file, ImportOptions{}); err != nil || done.Versions != 1 || done.Records != 5 {
		t.Errorf("Import = %+v, %v; want two states, three records and a version", done, err)
	}
	if v, err := s.Version(h.ctx, "elsewhere", "kept"); err != nil {
		t.Error(err)
	} else if st, err := s.At(h.ctx, "elsewhere", Moment{Seq: v.Seq}); err != nil || !sameContent(t, st.Update, foldOf(t, updates[:2]...)) {
		t.Errorf("the version elsewhere: %v, %x", err, st.Update)
	}
	if got, want := filled(t, s, "elsewhere"), foldOf(t, updates...); !sameContent(t, got, want) {
		t.Errorf("elsewhere it is %x, want %x", got, want)
	}
	// The version's fold goes when its name does.
	if err := s.DeleteVersion(h.ctx, a.doc, "kept"); err != nil {
		t.Fatal(err)
	}
	a.at = time.Time{}
	a.types("!")
	mustFold(t, s, a.doc)
	if _, err := s.At(h.ctx, a.doc, Moment{Seq: seqs[1]}); !errors.Is(err, ErrGone) {
		t.Errorf("at the deleted version = %v, want ErrGone", err)
	}
	if head, _, err = s.snapHead(h.ctx, a.doc); err != nil {
		t.Fatal(err)
	}
	h.wantBlobs(s, a.doc, head)
}

func TestVersionsAreNamedMoments(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("versioned", "ada")
	if _, err := s.PutVersion(h.ctx, a.doc, "early", Moment{}, "ada"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a version of nothing = %v, want ErrNotFound", err)
	}
	seqs := a.types("one", "two")
	v, err := s.PutVersion(h.ctx, a.doc, "first draft, ü", Moment{}, "ada")
	if err != nil || v.Seq != seqs[1] {
		t.Fatalf("PutVersion = %+v, %v; want sequence %d", v, err, seqs[1])
	}
	if _, err := s.PutVersion(h.ctx, a.doc, "first draft, ü", Moment{}, "bob"); !errors.Is(err, ErrExists) {
		t.Errorf("the same name again = %v, want ErrExists", err)
	}
	for _, bad := range []string{"", string(make([]byte, 101)), "a\nb", "\xff"} {
		if _, err := s.PutVersion(h.ctx, a.doc, bad, Moment{}, ""); !errors.Is(err, ErrVersionName) {
			t.Errorf("version name %q = %v, want ErrVersionName", bad, err)
		}
	}
	a.types("three")
	if _, err := s.PutVersion(h.ctx, a.doc, "second", Moment{Seq: seqs[0]}, ""); err != nil {
		t.Fatal(err)
	}
	list, err := s.Versions(context.Background(), a.doc)
	if err != nil || len(list) != 2 || list[0].Name != "first draft, ü" || list[1].Seq != seqs[0] {
		t.Errorf("Versions = %+v, %v", list, err)
	}
	if err := s.DeleteVersion(h.ctx, a.doc, "nope"); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete of an unknown version = %v, want ErrNotFound", err)
	}
	if err := s.DeleteVersion(h.ctx, a.doc, "second"); err != nil {
		t.Fatal(err)
	}
	if list, err = s.Versions(h.ctx, a.doc); err != nil || len(list) != 1 {
		t.Errorf("Versions after the delete = %+v, %v", list, err)
	}
}

// A segment that cannot be read makes the history unknown, not empty.
func TestHistoryWithASegmentGoneSaysSo(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	a := h.author("torn", "ada")
	start := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for i := range 3 {
		a.at = start.Add(time.Duration(i) * time.Minute)
		a.types(fmt.Sprint("word", i))
	}
	mustFold(t, s, a.doc)
	head, _, err := s.snapHead(h.ctx, a.doc)
	if err != nil || len(head.info.History) != 1 {
		t.Fatalf("history = %+v, %v; want one segment", head, err)
	}
	if err := h.log.Blobs().Remove(h.ctx, head.info.History[0].Subject); err != nil {
		t.Fatal(err)
	}
	between := Moment{Time: start.Add(90 * time.Second)} // inside of the segment: only its table says which record it is
	for name, q := range map[string]HistoryQuery{"all": {}, "from a time": {From: between}, "to a time": {To: between}} {
		if page, err := s.History(h.ctx, a.doc, q); !errors.Is(err, stream.ErrLost) {
			t.Errorf("history, %s: %d entries, %v; want ErrLost", name, len(page.Entries), err)
		}
	}
	if _, _, err := s.Range(h.ctx, a.doc, between, Moment{}); !errors.Is(err, stream.ErrLost) {
		t.Errorf("range from a time = %v, want ErrLost", err)
	}
	if d, ok := s.Damaged(a.doc); !ok || d.What != "history" {
		t.Errorf("the document's mark = %+v, %v; want damage of its history", d, ok)
	}
}

func TestHistorySettings(t *testing.T) {
	for v, want := range map[string]retention{
		"": {}, "all": {}, "none": {none: true},
		"90d": {age: 90 * 24 * time.Hour}, "1.5d": {age: 36 * time.Hour}, "2w": {age: 14 * 24 * time.Hour}, "10s": {age: 10 * time.Second},
	} {
		if got, err := parseHistory(v); err != nil || got != want {
			t.Errorf("history %q = %+v, %v; want %+v", v, got, err, want)
		}
	}
	for _, v := range []string{"some", "90", "90x", "-5d", "0s", "NaNd", "Infd", "1 2d", "d"} {
		if err := ParseHistory(v); err == nil {
			t.Errorf("history %q is taken", v)
		}
	}
}
