package snapshot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"yjet/internal/yjs"
	"yjet/stream"
)

// A document travels between stores as one file of JSON lines:
//
//	{"yjet":"document","v":1,"doc":"notes/todo","exported":"2026-01-31T12:00:00Z"}
//	{"base":true,"seq":400,"time":"…","update":"<base64>"}      only where older history was dropped: the states of named moments before
//	                                                            the horizon, then the state at it, each without the content of the one before
//	{"seq":512,"time":"…","user":"ada","conn":"c1","merged":2,"update":"<base64>"}      each record in order, times to the millisecond
//	{"version":"first draft","seq":812,"user":"ada","created":"…"}                      each named moment
//	{"end":true,"records":5012,"seq":9120}                                              without this line the file was cut off
const transferVersion = 1

type transferLine struct {
	Yjet     string     `json:"yjet,omitempty"`
	Format   int        `json:"v,omitempty"`
	Doc      string     `json:"doc,omitempty"`
	Exported *time.Time `json:"exported,omitempty"`

	Base    bool       `json:"base,omitempty"`
	Version string     `json:"version,omitempty"`
	End     bool       `json:"end,omitempty"`
	Records *int       `json:"records,omitempty"`
	Seq     stream.Seq `json:"seq,omitempty"`
	Time    *time.Time `json:"time,omitempty"`
	Created *time.Time `json:"created,omitempty"`
	User    string     `json:"user,omitempty"`
	Conn    string     `json:"conn,omitempty"`
	Merged  int        `json:"merged,omitempty"`
	Update  []byte     `json:"update,omitempty"`
}

// transfer writes documents into files and reads them from there.
type transfer struct {
	*core
	*tombs
	*reader
	*history
	*versions
	*compactor
	*eraser
	*appender
}

