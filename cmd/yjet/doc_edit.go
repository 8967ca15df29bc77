package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"yjet/internal/yjs"
)

// editAnswer is what PATCH answers.
type editAnswer struct {
	Seq     uint64
	Changed bool
	Found   []struct{ Op, Count int }
}

// edit sends edits: those of a file or of stdin, or the one that --find and --with describe.
func (c *docClient) edit(words []string) error {
	if c.f.find != "" {
		if len(words) == 2 {
			return usagef("doc edit: --find and --with, or a file, not both")
		}
		name, kind, err := c.editedType("doc edit", "text", "xml")
		if err != nil {
			return err
		}
		return c.patch(words[0], map[string]any{"type": kind, "name": name, "op": "replace", "find": c.f.find, "with": c.f.with, "all": c.f.all})
	}
	if c.f.with != "" || c.f.all || c.f.typ != "" {
		return usagef("doc edit: --type, --with and --all are of an edit that --find begins, and --find is empty")
	}
	in, err := c.input(words)
	if err != nil {
		return err
	}
	defer in.Close()
	body, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var one struct{ Ops json.RawMessage }
	switch body = bytes.TrimSpace(body); {
	case len(body) == 0:
		return usagef("doc edit: no edits: give a file, or JSON on stdin, or --find and --with")
	case body[0] == '[':
		var list []any
		if err := json.Unmarshal(body, &list); err != nil {
			return fmt.Errorf("the edits are no JSON: %w", err)
		}
		return c.patch(words[0], list...)
	case json.Unmarshal(body, &one) == nil && one.Ops != nil:
		return c.sendPatch(words[0], body)
	case !json.Valid(body):
		return errors.New(`the edits are no JSON: want {"ops":[…]}, a list of edits, or one edit`)
	}
	return c.patch(words[0], json.RawMessage(body))
}

// append adds text at the end of a text, Markdown at the end of a fragment, or a JSON value at the end of an array.
func (c *docClient) append(words []string) error {
	name, kind, err := c.editedType("doc append", "text", "xml", "array")
	if err != nil {
		return err
	}
	var text string
	if len(words) == 2 {
		text = words[1]
	} else {
		b, err := io.ReadAll(c.p.stdin)
		if err != nil {
			return err
		}
		text = string(b)
	}
	switch kind {
	case "xml":
		return c.patch(words[0], map[string]any{"type": kind, "name": name, "op": "append", "markdown": text})
	case "array":
		if !json.Valid([]byte(text)) {
			return usagef("doc append: %.40q is no JSON value, which an array takes; put a text into quotes", text)
		}
		return c.patch(words[0], map[string]any{"type": kind, "name": name, "op": "push", "values": []any{json.RawMessage(text)}})
	}
	return c.patch(words[0], map[string]any{"type": kind, "name": name, "op": "append", "text": text})
}

// editedType reads --type.
func (c *docClient) editedType(command string, kinds ...string) (name, kind string, err error) {
	i := strings.LastIndexByte(c.f.typ, ':')
	if i < 0 {
		return "", "", usagef("%s: --type names what is edited, as name:kind, kinds %s", command, strings.Join(kinds, ", "))
	}
	name, kind = c.f.typ[:i], c.f.typ[i+1:]
	if k, ok := yjs.ParseKind(kind); ok && k == yjs.KindXMLFragment {
		kind = "xml"
	}
	if !slices.Contains(kinds, kind) {
		return "", "", usagef("%s: --type %s: the kind is one of %s", command, c.f.typ, strings.Join(kinds, ", "))
	}
	return name, kind, nil
}

// patch sends edits as one request.
func (c *docClient) patch(doc string, ops ...any) error {
	body, err := json.Marshal(map[string]any{"ops": ops})
	if err != nil {
		return err
	}
	return c.sendPatch(doc, body)
}

func (c *docClient) sendPatch(doc string, body []byte) error {
	headers := []string{"Accept", "application/json", "Content-Type", "application/json"}
	if c.f.ifSeq > 0 {
		headers = append(headers, "If-Match", strconv.Quote(strconv.Itoa(c.f.ifSeq)))
	}
	if c.f.key != "" {
		headers = append(headers, "Idempotency-Key", c.f.key)
	}
	resp, err := c.call(http.MethodPatch, docPath(doc), nil, bytes.NewReader(body), headers...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.f.json {
		_, err = io.Copy(c.p.stdout, resp.Body)
		return err
	}
	var done editAnswer
	if err := json.NewDecoder(resp.Body).Decode(&done); err != nil {
		return err
	}
	matches := 0
	for _, f := range done.Found {
		matches += f.Count
	}
	switch {
	case !done.Changed:
		fmt.Fprintf(c.p.stdout, "%s is as it was, at sequence %d\n", clean(doc), done.Seq)
	case len(done.Found) > 0:
		fmt.Fprintf(c.p.stdout, "%s edited by sequence %d; texts replaced: %d\n", clean(doc), done.Seq, matches)
	default:
		fmt.Fprintf(c.p.stdout, "%s edited by sequence %d\n", clean(doc), done.Seq)
	}
	return nil
}
