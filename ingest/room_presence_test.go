package ingest

import (
	"strings"
	"testing"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
)

func TestPresenceFollowsItsOwner(t *testing.T) {
	w := start(t)
	a, b := w.open("/p"), w.open("/p")
	a.send(aware(1, 5, `{"n":5}`))
	b.wait("state", func() bool { return b.present()[1] == `{"n":5}` })
	b.send(aware(2, 1, `{"b":1}`))                         // its own comes first: the echo after it is no claim
	b.send(aware(1, 5, `{"n":5}`), aware(1, 4, `{"n":4}`)) // providers re-send these
	b.send(aware(1, 5, "null"))                            // and believe their timers
	b.send(aware(1, 9, `{"forged":true}`))
	a.send(aware(1, 6, `{"n":6}`))
	b.wait("newer state", func() bool { return b.present()[1] == `{"n":6}` })
	a.leave()
	b.waitFor(time.Second, "gone within a second", func() bool { return b.present()[1] == "" })
}

func TestPresenceOfABrokenSocketWaitsForItsReturn(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.LeaveWait = 2 * time.Second }))
	a, b := w.open("/blink"), w.open("/blink")
	a.send(aware(1, 5, `{}`))
	b.wait("state", func() bool { return b.present()[1] != "" })
	a.drop()
	again := w.open("/blink")
	again.send(aware(1, 5, `{}`)) // same clock: a reconnect
	again.send(aware(1, 6, `{"back":true}`))
	b.wait("back", func() bool { return b.present()[1] == `{"back":true}` })
	b.mu.Lock()
	blinked := strings.Contains(string(joined(b)), "null")
	b.mu.Unlock()
	if blinked {
		t.Error("the client blinked for the others")
	}
	again.drop()
	b.wait("gone after the wait", func() bool { return b.present()[1] == "" })
}

func joined(c *client) (all []byte) {
	for _, f := range c.frames {
		all = append(all, f.data...)
	}
	return all
}

func TestEchoDoesNotBringBackWhoLeft(t *testing.T) {
	w := start(t)
	a, b, c := w.open("/ghost"), w.open("/ghost"), w.open("/ghost")
	b.send(aware(2, 1, `{}`))
	a.send(aware(1, 5, `{}`))
	c.wait("both", func() bool { return len(c.present()) == 2 })
	a.leave()
	c.wait("gone", func() bool { return c.present()[1] == "" })
	b.send(aware(1, 5, `{}`), aware(2, 2, `{"after":1}`))
	c.wait("later state", func() bool { return c.present()[2] == `{"after":1}` })
	d := w.open("/ghost")
	d.wait("present", func() bool { return d.present()[2] != "" })
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := d.present(); len(got) != 1 {
		t.Errorf("present: got %v, want 2 alone", got)
	}
}

func TestNewerConnectionTakesItsClientOver(t *testing.T) {
	w := start(t, logins)
	ada := "/over?token=" + token("ada", time.Hour)
	old, b := w.open(ada), w.open("/over?token="+token("bob", time.Hour))
	old.send(aware(1, 5, `{}`))
	b.wait("state", func() bool { return b.present()[1] != "" })
	fresh := w.open(ada) // same tab, its old socket half open
	fresh.send(aware(1, 5, `{}`))
	fresh.send(aware(1, 6, `{"fresh":1}`))
	b.wait("fresh state", func() bool { return b.present()[1] == `{"fresh":1}` })
	old.leave()
	fresh.send(aware(1, 7, `{"fresh":2}`))
	b.wait("still there", func() bool { return b.present()[1] == `{"fresh":2}` })
}

func TestPresenceOfALiveClientIsNotTakenByAnotherUser(t *testing.T) {
	for name, c := range map[string]struct {
		settings []setting
		owner    string
	}{
		"signed in":      {[]setting{logins}, "/steal?token=" + token("ada", time.Hour)},
		"without logins": {nil, "/steal"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, c.settings...)
			ada := w.open(c.owner)
			ada.send(aware(1, 5, `{"ada":1}`))
			witness := w.open(c.owner)
			witness.wait("ada", func() bool { return witness.present()[1] == `{"ada":1}` })
			for _, clock := range []uint64{6, 1 << 52, 1<<53 - 2} {
				path := "/steal"
				if c.settings != nil {
					read, err := w.srv.o.Auth.TicketFor(auth.Grant{User: "bob", Mode: auth.Read}, "steal", time.Hour)
					if err != nil {
						t.Fatal(err)
					}
					path += "?token=" + read
				}
				thief := w.open(path)
				thief.send(aware(1, clock, `{"thief":1}`), aware(1, clock+1, "null"))
				thief.turn() // it is not closed for the clock
				thief.leave()
			}
			deep := strings.Repeat("[", 7000) + strings.Repeat("]", 7000)
			ada.send(aware(1, 6, deep), aware(1, 1<<53-2, `{"ada":2}`), aware(1, 7, `{"ada":3}`))
			witness.wait("ada's next state", func() bool { return witness.present()[1] == `{"ada":3}` })
			ada.turn()
			for _, p := range []*client{ada, witness} {
				p.mu.Lock()
				if all := string(joined(p)); strings.Contains(all, "thief") || strings.Contains(all, "[[") {
					t.Error("a forged or deep state reached a client")
				}
				p.mu.Unlock()
			}
		})
	}
}

