package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"time"

	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// A loader asks another service for the first state of a document that does not
// exist: a POST of
//
//	{"event":"document.load","document":"notes/todo"}
//
// answered with 200 and a Yjs update (application/octet-stream, or
// application/vnd.yjs.update.v2), or with 204 or 404 where there is none. The
// answer becomes the document's first record, once, whichever server asked first.
// A document that was deleted is not asked for.
type loader struct {
	srv *Server
	out *outbound
}

// errNotLoaded: nobody may begin an empty document in the place of one that the
// service may have.
var errNotLoaded = &cause{reason: "load-unavailable", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}

// load seeds a document if it is new. It tries again until ctx ends.
func (l *loader) load(ctx context.Context, doc stream.Doc) error {
	head, err := l.srv.o.Log.Head(ctx, doc)
	if err != nil || head > 0 {
		return err
	}
	if erased, err := l.srv.o.Snapshots.Erased(ctx, doc); err != nil || erased != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"event": "document.load", "document": string(doc)})
	if err != nil {
		return err
	}
	for wait := 500 * time.Millisecond; ; wait *= 2 {
		update, err := l.ask(ctx, body)
		if err == nil && update == nil {
			return nil
		}
		if err == nil {
			_, err = l.srv.o.Snapshots.Seed(ctx, doc, "", "load", update)
			if err == nil || errors.Is(err, snapshot.ErrNotNew) {
				return nil
			}
			return err
		}
		l.srv.metrics.outboundFailed("load")
		l.srv.log.Warn("first state not loaded", "doc", string(doc), "err", err)
		if errors.Is(err, errAnswer) {
			return because(errNotLoaded, err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return because(errNotLoaded, err)
		}
	}
}

// errAnswer: asking again would bring the same.
var errAnswer = errors.New("the answer is of no use")

func (l *loader) ask(ctx context.Context, body []byte) ([]byte, error) {
	status, kind, answer, err := l.out.post(ctx, body, int64(l.srv.limits.Message))
	switch {
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
		if answer, err = yjs.FromV2(answer, l.srv.limits.Update); err != nil {
			return nil, fmt.Errorf("%w: %w", errAnswer, err)
		}
	}
	var u yjs.Update
	if err := u.Parse(answer, l.srv.limits.Update); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if u.Empty() {
		return nil, nil
	}
	var nothing yjs.State
	ready, err := nothing.Ready(&u)
	if err != nil || ready.Rest != nil {
		return nil, fmt.Errorf("%w: the update is not a whole document", errAnswer)
	}
	return ready.Ready, nil
}
