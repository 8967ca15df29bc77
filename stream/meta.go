package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// MetaEntry is a key of the ymeta bucket. Keys are tokens of A-Z a-z 0-9 - _ / = joined by dots; Doc.Token is one.
type MetaEntry struct {
	Key   string
	Value []byte
	Rev   uint64
	Time  time.Time // when it was written; of MetaGet only
}

const metaStream = "KV_" + metaBucket

func metaSubject(key string) (string, error) {
	if !validKey(key) {
		return "", fmt.Errorf("stream: bad key %q", key)
	}
	return "$KV." + metaBucket + "." + key, nil
}

// validKey: no wildcard, no empty token, no space. The key-value layer of NATS has the same rule.
func validKey(key string) bool {
	if key == "" || key[0] == '.' || key[len(key)-1] == '.' || strings.Contains(key, "..") {
		return false
	}
	for i := range len(key) {
		if c := key[i]; !staysInToken(c) && c != '=' && c != '.' {
			return false
		}
	}
	return true
}

// MetaGet reads a key from the bucket's leader.
func (l *Log) MetaGet(ctx context.Context, key string) (MetaEntry, bool, error) {
	subject, err := metaSubject(key)
	if err != nil {
		return MetaEntry{}, false, err
	}
	m, ok, err := l.leaderGet(ctx, metaStream, getRequest{LastFor: subject})
	if err != nil || !ok {
		return MetaEntry{}, false, err
	}
	e := MetaEntry{Key: key, Value: m.data, Rev: uint64(m.seq), Time: m.time}
	return e, !deleted(m.header), nil
}

// deleted tells the marker of a deleted or expired key from a value.
func deleted(h nats.Header) bool {
	return get(h, "KV-Operation") != "" || get(h, "Nats-Marker-Reason") != ""
}

// MetaPut writes a key and returns its revision. Where expect is given, only if that is the key's revision (0: it is not
// there); ErrConflict otherwise.
func (l *Log) MetaPut(ctx context.Context, key string, value []byte, expectRev *uint64) (uint64, error) {
	subject, err := metaSubject(key)
	if err != nil {
		return 0, err
	}
	if expectRev != nil && *expectRev == 0 {
		// A deleted key has a marker: it is as if it were not there.
		m, ok, err := l.leaderGet(ctx, metaStream, getRequest{LastFor: subject, NoHeader: false})
		if err != nil {
			return 0, err
		}
		if ok && !deleted(m.header) {
			return 0, fmt.Errorf("%w: key %s is there, at revision %d", ErrConflict, key, m.seq)
		}
		if ok {
			rev := uint64(m.seq)
			expectRev = &rev
		}
	}
	m := nats.NewMsg(subject)
	m.Data = value
	if expectRev != nil {
		expect(m.Header, Seq(*expectRev))
	}
	seq, err := l.put(ctx, m)
	return uint64(seq), err
}

// MetaDelete removes a key; one that is not there is fine.
func (l *Log) MetaDelete(ctx context.Context, key string) error {
	subject, err := metaSubject(key)
	if err != nil {
		return err
	}
	m := nats.NewMsg(subject)
	m.Header["KV-Operation"] = []string{"PURGE"}
	m.Header["Nats-Rollup"] = []string{"sub"}
	_, err = l.put(ctx, m)
	return err
}

// MetaPurge removes all keys that begin with prefix, which ends with a dot, without the markers that MetaDelete leaves. Their
// bytes stay in the block files until NATS rewrites those: a bucket allows no secure delete.
func (l *Log) MetaPurge(ctx context.Context, prefix string) error {
	subject, err := metaSubject(prefix + "_")
	if err != nil || prefix == "" || prefix[len(prefix)-1] != '.' {
		return fmt.Errorf("stream: bad prefix %q", prefix)
	}
	return l.purgeSubject(ctx, metaStream, strings.TrimSuffix(subject, "_")+">")
}

// put publishes to a stream beside the log, on the bulk connection, and tries again until ctx ends. With an expected sequence
// an attempt whose answer was lost may make the next one a conflict: what then is there is compared.
func (l *Log) put(ctx context.Context, m *nats.Msg) (seq Seq, err error) {
	attempts := 0
	err = retry(ctx, func(ctx context.Context) error {
		attempts++
		seq, err = publish(ctx, l.bulk, m)
		return err
	})
	if errors.Is(err, ErrConflict) && attempts > 1 {
		if name := streamOf(m.Subject); name != "" {
			have, ok, gerr := l.leaderGet(ctx, name, getRequest{LastFor: m.Subject})
			if gerr == nil && ok && string(have.data) == string(m.Data) && sameHeader(have.header, m.Header) {
				return have.seq, nil
			}
		}
	}
	if err != nil {
		return 0, fmt.Errorf("put %s: %w", m.Subject, err)
	}
	return seq, nil
}

