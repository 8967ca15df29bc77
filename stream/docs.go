package stream

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// DocInfo is one document of a listing.
type DocInfo struct {
	Doc     Doc
	Subject string    // of its log: ydoc.NN.<doc>
	Records uint64    // in the log now, packed ones not counted
	Last    Seq       // the newest record
	LastAt  time.Time // when it was stored
	Bytes   int       // of the newest record
}

// Docs lists the documents that have a record, sorted by name: those with the prefix, after a name, at most limit (0: all).
func (l *Log) Docs(ctx context.Context, prefix, after string, limit int) ([]DocInfo, error) {
	var out []DocInfo
	for _, s := range l.shards {
		found, err := l.subjects(ctx, s.stream, kindLog+"."+s.nn+".*")
		if err != nil {
			return nil, err
		}
		for subject, n := range found {
			token := subject[len(kindLog)+1+len(s.nn)+1:]
			doc, ok := docOfToken(token)
			if !ok {
				if doc, ok = l.nameOf(ctx, s, token); !ok {
					continue // no document of ours: somebody published under a name that we do not write
				}
			}
			if strings.HasPrefix(string(doc), prefix) && string(doc) > after {
				out = append(out, DocInfo{Doc: doc, Subject: subject, Records: n})
			}
		}
	}
	slices.SortFunc(out, func(a, b DocInfo) int { return strings.Compare(string(a.Doc), string(b.Doc)) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, l.lasts(ctx, out)
}

// lasts fills in the newest record of each.
func (l *Log) lasts(ctx context.Context, docs []DocInfo) error {
	at := map[string]*DocInfo{}
	perShard := make([][]string, len(l.shards))
	for i := range docs {
		token := docs[i].Doc.Token()
		s := l.shardOf(token)
		subject := s.subject(kindLog, token)
		at[subject] = &docs[i]
		perShard[s.index()] = append(perShard[s.index()], subject)
	}
	r, err := l.newReader(compareBatch)
	if err != nil {
		return err
	}
	defer r.close()
	for i, subjects := range perShard {
		for chunk := range slices.Chunk(subjects, compareBatch) {
			if err := l.lastsOf(ctx, r, l.shards[i], chunk, at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) lastsOf(ctx context.Context, r *reader, s *shard, subjects []string, at map[string]*DocInfo) error {
	from, upTo := Seq(0), Seq(0)
	err := retry(ctx, func(ctx context.Context) error {
		for {
			a, err := r.get(ctx, s.stream, getRequest{Multi: subjects, Seq: from + 1, UpTo: upTo, MaxBytes: 4 << 20}, func(m *nats.Msg) bool {
				seq, _ := strconv.ParseUint(get(m.Header, hdrSeq), 10, 64)
				from = Seq(seq)
				if d := at[get(m.Header, hdrSubject)]; d != nil {
					d.Last, d.Bytes = Seq(seq), len(m.Data)
					d.LastAt, _ = time.Parse(time.RFC3339Nano, get(m.Header, hdrStamp))
				}
				return true
			})
			if err != nil {
				return err
			}
			if a.none || a.pending == 0 {
				return nil
			}
			upTo = a.upTo
		}
	})
	if !errors.Is(err, errUnreadable) {
		return err
	}
	if half := len(subjects) / 2; half > 0 {
		if err := l.lastsOf(ctx, r, s, subjects[:half], at); err != nil {
			return err
		}
		return l.lastsOf(ctx, r, s, subjects[half:], at)
	}
	// The document is there and its last record is damaged: list it with the last that can be read.
	d := at[subjects[0]]
	head, err := l.Head(ctx, d.Doc)
	if err != nil {
		return nil
	}
	if rec, ok, err := l.RecordAt(ctx, d.Doc, head); err == nil && ok {
		d.Last, d.LastAt, d.Bytes = rec.Seq, rec.Stored, len(rec.Update)
	}
	return nil
}

// nameCache remembers the names behind hashed tokens. Such names are rare; the bound is only there to be one.
type nameCache struct {
	mu sync.Mutex
	m  map[string]Doc
}

const maxNames = 10000

// nameOf finds the name of a hashed token in the header of a record or of the snapshot head.
func (l *Log) nameOf(ctx context.Context, s *shard, token string) (Doc, bool) {
	if !hashed(token) {
		return "", false
	}
	l.names.mu.Lock()
	doc, ok := l.names.m[token]
	l.names.mu.Unlock()
	if ok {
		return doc, true
	}
	for _, at := range []struct {
		stream string
		req    getRequest
	}{
		{s.stream, getRequest{LastFor: s.subject(kindLog, token)}},
		{s.stream, getRequest{Seq: 1, NextFor: s.subject(kindLog, token)}},
		{streamName(kindSnap, s.index()), getRequest{LastFor: s.subject(kindSnap, token)}},
	} {
		m, ok, err := l.leaderGet(ctx, at.stream, at.req)
		if err != nil || !ok {
			continue
		}
		doc, err := ParseDoc(unescapeHeader(get(m.header, hdrDoc)))
		if err != nil || doc.Token() != token {
			continue // the header must belong to the token, or it names another's document
		}
		l.names.mu.Lock()
		if l.names.m == nil || len(l.names.m) >= maxNames {
			l.names.m = map[string]Doc{}
		}
		l.names.m[token] = doc
		l.names.mu.Unlock()
		return doc, true
	}
	l.log.Warn("document whose name is not to be found: no record carries Yjet-Doc", "stream", s.stream, "token", token)
	return "", false
}
