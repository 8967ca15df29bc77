package bucket

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Entry is a key of the ymeta bucket. A key is a word and more tokens; name.ValidKey has the rule. Where it names a document, the
// document's path is its tail, so that the filters of one document match no other's keys.
type Entry struct {
	Key   string
	Value []byte
	Rev   uint64
	Time  time.Time // time of the write; set by Get only
}

// Meta is the ymeta bucket: names, versions, tombstones, revocations, high marks of shards.
type Meta struct{ c *jet.Client }

// NewMeta returns the bucket.
func NewMeta(c *jet.Client) *Meta { return &Meta{c} }

func metaSubject(key string) (string, error) {
	if !name.ValidKey(key) {
		return "", fmt.Errorf("stream: bad key %q", key)
	}
	return name.Meta(key), nil
}

// Get reads a key from the bucket's leader. It returns false where the key is absent.
func (b *Meta) Get(ctx context.Context, key string) (Entry, bool, error) {
	subject, err := metaSubject(key)
	if err != nil {
		return Entry{}, false, err
	}
	m, ok, err := b.c.LeaderGet(ctx, name.MetaStream, jet.GetRequest{LastFor: subject})
	if err != nil || !ok {
		return Entry{}, false, err
	}
	return Entry{Key: key, Value: m.Data, Rev: uint64(m.Seq), Time: m.Time}, !gone(m.Header), nil
}

// Put writes a key and returns its revision. With expectRev, it writes only if that is the key's revision (0: the key is absent), and
// returns jet.ErrConflict otherwise.
func (b *Meta) Put(ctx context.Context, key string, value []byte, expectRev *uint64) (uint64, error) {
	subject, err := metaSubject(key)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(subject)
	m.Data = value
	if expectRev != nil {
		expect := jet.Seq(*expectRev)
		if expect == 0 {
			// A deleted key has a marker but counts as absent.
			m, ok, err := b.c.LeaderGet(ctx, name.MetaStream, jet.GetRequest{LastFor: subject})
			if err != nil {
				return 0, err
			}
			if ok && !gone(m.Header) {
				return 0, fmt.Errorf("%w: key %s is there, at revision %d", jet.ErrConflict, key, m.Seq)
			}
			expect = m.Seq
		}
		jet.Expect(m.Header, expect)
	}
	seq, err := b.c.Put(ctx, name.MetaStream, m)
	return uint64(seq), err
}

// Delete removes a key and leaves a marker in its place. An absent key is not an error.
func (b *Meta) Delete(ctx context.Context, key string) error {
	subject, err := metaSubject(key)
	if err != nil {
		return err
	}
	m := nats.NewMsg(subject)
	m.Header["KV-Operation"] = []string{"PURGE"}
	m.Header["Nats-Rollup"] = []string{"sub"}
	_, err = b.c.Put(ctx, name.MetaStream, m)
	return err
}

// Purge removes all keys of a filter, without the markers that Delete leaves. Their bytes stay in the block files until NATS
// rewrites those: a bucket allows no secure delete.
func (b *Meta) Purge(ctx context.Context, filter string) error {
	if !name.ValidFilter(filter) {
		return fmt.Errorf("stream: bad filter of keys %q", filter)
	}
	return b.c.Purge(ctx, name.MetaStream, name.Meta(filter), 0)
}

// End returns the revision of the newest change of any key.
func (b *Meta) End(ctx context.Context) (uint64, error) {
	last, err := b.c.LastSeq(ctx, name.MetaStream)
	return uint64(last), err
}

// List lists the keys of a filter, sorted. In a filter a whole token may be "*", and the last one ">".
func (b *Meta) List(ctx context.Context, filter string) ([]Entry, error) {
	return b.Since(ctx, filter, 0)
}

// Since is List for the keys written after a revision. Any replica may answer: entries that it does not have yet are newer than all
// that it returns.
func (b *Meta) Since(ctx context.Context, filter string, rev uint64) ([]Entry, error) {
	if !name.ValidFilter(filter) {
		return nil, fmt.Errorf("stream: bad filter of keys %q", filter)
	}
	entries := map[string]Entry{}
	err := b.c.Values(ctx, name.MetaStream, name.Meta(filter), jet.Seq(rev), func(m jet.Msg) {
		key := strings.TrimPrefix(m.Subject, name.Meta(""))
		if delete(entries, key); !gone(m.Header) {
			entries[key] = Entry{Key: key, Value: m.Data, Rev: uint64(m.Seq)}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", filter, err)
	}
	out := make([]Entry, 0, len(entries))
	for _, e := range entries {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}
