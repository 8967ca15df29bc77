package ingest

import (
	"bytes"
	"sync"
	"time"

	"yjet/auth"
	"yjet/internal/yjs"
)

// hocuspocus is the dialect of @hocuspocus/provider: many documents on one
// socket, each message with an address in front (the document's name, or name,
// zero and a session id), a token for each document in its messages, and a
// receipt for each update.
//
// A client sends its first step 1 and awareness without waiting to be let in:
// they are kept until it is. Letting in and loading happen in a goroutine for
// each document, so that a slow one does not hold up the others.
//
// A refusal is of one document, said in its own address; the others of the socket
// do not notice. Only a fault of the connection itself ends the socket.
// While a document cannot be opened for a reason that passes (the callback or the
// load URL fails, the log cannot be reached), it is tried again and again: its
// client takes a refusal for final.
type hocuspocus struct {
	wg sync.WaitGroup // documents being let in

	mu     sync.Mutex
	docs   map[string]*hpDoc // by address
	queued int               // bytes in the queues of docs
	modern bool              // a version was named: Close and Ping are understood
	met    bool              // a document was let in once
}

// An hpDoc is one address of a socket.
type hpDoc struct {
	// Set when it is made, then only read.
	name []byte   // as the client spells it
	enc  *encoder // of the address; its session may share another

	// Guarded by hocuspocus.mu.
	token  string
	told   chan struct{} // not nil: waits for a token; closed when it comes
	idle   chan struct{} // not nil: the reader waits; closed when the document is not busy any more
	s      *session
	busy   bool // a goroutine lets it in, or handles the messages that came meanwhile
	denied bool // only a new token is listened to
	closed bool // the client has left it while it was busy: its address is free for the next
	queue  [][]byte
	size   int
}

// Bounds of the messages kept before documents are let in.
const (
	hpQueueBytes    = 5 << 20 // of all documents of a socket together
	hpQueueMessages = 1_000   // of one
	hpDocuments     = 1_000
	hpAddress       = 1_024 // bytes; the longest name and a session are far below
	hpAuthWait      = 60 * time.Second

	hpRetryFirst = time.Second // between tries to let a document in, doubled each time
	hpRetryMost  = 30 * time.Second
)

func newHocuspocus(c *conn) *hocuspocus {
	c.limit.Store(int64(c.srv.limits.Message)) // the queue bounds the messages before admission
	return &hocuspocus{docs: map[string]*hpDoc{}}
}

func (d *hocuspocus) name() string      { return "hocuspocus" }
func (d *hocuspocus) open(*conn) error  { return nil }
func (d *hocuspocus) ended(*conn)       { d.wg.Wait() }
func (d *hocuspocus) reannounces() bool { d.mu.Lock(); defer d.mu.Unlock(); return !d.modern }

func (d *hocuspocus) code(cs *cause) int {
	if cs.hp == 0 {
		return cs.yws
	}
	return cs.hp
}

func (d *hocuspocus) carries(b []byte) bool {
	address, rest, err := yjs.ReadVarString(b)
	if err != nil || len(rest) > 0 && rest[0] != yjs.MsgSyncReply && !carriesUpdate(rest) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.docs[string(address)] != nil
}

func (d *hocuspocus) goodbye(*conn, *cause) []byte { return nil }

func (d *hocuspocus) message(c *conn, text bool, b []byte) error {
	if text {
		c.srv.metrics.dropped("unknown-text")
		return nil
	}
	for n := 0; n == 0 || len(b) > 0; n++ {
		m, rest, err := yjs.ReadHocuspocus(b)
		if n == frameMessages {
			err = errFrame
		}
		if err := d.one(c, m, err, b[:len(b)-len(rest)]); err != nil {
			return err
		}
		if err != nil {
			return nil // its document was refused
		}
		b = rest
	}
	return nil
}

