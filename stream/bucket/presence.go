package bucket

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// PresenceTTL is the lifetime of a client's presence after its last renewal.
const PresenceTTL = 45 * time.Second

// Client is one client of a document, a value of the ypresence bucket under the key <doc>.<client>. Its server renews it every 15 s; it
// expires after PresenceTTL.
type Client struct {
	User   string          `json:"user"`
	Name   string          `json:"name,omitempty"`
	Color  string          `json:"color,omitempty"`
	Client uint64          `json:"client"` // the Yjs client id
	Clock  uint64          `json:"clock"`  // of the awareness entry
	Node   string          `json:"node"`   // the server it is connected to (stream.Log.Node)
	Since  time.Time       `json:"since"`
	State  json.RawMessage `json:"state"` // as the client set it
}

// Presence is the ypresence bucket: the clients of every document.
type Presence struct {
	c   *jet.Client
	log *slog.Logger
}

// NewPresence returns the bucket.
func NewPresence(c *jet.Client, log *slog.Logger) *Presence { return &Presence{c, log} }

// Put writes or renews a client and returns the revision, which Delete needs.
func (b *Presence) Put(ctx context.Context, doc name.Doc, p Client) (rev uint64, err error) {
	if len(p.State) == 0 {
		p.State = json.RawMessage("null")
	}
	data, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("presence of %q: %w", doc, err)
	}
	m := nats.NewMsg(name.Presence(name.Client(doc.Path(), p.Client)))
	m.Data = data
	seq, err := b.c.Put(ctx, name.PresenceStream, m)
	return uint64(seq), err
}

// Delete removes a client if rev, from the caller's last Put, is its revision. A client that another server has renewed or replaced
// since stays, which is not an error.
func (b *Presence) Delete(ctx context.Context, doc name.Doc, client uint64, rev uint64) error {
	m := nats.NewMsg(name.Presence(name.Client(doc.Path(), client)))
	m.Header["KV-Operation"] = []string{"DEL"}
	jet.Expect(m.Header, jet.Seq(rev))
	if _, err := b.c.Put(ctx, name.PresenceStream, m); err != nil && !errors.Is(err, jet.ErrConflict) {
		return err
	}
	return nil
}

// List lists the clients of a document, sorted by client id.
func (b *Presence) List(ctx context.Context, doc name.Doc) ([]Client, error) {
	clients := map[uint64]Client{}
	err := b.c.Values(ctx, name.PresenceStream, name.Presence(name.Clients(doc.Path())), 0, func(m jet.Msg) {
		id, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
		var p Client
		if delete(clients, id); gone(m.Header) {
			return
		}
		if err != nil || json.Unmarshal(m.Data, &p) != nil {
			b.log.Warn("presence entry that cannot be read", "subject", m.Subject)
			return
		}
		p.Client = id
		clients[id] = p
	})
	if err != nil {
		return nil, fmt.Errorf("list presence of %q: %w", doc, err)
	}
	var out []Client
	for _, p := range clients {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Client) int { return cmp.Compare(a.Client, b.Client) })
	return out, nil
}

// Purge removes all clients of a document.
func (b *Presence) Purge(ctx context.Context, doc name.Doc) error {
	return b.c.Purge(ctx, name.PresenceStream, name.Presence(name.Clients(doc.Path())), 0)
}
