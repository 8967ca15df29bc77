package stream

import (
	"context"
	"errors"
	"fmt"

	"yjet/stream/jet"
	"yjet/stream/name"
)

// Head asks the leader for the document's last sequence. Zero: the document has no record, since it is new or was erased. Where the
// last record is damaged, Head returns the last readable one, or ErrDamaged if there is none.
func (l *Log) Head(ctx context.Context, doc Doc) (Seq, error) { return l.heads.ask(ctx, doc, l.head) }

func (l *Log) head(ctx context.Context, doc Doc) (Seq, error) {
	path := doc.Path()
	s := l.shardOf(path)
	m, ok, err := l.jet.LeaderGet(ctx, s.stream, jet.GetRequest{LastFor: s.no.Subject(name.Log, path)})
	if errors.Is(err, ErrDamaged) {
		var v survey
		if v, err = l.survey(ctx, s, path); err != nil {
			return 0, err
		}
		l.m.damaged.Inc()
		l.log.Error("the last record of a document is damaged", "doc", doc, "readable", v.readable, "records", v.counted, "last", v.last)
		if v.readable == 0 {
			return 0, fmt.Errorf("%w: none of the %d records of %q can be read", ErrDamaged, v.counted, doc)
		}
		return v.last, nil
	}
	if err != nil || !ok {
		return 0, err
	}
	return m.Seq, nil
}

// survey is the result of reading a document record by record.
type survey struct {
	first, last       Seq
	readable, counted uint64
}

// survey reads the whole log of a document from the leader, record by record. It is slow, and used for damaged logs only.
func (l *Log) survey(ctx context.Context, s *shard, path string) (v survey, err error) {
	subject := s.no.Subject(name.Log, path)
	if v.counted, err = l.jet.Count(ctx, s.stream, subject); err != nil {
		return v, err
	}
	for {
		m, ok, err := l.jet.LeaderGet(ctx, s.stream, jet.GetRequest{Seq: v.last + 1, NextFor: subject})
		if err != nil || !ok {
			return v, err
		}
		if v.first == 0 {
			v.first = m.Seq
		}
		v.last = m.Seq
		v.readable++
	}
}

// erasedAfter reports whether all records of the document up to have were removed. The feed's mark for the first record of a document
// does not prove it: NATS sets that mark also when the record before is damaged.
func (l *Log) erasedAfter(ctx context.Context, doc Doc, have Seq) (bool, error) {
	path := doc.Path()
	s := l.shardOf(path)
	m, ok, err := l.jet.LeaderGet(ctx, s.stream, jet.GetRequest{Seq: 1, NextFor: s.no.Subject(name.Log, path)})
	if err != nil || ok && m.Seq <= have {
		return false, err
	}
	v, err := l.survey(ctx, s, path)
	return v.readable >= v.counted, err
}

// RecordAt reads one record of the document from the leader: the first with a sequence of at least from.
func (l *Log) RecordAt(ctx context.Context, doc Doc, from Seq) (Record, bool, error) {
	path := doc.Path()
	s := l.shardOf(path)
	m, ok, err := l.jet.LeaderGet(ctx, s.stream, jet.GetRequest{Seq: from, NextFor: s.no.Subject(name.Log, path)})
	if err != nil || !ok {
		return Record{}, false, err
	}
	r, err := recordOf(m)
	return r, err == nil, err
}

// Trim removes the document's records below keep; record keep stays. One removal runs per shard at a time, since it delays writers.
func (l *Log) Trim(ctx context.Context, doc Doc, keep Seq) error {
	if keep == 0 {
		return errors.New("stream: trim below sequence 0")
	}
	path := doc.Path()
	s := l.shardOf(path)
	return l.jet.PurgeInTurn(ctx, s.stream, s.no.Subject(name.Log, path), keep)
}
