package ingest

func newHocuspocus(c *conn) dialect { return newYWS(c) }
