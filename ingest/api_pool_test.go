package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// arrive has a request of a user wait for its turn, and returns when it waits.
func (p *pool) arrive(t *testing.T, ctx context.Context, user string, ran func(error)) {
	t.Helper()
	p.mu.Lock()
	before := len(p.waiting)
	p.mu.Unlock()
	go func() { ran(p.enter(ctx, user)) }()
	eventually(t, waitLong, "the request waits", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.waiting) > before
	})
}

func TestSecondHeavyRequestOfAUserWaitsBehindTheFirstOfOthers(t *testing.T) {
	p := newPool(10)
	p.most = 2
	ctx := context.Background()
	for range 2 {
		if err := p.enter(ctx, "ada"); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	for _, user := range []string{"ada", "ada", "bob", "bob", "eve"} {
		all.Add(1)
		p.arrive(t, ctx, user, func(err error) {
			defer all.Done()
			if err != nil {
				t.Errorf("%s: %v", user, err)
			}
			mu.Lock()
			order = append(order, user)
			mu.Unlock()
			p.leave(user)
		})
	}
	p.leave("ada") // the other one of ada's runs on
	all.Wait()
	p.leave("ada")
	if first := order[:3]; !slices.Contains(first, "bob") || !slices.Contains(first, "eve") || slices.Contains(first, "ada") {
		t.Errorf("got the order %v, want ada's after those of bob and eve", order)
	}
	if p.active != 0 || len(p.running) != 0 {
		t.Errorf("in the end: %d run, want none", p.active)
	}
}

func TestFullQueueRefusesTheUserWhoFillsIt(t *testing.T) {
	p := newPool(4)
	p.most = 1
	ctx, cancel := context.WithCancel(context.Background())
	if err := p.enter(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	ends := make(chan error, 8)
	for range 4 {
		p.arrive(t, ctx, "ada", func(err error) { ends <- err })
	}
	if err := p.enter(ctx, "ada"); err != causeHeavy {
		t.Errorf("a fifth of ada's: got %v, want it refused", err)
	}
	go func() { ends <- p.enter(ctx, "bob") }()
	if err := <-ends; err != causeHeavy {
		t.Errorf("when bob came: got %v, want one of ada's refused", err)
	}
	cancel()
	for range 4 {
		if err := <-ends; !errors.Is(err, context.Canceled) {
			t.Errorf("a request whose caller hung up: got %v, want it to end", err)
		}
	}
	if len(p.waiting) != 0 {
		t.Errorf("%d still wait", len(p.waiting))
	}
	p.leave("ada")
}

// While all places are taken, heavy requests wait, and the others are answered.
func TestHeavyRequestsWaitAndLightOnesAreAnswered(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.HeavyQueue = 1 }))
	w.large("big", 1<<20)
	p := w.srv.api.pool
	for i := range p.most {
		if err := p.enter(context.Background(), fmt.Sprint("user", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, route := range []struct{ method, path, body string }{
		{"GET", "/api/docs/big/authors", ""}, {"GET", "/api/docs/big/diff?from=1", ""}, {"GET", "/api/docs/big?format=json", ""},
		{"GET", "/api/docs/big?format=text&type=t:text", ""}, {"GET", "/api/docs/big?at=1", ""}, {"GET", "/api/docs/big/export", ""},
		{"GET", "/api/docs/big/history", ""}, {"GET", "/api/docs/big/log", ""}, {"GET", "/api/docs", ""},
		{"POST", "/api/docs/big/restore", `{"at":1}`}, {"POST", "/api/docs/big/copy", `{"to":"other","at":1}`},
		{"POST", "/api/docs/big/versions", `{"name":"first draft"}`},
	} {
		path := route.method + " " + route.path
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, route.method, w.http.URL+route.path, strings.NewReader(route.body))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				resp.Body.Close()
				err = fmt.Errorf("got status %d", resp.StatusCode)
			}
			ended <- err
		}()
		waits := func(n int) func() bool {
			return func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.waiting) == n }
		}
		eventually(t, waitLong, path+" waits", waits(1))
		if code, body, _ := w.ask("GET", "/api/docs/big/authors", nil); code != http.StatusServiceUnavailable || !strings.Contains(body, causeHeavy.reason) {
			t.Errorf("one more than the queue takes: got %d %s, want 503", code, body)
		}
		if code, _, _ := w.ask("GET", "/api/docs/big", nil); code != http.StatusOK {
			t.Errorf("a state as it is, beside %s: got %d, want 200", path, code)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want it to wait until its caller hung up", path, err)
		}
		eventually(t, waitLong, path+" is gone", waits(0))
	}
	for i := range p.most {
		p.leave(fmt.Sprint("user", i))
	}
	for _, path := range []string{"/authors", "?format=json", "/export", "/log"} {
		if code, body, _ := w.ask("GET", "/api/docs/big"+path, nil); code != http.StatusOK || len(body) < 1<<20 {
			t.Errorf("%s when there is a place again: got %d and %d bytes", path, code, len(body))
		}
	}
	if p.active != 0 || len(p.waiting) != 0 {
		t.Errorf("in the end %d run and %d wait, want none", p.active, len(p.waiting))
	}
}

// A PATCH has the time of an append in all: the wait for its turn is a part of it.
func TestAnEditWhoseTurnDoesNotComeInTimeIsRefused(t *testing.T) {
	w := start(t, limits(func(l *Limits) { l.AppendWait = 2 * time.Second }))
	w.large("big", 1<<20)
	p := w.srv.api.pool
	for i := range p.most {
		if err := p.enter(context.Background(), fmt.Sprint("user", i)); err != nil {
			t.Fatal(err)
		}
	}
	if status, answer, h := w.patch("big", appendBody, "Idempotency-Key", "job"); status != http.StatusServiceUnavailable || errorOf(answer)["code"] != causeHeavy.reason || h.Get("Retry-After") == "" {
		t.Errorf("while all places are taken: got %d %v, want 503 %s", status, answer, causeHeavy.reason)
	}
	for i := range p.most {
		p.leave(fmt.Sprint("user", i))
	}
	if status, answer, h := w.patch("big", appendBody, "Idempotency-Key", "job"); status != http.StatusOK || h.Get("Yjet-Replayed") != "" {
		t.Errorf("sent again: got %d %v, want it made", status, answer)
	}
	if n := len(w.records("big")); n != 2 {
		t.Errorf("%d records, want the text and one edit", n)
	}
}
