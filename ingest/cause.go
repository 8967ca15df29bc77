package ingest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"yjet/auth"
	"yjet/ingest/outbound"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// A cause is the reason why a connection or a session ends, or is refused. It is an
// error; errors with more detail wrap it. Clients, logs and metrics read its reason:
// short, fixed, without names.
type cause struct {
	reason string
	http   int // status where it is known before the upgrade, or over HTTP
	party  int // close codes: 0 means that the connection stays (told within the protocol)
	yws    int // y-websocket and y-sweet: 4400 to 4499 stop a current y-websocket for good
	hp     int
	silent bool // no close frame: nobody is there to read it
}

func (c *cause) Error() string { return c.reason }

// Every way to end. Codes as measured on the providers: those below 4400 and
// above 4499 are retried by all of them, so a refusal that a retry cannot cure
// is a 44xx wherever one is understood.
var (
	causeNoToken         = &cause{reason: "token-required", http: http.StatusUnauthorized, party: 1008, yws: 4401}
	causeToken           = &cause{reason: "token-invalid", http: http.StatusUnauthorized, party: 1008, yws: 4401}
	causeExpired         = &cause{reason: "token-expired", http: http.StatusUnauthorized, party: 1008, yws: 4401}
	causeNotYet          = &cause{reason: "token-not-valid-yet", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeForbidden       = &cause{reason: "forbidden", http: http.StatusForbidden, party: 1008, yws: 4403}
	causeRevoked         = &cause{reason: "revoked", http: http.StatusForbidden, party: 1008, yws: 4403}
	causeOrigin          = &cause{reason: "origin-refused", http: http.StatusForbidden, party: 1008, yws: 4403, hp: 4403}
	causeMalformed       = &cause{reason: "malformed", http: http.StatusBadRequest, party: 1008, yws: 4400, hp: 4400}
	causeRoomRequired    = &cause{reason: "room-required", http: http.StatusBadRequest, party: 1008, yws: 4400, hp: 4400}
	causeName            = &cause{reason: "bad-document-name", http: http.StatusBadRequest, party: 1008, yws: 4400}
	causeTooLarge        = &cause{reason: "message-too-large", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413, hp: 1009}
	causeFirstTooLarge   = &cause{reason: "first-message-too-large", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413, hp: 1009}
	causeValueTooLarge   = &cause{reason: "value-too-large", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413}
	causeTooManyParts    = &cause{reason: "update-of-too-many-parts", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413}
	causeInternal        = &cause{reason: "internal-error", http: http.StatusInternalServerError, party: 1011, yws: 1011, hp: 1011}
	causeServerFull      = &cause{reason: "too-many-connections", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeAddressFull     = &cause{reason: "too-many-connections-of-address", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeAddressRate     = &cause{reason: "too-many-new-connections-of-address", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeAddressRequests = &cause{reason: "too-many-requests-of-address", http: http.StatusServiceUnavailable}
	causeUserFull        = &cause{reason: "too-many-connections-of-user", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeUserDocuments   = &cause{reason: "too-many-documents-of-user", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeNewDocuments    = &cause{reason: "too-many-new-documents", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeDocumentCrowded = &cause{reason: "too-many-clients-in-document", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeTooManyOpen     = &cause{reason: "too-many-open-documents", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeNoMemory        = &cause{reason: "memory-limit", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeInboundFull     = &cause{reason: "too-many-large-messages", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeHeavy           = &cause{reason: "too-many-heavy-requests", http: http.StatusServiceUnavailable}
	causeUnread          = &cause{reason: "too-many-unread-answers", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeLoadQueue       = &cause{reason: "too-many-documents-loading", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeUnavailable     = &cause{reason: "auth-unavailable", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeDraining        = &cause{reason: "draining", http: http.StatusServiceUnavailable, party: 1012, yws: 1012, hp: 1012}
	causeSlow            = &cause{reason: "slow-consumer", http: http.StatusServiceUnavailable, party: 4513, yws: 4513, hp: 4513}
	causeDeleted         = &cause{reason: "document-deleted", http: http.StatusNotFound, party: 1008, yws: 4404}
	causeDamaged         = &cause{reason: "document-damaged", http: http.StatusConflict, party: 1011, yws: 4409, hp: 4409}
	causeFull            = &cause{reason: "document-full", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413}
	causeFullDepth       = &cause{reason: "document-too-deep", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413}
	causeFullClients     = &cause{reason: "too-many-clients-ever", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413}
	causeFullRootWork    = &cause{reason: "too-many-roots", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413}
	causeFullSubDocs     = &cause{reason: "too-many-sub-documents", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413}
	causeFullConflicts   = &cause{reason: "too-many-conflicts", http: http.StatusRequestEntityTooLarge, party: 1009, yws: 4413}
	causeTaken           = &cause{reason: "edits-overtaken", http: http.StatusConflict}
	causeReadOnly        = &cause{reason: "read-only", http: http.StatusForbidden}
	causeNoDelete        = &cause{reason: "may-not-delete", http: http.StatusForbidden}
	causeStorage         = &cause{reason: "storage-unavailable", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeNeverAuth       = &cause{reason: "authentication-timeout", http: http.StatusRequestTimeout, party: 4508, yws: 4508, hp: 4408}
	causeNotLoaded       = &cause{reason: "load-unavailable", http: http.StatusServiceUnavailable, party: 1013, yws: 1013, hp: 1013}
	causeQueueFull       = &cause{reason: "too-much-before-authentication", http: http.StatusRequestEntityTooLarge, party: 4413, yws: 4413, hp: 4205}
	causeRender          = &cause{reason: "too-large-to-render", http: http.StatusUnprocessableEntity}
	causeVersions        = &cause{reason: "too-many-versions", http: http.StatusConflict}
	causeNoType          = &cause{reason: "no-such-type", http: http.StatusNotFound}
	causePresenceLarge   = &cause{reason: "presence-too-large"}
	causePresenceIDs     = &cause{reason: "too-many-presence-ids"}
	causePresenceFull    = &cause{reason: "presence-of-document-full"}

	// How a client's own going looks. Clean: its close frame came.
	causeLeft = &cause{reason: "left", party: 1000, yws: 1000, hp: 1000}
	causeGone = &cause{reason: "connection-lost", silent: true}
	causeDead = &cause{reason: "no-answer", silent: true}
)

// causeOf finds the cause in err. What is none is an internal error.
func causeOf(err error) *cause {
	var c *cause
	switch {
	case errors.As(err, &c):
		return c
	case errors.Is(err, yjs.ErrOutput), errors.Is(err, yjs.ErrTooDeep):
		return causeRender
	case errors.Is(err, auth.ErrNoToken):
		return causeNoToken
	case errors.Is(err, auth.ErrExpired):
		return causeExpired
	case errors.Is(err, auth.ErrNotYet):
		return causeNotYet
	case errors.Is(err, auth.ErrToken):
		return causeToken
	case errors.Is(err, auth.ErrForbidden):
		return causeForbidden
	case errors.Is(err, auth.ErrRevoked):
		return causeRevoked
	case errors.Is(err, auth.ErrUnavailable):
		return causeUnavailable
	case errors.Is(err, outbound.ErrNotLoaded):
		return causeNotLoaded
	case errors.Is(err, stream.ErrName):
		return causeName
	case errors.Is(err, snapshot.ErrVersions):
		return causeVersions
	case errors.Is(err, stream.ErrTooLarge), errors.Is(err, yjs.ErrUnsplittable):
		return causeValueTooLarge
	case errors.Is(err, stream.ErrErased):
		return causeDeleted
	case errors.Is(err, stream.ErrLost), errors.Is(err, stream.ErrDamaged):
		return causeDamaged
	case errors.Is(err, stream.ErrGaveUp), errors.Is(err, stream.ErrFault), errors.Is(err, stream.ErrRewound):
		return causeStorage
	}
	return causeInternal
}

// fullCauses are the causes of a refused growth: the session goes on, since reading and deleting do.
var fullCauses = map[yjs.Bound]*cause{yjs.NoBound: causeFull, yjs.BoundDepth: causeFullDepth, yjs.BoundClients: causeFullClients,
	yjs.BoundRootWork: causeFullRootWork, yjs.BoundSubDocs: causeFullSubDocs, yjs.BoundConflicts: causeFullConflicts}

// isFull reports whether c refuses the growth of a document.
func (c *cause) isFull() bool { return slices.Contains(slices.Collect(maps.Values(fullCauses)), c) }

// ofWrites reports whether c refuses one update, and nothing else of its sender.
func (c *cause) ofWrites() bool { return c == causeReadOnly || c == causeTaken || c.isFull() }

// overBound is the cause of an error of [yjs.State.Admit].
func overBound(err error) error {
	var e *yjs.Error
	if errors.As(err, &e) {
		return because(fullCauses[e.Bound], err)
	}
	return because(causeFull, err)
}

// fatal says whether a client that takes text is told before the connection ends.
func (c *cause) fatal() bool { return !c.silent && c != causeLeft && c != causeDraining }

// message is the sentence of a cause, for people.
func (c *cause) message() string {
	if m, ok := sentences[c]; ok {
		return m
	}
	return strings.ReplaceAll(c.reason, "-", " ")
}

var sentences = map[*cause]string{
	causeNoToken:         "a token is required: send it as ?token=, as Authorization: Bearer, or as the subprotocol bearer.<token>",
	causeToken:           "the token is not valid here",
	causeExpired:         "the token has expired: get a new one and connect again",
	causeNotYet:          "the token is not valid yet, or this server's clock is behind: come again soon",
	causeNoDelete:        "deleting takes the right rwd, which rw does not contain",
	causeForbidden:       "this token has no right to the document",
	causeRevoked:         "the right to the document was taken back",
	causeOrigin:          "pages of this origin may not connect: the server's --origins lists those that may",
	causeMalformed:       "the message is not one of Yjs's protocols, or its update is damaged",
	causeRoomRequired:    "the path names no document",
	causeName:            "document names have 1 to 255 bytes of UTF-8, no control characters and no . or .. segment",
	causeTooLarge:        "the message is larger than --max-message, or the update than --max-document and --max-message together: send it in parts, or bring the document with yjet doc import",
	causeFirstTooLarge:   "the first message of a connection is larger than --max-first-message: begin with a sync step 1",
	causeValueTooLarge:   "a value that cannot be cut is larger than NATS's max_payload: store it elsewhere and its address in the document",
	causeTooManyParts:    "the update has more parts than a stock client reads in good time: send it in several",
	causeServerFull:      "this server has as many connections as --max-connections allows: try again later",
	causeAddressFull:     "too many connections from this address without a signed-in user: try again later",
	causeAddressRate:     "too many new connections from this address at once: try again later",
	causeAddressRequests: "too many requests of this address are being answered: try again later",
	causeUserFull:        "this user has too many connections: close some, or try again later",
	causeUserDocuments:   "this user has too many documents open: close some, or try again later",
	causeNewDocuments:    "too many new documents in the last minute: try again later",
	causeDocumentCrowded: "the document has as many clients as this server allows: try again later",
	causeTooManyOpen:     "this server has as many open documents as it allows: try again later",
	causeNoMemory:        "this server is near its memory limit: try again later",
	causeInboundFull:     "the server is storing as many large messages as its memory allows: try again later",
	causeHeavy:           "too many requests wait for authors, differences, moments, renderings or exports: try again later",
	causeUnread:          "clients have yet to read as much as this server's memory allows: try again later",
	causeLoadQueue:       "too many documents wait to be loaded: try again later",
	causeUnavailable:     "rights cannot be asked for at the moment: try again later",
	causeDraining:        "this server is about to stop: connect again",
	causeSlow:            "the connection did not read what was sent",
	causeDeleted:         "the document was deleted",
	causeDamaged:         "the document's log is damaged",
	causeFull:            "the document has reached its largest size (--max-document): it can be read, and made smaller, but does not grow",
	causeFullDepth:       "the document's types would nest deeper than --max-depth allows: the update is not stored",
	causeFullClients:     "the document would have more clients than --max-clients-ever allows: the update is not stored",
	causeFullRootWork:    "the document would have more root names, times the items in them, than --max-root-work allows: the update is not stored",
	causeFullSubDocs:     "the document would have more sub-documents than --max-sub-documents allows: the update is not stored",
	causeFullConflicts:   "the document would take stock clients longer to order than --max-conflicts allows: the update is not stored",
	causeTaken:           "another client used up the ids of these edits: they are not stored; insert the text again",
	causeReadOnly:        "the document may be read, not written, with this token",
	causePresenceLarge:   "the presence state is larger than --max-presence allows: the others do not see it until it is smaller",
	causePresenceIDs:     "the connection speaks for more presence ids than --max-presence-ids allows: the others do not see the rest",
	causePresenceFull:    "the document has as many presence ids or bytes as this server allows: the others do not see this state",
	causeStorage:         "updates cannot be stored at the moment: try again later",
	causeNeverAuth:       "no message came that names the user and the document",
	causeRender:          "written out in this form, the document is larger or nests deeper than the server takes: ask for the update itself",
	causeVersions:        "the document has as many named versions as this server allows: delete one first",
	causeNoType:          "the document has no type of this name",
}

// quote makes a stranger's text fit for a message.
func quote(s string) string { return strconv.Quote(clip(s)) }

// clip makes a stranger's text fit for a log line.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// because says which cause err is.
func because(cs *cause, err error) error { return fmt.Errorf("%w: %w", cs, err) }
