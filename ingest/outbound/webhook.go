package outbound

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// WebhookOptions are the settings of a Webhook. The names of the times are
// PartyKit's.
type WebhookOptions struct {
	URL             string        // required
	Secret          string        // signs time and body; "": unsigned
	DebounceWait    time.Duration // quiet time before a call, default 2 s
	DebounceMaxWait time.Duration // the longest time from the first edit to the call, default 10 s
	Timeout         time.Duration // of one call, default 5 s
	AllowPrivate    bool          // private addresses are allowed too
}

// A Host is the server that a Webhook works for, as far as the Webhook needs it. All fields are
// required.
type Host struct {
	State   func(context.Context, stream.Doc) (snapshot.State, error) // the document as it is now
	Logger  *slog.Logger
	Failed  func() // counts a failed call
	Dropped func() // counts stored edits that no call will tell of
}

// A Webhook tells a service of documents that were edited here: one call
// after a quiet time, at the latest after a longer one, with the state the
// document has then.
//
//	{"event":"document.updated","document":"notes/todo","seq":812,"time":"…",
//	 "users":["ada"],"updates":17,"state":"<base64 of one Yjs V1 update>"}
//
// The call is signed (Yjet-Signature) and retried a few times when the service
// fails. The server that stored the edits makes it; when two did, both call. A
// server that is killed does not make the calls that were due; the next edit makes
// up for them. Safe for concurrent use.
type Webhook struct {
	o    WebhookOptions
	host Host
	out  *client
	rest time.Duration // after a call's first failure; five times as long after each further one
	jobs chan stream.Doc
	wg   sync.WaitGroup
	stop chan struct{}
	ctx  context.Context // ends when Close has taken long enough
	cut  context.CancelFunc

	mu   sync.Mutex
	docs map[stream.Doc]*change // guarded by mu
}

// An Edit is part of a stored group: updates of one user.
type Edit struct {
	User    string
	Updates int
}

// A change is the news of one document.
type change struct {
	first, last time.Time
	seq         stream.Seq
	users       []string
	updates     int
	calling     bool // a call is under way: the next one tells of later edits
	hurried     bool // it is not waited for quiet
}

const (
	webhookDocs    = 1_000
	webhookWorkers = 4
	webhookTries   = 4
	webhookUsers   = 100
	webhookState   = 4 << 20 // bytes; a larger state is left out: the service can fetch it
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

// NewWebhook checks the URL. Start begins to call.
func NewWebhook(o WebhookOptions, host Host) (*Webhook, error) {
	o.DebounceWait = cmp.Or(o.DebounceWait, 2*time.Second)
	o.DebounceMaxWait = cmp.Or(o.DebounceMaxWait, 10*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	out, err := newClient("webhook", o.URL, o.Secret, o.Timeout, o.AllowPrivate)
	if err != nil {
		return nil, err
	}
	h := &Webhook{o: o, host: host, out: out, rest: time.Second, jobs: make(chan stream.Doc), stop: make(chan struct{}), docs: map[stream.Doc]*change{}}
	h.ctx, h.cut = context.WithCancel(context.Background())
	return h, nil
}

// Start starts the goroutines that call; Close ends them.
func (h *Webhook) Start() {
	for range webhookWorkers {
		h.wg.Go(h.work)
	}
	h.wg.Go(h.run)
}

// Note takes in that a group of updates was stored up to seq. It does not wait.
func (h *Webhook) Note(doc stream.Doc, seq stream.Seq, edits []Edit) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.docs[doc]
	if c == nil {
		if len(h.docs) >= webhookDocs {
			h.host.Dropped()
			return
		}
		c = &change{}
		h.docs[doc] = c
	}
	if c.updates == 0 {
		c.first = now
	}
	c.last, c.seq = now, seq
	for _, e := range edits {
		c.updates += e.Updates
		if e.User != "" && len(c.users) < webhookUsers && !slices.Contains(c.users, e.User) {
			c.users = append(c.users, e.User)
		}
	}
}

// Hurry has the news of a document, if there is any, told without waiting for quiet: its last client has left.
func (h *Webhook) Hurry(doc stream.Doc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.docs[doc]; c != nil && c.updates > 0 {
		c.hurried = true
	}
}

// run hands due documents to the workers, until Close.
func (h *Webhook) run() {
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

// due lists the documents to call for, all with news if all is set, and marks them
// as being called for.
func (h *Webhook) due(now time.Time, all bool) (list []stream.Doc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for doc, c := range h.docs {
		if c.updates > 0 && (!c.calling && (c.hurried || now.Sub(c.last) >= h.o.DebounceWait || now.Sub(c.first) >= h.o.DebounceMaxWait) || all) {
			c.calling = true
			list = append(list, doc)
		}
	}
	return list
}

// work makes calls until run ends.
func (h *Webhook) work() {
	for doc := range h.jobs {
		h.mu.Lock()
		c := h.docs[doc]
		if c == nil { // Close listed it again while another worker told the news
			h.mu.Unlock()
			continue
		}
		body := webhookBody{Event: "document.updated", Document: doc, Seq: c.seq, Time: c.last.UTC(), Users: c.users, Updates: c.updates}
		c.users, c.updates, c.hurried = nil, 0, false
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

// call tells the service of one document.
func (h *Webhook) call(body webhookBody) {
	ctx, cancel := context.WithTimeout(h.ctx, h.o.Timeout)
	st, err := h.host.State(ctx, body.Document)
	cancel()
	switch {
	case errors.Is(err, snapshot.ErrNotFound), errors.Is(err, stream.ErrErased):
		return // deleted meanwhile
	case err == nil && len(st.Update) <= webhookState:
		body.State, body.Seq = st.Update, max(body.Seq, st.Seq)
	}
	b, err := json.Marshal(body)
	if err != nil {
		h.host.Logger.Error("webhook body not encoded", "doc", string(body.Document), "err", err)
		return
	}
	wait := h.rest
	for try := 1; ; try++ {
		status, _, _, err := h.out.post(h.ctx, b, 64<<10)
		if err == nil && status < 300 {
			return
		}
		h.host.Failed()
		again := err != nil || status >= 500 || status == http.StatusTooManyRequests
		if !again || try == webhookTries {
			h.host.Logger.Warn("webhook failed", "doc", string(body.Document), "status", status, "tries", try, "err", err)
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-h.stop: // one last try before the server stops
			t.Stop()
			try = webhookTries - 1
		}
		wait *= 5
	}
}

// Close makes the calls that are due, as far as ctx allows, and ends the
// goroutines.
func (h *Webhook) Close(ctx context.Context) {
	stop := context.AfterFunc(ctx, h.cut)
	defer stop()
	close(h.stop)
	h.wg.Wait()
	h.cut()
	h.out.close()
}
