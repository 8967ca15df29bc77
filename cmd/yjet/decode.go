package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"yjet/internal/yjs"
)

const decodeUsage = `
Usage: yjet decode [flags] < payload

Reads one payload from stdin and prints it as text: a Yjs update (V1 or V2), an awareness update, a y-websocket frame, a state vector, or JSON
such as a presence value or the head of a large snapshot. Made for --translate of the nats command line tool.

Examples:
  nats stream view YDOC_00 --translate 'yjet decode'
  nats stream get YDOC_00 --last-for ydoc.00.notes.todo=2Emd --translate 'yjet decode'
  curl -s 'http://127.0.0.1:1999/api/docs/my-room?format=vector' | yjet decode --as vector
`

// maxDecode is the most that is read from stdin, in bytes: more than the largest message of NATS.
const maxDecode = 64 << 20

func runDecode(_ context.Context, p process, args []string) error {
	var as string
	s := newSettings("decode")
	s.StringVar(&as, "as", "auto", "`kind` of payload: auto, update, update2, awareness, frame, vector, json")
	if err := s.load(args, p.environ, p.stdout, decodeUsage); err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(p.stdin, maxDecode+1))
	if err != nil {
		return err
	}
	if len(b) > maxDecode {
		return fmt.Errorf("more than %d MiB on stdin", maxDecode>>20)
	}
	text, err := decode(as, b)
	if err != nil {
		return err
	}
	_, err = io.WriteString(p.stdout, text)
	return err
}

type decoder struct {
	kind string
	read func([]byte) (string, error)
}

// decoders are in the order in which auto tries them; the stricter forms come first.
func decoders() []decoder {
	return []decoder{
		{"json", decodeJSON},
		{"frame", decodeFrame}, // before update: its length must fit exactly
		{"update", decodeUpdate},
		{"awareness", decodeAwareness},
		{"update2", decodeUpdate2},
		{"vector", decodeVector},
	}
}

func decode(as string, b []byte) (string, error) {
	if as == "auto" && len(b) == 0 {
		return "empty\n", nil // a marker of a KV delete, for one
	}
	for _, d := range decoders() {
		switch as {
		case d.kind:
			return d.read(b)
		case "auto":
			if text, err := d.read(b); err == nil {
				return text, nil
			}
		}
	}
	if as != "auto" {
		return "", usagef("decode: --as %q: want auto, update, update2, awareness, frame, vector or json", as)
	}
	return "", fmt.Errorf("%d bytes that are no update, awareness, frame, state vector or JSON", len(b))
}

func decodeJSON(b []byte) (string, error) {
	if len(b) == 0 || b[0] != '{' && b[0] != '[' {
		return "", errors.New("not JSON")
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return "", err
	}
	return out.String() + "\n", nil
}

func decodeUpdate(b []byte) (string, error) {
	var body strings.Builder
	r := yjs.NewReader(b)
	structs, deletes := 0, 0
	var last *uint64
	for s := (yjs.Struct{}); r.Next(&s); structs++ {
		if last == nil || *last != s.Client {
			client := s.Client
			last = &client
			fmt.Fprintf(&body, "  client %d\n", client)
		}
		fmt.Fprintf(&body, "    %s\n", describe(&s))
	}
	for d := (yjs.Run{}); r.NextDelete(&d); deletes++ {
		fmt.Fprintf(&body, "  delete %d:%s\n", d.Client, clocks(d.Clock, d.Len))
	}
	if err := r.Err(); err != nil {
		return "", fmt.Errorf("as an update: %w", err)
	}
	if n := r.Left(); n > 0 { // an update V2 begins like an empty update V1
		return "", fmt.Errorf("as an update: %d bytes after its end", n)
	}
	return fmt.Sprintf("update, %d bytes, %d structs, %d deletes\n%s", len(b), structs, deletes, body.String()), nil
}

func decodeUpdate2(b []byte) (string, error) {
	v1, err := yjs.FromV2(b, yjs.Limits{})
	if err != nil {
		return "", fmt.Errorf("as an update V2: %w", err)
	}
	text, err := decodeUpdate(v1)
	return strings.Replace(text, "update,", "update V2, here as V1,", 1), err
}

func clocks(clock, n uint64) string {
	if n == 1 {
		return fmt.Sprint(clock)
	}
	return fmt.Sprintf("%d–%d", clock, clock+n-1)
}