// Export writes the document with its whole kept history.
func (s *transfer) Export(ctx context.Context, doc stream.Doc, w io.Writer) error {
	h, tail, err := s.logTail(ctx, doc)
	if err != nil {
		return err
	}
	if h == nil && len(tail) == 0 {
		return fmt.Errorf("%w: document %q", ErrNotFound, doc)
	}
	upto := lastOf(h, tail)
	out := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	now := time.Now().UTC().Truncate(time.Second)
	if err := enc.Encode(transferLine{Yjet: "document", Format: transferVersion, Doc: string(doc), Exported: &now}); err != nil {
		return err
	}
	versions, err := s.versions.Versions(ctx, doc)
	if err != nil {
		return err
	}
	var after stream.Seq
	if h != nil && h.info.Horizon > 0 {
		if after, err = s.exportBases(ctx, doc, h.info.Horizon, versions, enc); err != nil {
			return err
		}
	}
	n := 0
	for r, err := range s.Records(ctx, doc, after, upto) {
		if err != nil {
			return err
		}
		t := r.Time.UTC().Truncate(time.Millisecond)
		line := transferLine{Seq: r.Seq, Time: &t, User: r.User, Conn: r.Conn, Update: r.Update}
		if r.Merged > 1 {
			line.Merged = r.Merged
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
		n++
	}
	for _, v := range versions {
		if err := enc.Encode(transferLine{Version: v.Name, Seq: v.Seq, User: v.User, Created: &v.Created}); err != nil {
			return err
		}
	}
	if err := enc.Encode(transferLine{End: true, Records: &n, Seq: upto}); err != nil {
		return err
	}
	return out.Flush()
}

// exportBases writes the states that replace the history before the horizon: those of named versions, then that of the horizon.
func (s *transfer) exportBases(ctx context.Context, doc stream.Doc, horizon stream.Seq, versions []Version, enc *json.Encoder) (after stream.Seq, err error) {
	moments := []stream.Seq{horizon}
	for _, v := range versions {
		if v.Seq < horizon {
			moments = append(moments, v.Seq)
		}
	}
	slices.Sort(moments)
	have := yjs.StateVector{}
	for _, seq := range slices.Compact(moments) {
		st, err := s.At(ctx, doc, Moment{Seq: seq})
		if err != nil {
			return 0, err
		}
		update := st.Update
		if len(have) > 0 {
			if update, err = yjs.Diff(st.Update, have); err != nil {
				return 0, err
			}
		}
		if have, err = yjs.VectorOf(st.Update); err != nil {
			return 0, err
		}
		t := st.Time.UTC()
		if err := enc.Encode(transferLine{Base: true, Seq: st.Seq, Time: &t, Update: update}); err != nil {
			return 0, err
		}
		after = st.Seq
	}
	return after, nil
}

// ErrTransfer: the file was not written by Export, or is incomplete.
var ErrTransfer = errors.New("snapshot: not a whole export")

// ImportOptions configure an import.
type ImportOptions struct {
	// User and Conn identify the importer. KeepUsers keeps the users of the file's records and versions instead: only for a caller
	// with the right to write for all of them.
	User, Conn string
	KeepUsers  bool
	// Merge allows an import into an existing document; the file's records follow the existing ones.
	Merge bool
	// Check, when given, judges each update before it is appended; have is the document's state by then. It returns the part to
	// store, u.Bytes for all of it, nil for none; an error ends the import. Without Check the file is stored unchanged, gaps
	// included: only for callers with the right to append to the log themselves.
	Check func(u *yjs.Update, have *yjs.State) (part []byte, err error)
	// Size, when given, is called from time to time with the bytes of the document's state.
	Size func(bytes int) error
}

// Imported counts the results of an import.
type Imported struct {
	Records  int        `json:"records"`
	Versions int        `json:"versions"`
	LeftOut  int        `json:"leftOut"` // records of the file of which Check left out something
	Last     stream.Seq `json:"last"`
}

const (
	// importBatch and importBytes limit one append, in records and in bytes.
	importBatch, importBytes = 1000, 8 << 20
	// importFold is the number of appended bytes after which the import folds: a client that opens the document reads all
	// unfolded updates at once.
	importFold = 32 << 20
	// maxMerged is the highest count of merged updates accepted from a file. Rooms merge 1,000 at the most.
	maxMerged = 1000
)

// Import appends the records of a file that Export wrote, each with its original time, and names its versions again. ErrNotNew:
// the document exists and Merge is not set. After an error Import removes a new document again, unless another writer has
// appended to it.
func (s *transfer) Import(ctx context.Context, doc stream.Doc, r io.Reader, o ImportOptions) (Imported, error) {
	im := importer{s: s, ctx: ctx, doc: doc, o: o, w: s.log.Writer(doc), seqs: make(map[stream.Seq]stream.Seq)}
	done, err := im.run(r)
	if err != nil && im.begun {
		im.undo()
	}
	return done, err
}

// undo removes a partly imported new document. Rooms that show it close first, as for an erasure, so that no client writes to it.
func (im *importer) undo() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(im.ctx), 30*time.Second)
	defer cancel()
	err := im.alone(ctx)
	if err == nil {
		err = im.s.log.Control().Announce(EraseAnnouncement, []byte(im.doc))
	}
	if err == nil {
		err = sleep(ctx, eraseSettle)
	}
	if err == nil {
		err = im.alone(ctx)
	}
	if err == nil {
		err = im.s.removeAll(ctx, im.doc)
	}
	if err != nil {
		im.s.lg.Warn("partial import not removed", "doc", im.doc, "err", err)
	}
}

// alone returns nil if the document holds the import's records and no others.
func (im *importer) alone(ctx context.Context) error {
	n := 0
	for _, err := range im.s.Records(ctx, im.doc, 0, 0) {
		if err != nil {
			return err
		}
		n++
	}
	if n != im.done.Records {
		return errors.New("another writer has appended to the document")
	}
	return nil
}

