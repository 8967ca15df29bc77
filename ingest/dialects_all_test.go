package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

func TestEveryDialectGetsAnAnswerToEachOfItsQuestions(t *testing.T) {
	w := start(t)
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		author := w.enter(tongues[0], doc, "")
		author.write(insert(1, 0, "first"))
		author.reads(1, 5)
		v := w.enter(tg, doc, "")
		v.reads(1, 5)
		for i := 2; i <= 10; i++ {
			v.ask(nil)
			v.answered(i)
		}
		v.mu.Lock()
		answers := 0
		for _, word := range v.words() {
			if word.kind != "answer" {
				continue
			}
			answers++
			if vector, err := yjs.VectorOf(word.payload); err != nil || vector[1] != 5 {
				t.Errorf("answer %d: got %v %v, want the 5 units that are there", answers, vector, err)
			}
		}
		want := 10
		switch {
		case tg.json:
			want = 0 // JSON knows no question of the server
		case tg.greeted:
			want = 11
		}
		if asked := v.heard("asked"); answers != 10 || asked != want {
			t.Errorf("got %d answers and %d questions of the server, want 10 and %d", answers, asked, want)
		}
		v.mu.Unlock()
		// A client that has it all gets nothing twice, and nothing is lost between an answer and the edit after it.
		v.ask([]byte{1, 1, 5})
		v.answered(11)
		author.write(insert(1, 5, "!"))
		v.reads(1, 6)
		v.mu.Lock()
		defer v.mu.Unlock()
		words := v.words()
		for i := len(words) - 1; i >= 0; i-- {
			if words[i].kind == "answer" {
				if !bytes.Equal(words[i].payload, emptyUpdate) {
					t.Errorf("the answer to a client that has it all: got %x, want nothing", words[i].payload)
				}
				break
			}
		}
		if n := v.heard("update"); n != 1 {
			t.Errorf("got %d updates, want the one that was made while it was here", n)
		}
	})
}

func TestEveryDialectMayWriteBeforeItAsks(t *testing.T) {
	w := start(t)
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		watcher := w.enter(tongues[0], doc, "")
		v := w.speak(tg, doc, "")
		v.appear(7, 1, `{"n":1}`)
		v.write(insert(2, 3, "later")) // before its predecessor
		v.write(insert(2, 0, "one"))
		watcher.reads(2, 8)
		watcher.sees(7, `{"n":1}`)
		v.ask(nil)
		v.answered(1)
		v.reads(2, 8)
		if n := len(w.records(doc)); n == 0 || n > 2 {
			t.Errorf("got %d records, want one or two", n)
		}
	})
}

func TestEveryDialectIsToldThatItsWritesAreStored(t *testing.T) {
	w := start(t)
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		v := w.enter(tg, doc, "")
		answers := v.total("answer")
		v.write(insert(3, 0, "kept"))
		switch {
		case tg.hp:
			v.waitFor(waitLong, "a receipt", func() bool { return v.heard("receipt") == 1 })
		case tg.json:
			v.answered(answers + 1)
		default:
			v.send([]byte{yjs.MsgSaved, 1, 9})
			v.waitFor(waitLong, "an echo", func() bool { return v.heard("saved") == 1 })
		}
		if n := len(w.records(doc)); n != 1 {
			t.Errorf("got %d records when the client was told, want 1", n)
		}
	})
}

