package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		pattern, name, sub string
		ok                 bool
	}{
		{"notes", "notes", "u", true},
		{"notes", "note", "u", false},
		{"notes", "notes2", "u", false},
		{"notes", "Notes", "u", false},
		{"*", "notes", "u", true},
		{"*", "notes/a", "u", false},
		{"**", "notes/a/b", "u", true},
		{"notes/*", "notes/a", "u", true},
		{"notes/*", "notes/", "u", true},
		{"notes/*", "notes", "u", false},
		{"notes/*", "notes/a/b", "u", false},
		{"notes/**", "notes/a/b", "u", true},
		{"notes/**", "notes", "u", false},
		{"notes/**", "notesx/a", "u", false},
		{"**/draft", "a/b/draft", "u", true},
		{"**/draft", "draft", "u", false},
		{"a/**/z", "a/b/c/z", "u", true},
		{"a/**/z", "a//z", "u", true},
		{"a/**/z", "a/z", "u", false},
		{"team-*/x", "team-1/x", "u", true},
		{"team-*/x", "team-1/2/x", "u", false},
		{"*a*b*c", "xxaxxbxxc", "u", true},
		{"*a*b*c", "xxaxxcxxb", "u", false},
		{"a.b", "axb", "u", false},
		{"[ab]", "a", "u", false},
		{"[ab]", "[ab]", "u", true},
		{"?", "a", "u", false},
		{`\*`, "*", "u", false},
		{"é/*", "é/ü", "u", true},
		{"users/{sub}", "users/u", "u", true},
		{"users/{sub}", "users/v", "u", false},
		{"users/{sub}/**", "users/u/a/b", "u", true},
		{"users/{sub}/**", "users/u2/a", "u", false},
		{"users/{sub}/**", "users/u", "u", false},
		{"users/{sub}/**", "users//a", "", false},
		{"users/{sub}/**", "users/v/a", "*", false},
		{"users/{sub}/**", "users/*/a", "*", true},
		{"users/{sub}/**", "users/v/a", "**", false},
		{"users/{sub}/**", "users/v/w/a", "v/w", false},
		{"users/{sub}/**", "users/{sub}/a", "{sub}", true},
		{"users/{sub}/**", "users/v/a", "{sub}", false},
		{"notes-{sub}", "notes-u", "u", true},
		{"notes-{sub}", "notes-u2", "u", false},
		{"**/{sub}", "a/b/u", "u", true},
		{"**/{sub}", "a/b/xu", "u", false},
		{"{sub}", "u", "u", true},
		{strings.Repeat("*a", 100), strings.Repeat("a", 255), "u", true},
		{strings.Repeat("*a", 100) + "b", strings.Repeat("a", 255), "u", false},
		{"**", strings.Repeat("a", 256), "u", false},
	} {
		g, err := parseGlob(c.pattern, true)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		if got := g.match(c.name, c.sub); got != c.ok {
			t.Errorf("%q, document %q, sub %q: got %v, want %v", c.pattern, c.name, c.sub, got, c.ok)
		}
	}
	for _, pattern := range []string{"", "***", "a/***", "users/{sub}*", "users/*{sub}", "{sub}{sub}", "users/{sub}-x", "{user}", "users/{sub", "a}", strings.Repeat("a", maxGlob+1)} {
		if _, err := parseGlob(pattern, true); err == nil {
			t.Errorf("%.20q: parsed, want an error", pattern)
		}
	}
}

// slowMatch says the same by trying every way.
func slowMatch(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case strings.HasPrefix(pattern, "**"):
		for i := 0; i <= len(name); i++ {
			if slowMatch(pattern[2:], name[i:]) {
				return true
			}
		}
		return false
	case pattern[0] == '*':
		for i := 0; i <= len(name); i++ {
			if slowMatch(pattern[1:], name[i:]) {
				return true
			}
			if i < len(name) && name[i] == '/' {
				return false
			}
		}
		return false
	default:
		return name != "" && name[0] == pattern[0] && slowMatch(pattern[1:], name[1:])
	}
}

