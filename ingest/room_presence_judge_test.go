package ingest

import (
	"testing"
	"time"

	"yjet/internal/yjs"
)

// A scene is a room in which client id 7 is known at clock 5 and owned by me.
type scene struct {
	presences
	id             *presence
	me, old, newer *owner // old came before me, newer after
	bob, anon      *owner // another user, and one who has not signed in; both came after
}

func newScene(now time.Time) *scene {
	s := &scene{me: &owner{user: "ada", came: now}, old: &owner{user: "ada", came: now.Add(-time.Minute)}, newer: &owner{user: "ada", came: now.Add(time.Minute)}}
	s.bob, s.anon = &owner{user: "bob", came: now.Add(time.Minute)}, &owner{came: now.Add(time.Minute)}
	s.id = s.add(7, &presence{clock: 5, state: []byte(`{}`), since: now})
	s.id.give(s.me, 7)
	return s
}

func me(s *scene) *owner     { return s.me }
func newer(s *scene) *owner  { return s.newer }
func bob(s *scene) *owner    { return s.bob }
func anon(s *scene) *owner   { return s.anon }
func nobody(s *scene) *owner { return nil }

// unknown: nobody has signed in.
func unknown(s *scene) { s.me.user, s.newer.user, s.id.user = "", "", "" }

func claimed(s *scene)  { s.id.claim = s.newer }
func orphaned(s *scene) { s.id.owner = nil }
func crowded(s *scene) {
	s.add(9, &presence{state: make([]byte, 100), node: "b", seen: time.Now()})
}
func remote(s *scene) { s.id.owner, s.id.node = nil, "b" }

// alive is an entry of id 7 with a state, gone one that says it has left.
func alive(clock uint64) yjs.AwarenessEntry {
	return yjs.AwarenessEntry{Client: 7, Clock: clock, State: []byte(`{"n":1}`)}
}
func gone(clock uint64) yjs.AwarenessEntry { return yjs.AwarenessEntry{Client: 7, Clock: clock} }

func judgeLimits() *Limits {
	l := Limits{AwarenessOwn: 2, AwarenessState: 20, AwarenessBytes: 102}.withDefaults()
	return &l
}

