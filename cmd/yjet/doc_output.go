package main

import (
	"io"
	"os"
	"path/filepath"
)

// output is where a command writes a document: stdout, or the file that --out names. The file is readable by its owner alone, since
// documents are as private as the token that reads them, and appears under its name only when it is whole. The caller ends with keep
// or drop.
type output struct {
	w     io.Writer
	file  *os.File // nil for stdout
	name  string   // to which keep renames the file; "" for stdout, and for a device or pipe, which is written as it is
	bytes int64    // written so far
}

// toFile reports whether --out names a file.
func (c *docClient) toFile() bool { return c.f.out != "-" && c.f.out != "" }

func (c *docClient) output() (*output, error) {
	if !c.toFile() {
		return &output{w: c.p.stdout}, nil
	}
	if info, err := os.Stat(c.f.out); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(c.f.out, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &output{w: f, file: f}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(c.f.out), filepath.Base(c.f.out)+".part-*") // mode 0600
	if err != nil {
		return nil, err
	}
	return &output{w: f, file: f, name: c.f.out}, nil
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.bytes += int64(n)
	return n, err
}

// keep ends a whole document.
func (o *output) keep() error {
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	if o.name == "" {
		return err
	}
	if err == nil {
		err = os.Rename(o.file.Name(), o.name)
	}
	if err != nil {
		os.Remove(o.file.Name())
	}
	return err
}

// drop ends a document that is not whole, and removes what was written of its file.
func (o *output) drop() error {
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	if o.name != "" {
		err = os.Remove(o.file.Name())
	}
	return err
}

// nopCloser is a writer whose Close does nothing.
type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
