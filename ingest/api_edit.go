package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"yjet/auth"
	"yjet/internal/patch"
	"yjet/snapshot"
	"yjet/stream"
)

// patchDoc applies edits in JSON as one transaction.
//
//	PATCH /api/docs/{doc}    {"ops":[{"type","name","path","op",…}]}; If-Match: "<seq>"; Idempotency-Key: <text>
//
// It answers {"seq","changed","found"}: the sequence of the record, or of the document's last record where nothing changed, and for
// each replace what it found. An error of one edit names it: {"error":{"code","message","op","field","length"}}.
func (a *api) patchDoc(w http.ResponseWriter, r *http.Request, doc stream.Doc, grant auth.Grant) {
	if a.srv.draining.Load() {
		a.metrics.refuse(w, causeDraining)
		return
	}
	if grant.Mode < writeMode {
		a.metrics.refuse(w, causeReadOnly)
		return
	}
	match, key, err := patchHeaders(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, "bad-condition", err.Error())
		return
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "" && kind != "application/json" && kind != "application/x-www-form-urlencoded" { // the last is curl's own default
		writeError(w, http.StatusUnsupportedMediaType, "bad-type", "the body is edits in JSON: application/json")
		return
	}
	body, held, err := a.readUpdate(w, r)
	defer a.inbound.give(r, held)
	if err != nil {
		a.refuseBody(w, err)
		return
	}
	ops, err := patch.Parse(body)
	if err != nil {
		status, answer := editError(err)
		writeJSON(w, status, answer)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.limits.AppendWait)
	defer cancel()
	e := editing{grant: grant, conn: a.node + ".http", ops: ops, match: match, begin: func() error { return a.countNew(r, grant) }}
	var claim *editClaim
	if key != "" {
		if claim, err = a.claimEdit(ctx, doc, grant.User, key, r.Header.Get("If-Match")+"\n"+string(body)); err != nil {
			a.fail(w, doc, err)
			return
		}
		if claim.reused {
			writeError(w, http.StatusUnprocessableEntity, "key-reused", "this Idempotency-Key came with another request: use a new one for a new edit")
			return
		}
		if claim.answer.Status != 0 {
			w.Header().Set("Yjet-Replayed", "true")
			a.answerEdit(w, claim.answer.Status, claim.answer.Body)
			return
		}
		e.conn += "." + claim.mark()
	}
	status, answer, err := a.applyEdit(ctx, r, doc, e)
	if claim != nil {
		claim.settle(a, doc, status, answer, err)
	}
	if err != nil {
		a.fail(w, doc, err)
		return
	}
	a.warnNear(doc, w.Header())
	a.answerEdit(w, status, answer)
}

// patchHeaders reads the conditions of a PATCH.
func patchHeaders(r *http.Request) (match *stream.Seq, key string, err error) {
	if v := r.Header.Values("If-Match"); len(v) > 0 {
		tag := strings.TrimPrefix(strings.TrimSpace(strings.Join(v, ",")), "W/")
		n, perr := strconv.ParseUint(strings.Trim(tag, `"`), 10, 63)
		if perr != nil {
			return nil, "", errors.New(`If-Match is the ETag of one state, such as "42"`)
		}
		match = (*stream.Seq)(&n)
	}
	if r.Header.Get("If-None-Match") != "" {
		return nil, "", errors.New("If-None-Match is for POST: to edit only a new document, send If-Match: \"0\"")
	}
	if v := r.Header.Values("Idempotency-Key"); len(v) > 0 {
		if key = v[0]; len(v) > 1 || key == "" || len(key) > 255 {
			return nil, "", errors.New("Idempotency-Key is one text of 1 to 255 bytes")
		}
	}
	return match, key, nil
}

// applyEdit applies edits in the document's room and returns the answer: done, or refused for what they are. err: they were not tried,
// or could not be stored.
func (a *api) applyEdit(ctx context.Context, r *http.Request, doc stream.Doc, e editing) (status int, answer any, err error) {
	room, err := a.rooms.open(ctx, doc)
	if err != nil {
		return 0, nil, err
	}
	defer a.rooms.release(room)
	var size int
	room.look(func() { size = room.size() })
	var done edited
	work := func() (err error) {
		done, err = room.edit(ctx, e)
		return err
	}
	if size+len(e.ops)*64 > heavyState && !room.desk.open() {
		err = a.heavily(r.WithContext(ctx), e.grant, work)
	} else {
		err = work()
	}
	var bad *patch.Error
	switch {
	case errors.As(err, &bad):
		status, answer = editError(bad)
		return status, answer, nil
	case errors.Is(err, errMoved):
		return http.StatusPreconditionFailed, errorBody("moved-on", "the document has a newer record than If-Match names: read it again"), nil
	case err != nil:
		return 0, nil, err
	}
	out := struct {
		Seq     stream.Seq    `json:"seq"`
		Changed bool          `json:"changed"`
		Found   []patch.Found `json:"found,omitempty"`
	}{done.seq, done.changed, done.found}
	return http.StatusOK, out, nil
}

