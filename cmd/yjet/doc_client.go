package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// docClient speaks to the server's API.
type docClient struct {
	ctx  context.Context
	p    process
	f    docFlags
	base string
}

// call makes a request; any status but 2xx is an error with the server's own words. The caller closes the body.
func (c *docClient) call(method, path string, query url.Values, body io.Reader, headers ...string) (*http.Response, error) {
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(c.ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	if c.f.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.f.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("%s: %w; is the server running? Name another with --url", c.base, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var e struct {
		Error  struct{ Code, Message string }
		Oldest *struct {
			Seq  uint64
			Time string
		}
	}
	if json.Unmarshal(b, &e) == nil && e.Error.Message != "" {
		return nil, fmt.Errorf("%s (%s, %s)", e.Error.Message, e.Error.Code, resp.Status)
	}
	return nil, fmt.Errorf("%s %s answered %s", method, path, resp.Status)
}

// read makes a request and decodes the JSON answer; with --json it is printed as it came instead, and done is true.
func (c *docClient) read(method, path string, query url.Values, body, into any) (done bool, err error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return false, err
		}
		in = bytes.NewReader(b)
	}
	resp, err := c.call(method, path, query, in, "Accept", "application/json", "Content-Type", "application/json")
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if c.f.json {
		_, err = io.Copy(c.p.stdout, resp.Body)
		return true, err
	}
	if into == nil {
		return false, nil
	}
	return false, json.NewDecoder(resp.Body).Decode(into)
}

// answer prints the one JSON object with which a command answers --json.
func (c *docClient) answer(object map[string]any) error {
	e := json.NewEncoder(c.p.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(object)
}

// input returns the file that a command's second word names, or stdin where it names none or is "-". The caller closes it.
func (c *docClient) input(words []string) (io.ReadCloser, error) {
	if len(words) < 2 || words[1] == "-" {
		return io.NopCloser(c.p.stdin), nil
	}
	return os.Open(words[1])
}

func docPath(doc string, more ...string) string {
	path := "/api/docs/" + url.PathEscape(doc)
	for _, m := range more {
		path += "/" + url.PathEscape(m)
	}
	return path
}

// clean keeps the name of a document or user from steering the terminal.
func clean(s string) string {
	if s == "" {
		return "-"
	}
	q := strconv.Quote(s)
	if q[1:len(q)-1] == s && !strings.Contains(s, " ") {
		return s
	}
	return q
}
