package ingest

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/natstest"
	"yjet/internal/yjs"
	"yjet/stream"
)

func TestTwoServersShareADocument(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	a, b := w1.open("/shared"), w2.open("/shared")
	a.send(aware(1, 1, `{"user":{"name":"Ann","color":"#f00"}}`), edit(insert(1, 0, "from a")))
	b.has(1, 6)
	b.send(aware(2, 1, `{"user":{"name":"Bob"}}`), edit(insert(2, 0, "from b")))
	a.has(2, 6)
	a.wait("Bob", func() bool { return a.present()[2] != "" })
	b.wait("Ann", func() bool { return b.present()[1] != "" })
	// A late joiner of the other server sees everybody at once.
	late := w2.open("/shared")
	late.has(1, 6)
	late.wait("everybody", func() bool { return len(late.present()) == 2 })
	a.leave()
	b.wait("Ann gone", func() bool { return b.present()[1] == "" })
	if got := w2.records("shared"); len(got) != 2 {
		t.Errorf("records: got %d, want 2", len(got))
	}
}

func TestJoinerOfAnotherServerSeesPresenceFromTheBucket(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	a := w1.open("/bucket")
	a.send(aware(1, 1, `{"user":{"name":"Ann","color":"#f00"}}`))
	a.wait("echo", func() bool { return a.present()[1] != "" })
	eventually(t, 5*time.Second, "Ann in the bucket", func() bool {
		list, err := w1.log.Presence().List(t.Context(), "bucket")
		return err == nil && len(list) == 1 && list[0].Name == "Ann" && list[0].Color == "#f00"
	})
	b := w2.open("/bucket")
	b.wait("Ann", func() bool { return b.present()[1] != "" })
	a.leave()
	b.wait("Ann gone", func() bool { return b.present()[1] == "" })
	eventually(t, 5*time.Second, "Ann out of the bucket", func() bool {
		list, err := w1.log.Presence().List(t.Context(), "bucket")
		return err == nil && len(list) == 0
	})
}

func TestPresenceOfAServerThatDiedVanishes(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	a, b := w1.open("/dead"), w2.open("/dead")
	a.send(aware(1, 1, `{}`))
	b.wait("Ann", func() bool { return b.present()[1] != "" })
	r := w2.srv.rooms.find("dead")
	still := false
	r.do(func() {
		r.tickPresence(time.Now().Add(presenceSilent - time.Second))
		still = r.aware.byID[1] != nil
		r.tickPresence(time.Now().Add(presenceSilent + time.Second))
	})
	if !still {
		t.Error("removed while its server may still speak of it")
	}
	b.wait("Ann gone", func() bool { return b.present()[1] == "" })
}

func TestUpdateBeforeItsDependencyIsHeldNotRefused(t *testing.T) {
	w := start(t)
	a, b := w.open("/held"), w.open("/held")
	a.send(edit(insert(1, 0, "one")))
	a.has(1, 3)
	// An offline client that types while it reconnects: its newest edit comes
	// before the answer to our step 1, which has the rest.
	c := w.dial("/held")
	c.send(edit(insert(2, 5, "late")))
	c.send(step1(nil))
	c.wait("our step 1", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) > 0 })
	missing := insert(2, 0, "early")
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, missing))
	b.has(2, 9)
	got := w.records("held")
	if len(got) < 2 || len(got) > 3 {
		t.Fatalf("records: got %d, want the first, the missing one, and what was held", len(got))
	}
	// Every prefix of the log is whole: no record refers to a later one.
	s := &yjs.State{}
	for i, r := range got {
		var u yjs.Update
		if err := u.Parse(r.Update, recordLimits); err != nil {
			t.Fatal(err)
		}
		if ready, err := s.Ready(&u); err != nil || ready.Rest != nil {
			t.Errorf("record %d depends on a later one (%v)", i, err)
		}
		s.Add(&u)
	}
}

func TestHeldUpdatesOverTheBoundAreAskedForAgain(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.Held = 3 }))
	c := w.open("/bound")
	c.wait("our step 1", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, emptyUpdate))
	for i := range 5 {
		c.send(edit(insert(1, uint64(10+i), "x")))
	}
	c.wait("a step 1 that asks again", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) >= 2 })
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, insert(1, 0, strings.Repeat("y", 15))))
	c.has(1, 15)
}