// answerEdit writes the answer to an edit, a new one or one that was kept.
func (a *api) answerEdit(w http.ResponseWriter, status int, answer any) {
	var seq struct{ Seq uint64 }
	if b, err := json.Marshal(answer); err == nil && json.Unmarshal(b, &seq) == nil && status == http.StatusOK {
		w.Header().Set("ETag", `"`+strconv.FormatUint(seq.Seq, 10)+`"`)
		w.Header().Set("Yjet-Seq", strconv.FormatUint(seq.Seq, 10))
	}
	writeJSON(w, status, answer)
}

// editError is the answer to an edit that cannot be read or applied. The error is an *patch.Error.
func editError(err error) (status int, answer any) {
	var e *patch.Error
	if !errors.As(err, &e) {
		return http.StatusBadRequest, errorBody("malformed", err.Error())
	}
	status = http.StatusUnprocessableEntity
	switch e.Code {
	case "malformed":
		status = http.StatusBadRequest
	case "no-match":
		status = http.StatusConflict
	}
	body := map[string]any{"code": e.Code, "message": e.Error()}
	if e.Op >= 0 {
		body["op"] = e.Op
	}
	if e.Field != "" {
		body["field"] = e.Field
	}
	if e.Length >= 0 {
		body["length"] = e.Length
	}
	return status, map[string]any{"error": body}
}

// staleClaim is the age of a claim whose server has surely given up: it tries for AppendWait at most.
const staleClaim = time.Minute

// An editClaim is an idempotency key that this request has to itself, or its answer.
type editClaim struct {
	key    string
	answer stream.Answer
	reused bool // the key came with another request before
}

// mark is what the connection of the key's record ends with, so that the record can be found again.
func (c *editClaim) mark() string { return "k" + c.key[:12] }

// claimEdit claims an idempotency key, or returns the answer that was made under it. While another server makes it, claimEdit waits. A
// server that ended in between has left either no record, and the claim passes to this request, or one, from which the answer is made.
func (a *api) claimEdit(ctx context.Context, doc stream.Doc, user, key, request string) (*editClaim, error) {
	edits := a.o.Log.Edits()
	hash := sha256.Sum256([]byte(request))
	c := &editClaim{key: edits.Key(doc, user, key)}
	mine := stream.Answer{Request: hex.EncodeToString(hash[:])}
	for {
		now, err := edits.Get(ctx, c.key)
		if err != nil {
			return nil, because(causeStorage, err)
		}
		switch {
		case now.Rev != 0 && now.Request != mine.Request:
			c.reused = true
			return c, nil
		case now.Status != 0:
			c.answer = now
			return c, nil
		case now.Rev != 0 && time.Since(now.Time) < staleClaim:
			if wait(ctx, a.srv.ctx, 50*time.Millisecond); ctx.Err() != nil || a.srv.ctx.Err() != nil {
				return nil, causeStorage
			}
			continue
		case now.Rev != 0:
			seq, err := a.recordOf(ctx, doc, now.After, c.mark())
			if err != nil {
				return nil, err
			}
			if seq > 0 {
				now.Status = http.StatusOK
				now.Body, _ = json.Marshal(map[string]any{"seq": seq, "changed": true})
				if _, err := edits.Put(ctx, c.key, now); err != nil {
					a.log.Warn("the answer to an edit is not kept", "doc", string(doc), "err", err)
				}
				c.answer = now
				return c, nil
			}
		}
		mine.Rev = now.Rev
		if mine.After, err = a.o.Log.Head(ctx, doc); err != nil {
			return nil, err
		}
		rev, err := edits.Put(ctx, c.key, mine)
		switch {
		case err == nil:
			mine.Rev = rev
			c.answer = mine
			return c, nil
		case !errors.Is(err, stream.ErrConflict):
			return nil, because(causeStorage, err)
		}
	}
}

// recordOf finds the last record after a sequence whose connection ends with mark; 0: there is none.
func (a *api) recordOf(ctx context.Context, doc stream.Doc, after stream.Seq, mark string) (seq stream.Seq, err error) {
	for rec, err := range a.o.Snapshots.Records(ctx, doc, after, 0) {
		if errors.Is(err, snapshot.ErrNotFound) {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		if strings.HasSuffix(rec.Conn, "."+mark) {
			seq = rec.Seq
		}
	}
	return seq, nil
}

// settle keeps the answer under the key. Of an edit that failed with a cause, such as a full document, the claim is removed, so that the
// request can be sent again. Where nobody
// knows whether the edit is stored, the claim stays, and a later request looks for the record.
func (c *editClaim) settle(a *api, doc stream.Doc, status int, answer any, failed error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.srv.ctx), 5*time.Second)
	defer cancel()
	edits := a.o.Log.Edits()
	var err error
	switch {
	case failed == nil:
		kept := c.answer
		kept.Status = status
		if kept.Body, err = json.Marshal(answer); err == nil {
			_, err = edits.Put(ctx, c.key, kept)
		}
	case errors.Is(failed, causeStorage), errors.Is(failed, stream.ErrGaveUp), errors.Is(failed, context.Canceled), errors.Is(failed, context.DeadlineExceeded):
	default:
		err = edits.Remove(ctx, c.key, c.answer.Rev)
	}
	if err != nil {
		a.log.Warn("the answer to an edit is not kept", "doc", string(doc), "err", err)
	}
}
