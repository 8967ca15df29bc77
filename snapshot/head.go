package snapshot

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"yjet/stream"
)

// Headers of a snapshot head; doc.go has the format.
const (
	hdrUpto  = "Yjet-Upto"
	hdrSum   = "Yjet-Sum"
	hdrEpoch = "Yjet-Epoch"
	hdrParts = "Yjet-Parts"
	hdrInfo  = "Yjet-Info"
)

const (
	// inlineMax is the largest state inside the head itself; a larger one is split into chunks of this size.
	inlineMax = 512 << 10
	// infoMax is the longest Yjet-Info header; a longer Info becomes the payload, and the state moves into chunks.
	infoMax = 8 << 10
	// formatVersion is written into every Info. A reader refuses a higher one.
	formatVersion = 1
)

// head is the decoded head message, the one message that makes a snapshot current.
type head struct {
	rev    stream.Seq // of the head message in its stream; 0: there is none
	stored time.Time  // when it was written
	upto   stream.Seq // the state covers this document's records through upto
	epoch  uint64
	inline []byte // the state, when it rides in the head; then info.Parts is empty
	info   info
}

// info is everything a head says beside the state: a header's JSON when the state is inline, else the payload.
type info struct {
	Version int    `json:"v"`
	Attempt string `json:"attempt"`
	// Bytes is the length of the state, Sum its crc32c (of all chunks together when there are several).
	Bytes int    `json:"bytes"`
	Sum   string `json:"sum"`
	// Parts are the chunks of the state in order; none when the state is inline.
	Parts []blobRef `json:"parts,omitempty"`
	// Time of record upto, and of the document's first record, in milliseconds since 1970.
	TimeMS  int64 `json:"time"`
	FirstMS int64 `json:"first,omitempty"`
	// Records and Updates count everything ever folded, dropped history included.
	Records uint64 `json:"records"`
	Updates uint64 `json:"updates"`
	// History lists the segments that hold records 1..upto, or those after Horizon, in order.
	History []segmentRef `json:"history,omitempty"`
	// Horizon: records through it are no longer kept one by one; a fold with Upto = Horizon stands for them. 0: all are kept.
	Horizon   stream.Seq `json:"horizon,omitempty"`
	HorizonMS int64      `json:"horizonTime,omitempty"`
	// Folds are other states of the document: the horizon's, and one for each named version.
	Folds []foldRef `json:"folds,omitempty"`
	// Writers holds the last counter of each recent writer, so that the first record after the fold can be checked.
	Writers map[string]writerMark `json:"writers,omitempty"`
	// Holes are records known to be lost, which the fold had to leave out.
	Holes []Hole `json:"holes,omitempty"`
	// Quarantined counts records that do not decode; they are kept in the history and left out of the state.
	Quarantined int `json:"quarantined,omitempty"`
}

// blobRef names a stored blob and the size and checksum of its content.
type blobRef struct {
	Subject string `json:"subject"`
	Bytes   int    `json:"bytes"`
	Sum     string `json:"sum"` // crc32c, 8 hex digits
}

// segmentRef names one packed run of records.
type segmentRef struct {
	blobRef
	From    stream.Seq `json:"from"` // first and last record in it
	To      stream.Seq `json:"to"`
	Records int        `json:"records"`
	Updates int        `json:"updates"`
	Raw     int        `json:"raw"` // bytes of the updates before compression
	StartMS int64      `json:"start"`
	EndMS   int64      `json:"end"`
}

// foldRef is a state at Upto, join-only: deleted content is still in it.
type foldRef struct {
	Upto   stream.Seq `json:"upto"`
	TimeMS int64      `json:"time"` // of record Upto
	Bytes  int        `json:"bytes"`
	Sum    string     `json:"sum"`
	Parts  []blobRef  `json:"parts"`
}

// writerMark is the newest counter of one writer, and when it was stored (milliseconds since 1970).
type writerMark struct {
	N      uint64 `json:"n"`
	TimeMS int64  `json:"t"`
}

// Hole is a fault of the log that a fold had to step over: records missing before the record Seq, or that record's bytes changed.
type Hole struct {
	Seq  stream.Seq `json:"seq"`
	What string     `json:"what"`
}

