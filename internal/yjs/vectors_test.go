package yjs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The vectors are what npm yjs, y-protocols and lib0 do, byte for byte, made by testdata/generate.mjs. Another set, made with
// another seed, is tested with YJS_VECTORS=directory.

func vectors(t testing.TB, name string, into any) {
	t.Helper()
	dir := os.Getenv("YJS_VECTORS")
	if dir == "" {
		dir = filepath.Join("testdata", "vectors")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// output is what yjs gave: base64, or an object with its error, or null.
type output struct {
	bytes []byte
	err   string
	none  bool
}

func (o *output) UnmarshalJSON(b []byte) error {
	*o = output{}
	switch {
	case string(b) == "null":
		o.none = true
		return nil
	case b[0] == '"':
		return json.Unmarshal(b, &o.bytes)
	}
	var e struct{ Error string }
	if err := json.Unmarshal(b, &e); err != nil || e.Error == "" {
		return fmt.Errorf("output %s: %v", b, err)
	}
	o.err = e.Error
	return nil
}

type diffCase struct {
	SV           []byte
	Diff, DiffV2 output
}

// diffCases may be one error instead.
type diffCases []diffCase

func (d *diffCases) UnmarshalJSON(b []byte) error {
	if b[0] == '{' {
		return nil
	}
	return json.Unmarshal(b, (*[]diffCase)(d))
}

type updateCase struct {
	Name           string
	I              int
	TwoShapes      bool
	Updates        [][]byte
	Decoded        []json.RawMessage
	UpdatesV2      []output
	BackToV1       []output
	Merged         output
	MergedReversed output
	MergedV2       output
	MergedAsV2     output
	SVFromUpdate   []output
	SVFromMerged   output
	Diffs          diffCases
}

func updateCases(t testing.TB) []updateCase {
	var a, b struct{ Cases []updateCase }
	vectors(t, "updates.json", &a)
	vectors(t, "fuzz.json", &b)
	for i := range b.Cases {
		b.Cases[i].Name = fmt.Sprintf("fuzz-%d", b.Cases[i].I)
	}
	return append(a.Cases, b.Cases...)
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// compare checks what we made against what yjs made; ours may fail where yjs fails too.
func compare(t *testing.T, what string, got []byte, err error, want output) {
	t.Helper()
	switch {
	case want.none, want.bytes == nil && want.err == "": // not in this set
	case want.err != "":
		if err == nil {
			t.Errorf("%s: got %s, want an error as in yjs (%s)", what, b64(got), want.err)
		}
	case err != nil:
		t.Errorf("%s: got error %v, want %s", what, err, b64(want.bytes))
	case !bytes.Equal(got, want.bytes):
		t.Errorf("%s: got, want\n%s\n%s", what, b64(got), b64(want.bytes))
	}
}

func TestReaderSeesTheStructsThatYjsSees(t *testing.T) {
	for _, c := range updateCases(t) {
		for i, d := range c.Decoded {
			got, err := describe(c.Updates[i])
			var want struct {
				Error   string
				Structs []json.RawMessage
				DS      json.RawMessage
			}
			if err := json.Unmarshal(d, &want); err != nil {
				t.Fatal(err)
			}
			if (err != nil) != (want.Error != "") {
				t.Errorf("%s %d: got error %v, want %q", c.Name, i, err, want.Error)
				continue
			}
			if err != nil {
				continue
			}
			lines := make([]string, 0, len(want.Structs))
			for _, s := range want.Structs {
				lines = append(lines, string(s)+"\n")
			}
			if w := strings.Join(lines, "") + string(want.DS); got != w && c.Name != "ds-client-without-ranges" {
				t.Errorf("%s %d: got, want\n%s\n%s", c.Name, i, got, w)
			}
		}
	}
}

// describe writes structs and deletes as generate.mjs does.
func describe(update []byte) (string, error) {
	var out strings.Builder
	id := func(has bool, id ID) any {
		if !has {
			return nil
		}
		return []uint64{id.Client, id.Clock}
	}
	text := func(v any) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			panic(err)
		}
		return strings.TrimSpace(b.String())
	}
	kinds := map[byte]string{RefGC: "GC", RefSkip: "Skip", RefDeleted: "Deleted", RefJSON: "JSON", RefBinary: "Binary", RefString: "String", RefEmbed: "Embed", RefFormat: "Format", RefType: "Type", RefAny: "Any", RefDoc: "Doc"}
	r := NewReader(update)
	var s Struct
	for r.Next(&s) {
		fmt.Fprintf(&out, `{"id":[%d,%d],"len":%d,"kind":"%s"`, s.Client, s.Clock, s.Len, kinds[s.Ref()])
		if s.IsItem() {
			var parent, sub any
			switch {
			case s.HasParent() && s.Root != nil:
				parent = string(s.Root)
			case s.HasParent():
				parent = id(true, s.Parent)
			}
			if s.HasSub() {
				sub = string(s.Sub)
			}
			fmt.Fprintf(&out, `,"origin":%s,"rightOrigin":%s,"parent":%s,"parentSub":%s`,
				text(id(s.HasOrigin(), s.Origin)), text(id(s.HasRight(), s.Right)), text(parent), text(sub))
		}
		out.WriteString("}\n")
	}
	type client struct {
		id     uint64
		ranges [][2]uint64
	}
	var ds []client
	var d Run
	for r.NextDelete(&d) {
		i := slices.IndexFunc(ds, func(c client) bool { return c.id == d.Client })
		if i < 0 {
			i = len(ds)
			ds = append(ds, client{id: d.Client})
		}
		ds[i].ranges = append(ds[i].ranges, [2]uint64{d.Clock, d.Len})
	}
	parts := make([]string, 0, len(ds))
	for _, c := range ds {
		parts = append(parts, fmt.Sprintf("[%d,%s]", c.id, text(c.ranges)))
	}
	out.WriteString("[" + strings.Join(parts, ",") + "]")
	return out.String(), r.Err()
}

// Where our answer is meant to differ from that of yjs, and why.
var (
	mergeDiffers = map[string]string{
		"same-client-twice":        "yjs forgets one section, we keep both",
		"ascending-client-order":   "yjs writes a client twice, we gather and order clients",
		"ds-zero-length":           "empty ranges are left out",
		"gc-zero-length":           "nothing to say at length 0",
		"ds-client-without-ranges": "left out",
	}
	vectorDiffers = map[string]string{
		"skip-leading":      "yjs takes a gap at the start of the first section for known: a peer would then keep it to itself",
		"skip-only":         "as skip-leading",
		"same-client-twice": "yjs writes the client twice",
	}
	diffDiffers = map[string]string{
		"same-client-twice": "yjs writes the client twice",
		"json-number-forms": "yjs writes JSON anew, we copy it",
	}
)

func TestMergeEqualsYjs(t *testing.T) {
	n := 0
	for _, c := range updateCases(t) {
		if c.TwoShapes || mergeDiffers[c.Name] != "" {
			continue
		}
		n++
		got, err := Merge(c.Updates...)
		compare(t, c.Name, got, err, c.Merged)
		reversed := slices.Clone(c.Updates)
		slices.Reverse(reversed)
		if c.MergedReversed.bytes != nil {
			got, err = Merge(reversed...)
			compare(t, c.Name+" reversed", got, err, c.MergedReversed)
		}
	}
	if n < 300 {
		t.Errorf("got %d cases compared, want at least 300", n)
	}
}

func TestVectorOfEqualsYjs(t *testing.T) {
	for _, c := range updateCases(t) {
		if vectorDiffers[c.Name] != "" {
			continue
		}
		of := func(update []byte) ([]byte, error) {
			v, err := VectorOf(update)
			return v.Append(nil), err
		}
		for i, want := range c.SVFromUpdate {
			got, err := of(c.Updates[i])
			compareVectors(t, fmt.Sprintf("%s %d", c.Name, i), got, err, want)
		}
		if c.Merged.bytes != nil {
			got, err := of(c.Merged.bytes)
			compareVectors(t, c.Name+" merged", got, err, c.SVFromMerged)
		}
	}
}

// compareVectors compares without regard to the order of clients: yjs writes them in the order of the update.
func compareVectors(t *testing.T, what string, got []byte, err error, want output) {
	t.Helper()
	if want.bytes != nil {
		v, e := DecodeStateVector(want.bytes)
		if e != nil {
			t.Fatal(e)
		}
		want.bytes = v.Append(nil)
	}
	compare(t, what, got, err, want)
}

func TestDiffEqualsYjs(t *testing.T) {
	for _, c := range updateCases(t) {
		if diffDiffers[c.Name] != "" {
			continue
		}
		for _, d := range c.Diffs {
			v, err := DecodeStateVector(d.SV)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Diff(c.Merged.bytes, v)
			compare(t, fmt.Sprintf("%s against %v", c.Name, v), got, err, d.Diff)
		}
	}
}

func TestMalformedInputIsRefused(t *testing.T) {
	var m struct {
		Cases []struct {
			Name  string
			Bytes []byte
			Want  string
		}
	}
	vectors(t, "malformed.json", &m)
	for _, c := range m.Cases {
		err := decode(c.Bytes)
		switch {
		case c.Want == "error" && err == nil:
			t.Errorf("%s: got no error", c.Name)
		case c.Want == "ok" && err != nil:
			t.Errorf("%s: got %v, want none", c.Name, err)
		case err != nil:
			e, ok := err.(*Error)
			if !ok || e.Offset < 0 || e.Offset > len(c.Bytes) || e.Reason == "" {
				t.Errorf("%s: got error %#v, want offset and reason", c.Name, err)
			}
		}
	}
}

// V2 of unsorted deletes is garbage from yjs, and can't say ranges of length 0.
var v2Differs = map[string]string{
	"single-noncanonical-verbatim": "yjs writes negative numbers for unsorted deletes",
	"ds-unsorted-overlapping":      "as above",
	"same-client-twice":            "yjs writes the client twice",
	"ascending-client-order":       "yjs merges it wrongly",
	"ds-zero-length":               "left out",
	"json-number-forms":            "yjs writes JSON anew, we copy it",
	"gc-zero-length":               "left out in merges",
}

func TestV2EqualsYjs(t *testing.T) {
	n := 0
	for _, c := range updateCases(t) {
		for i, want := range c.UpdatesV2 {
			if v2Differs[c.Name] != "" {
				continue
			}
			got, err := ToV2(c.Updates[i])
			compare(t, fmt.Sprintf("%s %d to V2", c.Name, i), got, err, want)
			n++
			if c.BackToV1 == nil {
				continue
			}
			got, err = FromV2(want.bytes, Limits{})
			compare(t, fmt.Sprintf("%s %d from V2", c.Name, i), got, err, c.BackToV1[i])
		}
		if v2Differs[c.Name] != "" {
			continue
		}
		if c.Merged.bytes != nil {
			got, err := ToV2(c.Merged.bytes)
			compare(t, c.Name+" merged to V2", got, err, c.MergedAsV2)
			for _, d := range c.Diffs {
				v, err := DecodeStateVector(d.SV)
				if err != nil {
					t.Fatal(err)
				}
				if d.DiffV2.bytes == nil {
					continue
				}
				// By way of V1, which forgets the mark of a key where there is an origin.
				got, err := Diff(c.Merged.bytes, v)
				want, err2 := FromV2(d.DiffV2.bytes, Limits{})
				if err == nil && err2 == nil {
					got, err = ToV2(got)
					want, err2 = ToV2(want)
				}
				if err2 != nil {
					t.Fatal(err2)
				}
				compare(t, fmt.Sprintf("%s against %v in V2", c.Name, v), got, err, output{bytes: want})
			}
		}
		if c.MergedV2.bytes != nil && !c.TwoShapes && len(c.Updates) > 1 {
			// Merging in V2 is merging in V1, but for the mark of a key where there is an origin: a merge that cuts the value
			// of a key sets it, and reading forgets it.
			back, err := FromV2(c.MergedV2.bytes, Limits{})
			if err != nil {
				t.Errorf("%s: merged V2: %v", c.Name, err)
				continue
			}
			theirs, err := ToV2(back)
			if err != nil {
				t.Fatal(err)
			}
			merged, err := Merge(c.Updates...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ToV2(merged)
			compare(t, c.Name+" merged, then V2", got, err, output{bytes: theirs})
			merged, err = FromV2(got, Limits{})
			compare(t, c.Name+" merged in V2", back, nil, output{bytes: merged})
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	}
	if n < 100 {
		t.Errorf("got %d conversions compared, want at least 100", n)
	}
}

func TestMalformedV2IsRefused(t *testing.T) {
	var m struct {
		Cases []struct {
			Name   string
			Bytes  []byte
			Decode json.RawMessage
			ToV1   output
		}
	}
	vectors(t, "malformed-v2.json", &m)
	for _, c := range m.Cases {
		got, err := FromV2(c.Bytes, Limits{})
		switch {
		case c.Name == "v2-rle-bomb-1e6":
			if !errors.Is(err, ErrLimit) {
				t.Errorf("%s: got %v, want ErrLimit", c.Name, err)
			}
		case c.ToV1.bytes != nil:
			compare(t, c.Name, got, err, c.ToV1)
		case err == nil:
			t.Errorf("%s: got no error", c.Name)
		default:
			e, ok := err.(*Error)
			if !ok || e.Offset < 0 || e.Offset > len(c.Bytes) || e.Reason == "" {
				t.Errorf("%s: got error %#v, want offset and reason", c.Name, err)
			}
		}
	}
}
