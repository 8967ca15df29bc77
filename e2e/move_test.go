package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// oldPartyKit starts the genuine y-partykit server code and answers it as a server that the driver's clients can open.
func oldPartyKit(t testing.TB) *server {
	t.Helper()
	needNode(t)
	cmd := exec.Command("node", "partykit.mjs")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	var port int
	if _, err := fmt.Fscan(stdout, &port); err != nil {
		t.Fatalf("partykit.mjs: %v", err)
	}
	return &server{t: t, host: fmt.Sprintf("127.0.0.1:%d", port)}
}

func TestMoveDocumentsFromPartyKit(t *testing.T) {
	t.Parallel()
	needExample(t)
	old := oldPartyKit(t)
	s := startJWT(t)
	d := newDriver(t)
	token := mint(t, nil)
	move := func(ids string, args ...string) (string, error) {
		args = append([]string{"move-documents.mjs", "--from", old.host + "/", "--to", s.url("/")}, args...)
		return inExample(t, []string{"TO_TOKEN=" + token}, ids, "node", args...)
	}

	d.open(old, "a", "ypk", "notes/old one")
	d.edit("a", []any{"text", "append", "from PartyKit "}, []any{"map", "set", "k", M{"deep": []any{1, "two"}}},
		[]any{"array", "insert", 0.0, []any{1, "x", true}}, []any{"xml", "insert", 0.0, "p", "para"}, []any{"text", "delete", 0.0, 5})
	d.open(old, "b", "ypk", "board", M{"options": M{"party": "drawings"}})
	d.edit("b", []any{"map", "set", "shape", M{"x": 1}})
	d.open(old, "a2", "ypk", "notes/old one") // it has all: so has the server
	d.converge("a", "a2")
	d.open(old, "b2", "ypk", "board", M{"options": M{"party": "drawings"}})
	d.converge("b", "b2")

	out, err := move("notes/old one\n\nnever-opened\n")
	if err != nil || !strings.Contains(out, "notes/old one: ") || !strings.Contains(out, "bytes carried") || !strings.Contains(out, "never-opened: empty") {
		t.Fatalf("move: %v\n%s", err, out)
	}
	d.open(s, "new", "ypk", "notes/old one", M{"token": token})
	sameDocument(t, "the carried document", ask[json.RawMessage](d, "fingerprint", M{"client": "new"}), ask[json.RawMessage](d, "fingerprint", M{"client": "a"}))

	// A second run leaves it alone; with --merge the edits of a straggler come over and those made here stay.
	d.edit("a", []any{"text", "append", "straggler "})
	d.do("hasText", M{"client": "a2", "part": "straggler"})
	d.edit("new", []any{"text", "append", "here "})
	d.do("saved", M{"client": "new"})
	if out, err = move("notes/old one\n"); err != nil || !strings.Contains(out, "is here already") {
		t.Errorf("a second run: %v\n%s", err, out)
	}
	if out, err = move("notes/old one\n", "--merge"); err != nil {
		t.Errorf("with --merge: %v\n%s", err, out)
	}
	d.do("hasText", M{"client": "new", "part": "straggler"})
	d.do("hasText", M{"client": "new", "part": "here"})

	// A party of another name is a folder here, and the provider's party option opens it.
	if out, err = move("board\n", "--party", "drawings"); err != nil {
		t.Errorf("party drawings: %v\n%s", err, out)
	}
	d.open(s, "board", "ypk", "board", M{"token": token, "options": M{"party": "drawings"}})
	sameDocument(t, "the document of another party", ask[json.RawMessage](d, "fingerprint", M{"client": "board"}), ask[json.RawMessage](d, "fingerprint", M{"client": "b"}))
	req, _ := http.NewRequest(http.MethodGet, s.url("/api/docs/drawings%2Fboard?format=json"), nil)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != 200 || !strings.Contains(string(body), `"shape"`) {
		t.Errorf("GET drawings%%2Fboard: got %d %s", res.StatusCode, body)
	}

	// Without a right to write nothing is carried, and it says so.
	if out, err = inExample(t, []string{"TO_TOKEN="}, "notes/old one\n", "node", "move-documents.mjs", "--from", old.host, "--to", s.url("")); err == nil || !strings.Contains(out, "401") {
		t.Errorf("without a token: %v\n%s", err, out)
	}
}
