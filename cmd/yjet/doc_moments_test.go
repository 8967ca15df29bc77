package main

import (
	"strings"
	"testing"

	"yjet/internal/testlog"
)

// TestADocumentTravelsInTimeFromTheShell: versions, restoring, and copies of the past, as a person uses them after a mistake.
func TestADocumentTravelsInTimeFromTheShell(t *testing.T) {
	r := start(t, devArgs(t.TempDir())...)
	doc := func(code int, args ...string) string {
		t.Helper()
		got, out, errs := called(t, "", append([]string{"doc", "--url", r.url}, args...)...)
		if got != code || (code == 0) != (errs == "") {
			t.Fatalf("doc %q = %d, want %d: %s%s", args, got, code, out, errs)
		}
		return out + errs
	}
	text := func(name string, at ...string) string {
		t.Helper()
		return strings.TrimSpace(doc(0, append([]string{"get", name, "--format", "text", "--type", "t:text"}, at...)...))
	}
	typing := &typist{client: 7, root: "t"}
	write := func() {
		t.Helper()
		if code, _, errs := called(t, string(typing.next()), "doc", "--url", r.url, "import", "plan", "--merge"); code != 0 {
			t.Fatal(errs)
		}
	}
	write()
	write()
	if out := doc(0, "versions", "plan", "--add", "first draft"); !strings.HasPrefix(out, `version "first draft" of plan at sequence `) {
		t.Errorf("versions --add says %q", out)
	}
	write()
	if got := text("plan"); got != "abc" {
		t.Fatalf("the document is %q", got)
	}
	if got := text("plan", "--at", "first draft"); got != "ab" {
		t.Errorf("at the version it is %q, want ab", got)
	}
	if out := doc(1, "versions", "plan", "--add", "first draft"); !strings.Contains(out, "exists") {
		t.Errorf("the same name again: %q", out)
	}
	if out := doc(0, "copy", "plan", "plan-old", "--at", "first draft"); !strings.HasPrefix(out, "plan-old begins at sequence ") || text("plan-old") != "ab" {
		t.Errorf("copy says %q, and the copy is %q", out, text("plan-old"))
	}
	if out := doc(1, "copy", "plan", "plan-old"); !strings.Contains(out, "plan-old") && !strings.Contains(out, "not new") {
		t.Errorf("a copy onto a document that is there: %q", out)
	}
	if out := doc(0, "restore", "plan", "first draft"); !strings.HasPrefix(out, "plan restored by sequence ") || text("plan") != "ab" {
		t.Errorf("restore says %q, and the document is %q", out, text("plan"))
	}
	if out := doc(0, "restore", "plan", "--at", "first draft"); out != "plan is as it was at \"first draft\"\n" {
		t.Errorf("restoring it again says %q", out)
	}
	if out := doc(1, "restore", "plan", "no such version"); !strings.Contains(out, "bad-moment") {
		t.Errorf("restoring no version: %q", out)
	}
	out := doc(0, "show", "plan")
	for _, want := range []string{"document  plan\n", "sequence  ", "state     ", `version   "first draft" at `, "USERS"} {
		if !strings.Contains(out, want) {
			t.Errorf("show has no %q:\n%s", want, out)
		}
	}
	if out := doc(0, "log", "plan", "--from", "first draft"); strings.Count(out, "\n") >= strings.Count(doc(0, "log", "plan"), "\n") {
		t.Errorf("the log from a version on is\n%s", out)
	}
	if out := doc(0, "versions", "plan", "--remove", "first draft"); out != "" || doc(0, "versions", "plan") != "" {
		t.Errorf("after the removal: %q, %q", out, doc(0, "versions", "plan"))
	}
	if out := doc(1, "versions", "plan", "--remove", "first draft"); !strings.Contains(out, "not-found") && !strings.Contains(out, "no version") {
		t.Errorf("the removal of no version: %q", out)
	}
	if got := text("plan"); got != "ab" {
		t.Errorf("without the version the document is %q", got)
	}
}

// TestTheServersRefusalReachesTheShell: one line on stderr says what was refused, and no token.
func TestTheServersRefusalReachesTheShell(t *testing.T) {
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz"
	r := start(t, "serve", "--addr", "127.0.0.1:0", "--admin-addr", "off", "--data", t.TempDir(), "--jwt-secret", secret)
	token := func(args ...string) string {
		t.Helper()
		code, out, errs := runCommand("", append([]string{"token", "--jwt-secret", secret}, args...)...)
		if code != 0 {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	update := string(updateOf(t, "mine"))
	owner := token("--doc", "mine", "--access", "rwd", "--user", "ann")
	reader := token("--doc", "mine", "--access", "r", "--user", "bob")
	for _, c := range []struct {
		name, token, stdin string
		args               []string
		code               int
		says               string
	}{
		{"nobody", "", update, []string{"import", "mine"}, 1, "401"},
		{"a token that is none", "rubbish", update, []string{"import", "mine"}, 1, "401"},
		{"the owner", owner, update, []string{"import", "mine"}, 0, "mine: "},
		{"a reader reads", reader, "", []string{"get", "mine", "--format", "text", "--type", "t:text"}, 0, "mine"},
		{"a reader writes", reader, string((&typist{client: 9, root: "t"}).next()), []string{"import", "mine", "--merge"}, 1, "403"},
		{"a reader deletes", reader, "", []string{"rm", "mine", "--yes"}, 1, "403"},
		{"a ticket for another document", owner, update, []string{"import", "theirs"}, 1, "403"},
		{"the owner deletes", owner, "", []string{"rm", "mine", "--yes"}, 0, "mine deleted"},
		{"an administrator lists", token("--admin"), "", []string{"ls"}, 0, ""},
	} {
		code, out, errs := called(t, c.stdin, append([]string{"doc", "--url", r.url, "--token", c.token}, c.args...)...)
		if code != c.code || !strings.Contains(out+errs, c.says) || code != 0 && (out != "" || strings.Count(errs, "\n") != 1) {
			t.Errorf("%s: got code %d, %q and %q, want %d and %q", c.name, code, out, errs, c.code, c.says)
		}
		if c.token != "" && c.token != "rubbish" && strings.Contains(out+errs, c.token) {
			t.Errorf("%s: the token is printed", c.name)
		}
	}
	// From a file or the environment the token is in no list of processes.
	admin := writeFile(t, "token", token("--admin")+"\n")
	if code, _, errs := called(t, "", "doc", "ls", "--url", r.url, "--token-file", admin); code != 0 {
		t.Errorf("with --token-file: %s", errs)
	}
	var out, errs testlog.Buffer
	if code := run(t.Context(), process{strings.NewReader(""), &out, &errs, []string{"YJET_TOKEN_FILE=" + admin, "YJET_URL=" + r.url}}, []string{"doc", "ls"}); code != 0 {
		t.Errorf("from the environment: %s", errs.String())
	}
	if strings.Contains(r.log.String(), owner) {
		t.Error("a token is in the log")
	}
}