// one takes one message of a frame, which b is; unread is why it could not be read.
//
// It is long because it is the whole life of an address, decided under one lock:
// unknown, waiting for a token, being let in, denied, open.
func (d *hocuspocus) one(c *conn, m yjs.Message, unread error, b []byte) error {
	if len(m.Address) > hpAddress {
		return causeMalformed
	}
	if unread != nil && m.Address == nil {
		return because(causeMalformed, unread)
	}
	if m.Address == nil {
		if m.Type == yjs.MsgPing {
			c.send(plain.binary([]byte{yjs.MsgPong}, nil))
		}
		return nil
	}
	d.mu.Lock()
	doc := d.docs[string(m.Address)]
	if unread != nil {
		d.mu.Unlock()
		if doc == nil {
			return because(causeMalformed, unread)
		}
		d.refuse(c, doc, causeMalformed)
		return nil
	}
	if doc == nil {
		cs := causeUserDocuments
		switch {
		case m.Type == yjs.MsgClose, m.Type == yjs.MsgAwareness, m.Type == yjs.MsgQueryAwareness: // of a document that was left; a new one begins otherwise
			d.mu.Unlock()
			return nil
		case len(m.Address) == 0:
			cs = causeRoomRequired
			fallthrough
		case len(d.docs) >= hpDocuments:
			d.mu.Unlock()
			if m.Type == yjs.MsgAuth {
				d.refuse(c, newHPDoc(m.Address), cs)
			}
			return nil
		}
		doc = newHPDoc(m.Address)
		d.docs[string(m.Address)] = doc
	}
	if m.Type == yjs.MsgAuth && m.Step == yjs.AuthToken {
		d.modern = d.modern || m.Version != nil
		doc.token = string(m.Payload)
		if doc.told != nil {
			close(doc.told)
			doc.told = nil
			d.mu.Unlock()
			return nil
		}
		if doc.s == nil && !doc.busy {
			doc.denied = false
			d.admit(c, doc)
			d.mu.Unlock()
			return nil
		}
	}
	switch {
	case doc.denied:
		if m.Type == yjs.MsgClose {
			delete(d.docs, string(m.Address))
		}
		d.mu.Unlock()
		return nil
	case doc.busy && m.Type == yjs.MsgClose:
		// Earlier messages are still taken; later ones belong to another visit, with a token of its own.
		delete(d.docs, string(m.Address))
		doc.closed = true
		d.keep(doc, b)
		d.mu.Unlock()
		return nil
	case doc.busy:
		full := len(doc.queue) >= hpQueueMessages || d.queued+len(b) > hpQueueBytes
		if full && doc.s != nil { // it is in, and its first messages are being handled
			idle := make(chan struct{})
			doc.idle = idle
			d.mu.Unlock()
			if err := c.await(func(done <-chan struct{}) {
				select {
				case <-idle:
				case <-done:
				}
			}); err != nil {
				return err
			}
			return d.one(c, m, nil, b)
		}
		if !full {
			d.keep(doc, b)
		}
		d.mu.Unlock()
		if full {
			d.refuse(c, doc, causeQueueFull)
		}
		return nil
	case doc.s == nil: // a client that has no token sends none; one that has yet to fetch it types meanwhile
		if c.token == "" && !c.srv.o.Auth.Open() {
			doc.told = make(chan struct{})
		}
		d.keep(doc, b)
		d.admit(c, doc)
		d.mu.Unlock()
		return nil
	}
	d.mu.Unlock()
	c.exempt = m.Type == yjs.MsgSync && m.Step == yjs.SyncStep2
	if err := d.handle(c, doc, m); err != nil {
		return d.failed(c, doc, err)
	}
	return nil
}

// keep queues a message of a document that is being let in. Callers hold the lock.
func (d *hocuspocus) keep(doc *hpDoc, b []byte) {
	doc.queue = append(doc.queue, bytes.Clone(b))
	doc.size += len(b)
	d.queued += len(b)
}

// empty answers the queue of a document and empties it. Callers hold the lock.
func (d *hocuspocus) empty(doc *hpDoc) [][]byte {
	queue := doc.queue
	d.queued -= doc.size
	doc.queue, doc.size = nil, 0
	return queue
}

// passes reports whether a cause goes away by itself: all clients of the y-websocket family try again after its close code.
func (c *cause) passes() bool {
	switch c {
	case causeUserDocuments, causeUserFull, causeDocumentCrowded, causeNewDocuments: // passes when a document is closed elsewhere
		return false
	}
	return c.yws > 0 && c.yws < 4400
}

// failed judges an error that a message of a document brought about: it answers one that ends the socket, and refuses the document
// for any other.
func (d *hocuspocus) failed(c *conn, doc *hpDoc, err error) error {
	if ended := c.ended(); ended != nil {
		return ended
	}
	cs := causeOf(err)
	if cs.passes() {
		return err
	}
	d.refuse(c, doc, cs)
	return nil
}

// refuse ends one document of the socket in Hocuspocus's own words. Only a new token for it is listened to.
func (d *hocuspocus) refuse(c *conn, doc *hpDoc, cs *cause) {
	d.tell(c, doc, cs)
	d.mu.Lock()
	s := doc.s
	doc.s, doc.denied = nil, true
	d.empty(doc)
	frames := d.denial(doc.enc, cs, s != nil)
	d.mu.Unlock()
	c.send(frames)
	if s != nil {
		s.leaveFor(cs, true)
	}
}