func (c *client) echoes() int { return c.count(yjs.MsgSaved, 0) }

func TestSavedIsNotEchoedForWhatWasDropped(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.Held = 2 }))
	c := w.open("/dropped")
	c.wait("our step 1", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, emptyUpdate))
	for i := range 3 {
		c.send(edit(insert(1, uint64(10+i), "x")))
	}
	c.wait("a step 1 that asks again", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) >= 2 })
	c.send([]byte{yjs.MsgSaved, 1, 7})
	c.turn()
	w.srv.rooms.tick(time.Now()) // settles acknowledgements that are due
	c.turn()
	c.mu.Lock()
	n := c.echoes()
	c.mu.Unlock()
	if n != 0 {
		t.Errorf("told that all is saved while %d records are in the log", len(w.records("dropped")))
	}
	c.send(yjs.AppendSync(nil, yjs.SyncStep2, insert(1, 0, strings.Repeat("y", 13))))
	c.wait("echo", func() bool { return c.echoes() > 0 })
	if got := len(w.records("dropped")); got == 0 {
		t.Error("nothing stored when the echo came")
	}
}

func TestLargePasteIsSplitToFitTheServer(t *testing.T) {
	w := join(t, natstest.Start(t, natstest.Process, natstest.MaxPayload(1<<20)))
	a, b := w.open("/paste"), w.open("/paste")
	a.send(edit(insert(1, 0, strings.Repeat("x", 3_000_000))))
	b.has(1, 3_000_000)
	if got := w.records("paste"); len(got) < 3 {
		t.Errorf("records: got %d, want at least 3 of at most 1 MB", len(got))
	}
}

// uncuttable is the update of an author who sets one value of n bytes, which cannot be cut.
func uncuttable(author uint64, n int) []byte {
	b := []byte{1, 1}
	b = yjs.AppendUvarint(b, author)
	b = append(b, 0, 0x23, 1)
	b = yjs.AppendVarString(b, "m")
	b = yjs.AppendVarString(b, "k")
	b = yjs.AppendVarBytes(b, make([]byte, n))
	return append(b, 0)
}

func TestUpdateThatCannotBeCutEndsItsSenderAlone(t *testing.T) {
	w := join(t, natstest.Start(t, natstest.Process, natstest.MaxPayload(1<<20)))
	a, b, c := w.open("/uncut"), w.open("/uncut"), w.open("/uncut")
	c.send(edit(insert(3, 0, "before")))
	b.has(3, 6)
	w.nats.Stop()
	c.send(edit(insert(3, 6, "during")))
	c.turn()
	b.send(edit(insert(2, 0, "innocent")))
	b.turn()
	a.send(edit(uncuttable(1, 2<<20)))
	r := w.srv.rooms.find("uncut")
	eventually(t, 5*time.Second, "it is refused, or waits behind the group under way", func() (taken bool) {
		r.look(func() { taken = len(r.commit.gather) == 2 })
		a.mu.Lock()
		defer a.mu.Unlock()
		return taken || a.closed
	})
	w.nats.Restart()
	if got := a.code(); got != 4413 {
		t.Errorf("close code of who sent too much: got %d, want 4413", got)
	}
	c.has(2, 8)
	b.mu.Lock()
	closed, err := b.closed, b.err
	b.mu.Unlock()
	if closed {
		t.Errorf("somebody else was sent away: %v", err)
	}
}

func TestValueThatFitsAloneIsStoredThoughItsNeighboursWereMergedWithIt(t *testing.T) {
	w := join(t, natstest.Start(t, natstest.Process, natstest.MaxPayload(64<<10)))
	a, b := w.open("/beside"), w.open("/beside")
	a.send(edit(insert(3, 0, "before")))
	b.has(3, 6)
	w.nats.Stop()
	a.send(edit(insert(3, 6, "during")))
	a.turn()
	value := uncuttable(1, 60<<10)
	value = uncuttable(1, w.log.MaxUpdate()-(len(value)-60<<10))
	if len(value) != w.log.MaxUpdate() {
		t.Fatalf("the value has %d bytes, want %d", len(value), w.log.MaxUpdate())
	}
	a.send(edit(value), edit(insert(3, 12, "after")))
	a.turn()
	w.nats.Restart()
	b.has(1, 1)
	b.has(3, 17)
}