// writerMemory is the time that a head keeps the counter of an idle writer.
const writerMemory = 24 * time.Hour

func countersOf(m map[string]writerMark) []stream.Counter {
	list := make([]stream.Counter, 0, len(m))
	for k, w := range m {
		if id, err := strconv.ParseUint(k, 16, 64); err == nil {
			list = append(list, stream.Counter{Writer: id, N: w.N, Last: time.UnixMilli(w.TimeMS)})
		}
	}
	return list
}

func writersOf(list []stream.Counter) map[string]writerMark {
	m := make(map[string]writerMark, len(list))
	for _, c := range list {
		m[fmt.Sprintf("%016x", c.Writer)] = writerMark{N: c.N, TimeMS: c.Last.UnixMilli()}
	}
	return m
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf is the crc32c of b as 8 hex digits.
func sumOf(b []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)) }

// encode builds the head message. The state is inline unless info.Parts lists chunks.
func (h *head) encode() (stream.Blob, error) {
	js, err := json.Marshal(&h.info)
	if err != nil {
		return stream.Blob{}, err
	}
	hdr := map[string]string{
		hdrUpto:  strconv.FormatUint(uint64(h.upto), 10),
		hdrEpoch: strconv.FormatUint(h.epoch, 10),
	}
	payload := h.inline
	if len(h.info.Parts) > 0 {
		payload = js
		hdr[hdrParts] = strconv.Itoa(len(h.info.Parts))
	} else {
		hdr[hdrInfo] = string(js)
	}
	hdr[hdrSum] = sumOf(payload)
	return stream.Blob{Header: hdr, Data: payload}, nil
}

// decodeHead decodes a head message and checks it against its checksum.
func decodeHead(b stream.Blob) (*head, error) {
	h := &head{rev: b.Rev, stored: b.Time}
	upto, err := strconv.ParseUint(b.Header[hdrUpto], 10, 64)
	if err != nil || upto == 0 {
		return nil, fmt.Errorf("%w: head %d: bad %s %q", errDamaged, b.Rev, hdrUpto, b.Header[hdrUpto])
	}
	h.upto = stream.Seq(upto)
	if e := b.Header[hdrEpoch]; e != "" {
		if h.epoch, err = strconv.ParseUint(e, 10, 64); err != nil {
			return nil, fmt.Errorf("%w: head %d: bad %s %q", errDamaged, b.Rev, hdrEpoch, e)
		}
	}
	if want, got := b.Header[hdrSum], sumOf(b.Data); want != got {
		return nil, fmt.Errorf("%w: head %d: checksum is %s, want %s", errDamaged, b.Rev, got, want)
	}
	js := []byte(b.Header[hdrInfo])
	if b.Header[hdrParts] != "" {
		js = b.Data
	} else {
		h.inline = b.Data
	}
	// A head written by another program may lack Yjet-Info: then it is only a state.
	if len(js) > 0 {
		if err := json.Unmarshal(js, &h.info); err != nil {
			return nil, fmt.Errorf("%w: head %d: %v", errDamaged, b.Rev, err)
		}
	} else {
		h.info = info{Version: formatVersion, Bytes: len(b.Data), Sum: sumOf(b.Data), TimeMS: b.Time.UnixMilli()}
	}
	if h.info.Version > formatVersion {
		return nil, fmt.Errorf("snapshot: head %d has format %d, this program reads up to %d: update yjet", b.Rev, h.info.Version, formatVersion)
	}
	if n := b.Header[hdrParts]; n != "" && n != strconv.Itoa(len(h.info.Parts)) {
		return nil, fmt.Errorf("%w: head %d: %s is %s, list has %d", errDamaged, b.Rev, hdrParts, n, len(h.info.Parts))
	}
	return h, nil
}

// names returns the subjects of all blobs that the head makes current.
func (h *head) names() map[string]bool {
	names := make(map[string]bool)
	if h == nil {
		return names
	}
	for _, p := range h.info.Parts {
		names[p.Subject] = true
	}
	for _, s := range h.info.History {
		names[s.Subject] = true
	}
	for _, f := range h.info.Folds {
		for _, p := range f.Parts {
			names[p.Subject] = true
		}
	}
	return names
}
