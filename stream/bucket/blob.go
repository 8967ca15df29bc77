package bucket

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Blob is a snapshot head, a chunk of a state or a segment of packed history. Header values may be any text. A head is replaced;
// chunks and segments are written once, under subjects of their own.
type Blob struct {
	Header map[string]string
	Data   []byte
	Rev    jet.Seq // sequence in its stream, set when read
	Time   time.Time
}

// Blobs are the snapshots and the packed history of all documents: the streams YSNAP_NN and YHIST_NN.
type Blobs struct {
	c      *jet.Client
	shards int
}

// NewBlobs returns the blobs of a store with the given number of shards.
func NewBlobs(c *jet.Client, shards int) *Blobs { return &Blobs{c, shards} }

func (b *Blobs) of(doc name.Doc) (path string, s name.Shard) {
	path = doc.Path()
	return path, name.ShardOf(path, b.shards)
}

// Head reads the document's snapshot head from the leader. It returns false where there is none.
func (b *Blobs) Head(ctx context.Context, doc name.Doc) (Blob, bool, error) {
	path, s := b.of(doc)
	m, ok, err := b.c.LeaderGet(ctx, s.Stream(name.Snap), jet.GetRequest{LastFor: s.Head(path)})
	if err != nil || !ok {
		return Blob{}, false, err
	}
	return blobOf(m), true, nil
}

func blobOf(m jet.Msg) Blob {
	b := Blob{Data: m.Data, Rev: m.Seq, Time: m.Time, Header: make(map[string]string, len(m.Header))}
	for k, v := range m.Header {
		if len(v) > 0 && !strings.HasPrefix(k, "Nats-") {
			b.Header[k] = name.UnescapeHeader(v[0])
		}
	}
	return b
}

// PutHead replaces the snapshot head if expectRev is its present revision (0: there is none), and returns the new revision. It returns
// jet.ErrConflict where another server was first.
func (b *Blobs) PutHead(ctx context.Context, doc name.Doc, head Blob, expectRev jet.Seq) (jet.Seq, error) {
	path, s := b.of(doc)
	m, err := head.message(s.Head(path))
	if err != nil {
		return 0, err
	}
	if name.Hashed(path) {
		m.Header[name.HdrDoc] = []string{name.EscapeHeader(string(doc))}
	}
	jet.Expect(m.Header, expectRev)
	return b.c.Put(ctx, s.Stream(name.Snap), m)
}

func (b *Blob) message(subject string) (*nats.Msg, error) {
	m := &nats.Msg{Subject: subject, Header: make(nats.Header, len(b.Header)+2), Data: b.Data}
	for k, v := range b.Header {
		if !name.ValidHeader(k) {
			return nil, fmt.Errorf("stream: bad header name %q", k)
		}
		m.Header[k] = []string{name.EscapeHeader(v)}
	}
	return m, nil
}

// RemoveHead removes the document's snapshot head of revision rev, or an older one; a newer one stays.
func (b *Blobs) RemoveHead(ctx context.Context, doc name.Doc, rev jet.Seq) error {
	path, s := b.of(doc)
	return b.c.PurgeInTurn(ctx, s.Stream(name.Snap), s.Head(path), rev+1)
}

// NewAttempt returns a random name for an attempt at a snapshot: 8 characters of base32.
func (b *Blobs) NewAttempt() string { return rand.Text()[:8] }

// ChunkSubject returns the subject of chunk i of an attempt at a snapshot.
func (b *Blobs) ChunkSubject(doc name.Doc, attempt string, i int) string {
	path, s := b.of(doc)
	return s.Part(path, attempt, i)
}

// SegmentSubject returns the subject of the packed history from one sequence to another.
func (b *Blobs) SegmentSubject(doc name.Doc, from, to jet.Seq, attempt string) string {
	path, s := b.of(doc)
	return s.Segment(path, uint64(from), uint64(to), attempt)
}

// stream returns the stream of a chunk or segment, and refuses any other subject.
func (b *Blobs) stream(subject string) (string, error) {
	p, ok := name.ParseBlob(subject)
	if !ok || int(p.Shard) >= b.shards {
		return "", fmt.Errorf("stream: %q is not the subject of a chunk or segment", subject)
	}
	return p.Shard.Stream(p.Kind), nil
}

// Put writes a chunk or segment.
func (b *Blobs) Put(ctx context.Context, subject string, blob Blob) (jet.Seq, error) {
	stream, err := b.stream(subject)
	if err != nil {
		return 0, err
	}
	m, err := blob.message(subject)
	if err != nil {
		return 0, err
	}
	return b.c.Put(ctx, stream, m)
}

// Get reads a chunk or segment from any replica, and from the leader where that replica does not have it.
func (b *Blobs) Get(ctx context.Context, subject string) (Blob, bool, error) {
	stream, err := b.stream(subject)
	if err != nil {
		return Blob{}, false, err
	}
	m, ok, err := b.c.Next(ctx, stream, subject)
	if ok {
		return blobOf(m), true, nil
	}
	if err != nil && !jet.Transient(err) {
		return Blob{}, false, err
	}
	m, ok, err = b.c.LeaderGet(ctx, stream, jet.GetRequest{LastFor: subject})
	if err != nil || !ok {
		return Blob{}, false, err
	}
	return blobOf(m), true, nil
}

// Remove removes a chunk or segment. An absent one is not an error.
func (b *Blobs) Remove(ctx context.Context, subject string) error {
	stream, err := b.stream(subject)
	if err != nil {
		return err
	}
	return b.c.PurgeInTurn(ctx, stream, subject, 0)
}

// List lists the subjects of all chunks and segments of the document, sorted, for the sweep.
func (b *Blobs) List(ctx context.Context, doc name.Doc) ([]string, error) {
	path, s := b.of(doc)
	var out []string
	for kind, filter := range map[name.Kind]string{name.Snap: s.Parts(path), name.Hist: s.Segments(path)} {
		found, err := b.c.Subjects(ctx, s.Stream(kind), filter)
		if err != nil {
			return nil, err
		}
		for subject := range found {
			out = append(out, subject)
		}
	}
	slices.Sort(out)
	return out, nil
}