// A group that is too large for the server, because that was started anew with a smaller size, is its senders' loss alone.
func TestWhatWaitedBehindATooLargeGroupIsNotToldToBeSaved(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.AppendWait = time.Minute }))
	a, b := w.open("/behind"), w.open("/behind")
	for _, c := range []*client{a, b} {
		c.wait("our step 1", func() bool { return c.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
		c.send(yjs.AppendSync(nil, yjs.SyncStep2, emptyUpdate))
	}
	r := w.srv.rooms.find("behind")
	w.nats.Stop()
	a.send(edit(insert(1, 0, "too large")))
	eventually(t, 5*time.Second, "a group under way", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.commit.inflight != nil })
	b.send(edit(insert(2, 0, "innocent")), []byte{yjs.MsgSaved, 1, 7})
	eventually(t, 5*time.Second, "another behind it", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.commit.gather) > 0 })
	a.turn() // its group is on its way
	b.turn() // its question has come too
	r.mu.Lock()
	g, cancel := r.commit.inflight, r.commit.cancel
	r.commit.cancel = func() {} // the append itself stays where it is
	defer cancel()
	r.mu.Unlock()
	r.givenUp(g, stream.ErrTooLarge)
	if got := a.code(); got != 4413 {
		t.Errorf("close code of the sender: got %d, want 4413", got)
	}
	w.srv.rooms.tick(time.Now().Add(500 * time.Millisecond)) // settles acknowledgements that are due
	b.turn()
	b.mu.Lock()
	n := b.echoes()
	b.mu.Unlock()
	if n != 0 {
		t.Error("told that all is saved while NATS is away")
	}
}

func TestEditsOfOneConnectionAreMergedWhileACommitIsUnderWay(t *testing.T) {
	w := start(t)
	a, b := w.open("/merge"), w.open("/merge")
	for i := range 300 {
		a.send(edit(insert(1, uint64(i), "x")))
	}
	b.has(1, 300)
	merged, records := 0, w.records("merge")
	for _, r := range records {
		merged += r.Merged
	}
	if merged != 300 {
		t.Errorf("updates in %d records: got %d, want 300", len(records), merged)
	}
}

func TestSlowReaderDoesNotHoldUpOthers(t *testing.T) {
	w := start(t, limits(func(l *Limits) {
		l.WriteWait, l.ByteBurst = 500*time.Millisecond, 64<<20
		l.QueueSoft, l.QueueFrames = 64<<10, 64
	}))
	d := websocket.Dialer{NetDial: func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		if err == nil {
			c.(*net.TCPConn).SetReadBuffer(4 << 10)
		}
		return c, err
	}}
	slow, _, err := d.Dial(w.url("/slow"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.WriteMessage(websocket.BinaryMessage, step1(nil))
	a, b := w.open("/slow"), w.open("/slow")
	clock := uint64(0)
	chunk := strings.Repeat("z", 200<<10)
	for range 80 { // 16 MB, more than any socket buffer takes
		a.send(edit(insert(1, clock, chunk)))
		clock += uint64(len(chunk))
		b.has(1, clock)
	}
	eventually(t, 10*time.Second, "the slow one dropped", func() bool {
		w.srv.mu.Lock()
		defer w.srv.mu.Unlock()
		return len(w.srv.conns) == 2
	})
}

// A message may be larger than the bytes that may wait for a connection: that is no slow reader.
func TestMessageAboveTheQueuesLimitClosesNobody(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.QueueSoft, l.QueueHard = 8<<10, 64<<10 }))
	a, b := w.open("/large"), w.open("/large")
	text := strings.Repeat("z", 300<<10)
	a.send(edit(insert(1, 0, text)))
	for _, c := range []*client{a, b} {
		c.has(1, uint64(len(text)))
	}
	b.send(edit(insert(2, 0, "and on")))
	a.has(2, 6)
	b.has(2, 6)
}