// tell logs and counts a refusal.
func (d *hocuspocus) tell(c *conn, doc *hpDoc, err error) {
	cs := causeOf(err)
	c.srv.metrics.refused(cs.reason)
	c.log.Info("refused", append([]any{"doc", clip(string(doc.name)), "reason", cs.reason, "conn", c.id, "ip", c.ip}, auth.LogAttrs(err)...)...)
}

// denial makes the frames of a refusal. open says whether the document had been let in. Callers hold the lock.
func (d *hocuspocus) denial(enc *encoder, cs *cause, open bool) []byte {
	frames := enc.binary(yjs.AppendAuthDenied(nil, cs.reason), nil)
	if open && d.modern {
		frames = append(frames, enc.binary(yjs.AppendClose(nil, cs.reason), nil)...)
	}
	return frames
}

func newHPDoc(address []byte) *hpDoc {
	name, _ := yjs.SplitAddress(address)
	return &hpDoc{name: bytes.Clone(name), enc: newHPEncoder(address)}
}

func newHPEncoder(address []byte) *encoder {
	e := &encoder{prefix: yjs.AppendAddress(nil, address)}
	e.stored = e.binary(yjs.AppendSyncStatus(nil, true), nil)
	e.refused = e.binary(yjs.AppendSyncStatus(nil, false), nil)
	return e
}

// admit starts letting a document in. Callers hold the lock.
func (d *hocuspocus) admit(c *conn, doc *hpDoc) {
	doc.busy = true
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		if err := d.guardLetIn(c, doc); err != nil {
			c.close(err)
		}
	}()
}

// guardLetIn is letIn; a panic becomes an internal error.
func (d *hocuspocus) guardLetIn(c *conn, doc *hpDoc) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.panicked(p)
		}
	}()
	return d.letIn(c, doc)
}