func TestEntriesAreJudgedByTheirOwner(t *testing.T) {
	now := time.Now()
	left := outcome{taken: true, removed: true, ours: true}
	moved := outcome{taken: true, keep: true}
	for _, c := range []struct {
		name  string
		set   func(*scene)
		from  func(*scene) *owner
		first bool
		entry yjs.AwarenessEntry
		want  outcome
		owner func(*scene) *owner // of id 7 afterwards; nil: it is not known any more
	}{
		{"the owner has news", nil, me, false, alive(6), outcome{taken: true}, me},
		{"the owner repeats itself", nil, me, false, alive(5), outcome{taken: true}, me},
		{"the owner leaves", nil, me, false, gone(5), left, nil},
		{"the owner leaves at an old clock", nil, me, false, gone(4), outcome{}, me},
		{"a peer forges news", nil, newer, false, alive(9), outcome{}, me},
		{"a peer's echo is old", nil, newer, true, alive(4), outcome{}, me},
		{"a newer connection only claims at an equal clock", nil, newer, true, alive(5), outcome{}, me},
		{"a newer connection begins with news", nil, newer, true, alive(6), moved, newer},
		{"a claim is redeemed with news", claimed, newer, false, alive(6), moved, newer},
		{"a claim is redeemed when the owner leaves", claimed, me, false, gone(5), outcome{keep: true, publish: true}, newer},
		{"a claim ends with the owner's news", func(s *scene) { claimed(s); s.take(s.me, alive(6), false, judgeLimits(), now) }, newer, false, alive(7), outcome{}, me},
		{"a claim of a session that has left is worth nothing", func(s *scene) { claimed(s); s.newer.left = true }, me, false, gone(5), left, nil},
		{"the claimant itself says that the id is gone", claimed, newer, false, gone(6), left, nil},
		{"a broken socket comes back with news", orphaned, newer, false, alive(6), moved, newer},
		{"a broken socket comes back at the same clock", orphaned, newer, true, alive(5), moved, newer},
		{"an echo does not bring a broken socket back", orphaned, newer, false, alive(5), outcome{}, nobody},
		{"news of an id of another server", remote, newer, false, alive(6), outcome{}, nobody},
		{"an id of another server moves here", remote, newer, true, alive(6), moved, newer},
		{"an id that was taken by mistake comes back", func(s *scene) { s.id.give(s.newer, 7) }, me, false, alive(6), moved, me},
		{"one id too many", func(s *scene) { orphaned(s); s.newer.ids = map[uint64]struct{}{1: {}, 2: {}} }, newer, false, alive(6), outcome{over: causePresenceIDs}, nobody},
		{"a state that grew too large", nil, me, false, yjs.AwarenessEntry{Client: 7, Clock: 6, State: make([]byte, 21)}, outcome{taken: true, removed: true, ours: true, over: causePresenceLarge}, nil},
		{"a state that grew beyond the document's bytes", crowded, me, false, yjs.AwarenessEntry{Client: 7, Clock: 6, State: make([]byte, 20)}, outcome{taken: true, removed: true, ours: true, over: causePresenceFull}, nil},
		{"a state that shrinks where the document has no bytes left", crowded, me, false, yjs.AwarenessEntry{Client: 7, Clock: 6, State: []byte(`1`)}, outcome{taken: true}, me},
		{"a new id where the document has no bytes left", crowded, newer, false, yjs.AwarenessEntry{Client: 8, Clock: 1, State: []byte(`{}`)}, outcome{over: causePresenceFull}, me},
		{"a state of another that is too large", nil, newer, false, yjs.AwarenessEntry{Client: 7, Clock: 6, State: make([]byte, 21)}, outcome{over: causePresenceLarge}, me},
		{"an old state that is too large", nil, me, false, yjs.AwarenessEntry{Client: 7, Clock: 5, State: make([]byte, 21)}, outcome{over: causePresenceLarge}, me},
		{"another user begins with news of a live id", nil, bob, true, alive(6), outcome{}, me},
		{"another user begins with an echo, then has news", func(s *scene) { s.take(s.bob, alive(5), true, judgeLimits(), now) }, bob, false, alive(6), outcome{}, me},
		{"another user's echo is no claim", func(s *scene) { s.take(s.bob, alive(5), true, judgeLimits(), now) }, me, false, gone(5), left, nil},
		{"another user begins with news of a broken socket's id", orphaned, bob, true, alive(6), outcome{}, nobody},
		{"somebody without login begins with news of a live id", nil, anon, true, alive(6), outcome{}, me},
		{"without logins a newcomer does not take a live id", unknown, newer, true, alive(6), outcome{}, me},
		{"without logins a newcomer does not remove a live id", func(s *scene) { unknown(s); s.take(s.newer, alive(6), true, judgeLimits(), now) }, newer, false, gone(4), outcome{}, me},
		{"without logins a newcomer has the id when its owner's connection ends", func(s *scene) { unknown(s); s.take(s.newer, alive(6), true, judgeLimits(), now) }, me, false, gone(5), outcome{keep: true, publish: true}, newer},
		{"a clock that leaps", nil, me, false, alive(5 + mostLeap), outcome{}, me},
		{"a clock that leaves nothing to count", func(s *scene) { s.id.clock = mostClock }, me, false, alive(mostClock + 1), outcome{}, me},
		{"a goodbye whose clock leaps", nil, bob, false, gone(1<<53 - 2), outcome{}, me},
		{"a state that nests too deep", nil, me, false, yjs.AwarenessEntry{Client: 7, Clock: 6, State: []byte(`{}`), Depth: 257}, outcome{}, me},
		{"a state that nests as deep as it may", nil, me, false, yjs.AwarenessEntry{Client: 7, Clock: 6, State: []byte(`{}`), Depth: 256}, outcome{taken: true}, me},
		{"a new id", nil, newer, false, yjs.AwarenessEntry{Client: 8, Clock: 1, State: []byte(`{}`)}, moved, me},
		{"an unknown id leaves", nil, newer, false, yjs.AwarenessEntry{Client: 8, Clock: 1}, outcome{}, me},
		{"an echo of an id that left", func(s *scene) { s.remove(7, 5, now) }, newer, false, alive(5), outcome{}, nil},
		{"an id that left comes back", func(s *scene) { s.remove(7, 5, now) }, newer, false, alive(6), moved, newer},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(now)
			if c.set != nil {
				c.set(s)
			}
			if got := s.take(c.from(s), c.entry, c.first, judgeLimits(), now); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			p := s.byID[7]
			if (p != nil) != (c.owner != nil) {
				t.Fatalf("known afterwards: got %v", p != nil)
			}
			if p != nil && p.owner != c.owner(s) {
				t.Errorf("owner: got %+v, want %+v", p.owner, c.owner(s))
			}
		})
	}
}

func TestOwnerThatAPeerGaveUpIsToldSo(t *testing.T) {
	s := newScene(time.Now())
	if got := s.take(s.newer, gone(5), false, judgeLimits(), time.Now()); got != (outcome{retell: s.me}) {
		t.Errorf("got %+v, want the owner to be told", got)
	}
}

