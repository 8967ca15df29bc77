package ingest

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
	"yjet/stream"
)

// serveDocs answers /api/docs and the routes below it.
//
//	GET    /api/docs?prefix=&limit=&after=    list
//	GET    /api/docs/{doc}                    state: update, json, text, vector; ?at= a moment
//	POST   /api/docs/{doc}                    an update
//	PATCH  /api/docs/{doc}                    edits in JSON
//	DELETE /api/docs/{doc}                    for good
//	GET    /api/docs/{doc}/presence           the users who are present
func (a *api) serveDocs(w http.ResponseWriter, r *http.Request, segments []string) {
	switch {
	case len(segments) == 0:
		a.listDocs(w, r)
		return
	case len(segments) == 1:
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			a.withDoc(w, r, segments[0], auth.Read, a.getDoc)
		case http.MethodPost:
			a.withDoc(w, r, segments[0], auth.Read, a.postDoc) // a reader's update is refused where it brings news
		case http.MethodDelete:
			a.withDoc(w, r, segments[0], auth.ReadWriteDelete, a.deleteDoc)
		case http.MethodPatch:
			a.withDoc(w, r, segments[0], auth.ReadWrite, a.patchDoc)
		default:
			notAllowed(w, "GET, HEAD, POST, PATCH, DELETE")
		}
		return
	case len(segments) == 2 && segments[1] == "presence":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			notAllowed(w, "GET, HEAD")
			return
		}
		a.withDoc(w, r, segments[0], auth.Read, a.getPresence)
		return
	}
	if !a.serveHistory(w, r, segments[0], segments[1:]) {
		writeError(w, http.StatusNotFound, "not-found", "no such route: document names are percent-encoded (notes%2Ftodo)")
	}
}

// countNew counts a new document of the caller, and waits where they begin them faster than the rate.
func (a *api) countNew(r *http.Request, grant auth.Grant) error {
	if grant.Admin {
		return nil
	}
	hold, ok := a.gate.mayBegin(a.srv.clientIP(r), grant.User, time.Now())
	if !ok {
		return causeNewDocuments
	}
	if hold > 0 {
		wait(r.Context(), a.srv.ctx, hold)
	}
	return nil
}

// postDoc appends an update.
func (a *api) postDoc(w http.ResponseWriter, r *http.Request, doc stream.Doc, grant auth.Grant) {
	if a.srv.draining.Load() {
		a.metrics.refuse(w, causeDraining)
		return
	}
	body, held, err := a.readUpdate(w, r)
	defer a.inbound.give(r, held)
	if err != nil {
		a.refuseBody(w, err)
		return
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/vnd.yjs.update.v2":
		var more int
		body, more, err = a.fromV2(r, body)
		defer a.inbound.give(r, more)
		if err != nil {
			a.refuseBody(w, err)
			return
		}
	case "", "application/octet-stream", "application/vnd.yjs.update", "application/x-www-form-urlencoded": // curl's own default
	default:
		writeError(w, http.StatusUnsupportedMediaType, "bad-type", "the body is a Yjs update: application/octet-stream, or application/vnd.yjs.update.v2")
		return
	}
	// A busy machine takes a second for each of a large document's mebibytes.
	ctx, cancel := context.WithTimeout(r.Context(), a.limits.AppendWait+time.Duration(len(body)>>20)*time.Second)
	defer cancel()
	conn := a.node + ".http"
	var seq stream.Seq
	var left *leftOut
	switch match := r.Header.Get("If-None-Match"); match {
	case "*":
		if err = a.countNew(r, grant); err != nil {
			break
		}
		if seq, left, err = a.srv.seed(ctx, doc, grant, conn, body); err == nil {
			a.hintClosed(doc, seq, 1)
		}
	case "":
		var room *room
		if room, err = a.rooms.open(ctx, doc); err != nil {
			break
		}
		if room.fresh() {
			err = a.countNew(r, grant)
		}
		if err == nil {
			seq, left, err = room.write(ctx, grant, conn, body)
		}
		a.rooms.release(room)
		a.warnNear(doc, w.Header())
	default:
		writeError(w, http.StatusBadRequest, "bad-condition", "If-None-Match here is * or nothing")
		return
	}
	if err != nil {
		a.fail(w, doc, err)
		return
	}
	if left != nil {
		w.Header().Set("Yjet-Left-Out", left.header())
		a.log.Warn("a part of an update is left out: its dependencies are neither in the update nor in the document", "doc", string(doc), "user", grant.User, "bytes", left.bytes, "missing", listIDs(left.missing))
	}
	w.Header().Set("Yjet-Seq", strconv.FormatUint(uint64(seq), 10))
	w.WriteHeader(http.StatusNoContent)
}

// fromV2 converts an update V2 to V1. One that becomes larger than a message counts as the largest while it is made; the caller gives
// held back to a.inbound. The error has a cause.
func (a *api) fromV2(r *http.Request, body []byte) (v1 []byte, held int, err error) {
	lim := a.limits.Update
	lim.Expanded = min(lim.Expanded, a.limits.Message)
	if v1, err = yjs.FromV2(body, lim); errors.Is(err, yjs.ErrLimit) {
		held = a.limits.largest()
		if err = a.inbound.wait(a.memory, r, held, a.limits.MessageWait, r.Context().Done()); err != nil {
			return nil, 0, err
		}
		v1, err = yjs.FromV2(body, a.limits.Update)
	}
	switch {
	case errors.Is(err, yjs.ErrLimit):
		err = because(causeTooLarge, err)
	case err != nil:
		err = because(causeMalformed, err)
	}
	return v1, held, err
}

// hintClosed tells the store of records that were appended without a room: the document may be folded when it stays quiet. A
// room that is open hears of them from the log, and tells by itself.
func (a *api) hintClosed(doc stream.Doc, head stream.Seq, records int) {
	if a.rooms.find(doc) == nil {
		a.o.Snapshots.Hint(doc, head, 0, records, true)
	}
}

// deleteTime bounds the deletion of a document. It goes on when the caller hangs up: a document must not stay half deleted.
const deleteTime = 2 * time.Minute

// erasedNote is the value of Yjet-Erased in the answer to DELETE: the bytes that are gone, and those that may still lie on the disk.
const erasedNote = "gone from every stream; what folds took out of the log earlier may lie in block files until the server starts anew, 'yjet erase' runs, or NATS rewrites them"

// deleteDoc removes a document for good.
func (a *api) deleteDoc(w http.ResponseWriter, r *http.Request, doc stream.Doc, grant auth.Grant) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), deleteTime)
	defer cancel()
	if err := a.o.Snapshots.Erase(ctx, doc, grant.User); err != nil {
		a.fail(w, doc, err)
		return
	}
	a.log.Info("document deleted", "doc", string(doc), "user", grant.User)
	w.Header().Set("Yjet-Erased", erasedNote)
	w.WriteHeader(http.StatusNoContent)
}
