package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// EditsTTL is how long the answer to an edit is kept.
const EditsTTL = 24 * time.Hour

// Answer is what was answered to an edit with an idempotency key, or the claim of the server that is making it. It holds
// nothing of the document's text.
type Answer struct {
	Request string          `json:"request"`          // hash of the request
	After   jet.Seq         `json:"after"`            // the document's last record when the key was claimed
	Status  int             `json:"status,omitempty"` // HTTP status; 0: a claim
	Body    json.RawMessage `json:"body,omitempty"`
	Rev     uint64          `json:"-"` // revision of the key; 0: the key is absent
	Time    time.Time       `json:"-"` // of the write, by NATS's clock; set by Get
}

// Edits is the yedits bucket: answers by document, user and idempotency key, for EditsTTL.
type Edits struct{ c *jet.Client }

// NewEdits returns the bucket.
func NewEdits(c *jet.Client) *Edits { return &Edits{c} }

// Key returns the key of the answer to a user's edit: 26 characters of a hash.
func (b *Edits) Key(doc name.Doc, user, key string) string {
	h := sha256.New()
	for _, part := range []string{string(doc), user, key} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil))[:26]
}

// Get reads an answer from the bucket's leader. Its Rev is 0 where there is none.
func (b *Edits) Get(ctx context.Context, key string) (a Answer, err error) {
	m, ok, err := b.c.LeaderGet(ctx, name.EditsStream, jet.GetRequest{LastFor: name.Edits(key)})
	if err != nil || !ok {
		return Answer{}, err
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return Answer{}, fmt.Errorf("answer of edit %s: %w", key, err)
	}
	a.Rev, a.Time = uint64(m.Seq), m.Time
	return a, nil
}

// Put writes an answer where the key's revision is still a.Rev, and returns the new one. jet.ErrConflict: another server was first.
func (b *Edits) Put(ctx context.Context, key string, a Answer) (rev uint64, err error) {
	m := nats.NewMsg(name.Edits(key))
	if m.Data, err = json.Marshal(a); err != nil {
		return 0, fmt.Errorf("answer of edit %s: %w", key, err)
	}
	jet.Expect(m.Header, jet.Seq(a.Rev))
	seq, err := b.c.Put(ctx, name.EditsStream, m)
	return uint64(seq), err
}

// Remove removes the claim of revision rev, so that the key can be used again. A newer claim or answer of another server stays.
func (b *Edits) Remove(ctx context.Context, key string, rev uint64) error {
	return b.c.Purge(ctx, name.EditsStream, name.Edits(key), jet.Seq(rev)+1)
}
