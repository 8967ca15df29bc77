package ingest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// A webhook tells another service of documents that were edited here: one call
// after a quiet time, at the latest after a longer one, with the state the
// document has then.
//
//	{"event":"document.updated","document":"notes/todo","seq":812,"time":"…",
//	 "users":["ada"],"updates":17,"state":"<base64 of one Yjs V1 update>"}
//
// The call is signed (Yjet-Signature) and tried again a few times when the service
// fails. It is made by the server that stored the edits; when two did, both call.
// What is due when a server is killed is not told; the next edit tells it.
type webhook struct {
	srv  *Server
	out  *outbound
	o    WebhookOptions
	jobs chan stream.Doc
	wg   sync.WaitGroup
	stop chan struct{}
	ctx  context.Context // ends when closing has taken long enough
	cut  context.CancelFunc

	mu   sync.Mutex
	docs map[stream.Doc]*change
}

// A change is what is to be told of a document.
type change struct {
	first, last time.Time
	seq         stream.Seq
	users       []string
	updates     int
	calling     bool // a call is under way: what came since is told by the next
}

const (
	webhookDocs    = 1_000
	webhookWorkers = 4
	webhookTries   = 4
	webhookUsers   = 100
	webhookState   = 4 << 20 // a larger state is left out: it can be fetched
)

type webhookBody struct {
	Event    string     `json:"event"`
	Document stream.Doc `json:"document"`
	Seq      stream.Seq `json:"seq"`
	Time     time.Time  `json:"time"`
	Users    []string   `json:"users"`
	Updates  int        `json:"updates"`
	State    []byte     `json:"state,omitempty"`
}

func newWebhook(s *Server, o WebhookOptions) (*webhook, error) {
	o.DebounceWait = cmp.Or(o.DebounceWait, 2*time.Second)
	o.DebounceMaxWait = cmp.Or(o.DebounceMaxWait, 10*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	out, err := newOutbound("webhook", o.URL, o.Secret, o.Timeout, o.AllowPrivate || s.o.Dev)
	if err != nil {
		return nil, err
	}
	h := &webhook{srv: s, out: out, o: o, jobs: make(chan stream.Doc), stop: make(chan struct{}), docs: map[stream.Doc]*change{}}
	h.ctx, h.cut = context.WithCancel(context.Background())
	return h, nil
}

// start begins to work; close ends it.
func (h *webhook) start() {
	if h == nil {
		return
	}
	for range webhookWorkers {
		h.wg.Go(h.work)
	}
	h.wg.Go(h.run)
}

// note takes in that a group of updates was stored. It does not wait.
func (h *webhook) note(doc stream.Doc, seq stream.Seq, updates []pending) {
	if h == nil {
		return
	}
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.docs[doc]
	if c == nil {
		if len(h.docs) >= webhookDocs {
			h.srv.metrics.dropped("webhook")
			return
		}
		c = &change{}
		h.docs[doc] = c
	}
	if c.updates == 0 {
		c.first = now
	}
	c.last, c.seq = now, seq
	for _, p := range updates {
		c.updates += len(p.updates)
		if p.user != "" && len(c.users) < webhookUsers && !slices.Contains(c.users, p.user) {
			c.users = append(c.users, p.user)
		}
	}
}

// run hands what is due to the workers, until close.
func (h *webhook) run() {
	defer close(h.jobs)
	t := time.NewTicker(min(250*time.Millisecond, h.o.DebounceWait/4+time.Millisecond))
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			for _, doc := range h.due(now, false) {
				h.jobs <- doc
			}
		case <-h.stop:
			for _, doc := range h.due(time.Now(), true) {
				h.jobs <- doc
			}
			return
		}
	}
}

// due lists documents whose turn it is, and marks them.
func (h *webhook) due(now time.Time, all bool) (list []stream.Doc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for doc, c := range h.docs {
		if c.updates > 0 && (!c.calling && (now.Sub(c.last) >= h.o.DebounceWait || now.Sub(c.first) >= h.o.DebounceMaxWait) || all) {
			c.calling = true
			list = append(list, doc)
		}
	}
	return list
}

// work makes calls until there are no more.
func (h *webhook) work() {
	for doc := range h.jobs {
		h.mu.Lock()
		c := h.docs[doc]
		body := webhookBody{Event: "document.updated", Document: doc, Seq: c.seq, Time: c.last.UTC(), Users: c.users, Updates: c.updates}
		c.users, c.updates = nil, 0
		h.mu.Unlock()
		if body.Users == nil {
			body.Users = []string{}
		}
		if body.Updates > 0 {
			h.call(body)
		}
		h.mu.Lock()
		if c.calling = false; c.updates == 0 {
			delete(h.docs, doc)
		}
		h.mu.Unlock()
	}
}

// call tells of one document.
func (h *webhook) call(body webhookBody) {
	ctx, cancel := context.WithTimeout(h.ctx, h.o.Timeout)
	st, err := h.srv.stateAt(ctx, body.Document, snapshot.Moment{})
	cancel()
	switch {
	case errors.Is(err, snapshot.ErrNotFound), errors.Is(err, stream.ErrErased):
		return // deleted meanwhile
	case err == nil && len(st.Update) <= webhookState:
		body.State, body.Seq = st.Update, max(body.Seq, st.Seq)
	}
	b, err := json.Marshal(body)
	if err != nil {
		h.srv.log.Error("webhook body", "err", err)
		return
	}
	wait := time.Second
	for try := 1; ; try++ {
		status, _, _, err := h.out.post(h.ctx, b, 64<<10)
		if err == nil && status < 300 {
			return
		}
		h.srv.metrics.outboundFailed("webhook")
		again := err != nil || status >= 500 || status == http.StatusTooManyRequests
		if !again || try == webhookTries {
			h.srv.log.Warn("webhook failed", "doc", string(body.Document), "status", status, "tries", try, "err", err)
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-h.stop: // once more, then the server goes
			t.Stop()
			try = webhookTries - 1
		}
		wait *= 5
	}
}

// close tells what is due, as far as ctx allows, and ends.
func (h *webhook) close(ctx context.Context) {
	if h == nil {
		return
	}
	stop := context.AfterFunc(ctx, h.cut)
	defer stop()
	close(h.stop)
	h.wg.Wait()
	h.cut()
	h.out.close()
}
