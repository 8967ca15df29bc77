package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var hostile = []string{
	"*", ">", "a.b", "a b", "a*b>c", "$KV.ymeta.shards", "$JS.API.INFO", "_INBOX.x", "=", "==", "=2E", "a==B", "%2F", "né", "🙂🙂",
	"a/b", "a/b/c", "a/*", "a/>", "-", "'\"<script>", "{\"a\":1}", "a\u2028b", "A", "a",
	strings.Repeat("🙂", 63), strings.Repeat(".", 255), strings.Repeat("x", 255), strings.Repeat("x", 254) + "y",
}

func TestHostileNamesAreDocumentsOfTheirOwn(t *testing.T) {
	l, _ := open(t, Config{})
	for i, name := range hostile {
		doc, err := ParseDoc(name)
		if err != nil {
			t.Fatalf("ParseDoc(%q): %v", name, err)
		}
		tl, s := tail(t, l, doc)
		mustAppend(t, l.Writer(doc), fmt.Sprint(i), "second")
		eventually(t, "both records", func() bool { return s.len() == 2 })
		tl.Close()
		if _, err := l.presence.Put(within(t, 5*time.Second), doc, Presence{Client: uint64(i)}); err != nil {
			t.Errorf("presence of %q: %v", name, err)
		}
		if _, err := l.blobs.PutHead(within(t, 5*time.Second), doc, Blob{Data: []byte(name)}, 0); err != nil {
			t.Errorf("snapshot of %q: %v", name, err)
		}
	}
	docs, err := l.Docs(within(t, 10*time.Second), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range docs {
		names = append(names, string(d.Doc))
		if d.Records != 2 || d.Bytes != len("second") || time.Since(d.LastAt) > time.Minute {
			t.Errorf("listing of %q: %+v", d.Doc, d)
		}
		if h, err := l.Head(within(t, 5*time.Second), d.Doc); err != nil || h != d.Last {
			t.Errorf("%q: listed with last %d, head is %d, %v", d.Doc, d.Last, h, err)
		}
	}
	want := slices.Sorted(slices.Values(hostile))
	if !slices.Equal(names, want) {
		t.Errorf("listed:\n%q\nwant:\n%q", names, want)
	}
	for i, name := range hostile {
		recs := checkLog(t, l, Doc(name))
		if len(recs) != 2 || string(recs[0].Update) != fmt.Sprint(i) {
			t.Errorf("log of %q is %d records", name, len(recs))
		}
		ps, err := l.presence.List(within(t, 5*time.Second), Doc(name))
		if err != nil || len(ps) != 1 || ps[0].Client != uint64(i) {
			t.Errorf("presence of %q is %+v, %v", name, ps, err)
		}
		b, ok, err := l.blobs.Head(within(t, 5*time.Second), Doc(name))
		if err != nil || !ok || string(b.Data) != name {
			t.Errorf("snapshot of %q is %+v, %v, %v", name, b, ok, err)
		}
	}
	page, err := l.Docs(within(t, 10*time.Second), "a", "a b", 2)
	if err != nil || len(page) != 2 || page[0].Doc != "a*b>c" || page[1].Doc != "a.b" {
		t.Errorf("page after \"a b\" is %+v, %v", page, err)
	}
	// Where few of the names are the caller's, a page looks at so many and no more, is short, and goes on with a cursor.
	var asked, pages int
	var mine []string
	for after := ""; pages == 0 || after != ""; pages++ {
		before := asked
		found, next, err := l.DocsThat(within(t, 10*time.Second), "", after, 2, 5, func(d Doc) bool { asked++; return strings.HasPrefix(string(d), "a/") })
		if err != nil || asked-before > 5 || len(found) > 2 || next != "" && next <= after {
			t.Fatalf("page after %q: %d documents of %d names, next %q, %v; want at most 2 of 5", after, len(found), asked-before, next, err)
		}
		for _, d := range found {
			if mine = append(mine, string(d.Doc)); d.Last == 0 {
				t.Errorf("%q is listed without its last record", d.Doc)
			}
		}
		after = next
	}
	wantMine := slices.DeleteFunc(slices.Clone(want), func(n string) bool { return !strings.HasPrefix(n, "a/") })
	if asked != len(want) || pages < len(want)/5 || !slices.Equal(mine, wantMine) {
		t.Errorf("%d pages of %d names show %q, want %q of %d", pages, asked, mine, wantMine, len(want))
	}
	// Erasing one leaves all others.
	if err := l.Erase(within(t, 10*time.Second), Doc(hostile[0])); err != nil {
		t.Fatal(err)
	}
	if docs, err = l.Docs(within(t, 10*time.Second), "", "", 0); err != nil || len(docs) != len(hostile)-1 {
		t.Errorf("after erasing one of %d: %d, %v", len(hostile), len(docs), err)
	}
	if ps, err := l.presence.List(within(t, 5*time.Second), Doc(hostile[0])); err != nil || len(ps) != 0 {
		t.Errorf("presence of an erased document is %+v, %v", ps, err)
	}
	if _, ok, err := l.blobs.Head(within(t, 5*time.Second), Doc(hostile[0])); err != nil || ok {
		t.Errorf("an erased document has a snapshot: %v, %v", ok, err)
	}
}

func TestReplayPagesThroughLongLogs(t *testing.T) {
	l, _ := open(t, Config{Durability: "process"})
	const n = 5000
	w, noise := l.Writer("long"), l.Writer("noise")
	var seqs []Seq
	for len(seqs) < n {
		entries := make([]Entry, 500)
		for i := range entries {
			entries[i].Update = fmt.Append(nil, len(seqs)+i)
		}
		s, err := appendAll(within(t, 30*time.Second), w, entries...)
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, s...)
		mustAppend(t, noise, "x")
	}
	big := mustAppend(t, w, strings.Repeat("b", 3<<20), strings.Repeat("c", 2<<20))
	if recs := checkLog(t, l, "long"); len(recs) != n+2 || len(recs[n].Update) != 3<<20 {
		t.Errorf("%d records, want %d", len(recs), n+2)
	}
	for _, c := range []struct{ after, upto Seq }{{0, seqs[0]}, {seqs[10], seqs[1999]}, {seqs[n-1], 0}, {big[1], 0}, {seqs[5], seqs[5]}, {0, seqs[700] - 1}} {
		var want []Seq
		for _, s := range append(slices.Clone(seqs), big...) {
			if s > c.after && (s <= c.upto || c.upto == 0) {
				want = append(want, s)
			}
		}
		var got []Seq
		for _, r := range replay(t, l, "long", c.after, c.upto) {
			got = append(got, r.Seq)
		}
		if !slices.Equal(got, want) {
			t.Errorf("replay after %d up to %d: %d records, want %d", c.after, c.upto, len(got), len(want))
		}
	}
	count := 0
	for _, err := range l.Replay(within(t, 10*time.Second), "long", 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 3 {
			break
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range l.Replay(ctx, "long", 0, seqs[10]) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("replay in an ended context: %v", err)
		}
	}
}

func TestTrimKeepsTheRecordItNames(t *testing.T) {
	l, _ := open(t, Config{})
	w := l.Writer("d")
	seqs := mustAppend(t, w, "1", "2", "3", "4")
	other := mustAppend(t, l.Writer("e"), "x")
	if err := l.Trim(within(t, 5*time.Second), "d", seqs[2]); err != nil {
		t.Fatal(err)
	}
	if recs := replay(t, l, "d", 0, 0); len(recs) != 2 || recs[0].Seq != seqs[2] {
		t.Errorf("left: %+v, want from %d on", recs, seqs[2])
	}
	if recs := replay(t, l, "e", 0, 0); len(recs) != 1 || recs[0].Seq != other[0] {
		t.Errorf("another document: %+v", recs)
	}
	if err := l.Trim(within(t, 5*time.Second), "d", 0); err == nil {
		t.Error("trim below 0 was done")
	}
}
