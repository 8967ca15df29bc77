package ingest

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// serveDocs answers /api/docs and what is behind it.
//
//	GET    /api/docs?prefix=&limit=&after=    list
//	GET    /api/docs/{doc}                    state: update, json, text, vector; ?at= a moment
//	POST   /api/docs/{doc}                    an update
//	DELETE /api/docs/{doc}                    for good
//	GET    /api/docs/{doc}/presence           who is here
func (s *Server) serveDocs(w http.ResponseWriter, r *http.Request, segments []string) {
	switch {
	case len(segments) == 0:
		s.listDocs(w, r)
		return
	case len(segments) == 1:
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			s.withDoc(w, r, segments[0], auth.Read, s.getDoc)
		case http.MethodPost:
			s.withDoc(w, r, segments[0], auth.Read, s.postDoc) // a reader's update is refused where it brings news
		case http.MethodDelete:
			s.withDoc(w, r, segments[0], auth.ReadWrite, s.deleteDoc)
		default:
			notAllowed(w, "GET, HEAD, POST, DELETE")
		}
		return
	case len(segments) == 2 && segments[1] == "presence":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			notAllowed(w, "GET, HEAD")
			return
		}
		s.withDoc(w, r, segments[0], auth.Read, s.getPresence)
		return
	}
	if !s.serveHistory(w, r, segments[0], segments[1:]) {
		writeError(w, http.StatusNotFound, "not-found", "no such route: document names are percent-encoded (notes%2Ftodo)")
	}
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	writeError(w, http.StatusMethodNotAllowed, "method-not-allowed", "this route takes "+allow)
}

// withDoc checks a document's name and the caller's rights before f.
func (s *Server) withDoc(w http.ResponseWriter, r *http.Request, name string, need auth.Mode, f func(http.ResponseWriter, *http.Request, stream.Doc, auth.Grant)) {
	doc, err := docOf(name)
	if err != nil {
		refuse(w, causeOf(err))
		return
	}
	grant, err := s.o.Auth.Grant(r.Context(), s.bearer(r, name))
	if err != nil {
		s.denyRequest(w, err)
		return
	}
	if need == auth.ReadWrite && grant.Mode != auth.ReadWrite {
		refuse(w, causeReadOnly)
		return
	}
	if r.Method != http.MethodDelete && s.memory.tight() { // what answers holds a document or two in memory
		refuse(w, causeOverloaded)
		return
	}
	f(w, r, doc, grant)
}

// fail answers an error of the rooms below.
func (s *Server) fail(w http.ResponseWriter, doc stream.Doc, err error) {
	var gone *snapshot.GoneError
	var more *needsMore
	switch {
	case errors.As(err, &more):
		writeJSON(w, http.StatusConflict, map[string]any{
			"error":       map[string]string{"code": "missing-dependencies", "message": "the update depends on what the document does not have: send all that is missing from stateVector"},
			"stateVector": base64.StdEncoding.EncodeToString(more.vector),
		})
	case errors.As(err, &gone):
		writeJSON(w, http.StatusGone, map[string]any{
			"error":  map[string]string{"code": "history-dropped", "message": gone.Error()},
			"oldest": map[string]any{"seq": gone.Oldest, "time": gone.OldestTime.UTC().Format(time.RFC3339)},
		})
	case errors.Is(err, snapshot.ErrNotFound), errors.Is(err, stream.ErrErased):
		writeError(w, http.StatusNotFound, "not-found", "there is no such document")
	case errors.Is(err, stream.ErrConflict), errors.Is(err, snapshot.ErrNotNew):
		writeError(w, http.StatusPreconditionFailed, "exists", "the document is not new")
	case errors.Is(err, context.Canceled):
		writeError(w, 499, "canceled", "the request was given up")
	case errors.Is(err, context.DeadlineExceeded):
		refuse(w, causeStorage)
	default:
		cs := causeOf(err)
		if cs.http >= 500 {
			s.log.Error("request failed", "doc", string(doc), "err", err)
		}
		if cs == causeReadOnly || cs == causeForbidden {
			s.metrics.rejected(cs.reason)
		}
		refuse(w, cs)
	}
}

