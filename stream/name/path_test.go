package name

import (
	"errors"
	"strings"
	"testing"
)

func TestPathsAreThoseOfTheContract(t *testing.T) {
	long := strings.Repeat("x", 201)
	for _, c := range []struct{ name, path string }{
		{"notes", "notes"},
		{"notes/todo.md", "notes.todo=2Emd"},
		{"A-Z_a-z/0-9", "A-Z_a-z.0-9"},
		{"a.b*c>d e=f", "a=2Eb=2Ac=3Ed=20e=3Df"},
		{"né/🙂", "n=C3=A9.=F0=9F=99=82"},
		{"$KV/x/>", "=24KV.x.=3E"},
		{"a/b/c/d/e/f/g/h/i/j/k/l", "a.b.c.d.e.f.g.h.i.j.k.l"},
		{strings.Repeat("x", 200), strings.Repeat("x", 200)},
		// printf '%0201d' 0 | tr 0 x | openssl dgst -sha256 -binary | base32 | head -c 32
		{long, "==QSQGPDEQSN7V3T4ZSTKYMZTI3JVZSUIJ"},
		// printf 'a/b/c/d/e/f/g/h/i/j/k/l/m' | openssl dgst -sha256 -binary | base32 | head -c 32
		{"a/b/c/d/e/f/g/h/i/j/k/l/m", "a.b.c.d.e.f.g.h.i.j.k.l.m.==5A2KYWM7FSVFI4IYBBDGZDMYSH4OBOHD"},
	} {
		d, err := Parse(c.name)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.name, err)
			continue
		}
		if got := d.Path(); got != c.path {
			t.Errorf("path of %q is %q, want %q", c.name, got, c.path)
		}
	}
}

func TestSlashesThatNameNothingAreDropped(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"/notes/x", "notes/x"}, {"notes/x/", "notes/x"}, {"notes//x", "notes/x"}, {"///notes///x///", "notes/x"}, {"a/ /b", "a/ /b"},
	} {
		if d, err := Parse(c.name); err != nil || string(d) != c.want {
			t.Errorf("Parse(%q) is %q, %v, want %q", c.name, d, err, c.want)
		}
	}
	// The limit is that of the canonical name.
	if d, err := Parse(strings.Repeat("/", 300) + "x"); err != nil || d != "x" {
		t.Errorf("300 slashes and x: %q, %v", d, err)
	}
	for _, c := range []struct{ prefix, want string }{
		{"", ""}, {"/", ""}, {"//", ""}, {"notes/", "notes/"}, {"/notes//", "notes/"}, {"notes", "notes"}, {"a//b", "a/b"},
	} {
		if got := Prefix(c.prefix); got != c.want {
			t.Errorf("Prefix(%q) is %q, want %q", c.prefix, got, c.want)
		}
	}
}

func TestLongPathsAreCutBetweenSegments(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{
		strings.Repeat("a", 119) + "/b/" + strings.Repeat("c", 100),
		strings.Repeat("a", 118) + "/b/" + strings.Repeat("c", 100),
		strings.Repeat("a", 120) + "/b/" + strings.Repeat("c", 100),
		strings.Repeat("a", 121) + "/b/" + strings.Repeat("c", 100),
		strings.Repeat(".", 40) + "/" + strings.Repeat(".", 40), strings.Repeat(".", 41) + "/" + strings.Repeat(".", 40),
		strings.Repeat("a/", 100) + "b", strings.Repeat("a/", 100) + "c",
	} {
		path := Doc(name).Path()
		folders, hash, ok := strings.Cut(path, "==")
		if !ok || len(hash) != hashChars || len(folders) > cutPath+1 || !ValidKey(path) {
			t.Errorf("path of %.20q… is %q", name, path)
			continue
		}
		if folders != "" {
			if !strings.HasPrefix(strings.ReplaceAll(name, ".", "=2E"), strings.ReplaceAll(folders, ".", "/")) {
				t.Errorf("%q does not begin with the folders of %q", path, name)
			}
		}
		if other, dup := seen[path]; dup {
			t.Errorf("%q and %q have the same path", name, other)
		}
		seen[path] = name
		if _, ok := FromPath(path); ok {
			t.Errorf("%q is hashed, and was read back", path)
		}
	}
}

func TestBadNamesAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "/", "//", " ", "\u00a0\u2003", " / ", strings.Repeat("x", 256), "a\x00b", "a\rb", "a\nb", "a\tb", "a\x7fb", "a\u0085b", "a\xffb", "\xed\xa0\x80",
		".", "..", "a/../b", "a/.", "./a", "/../a", "a//..",
	} {
		if d, err := Parse(name); !errors.Is(err, Err) {
			t.Errorf("Parse(%q) is %q, %v, want Err", name, d, err)
		}
	}
}

func TestOnlyPathsThatWeWriteAreReadBack(t *testing.T) {
	for _, path := range []string{"", "=", "=2", "=2e", "=41", "a=2Eb=", "a=00", "=FF", "a..b", ".a", "a.", "a b", "==", "=2E=2E", "=2E", "a=2Fb", "a/b", "=skip"} {
		if d, ok := FromPath(path); ok {
			t.Errorf("FromPath(%q) is %q, want none", path, d)
		}
	}
}

// matches is how NATS compares a filter with a subject.
func matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(f) == len(s)
}

// TestNoFilterOfADocumentMatchesAnother: documents and folders share their names, and names look like attempts, numbers and clients.
func TestNoFilterOfADocumentMatchesAnother(t *testing.T) {
	docs := []Doc{"a", "a/b", "a/b/c", "b", "b/a", "a/5", "a/5/7", "5", "head", "head/a", "part/a", "part/ATT/0/a", "1/2/ATT/a", "a/ATT/0", "ATT/0/a", "0/a", "*", ">", "a/*", "a/>",
		"==/a", "version/a", Doc(strings.Repeat("a/", 20) + "b"), Doc(strings.Repeat("a/", 20) + "c"), Doc(strings.Repeat("x", 201)), Doc("a/" + strings.Repeat("x", 201))}
	const s = Shard(0)
	for _, mine := range docs {
		p := mine.Path()
		filters := []string{s.Subject(Log, p), s.Head(p), s.Parts(p), s.Segments(p), Presence(Clients(p)), Meta("version.*." + p), Meta("erased." + p)}
		for _, other := range docs {
			q := other.Path()
			n := 0
			for _, subject := range []string{s.Subject(Log, q), s.Head(q), s.Part(q, "ATT", 0), s.Segment(q, 1, 2, "ATT"), Presence(Client(q, 7)),
				Meta("version." + Token("v/1.0") + "." + q), Meta("erased." + q)} {
				for _, f := range filters {
					if matches(f, subject) {
						n++
					}
				}
			}
			if want := map[bool]int{true: len(filters)}[mine == other]; n != want {
				t.Errorf("%d subjects of %q match the filters of %q, want %d", n, other, mine, want)
			}
		}
	}
}

func TestFoldersFilterAllThatBeginsWithThem(t *testing.T) {
	deep := strings.Repeat("segment/", 20)
	names := []string{"a", "ab", "a/b", "a/bc", "a/b/c", "b", deep + "x", deep + "y/z", strings.Repeat("y", 130) + "/" + strings.Repeat("z", 100), "n.o/x"}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", deep, deep + "x", strings.Repeat("y", 130) + "/", strings.Repeat("y", 130) + "/z", "n.o/", "*/", ">/"} {
		f := Folder(prefix)
		if !ValidFilter(f) {
			t.Errorf("Folder(%q) is %q", prefix, f)
		}
		for _, n := range names {
			if strings.HasPrefix(n, prefix) && !matches(f, Doc(n).Path()) {
				t.Errorf("Folder(%q) is %q, which misses %q", prefix, f, n)
			}
		}
	}
	for prefix, want := range map[string]string{"a/": "a.>", "a/b": "a.>", "a/b/": "a.b.>", "a": ">", "n.o/": "n=2Eo.>"} {
		if got := Folder(prefix); got != want {
			t.Errorf("Folder(%q) is %q, want %q", prefix, got, want)
		}
	}
}