func TestReaderThatFellBehindCatchesUp(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.QueueSoft, l.QueueFrames, l.ByteBurst, l.WriteWait = 32<<10, 8, 64<<20, time.Minute }))
	ws, _, err := websocket.DefaultDialer.Dial(w.url("/behind"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ws.NetConn().(*net.TCPConn).SetReadBuffer(256 << 10)
	ws.WriteMessage(websocket.BinaryMessage, step1(nil))
	a, b := w.open("/behind"), w.open("/behind")
	b.send(aware(7, 1, `{"b":1}`))
	a.wait("b", func() bool { return a.present()[7] != "" })
	clock := uint64(0)
	chunk := strings.Repeat("z", 200<<10)
	for range 50 {
		a.send(edit(insert(1, clock, chunk)))
		clock += uint64(len(chunk))
		a.has(1, clock)
	}
	b.leave()
	a.wait("b's leave", func() bool { return a.present()[7] == "" })
	late := newClient(t, ws) // begins to read now
	// It waits for a fold of 10 MB, which takes long with the race detector.
	late.waitFor(time.Minute, "content", func() bool { return late.state().Structs().Prefix(1) >= clock })
	late.wait("b's coming", func() bool { return late.count(yjs.MsgAwareness, 0) > 0 })
	late.wait("b's leave", func() bool { return late.present()[7] == "" })
	a.send(edit(insert(1, clock, "live again")))
	late.has(1, clock+10)
	late.mu.Lock()
	defer late.mu.Unlock()
	if n := late.count(yjs.MsgSync, yjs.SyncUpdate); n > 50 {
		t.Errorf("updates for 61 edits: got %d, want those missed in one", n)
	}
}

func TestSessionThatFellBehindAtTheLastMomentCatchesUp(t *testing.T) {
	w := start(t)
	a, b := w.open("/lag"), w.open("/lag")
	r := w.srv.rooms.find("lag")
	eventually(t, 5*time.Second, "both", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.sessions) == 2 })
	a.turn()
	b.turn() // all is written
	r.do(func() {
		for s := range r.sessions {
			r.fallBehind(s, 0) // its queue was written between the frame that was too much and this
		}
	})
	a.send(edit(insert(1, 0, "hello")))
	b.waitFor(3*time.Second, "content", func() bool { return b.state().Structs().Prefix(1) >= 5 })
}

func TestOutageIsHeldThenRecovered(t *testing.T) {
	w := start(t)
	a, b := w.open("/outage"), w.open("/outage")
	a.send(edit(insert(1, 0, "before")))
	b.has(1, 6)
	w.nats.Stop()
	a.send(edit(insert(1, 6, "during")))
	a.turn()
	b.turn() // an echo would have come before the answer
	b.mu.Lock()
	got := b.state().Structs().Prefix(1)
	b.mu.Unlock()
	if got != 6 {
		t.Errorf("seen during the outage: got %d units, want the 6 that were stored", got)
	}
	w.nats.Restart()
	a.has(1, 12)
	b.has(1, 12)
	a.send(edit(insert(1, 12, "after")))
	b.has(1, 17)
}

// Presence is in the memory of NATS, and gone with it where there is one server.
func TestAfterARestartOfNATSDocumentsOpenAndPresenceIsKept(t *testing.T) {
	w := start(t)
	w.open("/before").send(aware(1, 1, `{}`))
	w.nats.Restart()
	begun := time.Now()
	b := w.open("/after")
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("opening a document took %v", took)
	}
	eventually(t, 10*time.Second, "presence in the bucket", func() bool {
		b.send(aware(2, uint64(time.Now().UnixMilli()), `{"n":1}`))
		r := w.srv.rooms.find("after")
		r.mu.Lock()
		r.aware.sign = time.Time{}
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		list, err := w.log.Presence().List(ctx, "after")
		return err == nil && len(list) == 1
	})
}

func TestOutageThatLastsSendsWritersAwayAndLosesNothing(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.AppendWait = time.Second }))
	a := w.open("/long")
	a.send(edit(insert(1, 0, "before")))
	a.has(1, 6)
	w.nats.Stop()
	lost := insert(1, 6, "during")
	a.send(edit(lost))
	if got := a.code(); got != 1013 {
		t.Errorf("close code: got %d, want 1013", got)
	}
	w.nats.Restart()
	b := w.open("/long")
	b.wait("our step 1", func() bool { return b.count(yjs.MsgSync, yjs.SyncStep1) == 1 })
	b.send(yjs.AppendSync(nil, yjs.SyncStep2, lost)) // the provider still has it
	b.has(1, 12)
}