// A viewer without a presence of its own says again what it hears, as y-websocket does: its first message is no claim, and
// nobody vanishes when it leaves.
func TestViewerWithoutPresenceTakesNobodyOver(t *testing.T) {
	w := start(t)
	other := join(t, w.nats)
	ada, far := w.open("/viewer"), other.open("/viewer")
	ada.send(aware(1, 5, `{"ada":1}`))
	far.wait("ada", func() bool { return far.present()[1] != "" })
	echo := func(w *world, entries ...yjs.AwarenessEntry) {
		t.Helper()
		viewer := w.open("/viewer")
		viewer.wait("who is here", func() bool { return len(viewer.present()) == len(entries) })
		viewer.mu.Lock()
		n := viewer.count(yjs.MsgAwareness, 0)
		viewer.mu.Unlock()
		viewer.send(awarenessMessage(entries...), []byte{yjs.MsgQueryAwareness})
		viewer.wait("answer", func() bool { return viewer.count(yjs.MsgAwareness, 0) > n })
		viewer.leave()
	}
	one := yjs.AwarenessEntry{Client: 1, Clock: 5, State: []byte(`{"ada":1}`)}
	echo(w, one)
	echo(other, one)
	early := w.open("/viewer") // was there before the next one came
	bob := w.open("/viewer")
	bob.send(aware(2, 7, `{"bob":1}`))
	early.wait("bob", func() bool { return early.present()[2] != "" })
	early.send(aware(2, 7, `{"bob":1}`))
	early.leave()
	echo(w, one, yjs.AwarenessEntry{Client: 2, Clock: 7, State: []byte(`{"bob":1}`)})
	bob.send(aware(2, 8, `{"bob":2}`))
	for _, c := range []*client{ada, far} {
		c.wait("bob's next", func() bool { return c.present()[2] == `{"bob":2}` })
		c.mu.Lock()
		if strings.Contains(string(joined(c)), "null") {
			t.Error("somebody blinked")
		}
		c.mu.Unlock()
	}
	ada.leave()
	bob.wait("ada's leave", func() bool { _, ok := bob.present()[1]; return !ok })
}

func TestPresenceMovesToAnotherServer(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	old, seer := w1.open("/move"), w1.open("/move")
	far := w2.open("/move")
	old.send(aware(1, 5, `{}`))
	far.wait("state", func() bool { return far.present()[1] != "" })
	fresh := w2.open("/move")
	fresh.send(aware(1, 5, `{}`))
	fresh.send(aware(1, 6, `{"fresh":1}`))
	seer.wait("fresh state", func() bool { return seer.present()[1] == `{"fresh":1}` })
	old.leave() // its half-open socket ends at last
	fresh.send(aware(1, 7, `{"fresh":2}`))
	seer.wait("still there", func() bool { return seer.present()[1] == `{"fresh":2}` })
	far.wait("still there", func() bool { return far.present()[1] == `{"fresh":2}` })
	for _, c := range []*client{seer, far} {
		c.mu.Lock()
		if strings.Contains(string(joined(c)), "null") {
			t.Error("the client blinked")
		}
		c.mu.Unlock()
	}
}

func TestAwarenessOverItsLimitsIsDropped(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.AwarenessState, l.AwarenessOwn = 100, 4 }))
	a, b := w.open("/limits"), w.open("/limits")
	a.send(aware(1, 1, `{"s":"`+strings.Repeat("x", 101)+`"}`))
	for id := uint64(2); id <= 8; id++ {
		a.send(aware(id, 1, `{}`))
	}
	b.send(aware(20, 1, `{}`))
	b.wait("own", func() bool { return b.present()[20] != "" })
	eventually(t, 5*time.Second, "four ids of one connection", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.present()) == 5
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.present(); p[1] != "" || p[6] != "" {
		t.Errorf("present: got %v, want the first four that fit", p)
	}
}

