package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// serveHistory answers what is behind /api/docs/{doc}/ beside presence: false where there is no such route.
//
//	GET    history?from=&to=&group=&limit=&before=   what happened, newest first
//	GET    log?from=&to=                             records as JSON lines, packed ones included
//	GET    authors?type=&at=                         who brought which run of text
//	GET    diff?from=&to=                            what changed in the text types
//	GET    versions   POST versions {name, at?}   DELETE versions/{name}
//	POST   restore {at}                              forward edit to that moment
//	POST   copy {to, at?}                            a new document that begins as that moment
//	GET    export                                    one file with the whole history
//	POST   import?merge=                             takes such a file in
//
// A moment is a sequence, an RFC 3339 time, an age, or the name of a version.
func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request, name string, segments []string) bool {
	type handler = func(http.ResponseWriter, *http.Request, stream.Doc, auth.Grant)
	type way struct {
		method string
		need   auth.Mode
		f      handler
	}
	var ways []way
	switch {
	case len(segments) == 2 && segments[0] == "versions":
		ways = []way{{http.MethodDelete, auth.ReadWrite, func(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
			s.deleteVersion(w, r, doc, segments[1])
		}}}
	case len(segments) != 1:
		return false
	default:
		ways = map[string][]way{
			"history":  {{http.MethodGet, auth.Read, s.getHistory}},
			"log":      {{http.MethodGet, auth.Read, s.getLog}},
			"authors":  {{http.MethodGet, auth.Read, s.getAuthors}},
			"diff":     {{http.MethodGet, auth.Read, s.getDiff}},
			"versions": {{http.MethodGet, auth.Read, s.getVersions}, {http.MethodPost, auth.ReadWrite, s.postVersion}},
			"restore":  {{http.MethodPost, auth.ReadWrite, s.postRestore}},
			"copy":     {{http.MethodPost, auth.Read, s.postCopy}},
			"export":   {{http.MethodGet, auth.Read, s.getExport}},
			"import":   {{http.MethodPost, auth.ReadWrite, s.postImport}},
		}[segments[0]]
	}
	if ways == nil {
		return false
	}
	var allow []string
	for _, way := range ways {
		if r.Method == way.method || r.Method == http.MethodHead && way.method == http.MethodGet {
			if way.method != http.MethodGet && s.draining.Load() {
				refuse(w, causeDraining)
				return true
			}
			s.withDoc(w, r, name, way.need, way.f)
			return true
		}
		if allow = append(allow, way.method); way.method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	notAllowed(w, strings.Join(allow, ", "))
	return true
}

// failHistory answers the errors that only these routes have; the others are every route's.
func (s *Server) failHistory(w http.ResponseWriter, doc stream.Doc, err error) {
	switch {
	case errors.As(err, new(badMoment)):
		writeError(w, http.StatusBadRequest, "bad-moment", err.Error())
	case errors.Is(err, snapshot.ErrExists):
		writeError(w, http.StatusConflict, "version-exists", "the document has a version of that name: delete it first, or take another")
	case errors.Is(err, snapshot.ErrVersionName):
		writeError(w, http.StatusBadRequest, "bad-version-name", "a version's name is 1 to 100 bytes of text, and no moment itself, such as 5 or 10m")
	case errors.Is(err, snapshot.ErrErased):
		writeError(w, http.StatusConflict, "erased-content", "this was erased under that name and cannot come back there: use another name")
	case errors.Is(err, snapshot.ErrTransfer):
		writeError(w, http.StatusUnprocessableEntity, "bad-export", err.Error())
	default:
		s.fail(w, doc, err)
	}
}

// badMoment: a moment that nobody can read.
type badMoment string

func (v badMoment) Error() string {
	return "moment " + quote(string(v)) + ": want a sequence, an RFC 3339 time such as 2026-01-31T12:00:00Z, an age such as 10m, or the name of a version"
}

// moment reads a moment; what is none of the usual forms is the name of a version.
func (s *Server) moment(ctx context.Context, doc stream.Doc, v string) (snapshot.Moment, error) {
	m, err := snapshot.ParseMoment(v, time.Now())
	if err == nil {
		return m, nil
	}
	version, verr := s.o.Snapshots.Version(ctx, doc, v)
	switch {
	case verr == nil:
		return snapshot.Moment{Seq: version.Seq}, nil
	case errors.Is(verr, snapshot.ErrNotFound), errors.Is(verr, snapshot.ErrVersionName):
		return m, badMoment(v)
	}
	return m, verr
}

// begin reads ?from=: a sequence is the first that is wanted, a time the last that is not. The second result says from where on.
func (s *Server) begin(ctx context.Context, doc stream.Doc, v string) (m snapshot.Moment, all bool, err error) {
	if v == "" || v == "0" || v == "1" {
		return snapshot.Moment{}, true, nil
	}
	if m, err = s.moment(ctx, doc, v); err != nil {
		return m, false, err
	}
	if m.Seq > 0 {
		m.Seq--
	}
	return m, m.Now(), nil
}

func (s *Server) getHistory(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	q := r.URL.Query()
	var query snapshot.HistoryQuery
	var err error
	if query.Group, err = snapshot.ParseGrouping(q.Get("group")); err != nil {
		writeError(w, http.StatusBadRequest, "bad-group", err.Error())
		return
	}
	if v := q.Get("limit"); v != "" {
		if query.Limit, err = strconv.Atoi(v); err != nil || query.Limit < 1 || query.Limit > 1000 {
			writeError(w, http.StatusBadRequest, "bad-limit", "limit is 1 to 1000")
			return
		}
	}
	if v := q.Get("before"); v != "" {
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil || n == 0 {
			writeError(w, http.StatusBadRequest, "bad-before", "before is a sequence: the next of the page before")
			return
		}
		query.Before = stream.Seq(n)
	}
	if query.From, _, err = s.begin(r.Context(), doc, q.Get("from")); err == nil {
		query.To, err = s.moment(r.Context(), doc, q.Get("to"))
	}
	if err == nil {
		var page snapshot.HistoryPage
		if page, err = s.o.Snapshots.History(r.Context(), doc, query); err == nil {
			writeJSON(w, http.StatusOK, page)
			return
		}
	}
	s.failHistory(w, doc, err)
}

// logLine is one record of GET log.
type logLine struct {
	Seq    stream.Seq `json:"seq"`
	Time   time.Time  `json:"time"`
	User   string     `json:"user"`
	Conn   string     `json:"conn,omitempty"`
	Merged int        `json:"merged,omitempty"` // updates of that connection in it, where more than one
	Bytes  int        `json:"bytes"`
	Update []byte     `json:"update"`
}

func (s *Server) getLog(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	q := r.URL.Query()
	from, _, err := s.begin(r.Context(), doc, q.Get("from"))
	var to snapshot.Moment
	if err == nil {
		to, err = s.moment(r.Context(), doc, q.Get("to"))
	}
	var after, upto stream.Seq
	if err == nil {
		after, upto, err = s.o.Snapshots.Range(r.Context(), doc, from, to)
	}
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	out := bufio.NewWriterSize(&patient{w: w}, 32<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for rec, err := range s.o.Snapshots.Records(r.Context(), doc, after, upto) {
		if err != nil {
			// The status is on its way: the error is the last line.
			s.log.Error("log not read to its end", "doc", string(doc), "err", err)
			enc.Encode(map[string]any{"error": map[string]string{"code": causeOf(err).reason, "message": "the log could not be read to its end"}})
			break
		}
		line := logLine{Seq: rec.Seq, Time: rec.Time.UTC().Truncate(time.Millisecond), User: rec.User, Conn: rec.Conn, Bytes: len(rec.Update), Update: rec.Update}
		if rec.Merged > 1 {
			line.Merged = rec.Merged
		}
		if enc.Encode(line) != nil {
			return // nobody reads any more
		}
	}
	out.Flush()
}

// patient gives each write of a long answer its own time.
type patient struct{ w http.ResponseWriter }

func (p *patient) Write(b []byte) (int, error) {
	// Where the connection has no deadline there is none to move.
	_ = http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(time.Minute))
	return p.w.Write(b)
}

func (s *Server) getAuthors(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	_, names, err := kindsOf(r.URL.Query()["type"])
	if err != nil || len(names) > 1 {
		writeError(w, http.StatusBadRequest, "bad-type", "type is the name of one text type, or is left out for all")
		return
	}
	m, err := s.moment(r.Context(), doc, r.URL.Query().Get("at"))
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	name := ""
	if len(names) == 1 {
		name = names[0]
	}
	st, types, err := s.o.Snapshots.Authors(r.Context(), doc, name, m)
	switch {
	case err != nil:
		s.failHistory(w, doc, err)
	case name != "":
		writeJSON(w, http.StatusOK, map[string]any{"seq": st.Seq, "type": name, "runs": types[name]})
	default:
		writeJSON(w, http.StatusOK, map[string]any{"seq": st.Seq, "types": types})
	}
}

func (s *Server) getDiff(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	q := r.URL.Query()
	if q.Get("from") == "" {
		writeError(w, http.StatusBadRequest, "bad-moment", "from is needed: a sequence, a time, an age or a version")
		return
	}
	from, err := s.moment(r.Context(), doc, q.Get("from"))
	var to snapshot.Moment
	if err == nil {
		to, err = s.moment(r.Context(), doc, q.Get("to"))
	}
	if err == nil {
		var d snapshot.Diff
		if d, err = s.o.Snapshots.Diff(r.Context(), doc, from, to); err == nil {
			writeJSON(w, http.StatusOK, d)
			return
		}
	}
	s.failHistory(w, doc, err)
}

func (s *Server) getVersions(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	list, err := s.o.Snapshots.Versions(r.Context(), doc)
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"versions": list})
}

