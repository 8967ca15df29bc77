package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// get prints a state. With --json it is one object, in which a state of bytes is base64; with --out the file has the state, and the
// object has the file's name.
func (c *docClient) get(words []string) error {
	q := url.Values{"format": {c.f.format}}
	if c.f.at != "" {
		q.Set("at", c.f.at)
	}
	for t := range strings.SplitSeq(c.f.typ, ",") {
		if t != "" {
			q.Add("type", t)
		}
	}
	resp, err := c.call(http.MethodGet, docPath(words[0]), q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := map[string]any{"doc": words[0], "format": c.f.format, "seq": seqOf(resp)}
	if c.f.json && !c.toFile() {
		state, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		switch c.f.format {
		case "json":
			answer["state"] = json.RawMessage(state)
		case "text":
			answer["state"] = string(state)
		default:
			answer["state"] = state
		}
		return c.answer(answer)
	}
	out, err := c.output()
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, resp.Body); err != nil {
		return errors.Join(err, out.drop())
	}
	if err := out.keep(); err != nil || !c.f.json {
		return err
	}
	answer["file"], answer["bytes"] = c.f.out, out.bytes
	return c.answer(answer)
}

func (c *docClient) export(words []string) error {
	switch info, err := os.Stat(c.f.out); {
	case !c.toFile() && c.f.json:
		return usagef("doc export: --json needs --out: without a file, stdout is the export itself, which has one JSON object a line")
	case c.toFile() && err == nil && info.Mode().IsRegular() && !c.f.force:
		return fmt.Errorf("%s exists; choose another name, or replace it with --force", c.f.out)
	}
	resp, err := c.call(http.MethodGet, docPath(words[0], "export"), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out, err := c.output()
	if err != nil {
		return err
	}
	var w io.WriteCloser = nopCloser{out}
	if strings.HasSuffix(c.f.out, ".gz") {
		w = gzip.NewWriter(out)
	}
	var end struct {
		End     bool
		Records int
		Seq     uint64
	}
	last := &lastLine{w: w}
	_, err = io.Copy(last, resp.Body)
	if err == nil && (json.Unmarshal(last.line, &end) != nil || !end.End) {
		err = errors.New("the export ended early; the server's log says why")
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, out.drop())
	}
	if err := out.keep(); err != nil || !c.f.json {
		return err
	}
	return c.answer(map[string]any{"doc": words[0], "file": c.f.out, "bytes": out.bytes, "records": end.Records, "seq": end.Seq})
}

// reading is a file on its way to the server. It holds back the last bytes until the file has been read to its end without an error, so
// that no file is taken for whole whose checksum, at its very end, is wrong. It remembers its error, since the transport, which reads in a
// goroutine of its own, reports another.
type reading struct {
	r    io.Reader
	buf  [64 << 10]byte
	n    int   // bytes in buf
	done error // from r; nil: there is more
	err  atomic.Pointer[error]
}

// heldBack is longer than the last line of an export.
const heldBack = 4 << 10

func (f *reading) Read(p []byte) (int, error) {
	for f.done == nil && f.n <= heldBack {
		var n int
		n, f.done = f.r.Read(f.buf[f.n:])
		f.n += n
	}
	switch {
	case f.done == nil:
		p = p[:min(len(p), f.n-heldBack)]
	case f.done != io.EOF:
		f.err.Store(&f.done)
		return 0, f.done
	case f.n == 0:
		return 0, io.EOF
	}
	n := copy(p, f.buf[:f.n])
	f.n = copy(f.buf[:], f.buf[n:f.n])
	return n, nil
}

// lastLine passes bytes on and remembers the last line among them.
type lastLine struct {
	w    io.Writer
	line []byte
	end  bool
}

func (l *lastLine) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if l.end {
			l.line, l.end = l.line[:0], false
		}
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			l.line = append(l.line, rest...)
			break
		}
		l.line, l.end = append(l.line, rest[:i]...), true
		rest = rest[i+1:]
	}
	return l.w.Write(p)
}

func (c *docClient) imports(words []string) error {
	in, err := c.input(words)
	if err != nil {
		return err
	}
	defer in.Close()
	r := bufio.NewReaderSize(in, 64<<10)
	if magic, _ := r.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("the file begins like gzip but is not: %w", err)
		}
		r = bufio.NewReaderSize(z, 64<<10)
	}
	first, err := r.Peek(1)
	if err != nil {
		return fmt.Errorf("nothing to import: %w", err)
	}
	if first[0] == '{' && !c.f.v2 {
		q := url.Values{}
		if c.f.merge {
			q.Set("merge", "true")
		}
		file := &reading{r: r}
		resp, err := c.call(http.MethodPost, docPath(words[0], "import"), q, file, "Content-Type", "application/x-ndjson")
		if err != nil {
			if bad := file.err.Load(); bad != nil {
				return fmt.Errorf("the file cannot be read to its end: %w", *bad)
			}
			return err
		}
		defer resp.Body.Close()
		var done struct {
			Records, Versions int
			Seq               uint64
		}
		if err := json.NewDecoder(resp.Body).Decode(&done); err != nil {
			return err
		}
		if c.f.json {
			return c.answer(map[string]any{"doc": words[0], "records": done.Records, "versions": done.Versions, "seq": done.Seq})
		}
		fmt.Fprintf(c.p.stdout, "%s: %d records, %d versions, sequence %d\n", clean(words[0]), done.Records, done.Versions, done.Seq)
		return nil
	}
	return c.importUpdate(words[0], r)
}

// importUpdate sends a raw update, as Y.encodeStateAsUpdate makes them.
func (c *docClient) importUpdate(doc string, r io.Reader) error {
	update, err := io.ReadAll(io.LimitReader(r, maxDecode+1))
	if err != nil {
		return fmt.Errorf("the file cannot be read to its end: %w", err)
	}
	if len(update) > maxDecode {
		return fmt.Errorf("the raw update is larger than %d MiB", maxDecode>>20)
	}
	headers := []string{"Content-Type", "application/octet-stream"}
	if c.f.v2 {
		headers[1] = "application/vnd.yjs.update.v2"
	}
	if !c.f.merge {
		headers = append(headers, "If-None-Match", "*")
	}
	resp, err := c.call(http.MethodPost, docPath(doc), nil, bytes.NewReader(update), headers...)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if c.f.json {
		return c.answer(map[string]any{"doc": doc, "bytes": len(update), "seq": seqOf(resp)})
	}
	fmt.Fprintf(c.p.stdout, "%s: %d bytes, sequence %d\n", clean(doc), len(update), seqOf(resp))
	return nil
}

// seqOf is the sequence that an answer names, 0 where it names none.
func seqOf(resp *http.Response) uint64 {
	seq, _ := strconv.ParseUint(resp.Header.Get("Yjet-Seq"), 10, 64)
	return seq
}
