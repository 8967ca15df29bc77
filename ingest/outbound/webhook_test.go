package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"yjet/auth"
	"yjet/internal/testlog"
	"yjet/snapshot"
	"yjet/stream"
)

// hooked is a webhook and its counts.
type hooked struct {
	*Webhook
	failed, dropped atomic.Int64
	logs            testlog.Buffer
	state           func(stream.Doc) (snapshot.State, error)
}

// newHook starts a webhook whose documents all hold "state" at sequence 9. change may be nil.
func newHook(t *testing.T, o WebhookOptions, change func(*hooked)) *hooked {
	t.Helper()
	h := &hooked{state: func(stream.Doc) (snapshot.State, error) { return snapshot.State{Update: []byte("state"), Seq: 9}, nil }}
	var err error
	h.Webhook, err = NewWebhook(o, Host{
		State:  func(_ context.Context, d stream.Doc) (snapshot.State, error) { return h.state(d) },
		Logger: h.logs.Logger(slog.LevelInfo), Failed: func() { h.failed.Add(1) }, Dropped: func() { h.dropped.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.rest = time.Millisecond
	if change != nil {
		change(h)
	}
	h.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing more is called
		h.Close(ctx)
	})
	return h
}

// unhurried is a webhook that calls only when it is hurried or closed.
func unhurried(url string) WebhookOptions {
	return WebhookOptions{URL: url, DebounceWait: time.Hour, DebounceMaxWait: time.Hour, Timeout: patience}
}

func bodyOf(t *testing.T, r received) webhookBody {
	t.Helper()
	var b webhookBody
	if err := json.Unmarshal(r.body, &b); err != nil {
		t.Fatalf("%q: %v", r.body, err)
	}
	return b
}

func (h *hooked) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.docs) == 0
}

func TestOneCallTellsOfAllEditsSinceTheLast(t *testing.T) {
	s := newService(t, nil)
	o := unhurried(s.URL)
	o.Secret = "shared secret"
	h := newHook(t, o, nil)
	h.Note("notes/todo", 3, []Edit{{User: "ada", Updates: 2}, {User: "", Updates: 1}})
	h.Note("notes/todo", 7, []Edit{{User: "bob", Updates: 4}, {User: "ada", Updates: 1}})
	h.Hurry("notes/todo")
	r := s.next(t)
	b := bodyOf(t, r)
	if b.Event != "document.updated" || b.Document != "notes/todo" || b.Updates != 8 || !slices.Equal(b.Users, []string{"ada", "bob"}) {
		t.Errorf("got %+v, want 8 updates of ada and bob", b)
	}
	if b.Seq != 9 || string(b.State) != "state" {
		t.Errorf("got state %q at %d, want the state and its sequence", b.State, b.Seq)
	}
	if b.Time.IsZero() || b.Time.Location() != time.UTC {
		t.Errorf("got time %v, want the time of the last edit in UTC", b.Time)
	}
	if r.method != http.MethodPost || r.header.Get("Content-Type") != "application/json" || r.header.Get("User-Agent") != "yjet" {
		t.Errorf("got %s with %v", r.method, r.header)
	}
	if err := auth.CheckSignature([]byte("shared secret"), r.header.Get(auth.SignatureHeader), r.body, time.Hour); err != nil {
		t.Error(err)
	}
	if err := auth.CheckSignature([]byte("another"), r.header.Get(auth.SignatureHeader), r.body, time.Hour); err == nil {
		t.Error("the signature holds with another secret")
	}
	eventually(t, "a document without news to be forgotten", h.idle)
}

func TestCallsWithoutASecretAreUnsigned(t *testing.T) {
	s := newService(t, nil)
	h := newHook(t, unhurried(s.URL), nil)
	h.Note("a", 1, []Edit{{Updates: 1}})
	h.Hurry("a")
	r := s.next(t)
	if v, ok := r.header[auth.SignatureHeader]; ok {
		t.Errorf("signed with %q", v)
	}
	if !strings.Contains(string(r.body), `"users":[]`) {
		t.Errorf("got %s, want an empty list of users where nobody is signed in", r.body)
	}
}