func (s *Server) postVersion(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	var in struct {
		Name string `json:"name"`
		At   moment `json:"at"`
	}
	if !readBody(w, r, &in, `{"name":"first draft"}`) {
		return
	}
	if _, err := snapshot.ParseMoment(in.Name, time.Now()); err == nil { // nobody could ever ask for it by that name
		s.failHistory(w, doc, snapshot.ErrVersionName)
		return
	}
	m, err := s.moment(r.Context(), doc, string(in.At))
	if err == nil {
		var v snapshot.Version
		if v, err = s.o.Snapshots.PutVersion(r.Context(), doc, in.Name, m, g.User); err == nil {
			writeJSON(w, http.StatusCreated, v)
			return
		}
	}
	s.failHistory(w, doc, err)
}

func (s *Server) deleteVersion(w http.ResponseWriter, r *http.Request, doc stream.Doc, name string) {
	err := s.o.Snapshots.DeleteVersion(r.Context(), doc, name)
	switch {
	case errors.Is(err, snapshot.ErrNotFound):
		writeError(w, http.StatusNotFound, "no-version", "the document has no version of that name")
	case err != nil:
		s.failHistory(w, doc, err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) postRestore(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	var in struct {
		At moment `json:"at"`
	}
	if !readBody(w, r, &in, `{"at":812}`) {
		return
	}
	if in.At == "" {
		writeError(w, http.StatusBadRequest, "bad-moment", "at is needed: a sequence, a time, an age or a version")
		return
	}
	m, err := s.moment(r.Context(), doc, string(in.At))
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.limits.AppendWait)
	defer cancel()
	seq, err := s.o.Snapshots.Restore(ctx, doc, m, g.User, s.node+".http")
	switch {
	case errors.Is(err, snapshot.ErrNoChange):
		head, err := s.o.Log.Head(r.Context(), doc)
		if err != nil {
			s.failHistory(w, doc, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"seq": head, "changed": false})
	case err != nil:
		s.failHistory(w, doc, err)
	default:
		s.hintClosed(doc, seq, 1)
		s.log.Info("document restored", "doc", string(doc), "user", g.User, "at", string(in.At), "seq", seq)
		writeJSON(w, http.StatusOK, map[string]any{"seq": seq, "changed": true})
	}
}

func (s *Server) postCopy(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	var in struct {
		To string `json:"to"`
		At moment `json:"at"`
	}
	if !readBody(w, r, &in, `{"to":"notes/copy"}`) {
		return
	}
	m, err := s.moment(r.Context(), doc, string(in.At))
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	// The rights on the new name are asked for like those on any other.
	s.withDoc(w, r, in.To, auth.ReadWrite, func(w http.ResponseWriter, r *http.Request, to stream.Doc, g auth.Grant) {
		ctx, cancel := context.WithTimeout(r.Context(), s.limits.AppendWait)
		defer cancel()
		seq, err := s.o.Snapshots.Copy(ctx, doc, m, to, g.User, s.node+".http")
		if err != nil {
			s.failHistory(w, to, err)
			return
		}
		s.hintClosed(to, seq, 1)
		writeJSON(w, http.StatusCreated, map[string]any{"doc": to, "seq": seq})
	})
}

func (s *Server) getExport(w http.ResponseWriter, r *http.Request, doc stream.Doc, _ auth.Grant) {
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": strings.ReplaceAll(string(doc), "/", "-") + ".yjet.jsonl"}))
	out := &begun{ResponseWriter: w}
	if err := s.o.Snapshots.Export(r.Context(), doc, &patient{w: out}); err != nil {
		if !out.yes {
			for _, k := range []string{"Content-Disposition", "Content-Type"} {
				h.Del(k)
			}
			s.failHistory(w, doc, err)
			return
		}
		// Without its last line the file tells by itself that it is not whole; cut the connection so that the reader hears it too.
		s.log.Error("export not finished", "doc", string(doc), "err", err)
		panic(http.ErrAbortHandler)
	}
}

// begun notes whether anything of an answer is on its way.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}

func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (s *Server) postImport(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	o := snapshot.ImportOptions{User: g.User, Conn: s.node + ".http", KeepUsers: g.Admin || s.o.Auth.Open(), Merge: isTrue(r.URL.Query().Get("merge"))}
	if !o.KeepUsers { // who may not speak for everybody is the author of what he brings, and brings it through the door
		o.Check = func(u *yjs.Update, have *yjs.State) error { return s.checkImport(doc, g, u, have) }
		o.Size = func(bytes int) error {
			if bytes > s.limits.Document {
				return causeFull
			}
			return nil
		}
	}
	done, err := s.o.Snapshots.Import(r.Context(), doc, &eager{r.Body, http.NewResponseController(w)}, o)
	if err != nil {
		s.failHistory(w, doc, err)
		return
	}
	s.hintClosed(doc, done.Last, done.Records)
	s.log.Info("document imported", "doc", string(doc), "user", g.User, "records", done.Records)
	writeJSON(w, http.StatusCreated, map[string]any{"doc": doc, "records": done.Records, "versions": done.Versions, "seq": done.Last})
}

// checkImport holds an update of a file to the rules of one that comes by a socket: its limits, that it depends on nothing that is
// not there, and that its bearer still may.
func (s *Server) checkImport(doc stream.Doc, g auth.Grant, u *yjs.Update, have *yjs.State) error {
	if s.withdrawn(doc, g) {
		return causeRevoked
	}
	var checked yjs.Update
	if err := s.parse(&checked, u.Bytes); err != nil {
		return err
	}
	if cs := crowd(have, u); cs != nil {
		return cs
	}
	if ready, err := have.Ready(u); err != nil || ready.Rest != nil {
		return fmt.Errorf("%w: the update depends on what is neither in the file before it nor in the document", snapshot.ErrTransfer)
	}
	return nil
}

// eager gives each read of a long body its own time.
type eager struct {
	io.Reader
	c *http.ResponseController
}

func (e *eager) Read(p []byte) (int, error) {
	_ = e.c.SetReadDeadline(time.Now().Add(time.Minute))
	return e.Reader.Read(p)
}

func isTrue(v string) bool { return v == "1" || v == "true" || v == "yes" }

// moment is one in a body: a text, or a sequence as a number.
type moment string

func (m *moment) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*m = moment(text)
		return nil
	}
	var n uint64
	if err := json.Unmarshal(b, &n); err != nil {
		return errors.New("a moment is a sequence or a text")
	}
	*m = moment(strconv.FormatUint(n, 10))
	return nil
}

// readBody reads a small JSON body; false: it was answered.
func readBody(w http.ResponseWriter, r *http.Request, into any, example string) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
	if err == nil && !utf8.Valid(body) { // encoding/json would put U+FFFD into the name
		err = errors.New("not UTF-8")
	}
	if err == nil && len(strings.TrimSpace(string(body))) > 0 {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "malformed", "want JSON such as "+example)
		return false
	}
	return true
}