func TestRecordThatDoesNotDecodeIsLeftOut(t *testing.T) {
	w := start(t)
	a := w.open("/outside")
	a.send(edit(insert(1, 0, "good")))
	a.has(1, 4)
	nc := w.nats.Connect()
	for _, s := range []string{"ydoc.00.outside", "ydoc.01.outside"} {
		if _, err := nc.Request(s, []byte("not an update"), 2*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"ydoc.00.outside", "ydoc.01.outside"} {
		if _, err := nc.Request(s, insert(2, 0, "from another program"), 2*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	a.has(2, 20)
	w.open("/outside").has(2, 20)
}

func TestDocumentThatIsErasedWhileItLoadsIsNotServed(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.Loads = 1 }))
	done := make(chan error, 1)
	w.log.Writer("doomed").Append(context.Background(), []stream.Entry{{Update: insert(1, 0, "secret")}}, func(_ []stream.Seq, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.srv.rooms.loads <- struct{}{}
	c := w.dial("/doomed")
	c.send(step1(nil))
	var r *room
	eventually(t, 5*time.Second, "the room", func() bool {
		w.srv.rooms.mu.Lock()
		defer w.srv.rooms.mu.Unlock()
		r = w.srv.rooms.byDoc["doomed"]
		return r != nil
	})
	r.mu.Lock() // it reads the log, and gets no further
	<-w.srv.rooms.loads
	time.Sleep(500 * time.Millisecond)
	err := w.snap.Erase(context.Background(), "doomed", "")
	r.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.code(); got != 4404 {
		t.Errorf("close code: got %d, want 4404", got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.state().Structs().Prefix(1); got > 0 {
		t.Errorf("shown %d units of an erased document", got)
	}
}

// The announcement is lost where the connection is away; by then somebody may have begun a new document under the name.
func TestErasureThatWasNotAnnouncedEndsTheRoomToo(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	ctx := context.Background()
	a := w2.open("/unheard")
	a.send(edit(insert(1, 0, "old")))
	a.has(1, 3)
	w2.srv.erased.stop()
	if err := w1.snap.Erase(ctx, "unheard", ""); err != nil {
		t.Fatal(err)
	}
	if err := w2.srv.erased.look(ctx); err != nil {
		t.Fatal(err)
	}
	if got := a.code(); got != 4404 {
		t.Errorf("close code: got %d, want 4404", got)
	}
	// A client that comes later has the new document, and stays.
	b := w2.open("/unheard")
	b.send(edit(insert(2, 0, "new")))
	b.has(2, 3)
	w2.srv.erased.seen = 1
	if err := w2.srv.erased.look(ctx); err != nil {
		t.Fatal(err)
	}
	b.send(edit(insert(2, 3, "er")))
	b.has(2, 5)
}

func TestIdleRoomIsForgottenAndComesBack(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.IdleUnload = 10 * time.Millisecond }))
	a := w.open("/idle")
	a.send(edit(insert(1, 0, "kept")))
	a.has(1, 4)
	a.leave()
	eventually(t, 10*time.Second, "room forgotten", func() bool { return w.srv.rooms.count() == 0 })
	w.open("/idle").has(1, 4)
}

func TestDrainAcknowledgesThenCloses(t *testing.T) {
	w := start(t)
	a := w.open("/drain")
	for i := range 50 {
		a.send(edit(insert(1, uint64(i), "x")))
	}
	a.send(append([]byte{yjs.MsgSaved}, 1, 42))
	a.has(1, 50)
	go w.srv.Drain(context.Background())
	if got := a.code(); got != 1012 {
		t.Errorf("close code: got %d, want 1012", got)
	}
	if resp := w.refused("/drain"); resp == nil || resp.StatusCode != 503 {
		t.Errorf("connect while draining: got %v, want 503", resp)
	}
}

func TestSavedIsEchoedWhenAllBeforeItIsStored(t *testing.T) {
	w := start(t)
	a := w.open("/saved")
	a.send(edit(insert(1, 0, "x")), []byte{yjs.MsgSaved, 1, 7})
	var echo []byte
	a.wait("echo of the question", func() bool {
		for _, f := range a.frames {
			if f.data[0] == yjs.MsgSaved {
				echo = f.data
			}
		}
		return echo != nil
	})
	if !bytes.Equal(echo, []byte{yjs.MsgSaved, 1, 7}) {
		t.Errorf("echo: got %x, want the same bytes", echo)
	}
	if got := w.records("saved"); len(got) != 1 {
		t.Errorf("records when the echo came: got %d, want 1", len(got))
	}
}
