package ingest

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"sync"

	"yjet/auth"
)

// heavyState is the size in bytes of a state from which on rendering it is work for the pool.
const heavyState = 256 << 10

// A pool runs heavy requests on half of the cores, so that the others stay free for people who type. Users take turns: the next to
// run is the one of whose requests the fewest run.
type pool struct {
	// mu guards everything below. Its holder sees each request in one place: running or waiting.
	mu      sync.Mutex
	most    int // that run
	queue   int // most that wait
	running map[string]int
	active  int // sum of running
	waiting []*heavyTurn
}

// A heavyTurn is a request that waits.
type heavyTurn struct {
	user string
	told chan error // buffered: nil when it runs, a cause when it is refused
}

func newPool(queue int) *pool {
	return &pool{most: max(1, runtime.GOMAXPROCS(0)/2), queue: queue, running: map[string]int{}}
}

// enter waits until a user's request may run; causeHeavy: too many wait, or its turn did not come by the deadline of ctx. The caller owes a
// leave where the error is nil.
func (p *pool) enter(ctx context.Context, user string) error { return p.wait(ctx, user, true) }

// wait is enter; bounded says whether the request is refused where too many wait.
func (p *pool) wait(ctx context.Context, user string, bounded bool) error {
	p.mu.Lock()
	if p.active < p.most && len(p.waiting) == 0 {
		p.runs(user)
		p.mu.Unlock()
		return nil
	}
	if bounded && len(p.waiting) >= p.queue && !p.makeRoom(user) {
		p.mu.Unlock()
		return causeHeavy
	}
	t := &heavyTurn{user, make(chan error, 1)}
	p.waiting = append(p.waiting, t)
	p.mu.Unlock()
	select {
	case err := <-t.told:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiting, t)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 && <-t.told == nil { // its turn came in the same moment
		p.leave(user)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return causeHeavy
	}
	return ctx.Err()
}

// makeRoom refuses the newest request of the user with the most waiting, if those are more than the newcomer would have. Callers hold
// the lock.
func (p *pool) makeRoom(user string) bool {
	count := map[string]int{}
	for _, t := range p.waiting {
		count[t.user]++
	}
	newest := -1
	for i, t := range p.waiting {
		if count[t.user] > count[user]+1 && (newest < 0 || count[t.user] >= count[p.waiting[newest].user]) {
			newest = i
		}
	}
	if newest < 0 {
		return false
	}
	p.waiting[newest].told <- causeHeavy
	p.waiting = slices.Delete(p.waiting, newest, newest+1)
	return true
}

// runs counts a request of a user as running. Callers hold the lock.
func (p *pool) runs(user string) {
	p.running[user]++
	p.active++
}

// leave gives the place to the next.
func (p *pool) leave(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[user]--; p.running[user] == 0 {
		delete(p.running, user)
	}
	p.active--
	if len(p.waiting) == 0 {
		return
	}
	next := 0
	for i, t := range p.waiting {
		if p.running[t.user] < p.running[p.waiting[next].user] {
			next = i
		}
	}
	t := p.waiting[next]
	p.waiting = slices.Delete(p.waiting, next, next+1)
	p.runs(t.user)
	t.told <- nil
}

// payer is the key that a heavy request counts under: its user, or its address where nobody is signed in.
func (a *api) payer(r *http.Request, g auth.Grant) string {
	if g.User != "" {
		return "user " + g.User
	}
	return "address " + auth.ClientKey(a.srv.clientIP(r))
}

// heavily runs f when it is the caller's turn.
func (a *api) heavily(r *http.Request, g auth.Grant, f func() error) error {
	who := a.payer(r, g)
	if err := a.pool.enter(r.Context(), who); err != nil {
		return err
	}
	defer a.pool.leave(who)
	return f()
}

// A pausing answer gives its place in the pool away while it waits for its reader.
type pausing struct {
	http.ResponseWriter
	pool *pool
	who  string
	ctx  context.Context
	out  bool // it has no place: its context ended while it waited for one
}

// heavyAnswer waits for the caller's turn to write a long answer. The caller owes a done where the error is nil.
func (a *api) heavyAnswer(w http.ResponseWriter, r *http.Request, g auth.Grant) (*pausing, error) {
	who := a.payer(r, g)
	if err := a.pool.enter(r.Context(), who); err != nil {
		return nil, err
	}
	return &pausing{ResponseWriter: w, pool: a.pool, who: who, ctx: r.Context()}, nil
}

func (w *pausing) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *pausing) Write(p []byte) (int, error) {
	if w.out {
		return 0, w.ctx.Err()
	}
	w.pool.leave(w.who)
	n, err := w.ResponseWriter.Write(p)
	if werr := w.pool.wait(w.ctx, w.who, false); werr != nil {
		w.out = true
		return n, werr
	}
	return n, err
}

// done gives the place back.
func (w *pausing) done() {
	if !w.out {
		w.pool.leave(w.who)
	}
}