// letIn asks for the rights, opens the document, and handles the messages that came
// meanwhile. An error ends the socket.
func (d *hocuspocus) letIn(c *conn, doc *hpDoc) error {
	d.awaitToken(c, doc)
	s, err := d.enterPatiently(c, doc)
	if ended := c.ended(); ended != nil {
		return ended
	}
	d.mu.Lock()
	if err != nil || doc.denied {
		var frames []byte
		if !doc.denied && !doc.closed {
			frames = d.denial(doc.enc, causeOf(err), false)
			d.tell(c, doc, err)
		}
		doc.busy, doc.denied = false, true
		d.empty(doc)
		d.mu.Unlock()
		c.send(frames)
		if s != nil {
			s.leaveFor(causeQueueFull, true)
		}
		return nil
	}
	doc.s, d.met = s, true
	d.mu.Unlock()
	s.greetText()
	if !s.admitted() { // revoked just before it could be found by its address
		s.end(causeRevoked)
	}
	for {
		d.mu.Lock()
		queue := d.empty(doc)
		if len(queue) == 0 || doc.s == nil {
			doc.busy = false
			if doc.idle != nil {
				close(doc.idle)
				doc.idle = nil
			}
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		for _, b := range queue {
			m, _, err := yjs.ReadHocuspocus(b)
			if err == nil {
				err = d.handle(c, doc, m)
			}
			if err != nil {
				if err = d.failed(c, doc, err); err != nil {
					return err
				}
				break
			}
		}
	}
}

// awaitToken waits a moment for the token of a client that began without.
func (d *hocuspocus) awaitToken(c *conn, doc *hpDoc) {
	d.mu.Lock()
	told := doc.told
	d.mu.Unlock()
	if told == nil {
		return
	}
	t := time.NewTimer(c.srv.limits.RefusalHold)
	defer t.Stop()
	select {
	case <-told:
	case <-t.C:
	case <-c.ctx.Done():
	}
	d.mu.Lock()
	doc.told = nil
	d.mu.Unlock()
}

// enterPatiently opens a document; while that fails for a reason that passes it tries again, with the newest token.
func (d *hocuspocus) enterPatiently(c *conn, doc *hpDoc) (*session, error) {
	for pause := hpRetryFirst; ; pause = min(2*pause, hpRetryMost) {
		d.mu.Lock()
		token, denied := doc.token, doc.denied
		d.mu.Unlock()
		if denied {
			return nil, nil
		}
		if token == "" {
			token = c.token
		}
		s, err := d.enter(c, doc, token)
		if err == nil || !causeOf(err).passes() || c.ctx.Err() != nil {
			return s, err
		}
		if pause == hpRetryFirst {
			c.srv.metrics.refused(causeOf(err).reason)
			c.log.Warn("a document cannot be opened: its client waits", "doc", clip(string(doc.name)), "reason", causeOf(err).reason, "err", err, "conn", c.id)
		}
		t := time.NewTimer(jitter(pause))
		select {
		case <-t.C:
		case <-c.ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

func (d *hocuspocus) enter(c *conn, doc *hpDoc, token string) (*session, error) {
	name, grant, err := c.authorize(string(doc.name), token)
	if err != nil {
		return nil, err
	}
	r, err := c.srv.rooms.open(c.ctx, name)
	if err != nil {
		return nil, err
	}
	enc := doc.enc
	if string(doc.name) == string(name) && len(enc.prefix) == len(yjs.AppendAddress(nil, doc.name)) {
		enc = r.sharedEncoder(enc)
	}
	return newSession(c, r, d, enc, grant)
}

// sharedEncoder shares one encoder among all sessions whose address is the document's
// canonical name and nothing more. A client that spells the name otherwise is answered
// under its own spelling, by an encoder of its own.
func (r *room) sharedEncoder(e *encoder) (shared *encoder) {
	r.look(func() {
		if r.named == nil {
			r.named = e
		}
		shared = r.named
	})
	return shared
}

// handle takes a message of a document that was let in.
func (d *hocuspocus) handle(c *conn, doc *hpDoc, m yjs.Message) error {
	d.mu.Lock()
	s := doc.s
	d.mu.Unlock()
	if s == nil {
		return nil
	}
	switch m.Type {
	case yjs.MsgSync, yjs.MsgSyncReply:
		if m.Step == yjs.SyncStep1 {
			return s.sync(m.Payload, s.enc, m.Type == yjs.MsgSync)
		}
		s.hello()
		return s.update(m.Step, m.Payload, ackUpdate)
	case yjs.MsgAwareness:
		s.hello()
		return s.awareness(m.Payload)
	case yjs.MsgQueryAwareness:
		s.hello()
		s.tellEverybody()
	case yjs.MsgStateless:
		s.publish(m.Payload, "stateless")
	case yjs.MsgClose:
		d.mu.Lock()
		if d.docs[string(m.Address)] == doc {
			delete(d.docs, string(m.Address))
		}
		doc.s = nil
		d.empty(doc)
		d.mu.Unlock()
		s.leaveFor(causeLeft, true)
	case yjs.MsgAuth:
		if m.Step == yjs.AuthToken {
			s.refreshed(string(m.Payload))
		}
	case yjs.MsgBroadcastStateless:
		return causeMalformed // goes from server to server only
	default:
		c.srv.metrics.dropped("unknown-message")
	}
	return nil
}

// granted tells a client its rights, or asks it for a fresh token; version 2 does not know the question and does nothing.
func (d *hocuspocus) granted(s *session, g auth.Grant, expiring bool) []byte {
	if expiring {
		return s.enc.binary(yjs.AppendAuthRequest(nil), nil)
	}
	return s.enc.binary(yjs.AppendAuthOK(nil, g.Mode < writeMode), nil)
}

// keepAlive goes to any one open document.
func (d *hocuspocus) keepAlive(*conn) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, doc := range d.docs {
		if doc.s != nil {
			return doc.enc.keepAlive()
		}
	}
	return nil
}

// tick ends a socket on which nobody was let in.
func (d *hocuspocus) tick(c *conn, now time.Time) {
	d.mu.Lock()
	late := !d.met && now.Sub(c.opened) > hpAuthWait
	d.mu.Unlock()
	if late {
		c.close(causeNeverAuth)
	}
}

func (d *hocuspocus) settled(s *session, stored bool) []byte {
	if stored {
		return s.enc.stored
	}
	return s.enc.refused
}

func (d *hocuspocus) saved(*session, []byte) []byte { return nil }

// denied ends one document; its socket stays for the others, and for another
// token.
func (d *hocuspocus) denied(s *session, cs *cause) ([]byte, bool) {
	if cs.passes() {
		return nil, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, doc := range d.docs {
		if doc.s == s {
			doc.s, doc.denied = nil, true
			d.empty(doc)
		}
	}
	return d.denial(s.enc, cs, true), true
}

func (d *hocuspocus) readOnly(*session, *cause) []byte { return nil }

// notice: the protocol has no text frames, and its stateless messages belong to the application.
func (d *hocuspocus) notice(*session, *cause) []byte { return nil }

func (d *hocuspocus) custom(s *session, payload []byte, _ map[string]string) []byte {
	return s.enc.binary(yjs.AppendStateless(nil, string(payload)), nil)
}