// run reads the file line by line and imports each line.
func (im *importer) run(r io.Reader) (Imported, error) {
	if err := im.begin(); err != nil {
		return im.done, err
	}
	in := bufio.NewReaderSize(r, 64<<10)
	for im.line = 1; ; im.line++ {
		b, err := readLine(in, im.s.log.MaxUpdate()*3+1<<20)
		if err != nil {
			return im.done, im.fail("the file ends before its last line (%v)", err)
		}
		var line transferLine
		if err := json.Unmarshal(b, &line); err != nil {
			return im.done, im.fail("%v", err)
		}
		switch {
		case im.line == 1:
			err = im.header(&line)
		case line.End:
			return im.done, im.end(&line)
		case line.Version != "":
			err = im.version(&line)
		default:
			err = im.record(&line)
		}
		if err != nil {
			return im.done, err
		}
	}
}

// fail returns an error about the current line.
func (im *importer) fail(what string, args ...any) error {
	return fmt.Errorf("%w: line %d: %s", ErrTransfer, im.line, fmt.Sprintf(what, args...))
}

// begin reads the erased content of the document, and with Merge its present state.
func (im *importer) begin() (err error) {
	if im.erased, err = im.s.Erased(im.ctx, im.doc); err != nil || !im.o.Merge {
		return err
	}
	if err = im.s.holds(im.ctx, im.doc, &im.have); err != nil {
		return err
	}
	im.done.Last, err = im.s.log.Head(im.ctx, im.doc)
	return err
}

func (im *importer) header(line *transferLine) error {
	switch {
	case line.Yjet != "document":
		return im.fail("not an export of a document")
	case line.Format != transferVersion:
		return im.fail("format %d, this program reads %d", line.Format, transferVersion)
	}
	return nil
}

func (im *importer) end(line *transferLine) error {
	if err := im.flush(); err != nil {
		return err
	}
	if line.Records != nil && *line.Records != im.records {
		return im.fail("%d records, want %d", im.records, *line.Records)
	}
	if im.done.LeftOut > 0 && !im.useful {
		return im.fail("every record depends on content that neither the file nor the document holds")
	}
	return nil
}

// version names a moment of the file again, in the name of the importer unless they may write for others.
func (im *importer) version(line *transferLine) error {
	if err := im.flush(); err != nil {
		return err
	}
	at, ok := im.seqs[line.Seq]
	if !ok {
		return nil // the moment is older than the exported history
	}
	if _, err := ParseMoment(line.Version, time.Now()); err == nil {
		return im.fail("%q is a moment and cannot name a version", line.Version)
	}
	user := im.o.User
	if im.o.KeepUsers {
		user = line.User
	}
	_, err := im.s.PutVersion(im.ctx, im.doc, line.Version, Moment{Seq: at}, plain(user))
	if errors.Is(err, ErrVersionName) {
		return im.fail("%v", err)
	}
	if err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	im.done.Versions++
	return nil
}

// record checks a record of the file and adds it, unless the document already has it.
func (im *importer) record(line *transferLine) error {
	if line.Seq <= im.last && im.last != 0 {
		return im.fail("record %d after record %d", line.Seq, im.last)
	}
	im.last = line.Seq
	var u yjs.Update
	if err := u.Parse(line.Update, stored); err != nil {
		if line.Base {
			return im.fail("%v", err)
		}
		im.skipped++ // quarantined in the exporting store
		im.records++
		return nil
	}
	if im.erased.Refuses(&u) {
		return fmt.Errorf("%w: line %d: %q was erased, and its erased content is refused under that name", ErrErased, im.line, im.doc)
	}
	known := im.o.Merge && im.have.Contains(&u)
	if im.o.Check != nil && !known {
		part, err := im.o.Check(&u, &im.have)
		if err != nil {
			return fmt.Errorf("line %d: %w", im.line, err)
		}
		if part == nil || &part[0] != &u.Bytes[0] {
			im.done.LeftOut++
			line.Update = part
			if part == nil {
				if !line.Base {
					im.records++
				}
				return nil
			}
			if err := u.Parse(part, stored); err != nil {
				return fmt.Errorf("line %d: the part that can be stored: %w", im.line, err)
			}
		}
	}
	im.useful = true
	if im.o.Check != nil || im.o.Merge {
		im.have.Add(&u)
	}
	if !line.Base {
		im.records++
	}
	if known {
		return nil // it brings nothing new
	}
	return im.add(*line)
}