func TestEntriesOfAnotherServerAreJudgedByItsName(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name  string
		set   func(*scene)
		node  string
		entry yjs.AwarenessEntry
		want  outcome
		at    string // the server of id 7 afterwards; "-": it is not known any more
	}{
		{"its client leaves", remote, "b", gone(5), outcome{removed: true}, "-"},
		{"a third server says so", remote, "c", gone(5), outcome{}, "b"},
		{"it says that a client of ours has left", nil, "b", gone(9), outcome{}, ""},
		{"an old clock", remote, "b", alive(4), outcome{}, "b"},
		{"a client of ours has moved there", nil, "b", alive(6), outcome{taken: true}, "b"},
		{"a client here claims what leaves there", func(s *scene) { remote(s); claimed(s) }, "b", gone(5), outcome{keep: true, publish: true}, ""},
		{"an id that left here comes late from there", func(s *scene) { s.remove(7, 5, now) }, "b", alive(4), outcome{}, "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(now)
			if c.set != nil {
				c.set(s)
			}
			if got := s.takeRemote(c.node, c.entry, judgeLimits(), now); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			at := "-"
			if p := s.byID[7]; p != nil {
				at = p.node
			}
			if at != c.at {
				t.Errorf("server: got %q, want %q", at, c.at)
			}
		})
	}
}

func TestPresenceExpires(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name  string
		set   func(*scene)
		after time.Duration
		want  bool // still known
	}{
		{"a connected owner never", nil, 24 * time.Hour, true},
		{"a broken socket is waited for", func(s *scene) { orphaned(s); s.id.until = now.Add(3 * time.Second) }, 2 * time.Second, true},
		{"and not for ever", func(s *scene) { orphaned(s); s.id.until = now.Add(3 * time.Second) }, 4 * time.Second, false},
		{"another server may be silent for a while", func(s *scene) { remote(s); s.id.seen = now }, presenceSilent - time.Second, true},
		{"and not for longer", func(s *scene) { remote(s); s.id.seen = now }, presenceSilent + time.Second, false},
	} {
		s := newScene(now)
		if c.set != nil {
			c.set(s)
		}
		done := 0
		s.tick(judgeLimits(), now.Add(c.after), func(id uint64, out outcome) {
			if done++; id != 7 || !out.removed {
				t.Errorf("%s: got %d %+v", c.name, id, out)
			}
		})
		if known := s.byID[7] != nil; known != c.want || (done == 1) == c.want {
			t.Errorf("%s: known %v and %d removed, want known %v", c.name, known, done, c.want)
		}
	}
}

func TestNewsOfOneClientWaitsForItsTurn(t *testing.T) {
	now := time.Now()
	s := newScene(now)
	l := judgeLimits()
	every := 40 * time.Millisecond
	s.take(s.me, alive(6), false, l, now)
	entries, published, wait := s.due(every, now, nil)
	if len(entries) != 1 || len(published) != 1 || wait != 0 {
		t.Fatalf("first news: got %v, %v, wait %v", entries, published, wait)
	}
	s.take(s.me, alive(7), false, l, now)
	s.take(s.me, alive(8), false, l, now)
	s.takeRemote("b", yjs.AwarenessEntry{Client: 9, Clock: 1, State: []byte(`{}`)}, l, now)
	entries, published, wait = s.due(every, now, nil)
	if len(entries) != 1 || entries[0].Client != 9 || len(published) != 0 || wait != every {
		t.Fatalf("at once: got %v, published %v, wait %v; want the other server's client alone", entries, published, wait)
	}
	entries, published, wait = s.due(every, now.Add(every), nil)
	if len(entries) != 1 || entries[0].Clock != 8 || len(published) != 1 || wait != 0 {
		t.Errorf("later: got %v, published %v, wait %v; want the newest state once", entries, published, wait)
	}
}

func TestNewsOfALargeStateWaitsLonger(t *testing.T) {
	now := time.Now()
	s := newScene(now)
	l := Limits{}.withDefaults()
	large := func(clock uint64) yjs.AwarenessEntry {
		return yjs.AwarenessEntry{Client: 7, Clock: clock, State: make([]byte, 60<<10)}
	}
	every := 40 * time.Millisecond
	s.take(s.me, large(6), false, &l, now)
	s.due(every, now, nil)
	s.take(s.me, large(7), false, &l, now)
	if entries, _, wait := s.due(every, now.Add(every), nil); len(entries) != 0 || wait != 3*every {
		t.Errorf("after one turn: got %d entries and wait %v, want none before the fourth", len(entries), wait)
	}
	if entries, _, _ := s.due(every, now.Add(4*every), nil); len(entries) != 1 {
		t.Errorf("after four turns: got %d entries, want one", len(entries))
	}
	if s.bytes != 60<<10 {
		t.Errorf("bytes of the document's presence: got %d, want those of the one state", s.bytes)
	}
	if s.remove(7, 8, now); s.bytes != 0 {
		t.Errorf("after its removal: got %d bytes, want none", s.bytes)
	}
}