// getDoc answers a document's state in one of its forms.
func (s *Server) getDoc(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	q := r.URL.Query()
	form, err := formOf(r)
	if err != nil {
		writeError(w, http.StatusNotAcceptable, "bad-format", err.Error())
		return
	}
	moment, err := s.moment(r.Context(), doc, q.Get("at"))
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	kinds, names, err := kindsOf(q["type"])
	if err == nil && form == "text" && len(names) != 1 {
		err = errors.New("format text needs one type, such as ?type=name:text")
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "bad-type", err.Error())
		return
	}
	state, err := s.stateAt(r.Context(), doc, moment)
	if err != nil {
		s.fail(w, doc, err)
		return
	}
	etag := `"` + strconv.FormatUint(uint64(state.Seq), 10) + `"`
	h := w.Header()
	h.Set("ETag", etag)
	h.Set("Yjet-Seq", strconv.FormatUint(uint64(state.Seq), 10))
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept, Authorization") // to the Origin that is there
	h.Set("X-Content-Type-Options", "nosniff")
	if !state.Time.IsZero() {
		h.Set("Last-Modified", state.Time.UTC().Format(http.TimeFormat))
	}
	if matches(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body, kind, err := render(state.Update, form, kinds, names)
	if err != nil {
		s.fail(w, doc, because(causeInternal, err))
		return
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// matches reports whether an If-None-Match lists a tag, or any. Proxies that compress make a tag weak on its way out, and it
// comes back so.
func matches(fields []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// stateAt reads a document: the present from its room where it is open.
func (s *Server) stateAt(ctx context.Context, doc stream.Doc, m snapshot.Moment) (snapshot.State, error) {
	if m.Now() {
		if r := s.rooms.find(doc); r != nil {
			ok, err := r.catchUp(ctx)
			if errors.Is(err, snapshot.ErrNotFound) {
				return snapshot.State{}, err
			}
			if ok || err != nil { // the log cannot be asked: what is here can still be read
				if f, err := r.current(ctx); err == nil && f.seq > 0 {
					r.mu.Lock()
					defer r.mu.Unlock()
					st := snapshot.State{Seq: f.seq, Update: f.update}
					if f.seq == r.seq {
						st.Time = r.at
					}
					return st, nil
				}
			}
		}
	}
	st, err := s.o.Snapshots.At(ctx, doc, m)
	if err == nil && m.Now() && st.Seq == 0 {
		err = snapshot.ErrNotFound
	}
	if errors.Is(err, snapshot.ErrNotFound) && m.Now() && s.loader != nil {
		// It may exist where first states come from, as whoever opened it would see.
		if lerr := s.loader.load(ctx, doc); lerr != nil {
			return st, lerr
		}
		st, err = s.o.Snapshots.At(ctx, doc, m)
	}
	return st, err
}

// formOf reads what form is asked for: ?format= before Accept.
func formOf(r *http.Request) (string, error) {
	if f := r.URL.Query().Get("format"); f != "" {
		if !slices.Contains([]string{"update", "json", "text", "vector"}, f) {
			return "", errors.New("format is update, json, text or vector")
		}
		return f, nil
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" {
		return "update", nil
	}
	// The one that is liked best; of equals the first.
	best, liked := "", 0.0
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		like := 1.0
		if q, ok := params["q"]; ok {
			if like, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		form := ""
		switch kind {
		case "application/octet-stream", "application/vnd.yjs.update", "*/*", "application/*":
			form = "update"
		case "application/json":
			form = "json"
		case "text/plain", "text/*":
			form = "text"
		}
		if form != "" && like > liked {
			best, liked = form, like
		}
	}
	if best != "" {
		return best, nil
	}
	return "", errors.New("this route answers application/octet-stream, application/json or text/plain")
}

// kindsOf reads ?type=name:kind, as often as it comes.
func kindsOf(list []string) (map[string]yjs.Kind, []string, error) {
	kinds := map[string]yjs.Kind{}
	var names []string
	for _, v := range list {
		name, kind := v, yjs.KindAuto
		if i := strings.LastIndexByte(v, ':'); i >= 0 {
			k, ok := yjs.ParseKind(v[i+1:])
			if !ok {
				return nil, nil, errors.New("type " + quote(v) + ": the kind is map, array, text or xml")
			}
			name, kind = v[:i], k
		}
		kinds[name] = kind
		names = append(names, name)
	}
	return kinds, names, nil
}

// render writes a state in a form.
func render(update []byte, form string, kinds map[string]yjs.Kind, names []string) (body []byte, contentType string, err error) {
	switch form {
	case "update":
		return update, "application/octet-stream", nil
	case "vector":
		v, err := yjs.VectorOf(update)
		if err != nil {
			return nil, "", err
		}
		return v.Append(nil), "application/octet-stream", nil
	}
	d := yjs.NewDocument(yjs.DocumentOptions{})
	if err := d.Apply(update); err != nil {
		return nil, "", err
	}
	if form == "text" {
		return []byte(d.Text(names[0])), "text/plain; charset=utf-8", nil
	}
	body, err = d.JSON(kinds)
	return append(body, '\n'), "application/json; charset=utf-8", err
}

// postDoc appends an update.
func (s *Server) postDoc(w http.ResponseWriter, r *http.Request, doc stream.Doc, grant auth.Grant) {
	if s.draining.Load() {
		refuse(w, causeDraining)
		return
	}
	size := s.limits.Message
	if n := r.ContentLength; n >= 0 {
		size = int(min(n, int64(size)))
	}
	if size > largeMessage {
		if ok, _ := s.inbound.take(r, size); !ok {
			refuse(w, causeOverloaded)
			return
		}
		defer s.inbound.give(r, size)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.limits.Message)))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			refuse(w, causeTooLarge)
			return
		}
		writeError(w, http.StatusBadRequest, "unreadable", "the body did not arrive whole")
		return
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/vnd.yjs.update.v2":
		if body, err = yjs.FromV2(body, s.limits.Update); err != nil {
			refuse(w, causeMalformed)
			return
		}
	case "", "application/octet-stream", "application/vnd.yjs.update", "application/x-www-form-urlencoded": // curl's own default
	default:
		writeError(w, http.StatusUnsupportedMediaType, "bad-type", "the body is a Yjs update: application/octet-stream, or application/vnd.yjs.update.v2")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.limits.AppendWait)
	defer cancel()
	conn := s.node + ".http"
	var seq stream.Seq
	switch match := r.Header.Get("If-None-Match"); match {
	case "*":
		if !grant.Admin && !s.gate.mayBegin(s.clientIP(r), time.Now()) {
			err = causeTooMany
			break
		}
		if seq, err = s.seed(ctx, doc, grant, conn, body); err == nil {
			s.hintClosed(doc, seq, 1)
		}
	case "":
		var room *room
		if room, err = s.rooms.open(ctx, doc); err == nil && !grant.Admin && room.fresh() && !s.gate.mayBegin(s.clientIP(r), time.Now()) {
			err = causeTooMany
			s.rooms.release(room)
		} else if err == nil {
			seq, err = room.write(ctx, grant, conn, body)
			s.rooms.release(room)
		}
	default:
		writeError(w, http.StatusBadRequest, "bad-condition", "If-None-Match here is * or nothing")
		return
	}
	if err != nil {
		s.fail(w, doc, err)
		return
	}
	w.Header().Set("Yjet-Seq", strconv.FormatUint(uint64(seq), 10))
	w.WriteHeader(http.StatusNoContent)
}