// describe is one struct on one line.
func describe(s *yjs.Struct) string {
	at := clocks(s.Clock, s.Len)
	switch s.Ref() {
	case yjs.RefGC:
		return at + "  collected"
	case yjs.RefSkip:
		return at + "  gap"
	}
	var where string
	switch {
	case s.HasOrigin() && s.HasRight():
		where = fmt.Sprintf("between %d:%d and %d:%d", s.Origin.Client, s.Origin.Clock, s.Right.Client, s.Right.Clock)
	case s.HasOrigin():
		where = fmt.Sprintf("after %d:%d", s.Origin.Client, s.Origin.Clock)
	case s.HasRight():
		where = fmt.Sprintf("before %d:%d", s.Right.Client, s.Right.Clock)
	case s.Root != nil:
		where = fmt.Sprintf("in root %q", s.Root)
	default:
		where = fmt.Sprintf("in %d:%d", s.Parent.Client, s.Parent.Clock)
	}
	if s.HasSub() {
		where += fmt.Sprintf(" key %q", s.Sub)
	}
	return at + "  " + contentText(s) + " " + where
}

// contentText names a content; text and JSON are quoted, so that nothing in a document can steer a terminal.
func contentText(s *yjs.Struct) string {
	const most = 200
	quote := func(b []byte) string {
		if len(b) > most {
			return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
		}
		return fmt.Sprintf("%q", b)
	}
	switch s.Ref() {
	case yjs.RefDeleted:
		return "deleted"
	case yjs.RefString:
		return "text " + quote(s.Content)
	case yjs.RefEmbed:
		return "embed " + quote(s.Content)
	case yjs.RefBinary:
		return fmt.Sprintf("binary of %d bytes", len(s.Content))
	case yjs.RefFormat:
		if key, rest, err := yjs.ReadVarString(s.Content); err == nil {
			if value, _, err := yjs.ReadVarString(rest); err == nil {
				return fmt.Sprintf("format %q = %s", key, quote(value))
			}
		}
		return "format"
	case yjs.RefType:
		names := []string{"array", "map", "text", "XML element", "XML fragment", "XML hook", "XML text"}
		if n, rest, err := yjs.ReadUvarint(s.Content); err == nil && n < uint64(len(names)) {
			if name, _, err := yjs.ReadVarString(rest); err == nil && len(rest) > 0 {
				return fmt.Sprintf("new %s %q", names[n], name)
			}
			return "new " + names[n]
		}
		return "new type"
	case yjs.RefDoc:
		if guid, _, err := yjs.ReadVarString(s.Content); err == nil {
			return fmt.Sprintf("sub-document %q", guid)
		}
		return "sub-document"
	case yjs.RefJSON, yjs.RefAny:
		return fmt.Sprintf("%d values (%d bytes)", s.Len, len(s.Content))
	}
	return fmt.Sprintf("content %d", s.Ref())
}

func decodeAwareness(b []byte) (string, error) {
	entries, err := yjs.ReadAwareness(nil, b)
	if err != nil {
		return "", fmt.Errorf("as awareness: %w", err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "awareness, %d clients\n", len(entries))
	for _, e := range entries {
		state := "gone"
		if e.State != nil {
			state = fmt.Sprintf("%q", e.State)
			var plain bytes.Buffer
			if json.Compact(&plain, e.State) == nil && !bytes.ContainsFunc(plain.Bytes(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
				state = plain.String()
			}
		}
		fmt.Fprintf(&out, "  client %d clock %d  %s\n", e.Client, e.Clock, state)
	}
	return out.String(), nil
}

func decodeFrame(b []byte) (string, error) {
	bad := errors.New("not a y-websocket frame")
	if len(b) < 2 {
		return "", bad
	}
	body := func(kind, name string, p []byte) (string, error) {
		payload, rest, err := yjs.ReadVarBytes(p)
		if err != nil || len(rest) > 0 {
			return "", bad
		}
		text, err := decode(kind, payload)
		return name + ": " + text, err
	}
	switch {
	case b[0] == yjs.MsgSync && b[1] == yjs.SyncStep1:
		return body("vector", "sync step 1", b[2:])
	case b[0] == yjs.MsgSync && b[1] == yjs.SyncStep2:
		return body("update", "sync step 2", b[2:])
	case b[0] == yjs.MsgSync && b[1] == yjs.SyncUpdate:
		return body("update", "sync update", b[2:])
	case b[0] == yjs.MsgAwareness:
		return body("awareness", "awareness frame", b[1:])
	}
	return "", bad
}

func decodeVector(b []byte) (string, error) {
	v, err := yjs.DecodeStateVector(b)
	if err != nil {
		return "", fmt.Errorf("as a state vector: %w", err)
	}
	if n := len(b) - len(v.Append(nil)); n > 0 && len(b) > 0 {
		return "", fmt.Errorf("as a state vector: %d bytes after its end", n) // a cut update, most likely
	}
	var out strings.Builder
	fmt.Fprintf(&out, "state vector, %d clients\n", len(v))
	for _, c := range slices.Sorted(maps.Keys(v)) {
		fmt.Fprintf(&out, "  client %d next clock %d\n", c, v[c])
	}
	return out.String(), nil
}