func TestPresenceThatGrowsAboveItsLimitIsGone(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.AwarenessState = 100 }))
	a, b := w.open("/grows"), w.open("/grows")
	a.send(aware(1, 1, `{"cursor":1}`))
	b.wait("the state that fits", func() bool { return b.present()[1] != "" })
	a.send(aware(1, 2, `{"s":"`+strings.Repeat("x", 101)+`"}`))
	b.wait("the removal", func() bool { return b.present()[1] == "" })
	a.send(aware(1, 3, `{"cursor":3}`))
	b.wait("the next that fits", func() bool { return b.present()[1] == `{"cursor":3}` })
}

func TestFastCursorIsCoalescedToItsNewestState(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.AwarenessEvery = 50 * time.Millisecond }))
	a, b := w.open("/cursor"), w.open("/cursor")
	for i := range 200 {
		a.send(aware(1, uint64(i+1), `{}`))
	}
	a.send(aware(1, 201, `{"last":1}`))
	b.wait("newest", func() bool { return b.present()[1] == `{"last":1}` })
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.count(1, 0); n > 50 {
		t.Errorf("awareness frames for 201 moves: got %d, want few", n)
	}
}

func TestPresenceThatIsRenewedElsewhereIsForgotten(t *testing.T) {
	now := time.Now()
	p := ourPuts{at: now}
	stays := presenceKey{"d", 1}
	p.put(stays, 1, now)
	for i := range uint64(1000) {
		p.put(presenceKey{"d", 2 + i}, i, now)
	}
	for range 10 {
		now = now.Add(presenceEvery)
		p.put(stays, uint64(now.Unix()), now)
	}
	if n := len(p.young) + len(p.old); n != 1 {
		t.Errorf("%d entries are remembered, want the one that is renewed", n)
	}
	if rev, ok := p.take(stays); !ok || rev != uint64(now.Unix()) {
		t.Errorf("take = %d, %v; want the newest revision", rev, ok)
	}
	if _, ok := p.take(stays); ok {
		t.Error("taken twice")
	}
}

func TestPresenceOverABoundIsTold(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.AwarenessState, l.AwarenessOwn, l.AwarenessBytes = 100, 2, 150 }))
	large := `{"s":"` + strings.Repeat("x", 101) + `"}`
	plain, told := w.open("/told"), w.open("/told?json")
	texts := func(c *client) (list []string) {
		for _, f := range c.frames {
			if f.text && strings.Contains(string(f.data), "presence") {
				list = append(list, string(f.data))
			}
		}
		return list
	}
	for i, c := range []*client{plain, told} {
		id := uint64(10 * (i + 1))
		c.send(aware(id, 1, large), aware(id, 2, large), aware(id, 3, `{}`), aware(id+1, 1, `{}`), aware(id+2, 1, `{}`), aware(id+2, 2, `{}`))
		c.send(aware(id, 4, `{"last":1}`))
	}
	told.wait("a word for each of two bounds", func() bool { return len(texts(told)) == 2 })
	for i, want := range []string{`"presence-too-large"`, `"too-many-presence-ids"`} {
		told.mu.Lock()
		got := texts(told)[i]
		told.mu.Unlock()
		if !strings.Contains(got, want) || !strings.Contains(got, `"fatal":false`) {
			t.Errorf("text %d: got %s, want the reason %s, which is not fatal", i, got, want)
		}
	}
	for _, id := range []uint64{10, 20} {
		plain.wait("what comes after it", func() bool { return plain.present()[id] == `{"last":1}` })
	}
	// The bytes of the document: two ids of 90 do not fit into 150.
	state := `{"s":"` + strings.Repeat("x", 80) + `"}`
	told.send(aware(20, 5, state))
	plain.wait("the first", func() bool { return plain.present()[20] == state })
	plain.send(aware(10, 5, state))
	told.wait("the removal of the second", func() bool { return told.present()[10] == "" })
	plain.send(aware(10, 6, `{"last":2}`))
	told.wait("the second, smaller", func() bool { return told.present()[10] == `{"last":2}` })
	plain.mu.Lock()
	if got := texts(plain); len(got) != 0 {
		t.Errorf("a client that takes no text got %q", got)
	}
	plain.mu.Unlock()
	for reason, want := range map[string]uint64{"presence-too-large": 4, "too-many-presence-ids": 4, "presence-of-document-full": 1} {
		if got := read(w.srv.metrics.drops.WithLabelValues(reason)); got != want {
			t.Errorf("dropped for %s: got %d, want %d", reason, got, want)
		}
	}
	for reason, want := range map[string]int{"presence-too-large": 2, "too-many-presence-ids": 2, "presence-of-document-full": 1} {
		if got := strings.Count(w.out.String(), "reason="+reason); got != want {
			t.Errorf("log lines of %s: got %d, want one for each session, %d", reason, got, want)
		}
	}
}
