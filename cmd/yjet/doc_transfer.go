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
	"strings"
	"sync/atomic"
)

// output opens the file that --out names, or stdout. A new file is readable by its owner alone: documents are as private as the
// token that reads them.
func (c *docClient) output() (io.WriteCloser, error) {
	if c.f.out == "-" || c.f.out == "" {
		return nopCloser{c.p.stdout}, nil
	}
	return os.OpenFile(c.f.out, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

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
	out, err := c.output()
	if err != nil {
		return err
	}
	_, err = io.Copy(out, resp.Body)
	return errors.Join(err, out.Close())
}

func (c *docClient) export(words []string) error {
	resp, err := c.call(http.MethodGet, docPath(words[0], "export"), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// The file appears under its name only when it is whole.
	name := c.f.out
	if name != "-" && name != "" {
		c.f.out = name + ".part"
	}
	out, err := c.output()
	if err != nil {
		return err
	}
	var w io.WriteCloser = nopCloser{out}
	if strings.HasSuffix(name, ".gz") {
		w = gzip.NewWriter(out)
	}
	last := &lastLine{w: w}
	_, err = io.Copy(last, resp.Body)
	if err == nil && !bytes.HasPrefix(last.line, []byte(`{"end":true`)) {
		err = errors.New("the export ended early; the server's log says why")
	}
	err = errors.Join(err, w.Close(), out.Close())
	if name != "-" && name != "" {
		if err == nil {
			err = os.Rename(c.f.out, name)
		} else {
			err = errors.Join(err, os.Remove(c.f.out))
		}
	}
	return err
}

// reading remembers why a file could not be read, so that the server is not blamed. The transport reads in its own goroutine.
type reading struct {
	r   io.Reader
	err atomic.Pointer[error]
}

func (f *reading) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err.Store(&err)
	}
	return n, err
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
	in := c.p.stdin
	if len(words) == 2 && words[1] != "-" {
		f, err := os.Open(words[1])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	r := bufio.NewReaderSize(in, 64<<10)
	if magic, _ := r.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
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
		fmt.Fprintf(c.p.stdout, "%s: %d records, %d versions, sequence %d\n", clean(words[0]), done.Records, done.Versions, done.Seq)
		return nil
	}
	// A raw update, as Y.encodeStateAsUpdate makes them.
	update, err := io.ReadAll(io.LimitReader(r, maxDecode+1))
	if err != nil {
		return err
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
	resp, err := c.call(http.MethodPost, docPath(words[0]), nil, bytes.NewReader(update), headers...)
	if err != nil {
		return err
	}
	resp.Body.Close()
	fmt.Fprintf(c.p.stdout, "%s: %d bytes, sequence %s\n", clean(words[0]), len(update), resp.Header.Get("Yjet-Seq"))
	return nil
}