func TestEveryDialectIsToldInItsOwnWayThatItMayOnlyRead(t *testing.T) {
	w := start(t, logins)
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		user := "reader-" + fmt.Sprint(len(doc), tg.name)
		user = strings.ReplaceAll(user, " ", "-")
		writer := w.enter(tongues[0], doc, token("writer", time.Hour))
		v := w.enter(tg, doc, token(user, time.Hour))
		v.write(insert(4, 0, "may"))
		writer.reads(4, 3)
		if code, body := w.request("DELETE", "/api/sessions?leave=r&user="+user, w.admin(), ""); code != 200 || !strings.Contains(body, `"sessionsHere":1`) {
			t.Fatalf("got %d %s", code, body)
		}
		refusals := w.metric("rejected_writes_total", "read-only")
		v.write(insert(4, 3, "may not"))
		switch {
		case tg.hp:
			v.waitFor(waitLong, "a receipt that the edit is lost", func() bool { return v.heard("lost") == 1 })
		case tg.dialect == "y-sweet": // shows no denials: its question is not answered with an echo
			v.send([]byte{yjs.MsgSaved, 1, 9})
		default:
			v.refusedFor("read-only")
		}
		// What it does not write it reads, and shows.
		v.appear(5, 1, `{"still":"here"}`)
		writer.sees(5, `{"still":"here"}`)
		writer.write(insert(1, 0, "for all"))
		v.reads(1, 7)
		if tg.dialect == "y-sweet" && v.total("saved") > 0 {
			t.Error("a refused edit was echoed as saved")
		}
		if got := w.metric("rejected_writes_total", "read-only"); got != refusals+1 {
			t.Errorf("the metric of refused writes went up by %v, want 1", got-refusals)
		}
		var s yjs.State
		for _, r := range w.records(doc) {
			var u yjs.Update
			if err := u.Parse(r.Update, recordLimits); err != nil {
				t.Fatal(err)
			}
			s.Add(&u)
		}
		if got := s.Structs().Prefix(4); got != 3 {
			t.Errorf("the log has %d units of the reader, want the 3 from before", got)
		}
	})
}

func TestEveryDialectIsSentAwayByARevocation(t *testing.T) {
	w := start(t, logins)
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		user := "gone-" + strings.ReplaceAll(tg.name, " ", "-")
		v := w.enter(tg, doc, token(user, time.Hour))
		if code, body := w.request("DELETE", "/api/sessions?user="+user, w.admin(), ""); code != 200 {
			t.Fatalf("got %d %s", code, body)
		}
		v.endedFor(1008, 4403, "revoked")
		if tg.version != "" && v.total("left") != 1 {
			t.Error("a client that knows the word for a closed document did not get it")
		}
	})
}

func TestEveryDialectIsToldThatItsDocumentWasDeleted(t *testing.T) {
	w := start(t, quick)
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		v := w.enter(tg, doc, "")
		v.write(insert(6, 0, "secret"))
		v.reads(6, 6)
		path := "/api/docs/" + strings.ReplaceAll(escaped(doc), "/", "%2F")
		if code, body, _ := w.ask("DELETE", path, nil); code != 204 {
			t.Fatalf("delete: got %d %s", code, body)
		}
		v.endedFor(1008, 4404, "document-deleted")
		again := w.enter(tg, doc, "")
		again.write(insert(8, 0, "new"))
		again.reads(8, 3)
		// A tab that was away the whole time brings back its old content.
		stale := w.enter(tg, doc, "")
		stale.write(insert(6, 0, "secret"))
		stale.endedFor(1008, 4404, "document-deleted")
		if _, body, _ := w.ask("GET", path+"?format=json", nil); strings.TrimSpace(body) != `{"t":"new"}` {
			t.Errorf("the document is %s, want what was written after the deletion", body)
		}
	})
}

func TestEveryDialectIsClosedAtTheEndOfItsToken(t *testing.T) {
	w := start(t, logins, func(o *Options, _ *auth.Options, _ *stream.Config) { o.OnExpiry = "close" })
	var voices []*voice
	for i, tg := range tongues {
		voices = append(voices, w.enter(tg, fmt.Sprint("notes/of ", i), token("ada", 10*time.Second)))
	}
	w.srv.tickAt(time.Now().Add(10*time.Second + auth.Leeway/2)) // within the difference that clocks may have
	for _, v := range voices {
		v.ask(nil)
		v.answered(2)
	}
	w.srv.tickAt(time.Now().Add(12*time.Second + auth.Leeway))
	for _, v := range voices {
		t.Run(v.name, func(t *testing.T) {
			v.t = t
			v.endedFor(1008, 4401, "token-expired")
		})
	}
}

