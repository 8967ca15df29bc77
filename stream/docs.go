package stream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// DocInfo is one document of a listing.
type DocInfo struct {
	Doc     Doc
	Subject string    // of its log: ydoc.NN.<doc>
	Records uint64    // in the log now, packed ones not counted
	Last    Seq       // the newest record
	LastAt  time.Time // time at which it was stored
	Bytes   int       // of the newest record
}

// Docs lists documents that have a record, sorted by name: those whose name begins with prefix and sorts after after, at most limit
// (0: all). NATS filters by the folders of the prefix.
func (l *Log) Docs(ctx context.Context, prefix, after string, limit int) ([]DocInfo, error) {
	out, _, err := l.DocsThat(ctx, prefix, after, limit, 0, nil)
	return out, err
}

// DocsThat is Docs of those documents for which may, where it is not nil, is true. It asks may of at most look names (0: of all). next is
// the after of the next page, "" behind the last document; a page may be shorter than limit, or empty, and have one.
func (l *Log) DocsThat(ctx context.Context, prefix, after string, limit, look int, may func(Doc) bool) (docs []DocInfo, next string, err error) {
	prefix = name.Prefix(prefix)
	folder := name.Folder(prefix)
	var out []DocInfo
	for _, s := range l.shards {
		found, err := l.jet.Subjects(ctx, s.stream, s.no.Subject(name.Log, folder))
		if err != nil {
			return nil, "", err
		}
		for subject, n := range found {
			path := subject[len(s.no.Subject(name.Log, "")):]
			doc, ok := name.FromPath(path)
			if !ok {
				if doc, ok = l.nameOf(ctx, s, path); !ok {
					continue // published by another program: no document has this path
				}
			}
			if strings.HasPrefix(string(doc), prefix) && string(doc) > after {
				out = append(out, DocInfo{Doc: doc, Subject: subject, Records: n})
			}
		}
	}
	slices.SortFunc(out, func(a, b DocInfo) int { return strings.Compare(string(a.Doc), string(b.Doc)) })
	for i, d := range out {
		if limit > 0 && len(docs) == limit || look > 0 && i == look {
			next = string(out[i-1].Doc)
			break
		}
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		if may == nil || may(d.Doc) {
			docs = append(docs, d)
		}
	}
	return docs, next, l.lasts(ctx, docs)
}

// lasts fills in the newest record of each document.
func (l *Log) lasts(ctx context.Context, docs []DocInfo) error {
	at := map[string]*DocInfo{}
	perShard := make([][]string, len(l.shards))
	for i := range docs {
		path := docs[i].Doc.Path()
		s := l.shardOf(path)
		subject := s.no.Subject(name.Log, path)
		at[subject] = &docs[i]
		perShard[int(s.no)] = append(perShard[int(s.no)], subject)
	}
	r, err := l.jet.NewReader(compareBatch)
	if err != nil {
		return err
	}
	defer r.Close()
	for i, subjects := range perShard {
		for chunk := range slices.Chunk(subjects, compareBatch) {
			if err := l.lastsOf(ctx, r, l.shards[i], chunk, at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) lastsOf(ctx context.Context, r *jet.Reader, s *shard, subjects []string, at map[string]*DocInfo) error {
	from, upTo := Seq(0), Seq(0)
	err := jet.Retry(ctx, func(ctx context.Context) error {
		for {
			a, err := r.Get(ctx, s.stream, jet.GetRequest{Multi: subjects, Seq: from + 1, UpTo: upTo, MaxBytes: 4 << 20}, func(m jet.Msg) bool {
				from = max(from, m.Seq)
				if d := at[m.Subject]; d != nil {
					d.Last, d.LastAt, d.Bytes = m.Seq, m.Time, len(m.Data)
				}
				return true
			})
			if err != nil {
				return err
			}
			if a.None || a.Pending == 0 {
				return nil
			}
			upTo = a.UpTo
		}
	})
	if !errors.Is(err, jet.ErrUnreadable) {
		return err
	}
	if half := len(subjects) / 2; half > 0 {
		if err := l.lastsOf(ctx, r, s, subjects[:half], at); err != nil {
			return err
		}
		return l.lastsOf(ctx, r, s, subjects[half:], at)
	}
	// The document exists but its last record is damaged: list it with the last readable one.
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

// nameCache keeps the document names of hashed paths. Such names are rare; the bound is a safeguard.
type nameCache struct {
	mu sync.Mutex     // guards m
	m  map[string]Doc // by path, at most maxNames
}

const maxNames = 10000

// nameOf finds the name of a hashed path in the header of a record or of the snapshot head.
func (l *Log) nameOf(ctx context.Context, s *shard, path string) (Doc, bool) {
	if !name.Hashed(path) {
		return "", false
	}
	l.names.mu.Lock()
	doc, ok := l.names.m[path]
	l.names.mu.Unlock()
	if ok {
		return doc, true
	}
	for _, at := range []struct {
		stream string
		req    jet.GetRequest
	}{
		{s.stream, jet.GetRequest{LastFor: s.no.Subject(name.Log, path)}},
		{s.stream, jet.GetRequest{Seq: 1, NextFor: s.no.Subject(name.Log, path)}},
		{s.no.Stream(name.Snap), jet.GetRequest{LastFor: s.no.Head(path)}},
	} {
		m, ok, err := l.jet.LeaderGet(ctx, at.stream, at.req)
		if err != nil || !ok {
			continue
		}
		doc, err := ParseDoc(name.UnescapeHeader(jet.Last(m.Header, name.HdrDoc)))
		if err != nil || doc.Path() != path {
			continue // the name in the header must have this path, or it names another document
		}
		l.names.mu.Lock()
		if l.names.m == nil || len(l.names.m) >= maxNames {
			l.names.m = map[string]Doc{}
		}
		l.names.m[path] = doc
		l.names.mu.Unlock()
		return doc, true
	}
	l.log.Warn("document whose name is not to be found: no record carries Yjet-Doc", "stream", s.stream, "path", path)
	return "", false
}
