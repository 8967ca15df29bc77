package stream

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"yjet/stream/name"
)

// PublishAware sends an awareness update to the other servers that have the document open. It is not stored, and lost where
// the connection is down.
func (l *Log) PublishAware(doc Doc, payload []byte) error {
	return l.publishSoft(name.Aware, doc, payload, nil)
}

// PublishMessage sends a custom message to the other servers and programs that listen on ymsg.NN.<doc>. Header names of NATS
// and of this package are refused.
func (l *Log) PublishMessage(doc Doc, payload []byte, h map[string]string) error {
	return l.publishSoft(name.Message, doc, payload, h)
}

func (l *Log) publishSoft(kind name.Kind, doc Doc, payload []byte, h map[string]string) error {
	path := doc.Path()
	m := &nats.Msg{Subject: l.shardOf(path).no.Subject(kind, path), Header: make(nats.Header, 1+len(h)), Data: payload}
	for k, v := range h {
		if !name.ValidHeader(k) {
			return fmt.Errorf("stream: bad header name %q", k)
		}
		m.Header[k] = []string{name.EscapeHeader(v)}
	}
	m.Header[name.HdrNode] = []string{l.node}
	if err := l.nc.PublishMsg(m); err != nil {
		return fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	return nil
}