// hintClosed tells the store of records that were appended without a room: the document may be folded when it stays quiet. A
// room that is open hears of them from the log, and tells by itself.
func (s *Server) hintClosed(doc stream.Doc, head stream.Seq, records int) {
	if s.rooms.find(doc) == nil {
		s.o.Snapshots.Hint(doc, head, 0, records, true)
	}
}

// deleteTime is how long removing a document may take. Who asked may hang up meanwhile: half removed is what nobody wants.
const deleteTime = 2 * time.Minute

// deleteDoc removes a document for good.
func (s *Server) deleteDoc(w http.ResponseWriter, r *http.Request, doc stream.Doc, grant auth.Grant) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), deleteTime)
	defer cancel()
	if err := s.o.Snapshots.Erase(ctx, doc, grant.User); err != nil {
		s.fail(w, doc, err)
		return
	}
	s.log.Info("document deleted", "doc", string(doc), "user", grant.User)
	w.WriteHeader(http.StatusNoContent)
}

// getPresence answers who is here, on all servers.
func (s *Server) getPresence(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	var list []stream.Presence
	if room := s.rooms.find(doc); room != nil {
		list = room.present()
	} else {
		var err error
		if list, err = s.o.Log.ListPresence(r.Context(), doc); err != nil {
			s.fail(w, doc, because(causeStorage, err))
			return
		}
	}
	slices.SortFunc(list, func(a, b stream.Presence) int { return a.Since.Compare(b.Since) })
	if list == nil {
		list = []stream.Presence{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"presence": list})
}

// present lists who is here.
func (r *room) present() []stream.Presence {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]stream.Presence, 0, len(r.aware.byID))
	for id, p := range r.aware.byID {
		v := stream.Presence{User: p.user, Client: id, Clock: p.clock, Node: p.node, Since: p.since, State: p.state}
		if p.owner != nil {
			v.Node = r.srv.node
		}
		v.Name, v.Color = nameAndColor(p.state)
		list = append(list, v)
	}
	return list
}
