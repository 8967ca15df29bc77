package stream

import (
	"errors"
	"strings"
	"testing"
)

func TestTokensAreThoseOfTheContract(t *testing.T) {
	for _, c := range []struct{ name, token string }{
		{"notes/todo.md", "notes/todo=2Emd"},
		{"A-Z_a-z/0-9", "A-Z_a-z/0-9"},
		{"a.b*c>d e=f", "a=2Eb=2Ac=3Ed=20e=3Df"},
		{"né", "n=C3=A9"},
		{"🙂", "=F0=9F=99=82"},
		{"$KV.x", "=24KV=2Ex"},
		{strings.Repeat("x", 200), strings.Repeat("x", 200)},
		// printf '%0201d' 0 | tr 0 x | openssl dgst -sha256 -binary | base32 | head -c 32
		{strings.Repeat("x", 201), strings.Repeat("x", 120) + "==" + "QSQGPDEQSN7V3T4ZSTKYMZTI3JVZSUIJ"},
	} {
		d, err := ParseDoc(c.name)
		if err != nil {
			t.Errorf("ParseDoc(%q): %v", c.name, err)
			continue
		}
		if got := d.Token(); got != c.token {
			t.Errorf("token of %q is %q, want %q", c.name, got, c.token)
		}
	}
}

func TestLongTokensAreCutOutsideOfEscapes(t *testing.T) {
	seen := map[string]string{}
	for pad := range 6 {
		for _, end := range []string{"", "1", "."} {
			name := strings.Repeat("a", pad) + strings.Repeat(".", 100) + end
			token := Doc(name).Token()
			head, _, ok := strings.Cut(token, "==")
			if !ok || len(token) != len(head)+2+hashToken || len(head) > cutToken || len(head) < cutToken-2 {
				t.Errorf("token of %d dots after %d letters is %q", 100, pad, token)
			}
			if _, ok := docOfToken(head); !ok {
				t.Errorf("%q is cut inside an escape", head)
			}
			if other, dup := seen[token]; dup {
				t.Errorf("%q and %q have the same token", name, other)
			}
			seen[token] = name
			if _, ok := docOfToken(token); ok {
				t.Errorf("%q is hashed, and was read back", token)
			}
		}
	}
}

func TestBadNamesAreRefused(t *testing.T) {
	for _, name := range []string{
		"", strings.Repeat("x", 256), "a\x00b", "a\rb", "a\nb", "a\tb", "a\x7fb", "a\u0085b", "a\xffb", "\xed\xa0\x80",
		".", "..", "a/../b", "a/.", "./a",
	} {
		if d, err := ParseDoc(name); !errors.Is(err, ErrName) {
			t.Errorf("ParseDoc(%q) is %q, %v, want ErrName", name, d, err)
		}
	}
}

func TestOnlyTokensThatWeWriteAreReadBack(t *testing.T) {
	for _, token := range []string{"", "=", "=2", "=2e", "=41", "a=2Eb=", "a=00", "=FF", "a.b", "a b", "==", "=2E=2E"} {
		if d, ok := docOfToken(token); ok {
			t.Errorf("docOfToken(%q) is %q, want none", token, d)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"a", "a.b/c", "é*>", strings.Repeat("é", 120), "=2E"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		d, err := ParseDoc(name)
		if err != nil {
			return
		}
		token := d.Token()
		if len(token) > maxToken || !validKey(token) || strings.Contains(token, ".") {
			t.Fatalf("token of %q is %q", name, token)
		}
		back, ok := docOfToken(token)
		if ok == hashed(token) || ok && back != d {
			t.Fatalf("token %q of %q was read as %q, %v", token, name, back, ok)
		}
	})
}

func FuzzHeaderValues(f *testing.F) {
	for _, s := range []string{"", " ", "a", "100%", "%41", "a\r\nb: c", " \x00 ", "é "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := escapeHeader(s)
		if strings.ContainsAny(e, "\r\n\x00") || strings.TrimSpace(e) != e && strings.Trim(e, " \t") != e {
			t.Fatalf("%q became %q", s, e)
		}
		if got := unescapeHeader(e); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

func TestSumsAreReadAsTheyAreWritten(t *testing.T) {
	s := Sum{CRC: 0x00ab00cd, Writer: 0x0102030405060708, N: 12345}
	if got, want := s.String(), "00ab00cd-0102030405060708-12345"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, ok := parseSum(s.String()); !ok || got != s {
		t.Errorf("read back as %v, %v", got, ok)
	}
	for _, bad := range []string{"", "00ab00cd-0102030405060708-", "00ab00cd-0102030405060708-0", "00ab00cd-0000000000000000-1",
		"00ab00cd-0102030405060708--1", "00ab00cd_0102030405060708-1", "x0ab00cd-0102030405060708-1", "00ab00cd-010203040506070-11"} {
		if got, ok := parseSum(bad); ok {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
	// "123456789" is the check value of CRC-32C.
	if got := Checksum([]byte("123456789")); got != "e3069283" {
		t.Errorf("checksum is %s, want e3069283", got)
	}
}