func TestADrainingServerSendsEveryDialectToAnother(t *testing.T) {
	w := start(t)
	var voices []*voice
	for i, tg := range tongues {
		doc := fmt.Sprint("notes/of ", i)
		v := w.enter(tg, doc, "")
		v.write(insert(1, 0, "last words"))
		v.ask(nil) // its answer tells that the server has read them, not that they are stored
		v.answered(2)
		voices = append(voices, v)
	}
	drained := make(chan error, 1)
	go func() { drained <- w.srv.Drain(context.Background()) }()
	for i, v := range voices {
		v.closedFor(1012, "draining")
		v.drop()
		if v.total("refused") != 0 {
			t.Errorf("%s was told of an error, want a close that its client answers with a new connection", v.name)
		}
		if n := len(w.records(fmt.Sprint("notes/of ", i))); n != 1 {
			t.Errorf("%s: got %d records, want its last edit", v.name, n)
		}
	}
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	for _, tg := range tongues {
		resp := w.refused(strings.TrimRight(tg.path("x"), "?&"))
		if resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s comes while the server drains: got %v, want 503 with Retry-After", tg.name, resp)
		}
	}
	if got := w.metric("connections_ended_total", "draining"); got != float64(len(tongues)) {
		t.Errorf("the metric of ended connections is %v, want %d", got, len(tongues))
	}
}

func TestEveryDialectThatFellBehindCatchesUp(t *testing.T) {
	w := start(t)
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		author := w.enter(tongues[0], doc, "")
		author.appear(1, 1, `{"n":1}`)
		v := w.enter(tg, doc, "")
		v.sees(1, `{"n":1}`)
		v.ask(nil)
		v.answered(2)
		updates := v.total("update")
		r := w.srv.rooms.find(stream.Doc(doc))
		lagged := w.metric("lagging_sessions_total")
		r.do(func() {
			for s := range r.sessions {
				if s.d.name() == tg.dialect && s.came.After(r.idle) && len(s.here.ids) == 0 {
					r.fallBehind(s, 0)
				}
			}
		})
		author.write(insert(1, 0, "missed"))
		author.appear(1, 2, `{"n":2}`)
		v.reads(1, 6)
		v.sees(1, `{"n":2}`)
		author.write(insert(1, 6, "!"))
		v.reads(1, 7)
		if got := w.metric("lagging_sessions_total"); got <= lagged {
			t.Error("the metric of sessions that fell behind did not go up")
		}
		if n := v.total("update") - updates; n < 2 || n > 3 {
			t.Errorf("got %d updates, want what was missed and the edit after it", n)
		}
	})
}

func TestPresenceOfEveryDialectIsSeenByAllOthers(t *testing.T) {
	w := start(t)
	const doc = "together"
	var voices []*voice
	for _, tg := range tongues {
		voices = append(voices, w.enter(tg, doc, ""))
	}
	state := func(i, n int) string { return fmt.Sprintf(`{"user":{"name":"%d"},"n":%d}`, i, n) }
	for i, v := range voices {
		v.appear(uint64(100+i), 1, state(i, 1))
	}
	for _, v := range voices {
		for i := range voices {
			v.sees(uint64(100+i), state(i, 1))
		}
	}
	var list struct {
		Presence []struct {
			Client uint64
			Name   string
		}
	}
	if _, body, _ := w.ask("GET", "/api/docs/together/presence", nil); json.Unmarshal([]byte(body), &list) != nil || len(list.Presence) != len(voices) {
		t.Errorf("presence over HTTP: got %s, want all %d", body, len(voices))
	}
	late := w.enter(tongues[0], doc, "")
	for i := range voices {
		late.sees(uint64(100+i), state(i, 1))
	}
	for i, v := range voices {
		v.leave()
		for _, o := range voices[i+1:] {
			o.sees(uint64(100+i), "")
		}
		late.sees(uint64(100+i), "")
	}
}

func TestHealthAndMetricsCountEveryDialect(t *testing.T) {
	w := start(t)
	want := map[string]int{}
	for i, tg := range tongues {
		w.enter(tg, fmt.Sprint("notes/of ", i), "")
		want[tg.dialect]++
	}
	var h struct {
		Metrics struct {
			ActiveSessions, ActiveDocuments int
			SessionsByProtocol              map[string]int
		}
	}
	_, body, _ := w.ask("GET", "/health", nil)
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		t.Fatal(err)
	}
	if h.Metrics.ActiveSessions != len(tongues) || h.Metrics.ActiveDocuments != len(tongues) {
		t.Errorf("health: got %s, want %d sessions and documents", body, len(tongues))
	}
	for dialect, n := range want {
		if h.Metrics.SessionsByProtocol[dialect] != n {
			t.Errorf("health: got %d sessions of %s, want %d", h.Metrics.SessionsByProtocol[dialect], dialect, n)
		}
		if got := w.metric("sessions", dialect); got != float64(n) {
			t.Errorf("metrics: got %v sessions of %s, want %d", got, dialect, n)
		}
		if w.metric("messages_received_total", dialect) == 0 || w.metric("received_bytes_total", dialect) == 0 {
			t.Errorf("metrics: no messages of %s are counted", dialect)
		}
	}
	if got := w.metric("connections"); got != float64(len(tongues)) {
		t.Errorf("metrics: got %v connections, want %d", got, len(tongues))
	}
}