func FuzzGlobMatchesLikeTheSlowOne(f *testing.F) {
	f.Add("a/*/**/z*", "a/b/c/d/zz")
	f.Add("**a*", "aa/a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 24 {
			t.Skip()
		}
		g, err := parseGlob(pattern, false)
		if err != nil {
			t.Skip()
		}
		if got, want := g.match(name, ""), slowMatch(pattern, name); got != want {
			t.Errorf("%q, %q: got %v, want %v", pattern, name, got, want)
		}
	})
}

// Whatever a user is called, {sub} is that text and one segment: a document it opens has the name itself in that place, and
// one name never opens what another's does.
func FuzzSubIsNeverAGlob(f *testing.F) {
	for _, s := range []string{"u", "*", "**", "{sub}", "a/b", "../x", "u/**", "", "ü", "\\", "[a-z]", "%2f", "u\x00"} {
		f.Add(s, "v")
		f.Add("v", s)
	}
	own, _ := parseGlob("users/{sub}/**", true)
	f.Fuzz(func(t *testing.T, sub, other string) {
		if len(sub) > 100 || len(other) > 100 {
			t.Skip()
		}
		whole := sub != "" && !strings.Contains(sub, "/")
		if got := own.match("users/"+sub+"/x", sub); got != whole {
			t.Errorf("sub %q on its own document: got %v, want %v", sub, got, whole)
		}
		if sub != other && !strings.HasPrefix(other, sub+"/") && own.match("users/"+other+"/x", sub) {
			t.Errorf("sub %q opens the document of %q", sub, other)
		}
	})
}

