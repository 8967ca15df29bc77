package ingest

// sweet is Y-Sweet's dialect on /d/{doc}/ws/{doc}: y-websocket with the question
// "is it saved?" built in. A session that may only read gets no echo for refused
// writes.
type sweet struct{ *yws }

func newSweet(c *conn) *sweet {
	d := &sweet{yws: newYWS(c)}
	d.self = d
	return d
}

// open speaks first, as Y-Sweet does. serveSocket has seen to it that there is a token where one is needed.
func (d *sweet) open(c *conn) error { return d.speakFirst(c) }

func (d *sweet) name() string { return "y-sweet" }

// readOnly: the client does not show denials; that its question is answered with
// a keep-alive tells it.
func (d *sweet) readOnly(*session, *cause) []byte { return nil }
