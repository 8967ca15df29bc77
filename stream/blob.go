package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Blob is a message beside the log: a snapshot head, a chunk of one, a segment of packed history. Header values may be any
// text. A head is replaced; chunks and segments are written once, under names of their own.
type Blob struct {
	Header map[string]string
	Data   []byte
	Rev    Seq // its sequence in its stream, set when read
	Time   time.Time
}

// SnapHead reads the document's snapshot head, from the leader.
func (l *Log) SnapHead(ctx context.Context, doc Doc) (Blob, bool, error) {
	token := doc.Token()
	s := l.shardOf(token)
	m, ok, err := l.leaderGet(ctx, streamName(kindSnap, s.index()), getRequest{LastFor: s.subject(kindSnap, token)})
	if err != nil || !ok {
		return Blob{}, false, err
	}
	return m.blob(), true, nil
}

func (m *stored) blob() Blob {
	b := Blob{Data: m.data, Rev: m.seq, Time: m.time, Header: make(map[string]string, len(m.header))}
	for k, v := range m.header {
		if len(v) > 0 && !strings.HasPrefix(k, "Nats-") {
			b.Header[k] = unescapeHeader(v[0])
		}
	}
	return b
}

// PutSnapHead replaces the snapshot head if expectRev is the revision of the present one (0: there is none). ErrConflict:
// somebody else was first.
func (l *Log) PutSnapHead(ctx context.Context, doc Doc, b Blob, expectRev Seq) (Seq, error) {
	token := doc.Token()
	m, err := b.message(l.shardOf(token).subject(kindSnap, token))
	if err != nil {
		return 0, err
	}
	if hashed(token) {
		m.Header[hdrDoc] = []string{escapeHeader(string(doc))}
	}
	expect(m.Header, expectRev)
	return l.put(ctx, m)
}

func (b *Blob) message(subject string) (*nats.Msg, error) {
	m := &nats.Msg{Subject: subject, Header: make(nats.Header, len(b.Header)+2), Data: b.Data}
	for k, v := range b.Header {
		if !validHeaderName(k) {
			return nil, fmt.Errorf("stream: bad header name %q", k)
		}
		m.Header[k] = []string{escapeHeader(v)}
	}
	return m, nil
}

// ChunkSubject is where chunk i of an attempt at a snapshot lies, SegmentSubject where the history from one sequence to
// another does. attempt is 8 random base32 characters (NewAttempt).
func (l *Log) ChunkSubject(doc Doc, attempt string, i int) string {
	token := doc.Token()
	return l.shardOf(token).subject(kindSnap, token) + "." + attempt + "." + strconv.Itoa(i)
}

func (l *Log) SegmentSubject(doc Doc, from, to Seq, attempt string) string {
	token := doc.Token()
	return fmt.Sprintf("%s.%d.%d.%s", l.shardOf(token).subject(kindHist, token), from, to, attempt)
}

// NewAttempt names an attempt at a snapshot.
func NewAttempt() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	r := randomWriter()
	b := make([]byte, 8)
	for i := range b {
		b[i] = alphabet[r&31]
		r >>= 5
	}
	return string(b)
}

// blobStream names the stream of a chunk or segment, and refuses any other subject.
func (l *Log) blobStream(subject string) (string, *shard, error) {
	parts := strings.SplitN(subject, ".", 4)
	if len(parts) < 4 || parts[0] != kindSnap && parts[0] != kindHist || !validKey(subject) {
		return "", nil, fmt.Errorf("stream: %q is not the subject of a chunk or segment", subject)
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil || n < 0 || n >= len(l.shards) || l.shards[n].nn != parts[1] {
		return "", nil, fmt.Errorf("stream: %q is not the subject of a chunk or segment", subject)
	}
	return streamName(parts[0], n), l.shards[n], nil
}

// PutBlob writes a chunk or segment.
func (l *Log) PutBlob(ctx context.Context, subject string, b Blob) (Seq, error) {
	if _, _, err := l.blobStream(subject); err != nil {
		return 0, err
	}
	m, err := b.message(subject)
	if err != nil {
		return 0, err
	}
	return l.put(ctx, m)
}

// GetBlob reads a chunk or segment from any replica, and from the leader where that replica does not have it.
func (l *Log) GetBlob(ctx context.Context, subject string) (Blob, bool, error) {
	name, _, err := l.blobStream(subject)
	if err != nil {
		return Blob{}, false, err
	}
	r, err := l.newReader(1)
	if err != nil {
		return Blob{}, false, err
	}
	defer r.close()
	var got *Blob
	_, err = r.get(ctx, name, getRequest{Seq: 1, NextFor: subject, Batch: 1}, func(m *nats.Msg) bool {
		seq, _ := strconv.ParseUint(get(m.Header, hdrSeq), 10, 64)
		at, _ := time.Parse(time.RFC3339Nano, get(m.Header, hdrStamp))
		b := (&stored{seq: Seq(seq), time: at, header: m.Header, data: m.Data}).blob()
		got = &b
		return false
	})
	if got != nil && err == nil {
		return *got, true, nil
	}
	if err != nil && !transient(err) {
		return Blob{}, false, err
	}
	m, ok, err := l.leaderGet(ctx, name, getRequest{LastFor: subject})
	if err != nil || !ok {
		return Blob{}, false, err
	}
	return m.blob(), true, nil
}

// RemoveBlob removes a chunk or segment; one that is not there is fine.
func (l *Log) RemoveBlob(ctx context.Context, subject string) error {
	name, s, err := l.blobStream(subject)
	if err != nil {
		return err
	}
	return l.purge(ctx, s, name, subject, 0)
}

// RemoveSnapHead removes the document's snapshot head of revision rev, or an older one; a newer one stays.
func (l *Log) RemoveSnapHead(ctx context.Context, doc Doc, rev Seq) error {
	token := doc.Token()
	s := l.shardOf(token)
	return l.purge(ctx, s, streamName(kindSnap, s.index()), s.subject(kindSnap, token), rev+1)
}

// Blobs lists the subjects of all chunks and segments of the document, for the sweep.
func (l *Log) Blobs(ctx context.Context, doc Doc) ([]string, error) {
	token := doc.Token()
	s := l.shardOf(token)
	var out []string
	for _, kind := range []string{kindSnap, kindHist} {
		found, err := l.subjects(ctx, streamName(kind, s.index()), s.subject(kind, token)+".>")
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

// subjects lists a stream's subjects that match filter, with their numbers of messages.
func (l *Log) subjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	all := map[string]uint64{}
	for offset := 0; ; {
		req := struct {
			Filter string `json:"subjects_filter"`
			Offset int    `json:"offset,omitempty"`
		}{filter, offset}
		var resp struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		err := retry(ctx, func(ctx context.Context) error { return l.request(ctx, "STREAM.INFO."+stream, req, &resp) })
		if err != nil {
			return nil, fmt.Errorf("list the subjects of %s: %w", stream, err)
		}
		for k, v := range resp.State.Subjects {
			all[k] = v
		}
		offset += len(resp.State.Subjects)
		if len(resp.State.Subjects) == 0 || offset >= resp.Total {
			return all, nil
		}
	}
}