func TestRulesFileGrantsByRoleAndName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(file, []byte(`{"rules": [
		{"match": "users/{sub}/**", "access": "rw", "note": "one's own"},
		{"match": "handbook/**", "access": "r"},
		{"match": "handbook/draft", "access": "rw", "role": "editor"},
		{"match": "tours/*", "access": "r", "role": "anon"},
		{"match": "lobby", "access": "rw", "role": "*"}
	]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a, log := newTest(t, Options{SupabaseSecret: testSecret, RulesFile: file})
	if strings.Contains(log.String(), "every authenticated user") {
		t.Error("warned, though rules are configured")
	}
	hs := hmacKey(testSecret)
	for _, c := range []struct {
		doc  string
		who  claims
		want Mode
	}{
		{"users/u/a", claims{"sub": "u"}, ReadWrite},
		{"users/v/a", claims{"sub": "u"}, None},
		{"users/v/a", claims{"sub": "*"}, None},
		{"users/v/a", claims{"sub": "**"}, None},
		{"users/v/w/a", claims{"sub": "v/w"}, None},
		{"handbook/a/b", claims{}, Read},
		{"handbook/draft", claims{}, Read},
		{"handbook/draft", claims{"role": "editor"}, ReadWrite},
		{"handbook/draft", claims{"is_anonymous": true}, None},
		{"tours/x", claims{}, None},
		{"tours/x", claims{"is_anonymous": true}, Read},
		{"lobby", claims{"is_anonymous": true}, ReadWrite},
		{"lobby", claims{}, ReadWrite},
		{"elsewhere", claims{}, None},
		// The claim answers first where it matches, and what users write of themselves never.
		{"handbook/x", claims{"app_metadata": claims{"docs": []string{"doc:handbook/*:rw"}}}, ReadWrite},
		{"users/u/a", claims{"sub": "u", "app_metadata": claims{"docs": []string{"doc:users/u/*:r"}}}, Read},
		{"users/u/b", claims{"sub": "u", "app_metadata": claims{"docs": []string{"doc:other:r"}}}, ReadWrite},
		{"elsewhere", claims{"user_metadata": claims{"docs": []string{"doc:**:rw"}}}, None},
		{"elsewhere", claims{"docs": []string{"doc:**:rw"}}, None},
	} {
		g, err := a.Grant(t.Context(), Request{Doc: c.doc, Token: hs.token("x", c.who)})
		if g.Mode != c.want || (err == nil) != (c.want != None) || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%q as %v: got %v %v, want %v", c.doc, c.who, g.Mode, err, c.want)
		}
	}
}

func TestDocsClaimIsAUnionOfWhatCanBeRead(t *testing.T) {
	a, log := newTest(t, Options{SupabaseSecret: testSecret})
	if !strings.Contains(log.String(), "every authenticated user reads and writes") {
		t.Error("no warning that every user reads and writes")
	}
	hs := hmacKey(testSecret)
	for _, c := range []struct {
		docs any
		doc  string
		want Mode
	}{
		{[]any{"doc:a:r", "doc:*:r", "doc:a:rw"}, "a", ReadWrite},
		{[]any{"doc:a:r"}, "a", Read},
		{[]any{"doc:a:r"}, "b", None},
		{"doc:a:rw", "a", ReadWrite},
		{[]any{}, "a", None},
		{nil, "a", None}, // a claim that is null is there
		{[]any{"doc:a:w", "doc:a:RW", "doc:a", "a:rw", "doc::rw", "doc:***:rw", 7, nil, []any{"doc:a:rw"}}, "a", None},
		{[]any{"doc:a:b:r"}, "a:b", Read},
		{[]any{"doc:{sub}:rw"}, "{sub}", ReadWrite},
		{[]any{"doc:{sub}:rw"}, "u", None},
		{[]any{"doc:**:r", "doc:notes/**:rw"}, "notes/x", ReadWrite},
		{[]any{"doc:**:r", "doc:notes/**:rw"}, "other", Read},
		{map[string]any{"**": "rw"}, "a", None},
	} {
		g, _ := a.Grant(t.Context(), Request{Doc: c.doc, Token: hs.token("x", claims{"sub": "u", "app_metadata": map[string]any{"docs": c.docs}})})
		if g.Mode != c.want {
			t.Errorf("%v on %q: got %v, want %v", c.docs, c.doc, g.Mode, c.want)
		}
	}
	named, _ := newTest(t, Options{SupabaseSecret: testSecret, Claim: "rights"})
	if _, err := named.Grant(t.Context(), Request{Doc: "a", Token: hs.token("x", nil)}); !errors.Is(err, ErrForbidden) {
		t.Errorf("a token without the claim that was named: got %v, want ErrForbidden", err)
	}
	if g, err := named.Grant(t.Context(), Request{Doc: "a", Token: hs.token("x", claims{"rights": "doc:a:rw"})}); g.Mode != ReadWrite {
		t.Errorf("a token with the claim that was named: got %v, want rw", err)
	}
}

func TestMistakesInARulesFileAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		``:                                "not a list",
		`{}`:                              "want {",
		`null`:                            "want {",
		`{"rules": null}`:                 "want {",
		`{"rule": []}`:                    "unknown field",
		`[{"match":"a"}]`:                 "rule 1, access",
		`[{"match":"a","access":"w!"}]`:   "rule 1, access",
		`[{"match":"a","access":"none"}]`: "no rule takes a right away",
		`[{"match":"a","access":"r"},{"match":"","access":"r"}]`:      "rule 2, match",
		`[{"match":"{sub}*","access":"r"}]`:                           "{sub} must end",
		`[{"match":"{email}","access":"r"}]`:                          "only thing in braces",
		`[{"match":"a","access":"r","deny":true}]`:                    "unknown field",
		`[{"match":"a","access":"r"}] [{"match":"**","access":"rw"}]`: "something follows",
		`[{"match":1,"access":"r"}]`:                                  "not a list",
	} {
		if _, err := parseRules([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", text, err, want)
		}
	}
	for text, n := range map[string]int{`[]`: 0, ` {"rules":[]} `: 0, `[{"match":"a","access":"read"}]`: 1} {
		if rules, err := parseRules([]byte(text)); err != nil || len(rules) != n {
			t.Errorf("%s: got %d rules, %v, want %d", text, len(rules), err, n)
		}
	}
}