// Which documents are due depends on the clock alone, which the test sets.
func TestADocumentIsDueWhenItIsQuietOrHasWaitedForLong(t *testing.T) {
	now := time.Now()
	ago := func(first, last time.Duration) change {
		return change{first: now.Add(-first), last: now.Add(-last), updates: 1}
	}
	with := func(c change, f func(*change)) change { f(&c); return c }
	for name, c := range map[string]struct {
		change
		all, due bool
	}{
		"just edited":                       {ago(time.Second, time.Second), false, false},
		"quiet":                             {ago(3*time.Second, 2*time.Second), false, true},
		"never quiet, for too long":         {ago(10*time.Second, 0), false, true},
		"never quiet, not for long":         {ago(9*time.Second, 0), false, false},
		"its last client left":              {with(ago(0, 0), func(c *change) { c.hurried = true }), false, true},
		"quiet, but told of at the moment":  {with(ago(3*time.Second, 3*time.Second), func(c *change) { c.calling = true }), false, false},
		"at the end, just edited":           {ago(0, 0), true, true},
		"at the end, told of at the moment": {with(ago(0, 0), func(c *change) { c.calling = true }), true, true},
		"at the end, without news":          {change{}, true, false},
	} {
		h, err := NewWebhook(WebhookOptions{URL: "http://127.0.0.1:1"}, Host{})
		if err != nil {
			t.Fatal(err)
		}
		h.docs["d"] = &c.change
		if got := len(h.due(now, c.all)) == 1; got != c.due {
			t.Errorf("%s: due is %v, want %v", name, got, c.due)
		}
		h.cut()
	}
}

func TestEditsDuringACallAreToldByTheNextOne(t *testing.T) {
	answer, under := make(chan struct{}), atomic.Int64{}
	s := newService(t, func(n int, _ http.ResponseWriter, _ *http.Request) {
		if under.Add(1) > 1 {
			t.Error("two calls for one document at once")
		}
		if n == 1 {
			<-answer
		}
		under.Add(-1)
	})
	h := newHook(t, unhurried(s.URL), nil)
	h.Note("a", 1, []Edit{{User: "ada", Updates: 1}})
	h.Hurry("a")
	s.next(t)
	h.Note("a", 2, []Edit{{User: "bob", Updates: 5}})
	h.Hurry("a")
	close(answer)
	if b := bodyOf(t, s.next(t)); b.Updates != 5 || !slices.Equal(b.Users, []string{"bob"}) {
		t.Errorf("the second call tells of %d updates of %v, want the 5 of bob", b.Updates, b.Users)
	}
	eventually(t, "no more news", h.idle)
}

func TestOnlyFailuresThatMayPassAreTriedAgain(t *testing.T) {
	target := newService(t, nil)
	for _, c := range []struct {
		name   string
		answer func(n int, w http.ResponseWriter, r *http.Request)
		calls  int
		failed int64
		log    string // "": nothing is logged
	}{
		{"success", func(int, http.ResponseWriter, *http.Request) {}, 1, 0, ""},
		{"no content", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 1, 0, ""},
		{"not found", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 1, 1, "status=404"},
		{"refused", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, 1, 1, "status=401"},
		{"moved", func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
		}, 1, 1, "status=307"},
		{"down for a moment", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n < 3 {
				w.WriteHeader(503)
			}
		}, 3, 2, ""},
		{"too many requests", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.WriteHeader(429)
			}
		}, 2, 1, ""},
		{"down", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 4, 4, "status=500"},
		{"cut off", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
		}, 2, 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, c.answer)
			h := newHook(t, unhurried(s.URL+"/hook?key=very-secret"), nil)
			h.Note("a", 1, []Edit{{Updates: 1}})
			h.Hurry("a")
			eventually(t, "the end of the call", h.idle)
			if got := int(s.n.Load()); got != c.calls || h.failed.Load() != c.failed {
				t.Errorf("%d calls, %d counted as failed, want %d and %d", got, h.failed.Load(), c.calls, c.failed)
			}
			said := h.logs.String()
			if (said != "") != (c.log != "") || !strings.Contains(said, c.log) {
				t.Errorf("the log says %q, want %q in it", said, c.log)
			}
			if strings.Contains(said, "very-secret") {
				t.Error("the log names the URL")
			}
			if target.n.Load() != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

