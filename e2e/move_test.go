package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// startScript runs a server in Node that prints its port, and answers its address. It ends with the test.
func startScript(t testing.TB, args ...string) (host string) {
	t.Helper()
	needNode(t)
	cmd := exec.Command("node", args...)
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
		t.Fatalf("%s: %v", args[0], err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func TestMoveDocumentsFromPartyKit(t *testing.T) {
	t.Parallel()
	needExample(t)
	old := &server{t: t, host: startScript(t, "partykit.mjs")} // the genuine y-partykit server code
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

// What y-partykit's load and callback did, the app does at the other end of --load-url and --webhook.
func TestAppIsAskedForTheFirstStateAndToldOfEdits(t *testing.T) {
	t.Parallel()
	needExample(t)
	const secret = "shared-with-the-app-0123456789"
	bundle := filepath.Join(t.TempDir(), "events.mjs")
	if out, err := inExample(t, nil, "", "npx", "esbuild", "lib/yjetEvents.ts", "--bundle", "--platform=node", "--format=esm", "--outfile="+bundle); err != nil {
		t.Fatalf("esbuild: %v\n%s", err, out)
	}
	app := "http://" + startScript(t, "events.mjs", bundle, secret)
	s := startJWT(t, "--load-url", app+"/", "--webhook", app+"/", "--webhook-secret", secret,
		"--webhook-debounce-wait", "200ms", "--webhook-debounce-max-wait", "1s")
	d := newDriver(t)

	req, _ := http.NewRequest(http.MethodPut, app+"/notes%2Fold", strings.NewReader("from the database. "))
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	d.open(s, "a", "ypk", "notes/old", M{"token": mint(t, jwt.MapClaims{"sub": "ann"})})
	d.open(s, "b", "ypk", "notes/old", M{"token": mint(t, jwt.MapClaims{"sub": "bob"})})
	d.do("hasText", M{"client": "a", "part": "from the database. "})
	d.edit("a", []any{"text", "append", "by ann. "})
	d.do("hasText", M{"client": "b", "part": "by ann"})
	d.edit("b", []any{"text", "append", "by bob."})

	deadline := time.Now().Add(15 * time.Second)
	for {
		var row struct {
			Text  string
			Users []string
		}
		res, err := http.Get(app + "/notes%2Fold")
		if err != nil {
			t.Fatal(err)
		}
		json.NewDecoder(res.Body).Decode(&row)
		res.Body.Close()
		if row.Text == "from the database. by ann. by bob." {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the app's database holds %q, want both edits", row.Text)
		}
		time.Sleep(50 * time.Millisecond)
	}

	// Whoever does not know the secret is told nothing and changes nothing.
	res, err := http.Post(app+"/", "application/json", strings.NewReader(`{"event":"document.load","document":"notes/old"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("an unsigned question: got %d, want 401", res.StatusCode)
	}
}
