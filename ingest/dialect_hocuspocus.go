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
type hocuspocus struct {
	wg sync.WaitGroup // documents being let in

	mu      sync.Mutex
	docs    map[string]*hpDoc // by address
	pending int               // of docs, those being let in
	modern  bool              // a version was named: Close and Ping are understood
	met     bool              // a document was let in once
}

// An hpDoc is one address of a socket.
type hpDoc struct {
	// Set when it is made, then only read.
	name []byte // as the client spells it
	enc  *encoder

	// Guarded by hocuspocus.mu.
	token  string
	told   chan struct{} // not nil: waits for a token; closed when it comes
	s      *session
	busy   bool // a goroutine lets it in, or works off what came meanwhile
	denied bool // only a new token is listened to
	closed bool // the client has left it while it was busy: its address is free for the next
	queue  [][]byte
	size   int
}

// Bounds of what is kept before a document is let in; Hocuspocus' own.
const (
	hpQueueBytes    = 5 << 20
	hpQueueMessages = 1_000
	hpPending       = 100
	hpDocuments     = 1_000
	hpAuthWait      = 60 * time.Second
)

func newHocuspocus(c *conn) *hocuspocus {
	c.limit.Store(int64(c.srv.limits.Message)) // what comes before admission is bounded by the queue
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
		if err != nil {
			return because(causeMalformed, err)
		}
		if err := d.one(c, m, b[:len(b)-len(rest)]); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// one takes one message of a frame, which b is.
func (d *hocuspocus) one(c *conn, m yjs.Message, b []byte) error {
	if m.Address == nil {
		if m.Type == yjs.MsgPing {
			c.send(plain.binary([]byte{yjs.MsgPong}, nil))
		}
		return nil
	}
	if len(m.Address) == 0 {
		return causeRoomRequired
	}
	d.mu.Lock()
	doc := d.docs[string(m.Address)]
	if doc == nil {
		switch m.Type {
		case yjs.MsgClose, yjs.MsgAwareness, yjs.MsgQueryAwareness: // of a document that was left; who comes begins otherwise
			d.mu.Unlock()
			return nil
		}
		if d.pending >= hpPending || len(d.docs) >= hpDocuments {
			d.mu.Unlock()
			return causeQueueFull
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
		// What came before is still taken in; what comes next is another visit, with a token of its own.
		delete(d.docs, string(m.Address))
		doc.closed = true
		doc.queue = append(doc.queue, bytes.Clone(b))
		d.mu.Unlock()
		return nil
	case doc.busy:
		defer d.mu.Unlock()
		if len(doc.queue) >= hpQueueMessages || doc.size+len(b) > hpQueueBytes {
			return causeQueueFull
		}
		doc.queue = append(doc.queue, bytes.Clone(b))
		doc.size += len(b)
		return nil
	case doc.s == nil: // a client that has no token sends none; one that has yet to fetch it types meanwhile
		if c.token == "" && !c.srv.o.Auth.Open() {
			doc.told = make(chan struct{})
		}
		doc.queue = append(doc.queue, bytes.Clone(b))
		doc.size += len(b)
		d.admit(c, doc)
		d.mu.Unlock()
		return nil
	}
	d.mu.Unlock()
	c.exempt = m.Type == yjs.MsgSync && m.Step == yjs.SyncStep2
	return d.handle(c, doc, m)
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
	d.pending++
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		err := c.guard(func() error { return d.letIn(c, doc) })
		if err != nil {
			c.close(err)
		}
	}()
}

// letIn asks for the rights, opens the document, and works off what came
// meanwhile.
func (d *hocuspocus) letIn(c *conn, doc *hpDoc) error {
	d.mu.Lock()
	told := doc.told
	d.mu.Unlock()
	if told != nil {
		t := time.NewTimer(c.srv.limits.RefusalHold)
		select {
		case <-told:
		case <-t.C:
		case <-c.ctx.Done():
		}
		t.Stop()
	}
	d.mu.Lock()
	token := doc.token
	doc.told = nil
	d.mu.Unlock()
	if token == "" {
		token = c.token
	}
	s, err := d.enter(c, doc, token)
	d.mu.Lock()
	d.pending--
	if err != nil {
		cs := causeOf(err)
		if cs.hp != 0 || c.ctx.Err() != nil {
			d.mu.Unlock()
			return err
		}
		doc.busy, doc.denied, doc.queue, doc.size = false, true, nil, 0
		closed := doc.closed
		d.mu.Unlock()
		c.srv.metrics.refused(cs.reason)
		c.log.Info("refused", append([]any{"doc", clip(string(doc.name)), "reason", cs.reason, "conn", c.id, "ip", c.ip}, auth.LogAttrs(err)...)...)
		if closed {
			return nil
		}
		c.send(doc.enc.binary(yjs.AppendAuthDenied(nil, cs.reason), nil))
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
		queue := doc.queue
		doc.queue, doc.size = nil, 0
		if len(queue) == 0 || doc.s == nil {
			doc.busy = false
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		for _, b := range queue {
			m, _, err := yjs.ReadHocuspocus(b)
			if err != nil {
				return because(causeMalformed, err)
			}
			if err := d.handle(c, doc, m); err != nil {
				return err
			}
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
	if string(doc.name) == string(name) && len(doc.enc.prefix) == len(yjs.AppendAddress(nil, doc.name)) {
		doc.enc = r.sharedEncoder(doc.enc)
	}
	return newSession(c, r, d, doc.enc, grant)
}

// sharedEncoder shares one encoder among all sessions whose address is the document's canonical name and nothing more. A client
// that spells the name otherwise is answered under its own spelling, by an encoder of its own.
func (r *room) sharedEncoder(e *encoder) *encoder {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.named == nil {
		r.named = e
	}
	return r.named
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
			return s.sync(m.Payload, s.enc)
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
		doc.s, doc.queue, doc.size = nil, nil, 0
		d.mu.Unlock()
		s.leaveFor(causeLeft, true)
	case yjs.MsgAuth:
		if m.Step == yjs.AuthToken {
			s.refreshed(string(m.Payload))
		}
	case yjs.MsgBroadcastStateless:
		return causeMalformed // between servers only
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
	if cs.hp != 0 {
		return nil, false
	}
	d.mu.Lock()
	for _, doc := range d.docs {
		if doc.s == s {
			doc.s, doc.denied, doc.queue, doc.size = nil, true, nil, 0
		}
	}
	modern := d.modern
	d.mu.Unlock()
	frames := s.enc.binary(yjs.AppendAuthDenied(nil, cs.reason), nil)
	if modern {
		frames = append(frames, s.enc.binary(yjs.AppendClose(nil, cs.reason), nil)...)
	}
	return frames, true
}

func (d *hocuspocus) readOnly(*session, *cause) []byte { return nil }

func (d *hocuspocus) custom(s *session, payload []byte, _ map[string]string) []byte {
	return s.enc.binary(yjs.AppendStateless(nil, string(payload)), nil)
}