func TestAServiceThatHangsIsGivenUpAndTriedAgain(t *testing.T) {
	s := newService(t, func(n int, _ http.ResponseWriter, r *http.Request) {
		if n == 1 {
			<-r.Context().Done()
		}
	})
	h := newHook(t, unhurried(s.URL), func(h *hooked) { h.out.timeout = time.Second })
	h.Note("a", 1, []Edit{{Updates: 1}})
	h.Hurry("a")
	first := s.next(t)
	if second := s.next(t); string(second.body) != string(first.body) {
		t.Errorf("the second try tells %s, the first %s", second.body, first.body)
	}
}

func TestEditsAreNotSlowedByAServiceThatHangs(t *testing.T) {
	release := make(chan struct{})
	s := newService(t, func(int, http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	h := newHook(t, unhurried(s.URL), nil)
	// More documents than workers, so that the goroutine that hands them out waits as well.
	for i := range 3 * webhookWorkers {
		doc := stream.Doc(fmt.Sprint(i))
		h.Note(doc, 1, []Edit{{Updates: 1}})
		h.Hurry(doc)
	}
	for range webhookWorkers {
		s.next(t)
	}
	for i := range webhookDocs { // comes to an end, which is the test
		h.Note(stream.Doc(fmt.Sprint(i)), 2, []Edit{{Updates: 1}})
	}
	if n := h.dropped.Load(); n != 0 {
		t.Errorf("%d notes dropped, want none up to %d documents", n, webhookDocs)
	}
	h.Note("one more", 1, []Edit{{Updates: 1}})
	h.Note("0", 3, []Edit{{Updates: 1}})
	if n := h.dropped.Load(); n != 1 {
		t.Errorf("%d notes dropped, want that of the document above the bound alone", n)
	}
}

func TestTheStateIsToldWhereThereIsOneThatFits(t *testing.T) {
	for _, c := range []struct {
		name  string
		state snapshot.State
		err   error
		call  bool
		bytes int
	}{
		{"small", snapshot.State{Update: []byte("ab"), Seq: 5}, nil, true, 2},
		{"as large as fits", snapshot.State{Update: make([]byte, webhookState), Seq: 5}, nil, true, webhookState},
		{"too large", snapshot.State{Update: make([]byte, webhookState+1), Seq: 5}, nil, true, 0},
		{"cannot be read now", snapshot.State{}, errors.New("damaged"), true, 0},
		{"deleted", snapshot.State{}, stream.ErrErased, false, 0},
		{"not there", snapshot.State{}, snapshot.ErrNotFound, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, nil)
			h := newHook(t, unhurried(s.URL), func(h *hooked) {
				h.state = func(stream.Doc) (snapshot.State, error) { return c.state, c.err }
			})
			h.Note("a", 3, []Edit{{Updates: 1}})
			h.Hurry("a")
			eventually(t, "the end of the call", h.idle)
			if got := s.n.Load() == 1; got != c.call {
				t.Fatalf("called: %v, want %v", got, c.call)
			}
			if !c.call {
				return
			}
			want := stream.Seq(3)
			if c.bytes > 0 {
				want = 5
			}
			if b := bodyOf(t, s.next(t)); len(b.State) != c.bytes || b.Seq != want {
				t.Errorf("%d bytes at %d, want %d at %d", len(b.State), b.Seq, c.bytes, want)
			}
		})
	}
}