func TestEveryDialectIsRefusedInItsOwnWayAtALimit(t *testing.T) {
	for _, c := range []struct {
		name       string
		limit      func(*Limits)
		do         func(v *voice)
		reason     string
		party, yws int
		hp         int    // 0: the document alone is refused
		metric     string // that counts it
	}{
		{"a message that is too large", func(l *Limits) { l.Message, l.Document = 32<<10, 16<<10 }, func(v *voice) { v.tryWrite(insert(1, 0, strings.Repeat("x", 96<<10))) },
			"message-too-large", 1009, 4413, 1009, "connections_ended_total"},
		{"an update that is malformed", nil, func(v *voice) { v.write([]byte{1, 1, 1}) }, "malformed", 1008, 4400, 0, "rejected_writes_total"},
		{"a vector that is malformed", nil, func(v *voice) { v.ask([]byte{9, 9}) }, "malformed", 1008, 4400, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, quick, limits(func(l *Limits) {
				if c.limit != nil {
					c.limit(l)
				}
			}))
			each(t, func(t *testing.T, tg tongue, doc string) {
				w.t = t
				other := w.enter(tongues[0], doc, "")
				v := w.enter(tg, doc, "")
				before := w.metric(c.metric, c.reason)
				c.do(v)
				if tg.hp && c.hp != 0 {
					v.closedFor(c.hp, c.reason)
				} else {
					v.endedFor(c.party, c.yws, c.reason)
				}
				if tg.text && v.total("refused") != 1 {
					t.Errorf("a client that takes text was told %d times, want once", v.total("refused"))
				}
				v.drop() // the server counts a connection when its client has gone
				if c.metric != "" {
					eventually(t, waitLong, "the metric went up", func() bool { return w.metric(c.metric, c.reason) == before+1 })
				}
				other.write(insert(9, 0, "goes on"))
				other.reads(9, 7)
				if n := len(w.records(doc)); n != 1 {
					t.Errorf("got %d records, want none of what was refused", n)
				}
			})
		})
	}
}

func TestAFullDocumentRefusesGrowthOfEveryDialectAndKeepsItsSocket(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.Document = 2000 }))
	each(t, func(t *testing.T, tg tongue, doc string) {
		w.t = t
		writer := w.enter(tongues[0], doc, "")
		writer.write(insert(1, 0, strings.Repeat("x", 2000)))
		writer.reads(1, 2000)
		v := w.enter(tg, doc, "")
		v.reads(1, 2000)
		before := w.metric("rejected_writes_total", "document-full")
		v.write(insert(2, 0, "more"))
		switch {
		case tg.hp:
			v.waitFor(waitLong, "a receipt that the edit is lost", func() bool { return v.heard("lost") == 1 })
		case tg.dialect == "y-sweet":
		default:
			v.refusedFor("document-full")
		}
		eventually(t, waitLong, "the refusal is counted", func() bool { return w.metric("rejected_writes_total", "document-full") == before+1 })
		// It is made smaller: a deletion is no growth.
		v.write([]byte{0, 1, 1, 1, 0, 232, 7})
		writer.waitFor(waitLong, "the deletion", func() bool { return writer.heard("update") >= 2 })
		if n := len(w.records(doc)); n != 2 {
			t.Errorf("got %d records, want the text and the deletion", n)
		}
	})
}

func TestMessagesOfTheApplicationsOwnEndNoSocket(t *testing.T) {
	w := start(t)
	for _, tg := range tongues {
		if tg.hp || tg.json {
			continue
		}
		v := w.enter(tg, "own", "")
		dropped := w.metric("dropped_total", "unknown-message")
		v.send([]byte{99, 1, 2, 3}, []byte{100})
		v.ask(nil)
		v.answered(2)
		if got := w.metric("dropped_total", "unknown-message"); got != dropped+2 {
			t.Errorf("%s: %v messages are counted as dropped, want 2", v.name, got-dropped)
		}
	}
}
