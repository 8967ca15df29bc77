package outbound

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"yjet/auth"
	"yjet/internal/natstest"
	"yjet/internal/testlog"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// store is a log and its snapshots on a NATS server of the test's own.
type store struct {
	log   *stream.Log
	folds *snapshot.Store
}

func newStore(t *testing.T) *store {
	t.Helper()
	srv := natstest.Start(t, natstest.Process)
	quiet := slog.New(slog.DiscardHandler)
	log, err := stream.Open(t.Context(), srv.Connect(), srv.Connect(), stream.Config{Embedded: true, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	folds := snapshot.New(log, snapshot.Options{Log: quiet})
	t.Cleanup(func() {
		folds.Close(context.Background())
		log.Close()
	})
	return &store{log, folds}
}

func (s *store) head(t *testing.T, doc stream.Doc) stream.Seq {
	t.Helper()
	head, err := s.log.Head(t.Context(), doc)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// read replays the document: its records, and its root text "t".
func (s *store) read(t *testing.T, doc stream.Doc) (records int, text string) {
	t.Helper()
	d := yjs.NewDocument(yjs.DocumentOptions{})
	for r, err := range s.log.Replay(t.Context(), doc, 0, 0) {
		if err == nil {
			err = d.Apply(r.Update)
		}
		if err != nil {
			t.Fatal(err)
		}
		records++
	}
	b, _, err := d.Text("t", yjs.KindText, nil)
	if err != nil {
		t.Fatal(err)
	}
	return records, string(b)
}

// loading is a loader and its counts.
type loading struct {
	*Loader
	failed atomic.Int64
	logs   testlog.Buffer
}

func (s *store) loader(t *testing.T, url string, change func(*LoaderOptions)) *loading {
	t.Helper()
	l := &loading{}
	o := LoaderOptions{URL: url, Timeout: patience, Log: s.log, Snapshots: s.folds, MaxState: 1 << 20, Logger: l.logs.Logger(slog.LevelInfo), Failed: func() { l.failed.Add(1) }}
	if change != nil {
		change(&o)
	}
	var err error
	if l.Loader, err = NewLoader(o); err != nil {
		t.Fatal(err)
	}
	l.pause = time.Millisecond
	t.Cleanup(l.Close)
	return l
}

// typed is one update for each text, which inserts it at the end of the root text "t".
func typed(t *testing.T, texts ...string) (updates [][]byte) {
	t.Helper()
	d := yjs.NewDocument(yjs.DocumentOptions{})
	at := 0
	for _, s := range texts {
		u, err := d.Edit(7, func(tx *yjs.Tx) error { return tx.Text("t").Insert(at, s, nil) })
		if err != nil {
			t.Fatal(err)
		}
		at += len(s)
		updates = append(updates, u)
	}
	return updates
}

// waiting ends with the test, or after the time that a test waits.
func waiting(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestWhatAServiceAnswersBecomesTheDocumentOrNothing goes through the answers that a service may give.
func TestWhatAServiceAnswersBecomesTheDocumentOrNothing(t *testing.T) {
	s := newStore(t)
	updates := typed(t, "hello ", "world")
	second := updates[1] // depends on the first
	other := yjs.NewDocument(yjs.DocumentOptions{})
	theirs, err := other.Edit(9, func(tx *yjs.Tx) error { return tx.Text("t").Insert(0, "theirs", nil) })
	if err != nil {
		t.Fatal(err)
	}
	two, err := yjs.Merge(updates[0], theirs)
	if err != nil {
		t.Fatal(err)
	}
	v2, err := yjs.ToV2(updates[0])
	if err != nil {
		t.Fatal(err)
	}
	send := func(kind string, b []byte) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) {
			if kind != "" {
				w.Header().Set("Content-Type", kind)
			}
			w.Write(b)
		}
	}
	status := func(code int) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, c := range []struct {
		name   string
		answer func(int, http.ResponseWriter, *http.Request)
		text   string // "": the document stays new
		refuse bool   // Load is ErrNotLoaded
		calls  int64
		change func(*LoaderOptions)
	}{
		{"an-update", send("application/octet-stream", updates[0]), "hello ", false, 1, nil},
		{"an-update-without-kind", send("", updates[0]), "hello ", false, 1, nil},
		{"an-update-v2", send("application/vnd.yjs.update.v2; charset=binary", v2), "hello ", false, 1, nil},
		{"no-content", status(204), "", false, 1, nil},
		{"not-found", status(404), "", false, 1, nil},
		{"ok-without-body", status(200), "", false, 1, nil},
		{"an-empty-update", send("", []byte{0, 0}), "", false, 1, nil},
		{"refused", status(403), "", true, 1, nil},
		{"redirect", func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}, "", true, 1, nil},
		{"a-page", send("text/html", []byte("<html>no such page</html>")), "", true, 1, nil},
		{"v1-said-to-be-v2", send("application/vnd.yjs.update.v2", updates[0]), "", true, 1, nil},
		{"cut-short", send("", updates[0][:len(updates[0])-3]), "", true, 1, nil},
		{"a-part-of-a-document", send("", second), "", true, 1, nil},
		{"too-long", send("", updates[0]), "", true, 1, func(o *LoaderOptions) { o.MaxState = len(updates[0]) - 1 }},
		{"as-long-as-allowed", send("", updates[0]), "hello ", false, 1, func(o *LoaderOptions) { o.MaxState = len(updates[0]) }},
		{"of-too-many-clients", send("", two), "", true, 1, func(o *LoaderOptions) { o.Shape.Clients = 1 }},
		{"down-and-up-again", func(n int, w http.ResponseWriter, _ *http.Request) {
			switch n {
			case 1:
				w.WriteHeader(502)
			case 2:
				w.WriteHeader(429)
			case 3:
				panic(http.ErrAbortHandler)
			default:
				w.Write(updates[0])
			}
		}, "hello ", false, 4, nil},
	} {
		svc := newService(t, c.answer)
		l := s.loader(t, svc.URL, c.change)
		doc := stream.Doc("answers/" + c.name)
		err := l.Load(waiting(t), doc)
		if errors.Is(err, ErrNotLoaded) != c.refuse || err != nil && !c.refuse {
			t.Errorf("%s: %v, want ErrNotLoaded: %v", c.name, err, c.refuse)
		}
		if n := svc.n.Load(); n != c.calls {
			t.Errorf("%s: %d calls, want %d", c.name, n, c.calls)
		}
		if head := s.head(t, doc); (head > 0) != (c.text != "") {
			t.Errorf("%s: the document is at %d", c.name, head)
		} else if _, text := s.read(t, doc); text != c.text {
			t.Errorf("%s: the document is %q, want %q", c.name, text, c.text)
		}
		if want := c.calls - 1; !c.refuse && l.failed.Load() != want || c.refuse && l.failed.Load() != c.calls {
			t.Errorf("%s: %d calls counted as failed of %d", c.name, l.failed.Load(), c.calls)
		}
	}
}

func TestTheQuestionNamesTheDocumentAndIsSigned(t *testing.T) {
	s := newStore(t)
	svc := newService(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	l := s.loader(t, svc.URL, func(o *LoaderOptions) { o.Secret = "shared secret" })
	const doc = stream.Doc("tenant/\"quoted\" <b> \u2028 näme")
	if err := l.Load(waiting(t), doc); err != nil {
		t.Fatal(err)
	}
	r := svc.next(t)
	if want := `{"document":"tenant/\"quoted\" \u003cb\u003e \u2028 näme","event":"document.load"}`; string(r.body) != want {
		t.Errorf("asked %s, want %s", r.body, want)
	}
	if err := auth.CheckSignature([]byte("shared secret"), r.header.Get(auth.SignatureHeader), r.body, time.Hour); err != nil {
		t.Error(err)
	}
}

func TestOnlyANewDocumentIsAskedFor(t *testing.T) {
	s := newStore(t)
	first := typed(t, "first")[0]
	svc := newService(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.Write(first) })
	l := s.loader(t, svc.URL, nil)
	for range 2 {
		if err := l.Load(waiting(t), "kept"); err != nil {
			t.Fatal(err)
		}
	}
	if n := svc.n.Load(); n != 1 {
		t.Errorf("%d calls for a document that exists since the first, want 1", n)
	}
	if err := s.folds.Erase(waiting(t), "kept", "ada"); err != nil {
		t.Fatal(err)
	}
	if err := l.Load(waiting(t), "kept"); err != nil {
		t.Fatal(err)
	}
	if n := svc.n.Load(); n != 1 || s.head(t, "kept") != 0 {
		t.Errorf("a deleted document came back: %d calls, head %d", n, s.head(t, "kept"))
	}
}

// Two servers open one document at the same time: both ask, and the answer of one is stored.
func TestServersThatLoadAtOnceStoreOneFirstState(t *testing.T) {
	s := newStore(t)
	first := typed(t, "first")[0]
	var both sync.WaitGroup
	both.Add(2)
	svc := newService(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		both.Done()
		both.Wait() // both have seen that the document is new
		w.Write(first)
	})
	var wg sync.WaitGroup
	for range 2 {
		l := s.loader(t, svc.URL, nil)
		wg.Go(func() {
			if err := l.Load(waiting(t), "raced"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, text := s.read(t, "raced"); n != 1 || text != "first" {
		t.Errorf("%d records and %q, want one of the first state", n, text)
	}
}

func TestWhatDependsOnNothingThatIsThereIsLeftOutAndTold(t *testing.T) {
	s := newStore(t)
	updates := typed(t, "one ", "two ", "three")
	mixed, err := yjs.Merge(updates[0], updates[2])
	if err != nil {
		t.Fatal(err)
	}
	svc := newService(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.Write(mixed) })
	l := s.loader(t, svc.URL, nil)
	if err := l.Load(waiting(t), "mixed"); err != nil {
		t.Fatal(err)
	}
	if _, got := s.read(t, "mixed"); got != "one " || !strings.Contains(l.logs.String(), "left out") {
		t.Errorf("the document is %q and the log %q, want the part that is whole, and the rest told", got, l.logs.String())
	}
}

func TestACallerThatGivesUpIsAnsweredWhileTheServiceIsDown(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	down := newService(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
	})
	l := s.loader(t, down.URL+"/very-secret", nil)
	l.pause = time.Hour
	done := make(chan error, 1)
	go func() { done <- l.Load(ctx, "away") }()
	down.next(t)
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, ErrNotLoaded) {
			t.Errorf("got %v, want ErrNotLoaded", err)
		}
	case <-time.After(patience):
		t.Fatal("Load waits for its next try")
	}
	hanging := newService(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	l = s.loader(t, hanging.URL+"/very-secret", nil)
	ctx, cancel = context.WithCancel(t.Context())
	go func() { done <- l.Load(ctx, "away") }()
	hanging.next(t)
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, ErrNotLoaded) || strings.Contains(err.Error()+l.logs.String(), "very-secret") {
			t.Errorf("got %v and log %q, want ErrNotLoaded, and no URL", err, l.logs.String())
		}
	case <-time.After(patience):
		t.Fatal("Load waits for an answer")
	}
	if s.head(t, "away") != 0 {
		t.Error("the document was begun")
	}
}

func TestServicesThatCannotBeMeantAreRefusedAtTheStart(t *testing.T) {
	for _, url := range []string{"", "example.com", "ftp://example.com", "http://", "https:///path", "http://[::1"} {
		if _, err := NewLoader(LoaderOptions{URL: url}); err == nil || !strings.Contains(err.Error(), "load-url") {
			t.Errorf("load-url %q: %v, want the setting named", url, err)
		}
		if _, err := NewWebhook(WebhookOptions{URL: url}, Host{}); err == nil || !strings.Contains(err.Error(), "webhook") {
			t.Errorf("webhook %q: %v, want the setting named", url, err)
		}
	}
	if _, err := NewLoader(LoaderOptions{URL: httptest.DefaultRemoteAddr}); err == nil {
		t.Error("an address without a scheme is accepted")
	}
}
