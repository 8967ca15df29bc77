package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// What Yjs 14 writes beyond text, map and array: types without a kind, whose keys, text and values stand beside each other. The server
// keeps and merges it, reads it, and answers what was there before.
func TestTheNativeTypesOfYjs14AreKeptReadAndTravelledTo(t *testing.T) {
	t.Parallel()
	needNode(t)
	s := startDev(t)
	out, err := exec.Command("node", "yjs14.mjs", "ws://"+s.host, "native").Output()
	if err != nil {
		t.Fatalf("yjs14.mjs: %v\n%s", err, stderrOf(err))
	}
	var did struct {
		First, Last json.RawMessage
		Yjs13       struct {
			Text, Map, XML string
			Array          int
		}
	}
	if err := json.Unmarshal(out, &did); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if string(did.First) == string(did.Last) || !strings.Contains(string(did.Last), "hello world") || !strings.Contains(string(did.Last), "blue") {
		t.Errorf("a third client of Yjs 14 reads %s", did.Last)
	}
	if y := did.Yjs13; y.Text != "abc" || y.Map != "x" || y.Array != 3 || y.XML != `<p align="left">hello world</p>value` {
		t.Errorf("Yjs 13 reads %+v in what Yjs 14 got", y)
	}
	read := func(query string) string {
		t.Helper()
		return strings.TrimSpace(string(s.fetch(http.MethodGet, "/api/docs/native?"+query, nil)))
	}
	for _, c := range []struct{ query, want string }{
		{"format=json", `{"array":["two",{"three":3},{"$bin":"BA=="}],"map":{"n":[1,{"a":2}],"nested":"< colour=\"blue\" deep=\"<b></b>\">in nested</>","title":"x"},"text":"abc","xml":"<p align=\"left\">hello world</p>value"}`},
		{"format=text&type=xml", "hello world\nvalue"},
		{"format=text&type=map", "in nested\nblue\nx"},
		{"format=text&type=array", "two"},
	} {
		if got := read(c.query); got != c.want {
			t.Errorf("%s: got %s\nwant %s", c.query, got, c.want)
		}
	}
	var past struct {
		Entries []struct{ First, Last int }
	}
	s.getJSON("/api/docs/native/history?group=none", &past)
	if len(past.Entries) < 2 {
		t.Fatalf("%d entries of history, want the first transaction and the edit", len(past.Entries))
	}
	before := past.Entries[len(past.Entries)-1].Last
	if got := read("format=json&at=" + fmt.Sprint(before)); !strings.Contains(got, `<p align=\"left\">hello</p>itemvalue`) || !strings.Contains(got, `colour=\"red\"`) {
		t.Errorf("before the edit it reads %s", got)
	}
}

// stderrOf is what a command printed to its standard error.
func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return tailOf(string(exit.Stderr), 2000)
	}
	return ""
}
