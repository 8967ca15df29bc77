package name

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// A Kind is the first token of a subject.
type Kind string

const (
	Log     Kind = "ydoc"
	Live    Kind = "ylive"
	Aware   Kind = "yaware"
	Message Kind = "ymsg"
	Snap    Kind = "ysnap"
	Hist    Kind = "yhist"
	Control Kind = "yctl"
)

// The buckets, and the streams that NATS keeps them in.
const (
	PresenceBucket = "ypresence"
	MetaBucket     = "ymeta"
	EditsBucket    = "yedits"
	PresenceStream = "KV_" + PresenceBucket
	MetaStream     = "KV_" + MetaBucket
	EditsStream    = "KV_" + EditsBucket
	PresenceLive   = "ypres.>" // subjects on which NATS republishes presence
)

// MaxShards is the maximum number of shards of a store.
const MaxShards = 99

// A Shard is the number of a shard, from 0.
type Shard int

// ShardOf returns the shard of a path: FNV-1a of 32 bits, modulo the number of shards.
func ShardOf(path string, shards int) Shard {
	h := fnv.New32a()
	h.Write([]byte(path))
	return Shard(h.Sum32() % uint32(shards))
}

// String returns the shard's two digits.
func (s Shard) String() string { return fmt.Sprintf("%02d", int(s)) }

// Stream returns the name of the shard's stream of the kind Log, Snap or Hist.
func (s Shard) Stream(k Kind) string {
	switch k {
	case Log:
		return "YDOC_" + s.String()
	case Snap:
		return "YSNAP_" + s.String()
	case Hist:
		return "YHIST_" + s.String()
	}
	panic("name: no stream of kind " + string(k))
}

// Subject returns the subject of a document for the kinds Log, Live, Aware and Message. path may be a filter.
func (s Shard) Subject(k Kind, path string) string { return string(k) + "." + s.String() + "." + path }

// Head returns the subject of a document's snapshot head.
func (s Shard) Head(path string) string { return s.Subject(Snap, "head."+path) }

// Part returns the subject of chunk i of a state. attempt is one token.
func (s Shard) Part(path, attempt string, i int) string {
	return s.Subject(Snap, "part."+attempt+"."+strconv.Itoa(i)+"."+path)
}

// Segment returns the subject of the packed records from one sequence to another. attempt is one token.
func (s Shard) Segment(path string, from, to uint64, attempt string) string {
	return s.Subject(Hist, strconv.FormatUint(from, 10)+"."+strconv.FormatUint(to, 10)+"."+attempt+"."+path)
}

// Parts and Segments return the filters of all chunks and of all segments of one document. They match no other document's.
func (s Shard) Parts(path string) string    { return s.Subject(Snap, "part.*.*."+path) }
func (s Shard) Segments(path string) string { return s.Subject(Hist, "*.*.*."+path) }

// A Blob is the parsed subject of a chunk or of a segment.
type Blob struct {
	Kind     Kind // Snap or Hist
	Shard    Shard
	Attempt  string
	Part     int    // Snap: index of the chunk
	From, To uint64 // Hist: the sequences of its first and last record
	Path     string
}

// ParseBlob parses the subject of a chunk or a segment. It returns false for any other subject.
func ParseBlob(subject string) (b Blob, ok bool) {
	t := strings.SplitN(subject, ".", 6)
	if len(t) < 6 || !ValidKey(subject) {
		return b, false
	}
	n, err := strconv.ParseUint(t[1], 10, 7)
	if b.Shard = Shard(n); err != nil || n >= MaxShards || b.Shard.String() != t[1] {
		return b, false
	}
	b.Kind, b.Path = Kind(t[0]), t[5]
	switch {
	case b.Kind == Snap && t[2] == "part":
		b.Attempt = t[3]
		b.Part, err = strconv.Atoi(t[4])
		return b, err == nil && b.Part >= 0
	case b.Kind == Hist:
		b.Attempt = t[4]
		var badTo error
		b.From, err = strconv.ParseUint(t[2], 10, 64)
		b.To, badTo = strconv.ParseUint(t[3], 10, 64)
		return b, err == nil && badTo == nil
	}
	return b, false
}

// Meta returns the subject of a key, or of a filter of keys, of the bucket ymeta.
func Meta(key string) string { return "$KV." + MetaBucket + "." + key }

// Edits is Meta of the bucket yedits.
func Edits(key string) string { return "$KV." + EditsBucket + "." + key }

// Presence is Meta of the bucket ypresence.
func Presence(key string) string { return "$KV." + PresenceBucket + "." + key }

// Client returns the key of one client's presence in a document, Clients the filter of all clients of one document. The client is
// the key's last token, so that no key belongs to two documents.
func Client(path string, client uint64) string { return path + "." + strconv.FormatUint(client, 10) }
func Clients(path string) string               { return path + ".*" }

// ValidKey reports whether a key or subject consists of non-empty tokens of A-Z a-z 0-9 - _ =, joined by dots. The key-value layer of
// NATS allows "/" too; yjet's keys do not use it.
func ValidKey(key string) bool { return valid(key, false) }

// ValidFilter reports whether a filter is a ValidKey in which whole tokens may be "*" and the last one may be ">".
func ValidFilter(filter string) bool { return valid(filter, true) }

func valid(key string, wild bool) bool {
	last := strings.Count(key, ".")
	i := 0
	for token := range strings.SplitSeq(key, ".") {
		if token == "" {
			return false
		}
		if !wild || token != "*" && (token != ">" || i != last) {
			for j := range len(token) {
				if c := token[j]; !stays(c) && c != '=' {
					return false
				}
			}
		}
		i++
	}
	return true
}