func TestNoMoreThanAHundredUsersAreNamed(t *testing.T) {
	s := newService(t, nil)
	h := newHook(t, unhurried(s.URL), nil)
	for i := range 2 * webhookUsers {
		h.Note("a", 1, []Edit{{User: fmt.Sprint("user ", i), Updates: 1}})
	}
	h.Hurry("a")
	if b := bodyOf(t, s.next(t)); len(b.Users) != webhookUsers || b.Updates != 2*webhookUsers {
		t.Errorf("%d users and %d updates, want %d and %d", len(b.Users), b.Updates, webhookUsers, 2*webhookUsers)
	}
}

func TestHurryWithoutNewsCallsNobody(t *testing.T) {
	s := newService(t, nil)
	h := newHook(t, unhurried(s.URL), nil)
	h.Hurry("never seen")
	h.Note("seen", 1, []Edit{{Updates: 1}})
	h.Hurry("seen")
	if b := bodyOf(t, s.next(t)); b.Document != "seen" {
		t.Errorf("called for %q", b.Document)
	}
	eventually(t, "no more news", h.idle)
	h.Hurry("seen") // already told
	h.Note("last", 1, []Edit{{Updates: 1}})
	h.Hurry("last")
	if b := bodyOf(t, s.next(t)); b.Document != "last" {
		t.Errorf("called for %q", b.Document)
	}
}

func TestCloseMakesTheCallsThatAreDue(t *testing.T) {
	s := newService(t, nil)
	h, err := NewWebhook(unhurried(s.URL), Host{State: func(context.Context, stream.Doc) (snapshot.State, error) { return snapshot.State{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	h.Start()
	for i := range 20 {
		h.Note(stream.Doc(fmt.Sprint(i)), 1, []Edit{{Updates: 1}})
	}
	h.Close(t.Context())
	if n := s.n.Load(); n != 20 {
		t.Errorf("%d calls, want one for each of 20 documents", n)
	}
}

func TestCloseTriesAFailedCallOnceMore(t *testing.T) {
	s := newService(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	h, err := NewWebhook(unhurried(s.URL), Host{
		State:  func(context.Context, stream.Doc) (snapshot.State, error) { return snapshot.State{}, nil },
		Logger: (&testlog.Buffer{}).Logger(slog.LevelInfo), Failed: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.rest = time.Hour
	h.Start()
	h.Note("a", 1, []Edit{{Updates: 1}})
	h.Hurry("a")
	s.next(t)
	h.Close(t.Context()) // in the pause before the second try
	if n := s.n.Load(); n != 2 {
		t.Errorf("%d calls, want the first and a last one", n)
	}
}

func TestCloseDoesNotWaitForAServiceThatHangs(t *testing.T) {
	s := newService(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	h, err := NewWebhook(unhurried(s.URL), Host{
		State:  func(context.Context, stream.Doc) (snapshot.State, error) { return snapshot.State{}, nil },
		Logger: (&testlog.Buffer{}).Logger(slog.LevelInfo), Failed: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.o.Timeout, h.out.timeout = time.Hour, time.Hour
	h.Start()
	h.Note("a", 1, []Edit{{Updates: 1}})
	h.Hurry("a")
	s.next(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	done := make(chan struct{})
	go func() { h.Close(ctx); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("Close waits for the service")
	}
}

// Close lists a document again that a worker has just been given.
func TestADocumentThatIsHandedOutTwiceIsToldOnce(t *testing.T) {
	s := newService(t, nil)
	h, err := NewWebhook(unhurried(s.URL), Host{State: func(context.Context, stream.Doc) (snapshot.State, error) { return snapshot.State{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	h.wg.Go(h.work)
	h.Note("a", 1, []Edit{{Updates: 1}})
	h.jobs <- "a"
	h.jobs <- "a" // taken when the first is done
	close(h.jobs)
	h.wg.Wait()
	h.cut()
	if n := s.n.Load(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}