func TestBlobSubjectsAreReadAsTheyAreWritten(t *testing.T) {
	const s = Shard(7)
	for _, path := range []string{"a", "a.b", "1.2.ATT.a"} {
		if b, ok := ParseBlob(s.Part(path, "ATT", 3)); !ok || b != (Blob{Kind: Snap, Shard: s, Attempt: "ATT", Part: 3, Path: path}) {
			t.Errorf("chunk of %q was read as %+v, %v", path, b, ok)
		}
		if b, ok := ParseBlob(s.Segment(path, 12, 9120, "ATT")); !ok || b != (Blob{Kind: Hist, Shard: s, Attempt: "ATT", From: 12, To: 9120, Path: path}) {
			t.Errorf("segment of %q was read as %+v, %v", path, b, ok)
		}
	}
	for _, bad := range []string{"", "ysnap.07.head.a", "ysnap.07.head.ATT.0.a", "ysnap.07.part.ATT.x.a", "ysnap.07.part.ATT.0", "ysnap.7.part.ATT.0.a", "ysnap.99.part.ATT.0.a",
		"yhist.07.1.2.ATT", "yhist.07.a.2.ATT.d", "ydoc.07.part.ATT.0.a", "ysnap.07.part.*.*.a", "ysnap.07.part.ATT.0.>", "ysnap.07.part.ATT.0.a b", "ysnap.07.part.ATT.-1.a"} {
		if b, ok := ParseBlob(bad); ok {
			t.Errorf("%q was read as %+v", bad, b)
		}
	}
}

func TestTokensAreOneToken(t *testing.T) {
	for _, c := range []struct{ text, token string }{{"v1", "v1"}, {"v/1.0", "v=2F1=2E0"}, {"é", "=C3=A9"}, {"*", "=2A"}} {
		if got := Token(c.text); got != c.token {
			t.Errorf("token of %q is %q, want %q", c.text, got, c.token)
		}
	}
	for pad := range 3 {
		token := Token(strings.Repeat("a", pad) + strings.Repeat(".", 100))
		head, hash, ok := strings.Cut(token, "==")
		if _, whole := FromPath(head); !ok || !whole || len(hash) != hashChars || len(head) > cutPath {
			t.Errorf("token of %d letters and 100 dots is %q", pad, token)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"a", "a.b/c", "é*>", strings.Repeat("é", 120), "=2E", "/a//b/", strings.Repeat("a/", 30)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(string(d)); err != nil || again != d {
			t.Fatalf("canonical name %q of %q became %q, %v", d, s, again, err)
		}
		path := d.Path()
		if len(path) > maxPath || !ValidKey(path) {
			t.Fatalf("path of %q is %q", d, path)
		}
		back, ok := FromPath(path)
		if ok == Hashed(path) || ok && back != d {
			t.Fatalf("path %q of %q was read as %q, %v", path, d, back, ok)
		}
		if !matches(Folder(string(d)), path) {
			t.Fatalf("folder of %q misses %q", d, path)
		}
	})
}

func FuzzHeaderValues(f *testing.F) {
	for _, s := range []string{"", " ", "a", "100%", "%41", "a\r\nb: c", " \x00 ", "é "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := EscapeHeader(s)
		if strings.ContainsAny(e, "\r\n\x00") || strings.TrimSpace(e) != e && strings.Trim(e, " \t") != e {
			t.Fatalf("%q became %q", s, e)
		}
		if got := UnescapeHeader(e); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}
