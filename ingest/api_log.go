package ingest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"time"

	"yjet/auth"
	"yjet/snapshot"
	"yjet/stream"
)

// logLine is one record of GET log.
type logLine struct {
	Seq    stream.Seq `json:"seq"`
	Time   time.Time  `json:"time"`
	User   string     `json:"user"`
	Conn   string     `json:"conn,omitempty"`
	Merged int        `json:"merged,omitempty"` // updates of that connection in it, where more than one
	Bytes  int        `json:"bytes"`
	Update []byte     `json:"update"`
}

func (a *api) getLog(w http.ResponseWriter, r *http.Request, doc stream.Doc, g auth.Grant) {
	q := r.URL.Query()
	format := q.Get("format")
	if format != "" && format != "json" && format != "packed" {
		writeError(w, http.StatusBadRequest, "bad-format", "format is json or packed")
		return
	}
	from, _, err := a.begin(r.Context(), doc, q.Get("from"))
	var to snapshot.Moment
	if err == nil {
		to, err = a.moment(r.Context(), doc, q.Get("to"))
	}
	if err != nil {
		a.failHistory(w, doc, err)
		return
	}
	paused, err := a.heavyAnswer(w, r, g)
	if err != nil {
		a.fail(w, doc, err)
		return
	}
	defer paused.done()
	after, upto, err := a.o.Snapshots.Range(r.Context(), doc, from, to)
	if err != nil {
		a.failHistory(w, doc, err)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	none := upto <= after // no record between the two moments; to Records an upto of 0 would mean all of them
	out := bufio.NewWriterSize(paused, 32<<10)
	if format == "packed" {
		h.Set("Content-Type", "application/octet-stream")
		if none {
			w.Write([]byte{0})
			return
		}
		pack := logPacker{users: map[string]uint64{}, conns: map[string]uint64{}}
		for rec, err := range a.o.Snapshots.Records(r.Context(), doc, after, upto) {
			if err != nil {
				// The status is on its way: without the end mark the reader knows that records are missing.
				a.log.Error("log not read to its end", "doc", string(doc), "err", err)
				out.Flush()
				return
			}
			if _, err := out.Write(pack.record(&rec)); err != nil {
				return // the reader has gone
			}
		}
		out.WriteByte(0)
		out.Flush()
		return
	}
	h.Set("Content-Type", "application/x-ndjson")
	if none {
		return
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for rec, err := range a.o.Snapshots.Records(r.Context(), doc, after, upto) {
		if err != nil {
			// The status is on its way: the error is the last line.
			a.log.Error("log not read to its end", "doc", string(doc), "err", err)
			enc.Encode(map[string]any{"error": map[string]string{"code": causeOf(err).reason, "message": "the log could not be read to its end"}})
			break
		}
		line := logLine{Seq: rec.Seq, Time: rec.Time.UTC().Truncate(time.Millisecond), User: rec.User, Conn: rec.Conn, Bytes: len(rec.Update), Update: rec.Update}
		if rec.Merged > 1 {
			line.Merged = rec.Merged
		}
		if enc.Encode(line) != nil {
			return // the reader has gone
		}
	}
	out.Flush()
}

// logPacker writes the packed form of a log, which is a sixth of the JSON lines and is read without parsing text:
//
//	log     record* • 0
//	record  uvarint(seq less the one before) • varint(milliseconds since 1970 less those of the record before) • name(user) • name(conn) •
//	        uvarint(updates merged, at least 1) • uvarint(length) • update
//	name    0: none; n: the nth name so far, of users and of connections each; one more than there are: a new one, uvarint(length) • bytes
//
// A sequence grows, so a difference of 0 can only be the end. What ends without it was cut.
type logPacker struct {
	seq          stream.Seq
	ms           int64
	users, conns map[string]uint64
	buf          []byte
}

// record returns a record packed; the bytes are good until the next call.
func (p *logPacker) record(r *stream.Record) []byte {
	ms := r.Time.UnixMilli()
	b := binary.AppendUvarint(p.buf[:0], uint64(r.Seq-p.seq))
	b = binary.AppendVarint(b, ms-p.ms)
	b = appendName(b, p.users, r.User)
	b = appendName(b, p.conns, r.Conn)
	b = binary.AppendUvarint(b, uint64(max(r.Merged, 1)))
	b = binary.AppendUvarint(b, uint64(len(r.Update)))
	p.buf = append(b, r.Update...)
	p.seq, p.ms = r.Seq, ms
	return p.buf
}

func appendName(b []byte, known map[string]uint64, name string) []byte {
	if name == "" {
		return append(b, 0)
	}
	if n, ok := known[name]; ok {
		return binary.AppendUvarint(b, n)
	}
	n := uint64(len(known) + 1)
	known[name] = n
	b = binary.AppendUvarint(b, n)
	b = binary.AppendUvarint(b, uint64(len(name)))
	return append(b, name...)
}
