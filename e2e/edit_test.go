package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// shown is what a real Yjs client shows of the four types of randomEdit.
type shown struct{ T, X, M, A string }

// patch sends edits over HTTP and returns the status and the body.
func (s *server) patch(t testing.TB, doc string, ops ...M) (int, string) {
	t.Helper()
	body, err := json.Marshal(M{"ops": ops})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.request(http.MethodPatch, "/api/docs/"+url.PathEscape(doc), bytes.NewReader(body))
	return status, string(answer)
}

// randomOp is one edit of a program, whose places may be beyond the end or inside of a character: these are refused.
func randomOp(r *rand.Rand, n int) M {
	i, length := r.IntN(30), r.IntN(6)
	find := []string{"a", "b1", "prog", " ", "😀", "r0", "é"}[r.IntN(7)]
	switch r.IntN(16) {
	case 0, 1:
		return M{"type": "text", "name": "t", "op": "insert", "index": i, "text": fmt.Sprintf("prog%d ", n)}
	case 2:
		return M{"type": "text", "name": "t", "op": "insert", "index": i, "text": "😀", "attributes": M{"italic": true}}
	case 3:
		return M{"type": "text", "name": "t", "op": "append", "text": "end 😀\n"}
	case 4:
		return M{"type": "text", "name": "t", "op": "delete", "index": i, "length": length}
	case 5:
		return M{"type": "text", "name": "t", "op": "format", "index": i, "length": length, "attributes": M{"bold": []any{true, nil}[r.IntN(2)]}}
	case 6, 7:
		return M{"type": "text", "name": "t", "op": "replace", "find": find, "with": fmt.Sprintf("r%d", n), "all": r.IntN(2) == 0}
	case 8:
		return M{"type": "map", "name": "m", "op": "set", "key": fmt.Sprintf("k%d", r.IntN(6)), "value": M{"n": n, "list": []any{nil, 1.5, "x"}}}
	case 9:
		return M{"type": "map", "name": "m", "op": "unset", "key": fmt.Sprintf("k%d", r.IntN(6))}
	case 10:
		return M{"type": "array", "name": "a", "op": "insert", "index": r.IntN(5), "values": []any{n, "v"}}
	case 11:
		return M{"type": "array", "name": "a", "op": "delete", "index": r.IntN(5), "length": 1}
	case 12:
		return M{"type": "xml", "name": "x", "op": "append", "markdown": fmt.Sprintf("## prog%d\n\n- *a* b1\n- **c**", n)}
	case 13:
		return M{"type": "xml", "name": "x", "op": "delete", "index": r.IntN(4), "length": 1}
	case 14:
		return M{"type": "xml", "name": "x", "op": "replace", "find": find, "with": []string{"one", "two\nlines", ""}[r.IntN(3)], "all": r.IntN(2) == 0}
	default:
		return M{"type": "xml", "name": "x", "path": []any{r.IntN(4)}, "op": "attributes", "attributes": M{"class": fmt.Sprint("prog", n)}}
	}
}

// Two real Yjs clients edit at random while a program does. All of them, the server and the log, end with one document.
func TestEditsOfProgramsAmongRealClientsEndEqual(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	r := rand.New(rand.NewPCG(seedOf(t, 7), 7))
	const room = "patched"
	d.open(s, "a", "yws31", room)
	d.open(s, "b", "yws31", room)
	taken := 0
	for n := range 150 {
		who := []string{"a", "b"}[r.IntN(2)]
		if r.IntN(3) == 0 {
			d.edit(who, randomEdit(r, who, n))
		}
		ops := []M{randomOp(r, n)}
		if r.IntN(4) == 0 {
			ops = append(ops, randomOp(r, n))
		}
		status, body := s.patch(t, room, ops...)
		switch status {
		case http.StatusOK:
			taken++
		case http.StatusConflict, http.StatusUnprocessableEntity:
		default:
			t.Fatalf("PATCH %v = %d %s", ops, status, body)
		}
	}
	if taken < 50 {
		t.Errorf("%d of 150 edits were taken, want most", taken)
	}
	for _, who := range []string{"a", "b"} {
		d.do("saved", M{"client": who, "timeout": 20000})
	}
	want := d.converge("a", "b")
	d.open(s, "fresh", "yws31", room)
	sameDocument(t, "a client that comes later", d.converge("a", "b", "fresh"), want)
	sameDocument(t, "the rebuild from the log", rebuild(t, s.nats, room).Fingerprint, want)
	var server struct {
		T, X string
		M, A json.RawMessage
	}
	s.getJSON("/api/docs/"+room+"?format=json&type=t:text,x:xml,m:map,a:array", &server)
	client := ask[shown](d, "shown", M{"client": "fresh"})
	sameDocument(t, "the map of the server", server.M, json.RawMessage(client.M))
	sameDocument(t, "the array of the server", server.A, json.RawMessage(client.A))
	if server.T != client.T || server.X != client.X {
		t.Errorf("the server shows\n%s\n%s\nthe client\n%s\n%s", server.T, server.X, client.T, client.X)
	}
}

// An editor shows a program's edit at once, and its undo takes back its own edits and nothing of the program's.
func TestAnEditorSeesAProgramsEditsAndUndoesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	d.open(s, "a", "yws31", "undo")
	d.do("undoable", M{"client": "a"})
	d.edit("a", []any{"text", "append", "typed by hand "})
	d.edit("a", []any{"xml", "insert", 0.0, "paragraph", "my own paragraph"})
	d.do("saved", M{"client": "a", "timeout": 20000})
	if status, body := s.patch(t, "undo", M{"type": "text", "name": "t", "op": "append", "text": "by a program"},
		M{"type": "text", "name": "t", "op": "replace", "find": "hand", "with": "hands"},
		M{"type": "xml", "name": "x", "op": "append", "markdown": "# Report\n\nall *well*"}); status != http.StatusOK {
		t.Fatalf("PATCH = %d %s", status, body)
	}
	d.do("hasText", M{"client": "a", "part": "typed by hands by a program"})
	d.do("undo", M{"client": "a"})
	const report = "<heading level=\"1\">Report</heading><paragraph>all <italic>well</italic></paragraph>"
	if got := ask[shown](d, "shown", M{"client": "a"}); strings.Contains(got.T, "typed") || !strings.HasSuffix(got.T, "by a program") || got.X != report {
		t.Errorf("after undo the editor shows %q and %s, want the program's edits alone", got.T, got.X)
	}
}
