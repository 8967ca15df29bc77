package ingest

import (
	"bytes"
	"encoding/json"
	"time"
)

// party is the dialect of PartyKit's clients on /parties/{party}/{room} and
// /party/{room}, and wherever their option prefix sends them: y-partykit and y-partyserver, which are y-websocket with text
// frames beside it, and plain partysocket, which may speak JSON only.
//
// y-partykit cuts a message above 1,000,000 bytes into chunks:
//
//	text    y-pk-batch#{"id":"z","type":"start","size":2500023,"count":3}
//	binary  count times
//	text    y-pk-batch#{"id":"z","type":"end","size":2500023,"count":3}
//
// y-partyserver sends custom messages as text: __YPS: and whatever follows.
type party struct {
	*yws
	batch *batch
	given *batch // given up before its end: its remaining pieces are no messages
	codes func(*cause) int
	yps   bool // it has sent a custom message

	maybeJSON bool // the client may be plain partysocket
}

// A batch is a message under way in chunks.
type batch struct {
	marker
	data  []byte
	held  int // bytes of data that are counted among the large messages of all
	got   int
	size  int // bytes that came
	until time.Time
}

type marker struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Size  int    `json:"size"`
	Count int    `json:"count"`
}

const (
	batchPrefix  = "y-pk-batch#"
	customPrefix = "__YPS:"
	batchWait    = 60 * time.Second
)

func newParty(c *conn) *party {
	d := &party{yws: newYWS(c), codes: func(cs *cause) int { return cs.party }, maybeJSON: c.route.textSafe && !c.route.yps}
	if c.route.place == prefixPlace { // where y-websocket is at home
		d.codes = func(cs *cause) int { return cs.yws }
	}
	d.self = d
	return d
}

func (d *party) name() string       { return "party" }
func (d *party) code(cs *cause) int { return d.codes(cs) }

// open lets a client in at once and tells it its rights: it may be one that only listens. Without a token it may still send
// one. To a client that cannot be plain partysocket, which may read nothing but JSON, it also sends our step 1.
func (d *party) open(c *conn) error {
	switch {
	case !d.admissible(c):
		return nil
	case !d.maybeJSON:
		return d.speakFirst(c)
	}
	if err := d.enter(c); err != nil {
		return err
	}
	c.mayWait = true
	d.s.listen()
	return nil
}

// silent greets a client that has not begun with JSON in the meantime.
func (d *party) silent(c *conn) error {
	if !d.admissible(c) || c.route.json {
		return nil
	}
	return d.speakFirst(c)
}

func (d *party) message(c *conn, text bool, b []byte) error {
	if !text {
		if d.batch != nil {
			return d.chunk(c, b)
		}
		if d.leftover(b) {
			return nil
		}
		return d.yws.message(c, false, b)
	}
	switch {
	case bytes.HasPrefix(b, []byte(batchPrefix)):
		return d.mark(c, b[len(batchPrefix):])
	case bytes.HasPrefix(b, []byte(customPrefix)):
		d.yps = true
		if d.s == nil {
			if err := d.enter(c); err != nil {
				return err
			}
		}
		d.s.hello()
		d.s.publish(b[len(customPrefix):], "text")
		return nil
	}
	return d.yws.message(c, true, b)
}

// mark takes a start or end marker.
func (d *party) mark(c *conn, b []byte) error {
	var m marker
	if err := json.Unmarshal(b, &m); err != nil || m.Type != "start" && m.Type != "end" {
		return d.dropBatch(c, "marker")
	}
	if m.Type == "start" {
		if d.batch != nil {
			d.dropBatch(c, "start within a batch")
		}
		p := &batch{marker: m, until: time.Now().Add(batchWait)}
		if m.Size < 0 || m.Count < 0 || m.Count > m.Size {
			d.given = p
			return d.dropBatch(c, "counts")
		}
		if m.Size > c.srv.limits.largest() {
			return causeTooLarge
		}
		d.batch, d.given = p, nil
		return nil
	}
	done := d.batch
	d.given = nil
	if done == nil || done.ID != m.ID || done.Size != m.Size || done.Count != m.Count || done.got != m.Count || len(done.data) != m.Size {
		return d.dropBatch(c, "end does not fit")
	}
	d.batch = nil
	defer c.srv.inbound.give(c, done.held)
	if err := d.yws.message(c, false, done.data); err != nil || c.srv.memory.limit() == 0 {
		return err
	}
	return c.settled()
}

// chunk takes one piece. Pieces are never read as messages.
func (d *party) chunk(c *conn, b []byte) error {
	p := d.batch
	p.got++
	p.size += len(b)
	if p.got > p.Count || len(p.data)+len(b) > p.Size || time.Now().After(p.until) {
		d.given = p
		return d.dropBatch(c, "more than announced")
	}
	if len(p.data)+len(b) > c.srv.limits.Message && !d.carries(p.data) {
		return causeTooLarge
	}
	c.exempt = true // counted by its size, which has a limit
	if err := c.reserve(len(b)); err != nil {
		return err
	}
	p.held += len(b)
	p.data = append(p.data, b...)
	return nil
}

// ended gives back the bytes that a batch under way holds.
func (d *party) ended(c *conn) {
	if d.batch != nil {
		c.srv.inbound.give(c, d.batch.held)
	}
}

// leftover reports whether b is one of the pieces that were announced of a batch that was given up: they go on coming until
// its end marker.
func (d *party) leftover(b []byte) bool {
	p := d.given
	if p == nil || p.got >= p.Count && p.size >= p.Size || time.Now().After(p.until) {
		d.given = nil
		return false
	}
	p.got++
	p.size += len(b)
	return true
}

// dropBatch drops a batch and asks for its content with a step 1.
func (d *party) dropBatch(c *conn, why string) error {
	if d.batch != nil {
		c.srv.inbound.give(c, d.batch.held)
	}
	d.batch = nil
	c.srv.metrics.dropped("batch")
	c.log.Debug("batch dropped", "conn", c.id, "why", why)
	if d.s != nil {
		d.s.askAgain()
	}
	return nil
}

// custom passes a custom message on to clients that know such.
func (d *party) custom(_ *session, payload []byte, _ map[string]string) []byte {
	if !d.texts.Load() {
		return nil
	}
	return textFrame(append([]byte(customPrefix), payload...))
}
