// Package name holds the names of the store: of documents, subjects, streams, buckets and header fields. It encodes names from clients
// for NATS, and decodes them. It uses no connection.
//
// Subjects, NN being the shard in two digits and <doc> the document's Path, always the tail:
//
//	ydoc.NN.<doc>                            the log, one message a record
//	ylive.NN.<doc>                           copies of the log's messages, sent once they are stored
//	yaware.NN.<doc>                          awareness, not stored
//	ymsg.NN.<doc>                            custom messages, not stored
//	ysnap.NN.head.<doc>                      the head of the document's snapshot
//	ysnap.NN.part.<attempt>.<i>.<doc>        chunk i of a state
//	yhist.NN.<from>.<to>.<attempt>.<doc>     packed records, from one sequence to another
//	yctl.<kind>                              announcements to all servers, not stored
//
// Streams: YDOC_NN, YSNAP_NN, YHIST_NN, and KV_ypresence, KV_ymeta and KV_yedits of the three buckets. A key of ypresence is
// <doc>.<client>.
package name

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Doc names a document: 1 to 255 bytes of UTF-8, segments joined by "/". No segment is empty, "." or "..", and none has a control
// character. Parse makes one from a client's text.
type Doc string

// Err: not a valid document name. The text gives the reason and may be sent to the client.
var Err = errors.New("stream: bad document name")

const maxDoc = 255 // bytes

// Parse returns the canonical form of a name: slashes at its ends are dropped, and several in a row count as one. Every name from
// outside goes through it, so that a document has the same name in every protocol. An error wraps Err.
func Parse(s string) (Doc, error) {
	s = collapse(s)
	switch {
	case strings.TrimFunc(s, func(r rune) bool { return r == '/' || unicode.IsSpace(r) }) == "":
		return "", fmt.Errorf("%w: it is empty", Err)
	case len(s) > maxDoc:
		return "", fmt.Errorf("%w: %d bytes, at most %d are allowed", Err, len(s), maxDoc)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("%w: it is not UTF-8", Err)
	}
	for i, r := range s {
		if unicode.IsControl(r) {
			return "", fmt.Errorf("%w: control character %U at byte %d", Err, r, i)
		}
	}
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "." || seg == ".." {
			return "", fmt.Errorf("%w: a segment is %q", Err, seg)
		}
	}
	return Doc(s), nil
}

// Prefix returns the canonical form of a prefix of names, for listings. A slash at the end stays: "notes/" is the folder, "notes" is
// also a prefix of "notes2".
func Prefix(s string) string {
	p := collapse(s)
	if p != "" && strings.HasSuffix(s, "/") {
		p += "/"
	}
	return p
}

// collapse drops the empty segments of a name.
func collapse(s string) string {
	s = strings.Trim(s, "/")
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	return s
}
