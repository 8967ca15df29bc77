package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// LoaderOptions are the settings of a Loader.
type LoaderOptions struct {
	URL          string             // required
	Secret       string             // signs time and body; "": unsigned
	Timeout      time.Duration      // of one call, required
	AllowPrivate bool               // private addresses are allowed too
	Log          *stream.Log        // required
	Snapshots    *snapshot.Store    // required
	MaxState     int                // bytes of a first state
	Limits       yjs.Limits         // of a first state, as of a stranger's update
	Shape        yjs.DocumentLimits // of the document that it becomes
	Logger       *slog.Logger       // required
	Failed       func()             // counts a failed call
}

// A Loader asks a service for the first state of a document that does not exist:
// a POST of
//
//	{"event":"document.load","document":"notes/todo"}
//
// answered with 200 and a Yjs update (application/octet-stream, or
// application/vnd.yjs.update.v2), or with 204 or 404 when there is none. The
// answer becomes the document's first record, once, whichever server asked first.
// A deleted document is not asked for. Safe for concurrent use.
type Loader struct {
	o     LoaderOptions
	out   *client
	pause time.Duration // after a failed call; doubled after each further one
}

// NewLoader checks the URL. It calls nothing yet.
func NewLoader(o LoaderOptions) (*Loader, error) {
	out, err := newClient("load-url", o.URL, o.Secret, o.Timeout, o.AllowPrivate)
	if err != nil {
		return nil, err
	}
	return &Loader{o, out, 500 * time.Millisecond}, nil
}

// ErrNotLoaded: the service could not be asked, or its answer is of no use. The
// caller must not begin an empty document: the service may have one.
var ErrNotLoaded = errors.New("the first state could not be loaded")

// errAnswer: another call would bring the same answer.
var errAnswer = errors.New("the answer is of no use")

// Load seeds a document if it is new. It retries until ctx ends, with growing
// pauses, when the service is down.
func (l *Loader) Load(ctx context.Context, doc stream.Doc) error {
	head, err := l.o.Log.Head(ctx, doc)
	if err != nil || head > 0 {
		return err
	}
	if erased, err := l.o.Snapshots.Erased(ctx, doc); err != nil || erased != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"event": "document.load", "document": string(doc)})
	if err != nil {
		return err
	}
	for wait := l.pause; ; wait *= 2 {
		update, err := l.ask(ctx, doc, body)
		if err == nil && update == nil {
			return nil
		}
		if err == nil {
			_, err = l.o.Snapshots.Seed(ctx, doc, "", "load", update)
			if err == nil || errors.Is(err, snapshot.ErrNotNew) {
				return nil
			}
			return err
		}
		l.o.Failed()
		l.o.Logger.Warn("first state not loaded", "doc", string(doc), "err", err)
		if errors.Is(err, errAnswer) {
			return fmt.Errorf("%w: %w", ErrNotLoaded, err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w: %w", ErrNotLoaded, err)
		}
	}
}

// ask returns the service's answer as a V1 update that is a whole document, or nil
// when the service has none.
func (l *Loader) ask(ctx context.Context, doc stream.Doc, body []byte) ([]byte, error) {
	status, kind, answer, err := l.out.post(ctx, body, int64(l.o.MaxState))
	switch {
	case errors.Is(err, errTooLong) && status == http.StatusOK:
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	case err != nil:
		return nil, err
	case status == http.StatusNoContent, status == http.StatusNotFound, status == http.StatusOK && len(answer) == 0:
		return nil, nil
	case status >= 500 || status == http.StatusTooManyRequests:
		return nil, fmt.Errorf("status %d", status)
	case status != http.StatusOK:
		return nil, fmt.Errorf("%w: status %d", errAnswer, status)
	}
	if kind, _, _ := mime.ParseMediaType(kind); kind == "application/vnd.yjs.update.v2" {
		if answer, err = yjs.FromV2(answer, l.o.Limits); err != nil {
			return nil, fmt.Errorf("%w: %w", errAnswer, err)
		}
	}
	var u yjs.Update
	if err := u.Parse(answer, l.o.Limits); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if u.Empty() {
		return nil, nil
	}
	var nothing yjs.State
	if err := nothing.Admit(&u, l.o.Shape); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	ready, err := nothing.Ready(&u)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if ready.Rest != nil && ready.Ready == nil {
		return nil, fmt.Errorf("%w: the update is not a whole document", errAnswer)
	}
	if ready.Rest != nil {
		l.o.Logger.Warn("a part of a first state is left out, since the state lacks content that the part depends on", "doc", doc, "bytes", len(ready.Rest), "missing", len(ready.Missing))
	}
	return ready.Ready, nil
}

// Close drops the idle connections.
func (l *Loader) Close() { l.out.close() }
