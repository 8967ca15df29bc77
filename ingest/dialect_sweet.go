package ingest

// sweet is Y-Sweet's dialect on /d/{doc}/ws/{doc}: y-websocket with the question
// after what is saved built in. A session that may only read gets no echo for what
// was not taken.
type sweet struct{ *yws }

func newSweet(c *conn) *sweet {
	d := &sweet{yws: newYWS(c)}
	d.self = d
	return d
}

func (d *sweet) name() string { return "y-sweet" }

// readOnly: the client does not show denials; that its question is answered with
// a keep-alive tells it.
func (d *sweet) readOnly(*session, *cause) []byte { return nil }
