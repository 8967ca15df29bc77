package ingest

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// writePiece is how many bytes of an answer are written under one deadline.
const writePiece = 64 << 10

// lateBody is how long a body may go on to arrive after its request has been answered.
const lateBody = time.Second

var errUnread = errors.New("too much waits for readers already")

// An answerWriter writes an HTTP answer: each piece of it has a time of its own to be taken, and a large one counts among all that
// wait for their readers. The status goes out with the first byte, so that a large answer can still be refused.
type answerWriter struct {
	http.ResponseWriter
	r      *http.Request
	srv    *Server
	c      *http.ResponseController
	status int
	begun  bool
	failed bool
}

func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// begin sends the status.
func (w *answerWriter) begin() {
	if !w.begun {
		w.begun = true
		w.renew()
		if w.status != 0 {
			w.ResponseWriter.WriteHeader(w.status)
		}
	}
}

// renew gives the next piece its time. Where the connection has no deadlines there is none to move.
func (w *answerWriter) renew() { _ = w.c.SetWriteDeadline(time.Now().Add(w.srv.limits.WriteWait)) }

func (w *answerWriter) Write(p []byte) (n int, err error) {
	if w.failed {
		return 0, errUnread
	}
	counted, ok := w.srv.unread.take(p, len(p), w.srv.limits.MessageWait, w.r.Context().Done())
	if !ok {
		w.failed = true
		if !w.begun {
			w.refuse()
		}
		return 0, errUnread
	}
	defer counted.give()
	w.begin()
	for len(p) > 0 {
		w.renew()
		k, err := w.ResponseWriter.Write(p[:min(len(p), writePiece)])
		if n += k; err != nil {
			w.failed = true
			return n, err
		}
		p = p[k:]
	}
	return n, nil
}

// refuse answers that too much is waiting, in place of the answer that was meant.
func (w *answerWriter) refuse() {
	w.begun = true
	w.renew()
	for _, name := range []string{"Content-Length", "Content-Disposition", "ETag", "Last-Modified", "Yjet-Seq"} {
		w.Header().Del(name)
	}
	w.srv.metrics.refuse(w.ResponseWriter, causeUnread)
}

// end has net/http write its buffer under a fresh deadline, or close the connection.
func (w *answerWriter) end() {
	w.begin()
	w.renew()
}

// A bodyReader reads the body of an HTTP request: each read has a time of its own.
type bodyReader struct {
	io.ReadCloser
	c        *http.ResponseController
	patience time.Duration
	ended    bool
}

func (b *bodyReader) Read(p []byte) (int, error) {
	_ = b.c.SetReadDeadline(time.Now().Add(b.patience))
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.ended {
		b.ended = true
		_ = b.c.SetReadDeadline(time.Time{}) // net/http goes on reading to notice a client that leaves: the deadline must not end that
	}
	return n, err
}

// end gives the unread rest of the body a last moment: net/http reads it before it answers.
func (b *bodyReader) end() {
	if !b.ended {
		_ = b.c.SetReadDeadline(time.Now().Add(lateBody))
	}
}

// serveRequest answers a request that is not a socket, within the bounds of one request.
func (s *Server) serveRequest(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *http.Request)) {
	ip := s.clientIP(r)
	c := http.NewResponseController(w)
	out := &answerWriter{ResponseWriter: w, r: r, srv: s, c: c}
	out.renew() // a deadline of the connection's last request may be over
	defer out.end()
	if r.Body != nil && r.Body != http.NoBody {
		body := &bodyReader{ReadCloser: r.Body, c: c, patience: s.limits.MessageWait}
		_ = c.SetReadDeadline(time.Now().Add(s.limits.MessageWait))
		defer body.end()
		r.Body = body
	}
	if !s.gate.ask(ip, time.Now()) {
		s.metrics.refuse(out, causeAddressRequests)
		return
	}
	defer s.gate.answered(ip)
	serve(out, r)
}

// readUpdate reads the body of a request that brings an update or edits. Of a large one it counts the bytes so far among the large
// messages of all, anew each time that its buffer grows: of 1 MiB three times as many, of 50 MiB nearly five times. The caller gives
// held back to a.inbound.
func (a *api) readUpdate(w http.ResponseWriter, r *http.Request) (body []byte, held int, err error) {
	in := http.MaxBytesReader(w, r.Body, int64(a.limits.largest()))
	body = make([]byte, 0, 4096)
	for {
		if len(body) == cap(body) {
			if len(body) >= largeMessage {
				if err := a.inbound.wait(a.memory, r, len(body), a.limits.MessageWait, r.Context().Done()); err != nil {
					return nil, held, err
				}
				held += len(body)
			}
			body = append(body, 0)[:len(body)]
		}
		n, err := in.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, held, nil
		case errors.As(err, new(*http.MaxBytesError)):
			return nil, held, causeTooLarge
		case err != nil:
			return nil, held, err
		}
	}
}

// refuseBody answers a request whose body could not be read: readUpdate's error, or fromV2's.
func (a *api) refuseBody(w http.ResponseWriter, err error) {
	switch cs := causeOf(err); cs {
	case causeTooLarge, causeInboundFull, causeMalformed:
		a.metrics.refuse(w, cs)
	default:
		writeError(w, http.StatusBadRequest, "unreadable", "the body did not arrive whole")
	}
}
