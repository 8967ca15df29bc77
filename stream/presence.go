package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Presence is one client of a document, a value of the ypresence bucket under the key <doc>.<client>. It outlives the server
// that wrote it by PresenceTTL; its own server renews it every 15 s.
type Presence struct {
	User   string          `json:"user"`
	Name   string          `json:"name,omitempty"`
	Color  string          `json:"color,omitempty"`
	Client uint64          `json:"client"` // the Yjs client id
	Clock  uint64          `json:"clock"`  // of the awareness entry
	Node   string          `json:"node"`   // the server it is connected to (Log.Node)
	Since  time.Time       `json:"since"`
	State  json.RawMessage `json:"state"` // as the client set it
}

const presStream = "KV_" + presBucket

func presenceSubject(token string, client uint64) string {
	return "$KV." + presBucket + "." + token + "." + strconv.FormatUint(client, 10)
}

// PutPresence writes or renews an entry and returns its revision, which DeletePresence wants.
func (l *Log) PutPresence(ctx context.Context, doc Doc, p Presence) (rev uint64, err error) {
	if len(p.State) == 0 {
		p.State = json.RawMessage("null")
	}
	data, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("presence of %q: %w", doc, err)
	}
	m := nats.NewMsg(presenceSubject(doc.Token(), p.Client))
	m.Data = data
	seq, err := l.put(ctx, m)
	return uint64(seq), err
}

// DeletePresence removes our entry. rev is the revision of our own last put: where another server has renewed or replaced the
// entry since, it stays, and that is no error.
func (l *Log) DeletePresence(ctx context.Context, doc Doc, client uint64, rev uint64) error {
	m := nats.NewMsg(presenceSubject(doc.Token(), client))
	m.Header["KV-Operation"] = []string{"DEL"}
	expect(m.Header, Seq(rev))
	if _, err := l.put(ctx, m); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	return nil
}

// ListPresence lists who is here, sorted by client.
func (l *Log) ListPresence(ctx context.Context, doc Doc) ([]Presence, error) {
	var out []Presence
	filter := "$KV." + presBucket + "." + doc.Token() + ".*"
	err := l.listKeys(ctx, presStream, filter, 0, func(subject string, _ Seq, data []byte) {
		var p Presence
		id, err := strconv.ParseUint(subject[strings.LastIndexByte(subject, '.')+1:], 10, 64)
		if err != nil || json.Unmarshal(data, &p) != nil {
			l.log.Warn("presence entry that cannot be read", "subject", subject)
			return
		}
		p.Client = id
		out = append(out, p)
	})
	if err != nil {
		return nil, fmt.Errorf("list presence of %q: %w", doc, err)
	}
	slices.SortFunc(out, func(a, b Presence) int {
		switch {
		case a.Client < b.Client:
			return -1
		case a.Client > b.Client:
			return 1
		}
		return 0
	})
	return out, nil
}

// PublishAware sends an awareness update to the other servers that have the document open. It is not stored, and lost where
// the connection is down.
func (l *Log) PublishAware(doc Doc, payload []byte) error {
	return l.publishSoft(kindAware, doc, payload, nil)
}

// PublishMessage sends a custom message to the other servers and programs that listen on ymsg.NN.<doc>. Header names of NATS
// and of this package are refused.
func (l *Log) PublishMessage(doc Doc, payload []byte, h map[string]string) error {
	return l.publishSoft(kindMsg, doc, payload, h)
}

func (l *Log) publishSoft(kind string, doc Doc, payload []byte, h map[string]string) error {
	token := doc.Token()
	m := &nats.Msg{Subject: l.shardOf(token).subject(kind, token), Header: make(nats.Header, 1+len(h)), Data: payload}
	for k, v := range h {
		if !validHeaderName(k) {
			return fmt.Errorf("stream: bad header name %q", k)
		}
		m.Header[k] = []string{escapeHeader(v)}
	}
	m.Header[hdrNode] = []string{l.node}
	if err := l.nc.PublishMsg(m); err != nil {
		return fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	return nil
}

func validHeaderName(k string) bool {
	if k == "" || len(k) > 64 || strings.HasPrefix(strings.ToLower(k), "nats-") || strings.EqualFold(k, hdrNode) {
		return false
	}
	for i := range len(k) {
		if c := k[i]; !staysInToken(c) || c == '/' {
			return false
		}
	}
	return true
}