// plain turns a text of the file into a one-line name, as every verified name is.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(name, string(utf8.RuneError)))
}

type importer struct {
	s       *transfer
	ctx     context.Context
	doc     stream.Doc
	o       ImportOptions
	w       *stream.Writer
	erased  *Erased
	line    int        // of the file, from 1
	last    stream.Seq // the file's previous record
	begun   bool
	useful  bool // a record of the file is in the document
	batch   []stream.Entry
	of      []stream.Seq // the batch's sequences in the file
	bytes   int
	records int
	skipped int
	pending int                       // bytes appended and not yet folded
	have    yjs.State                 // the document's state; with Merge or a Check
	seqs    map[stream.Seq]stream.Seq // of the file to here
	done    Imported
}

// add adds a record of the file to the batch, as several records if the log's message size requires it. The first record of a new document
// is stored at once and claims the document for this import.
func (im *importer) add(line transferLine) error {
	e := stream.Entry{User: im.o.User, Conn: im.o.Conn, Update: line.Update}
	if line.Merged <= maxMerged {
		e.Merged = line.Merged
	}
	if im.o.KeepUsers {
		e.User, e.Conn = plain(line.User), plain(line.Conn)
	}
	// A time in the future would hide all later records from time travel and keep the history from ageing; no server writes one before
	// 1970. Records with such times get the time of the import.
	if line.Time != nil && line.Time.Unix() >= 0 && !line.Time.After(time.Now()) {
		e.Time = *line.Time
	}
	entries, err := Entries(e, im.s.log.MaxUpdate())
	if err != nil {
		return fmt.Errorf("record %d: %w", line.Seq, err)
	}
	if !im.begun && !im.o.Merge {
		seq, err := im.s.seed(im.ctx, im.doc, e)
		if err != nil {
			return err
		}
		im.begun = true
		im.stored(line.Seq, seq, len(entries))
		return nil
	}
	if len(im.batch)+len(entries) > importBatch || im.bytes > 0 && im.bytes+len(e.Update) > importBytes {
		if err := im.flush(); err != nil {
			return err
		}
	}
	for range entries {
		im.of = append(im.of, line.Seq)
	}
	im.batch = append(im.batch, entries...)
	im.bytes += len(e.Update)
	return nil
}

// stored notes that a record of the file is stored in some records, the last of which is to.
func (im *importer) stored(from, to stream.Seq, records int) {
	im.seqs[from] = to
	im.done.Last = to
	im.done.Records += records
}

func (im *importer) flush() error {
	if len(im.batch) == 0 {
		return nil
	}
	seqs, err := appendAll(im.ctx, im.w, im.batch)
	for i, seq := range seqs {
		im.stored(im.of[i], seq, 1)
	}
	im.pending += im.bytes
	im.batch, im.of, im.bytes = nil, nil, 0
	if err != nil || im.pending < importFold {
		return err
	}
	im.pending = 0
	if _, err := im.s.Fold(im.ctx, im.doc); err != nil && !errors.Is(err, ErrPaused) {
		return err
	}
	if im.o.Size == nil {
		return nil
	}
	sum, err := im.s.Summary(im.ctx, im.doc)
	if err == nil {
		err = im.o.Size(sum.Bytes)
	}
	return err
}

// readLine reads one line of at most limit bytes.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit:
			return nil, fmt.Errorf("a line is longer than %d bytes", limit)
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(bytes.TrimSpace(line)) > 0:
			return line, nil
		case err != nil:
			return nil, err
		}
		return line, nil
	}
}