func sameHeader(have, sent nats.Header) bool {
	for k := range sent {
		if get(have, k) != get(sent, k) {
			return false
		}
	}
	return true
}

// streamOf names the stream of a subject that put may write.
func streamOf(subject string) string {
	parts := strings.SplitN(subject, ".", 3)
	if len(parts) < 3 {
		return ""
	}
	switch parts[0] {
	case "$KV":
		return "KV_" + parts[1]
	case kindSnap:
		return "YSNAP_" + parts[1]
	case kindHist:
		return "YHIST_" + parts[1]
	}
	return ""
}

// MetaEnd is the revision of the newest change of any key.
func (l *Log) MetaEnd(ctx context.Context) (uint64, error) {
	last, err := l.lastSeq(ctx, metaStream)
	return uint64(last), err
}

// MetaList lists the keys that begin with prefix, sorted. prefix may end anywhere; whole tokens narrow the search.
func (l *Log) MetaList(ctx context.Context, prefix string) ([]MetaEntry, error) {
	return l.MetaSince(ctx, prefix, 0)
}

// MetaSince is MetaList of the keys that were changed after a revision. Any replica may answer: what it does not have yet is
// newer than all that it lists.
func (l *Log) MetaSince(ctx context.Context, prefix string, rev uint64) ([]MetaEntry, error) {
	if prefix != "" && !validKey(strings.TrimSuffix(prefix, ".")) {
		return nil, fmt.Errorf("stream: bad key prefix %q", prefix)
	}
	filter := "$KV." + metaBucket + ".>"
	if i := strings.LastIndexByte(prefix, '.'); i >= 0 {
		filter = "$KV." + metaBucket + "." + prefix[:i] + ".>"
	}
	var out []MetaEntry
	err := l.listKeys(ctx, metaStream, filter, Seq(rev), func(subject string, seq Seq, data []byte) {
		if key := subject[len("$KV."+metaBucket+"."):]; strings.HasPrefix(key, prefix) {
			out = append(out, MetaEntry{Key: key, Value: data, Rev: uint64(seq)})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", filter, err)
	}
	slices.SortFunc(out, func(a, b MetaEntry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// listKeys reads the values of all keys of a bucket that match filter and were changed after a sequence: by multi_last, or, where more than 1,024 match,
// message by message, since a bucket holds one of each key.
func (l *Log) listKeys(ctx context.Context, stream, filter string, after Seq, f func(subject string, seq Seq, data []byte)) error {
	r, err := l.newReader(1024)
	if err != nil {
		return err
	}
	defer r.close()
	seen := map[string]Seq{}
	take := func(m *nats.Msg) bool {
		seq, _ := strconv.ParseUint(get(m.Header, hdrSeq), 10, 64)
		subject := get(m.Header, hdrSubject)
		if old, again := seen[subject]; again && old >= Seq(seq) {
			return true
		}
		seen[subject] = Seq(seq)
		if !deleted(m.Header) {
			f(subject, Seq(seq), m.Data)
		}
		return true
	}
	at, walk := after, false
	return retry(ctx, func(ctx context.Context) error {
		for {
			last := at
			note := func(m *nats.Msg) bool {
				if seq, err := strconv.ParseUint(get(m.Header, hdrSeq), 10, 64); err == nil {
					last = Seq(seq)
				}
				return take(m)
			}
			req := getRequest{Multi: []string{filter}, Seq: at + 1, MaxBytes: 4 << 20}
			if walk {
				req = getRequest{NextFor: filter, Seq: at + 1, Batch: 1000, MaxBytes: 4 << 20}
			}
			a, err := r.get(ctx, stream, req, note)
			if (errors.Is(err, errTooMany) || errors.Is(err, errUnreadable)) && !walk {
				if errors.Is(err, errUnreadable) {
					l.m.damaged.Inc()
					l.log.Error("a key cannot be read and is left out", "stream", stream, "filter", filter)
				}
				walk = true
				continue
			}
			if err != nil {
				return err
			}
			if a.none || a.pending == 0 || last == at {
				return nil
			}
			at = last
		}
	})
}
